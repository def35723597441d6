// SPDX-License-Identifier: GPL-2.0-only
/*
 * The matrix: every point that schedules get to, with every fault that can come
 * there.  Schedules are run to learn who gets where; then each row is one of
 * them, repeated up to its point, with the fault there and none afterwards.
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "sim.h"

#define KEEP	3	/* ways to a point that are remembered, of each kind */

const char *const strike_name[NR_STRIKES] = {
	"primary power cut, nothing of the cache left", "primary power cut, any of it left",
	"primary power cut, all of it left", "primary power cut, again while it recovers",
	"secondary power cut, nothing of the cache left", "secondary power cut, any of it left",
	"secondary power cut, all of it left", "secondary power cut, again while it recovers",
	"both power cut", "link cut", "link cut, healed at once", "secondary back with old disks",
	"power cut, the page torn", "one I/O error", "I/O errors for long",
};

/* A way to a point: it comes to pass for the @nth time in step @step of schedule @seed. */
struct way {
	u64 seed;
	u32 step;
	u16 nth;
	u16 old_at;	/* a step in which the secondary ran */
};

enum way_kind { ANY, LINKED, AGED, NR_WAYS };

struct atlas {
	struct way way[NR_POINTS][NR_WAYS][KEEP];
	u32 schedules[NR_POINTS][NR_WAYS];	/* that got there */
};

static struct atlas *atlas;
static u8 listed[NR_POINTS];	/* kinds of ways, a bit each, as the list has them */
static u16 times[NR_POINTS];

static void add_way(u32 id, u8 kind, const struct way *new)
{
	struct way *list = atlas->way[id][kind];
	struct way *worst = list, *w;

	for (w = list; w < list + KEEP; w++) {
		if (w->nth && w->seed == new->seed)
			return;
		if (worst->nth && (!w->nth || w->step > worst->step))
			worst = w;
	}
	if (!worst->nth || worst->step > new->step)
		*worst = *new;
}

static void got_there(u32 id, u8 kind, const struct way *w)
{
	atlas->schedules[id][kind] += w->nth == 1;
	add_way(id, kind, w);
}

static void note(u32 id, const struct point *at)
{
	struct way w = { W.seed, W.step, ++times[id], W.ran_at };

	if (w.nth > KEEP || W.on_backup || W.excused || W.failed || (W.calm && !W.recovering))
		return;
	got_there(id, ANY, &w);
	if (W.pc && !W.pc->cut && W.pstate == RUNNING && !W.recovering)
		got_there(id, LINKED, &w);
	if (w.old_at && W.rot_block == U64_MAX && at->s >= S_COPYING && at->s <= S_MERGING && !W.recovering)
		got_there(id, AGED, &w);
}

/* Which kind of way does @strike need; NR_WAYS: it cannot come there. */
static u8 way_for(const struct point *at, u8 strike)
{
	bool ending = at->instant == ENDING;

	switch (strike) {
	case X_ERROR:
	case X_DEAD:
		return ending ? ANY : NR_WAYS;
	case X_TORN:
		return at->instant == BEGUN && at->step <= STEP_LAST_PAGE ? ANY : NR_WAYS;
	case X_CUT:
	case X_FLAP:
		return ending ? NR_WAYS : LINKED;
	case X_OLD:
		return ending ? NR_WAYS : AGED;
	case X_BOTH:
		return !ending && at->p != P_AWAY && at->s != S_AWAY ? ANY : NR_WAYS;
	case X_P_LOST ... X_P_TWICE:
		return !ending && at->p != P_AWAY ? ANY : NR_WAYS;
	default:
		return !ending && at->s != S_AWAY ? ANY : NR_WAYS;
	}
}

static struct point point_at(u32 id)
{
	struct point at;

	at.s = id % NR_S_STATES;
	id /= NR_S_STATES;
	at.p = id % NR_P_STATES;
	id /= NR_P_STATES;
	at.instant = id % NR_INSTANTS;
	id /= NR_INSTANTS;
	at.step = id % NR_STEPS;
	at.node = id / NR_STEPS;
	return at;
}

/* ---- learning ---- */

