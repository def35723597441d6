// SPDX-License-Identifier: GPL-2.0-only
/* I/O in flight: each may end at any later step, or never. */
#include "sim.h"

struct disk *disk_of(u8 node, u8 dev)
{
	return node ? &W.sd[dev] : &W.pd[dev];
}

u32 block_sectors(u64 block)
{
	return min_t(u32, SPB, W.sectors - block * SPB);
}

u32 slot_sector(u8 node, u8 dev, u32 slot)
{
	const struct fzc_geometry *geo = node ? &W.sgeo : &W.pgeo;

	return fzc_slot_offset(geo, geo->slots[dev == FZC_DIFF_B], slot) / FZC_SECTOR;
}

u32 block_crc(const u64 *val, u32 n)
{
	return ~fzc_crc32c(~0U, val, 8 * n);
}

static u8 page_step(u8 node, const struct fzc_act *act)
{
	const struct fzc_geometry *geo = node ? &W.sgeo : &W.pgeo;

	if (act->dev != FZC_META)
		return act->offset ? STEP_INDEX : STEP_LABEL;
	if (act->offset < FZC_OFF_REGIONS)
		return STEP_SUPER;
	if (act->offset < FZC_OFF_PROGRESS)
		return STEP_REGIONS;
	if (act->offset < FZC_OFF_DAMAGED)
		return STEP_PROGRESS;
	if (act->offset < FZC_OFF_MAPS)
		return STEP_DAMAGED;
	return act->offset < fzc_area_offset(geo, FZC_AREA_UNSENT, 0, 0) ? STEP_CHANGED :
									 STEP_UNSENT;
}

static u8 flush_step(u8 node, const struct fzc_act *act)
{
	if (act->dev == FZC_META)
		return STEP_FLUSH_META;
	if (act->dev != FZC_DATA)
		return STEP_FLUSH_DIFF;
	return !node && W.p.r10_ticket && W.p.r10_ticket <= W.p.sync_started ? STEP_FLUSH_R10 :
									  STEP_FLUSH_DATA;
}

/* Now and then an I/O outlives what began long after it. */
void io_delay(struct io *io, u32 percent, u32 steps)
{
	if (W.slow && chance(percent))
		io->until = W.step + below(W.calm ? 40 : steps);
}

struct io *io_new(u8 node, u8 kind)
{
	struct disk_mark mark;
	struct io *io;

	for (io = W.io; io < W.io + W.ios; io++)
		if (!io->used)
			break;
	if (io == W.io + MAX_IOS) {
		fail("simulator: more than %u I/Os in flight", MAX_IOS);
		return W.io;
	}
	W.ios = max_t(u32, W.ios, io - W.io + 1);
	mark = io->mark;
	memset(io, 0, sizeof(*io));
	io->mark = mark;
	io->used = true;
	io->node = node;
	io->kind = kind;
	io_delay(io, 3, 600);
	return io;
}

bool io_any(u8 node)
{
	struct io *io;

	for (io = W.io; io < W.io + W.ios; io++)
		if (io->used && io->node == node)
			return true;
	return false;
}

/* At least one sector of it is written, and at least one is not. */
static void tear(struct io *io)
{
	u32 first = below(io->n), i;

	for (i = 0; i < io->n; i++)
		if (i != (first + 1) % io->n && (i == first || chance(50)))
			disk_write(io->disk, io->sector + i, 1, &io->val[i], true);
	io->n = 0;
}

/* The node loses power: a write in flight leaves some of its sectors. */
void io_crash(u8 node, u32 keep_percent)
{
	struct io *io;
	u32 i;

	for (io = W.io; io < W.io + W.ios; io++) {
		if (!io->used || io->node != node)
			continue;
		io->used = false;
		if (io->torn)
			tear(io);
		for (i = 0; io->disk && (io->kind == IO_WRITE || io->kind == IO_HOST) && i < io->n;
		     i++)
			if (chance(keep_percent))
				disk_write(io->disk, io->sector + i, 1, &io->val[i], false);
	}
}

/* The memory of slots that are not used any more. */
void slots_drop(struct fzc_slots *s)
{
	struct fzc_chunk *chunk;

	while ((chunk = fzc_slots_drop(s)))
		free(chunk);
}

/* What the real shell wraps is here as it is; a superblock of a formatting has none. */
static void keys_put(struct fzc_page *page, const struct fzc_volume_keys *keys)
{
	struct fzc_page_head h = page->head;

	if (le32_to_cpu(page->super.flags) & FZC_SB_FORMATTING)
		return;
	memcpy(page->super.wrapped.keys, keys, sizeof(*keys));
	fzc_page_seal(page, FZC_PAGE_SUPER, le64_to_cpu(h.format), le64_to_cpu(h.seq), 0, 0);
}

