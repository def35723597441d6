// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <json-c/json.h>
#include <stdlib.h>

#include "offline.h"
#include "parse.h"
#include "prove.h"
#include "verbs.h"

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "key", required_argument, NULL, 'k' },
	{ "meta", required_argument, NULL, 'm' },
	{ 0 }
};

static const char *const flag_names[] = {
	"clean", "first-copy", "changed-all", "new-stage", "freeze", "folding", "blank", "merging",
	"recovered", "copied", "formatting", "encrypted", "tainted",
};

static const char *const verdicts[] = {
	[FZC_PAGE_OK] = "valid", [FZC_PAGE_EMPTY] = "empty", [FZC_PAGE_FOREIGN] = "foreign",
	[FZC_PAGE_DAMAGED_CRC] = "damaged", [FZC_PAGE_NEWER] = "newer",
};

static const char *const device_names[] = { "meta", "data", "diff", "diff-b" };

static void put_u64(struct json_object *o, const char *key, u64 value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void put_text(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void put_id(struct json_object *o, const char *key, const u8 id[16])
{
	char uuid[FC_UUID_LEN];

	uuid_print(id, uuid);
	put_text(o, key, uuid);
}

static struct json_object *put_object(struct json_object *o, const char *key)
{
	struct json_object *sub = json_object_new_object();

	json_object_object_add(o, key, sub);
	return sub;
}

static void put_role(struct json_object *o, u32 role)
{
	put_text(o, "role", role == FZC_PRIMARY ? "primary" : role == FZC_SECONDARY ? "secondary" :
		 "unknown");
}

static void put_image(struct json_object *o, const char *key, const struct fzc_img *image)
{
	struct json_object *i = put_object(o, key);

	put_u64(i, "number", image->number);
	put_id(i, "id", image->id.b);
	put_u64(i, "time", image->time);
	put_text(i, "label", image->label);
}

static void put_flags(struct json_object *o, u32 flags)
{
	struct json_object *list = json_object_new_array();

	for (u32 i = 0; i < ARRAY_SIZE(flag_names); i++)
		if (flags & 1U << i)
			json_object_array_add(list, json_object_new_string(flag_names[i]));
	if (flags >> ARRAY_SIZE(flag_names))
		json_object_array_add(list, json_object_new_string("unknown"));
	json_object_object_add(o, "flags", list);
}

static void put_super(struct json_object *o, const struct fzc_super *sb)
{
	put_role(o, sb->role);
	put_flags(o, sb->flags);
	put_u64(o, "sequence", sb->seq);
	put_u64(o, "format", sb->format);
	put_id(o, "pair", sb->pair.b);
	put_u64(o, "sectors", sb->sectors);
	put_u64(o, "block_size", sb->block_size);
	put_u64(o, "regions", sb->regions);
	put_image(o, "image", &sb->image);
	put_image(o, "freeze", &sb->freeze);
	put_u64(o, "last_number", sb->last_number);
	put_u64(o, "next_generation", sb->next_gen);
	put_u64(o, "generation_0", sb->gen[0]);
	put_u64(o, "generation_1", sb->gen[1]);
	put_u64(o, "current", sb->cur);
	put_u64(o, "log_0", sb->log[0]);
	put_u64(o, "log_1", sb->log[1]);
	put_u64(o, "unsent_tag", sb->unsent_tag);
	put_u64(o, "building", sb->building);
	put_id(o, "stage", sb->stage.b);
	put_id(o, "session", sb->session.b);
	put_id(o, "pending", sb->pending.b);
	put_u64(o, "told", sb->told);
}

static void put_devices(struct json_object *o, const struct fzc_super *sb)
{
	struct json_object *devices = put_object(o, "devices"), *d;

	for (int i = 0; i < FZC_NR_DEVS; i++) {
		if (!sb->device[i].sectors)
			continue;
		d = put_object(devices, device_names[i]);
		put_text(d, "id", sb->device[i].id);
		put_u64(d, "sectors", sb->device[i].sectors);
	}
}

/* "0-7 12 15-16" */
static void put_ranges(struct json_object *o, const struct fzc_map *map)
{
	struct json_object *text;
	char *buf = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&buf, &len);

	if (!f)
		return;
	for (u64 b = fzc_map_next(map, 0), e; b < map->nbits; b = fzc_map_next(map, e)) {
		for (e = b + 1; e < map->nbits && fzc_map_test(map, e); )
			e++;
		fprintf(f, "%s%llu", ftell(f) ? " " : "", (unsigned long long)b);
		if (e - b > 1)
			fprintf(f, "-%llu", (unsigned long long)e - 1);
	}
	fclose(f);
	text = json_object_new_string(buf);
	json_object_object_add(o, "ranges", text);
	free(buf);
}

static void put_bitmap(struct json_object *o, const char *key, const struct offline *f,
		       enum fzc_area area)
{
	struct json_object *b = put_object(o, key);
	struct offline_pages pages;
	struct fzc_map map;
	void *mem;
	u64 stray;

	if (offline_bitmap(f, area, &map, &mem, &pages, &stray)) {
		put_u64(b, "pages", pages.valid);
		put_u64(b, "torn", pages.torn);
		put_u64(b, "lost", pages.lost);
		put_u64(b, "blocks", map.count);
		put_ranges(b, &map);
	} else {
		put_text(b, "error", "cannot read it");
	}
	free(mem);
}

static void put_meta_arrays(struct json_object *o, const struct offline *f)
{
	u64 open, stray;

	put_u64(o, "regions_open", offline_regions(f, &open, &stray) ? open : f->geo.regions);
	if (f->sb.gen[0])
		put_bitmap(o, "changed_0", f, FZC_AREA_CHANGED0);
	if (f->sb.gen[1])
		put_bitmap(o, "changed_1", f, FZC_AREA_CHANGED1);
	if (f->sb.role == FZC_PRIMARY && f->sb.flags & FZC_SB_CLEAN) {
		put_bitmap(o, "unsent", f, FZC_AREA_UNSENT);
		put_bitmap(o, "frozen", f, FZC_AREA_FROZEN);
	}
}

static void put_secondary(struct json_object *o, const struct offline *f)
{
	struct json_object *sub;
	struct fzc_page page;

	if (offline_pair(f, FZC_OFF_PROGRESS, FZC_PAGE_PROGRESS, &page)) {
		sub = put_object(o, "progress");
		put_id(sub, "session", page.progress.session);
		put_u64(sub, "frames", le64_to_cpu(page.progress.frames));
	}
	if (offline_pair(f, FZC_OFF_DAMAGED, FZC_PAGE_DAMAGED, &page))
		put_u64(o, "damaged", le32_to_cpu(page.damaged.n));
}

static void put_wrapped(struct json_object *o, const struct offline *f)
{
	char id[2 * FZC_KEY_ID + 1];
	struct fzc_page page;

	if (!f->is_signed || !offline_read(f, FZC_OFF_SUPER + f->copy * FZC_PAGE, &page))
		return;
	fzc_key_id_print(page.super.wrapped.key, id);
	put_text(o, "wrapped_with", id);
}

static void put_meta(struct json_object *o, const struct offline *f)
{
	struct json_object *sub;

	put_text(o, "superblock_0", verdicts[f->verdict[0]]);
	put_text(o, "superblock_1", verdicts[f->verdict[1]]);
	put_u64(o, "superblock_used", f->copy);
	sub = put_object(o, "superblock");
	put_super(sub, &f->sb);
	put_devices(sub, &f->sb);
	put_wrapped(sub, f);
	if (!f->geo.block_size) {
		put_text(o, "error", f->why);
		return;
	}
	put_meta_arrays(o, f);
	if (f->sb.role == FZC_SECONDARY)
		put_secondary(o, f);
}

/* Bad pages are check's business. */
static void ignore(const char *why, void *arg)
{
	(void)why;
	(void)arg;
}

static void put_entries(struct json_object *o, const struct fzc_slots *s)
{
	struct json_object *list = json_object_new_array(), *e;

	for (u32 slot = fzc_slots_next(s, 0); slot < s->nslots; slot = fzc_slots_next(s, slot + 1)) {
		bool zero = *fzc_slot_flags(s, slot) & FZC_SLOT_ZERO;

		e = json_object_new_object();
		put_u64(e, "slot", slot);
		put_u64(e, "block", *fzc_slot_block(s, slot));
		json_object_object_add(e, "zero", json_object_new_boolean(zero));
		json_object_array_add(list, e);
	}
	json_object_object_add(o, "entries", list);
}

static void put_diff(struct json_object *o, const struct offline *f)
{
	struct json_object *index;
	struct offline_pages pages;
	struct fzc_slots slots;
	void *mem = NULL;

	put_role(o, le32_to_cpu(f->diff.role));
	put_text(o, "which", le32_to_cpu(f->diff.which) == FZC_DIFF_B ? "diff-b" : "diff");
	put_id(o, "pair", f->diff.pair);
	put_u64(o, "format", f->format);
	put_u64(o, "sectors", le64_to_cpu(f->diff.sectors));
	put_u64(o, "block_size", le32_to_cpu(f->diff.block_size));
	put_u64(o, "slots", le32_to_cpu(f->diff.slots));
	index = put_object(o, "index");
	put_u64(index, "log", f->log);
	if (!f->geo.block_size) {
		put_text(index, "error", f->why);
	} else if (offline_index(f, &slots, &mem, &pages, ignore, NULL)) {
		put_u64(index, "pages", pages.valid);
		put_u64(index, "torn", pages.torn);
		put_u64(index, "lost", pages.lost);
		put_u64(index, "used", slots.used);
		put_entries(index, &slots);
	} else {
		put_text(index, "error", "cannot read it");
	}
	offline_index_free(&slots, mem);
}

static void put_signatures(struct json_object *o, const struct offline *f)
{
	struct json_object *s = put_object(o, "signatures");
	struct offline_signed n;

	put_text(s, "state", prove_state(f));
	if (!f->is_signed || !f->geo.block_size)
		return;
	if (!offline_signatures(f, &n, ignore, NULL)) {
		put_text(s, "error", "cannot read all pages");
		return;
	}
	put_u64(s, "pages", n.pages);
	put_u64(s, "wrong", n.wrong);
}

/* "superblock.image.number = 7" */
static void print_flat(const char *path, struct json_object *o)
{
	char sub[512];

	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, key, value) {
			snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "." : "", key);
			print_flat(sub, value);
		}
	} else if (json_object_is_type(o, json_type_string)) {
		printf("%s = ", path);
		print_safely(stdout, json_object_get_string(o), SIZE_MAX);
		putchar('\n');
	} else {
		printf("%s = %s\n", path,
		       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	}
}

