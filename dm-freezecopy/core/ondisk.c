// SPDX-License-Identifier: GPL-2.0-only
#include "ondisk.h"

/* A region page must hold them all. */
#define MAX_REGIONS	16384U
#define MIN_OPEN	4U

static void check_layout(void)
{
	BUILD_BUG_ON(sizeof(struct fzc_page_head) != 64);
	BUILD_BUG_ON(sizeof(struct fzc_index_entry) != 32);
	BUILD_BUG_ON(sizeof(struct fzc_tag) != 64);
	BUILD_BUG_ON(sizeof(struct fzc_disk_image) != 96);
	BUILD_BUG_ON(sizeof(struct fzc_disk_device) != 72);
	BUILD_BUG_ON(offsetof(struct fzc_super_body, image) != 40);
	BUILD_BUG_ON(offsetof(struct fzc_super_body, last_number) != 232);
	BUILD_BUG_ON(offsetof(struct fzc_super_body, stage) != 304);
	BUILD_BUG_ON(offsetof(struct fzc_super_body, device) != 392);
	BUILD_BUG_ON(offsetof(struct fzc_super_body, wrapped) != 680);
	BUILD_BUG_ON(sizeof(struct fzc_super_body) != 784);
	BUILD_BUG_ON(sizeof(struct fzc_index_body) != FZC_BODY);
	BUILD_BUG_ON(sizeof(struct fzc_damaged_body) > FZC_BODY);
	BUILD_BUG_ON(sizeof(struct fzc_page) != FZC_PAGE);
	BUILD_BUG_ON(FZC_BODY * 8 < MAX_REGIONS);
}

u64 fzc_area_offset(const struct fzc_geometry *geo, enum fzc_area area, u32 page, u8 copy)
{
	u64 np = geo->map_pages, base = 0;

	switch (area) {
	case FZC_AREA_CHANGED0:
	case FZC_AREA_CHANGED1:
		base = 2 * np * (area - FZC_AREA_CHANGED0) + 2ULL * page + copy;
		break;
	case FZC_AREA_UNSENT:
		base = 4 * np + page;
		break;
	case FZC_AREA_FROZEN:
		base = 5 * np + page;
		break;
	}
	return FZC_OFF_MAPS + base * FZC_PAGE;
}

u64 fzc_meta_bytes(const struct fzc_geometry *geo)
{
	check_layout();
	return FZC_OFF_MAPS + 6ULL * geo->map_pages * FZC_PAGE;
}

static u64 index_end(u32 nslots)
{
	return fzc_index_offset(FZC_DIV_ROUND_UP((u64)nslots, FZC_INDEX_ENTRIES), 0);
}

u64 fzc_tag_page_offset(u32 nslots, u32 slot)
{
	return index_end(nslots) + (u64)FZC_PAGE * (slot / FZC_TAGS_PER_PAGE);
}

u64 fzc_slots_start(u32 nslots, u32 block_size, bool tagged)
{
	u64 end = index_end(nslots);

	if (tagged)
		end += (u64)FZC_PAGE * FZC_DIV_ROUND_UP((u64)nslots, FZC_TAGS_PER_PAGE);
	return (end + block_size - 1) & ~((u64)block_size - 1);
}

u32 fzc_slots_fit(u64 bytes, u32 block_size, bool tagged)
{
	u32 shift = 0, step;
	u64 n;

	while (1U << shift < block_size)
		shift++;
	n = min_t(u64, bytes >> shift, FZC_MAX_SLOTS);
	while (n) {
		u64 end = fzc_slots_start(n, block_size, tagged) + (n << shift);

		if (end <= bytes)
			break;
		step = (end - bytes) >> (shift + 1);
		n -= min_t(u64, n, max_t(u32, step, 1));
	}
	return n;
}