/* Of a superblock that was loaded. */
void keys_get(const struct disk *d, struct fzc_super *sb)
{
	struct fzc_page page;
	u8 copy;

	for (copy = 0; copy < 2; copy++) {
		page_get(d, FZC_OFF_SUPER + copy * FZC_PAGE, &page);
		if (fzc_page_is(&page, FZC_PAGE_SUPER, sb->format, 0, 0) &&
		    le64_to_cpu(page.head.seq) == sb->seq)
			memcpy(&sb->keys, page.super.wrapped.keys, sizeof(sb->keys));
	}
}

void io_action(u8 node, const struct fzc_act *act, struct fzc_page *page)
{
	struct io *io = io_new(node, 0);
	u32 i;

	io->act = *act;
	io->disk = disk_of(node, act->dev);
	switch (act->kind) {
	case FZC_ACT_WRITE:
		io->kind = IO_WRITE;
		io->what = page_step(node, act);
		if (io->what == STEP_SUPER)
			keys_put(page, node ? &W.s.sb.keys : &W.p.sb.keys);
		io_delay(io, act->dev == FZC_META ? 15 : 0, 300);
		io->sector = act->offset / FZC_SECTOR;
		io->n = SPB;
		io->fua = act->fua;
		if (io->sector + SPB > io->disk->n) {
			fail("node %u writes beyond device %u: sector %u", node, act->dev,
			     io->sector);
			return;
		}
		for (i = 0; i < SPB; i++)
			io->val[i] = blob_put((const u8 *)page + i * FZC_SECTOR);
		break;
	case FZC_ACT_FLUSH:
		io->kind = IO_FLUSH;
		disk_flush_begin(io->disk, &io->mark);
		io->what = flush_step(node, act);
		break;
	case FZC_ACT_COPY:
		io->kind = IO_COPY;
		io->what = act->copy->to_dev == FZC_NR_DEVS ? STEP_VERIFY :
			   act->copy->to_dev == FZC_DATA ? STEP_MERGE_READ : STEP_FOLD_READ;
		break;
	case FZC_ACT_TAGS:
		io->kind = IO_TAGS;
		io->what = STEP_TAGS;
		break;
	case FZC_ACT_GROW:
		io->kind = IO_GROW;
		io->what = STEP_MEMORY;
		io_delay(io, 10, 300);
		break;
	}
	reached(node, io->what, BEGUN, io);
}

static void act_done(struct io *io, int err)
{
	struct fzc_act act = io->act;
	u8 node = io->node, what = io->what;

	io->used = false;
	if (node)
		fzc_s_done(&W.s, &act, err);
	else
		fzc_p_done(&W.p, &act, err);
	reached(node, what, ENDED, NULL);
}

/* A write that fails may have got to the disk, or some of it. */
static void write_part(struct disk *d, u32 sector, u32 n, const u64 *val)
{
	u32 percent = 50 * below(3), i;

	for (i = 0; i < n; i++)
		if (chance(percent))
			disk_write(d, sector + i, 1, &val[i], false);
}

/* Of @n sectors; false: it failed. */
static bool write_ends(struct io *io, u8 what, u8 dev, u32 sector, u32 n, const u64 *val, bool fua)
{
	struct disk *d = disk_of(io->node, dev);

	if (io_fails(io->node, what, dev)) {
		write_part(d, sector, n, val);
		return false;
	}
	disk_write(d, sector, n, val, fua);
	return true;
}

/* A flush that fails for once; what it should have made durable is not. */
static bool flush_fails(const struct io *io)
{
	if (!W.sick || (W.calm && !W.recovered_checked) || io->act.dev == FZC_META ||
	    (!io->node && io->act.dev == FZC_DIFF))
		return false;
	return chance(8);
}

/*
 * ...and may be gone, whatever later flushes say: at once, or, of the primary's
 * data, whose host is told and which the next image is made of, when it dies.
 */
static void flush_lost(struct io *io)
{
	u32 end = U32_MAX;

	if (!io->node && io->act.dev == FZC_DIFF)
		end = fzc_slots_start(W.pgeo.slots[0], 4096, false) / FZC_SECTOR;
	if (!(W.step % 3))
		return;
	if (io->act.dev == FZC_DATA && !io->node) {
		disk_doom(io->disk, &io->mark, W.step % 3);
		host_doomed();
		return;
	}
	say("%s: a flush of device %u fails, and loses something", io->node ? "secondary" : "primary",
	    io->act.dev);
	disk_forget(io->disk, &io->mark, end, W.step % 3);
}

