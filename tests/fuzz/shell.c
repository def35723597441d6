// SPDX-License-Identifier: GPL-2.0-only
#include "shell.h"
#include "../../dm-freezecopy/core/wire.h"
#include "../../tools/freezectl/cipher.h"

#define MAX_STEPS	20000	/* of a core that is not disturbed */
#define SHORT		3	/* sectors that the last block lacks */

struct shell W;
struct fzc_pcore P;
struct fzc_score S;

static u64 ids;

static void disk_clear(struct disk *d)
{
	u32 i;

	for (i = 0; d->used; i++, d->used >>= 1)
		if (d->used & 1)
			memset(&d->page[i], 0, FZC_PAGE);
	memset(d->val, 0, sizeof(d->val));
	memset(d->tag, 0, sizeof(d->tag));
}

static void disk_copy(struct disk *to, const struct disk *from)
{
	u32 i;

	to->used |= from->used;
	for (i = 0; i < MAX_PAGES; i++)
		if (to->used >> i & 1)
			to->page[i] = from->page[i];
	memcpy(to->val, from->val, sizeof(to->val));
	memcpy(to->tag, from->tag, sizeof(to->tag));
}

static u32 page_of(u64 offset)
{
	MUST(!(offset % FZC_PAGE) && offset / FZC_PAGE < MAX_PAGES);
	return offset / FZC_PAGE;
}

static void disk_write(struct disk *d, u64 offset, const struct fzc_page *page)
{
	u32 n = page_of(offset);

	d->page[n] = *page;
	d->used |= 1U << n;
}

void shell_make(bool second, u32 slots_a, u32 slots_b)
{
	char why[FZC_REASON_LEN];
	u32 i;

	for (i = 0; i < FZC_NR_DEVS; i++) {
		disk_clear(&W.cur[i]);
		disk_clear(&W.dur[i]);
	}
	for (i = 0; i < MAX_PENDING; i++)
		W.pending[i].used = false;
	W.second = second;
	MUST(!fzc_geometry_init(&W.geo, MAX_BLOCKS * 8 - SHORT, FZC_MIN_BLOCK, why));
	W.geo.slots[0] = slots_a;
	W.geo.slots[1] = slots_b;
	memset(&W.opts, 0, sizeof(W.opts));
	W.opts.format = 1;
	W.dropped = false;
	W.errors = false;
	W.damaged = false;
	ids = 0;
	memset(W.sends, 0, sizeof(W.sends));
	memset(W.events, 0, sizeof(W.events));
}

struct fzc_id fresh_id(void)
{
	struct fzc_id id = { { 0xf0 } };

	ids++;
	memcpy(id.b + 8, &ids, 8);
	return id;
}

/* ---- keys and signatures ---- */

static struct fzc_volkey volkey;

void shell_encrypt(void)
{
	W.opts.encrypt = true;
	W.geo.tagged = W.second;
	memset(&W.opts.keys, 7, sizeof(W.opts.keys));
}

void shell_sign(void)
{
	struct fzc_keys shared = { .n = 1 };

	shell_encrypt();
	memset(shared.key[0], SHARED_KEY, FZC_KEY_BYTES);
	MUST(!fzc_volkey_init(&volkey, cipher_hmac(), cipher_aead(), &shared));
	W.opts.vk = &volkey;
}

void shell_sign_page(u8 dev, u64 offset, const struct fzc_volume_keys *keys,
		     struct fzc_page *page)
{
	static const u8 nonce[FZC_NONCE_BYTES];

	if (W.opts.vk)
		MUST(!fzc_volkey_sign(&volkey, keys, dev, offset, nonce, page));
}

static struct fzc_super *super(void)
{
	return W.second ? &S.sb : &P.sb;
}

/* Where nothing is signed, a superblock has the keys as they are: that takes no time. */
static bool has_keys(u8 dev, u64 offset)
{
	return W.opts.encrypt && !W.opts.vk && dev == FZC_META && offset < FZC_OFF_REGIONS;
}

static void keys_put(struct fzc_page *page)
{
	struct fzc_page_head h = page->head;

	memcpy(page->super.wrapped.keys, &super()->keys, sizeof(super()->keys));
	fzc_page_seal(page, FZC_PAGE_SUPER, le64_to_cpu(h.format), le64_to_cpu(h.seq), 0, 0);
}