int fzc_geometry_init(struct fzc_geometry *geo, u64 sectors, u32 block_size, char *why)
{
	u32 shift = 0;

	memset(geo, 0, sizeof(*geo));
	if (block_size < FZC_MIN_BLOCK || block_size > FZC_MAX_BLOCK ||
	    block_size & (block_size - 1)) {
		scnprintf(why, FZC_REASON_LEN,
			  "block %u: expected a power of two from %u to %u bytes", block_size,
			  FZC_MIN_BLOCK, FZC_MAX_BLOCK);
		return -EINVAL;
	}
	while (1U << shift < block_size)
		shift++;
	geo->sectors = sectors;
	geo->block_size = block_size;
	geo->block_shift = shift;
	geo->blocks = sectors ? ((sectors - 1) >> (shift - 9)) + 1 : 0;
	if (!sectors || geo->blocks > FZC_MAX_BLOCKS) {
		scnprintf(why, FZC_REASON_LEN,
			  "size %llu sectors is %llu blocks of %u bytes: expected 1 to %llu blocks",
			  (unsigned long long)sectors, (unsigned long long)geo->blocks, block_size,
			  (unsigned long long)FZC_MAX_BLOCKS);
		return -EINVAL;
	}
	while (((geo->blocks - 1) >> geo->region_shift) + 1 > MAX_REGIONS)
		geo->region_shift++;
	geo->regions = ((geo->blocks - 1) >> geo->region_shift) + 1;
	/* all that are open count as changed after a crash: 1 % of the volume */
	geo->max_open = max_t(u32, geo->regions / 100, MIN_OPEN);
	/* a 32 bit division: blocks fit in 32 bits, and a shift for the page size does not exist */
	geo->map_pages = (u32)FZC_DIV_ROUND_UP((u32)geo->blocks, (u32)FZC_MAP_BITS);
	return 0;
}

static u32 page_crc(const struct fzc_page *page)
{
	static const u8 zero[4];
	const u8 *p = (const u8 *)page;
	u32 crc = fzc_crc32c(~0U, p, 4);

	crc = fzc_crc32c(crc, zero, 4);
	return ~fzc_crc32c(crc, p + 8, FZC_PAGE - 8);
}

void fzc_page_seal(struct fzc_page *page, enum fzc_page_kind kind, u64 format, u64 seq, u64 tag,
		   u32 index)
{
	struct fzc_page_head *h = &page->head;

	memset(h, 0, sizeof(*h));
	h->magic = cpu_to_le32(FZC_DISK_MAGIC);
	h->version = cpu_to_le16(FZC_DISK_VERSION);
	h->kind = cpu_to_le16(kind);
	h->format = cpu_to_le64(format);
	h->seq = cpu_to_le64(seq);
	h->tag = cpu_to_le64(tag);
	h->index = cpu_to_le32(index);
	fzc_page_sum(page);
}

void fzc_page_sum(struct fzc_page *page)
{
	page->head.crc = cpu_to_le32(page_crc(page));
}

bool fzc_page_sound(const struct fzc_page *page)
{
	const struct fzc_page_head *h = &page->head;

	return le32_to_cpu(h->magic) == FZC_DISK_MAGIC &&
	       le16_to_cpu(h->version) == FZC_DISK_VERSION &&
	       le32_to_cpu(h->crc) == page_crc(page);
}

static bool all_zero(const void *mem, u32 len)
{
	const u8 *p = mem;

	return !p[0] && !memcmp(p, p + 1, len - 1);
}

enum fzc_page_verdict fzc_page_check(const struct fzc_page *page, enum fzc_page_kind kind,
				     char *why)
{
	const struct fzc_page_head *h = &page->head;

	if (all_zero(page, FZC_PAGE)) {
		scnprintf(why, FZC_REASON_LEN, "all zero");
		return FZC_PAGE_EMPTY;
	}
	if (le32_to_cpu(h->magic) != FZC_DISK_MAGIC) {
		scnprintf(why, FZC_REASON_LEN, "magic %08x, expected %08x: not freezecopy metadata",
			  le32_to_cpu(h->magic), FZC_DISK_MAGIC);
		return FZC_PAGE_FOREIGN;
	}
	if (le16_to_cpu(h->version) != FZC_DISK_VERSION ||
	    le32_to_cpu(h->features) & ~FZC_DISK_FEATURES) {
		scnprintf(why, FZC_REASON_LEN,
			  "version %u features %#x, expected version %u and no features but %#x",
			  le16_to_cpu(h->version), le32_to_cpu(h->features), FZC_DISK_VERSION,
			  FZC_DISK_FEATURES);
		return FZC_PAGE_NEWER;
	}
	if (le32_to_cpu(h->crc) != page_crc(page)) {
		scnprintf(why, FZC_REASON_LEN, "checksum %08x, expected %08x",
			  le32_to_cpu(h->crc), page_crc(page));
		return FZC_PAGE_DAMAGED_CRC;
	}
	if (le16_to_cpu(h->kind) != kind) {
		scnprintf(why, FZC_REASON_LEN, "page kind %u, expected %u", le16_to_cpu(h->kind),
			  kind);
		return FZC_PAGE_FOREIGN;
	}
	return FZC_PAGE_OK;
}