/*
 * Tags.  Nothing is encrypted here: a tag is the checksum of the content that it came
 * with, so that one which is not the content's is seen.  As in the real shell they are
 * noted in memory, and get to the disk when the core says so.
 */
static struct tags *tags_of(u8 dev)
{
	return &W.tags[dev == FZC_DIFF_B];
}

static void tags_read(u8 dev, u8 page[FZC_PAGE])
{
	page_get(&W.sd[dev], fzc_tag_page_offset(W.sgeo.slots[dev == FZC_DIFF_B], 0),
		 (struct fzc_page *)page);
}

/* They are in memory, or are read, also because others had to be; false: that fails. */
static bool tags_load(u8 dev, u8 what)
{
	struct tags *t = tags_of(dev);

	if (t->loaded && (t->dirty || W.step % 8))
		return true;
	t->loaded = !io_fails(1, what, dev);
	if (t->loaded)
		tags_read(dev, t->page);
	return t->loaded;
}

static struct fzc_tag tag_of(const u64 *val, u64 block)
{
	u32 crc = block_crc(val, block_sectors(block));
	struct fzc_tag tag = { .length = cpu_to_le32(crc) };

	memcpy(tag.salt, W.popts.keys.stage, FZC_SALT_BYTES);
	return tag;
}

static struct fzc_tag tag_get(u8 dev, u32 slot)
{
	const u8 *from = tags_of(dev)->page;
	u8 page[FZC_PAGE];
	struct fzc_tag tag;

	if (!tags_of(dev)->loaded) {
		tags_read(dev, page);
		from = page;
	}
	memcpy(&tag, from + slot * sizeof(tag), sizeof(tag));
	return tag;
}

static void tag_put(u8 dev, u32 slot, struct fzc_tag tag)
{
	struct tags *t = tags_of(dev);

	memcpy(t->page + slot * sizeof(tag), &tag, sizeof(tag));
	t->dirty = true;
}

bool tag_is(u8 dev, u32 slot, u32 crc)
{
	struct fzc_tag tag;

	if (!W.sgeo.tagged)
		return true;
	tag = tag_get(dev, slot);
	return le32_to_cpu(tag.length) == crc &&
	       !memcmp(tag.salt, W.s.sb.keys.stage, FZC_SALT_BYTES);
}

/* Those of one stage a step. */
static void tags_step(struct io *io)
{
	u8 dev = io->step ? FZC_DIFF_B : FZC_DIFF, i;
	struct tags *t = &W.tags[io->step];
	u32 at = fzc_tag_page_offset(W.sgeo.slots[io->step], 0) / FZC_SECTOR;
	u64 val[SPB];

	if (t->dirty) {
		for (i = 0; i < SPB; i++)
			val[i] = blob_put(t->page + i * FZC_SECTOR);
		t->dirty = !write_ends(io, STEP_TAGS, dev, at, SPB, val, false);
		io->err |= t->dirty;
	}
	if (io->step++)
		act_done(io, io->err ? -EIO : 0);
}

/* With a copy from stage to stage goes the tag; into the volume it has to be right. */
static u8 copy_tag(const struct fzc_copy *c, const struct fzc_copy_item *it, u8 what,
		   const u64 *val)
{
	bool stays = c->to_dev != FZC_DATA && c->to_dev != FZC_NR_DEVS;

	if (!W.sgeo.tagged || it->zero)
		return FZC_COPY_OK;
	if (!tags_load(c->from_dev, what) || (stays && !tags_load(c->to_dev, what)))
		return FZC_COPY_EIO;
	if (!stays)
		return tag_is(c->from_dev, it->from, block_crc(val, block_sectors(it->block))) ?
		       FZC_COPY_OK : FZC_COPY_BAD;
	tag_put(c->to_dev, it->to, tag_get(c->from_dev, it->from));
	return FZC_COPY_OK;
}