static int run(int argc, char **argv)
{
	struct prove with = { 0 };
	struct json_object *o;
	const char *device;
	bool json = false;
	struct offline f;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j')
			json = true;
		else if (opt == 'k')
			with.key = optarg;
		else if (opt == 'm')
			with.meta = optarg;
		else
			return say_usage("dump", NULL);
	}
	device = only_argument(argc, argv);
	if (!device)
		return say_usage("dump", "expected one DEVICE");
	rc = offline_open(&f, device);
	if (!rc)
		rc = prove(&f, &with);
	if (!rc) {
		o = json_object_new_object();
		put_text(o, "device", device);
		put_text(o, "kind", f.kind == OFFLINE_META ? "meta" : "diff");
		if (f.kind == OFFLINE_META)
			put_meta(o, &f);
		else
			put_diff(o, &f);
		put_signatures(o, &f);
		if (json)
			puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
		else
			print_flat("", o);
		json_object_put(o);
	}
	prove_wipe(&f);
	offline_close(&f);
	return rc;
}

const struct verb verb_dump = {
	.name = "dump",
	.args = "DEVICE [--json] [--key NAME [--meta DEVICE]]",
	.summary = "print the metadata on a meta or diff device, offline",
	.help =
	"Reads the device, or a copy of it in a file, and never writes. While the volume\n"
	"runs, what it prints is not of one moment.\n"
	"\n"
	"  --json          as one object\n"
	"  --key NAME      check what it is signed with, if stage_encryption is on\n"
	"  --meta DEVICE   for a difference volume: where its keys are\n"
	"\n"
	"Example:\n"
	"  freezectl dump /dev/vg/db-meta",
	.run = run,
};