bool fzc_page_is(const struct fzc_page *page, enum fzc_page_kind kind, u64 format, u64 tag,
		 u32 index)
{
	const struct fzc_page_head *h = &page->head;

	return le16_to_cpu(h->kind) == kind && le64_to_cpu(h->format) == format &&
	       le64_to_cpu(h->tag) == tag && le32_to_cpu(h->index) == index &&
	       fzc_page_sound(page);
}

int fzc_page_pick(const struct fzc_page *a, const struct fzc_page *b, enum fzc_page_kind kind,
		  u64 format, u64 tag, u32 index)
{
	bool a_ok = fzc_page_is(a, kind, format, tag, index);
	bool b_ok = fzc_page_is(b, kind, format, tag, index);

	if (a_ok && b_ok)
		return le64_to_cpu(b->head.seq) > le64_to_cpu(a->head.seq);
	return a_ok ? 0 : b_ok ? 1 : -1;
}

static void put_image(struct fzc_disk_image *d, const struct fzc_img *img)
{
	d->number = cpu_to_le64(img->number);
	d->time = cpu_to_le64(img->time);
	memcpy(d->id, img->id.b, 16);
	memcpy(d->label, img->label, FZC_NAME_LEN);
}

static void get_image(struct fzc_img *img, const struct fzc_disk_image *d)
{
	img->number = le64_to_cpu(d->number);
	img->time = le64_to_cpu(d->time);
	memcpy(img->id.b, d->id, 16);
	memcpy(img->label, d->label, FZC_NAME_LEN);
	img->label[FZC_NAME_LEN - 1] = 0;
}

void fzc_super_encode(const struct fzc_super *sb, struct fzc_page *page)
{
	struct fzc_super_body *d = &page->super;
	u32 i;

	memset(page, 0, sizeof(*page));
	d->role = cpu_to_le32(sb->role);
	d->flags = cpu_to_le32(sb->flags);
	memcpy(d->pair, sb->pair.b, 16);
	d->sectors = cpu_to_le64(sb->sectors);
	d->block_size = cpu_to_le32(sb->block_size);
	d->regions = cpu_to_le32(sb->regions);
	put_image(&d->image, &sb->image);
	put_image(&d->freeze, &sb->freeze);
	d->last_number = cpu_to_le64(sb->last_number);
	d->next_gen = cpu_to_le64(sb->next_gen);
	d->cur = cpu_to_le32(sb->cur);
	d->stage_cur = cpu_to_le32(sb->stage_cur);
	for (i = 0; i < 2; i++) {
		d->gen[i] = cpu_to_le64(sb->gen[i]);
		d->log[i] = cpu_to_le64(sb->log[i]);
	}
	d->unsent_tag = cpu_to_le64(sb->unsent_tag);
	d->building = cpu_to_le64(sb->building);
	memcpy(d->stage, sb->stage.b, 16);
	memcpy(d->session, sb->session.b, 16);
	memcpy(d->pending, sb->pending.b, 16);
	d->told = cpu_to_le64(sb->told);
	memcpy(d->data_hash, sb->data_hash, 32);
	for (i = 0; i < FZC_NR_DEVS; i++) {
		memcpy(d->device[i].id, sb->device[i].id, FZC_DEVICE_ID_LEN);
		d->device[i].sectors = cpu_to_le64(sb->device[i].sectors);
	}
	fzc_page_seal(page, FZC_PAGE_SUPER, sb->format, sb->seq, 0, 0);
}