static void keys_get(const struct fzc_page *page)
{
	struct fzc_super *sb = super();

	if (fzc_page_is(page, FZC_PAGE_SUPER, sb->format, 0, 0) &&
	    le64_to_cpu(page->head.seq) == sb->seq)
		memcpy(&sb->keys, page->super.wrapped.keys, sizeof(sb->keys));
}

/* A page that was taken for good; what is none of this volume does not matter. */
static void must_be_signed(u8 dev, u64 offset, const struct fzc_page *page)
{
	const struct fzc_super *sb = super();
	char why[FZC_REASON_LEN];

	if (W.opts.vk && sb->flags && !(sb->flags & FZC_SB_FORMATTING) && fzc_page_sound(page) &&
	    le64_to_cpu(page->head.format) == sb->format &&
	    !(dev == FZC_META && offset < FZC_OFF_REGIONS &&
	      le32_to_cpu(page->super.flags) & FZC_SB_FORMATTING))
		MUST(!fzc_volkey_check(&volkey, &sb->keys, dev, offset, page, why));
}

/* ---- tags: noted in memory, and on the disk when the core says so ---- */

static u8 stage_of(u8 dev)
{
	MUST(W.geo.tagged && (dev == FZC_DIFF || dev == FZC_DIFF_B));
	return dev == FZC_DIFF_B;
}

static void tag_put(u8 dev, u32 slot, struct tag tag)
{
	struct tags *t = &W.tags[stage_of(dev)];

	t->tag[slot] = tag;
	t->dirty[slot / FZC_TAGS_PER_PAGE] = true;
}

void shell_note_tag(u8 dev, u32 slot, u32 val)
{
	tag_put(dev, slot, (struct tag){ val, S.sb.keys.stage[0] });
}

void shell_check_tag(u8 dev, u32 slot, u32 val)
{
	const struct tag *tag;

	if (!W.geo.tagged || W.damaged)
		return;
	tag = &W.tags[stage_of(dev)].tag[slot];
	MUST(tag->val == val && tag->key == S.sb.keys.stage[0]);
}

/* What is on the disks; what was not written is lost. */
static void tags_load(void)
{
	u8 i;

	for (i = 0; i < 2; i++) {
		memcpy(W.tags[i].tag, W.cur[fzc_stage_dev(i)].tag, sizeof(W.tags[i].tag));
		memset(W.tags[i].dirty, 0, sizeof(W.tags[i].dirty));
	}
}

/* A failure hits every other page. */
static void tags_write(bool fails)
{
	u32 i, slot, page;

	for (i = 0; i < 2; i++) {
		struct tags *t = &W.tags[i];

		for (slot = 0; slot < MAX_SLOTS; slot++) {
			page = slot / FZC_TAGS_PER_PAGE;
			if (t->dirty[page] && (!fails || page & 1))
				W.cur[fzc_stage_dev(i)].tag[slot] = t->tag[slot];
		}
		for (page = 0; page < TAG_PAGES; page++)
			t->dirty[page] &= fails && !(page & 1);
	}
}

/* ---- memory ---- */

static u32 most_chunks(u32 slots)
{
	return FZC_DIV_ROUND_UP(slots, FZC_CHUNK_SLOTS);
}

static struct fzc_chunk *chunk_new(void)
{
	W.chunks++;
	MUST(W.chunks <= most_chunks(W.geo.slots[0]) + most_chunks(W.geo.slots[1]));
	return malloc(sizeof(struct fzc_chunk));
}

static void chunk_free(struct fzc_chunk *chunk)
{
	MUST(W.chunks);
	W.chunks--;
	free(chunk);
}

static void drop_chunks(struct fzc_slots *s)
{
	struct fzc_chunk *chunk;

	while ((chunk = fzc_slots_drop(s)))
		chunk_free(chunk);
}

void shell_free(void)
{
	u32 i;

	if (!W.mem)
		return;
	if (W.second) {
		drop_chunks(&S.stage[0]);
		drop_chunks(&S.stage[1]);
	} else {
		drop_chunks(&P.slots);
	}
	MUST(!W.chunks);
	for (i = 0; i < MAX_PENDING; i++)
		W.pending[i].used = false;
	free(W.mem);
	W.mem = NULL;
}

void shell_crash(void)
{
	u32 i;

	shell_free();
	for (i = 0; i < FZC_NR_DEVS; i++)
		disk_copy(&W.cur[i], &W.dur[i]);
	W.dropped = false;
}

/* ---- loading ---- */

static bool load_next(struct fzc_load *load)
{
	return W.second ? fzc_s_load_next(&S, load) : fzc_p_load_next(&P, load);
}

