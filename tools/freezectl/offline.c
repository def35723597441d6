// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "offline.h"
#include "parse.h"
#include "say.h"

int offline_name(int fd, char *text, size_t len)
{
	char why[FZC_REASON_LEN], uuid[FC_UUID_LEN];
	enum fzc_page_verdict v;
	struct fzc_super sb;
	struct fzc_page page;

	snprintf(text, len, "cannot read its first page");
	if (pread(fd, &page, sizeof(page), 0) != (ssize_t)sizeof(page))
		return -1;
	v = fzc_page_check(&page, FZC_PAGE_SUPER, why);
	if (v == FZC_PAGE_EMPTY)
		return 0;
	if (v == FZC_PAGE_OK && !fzc_super_decode(&sb, &page, why)) {
		uuid_print(sb.pair.b, uuid);
		snprintf(text, len, "the metadata of a freezecopy %s, pair %s",
			 sb.role == FZC_PRIMARY ? "primary" : "secondary", uuid);
	} else if (le32_to_cpu(page.head.magic) == FZC_DISK_MAGIC) {
		snprintf(text, len, "freezecopy metadata");
	} else {
		snprintf(text, len, "data of a kind that is not known");
	}
	return 1;
}

bool offline_read(const struct offline *o, u64 offset, struct fzc_page *page)
{
	return pread(o->fd, page, sizeof(*page), offset) == (ssize_t)sizeof(*page);
}

void offline_close(struct offline *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}

/* --- what it is --- */

static void set_geometry(struct offline *o, u64 sectors, u32 block_size)
{
	if (fzc_geometry_init(&o->geo, sectors, block_size, o->why))
		o->geo.block_size = 0;
}

static bool open_meta(struct offline *o, const struct fzc_page page[2])
{
	o->copy = -1;
	for (int i = 0; i < 2; i++) {
		o->verdict[i] = fzc_page_check(&page[i], FZC_PAGE_SUPER, o->text[i]);
		if (o->verdict[i] == FZC_PAGE_OK &&
		    (o->copy < 0 || le64_to_cpu(page[1].head.seq) > le64_to_cpu(page[0].head.seq)))
			o->copy = i;
	}
	if (o->copy < 0)
		return false;
	o->kind = OFFLINE_META;
	o->format = le64_to_cpu(page[o->copy].head.format);
	o->is_signed = le32_to_cpu(page[o->copy].super.flags) & FZC_SB_ENCRYPTED &&
		       !(le32_to_cpu(page[o->copy].super.flags) & FZC_SB_FORMATTING);
	if (fzc_super_decode(&o->sb, &page[o->copy], o->why))
		o->geo.block_size = 0;
	else
		set_geometry(o, o->sb.sectors, o->sb.block_size);
	return true;
}

/* Pages of older logs lie about; without meta, the newest log is taken as the one that counts. */
static void find_log(struct offline *o)
{
	u64 n = 2ULL * FZC_DIV_ROUND_UP((u64)le32_to_cpu(o->diff.slots), FZC_INDEX_ENTRIES);
	char why[FZC_REASON_LEN];
	struct fzc_page page;

	for (u64 i = 0; i < n; i++)
		if (offline_read(o, FZC_OFF_INDEX + i * FZC_PAGE, &page) &&
		    fzc_page_check(&page, FZC_PAGE_INDEX, why) == FZC_PAGE_OK &&
		    le64_to_cpu(page.head.format) == o->format &&
		    le64_to_cpu(page.head.tag) > o->log)
			o->log = le64_to_cpu(page.head.tag);
}

u32 offline_slots_fit(const struct offline *o)
{
	return fzc_slots_fit(o->bytes, o->geo.block_size, o->geo.tagged);
}

static bool open_diff(struct offline *o, const struct fzc_page *page)
{
	char why[FZC_REASON_LEN];

	if (fzc_page_check(page, FZC_PAGE_DIFF, why) != FZC_PAGE_OK)
		return false;
	o->kind = OFFLINE_DIFF;
	o->diff = page->diff;
	o->format = le64_to_cpu(page->head.format);
	o->is_signed = le32_to_cpu(page->head.features) & FZC_DISK_SIGNED;
	set_geometry(o, le64_to_cpu(o->diff.sectors), le32_to_cpu(o->diff.block_size));
	o->geo.tagged = le32_to_cpu(o->diff.flags) & FZC_DIFF_TAGGED;
	if (o->geo.block_size &&
	    le32_to_cpu(o->diff.slots) > offline_slots_fit(o)) {
		snprintf(o->why, sizeof(o->why), "slots: %u, expected at most %u for %llu bytes",
			 le32_to_cpu(o->diff.slots), offline_slots_fit(o),
			 (unsigned long long)o->bytes);
		o->geo.block_size = 0;
	}
	if (o->geo.block_size)
		find_log(o);
	return true;
}