/* What counts up is not near to its end: it would begin again, and old be taken for new. */
static u64 highest_number(const struct fzc_super *sb)
{
	u64 n = max(max(sb->image.number, sb->freeze.number), max(sb->last_number, sb->building));

	return max(n, max(sb->seq, sb->next_gen));
}

static int check_super(const struct fzc_super *sb, char *why)
{
	if (sb->role != FZC_PRIMARY && sb->role != FZC_SECONDARY)
		scnprintf(why, FZC_REASON_LEN, "superblock: role %u, expected %u or %u", sb->role,
			  FZC_PRIMARY, FZC_SECONDARY);
	else if (sb->flags & ~FZC_SB_FLAGS)
		scnprintf(why, FZC_REASON_LEN, "superblock: flags %#x, expected none but %#x",
			  sb->flags, (u32)FZC_SB_FLAGS);
	else if (sb->cur > 1 || sb->stage_cur > 1)
		scnprintf(why, FZC_REASON_LEN,
			  "superblock: current area %u and stage %u, expected 0 or 1", sb->cur,
			  sb->stage_cur);
	else if (highest_number(sb) > FZC_MAX_NUMBER)
		scnprintf(why, FZC_REASON_LEN,
			  "superblock: a number, sequence or generation is %llu, expected at most %llu",
			  (unsigned long long)highest_number(sb),
			  (unsigned long long)FZC_MAX_NUMBER);
	else if (sb->image.number > sb->last_number && sb->role == FZC_PRIMARY)
		scnprintf(why, FZC_REASON_LEN,
			  "superblock: image %llu committed, expected at most %llu",
			  (unsigned long long)sb->image.number,
			  (unsigned long long)sb->last_number);
	else
		return 0;
	return -EINVAL;
}

int fzc_super_decode(struct fzc_super *sb, const struct fzc_page *page, char *why)
{
	const struct fzc_super_body *d = &page->super;
	u32 i;

	memset(sb, 0, sizeof(*sb));
	sb->format = le64_to_cpu(page->head.format);
	sb->seq = le64_to_cpu(page->head.seq);
	sb->role = min_t(u32, le32_to_cpu(d->role), 255);
	sb->flags = le32_to_cpu(d->flags);
	memcpy(sb->pair.b, d->pair, 16);
	sb->sectors = le64_to_cpu(d->sectors);
	sb->block_size = le32_to_cpu(d->block_size);
	sb->regions = le32_to_cpu(d->regions);
	get_image(&sb->image, &d->image);
	get_image(&sb->freeze, &d->freeze);
	sb->last_number = le64_to_cpu(d->last_number);
	sb->next_gen = le64_to_cpu(d->next_gen);
	sb->cur = min_t(u32, le32_to_cpu(d->cur), 255);
	sb->stage_cur = min_t(u32, le32_to_cpu(d->stage_cur), 255);
	for (i = 0; i < 2; i++) {
		sb->gen[i] = le64_to_cpu(d->gen[i]);
		sb->log[i] = le64_to_cpu(d->log[i]);
	}
	sb->unsent_tag = le64_to_cpu(d->unsent_tag);
	sb->building = le64_to_cpu(d->building);
	memcpy(sb->stage.b, d->stage, 16);
	memcpy(sb->session.b, d->session, 16);
	memcpy(sb->pending.b, d->pending, 16);
	sb->told = le64_to_cpu(d->told);
	memcpy(sb->data_hash, d->data_hash, 32);
	for (i = 0; i < FZC_NR_DEVS; i++) {
		memcpy(sb->device[i].id, d->device[i].id, FZC_DEVICE_ID_LEN);
		sb->device[i].id[FZC_DEVICE_ID_LEN - 1] = 0;
		sb->device[i].sectors = le64_to_cpu(d->device[i].sectors);
	}
	return check_super(sb, why);
}