static int load_give(struct fzc_load *load)
{
	const struct fzc_page *a = &W.cur[load->dev].page[page_of(load->offset)];
	const struct fzc_page *b = load->both ? a + 1 : NULL;
	int err;

	while ((err = W.second ? fzc_s_load_give(&S, load, a, b) :
				 fzc_p_load_give(&P, load, a, b)) == -EAGAIN)
		load->chunk = chunk_new();
	if (!err)
		must_be_signed(load->dev, load->offset, a);
	if (!err && b)
		must_be_signed(load->dev, load->offset + FZC_PAGE, b);
	if (!err && b && has_keys(load->dev, load->offset)) {
		keys_get(a);
		keys_get(b);
	}
	if (load->chunk)	/* given back by an error only */
		chunk_free(load->chunk);
	return err;
}

/* A refusal says what it is about. */
static int refused(int err)
{
	const char *why = W.second ? S.reason : P.reason;

	MUST(err == -EINVAL || (W.opts.vk && (err == -EBADMSG || err == -EKEYREJECTED)));
	MUST(*why && memchr(why, 0, FZC_REASON_LEN));
	return err;
}

int shell_boot(void)
{
	struct fzc_load load;
	u32 steps = 0;
	u64 bytes;
	int err = 0;

	bytes = W.second ? fzc_s_bytes(&W.geo) : fzc_p_bytes(&W.geo);
	W.mem = malloc(bytes);
	memset(W.mem, 0, bytes);
	tags_load();
	W.synced = 0;
	if (W.second)
		fzc_s_init(&S, W.mem, &W.geo, &W.opts);
	else
		fzc_p_init(&P, W.mem, &W.geo, &W.opts);
	while (!err && load_next(&load)) {
		MUST(++steps < 100);
		err = load_give(&load);
	}
	if (!err)
		err = W.second ? fzc_s_start(&S) : fzc_p_start(&P);
	return err ? refused(err) : 0;
}

/* ---- actions ---- */

static void done(const struct fzc_act *act, int err)
{
	if (W.second)
		fzc_s_done(&S, act, err);
	else
		fzc_p_done(&P, act, err);
}

static void begin(const struct fzc_act *act, const struct fzc_page *page)
{
	struct pending *p = W.pending;

	while (p < W.pending + MAX_PENDING && p->used)
		p++;
	MUST(p < W.pending + MAX_PENDING);
	p->used = true;
	p->act = *act;
	if (act->kind == FZC_ACT_WRITE) {
		p->page = *page;
		shell_sign_page(act->dev, act->offset, &super()->keys, &p->page);
		if (has_keys(act->dev, act->offset))
			keys_put(&p->page);
	}
	if (act->kind == FZC_ACT_FLUSH)
		disk_copy(&W.dur[act->dev], &W.cur[act->dev]);
}

static u32 *value_at(u8 dev, u64 block, u32 slot)
{
	MUST(dev < FZC_NR_DEVS && dev != FZC_META);
	MUST(dev == FZC_DATA ? block < W.geo.blocks : slot < W.geo.slots[dev == FZC_DIFF_B]);
	return &W.cur[dev].val[dev == FZC_DATA ? block : slot];
}

/* With a block that stays encrypted goes its tag. */
static void copy_tag(const struct fzc_copy *c, const struct fzc_copy_item *it, u32 val)
{
	if (!W.geo.tagged || it->zero)
		return;
	if (value_crc(val) == it->crc)
		shell_check_tag(c->from_dev, it->from, val);
	if (c->to_dev == FZC_DIFF || c->to_dev == FZC_DIFF_B)
		tag_put(c->to_dev, it->to, W.tags[stage_of(c->from_dev)].tag[it->from]);
}

static void copy_item(const struct fzc_copy *c, struct fzc_copy_item *it)
{
	u32 val = 0;

	it->result = FZC_COPY_OK;
	if (!it->zero)
		val = *value_at(c->from_dev, it->block, it->from);
	if (it->check && value_crc(val) != it->crc)
		it->result = FZC_COPY_BAD;
	else if (c->to_dev != FZC_NR_DEVS)
		*value_at(c->to_dev, it->block, it->to) = val;
	copy_tag(c, it, val);
}

/* A failure hits one item. */
static void copy(struct fzc_copy *c, bool fails)
{
	u32 i;

	MUST(c->n && c->n <= FZC_COPY_BATCH);
	for (i = 0; i < c->n; i++)
		copy_item(c, &c->item[i]);
	if (fails)
		c->item[c->n - 1].result = FZC_COPY_EIO + (c->n & 1 && c->to_dev != FZC_NR_DEVS);
}

