// SPDX-License-Identifier: GPL-2.0-only
/*
 * Without libFuzzer: look at the target's own seeds and at the files of the
 * folders that are named.  Usage: TARGET [FOLDER...], or TARGET --seeds FOLDER,
 * which writes the seeds there.
 */
#include <dirent.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <unistd.h>
#include "fuzz.h"

#define MAX_LEN		65536
#define MAX_SECONDS	30	/* for one input */

extern const struct target TARGET;

static const char *folder;
static char file[4096];		/* that is looked at */
static u32 passed, nseeds;

static void die(const char *path)
{
	perror(path);
	exit(2);
}

/* Which one it was that ended all of it. */
static void say_file(void)
{
	if (write(2, file, strlen(file)) > 0 && write(2, "\n", 1) > 0)
		return;
}

static void on_signal(int sig)
{
	say_file();
	signal(sig, SIG_DFL);
	raise(sig);
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

static void look_at_file(void)
{
	static u8 data[MAX_LEN];
	FILE *f = fopen(file, "re");

	if (!f)
		die(file);
	alarm(MAX_SECONDS);
	look(data, fread(data, 1, sizeof(data), f));
	alarm(0);
	fclose(f);
}

static void look_at_folder(const char *path)
{
	struct dirent **list;
	int n = scandir(path, &list, NULL, alphasort);

	if (n < 0)
		die(path);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, list[i]->d_name);
		if (list[i]->d_name[0] != '.')
			look_at_file();
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
	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_signal);
	__sanitizer_set_death_callback(say_file);
	strcpy(file, "one of the seeds");
	TARGET.seeds(look);
	for (int i = 1; i < argc; i++)
		look_at_folder(argv[i]);
	printf("%s: %u inputs\n", TARGET.name, passed);
	return !passed;
}