int offline_open(struct offline *o, const char *path)
{
	struct fzc_page page[2];
	off_t end;

	memset(o, 0, sizeof(*o));
	o->path = path;
	o->fd = open(path, O_RDONLY | O_CLOEXEC);
	end = o->fd < 0 ? -1 : lseek(o->fd, 0, SEEK_END);
	if (end < 0)
		return say(FC_FAILED, "%s: %s", path, strerror(errno));
	o->bytes = end;
	if (!offline_read(o, 0, &page[0]) || !offline_read(o, FZC_PAGE, &page[1]))
		return say(FC_FAILED, "%s: cannot read its first 8 KiB (it has %llu bytes)", path,
			   (unsigned long long)o->bytes);
	if (open_meta(o, page) || open_diff(o, &page[0]))
		return FC_DONE;
	if (o->verdict[0] == FZC_PAGE_EMPTY && o->verdict[1] == FZC_PAGE_EMPTY)
		return say(FC_FAILED,
			   "%s: all zero, expected freezecopy metadata; 'freezectl create' or the first start formats it",
			   path);
	return say(FC_FAILED, "%s: no freezecopy metadata: superblock 0: %s; superblock 1: %s",
		   path, o->text[0], o->text[1]);
}

/* --- arrays of pages --- */

static bool is_torn(const struct fzc_page *page)
{
	char why[FZC_REASON_LEN];

	return fzc_page_check(page, FZC_PAGE_BITMAP, why) == FZC_PAGE_DAMAGED_CRC;
}

/* Bits of the body from @nbits on, which stand for nothing. */
static u64 stray_bits(const struct fzc_page *page, u64 nbits)
{
	u8 first = nbits < FZC_MAP_BITS ? page->body[nbits / 8] >> nbits % 8 : 0;
	u64 n = __builtin_popcount(first);

	for (u64 i = nbits / 8 + 1; i < FZC_BODY; i++)
		n += __builtin_popcount(page->body[i]);
	return n;
}

static void count_page(struct offline_pages *pages, const struct fzc_page copy[2], int pick)
{
	int torn = is_torn(&copy[0]) + is_torn(&copy[1]);

	pages->valid += pick >= 0;
	pages->torn += torn == 1;
	pages->lost += torn == 2;
}

static bool read_bitmap_page(const struct offline *o, enum fzc_area area, u32 n,
			     struct fzc_page *page, int *pick, struct offline_pages *pages)
{
	bool twice = area <= FZC_AREA_CHANGED1;
	u64 tag = twice ? o->sb.gen[area - FZC_AREA_CHANGED0] : o->sb.unsent_tag;
	struct fzc_page copy[2];

	for (int i = 0; i < 1 + twice; i++)
		if (!offline_read(o, fzc_area_offset(&o->geo, area, n, i), &copy[i]))
			return false;
	if (!twice)
		copy[1] = copy[0];
	*pick = fzc_page_pick(&copy[0], &copy[1], FZC_PAGE_BITMAP, o->sb.format, tag, n);
	count_page(pages, copy, *pick);
	*page = copy[*pick == 1];
	return true;
}

/* Is there a page at @offset?  So that a size which is damaged takes no memory. */
static bool reaches(const struct offline *o, u64 offset)
{
	return offset + FZC_PAGE <= o->bytes;
}

bool offline_bitmap(const struct offline *o, enum fzc_area area, struct fzc_map *map, void **mem,
		    struct offline_pages *pages, u64 *stray)
{
	struct fzc_page page;
	int pick;

	*stray = 0;
	*pages = (struct offline_pages){ 0 };
	*mem = reaches(o, fzc_area_offset(&o->geo, area, o->geo.map_pages - 1, 0)) ?
	       calloc(1, fzc_map_bytes(o->geo.blocks)) : NULL;
	if (!*mem)
		return false;
	fzc_map_init(map, *mem, o->geo.blocks);
	for (u32 n = 0; n < o->geo.map_pages; n++) {
		if (!read_bitmap_page(o, area, n, &page, &pick, pages))
			return false;
		if (pick < 0)
			continue;
		if (n == o->geo.map_pages - 1)
			*stray = stray_bits(&page, o->geo.blocks - n * FZC_MAP_BITS);
		fzc_map_import(map, (u64)n * FZC_BODY, page.body, FZC_BODY);
	}
	return true;
}

bool offline_pair(const struct offline *o, u64 offset, enum fzc_page_kind kind,
		  struct fzc_page *page)
{
	struct fzc_page copy[2];
	int pick;

	if (!offline_read(o, offset, &copy[0]) || !offline_read(o, offset + FZC_PAGE, &copy[1]))
		return false;
	pick = fzc_page_pick(&copy[0], &copy[1], kind, o->sb.format, 0, 0);
	*page = copy[pick == 1];
	return pick >= 0;
}

bool offline_regions(const struct offline *o, u64 *open, u64 *stray)
{
	struct fzc_page page;

	*open = 0;
	*stray = 0;
	if (!offline_pair(o, FZC_OFF_REGIONS, FZC_PAGE_REGIONS, &page))
		return false;
	for (u32 r = 0; r < o->geo.regions; r++)
		*open += page.body[r / 8] >> (r % 8) & 1;
	*stray = stray_bits(&page, o->geo.regions);
	return true;
}