static void learn(u64 seeds, u32 n, u32 of, u32 steps)
{
	u64 i;

	on_point = note;
	for (i = n + 1; i <= seeds; i += of) {
		memset(times, 0, sizeof(times));
		schedule(i, steps, false);
	}
	on_point = NULL;
}

static void *shared(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void merge_atlas(const struct atlas *from)
{
	u32 id, k, i;

	for (id = 0; id < NR_POINTS; id++)
		for (k = 0; k < NR_WAYS; k++) {
			atlas->schedules[id][k] += from->schedules[id][k];
			for (i = 0; i < KEEP; i++)
				if (from->way[id][k][i].nth)
					add_way(id, k, &from->way[id][k][i]);
		}
}

static void learn_all(u64 seeds, u32 jobs, u32 steps)
{
	struct atlas *of[jobs];
	u32 i;

	for (i = 0; i < jobs; i++) {
		of[i] = shared(sizeof(struct atlas));
		if (!fork()) {
			atlas = of[i];
			learn(seeds, i, jobs, steps);
			exit(0);
		}
	}
	for (i = 0; i < jobs; i++)
		wait(NULL);
	atlas = shared(sizeof(struct atlas));
	for (i = 0; i < jobs; i++)
		merge_atlas(of[i]);
}

/* ---- the list ---- */

/*
 * A line for each step, with the states that it occurs in: PRIMARY/SECONDARY,
 * L if they can be connected then, O if the secondary can have older disks.
 * Listed is what at least 1 in LISTED schedules gets to; more is walked, too.
 */
#define LISTED	500U
#define UNKNOWN	100	/* so often, and not listed: the list is not up to date */

static const char *line_head(const struct point *at)
{
	static const char *const when[] = { "begins", "ends", "ended" };
	static const char *const frame[] = { "sent", "", "received" };
	static char text[96];

	snprintf(text, sizeof(text), "%s, %s %s:", at->node ? "secondary" : "primary",
		 step_name[at->step], (at->step >= STEP_FRAME ? frame : when)[at->instant]);
	return text;
}

/* The kinds of ways that at least @least schedules took. */
static u8 kinds_of(u32 id, u64 least)
{
	u8 kinds = 0;
	u32 k;

	for (k = 0; k < NR_WAYS; k++)
		kinds |= (atlas->schedules[id][k] && atlas->schedules[id][k] >= least) << k;
	return kinds;
}

static void print_point(FILE *f, const struct point *at, u8 kinds)
{
	if (!at->p && !at->s)
		fprintf(f, "%s", line_head(at));
	if (kinds)
		fprintf(f, " %s/%s%s%s", p_state_name[at->p], s_state_name[at->s],
			kinds & 1 << LINKED ? "+L" : "", kinds & 1 << AGED ? "+O" : "");
	if (at->p == NR_P_STATES - 1 && at->s == NR_S_STATES - 1)
		fprintf(f, "\n");
}

static bool any_in_line(u32 id, u64 seeds)
{
	u32 end = id + NR_P_STATES * NR_S_STATES;

	for (; id < end; id++)
		if (kinds_of(id, seeds / LISTED))
			return true;
	return false;
}

static int list_write(const char *name, u64 seeds)
{
	FILE *f = fopen(name, "w");
	bool in = false;
	u32 id;

	if (!f) {
		perror(name);
		return 1;
	}
	fprintf(f, "# SPDX-License-Identifier: GPL-2.0-only\n"
		"# Generated by \"make sim-matrix-list\": the points that faults of the matrix come at.\n");
	for (id = 0; id < NR_POINTS; id++) {
		struct point at = point_at(id);

		if (!at.p && !at.s)
			in = any_in_line(id, seeds);
		if (in)
			print_point(f, &at, kinds_of(id, seeds / LISTED));
	}
	return fclose(f);
}

/* "PRIMARY/SECONDARY+L+O" */
static bool list_states(struct point at, char *word)
{
	char name[64];

	for (at.p = 0; at.p < NR_P_STATES; at.p++)
		for (at.s = 0; at.s < NR_S_STATES; at.s++) {
			int n = snprintf(name, sizeof(name), "%s/%s", p_state_name[at.p],
					 s_state_name[at.s]);

			if (strncmp(word, name, n) || (word[n] && word[n] != '+'))
				continue;
			listed[point_id(&at)] = 1 << ANY | !!strstr(word + n, "+L") << LINKED |
						!!strstr(word + n, "+O") << AGED;
			return true;
		}
	return false;
}

static bool list_line(char *line)
{
	struct point at = { 0 };
	char *word;
	u32 id;

	for (id = 0; id < NR_POINTS; id += NR_P_STATES * NR_S_STATES) {
		at = point_at(id);
		if (step_name[at.step] && !strncmp(line, line_head(&at), strlen(line_head(&at))))
			break;
	}
	if (id == NR_POINTS)
		return false;
	for (word = strtok(line + strlen(line_head(&at)), " \n"); word; word = strtok(NULL, " \n"))
		if (!list_states(at, word))
			return false;
	return true;
}

static bool list_read(const char *name)
{
	static char line[16384];
	FILE *f = fopen(name, "r");
	bool ok = f;

	if (!f)
		perror(name);
	while (ok && fgets(line, sizeof(line), f))
		if (*line != '#' && !list_line(line)) {
			printf("%s: not understood: %.100s\n", name, line);
			ok = false;
		}
	if (f)
		fclose(f);
	return ok;
}

/* What is listed must have been reached, and what is reached often must be listed. */
static u64 list_check(u64 seeds)
{
	u64 bad = 0;
	u32 id;

	for (id = 0; id < NR_POINTS; id++) {
		struct point at = point_at(id);

		if (listed[id] & ~kinds_of(id, 1))
			printf("listed and not reached: %s %s/%s\n", line_head(&at),
			       p_state_name[at.p], s_state_name[at.s]);
		else if (kinds_of(id, seeds / UNKNOWN) & ~listed[id])
			printf("reached and not listed: %s %s/%s\n", line_head(&at),
			       p_state_name[at.p], s_state_name[at.s]);
		else
			continue;
		bad++;
	}
	return bad;
}

/* ---- walking ---- */

struct tally {
	u64 rows[NR_STRIKES], hits[NR_STRIKES], failed[NR_STRIKES];
};

static void plan_for(const struct point *at, u8 strike, const struct way *w)
{
	next_plan.armed = true;
	next_plan.at = *at;
	next_plan.strike = strike;
	next_plan.nth = w->nth;
	next_plan.old_at = w->old_at;
	next_plan.again = strike == X_P_TWICE || strike == X_S_TWICE ? 1 + w->seed % 12 : 0;
}

static bool walk_way(const struct point *at, u8 strike, const struct way *w, u32 steps,
		     bool verbose)
{
	bool ok;

	plan_for(at, strike, w);
	ok = schedule(w->seed, steps, verbose) || W.excused;
	if (ok && !W.plan.fired) {
		printf("seed %llu: the point was not reached\n", (unsigned long long)w->seed);
		ok = false;
	}
	if (!ok)
		printf("  %s; %s %s/%s\n  again: sim -x %u:%u:%u:%u -s %llu -v\n",
		       strike_name[strike], line_head(at), p_state_name[at->p],
		       s_state_name[at->s], point_id(at), strike, w->nth, w->old_at,
		       (unsigned long long)w->seed);
	next_plan.armed = false;
	return ok;
}

static void walk_row(struct tally *t, u32 id, u8 strike, u8 kind, u32 hits, u32 steps)
{
	const struct way *w = atlas->way[id][kind];
	struct point at = point_at(id);
	bool ok = true;
	u32 i;

	for (i = 0; i < KEEP && i < hits && w[i].nth && ok; i++) {
		ok = walk_way(&at, strike, &w[i], steps, false);
		t->hits[strike]++;
	}
	t->failed[strike] += !ok;
	fflush(stdout);
}

/* Every @part-th row, those of all workers together. */
static void walk(struct tally *t, u32 n, u32 of, u32 part, u32 hits, u32 steps)
{
	u64 row = 0;
	u32 id;
	u8 x;

	for (id = 0; id < NR_POINTS; id++)
		for (x = 0; x < NR_STRIKES; x++) {
			struct point at = point_at(id);
			u8 kind = way_for(&at, x);

			if (kind == NR_WAYS || !atlas->way[id][kind][0].nth)
				continue;
			t->rows[x]++;
			if (row % part == 0 && row / part % of == n)
				walk_row(t, id, x, kind, hits, steps);
			row++;
		}
}

static u64 report(const struct tally *t, u32 jobs, u32 part, u64 failed)
{
	u64 rows = 0, hits = 0, r, h, f;
	u32 i;
	u8 x;

	printf("%-48s%9s%9s%9s\n", "fault", "rows", "walks", "failed");
	for (x = 0; x < NR_STRIKES; x++) {
		for (i = 0, r = 0, h = 0, f = 0; i < jobs; i++) {
			r = t[i].rows[x];
			h += t[i].hits[x];
			f += t[i].failed[x];
		}
		printf("%-48s%9llu%9llu%9llu\n", strike_name[x], (unsigned long long)r,
		       (unsigned long long)h, (unsigned long long)f);
		rows += r;
		hits += h;
		failed += f;
	}
	printf("%llu rows, of which 1 in %u was walked, %llu times in all\n",
	       (unsigned long long)rows, part, (unsigned long long)hits);
	rows = (rows + part - 1) / part;
	printf("%llu passed, %llu failed\n", (unsigned long long)(rows - min(failed, rows)),
	       (unsigned long long)failed);
	return failed;
}

int matrix_list(const char *list, u64 seeds, u32 jobs, u32 steps)
{
	learn_all(seeds, jobs, steps);
	return list_write(list, seeds);
}

int matrix(const char *list, u64 seeds, u32 jobs, u32 part, u32 hits, u32 steps)
{
	struct tally *t = shared(jobs * sizeof(*t));
	int status;
	u64 bad;
	u32 i;

	if (!list_read(list))
		return 2;
	learn_all(seeds, jobs, steps);
	bad = part == 1 ? list_check(seeds) : 0;
	fflush(stdout);
	for (i = 0; i < jobs; i++)
		if (!fork()) {
			walk(&t[i], i, jobs, part, hits, steps);
			exit(0);
		}
	for (i = 0; i < jobs; i++) {
		wait(&status);
		if (!WIFEXITED(status)) {
			printf("a worker died of signal %d\n0 passed, 1 failed\n", WTERMSIG(status));
			return 1;
		}
	}
	return report(t, jobs, part, bad) != 0;
}

/* What the list promises: outcome, fault, rows. */
int matrix_outcomes(const char *list)
{
	const struct outcome *o, *is;
	u32 id, n;
	u8 x, kind;

	if (!list_read(list))
		return 2;
	for (o = outcomes; o->name; o++)
		for (x = 0; x < NR_STRIKES; x++) {
			for (id = 0, n = 0; id < NR_POINTS; id++) {
				struct point at = point_at(id);

				kind = way_for(&at, x);
				if (kind == NR_WAYS || !(listed[id] >> kind & 1))
					continue;
				is = outcome_of(&at, x);
				if (!is) {
					printf("nothing is said\t%s; %s\t1\n", strike_name[x],
					       line_head(&at));
					return 1;
				}
				n += is == o;
			}
			if (n)
				printf("%s\t%s\t%u\n", o->name, strike_name[x], n);
		}
	return 0;
}

/* One row again: POINT:FAULT:TIME:AGE as it was printed. */
int matrix_again(const char *what, u64 seed, u32 steps, bool verbose)
{
	u32 id, strike, nth, old_at;
	struct point at;

	if (sscanf(what, "%u:%u:%u:%u", &id, &strike, &nth, &old_at) != 4 || id >= NR_POINTS ||
	    strike >= NR_STRIKES) {
		fprintf(stderr, "sim: -x %s: expected POINT:FAULT:TIME:AGE\n", what);
		return 2;
	}
	at = point_at(id);
	return !walk_way(&at, strike, &(struct way){ seed, 0, nth, old_at }, steps, verbose);
}
