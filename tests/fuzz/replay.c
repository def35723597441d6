// SPDX-License-Identifier: GPL-2.0-only
/*
 * Without libFuzzer: look at the target's own seeds and at the files of the
 * folders that are named.  Usage: TARGET [FOLDER...], or TARGET --seeds FOLDER,
 * which writes the seeds there.
 */
#include <dirent.h>
#include <unistd.h>
#include "fuzz.h"

#define MAX_LEN	65536

extern const struct target TARGET;

static const char *folder;
static u32 passed, nseeds;

static void die(const char *path)
{
	perror(path);
	exit(2);
}

/* In memory of just that length, so that a byte too many is noticed. */
static void look(const void *data, size_t len)
{
	u8 *copy = malloc(len);

	memcpy(copy, data, len);
	TARGET.run(copy, len);
	free(copy);
	passed++;
}

static void look_at_file(const char *path)
{
	static u8 data[MAX_LEN];
	FILE *f = fopen(path, "re");

	if (!f)
		die(path);
	/* which one it was, should it be the last */
	if (alarm(10))
		exit(2);
	fprintf(stderr, "%s\r", path);
	look(data, fread(data, 1, sizeof(data), f));
	alarm(0);
	fclose(f);
}

static void look_at_folder(const char *path)
{
	struct dirent **list;
	int n = scandir(path, &list, NULL, alphasort);
	char file[4096];

	if (n < 0)
		die(path);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, list[i]->d_name);
		if (list[i]->d_name[0] != '.')
			look_at_file(file);
		free(list[i]);
	}
	free(list);
}

static void write_seed(const void *data, size_t len)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/seed-%03u", folder, nseeds++);
	f = fopen(path, "we");
	if (!f || fwrite(data, 1, len, f) != len || fclose(f))
		die(path);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--seeds")) {
		folder = argv[2];
		TARGET.seeds(write_seed);
		return 0;
	}
	TARGET.seeds(look);
	for (int i = 1; i < argc; i++)
		look_at_folder(argv[i]);
	fprintf(stderr, "\n");
	printf("%s: %u inputs\n", TARGET.name, passed);
	return !passed;
}
