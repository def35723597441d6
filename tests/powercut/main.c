// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cut the power of both machines at points of a recording, and look at what is left.
 *
 *   replay [OPTION]... FOLDER
 *	-n N		points, spread over the recording (20000)
 *	-s SEED		of what each cut keeps (1)
 *	-p EVENT.N	only this point
 *	-x FOLDER	with -p: write what is left of each disk, and what each machine shows, there
 *	-d MACHINE-ROLE	from the first image on, that disk's flushes do nothing: must fail
 *	-c FZCHECK	the program that says whether an image is a legal one of its freeze
 *
 * At each point, what the primary shows is compared with the load's log (P3)
 * and with the image that it takes for committed: `changed` must hold every
 * difference.  What the secondary shows must be one image, in which every point
 * that names it agrees, that is not older than any the primary knew to be
 * committed (P1, P2), and a legal one of its freeze.
 *
 * Ends with "N passed, N failed"; exit code 0, or 1 if any failed.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "replay.h"

#define MAX_IMAGES	4096
#define MAX_FAILURES	20	/* then it ends */
#define SOON		16	/* events */

/* By number: what the secondary shows of it. */
static struct image {
	struct fzc_id id;
	u32 *view;
} images[MAX_IMAGES];

static const char *dir, *fzcheck, *export_dir, *liar;
static u64 seed = 1;
static u32 points = 20000, only_event = U32_MAX, only_number;
static u64 reported;	/* the primary said that this image is committed */
static u64 lowest[2];	/* durable image number of primary and secondary, at some time before */
static u64 seen;	/* image number of the secondary, without a power cut */
static u32 passed, failed;
static char why[1024];

static const char *P(const char *fmt, ...) __printf(1, 2);
static const char *P(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return why;
}

static unsigned long long ull(u64 v)
{
	return v;
}

static void save(const char *machine, const char *what, const u32 *name, u32 n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s-%s.img", export_dir, machine, what);
	f = fopen(path, "w");
	for (u32 i = 0; f && i < n; i++)
		fwrite(content(name[i]), PC_SECTOR, 1, f);
	if (!f || fclose(f))
		give_up("%s: %s", path, strerror(errno));
}

/* Every point that shows an image must show the same. */
static const char *check_image(const struct shown *sh)
{
	struct image *im = &images[sh->image.number];
	u32 n = volume_sectors();

	if (sh->image.number >= MAX_IMAGES)
		give_up("image %llu: expected less than %u", ull(sh->image.number), MAX_IMAGES);
	if (!im->view) {
		im->view = grab(n, sizeof(u32));
		memcpy(im->view, sh->view, n * sizeof(u32));
		im->id = sh->image.id;
	}
	if (!fzc_id_equal(&im->id, &sh->image.id))
		return P("P1: there are two images %llu", ull(sh->image.number));
	for (u32 i = 0; i < n; i++)
		if (im->view[i] != sh->view[i])
			return P("P1: sector %u of image %llu is not what it was at another point",
				 i, ull(sh->image.number));
	return NULL;
}

static const char *check_secondary(u64 primary_image, enum state which)
{
	const char *bad;
	struct shown sh;

	bad = secondary_show(which, &sh);
	if (bad)
		return bad;
	if (export_dir && which == CUT && sh.image.number)
		save("secondary", "view", sh.view, volume_sectors());
	if (sh.image.number < reported)
		return P("P2: the secondary shows image %llu, the primary had reported %llu",
			 ull(sh.image.number), ull(reported));
	if (sh.image.number < primary_image)
		return P("P2: the secondary shows image %llu, the primary has recorded %llu as committed",
			 ull(sh.image.number), ull(primary_image));
	if (sh.image.number < lowest[1])
		return P("P2: the secondary falls back from image %llu to %llu", ull(lowest[1]),
			 ull(sh.image.number));
	return sh.image.number ? check_image(&sh) : NULL;
}

static const char *check_changed(const struct shown *sh)
{
	const struct image *im = &images[sh->image.number];
	u32 per = block_sectors();

	if (!sh->image.number)
		return NULL;
	if (sh->image.number >= MAX_IMAGES || !im->view)
		return P("P1: the primary has image %llu for committed, which the secondary never had",
			 ull(sh->image.number));
	for (u32 i = 0; i < volume_sectors(); i++)
		if (im->view[i] != sh->view[i] && !fzc_map_test(sh->changed[0], i / per) &&
		    !fzc_map_test(sh->changed[1], i / per))
			return P("P1: block %u of the primary differs from image %llu and is not in changed",
				 i / per, ull(sh->image.number));
	return NULL;
}

static const char *check_primary(struct shown *sh, enum state which)
{
	const char *bad = primary_show(which, sh);

	if (!bad && sh->image.number < lowest[0])
		bad = P("the primary falls back from image %llu to %llu", ull(lowest[0]),
			ull(sh->image.number));
	if (!bad)
		bad = oracle_check(sh->view);
	return bad ? bad : check_changed(sh);
}

static const char *check_both(enum state which)
{
	struct shown pri;
	const char *bad = check_primary(&pri, which);

	if (bad)
		return bad;
	if (export_dir && which == CUT)
		save("primary", "view", pri.view, volume_sectors());
	return check_secondary(pri.image.number, which);
}

static void verdict(u32 event, u32 number, const char *bad)
{
	if (!bad) {
		passed++;
		return;
	}
	printf("FAIL at %u.%u: %s\n  repeat: make powercut REPLAY=%s SEED=%llu POINT=%u.%u\n",
	       event, number, bad, dir, ull(seed), event, number);
	fflush(stdout);
	failed++;
}