/* One item of a copy: read, then (a later step) write. */
static void copy_step(struct io *io)
{
	struct fzc_copy *c = io->act.copy;
	struct fzc_copy_item *it = &c->item[io->step / 2];
	u32 n = block_sectors(it->block);

	if (!(io->step & 1)) {
		memset(io->val, 0, sizeof(io->val));
		if (!it->zero && io_fails(io->node, io->what, c->from_dev))
			it->result = FZC_COPY_EIO;
		else if (!it->zero)
			memcpy(io->val, disk_of(io->node, c->from_dev)->cur +
			       slot_sector(io->node, c->from_dev, it->from), 8 * n);
		if (it->result == FZC_COPY_OK && it->check && block_crc(io->val, n) != it->crc)
			it->result = FZC_COPY_BAD;
		if (it->result == FZC_COPY_OK && io->node)
			it->result = copy_tag(c, it, io->what, io->val);
	} else if (it->result == FZC_COPY_OK && c->to_dev != FZC_NR_DEVS) {
		u32 to = c->to_dev == FZC_DATA ? it->block * SPB :
			 slot_sector(io->node, c->to_dev, it->to);
		u8 what = c->to_dev == FZC_DATA ? STEP_MERGE_WRITE : STEP_FOLD_WRITE;

		if (!write_ends(io, what, c->to_dev, to, n, io->val, false))
			it->result = FZC_COPY_EWRITE;
		reached(io->node, what, ENDED, NULL);
	}
	if (++io->step == 2 * c->n)
		act_done(io, 0);
}

/* First write of a block's slot: complete it from DATA, then write it whole (R2). */
static void fill_step(struct io *io)
{
	struct hop *h = io->hop;
	u64 block = io->act.offset;
	u32 n = block_sectors(block), i;

	if (!io->step++) {
		if (io_fails(0, STEP_FILL_READ, FZC_DATA)) {
			io->used = false;
			host_part_failed(h, false);
			return;
		}
		memcpy(io->val, W.pd[FZC_DATA].cur + block * SPB, 8 * n);
		for (i = 0; i < n; i++)
			if (block * SPB + i >= h->first && block * SPB + i < h->first + h->n)
				io->val[i] = h->val;
		return;
	}
	io->used = false;
	if (write_ends(io, STEP_FILL_WRITE, FZC_DIFF, io->sector, n, io->val, false))
		host_part_done(h);
	else
		host_part_failed(h, true);
	reached(0, STEP_FILL_WRITE, ENDED, NULL);
}

static void host_write_step(struct io *io)
{
	bool slot = io->disk == &W.pd[FZC_DIFF];

	io->used = false;
	if (write_ends(io, io->what, slot ? FZC_DIFF : FZC_DATA, io->sector, io->n, io->val,
		       io->fua))
		host_part_done(io->hop);
	else
		host_part_failed(io->hop, slot);
	reached(0, io->what, ENDED, NULL);
}

static void host_read_step(struct io *io)
{
	bool slot = io->place[0] == FZC_AT_SLOT;
	bool fails = io_fails(0, slot ? STEP_HOST_READ_SLOT : STEP_HOST_READ_DATA,
			      slot ? FZC_DIFF : FZC_DATA);

	if (slot)
		fzc_p_slot_put(&W.p, io->slot[0]);
	io->used = false;
	host_read_done(io->hop, fails ? NULL : io->disk->cur + io->sector);
}

static void send_frame(const struct fzc_xfer *x, const u64 *val)
{
	struct packet *pk = calloc(1, sizeof(*pk));
	bool zero = true;
	u32 i;

	say("primary: sends blocks %llu+%u of image %llu, frame %llu%s: %llu...",
	    (unsigned long long)x->first, x->n, (unsigned long long)x->image,
	    (unsigned long long)x->frame, x->frozen ? ", frozen" : "",
	    (unsigned long long)val[0]);
	pk->data = true;
	pk->frame = x->frame;
	pk->image = x->image;
	pk->first = x->first;
	pk->n = x->n;
	memcpy(pk->val, val, 8 * SPB * x->n);
	for (i = 0; i < x->n * SPB; i++)
		zero &= !val[i];
	pk->flags = (zero ? FZC_WIRE_ZERO : 0) | (x->direct ? FZC_WIRE_DIRECT : 0);
	if (!pk->flags && W.popts.encrypt)
		pk->flags = FZC_WIRE_ENCRYPTED;
	conn_push(&W.pc->ps, pk, W.pc->cut);
	reached(0, STEP_FRAME + FZC_MSG_DATA, BEGUN, NULL);
}

static void xfer_send(struct fzc_xfer *x, const u64 *val)
{
	if (fzc_p_sent(&W.p, x))
		send_frame(x, val);
}