/* Like the module's: what does not fit is asked for. */
static bool load_index_page(struct fzc_slots *slots, u32 n, int pick, const struct fzc_page *page,
			    u64 blocks, char why[FZC_REASON_LEN])
{
	struct fzc_chunk *chunk;
	int err;

	while ((err = fzc_slots_load(slots, n, pick, &page->index, blocks, why,
				     FZC_REASON_LEN)) == -EAGAIN) {
		chunk = malloc(sizeof(*chunk));
		if (!chunk) {
			snprintf(why, FZC_REASON_LEN, "no memory for the index");
			return false;
		}
		fzc_slots_give(slots, chunk);
	}
	return !err;
}

void offline_index_free(struct fzc_slots *slots, void *mem)
{
	struct fzc_chunk *chunk;

	if (!mem)
		return;
	while ((chunk = fzc_slots_drop(slots)))
		free(chunk);
	free(mem);
}

bool offline_index(const struct offline *o, struct fzc_slots *slots, void **mem,
		   struct offline_pages *pages, void (*bad)(const char *why, void *arg), void *arg)
{
	bool with_crc = le32_to_cpu(o->diff.role) == FZC_SECONDARY;
	u32 nslots = le32_to_cpu(o->diff.slots), npages = FZC_DIV_ROUND_UP(nslots, FZC_INDEX_ENTRIES);
	struct fzc_page copy[2];
	char why[FZC_REASON_LEN];
	int pick;

	*pages = (struct offline_pages){ 0 };
	*mem = !npages || reaches(o, fzc_index_offset(npages - 1, 1)) ?
	       calloc(1, fzc_slots_bytes(nslots)) : NULL;
	if (!*mem)
		return false;
	fzc_slots_init(slots, *mem, nslots, with_crc);
	for (u32 n = 0; n < npages; n++) {
		for (int i = 0; i < 2; i++)
			if (!offline_read(o, fzc_index_offset(n, i), &copy[i]))
				return false;
		pick = fzc_page_pick(&copy[0], &copy[1], FZC_PAGE_INDEX, o->format, o->log, n);
		count_page(pages, copy, pick);
		if (pick >= 0 && !load_index_page(slots, n, pick, &copy[pick], o->geo.blocks, why))
			bad(why, arg);
	}
	return true;
}

/* --- signatures --- */

/* Where pages of metadata end. */
static u64 pages_end(const struct offline *o)
{
	u64 end = o->kind == OFFLINE_META ? fzc_meta_bytes(&o->geo) :
		  fzc_slots_start(le32_to_cpu(o->diff.slots), o->geo.block_size,
				  o->geo.tagged);

	return min_t(u64, end, o->bytes & ~(u64)(FZC_PAGE - 1));
}

static bool is_formatting(const struct fzc_page *page)
{
	return le16_to_cpu(page->head.kind) == FZC_PAGE_SUPER &&
	       le32_to_cpu(page->super.flags) & FZC_SB_FORMATTING;
}

/* 0: it is as it should be, as far as can be told. */
static int check_signature(const struct offline *o, u64 at, const struct fzc_page *page, char *why)
{
	u8 dev = o->kind == OFFLINE_META ? FZC_META : le32_to_cpu(o->diff.which);

	if (o->vk)
		return fzc_volkey_check(o->vk, &o->keys, dev, at, page, why);
	if (le32_to_cpu(page->head.features) & FZC_DISK_SIGNED)
		return 0;
	snprintf(why, FZC_REASON_LEN, "page at byte %llu is not signed, expected it as others are",
		 (unsigned long long)at);
	return -EBADMSG;
}

bool offline_signatures(const struct offline *o, struct offline_signed *n,
			void (*bad)(const char *why, void *arg), void *arg)
{
	char why[FZC_REASON_LEN];
	struct fzc_page page;

	*n = (struct offline_signed){ 0 };
	for (u64 at = 0; at < pages_end(o); at += FZC_PAGE) {
		if (!offline_read(o, at, &page))
			return false;
		if (!fzc_page_sound(&page) || le64_to_cpu(page.head.format) != o->format ||
		    is_formatting(&page))
			continue;
		n->pages++;
		if (check_signature(o, at, &page, why)) {
			n->wrong++;
			bad(why, arg);
		}
	}
	return true;
}

int offline_wrapped(const char *path, u8 id[2][FZC_KEY_ID])
{
	struct fzc_page *page = aligned_alloc(FZC_PAGE, 2 * sizeof(*page));
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT), n = 0;
	ssize_t got = -1;

	if (fd < 0 && errno == EINVAL)	/* a file on a file system that has no such thing */
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && page)
		got = pread(fd, page, 2 * sizeof(*page), 0);
	if (got != 2 * (ssize_t)sizeof(*page))
		n = got < 0 ? -errno : -EIO;
	for (int i = 0; n >= 0 && i < 2; i++)
		if (fzc_page_sound(&page[i]) && !is_formatting(&page[i]) &&
		    le32_to_cpu(page[i].super.flags) & FZC_SB_ENCRYPTED)
			memcpy(id[n++], page[i].super.wrapped.key, FZC_KEY_ID);
	if (fd >= 0)
		close(fd);
	free(page);
	return n;
}
