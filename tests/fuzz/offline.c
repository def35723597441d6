// SPDX-License-Identifier: GPL-2.0-only
/*
 * freezectl dump and check on the disks of the load target: they end, with an exit
 * code, and what they print is text, and JSON where that was asked for.
 */
#include <getopt.h>
#include <json-c/json.h>
#include <sys/mman.h>
#include <unistd.h>
#include "load.h"
#include "../../tools/freezectl/keyfile.h"
#include "../../tools/freezectl/verbs.h"

static const u8 devs[] = { FZC_META, FZC_DIFF, FZC_DIFF_B };
static int fd = -1;

/* What a verb printed, on both of its streams. */
static char *text;
static size_t len;

/* In place of keyfile.c, which wants files of root. */
void key_protect(void)
{
}

int key_read(const char *name, const char *file, struct fzc_keys *keys)
{
	(void)name, (void)file;
	memset(keys, 0, sizeof(*keys));
	memset(keys->key[0], SHARED_KEY, FZC_KEY_BYTES);
	keys->n = 1;
	return FC_DONE;
}

static int run_verb(const struct verb *verb, bool json)
{
	static char path[32], option[] = "--json", key[] = "--key=db";
	char *argv[] = { (char *)verb->name, path, key, json ? option : NULL, NULL };
	FILE *out = stdout, *err = stderr;
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	stdout = stderr = open_memstream(&text, &len);
	optind = 0;
	rc = verb->run(3 + json, argv);
	fclose(stdout);
	stdout = out;
	stderr = err;
	MUST(rc == FC_DONE || rc == FC_FAILED);
	MUST(len && text[len - 1] == '\n' && strlen(text) == len);
	return rc;
}

/* A label or a name from a disk is not let at a terminal as it is. */
static void check_text(void)
{
	for (const char *c = text; *c; c++)
		MUST(*c == '\n' || (u8)*c >= ' ');
	free(text);
}

static void check_json(void)
{
	struct json_object *o = json_tokener_parse(text);

	MUST(o && json_object_is_type(o, json_type_object));
	json_object_put(o);
	check_text();
}

/* A copy of the device in a file, which may be cut off. */
static void put_file(u8 dev, u8 pages)
{
	const struct disk *d = &W.cur[dev];
	u32 nslots = W.geo.slots[dev == FZC_DIFF_B], i;
	u64 bytes = dev == FZC_META ? fzc_meta_bytes(&W.geo) :
				      fzc_slot_offset(&W.geo, nslots, nslots);

	if (fd < 0)
		fd = memfd_create("device", 0);
	MUST(!ftruncate(fd, 0) && !ftruncate(fd, pages < MAX_PAGES ? pages * FZC_PAGE : bytes));
	for (i = 0; i < min_t(u32, pages, MAX_PAGES); i++)
		if (d->used >> i & 1)
			MUST(pwrite(fd, &d->page[i], FZC_PAGE, i * FZC_PAGE) == (ssize_t)FZC_PAGE);
}

static void run(const u8 *data, size_t size)
{
	struct in in = { data, data + size };
	u8 which, pages;
	int rc;

	image_take(take(&in));
	which = take(&in);
	pages = which & 0x80 ? take(&in) % MAX_PAGES : MAX_PAGES;
	image_damage(&in);
	put_file(devs[which % 3], pages);
	run_verb(&verb_check, false);
	check_text();
	rc = run_verb(&verb_dump, which & 0x40);
	if (rc == FC_DONE && which & 0x40)
		check_json();
	else
		check_text();
}

static void seeds(void (*emit)(const void *data, size_t len))
{
	u8 buf[2];
	u32 n;

	for (n = 0; n < 12 * NR_IMAGES; n++) {
		buf[0] = n / 6 % NR_IMAGES | (n < 6 * NR_IMAGES ? 0 : SIGNED);
		buf[1] = n % 3 | (n % 6 > 2 ? 0x40 : 0);
		emit(buf, sizeof(buf));
	}
}

const struct target target_offline = { "offline", run, seeds };