/* All of it was read: it is sent as one or as two, now or in later steps. */
static void xfer_read(struct io *io)
{
	struct fzc_xfer *x = io->x, *rest;
	u32 n = x->n, i;

	io->used = false;
	for (i = 0; i < n; i++)
		if (io->place[i] == FZC_AT_SLOT)
			fzc_p_slot_put(&W.p, io->slot[i]);
	if (io->err) {
		fzc_p_unpick(&W.p, x, true);
		return;
	}
	rest = n > 1 && chance(30) ? fzc_p_split(&W.p, x, 1 + below(n - 1)) : NULL;
	if (!W.compresses) {
		n = x->n;
		xfer_send(x, io->val);
		if (rest)
			xfer_send(rest, io->val + n * SPB);
		return;
	}
	io->used = true;
	io->was_read = true;
	if (rest) {
		struct io *other = io_new(0, IO_XFER);

		other->x = rest;
		other->was_read = true;
		memcpy(other->val, io->val + x->n * SPB, 8 * SPB * rest->n);
	}
}

static void xfer_step(struct io *io)
{
	struct fzc_xfer *x = io->x;
	u64 block = x->first + io->step;
	u32 n = block_sectors(block);

	if (io->was_read) {
		io->used = false;
		xfer_send(x, io->val);
	} else if (io->step < x->n) {
		bool slot = io->place[io->step] == FZC_AT_SLOT;
		const u64 *from = slot ?
			W.pd[FZC_DIFF].cur + slot_sector(0, FZC_DIFF, io->slot[io->step]) :
			W.pd[FZC_DATA].cur + block * SPB;

		W.reads_frozen = x->frozen;
		io->err |= io_fails(0, slot ? STEP_SEND_SLOT : STEP_SEND_DATA,
				    slot ? FZC_DIFF : FZC_DATA);
		memcpy(io->val + io->step * SPB, from, 8 * n);
		io->step++;
	} else {
		xfer_read(io);
	}
}

/* The blocks of a received frame, one a step. */
static void rx_step(struct io *io)
{
	struct fzc_rx *rx = io->rx;
	u64 block = rx->first + io->step;
	u32 crc[8], slot = 0, i;

	if (!rx->full && io->step < rx->n) {
		u8 dev = fzc_s_data_place(&W.s, rx, block, &slot);
		u32 to = dev == FZC_DATA ? block * SPB : slot_sector(1, dev, slot);

		if (!rx->zero || dev == FZC_DATA)
			io->err |= !write_ends(io, dev == FZC_DATA ? STEP_RX_DATA : STEP_RX_SLOT,
					       dev, to, block_sectors(block),
					       io->val + io->step * SPB, false);
		if (io->encrypted && !tags_load(dev, STEP_TAGS_READ))
			io->err = -EIO;
		else if (io->encrypted)
			tag_put(dev, slot, tag_of(io->val + io->step * SPB, block));
		io->step++;
		return;
	}
	for (i = 0; i < rx->n; i++)
		crc[i] = block_crc(io->val + i * SPB, block_sectors(rx->first + i));
	io->used = false;
	fzc_s_data_done(&W.s, rx, rx->zero ? NULL : crc, io->err ? -EIO : 0);
	reached(1, STEP_FRAME + FZC_MSG_DATA, ENDED, NULL);
}

static void io_advance(struct io *io)
{
	switch (io->kind) {
	case IO_READ:
		host_read_step(io);
		break;
	case IO_WRITE:
		act_done(io, write_ends(io, io->what, io->act.dev, io->sector, io->n, io->val,
					io->fua) ? 0 : -EIO);
		break;
	case IO_FLUSH:
		if (io_fails(io->node, io->what, io->act.dev) || flush_fails(io)) {
			flush_lost(io);
			act_done(io, -EIO);
			break;
		}
		disk_flush_end(io->disk, &io->mark);
		act_done(io, 0);
		break;
	case IO_COPY:
		copy_step(io);
		break;
	case IO_TAGS:
		tags_step(io);
		break;
	case IO_GROW:
		io->act.chunk = W.calm || !W.lacks || chance(50) ? malloc(sizeof(*io->act.chunk)) : NULL;
		W.st.no_memory += !io->act.chunk;
		act_done(io, 0);
		break;
	case IO_HOST:
		host_write_step(io);
		break;
	case IO_FILL:
		fill_step(io);
		break;
	case IO_XFER:
		xfer_step(io);
		break;
	case IO_RX:
		rx_step(io);
		break;
	}
}

/* Advance one I/O of @node, chosen by chance. */
bool io_step(u8 node)
{
	u32 n = 0, pick;
	struct io *io;

	for (io = W.io; io < W.io + W.ios; io++)
		n += io->used && io->node == node && io->until <= W.step;
	if (!n)
		return false;
	pick = below(n);
	for (io = W.io;; io++)
		if (io->used && io->node == node && io->until <= W.step && !pick--)
			break;
	io_advance(io);
	if (!node)
		p_check_cut();
	return true;
}