static void point(u32 event, u32 number)
{
	struct cut cut = { .event = event };
	u64 state = seed * 0x9e3779b97f4a7c15ULL ^ (u64)event << 20 ^ number;

	cut.strict = !pc_below(&state, 4);
	cut.seed = pc_random(&state);
	media_cut(&cut);
	for (u32 i = 0; export_dir && i < rec.head.disks; i++)
		save(rec.head.disk[i].machine, rec.head.disk[i].role, media[i].cut,
		     media[i].sectors);
	verdict(event, number, check_both(CUT));
}

/* After a power cut in the recording itself: what was lost is known. */
static void after_death(u32 event, u32 died)
{
	struct shown pri;

	verdict(event, 0, check_both(NOW));
	if (strcmp(rec.head.disk[rec.event[died].disk].machine, "primary"))
		return;
	if (!primary_show(NOW, &pri))
		oracle_died(pri.view);
}

static int find_medium(const char *name)
{
	char machine[32];

	snprintf(machine, sizeof(machine), "%.*s", (int)strcspn(name, "-"), name);
	return medium_of(machine, name + min(strlen(name), strlen(machine) + 1));
}

/* The secondary's superblock may have been written. */
static void look_at_images(u32 event)
{
	struct shown sh;
	const char *bad;
	u64 number;

	lowest[0] = max(lowest[0], image_number(true, DURABLE));
	lowest[1] = max(lowest[1], image_number(false, DURABLE));
	number = image_number(false, NOW);
	if (number <= seen)
		return;
	seen = number;
	if (liar)
		media_liar = find_medium(liar);
	bad = secondary_show(NOW, &sh);
	verdict(event, 0, bad ? bad : check_image(&sh));
	if (!bad)
		oracle_committed(sh.view);
}

static bool is_meta(u32 disk)
{
	return !strcmp(rec.head.disk[disk].role, "meta");
}

static void progress(u32 event, bool last)
{
	static struct timespec begun, before;
	struct timespec now;
	double t;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!begun.tv_sec) {
		begun = now;
		before = now;
	}
	if (!last && now.tv_sec - before.tv_sec < 5)
		return;
	before = now;
	t = now.tv_sec - begun.tv_sec + (now.tv_nsec - begun.tv_nsec) / 1e9;
	printf("%u points, entry %u of %u, image %llu, %.0f points a second\n", passed + failed,
	       event, rec.events, ull(seen), t > 0 ? (passed + failed) / t : 0);
	fflush(stdout);
}

/* So many of the points are at this event. */
static u32 points_at(u32 event)
{
	return (u64)(event + 1) * points / rec.events - (u64)event * points / rec.events;
}

static void points_of(u32 event)
{
	if (only_event == event)
		point(event, only_number);
	if (only_event != U32_MAX)
		return;
	for (u32 i = 1; i <= points_at(event); i++)
		point(event, i);
}

/* What may have happened by now, although the load's log does not say so yet. */
static u32 records_soon(u32 event)
{
	u32 end = min(event + SOON, rec.events - 1);

	while (event < end && rec.event[event + 1].type != PC_DEATH)
		event++;
	return rec.event[event].records;
}

static void replay(void)
{
	u32 died = U32_MAX;

	for (u32 e = 0; e < rec.events && failed < (liar ? 1 : MAX_FAILURES); e++) {
		const struct event *ev = &rec.event[e];

		if (died != U32_MAX && ev->type != PC_SETTLE) {
			after_death(e - 1, died);
			died = U32_MAX;
		}
		oracle_advance(ev->records, records_soon(e));
		if (ev->type == PC_NOTE) {
			reported = max(reported, ev->sector);
			continue;
		}
		media_apply(e);
		if (ev->type == PC_DEATH)
			died = e;
		if (died != U32_MAX)
			continue;	/* what was lost follows */
		if (is_meta(ev->disk))
			look_at_images(e);
		points_of(e);
		progress(e, false);
	}
	progress(rec.events, true);
}

/* The oracle of the cases says whether each image is a legal one of its freeze. */
static void judge(u64 number)
{
	char file[64] = "/tmp/powercut-XXXXXX", command[4096];
	int fd = mkstemp(file);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	for (u32 i = 0; f && i < volume_sectors(); i++)
		fwrite(content(images[number].view[i]), PC_SECTOR, 1, f);
	if (!f || fclose(f))
		give_up("%s: %s", file, strerror(errno));
	snprintf(command, sizeof(command), "%s --freeze %llu %s/load.log %s >&2", fzcheck,
		 ull(number), dir, file);
	if (system(command)) {
		printf("FAIL: image %llu is not legal for its freeze\n", ull(number));
		failed++;
	} else {
		passed++;
	}
	unlink(file);
}

static void usage(void)
{
	fprintf(stderr, "usage: replay [-n POINTS] [-s SEED] [-p EVENT.N] [-x FOLDER] [-d DISK]\n"
			"              [-c FZCHECK] FOLDER\n");
	exit(2);
}

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "n:s:p:x:c:d:")) != -1) {
		if (c == 'n')
			points = strtoul(optarg, NULL, 0);
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'd')
			liar = optarg;
		else if (c == 'x')
			export_dir = optarg;
		else if (c == 'c')
			fzcheck = optarg;
		else if (c != 'p' || sscanf(optarg, "%u.%u", &only_event, &only_number) != 2)
			usage();
	}
	if (argc - optind != 1)
		usage();
	dir = argv[optind];
	recording_open(dir);
	media_open();
	sides_open();
	oracle_open(dir, volume_sectors());
	replay();
	for (u32 i = 1; fzcheck && i < MAX_IMAGES; i++)
		if (images[i].view)
			judge(i);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