static void end(struct pending *p, bool fails)
{
	struct fzc_act *act = &p->act;

	p->used = false;
	W.errors |= fails;
	switch (act->kind) {
	case FZC_ACT_WRITE:
		if (fails)
			break;
		disk_write(&W.cur[act->dev], act->offset, &p->page);
		if (act->fua)
			disk_write(&W.dur[act->dev], act->offset, &p->page);
		break;
	case FZC_ACT_COPY:
		copy(act->copy, fails);
		break;
	case FZC_ACT_TAGS:
		tags_write(fails);
		break;
	case FZC_ACT_GROW:
		act->chunk = fails ? NULL : chunk_new();
		break;
	}
	done(act, fails ? -EIO : 0);
}

bool shell_end(u32 n, bool fails)
{
	struct pending *p;
	u32 used = 0;

	for (p = W.pending; p < W.pending + MAX_PENDING; p++)
		used += p->used;
	if (!used)
		return false;
	n %= used;
	for (p = W.pending; !p->used || n--; p++)
		;
	end(p, fails);
	return true;
}

/* A secondary's tags are good as long as it has that key. */
static void check_keys(const struct fzc_msg *msg)
{
	static const u8 none[FZC_KEY_BYTES];

	if (msg->type == FZC_MSG_HELLO)
		MUST(msg->hello.encrypted == W.opts.encrypt);
	if (msg->type == FZC_MSG_SESSION)
		MUST(!memcmp(msg->session.stage_key, W.opts.encrypt ? W.opts.keys.stage : none,
			     sizeof(none)));
}

static void note_sent(const struct fzc_msg *msg)
{
	u8 buf[FZC_WIRE_HEAD + FZC_MAX_CTL] __attribute__((aligned(8)));
	char why[FZC_REASON_LEN];
	struct fzc_frame f;
	struct fzc_msg m;

	check_keys(msg);
	/* whatever a core says, the other side's decoder takes */
	fzc_wire_put_msg(buf, msg);
	MUST(!fzc_wire_parse_head(&f, buf, NULL, why) &&
	     !fzc_wire_parse_msg(&m, &f, buf + FZC_WIRE_HEAD, why));
	W.sent = *msg;
	W.sends[msg->type]++;
}

bool shell_next(void)
{
	static struct fzc_page page;
	struct fzc_act act;

	if (!(W.second ? fzc_s_next(&S, &act, &page) : fzc_p_next(&P, &act, &page)))
		return false;
	switch (act.kind) {
	case FZC_ACT_WRITE:
	case FZC_ACT_FLUSH:
	case FZC_ACT_COPY:
	case FZC_ACT_TAGS:
	case FZC_ACT_GROW:
		begin(&act, &page);
		break;
	case FZC_ACT_SEND:
		note_sent(&act.msg);
		break;
	case FZC_ACT_SYNCED:
		W.synced = act.ticket;
		W.sync_err = act.err;
		break;
	case FZC_ACT_EVENT:
		W.events[act.event]++;
		break;
	case FZC_ACT_DROP:
		W.dropped = true;
		break;
	case FZC_ACT_SHRINK:
		chunk_free(act.chunk);
		break;
	}
	return true;
}

void shell_settle(void)
{
	u32 steps = 0;

	do {
		while (shell_next())
			MUST(++steps < MAX_STEPS);
	} while (shell_end(0, false));
}

void shell_run(struct in *in, u32 n)
{
	while (n--) {
		u8 c = take(in);

		if (c & 1 || !shell_next())
			shell_end(c >> 2, c & 2);
	}
}

/* ---- what a peer may say ---- */

u64 any_number(struct in *in, u64 right)
{
	u8 c = take(in);

	if (c < 0x80)
		return right;
	if (c < 0xe0)
		return right + (c & 7) - 3;
	return c < 0xf0 ? c & 15 : c < 0xfc ? U64_MAX - (c & 3) : take_n(in, 8);
}

struct fzc_id any_id(struct in *in, const struct fzc_id *right)
{
	u8 c = take(in);
	struct fzc_id id = { { c & 3 } };

	return c < 0xc0 ? *right : c & 8 ? id : fresh_id();
}

struct fzc_img any_image(struct in *in, const struct fzc_img *right)
{
	struct fzc_img img = *right;

	img.number = any_number(in, right->number);
	img.id = any_id(in, &right->id);
	return img;
}
