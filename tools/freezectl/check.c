// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

#include "offline.h"
#include "parse.h"
#include "prove.h"
#include "verbs.h"

static const struct option options[] = {
	{ "key", required_argument, NULL, 'k' },
	{ "meta", required_argument, NULL, 'm' },
	{ 0 }
};

struct check {
	struct offline f;
	int findings;
};

/* "DEVICE: FIELD: VALUE, expected ..." */
static void __printf(2, 3) found(struct check *c, const char *fmt, ...)
{
	va_list ap;

	c->findings++;
	printf("%s: ", c->f.path);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static unsigned long long ull(u64 v)
{
	return v;
}

/* --- meta --- */

/*
 * A copy that is torn is what the other is for; a copy that was never written
 * is that of a device just formatted.
 */
static void check_copies(struct check *c)
{
	for (int i = 0; i < 2; i++)
		if (c->f.verdict[i] == FZC_PAGE_FOREIGN || c->f.verdict[i] == FZC_PAGE_NEWER)
			found(c, "superblock %d: %s", i, c->f.text[i]);
		else if (c->f.verdict[i] == FZC_PAGE_DAMAGED_CRC)
			note("%s: superblock %d is torn (%s); superblock %d counts", c->f.path, i,
			     c->f.text[i], !i);
}

static void check_sizes(struct check *c)
{
	const struct fzc_super *sb = &c->f.sb;
	u64 need = fzc_meta_bytes(&c->f.geo);

	if (c->f.bytes < need)
		found(c, "size: %llu bytes, expected at least %llu for %llu blocks",
		      ull(c->f.bytes), ull(need), ull(c->f.geo.blocks));
	if (sb->regions != c->f.geo.regions)
		found(c, "superblock.regions: %u, expected %u", sb->regions, c->f.geo.regions);
	if (sb->device[FZC_DATA].sectors && sb->device[FZC_DATA].sectors < sb->sectors)
		found(c, "superblock.devices.data.sectors: %llu, expected at least %llu",
		      ull(sb->device[FZC_DATA].sectors), ull(sb->sectors));
	if (sb->device[FZC_META].sectors > c->f.bytes / FZC_SECTOR)
		found(c, "superblock.devices.meta.sectors: %llu, expected at most %llu",
		      ull(sb->device[FZC_META].sectors), ull(c->f.bytes / FZC_SECTOR));
}

static void check_flags(struct check *c)
{
	const u32 secondary = FZC_SB_BLANK | FZC_SB_MERGING | FZC_SB_RECOVERED;
	const u32 primary = FZC_SB_FIRST_COPY | FZC_SB_NEW_STAGE | FZC_SB_FREEZE | FZC_SB_COPIED |
			    FZC_SB_TAINTED;
	const u32 known = FZC_SB_FLAGS;
	const struct fzc_super *sb = &c->f.sb;
	u32 wrong = sb->role == FZC_PRIMARY ? secondary : primary & ~FZC_SB_FIRST_COPY;

	if (sb->flags & ~known)
		found(c, "superblock.flags: %#x, expected none but %#x", sb->flags, known);
	if (sb->flags & wrong)
		found(c, "superblock.flags: %#x, expected none of %#x on a %s", sb->flags, wrong,
		      sb->role == FZC_PRIMARY ? "primary" : "secondary");
}

static void check_primary(struct check *c)
{
	const struct fzc_super *sb = &c->f.sb;
	bool freeze = sb->flags & FZC_SB_FREEZE;

	if (freeze != !!sb->freeze.number)
		found(c, "superblock.freeze.number: %llu, expected %s, as the freeze flag says",
		      ull(sb->freeze.number), freeze ? "a number" : "0");
	if (sb->freeze.number > sb->last_number)
		found(c, "superblock.freeze.number: %llu, expected at most %llu (last_number)",
		      ull(sb->freeze.number), ull(sb->last_number));
	if (freeze && sb->freeze.number <= sb->image.number)
		found(c, "superblock.freeze.number: %llu, expected more than %llu (image.number)",
		      ull(sb->freeze.number), ull(sb->image.number));
	if (!sb->gen[sb->cur & 1])
		found(c, "superblock.generation_%d: 0, expected the current generation", sb->cur);
	if (sb->gen[0] && sb->gen[0] == sb->gen[1])
		found(c, "superblock.generation_1: %llu, expected another than generation_0",
		      ull(sb->gen[1]));
}

static void check_generations(struct check *c)
{
	const struct fzc_super *sb = &c->f.sb;

	for (int i = 0; i < 2; i++)
		if (sb->gen[i] > sb->next_gen)
			found(c,
			      "superblock.generation_%d: %llu, expected at most %llu (next_generation)",
			      i, ull(sb->gen[i]), ull(sb->next_gen));
	if (sb->unsent_tag > sb->next_gen)
		found(c, "superblock.unsent_tag: %llu, expected at most %llu (next_generation)",
		      ull(sb->unsent_tag), ull(sb->next_gen));
}

static void check_regions(struct check *c)
{
	u64 open, stray;

	if (!offline_regions(&c->f, &open, &stray)) {
		found(c, "regions: no valid copy, expected one of pages 2 and 3");
		return;
	}
	if (stray)
		found(c, "regions: %llu bits beyond the last region, expected none", ull(stray));
	if (open && c->f.sb.role == FZC_PRIMARY && c->f.sb.flags & FZC_SB_CLEAN)
		found(c, "regions: %llu open, expected none after a clean stop", ull(open));
}

static void check_pages(struct check *c, const char *name, const struct offline_pages *pages)
{
	if (pages->lost)
		found(c, "%s: %llu damaged pages, expected none without a valid copy", name,
		      ull(pages->lost));
	if (pages->torn)
		note("%s: %s: one copy of %llu pages is torn", c->f.path, name, ull(pages->torn));
}

static void check_bitmap(struct check *c, const char *name, enum fzc_area area)
{
	struct offline_pages pages;
	struct fzc_map map;
	void *mem;
	u64 stray;

	if (!offline_bitmap(&c->f, area, &map, &mem, &pages, &stray))
		found(c, "%s: cannot be read", name);
	else if (stray)
		found(c, "%s: %llu bits beyond the last block, expected none", name, ull(stray));
	check_pages(c, name, &pages);
	free(mem);
}

static void check_damaged(struct check *c)
{
	struct fzc_page page;
	u32 n;

	if (!offline_pair(&c->f, FZC_OFF_DAMAGED, FZC_PAGE_DAMAGED, &page))
		return;		/* written when there is something to write */
	n = le32_to_cpu(page.damaged.n);
	if (n > FZC_MAX_DAMAGED) {
		found(c, "damaged.n: %u, expected at most %u", n, FZC_MAX_DAMAGED);
		return;
	}
	for (u32 i = 0; i < n; i++)
		if (le64_to_cpu(page.damaged.block[i]) >= c->f.geo.blocks)
			found(c, "damaged.block %u: %llu, expected less than %llu", i,
			      ull(le64_to_cpu(page.damaged.block[i])), ull(c->f.geo.blocks));
}

static void check_meta(struct check *c)
{
	const struct fzc_super *sb = &c->f.sb;

	check_copies(c);
	if (!c->f.geo.block_size) {
		found(c, "%s", c->f.why);
		return;
	}
	check_sizes(c);
	check_flags(c);
	if (sb->flags & FZC_SB_FORMATTING)
		return;		/* the rest is not written yet */
	check_generations(c);
	if (sb->role == FZC_PRIMARY)
		check_primary(c);
	else
		check_damaged(c);
	check_regions(c);
	if (sb->gen[0])
		check_bitmap(c, "changed_0", FZC_AREA_CHANGED0);
	if (sb->gen[1])
		check_bitmap(c, "changed_1", FZC_AREA_CHANGED1);
	if (sb->role == FZC_PRIMARY && sb->flags & FZC_SB_CLEAN)
		check_bitmap(c, "unsent", FZC_AREA_UNSENT);
	if (sb->role == FZC_PRIMARY && sb->flags & FZC_SB_CLEAN && sb->flags & FZC_SB_FREEZE)
		check_bitmap(c, "frozen", FZC_AREA_FROZEN);
}

/* --- difference volumes --- */

static void bad_page(const char *why, void *arg)
{
	found(arg, "%s", why);
}

static void check_diff_head(struct check *c)
{
	const struct fzc_diff_body *d = &c->f.diff;
	u32 role = le32_to_cpu(d->role), which = le32_to_cpu(d->which);
	u32 fit = offline_slots_fit(&c->f);

	if (role != FZC_PRIMARY && role != FZC_SECONDARY)
		found(c, "role: %u, expected %d or %d", role, FZC_PRIMARY, FZC_SECONDARY);
	if (which != FZC_DIFF && !(which == FZC_DIFF_B && role == FZC_SECONDARY))
		found(c, "which: %u, expected %d%s", which, FZC_DIFF,
		      role == FZC_SECONDARY ? " or 3" : "");
	if (le32_to_cpu(d->slots) != fit)
		found(c, "slots: %u, expected %u for %llu bytes", le32_to_cpu(d->slots), fit,
		      ull(c->f.bytes));
}

static void check_diff(struct check *c)
{
	struct offline_pages pages;
	struct fzc_slots slots;
	void *mem = NULL;

	if (!c->f.geo.block_size) {
		found(c, "%s", c->f.why);
		return;
	}
	check_diff_head(c);
	if (!offline_index(&c->f, &slots, &mem, &pages, bad_page, c))
		found(c, "index: cannot be read");
	else
		check_pages(c, "index", &pages);
	offline_index_free(&slots, mem);
}

/* Devices that were swapped, or changed, have good checksums. */
static void check_signatures(struct check *c, const char *key)
{
	struct offline_signed n;

	if (key && !c->f.is_signed && !(c->f.sb.flags & FZC_SB_FORMATTING))
		found(c, "signatures: none, expected those of the key %s", key);
	if (!c->f.is_signed || !c->f.geo.block_size)
		return;
	if (!c->f.vk)
		note("%s: %s", c->f.path, prove_state(&c->f));
	if (!offline_signatures(&c->f, &n, bad_page, c))
		found(c, "signatures: not all pages can be read");
}

static int run(int argc, char **argv)
{
	struct prove with = { 0 };
	struct check c = { 0 };
	const char *device;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (opt == 'k')
			with.key = optarg;
		else if (opt == 'm')
			with.meta = optarg;
		else
			return say_usage("check", NULL);
	device = only_argument(argc, argv);
	if (!device)
		return say_usage("check", "expected one DEVICE");
	rc = offline_open(&c.f, device);
	if (!rc)
		rc = prove(&c.f, &with);
	if (!rc && c.f.kind == OFFLINE_META)
		check_meta(&c);
	else if (!rc)
		check_diff(&c);
	if (!rc)
		check_signatures(&c, with.key);
	prove_wipe(&c.f);
	offline_close(&c.f);
	if (!rc && !c.findings)
		printf("%s: no findings\n", device);
	return rc || c.findings ? FC_FAILED : FC_DONE;
}

const struct verb verb_check = {
	.name = "check",
	.args = "DEVICE [--key NAME [--meta DEVICE]]",
	.summary = "check the metadata on a meta or diff device, offline",
	.help =
	"Reads the device of a stopped volume, or a copy of it in a file, and never writes.\n"
	"Prints a line for each finding: field, value, what was expected; exit code 1. What\n"
	"a crash may leave (one of two copies torn) is mentioned on stderr and is none.\n"
	"\n"
	"  --key NAME      stage_encryption is on: check what each page is signed with;\n"
	"                  devices that were swapped, or changed by somebody, are found\n"
	"  --meta DEVICE   for a difference volume: where its keys are\n"
	"\n"
	"Example:\n"
	"  freezectl stop db && freezectl check /dev/vg/db-meta --key db\n"
	"  freezectl check /dev/vg/db-diff --key db --meta /dev/vg/db-meta",
	.run = run,
};
