// SPDX-License-Identifier: GPL-2.0-only
/* The scheduler: chooses by chance what happens next, and what goes wrong. */
#include <getopt.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "sim.h"

struct world W;
struct plan next_plan;
static u64 state;
static bool quiet;

u64 rng(void)
{
	u64 z = (state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* A place of its own for each seed: those of neighbours would be the same numbers, one later. */
void rng_seed(u64 seed)
{
	state = seed;
	state = rng();
}

struct fzc_id random_id(void)
{
	u64 v[2] = { rng() | 1, rng() };
	struct fzc_id id;

	memcpy(id.b, v, 16);
	return id;
}

void fail(const char *fmt, ...)
{
	va_list ap;

	if (W.failed)
		return;
	W.failed = true;
	va_start(ap, fmt);
	if (!quiet && !on_point) {
		printf("seed %llu step %u: ", (unsigned long long)W.seed, W.step);
		vprintf(fmt, ap);
		printf("\n");
		fflush(stdout);
	}
	va_end(ap);
}

void say(const char *fmt, ...)
{
	va_list ap;

	if (!W.verbose)
		return;
	va_start(ap, fmt);
	printf("%5u ", W.step);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

/* ---- a new world ---- */

static void make_side(struct fzc_geometry *geo, struct fzc_opts *opts, struct disk *d, bool second)
{
	char why[FZC_REASON_LEN];
	u32 i;

	if (fzc_geometry_init(geo, W.sectors, 4096, why))
		abort();
	geo->region_shift = chance(50) ? 0 : 1 + below(2);
	geo->regions = ((geo->blocks - 1) >> geo->region_shift) + 1;
	geo->max_open = 2 + below(4);
	geo->slots[0] = chance(second ? 20 : 40) ? 4 + below(6) : W.blocks;
	geo->slots[1] = second ? (chance(10) ? 6 + below(6) : W.blocks) : 0;
	if (second && geo->slots[0] < W.blocks && chance(70))
		geo->slots[0] = W.blocks;
	geo->tagged = second && !(W.seed % 3);	/* no draw, as below */
	memset(opts, 0, sizeof(*opts));
	opts->format = rng();
	if (!second)
		opts->pair = random_id();
	for (i = 0; i < FZC_NR_DEVS; i++)
		memset(opts->device[i].id, 'a' + i, FZC_DEVICE_ID_LEN - 1);
	disk_init(&d[FZC_META], fzc_meta_bytes(geo) / FZC_SECTOR);
	disk_init(&d[FZC_DATA], W.sectors);
	for (i = 0; i < (second ? 2U : 1U); i++)
		disk_init(&d[FZC_DIFF + i], (fzc_slots_start(geo->slots[i], 4096, geo->tagged) +
			  4096ULL * geo->slots[i]) / FZC_SECTOR);
}

static void *memory(void *old, u64 *have, u64 need)
{
	if (*have < need) {
		*have = need;
		old = realloc(old, need);
	}
	return old;
}

static void make_world(u64 seed, bool verbose)
{
	static struct image images[MAX_IMAGES];
	static struct world zero;
	struct disk_mark marks[MAX_IOS];
	struct world keep = W;
	u32 i;

	for (i = 0; i < MAX_IOS; i++)
		marks[i] = W.io[i].mark;
	slots_drop(&W.p.slots);
	slots_drop(&W.s.stage[0]);
	slots_drop(&W.s.stage[1]);
	W = zero;
	memcpy(W.pd, keep.pd, sizeof(W.pd));
	memcpy(W.sd, keep.sd, sizeof(W.sd));
	memcpy(W.backup, keep.backup, sizeof(W.backup));
	memcpy(W.saved, keep.saved, sizeof(W.saved));
	for (i = 0; i < MAX_IOS; i++)
		W.io[i].mark = marks[i];
	W.image = images;
	W.st = keep.st;
	W.plan = next_plan;
	memcpy(W.plan.old, keep.plan.old, sizeof(W.plan.old));
	W.seed = seed;
	W.verbose = verbose;
	rng_seed(seed);
	blob_reset();
	W.rot_block = U64_MAX;
	W.blocks = 10 + below(MAX_BLOCKS - 9);
	W.sectors = W.blocks * SPB - (chance(30) ? 1 + below(SPB - 1) : 0);
	make_side(&W.pgeo, &W.popts, W.pd, false);
	make_side(&W.sgeo, &W.sopts, W.sd, true);
	W.popts.identical = chance(70);
	W.faulty = chance(15) && !W.plan.armed && !on_point;
	W.archivist = chance(25);
	W.sick = chance(15) && !W.plan.armed && !on_point;
	W.sopts.verify = chance(30);
	W.popts.encrypt = W.sopts.encrypt = W.sgeo.tagged;
	memset(&W.popts.keys, W.sgeo.tagged, sizeof(W.popts.keys));
	W.slow = chance(30);
	W.hot = chance(30);
	W.lacks = chance(20);
	W.pace = chance(20) ? 0 : 20 << below(6);
	W.compresses = !(seed % 8);	/* no draw: the other schedules stay what they were */
	W.pmem = memory(keep.pmem, &keep.pbytes, fzc_p_bytes(&W.pgeo));
	W.smem = memory(keep.smem, &keep.sbytes, fzc_s_bytes(&W.sgeo));
	W.pbytes = keep.pbytes;
	W.sbytes = keep.sbytes;
	for (i = 0; i < W.sectors; i++)
		W.hist_n[i] = 1;
	p_boot();
	s_boot();
}

/* ---- faults ---- */

static void hit(enum fault f)
{
	W.st.hits[p_mode()][s_mode()][f]++;
}

static u32 keep_style(void)
{
	static const u32 style[] = { 0, 10, 50, 90, 100, KEEP_CACHE };

	return style[below(ARRAY_SIZE(style))];
}

/* The secondary comes back with the disks of some time ago. */
static void maybe_rollback(void)
{
	u32 i;

	if (!W.have_backup || W.on_backup || !chance(50))
		return;
	for (i = 0; i < FZC_NR_DEVS; i++) {
		disk_copy(&W.saved[i], &W.sd[i]);
		disk_copy(&W.sd[i], &W.backup[i]);
	}
	W.on_backup = true;
	W.st.rollbacks++;
	say("secondary: old disks");
}

static void undo_rollback(void)
{
	u32 i;

	if (!W.on_backup || W.sstate == DOWN)
		return;
	s_crash(100);
	for (i = 0; i < FZC_NR_DEVS; i++)
		disk_copy(&W.sd[i], &W.saved[i]);
	W.on_backup = false;
	W.have_backup = false;
	W.rot_block = U64_MAX;
	say("secondary: its own disks again");
}

static void take_backup(void)
{
	u32 i;

	if (W.on_backup || W.sstate != RUNNING || W.rot_block != U64_MAX)
		return;
	for (i = 0; i < FZC_NR_DEVS; i++) {
		disk_copy(&W.backup[i], &W.sd[i]);
		disk_crash(&W.backup[i], keep_style());
	}
	W.have_backup = true;
}

/* A staged slot rots while it is being merged (R16). */
static void rot(void)
{
	u8 m = !W.s.sb.stage_cur;
	u64 b;

	if (W.rot_block != U64_MAX || W.sstate != RUNNING || !W.s.overlay || W.on_backup ||
	    W.have_backup)
		return;
	b = fzc_map_next(&W.s.staged[m], below(W.blocks));
	if (b >= W.blocks || !s_rot(m, b))
		return;
	W.rot_block = b;
	say("secondary: staged block %llu rots", (unsigned long long)b);
}

static void fault(void)
{
	u32 kind = below(100);

	if (W.archivist && chance(40))
		kind = 92;
	if (kind < 30 && chance(20)) {
		W.hung = W.step + 1000;
		say("link: nothing gets through");
	} else if (kind < 30) {
		if (W.pc && !W.pc->cut) {
			hit(F_CUT);
			conn_cut(W.pc);
			say("link: cut");
		}
	} else if (kind < 50) {
		if (W.pstate == RUNNING) {
			hit(F_PCRASH);
			W.st.crashes++;
			p_crash(keep_style());
		}
	} else if (kind < 70) {
		if (W.sstate == RUNNING || W.sstate == LOADING) {
			hit(F_SCRASH);
			W.st.crashes++;
			s_crash(keep_style());
			maybe_rollback();
		}
	} else if (kind < 77) {
		if (W.pstate == RUNNING && W.sstate == RUNNING) {
			hit(F_BOTH);
			W.st.crashes += 2;
			p_crash(keep_style());
			s_crash(keep_style());
		}
	} else if (kind < 86) {
		if (W.pstate == RUNNING && !W.p_want_stop) {
			hit(F_PSTOP);
			W.p_want_stop = true;
		}
	} else if (kind < 92) {
		if (W.sstate == RUNNING && !W.s_want_stop) {
			hit(F_SSTOP);
			W.s_want_stop = true;
		}
	} else if (kind < 94) {
		take_backup();
	} else {
		rot();
	}
}

/* ---- clean stops ---- */

/* The real shell pauses its engine before it reads what is hashed. */
static bool paused(u8 node)
{
	const struct io *io;

	for (io = W.io; io < W.io + W.ios; io++)
		if (io->used && io->node == node)
			return false;
	return true;
}

static void stops(void)
{
	u8 hash[32];

	if (W.p_want_stop && W.pstate == RUNNING && !host_busy() && paused(0)) {
		p_disconnect();
		data_hash(&W.pd[FZC_DATA], hash);
		fzc_p_stop(&W.p, hash);
		W.pstate = STOPPING;
		W.p_want_stop = false;
	}
	if (W.s_want_stop && W.sstate == RUNNING) {
		s_disconnect();
		if (fzc_s_idle(&W.s) && paused(1)) {
			data_hash(&W.sd[FZC_DATA], hash);
			fzc_s_stop(&W.s, hash);
			W.sstate = STOPPING;
			W.s_want_stop = false;
		}
	}
}

/* ---- one step ---- */

static void connection_events(void)
{
	if (W.pstate == RUNNING && !W.pc && !W.p_want_stop && W.step >= W.no_link && chance(50))
		p_connect();
	if (W.pstate == RUNNING && W.pc && (W.p_drops || (W.pc->cut && chance(30))))
		p_disconnect();
	if (W.sc && W.sstate == RUNNING && (W.s_drops || (W.sc->cut && chance(30))))
		s_disconnect();
	s_accept();
}

static bool host_events(void)
{
	if (W.pstate != RUNNING)
		return false;
	if ((W.calm || chance(50)) && host_retry())
		return true;
	return !W.p_want_stop && !W.calm && host_new();
}

/* The operator changes his mind. */
static void maybe_abort(void)
{
	if (W.pstate == RUNNING && !W.calm && !W.plan.fired && chance(4))
		fzc_p_abort(&W.p, "the operator says so");
}

static bool maybe_freeze(void)
{
	maybe_abort();
	if (W.pstate != RUNNING || W.calm || W.p.phase != FZC_PHASE_IDLE)
		return false;
	p_freeze(chance(10));
	return W.p.phase != FZC_PHASE_IDLE;
}

/* False: there was nothing to do of that kind. */
static bool do_one(u32 what)
{
	switch (what) {
	case 0: return p_step();
	case 1: return s_step();
	case 2: return io_step(0);
	case 3: return io_step(1);
	case 4: return s_deliver();
	case 5: return p_deliver();
	case 6: return p_send_step();
	case 7: return host_events();
	case 8: connection_events(); return true;
	case 9: return maybe_freeze();
	case 10:
		if (W.pstate != DOWN)
			fzc_p_tick(&W.p);
		return true;
	default:
		if (W.sstate != DOWN)
			fzc_s_tick(&W.s);
		return true;
	}
}

/*
 * Every schedule has a temper of its own: what is slow in one is fast in
 * another, so that every queue gets long somewhere.
 */
static void draw_weights(void)
{
	static const u8 base[ACTIVITIES] = { 24, 24, 20, 20, 10, 10, 8, 8, 2, 2, 1, 1 };
	u32 i;

	W.weight_sum = 0;
	for (i = 0; i < ACTIVITIES; i++) {
		W.weight[i] = base[i] * (chance(25) ? 1 : 4);
		W.weight_sum += W.weight[i];
	}
}

static void step(void)
{
	u32 tries, pick, what;

	W.step++;
	strike_prepare();
	for (tries = 0; tries < 8; tries++) {
		pick = below(W.weight_sum);
		for (what = 0; pick >= W.weight[what]; what++)
			pick -= W.weight[what];
		if (do_one(what))
			break;
	}
	strike();
	strike_heals();
	if (W.p.link == FZC_LINK_UP && !W.was_up && W.pstate == RUNNING)
		expect_connected();
	W.was_up = W.p.link == FZC_LINK_UP;
	stops();
	if (W.freeze_at && W.step > W.freeze_at + 400 && W.pstate == RUNNING) {
		W.freeze_at = 0;
		if (fzc_p_freeze_void(&W.p))
			say("primary: deadline, no cut");
	}
	if (W.pstate == DOWN && !W.p_dead && chance(5))
		p_boot();
	if (W.sstate == DOWN && chance(5))
		s_boot();
	if (W.on_backup && chance(1) && chance(40))
		undo_rollback();
	if (W.pstate == RUNNING && !(W.step & 15))
		host_check_primary(false);
	if (!(W.step & 3))
		s_check();
}

/* ---- after the faults: progress is owed ---- */

static bool heal_done(void)
{
	return !W.s.ndamaged;
}

static bool settled(u64 number)
{
	return W.pstate == RUNNING && W.sstate == RUNNING && fzc_p_in_sync(&W.p) &&
	       W.s.sb.image.number >= number && !fzc_s_merging(&W.s) && !W.p.slots.used &&
	       !host_busy() && W.p.phase == FZC_PHASE_IDLE && !W.p.peer_merging &&
	       !fzc_p_awaits(&W.p);
}

static void run_until(u64 number, u32 limit, const char *what)
{
	u32 end = W.step + limit;

	while (!W.failed && !settled(number)) {
		if (W.step > end) {
			fail("no progress: %s: primary state %u phase %u link %u unsent %llu frozen %llu slots %u reason '%s', secondary state %u link %u hold %d merging %d image %llu reason '%s'",
			     what, W.pstate, W.p.phase, W.p.link,
			     (unsigned long long)W.p.unsent.count,
			     (unsigned long long)W.p.frozen.count, W.p.slots.used, W.p.reason,
			     W.sstate, W.s.link, W.s.hold, fzc_s_merging(&W.s),
			     (unsigned long long)W.s.sb.image.number, W.s.reason);
			return;
		}
		step();
	}
	s_check();
}

/*
 * A stage that is too small for what changed can never take an image: the
 * freeze is aborted, for ever, and that is announced.
 */
static bool stage_too_small(void)
{
	return W.sgeo.slots[0] < W.blocks || W.sgeo.slots[1] < W.blocks;
}

static void one_more_freeze(void)
{
	u64 number = 0;
	u32 end = W.step + 60000;

	while (!W.failed && W.step < end && !number) {
		if (W.p.phase == FZC_PHASE_IDLE && W.pstate == RUNNING) {
			u64 next = fzc_p_next_number(&W.p);

			p_freeze(false);
			if (W.p.phase == FZC_PHASE_CLOSE || W.p.phase == FZC_PHASE_DELIVER)
				number = next;
		}
		step();
	}
	if (!number)
		fail("no progress: no freeze can be made: %s", W.p.reason);
	run_until(number, 60000, "the last freeze is not delivered");
	if (!W.failed && W.s.sb.image.number >= number && memcmp(W.image[W.images - 1].val, W.last,
								 8ULL * W.sectors))
		fail("P1: the last image is not what the host wrote");
}

static void finish(void)
{
	W.calm = true;
	W.hung = 0;
	undo_rollback();
	W.p_want_stop = false;
	W.s_want_stop = false;
	W.plan.again = 0;
	if (stage_too_small())
		return;
	run_until(0, 60000, "the two never come in sync");
	if (!W.failed)
		one_more_freeze();
	if (!W.failed && (W.rot_block != U64_MAX || W.s.ndamaged)) {
		one_more_freeze();
		if (!W.failed && !heal_done())
			fail("R16: block %llu is not healed by the next image",
			     (unsigned long long)W.s.damaged[0]);
		W.st.heals++;
	}
}

#define WROTE	0x5ec0000ULL
#define WRITES	6U	/* of the host of a recovered volume */

/* Its FLUSH: what it wrote since the one before is durable, or it is told. */
static void flush_recovered(const u64 *at, u32 from, u32 to)
{
	u32 end = W.step + 20000, deaths = W.s_deaths, i, later;
	enum fzc_go go;

	while ((go = fzc_s_flush_begin(&W.s)) == FZC_GO_PARK && W.step < end)
		step();
	if (W.s_deaths != deaths)	/* a planned one: what was not flushed may be lost */
		return;
	if (go == FZC_GO_PARK)
		fail("P3: a flush of the recovered volume waits for ever");
	if (go == FZC_GO_FAIL) {
		W.st.told++;
		return;
	}
	disk_flush(&W.sd[FZC_DATA]);
	fzc_s_flush_end(&W.s, 0);
	for (i = from; i <= to; i++) {
		for (later = i + 1; later <= to && at[later] != at[i]; later++)
			;
		if (later > to && W.sd[FZC_DATA].dur[at[i] * SPB] != WROTE + i)
			fail("P3: block %llu of the recovered volume was written and flushed, and is lost",
			     (unsigned long long)at[i]);
	}
}

/* The primary is gone for good: figure 9, and the volume is used. */
static void recover(void)
{
	u64 number, first, at[WRITES];
	u32 end = W.step + 20000, s, n, since = 0, deaths;
	const struct image *im = NULL;

	W.recovering = true;
	W.calm = true;
	W.hung = 0;
	undo_rollback();
	W.p_want_stop = false;
	W.s_want_stop = false;
	if (W.pstate != DOWN)
		p_crash(keep_style());
	if (W.on_backup)	/* then these are what there is to recover */
		W.acked_number = 0;
	W.on_backup = false;
	W.p_dead = true;
	while (W.step < end && !W.failed && (W.sstate != RUNNING || W.sc || !fzc_s_idle(&W.s)))
		step();
	if (W.failed || !W.s.has_image)
		return;
	number = W.s.sb.image.number;
	if (fzc_s_recover(&W.s)) {
		fail("figure 9: the secondary does not recover: %s", W.s.reason);
		return;
	}
	while (W.step < end && !W.failed && !fzc_s_writable(&W.s)) {
		if (chance(1) && chance(30)) {
			s_crash(keep_style());
			if (!(W.s.sb.flags & FZC_SB_RECOVERED))
				return;
		}
		step();
		if (W.sstate == RUNNING && !(W.s.sb.flags & FZC_SB_RECOVERED) &&
		    fzc_s_idle(&W.s))
			fzc_s_recover(&W.s);	/* the order was lost with the power */
	}
	s_check();
	if (W.failed)
		return;
	if (!fzc_s_writable(&W.s)) {
		fail("figure 9: the recovered volume does not become writable");
		return;
	}
	if (W.s.sb.image.number != number)
		fail("figure 9: recovered as image %llu, expected %llu",
		     (unsigned long long)W.s.sb.image.number, (unsigned long long)number);
	for (n = 0; n < W.images; n++)
		if (fzc_id_equal(&W.image[n].img.id, &W.s.sb.image.id))
			im = &W.image[n];
	for (s = 0; s < W.sectors && im && !W.failed; s++)
		if (W.sd[FZC_DATA].cur[s] != im->val[s] && s / SPB != W.rot_block &&
		    !s_damaged(s / SPB))
			fail("figure 9: sector %u is %llu, expected %llu", s,
			     (unsigned long long)W.sd[FZC_DATA].cur[s],
			     (unsigned long long)im->val[s]);
	W.recovered_checked = true;
	/* what its host writes is tracked from here on, over power cuts */
	deaths = W.s_deaths;
	for (n = 0; n < WRITES && !W.failed; n++) {
		const u64 val = WROTE + n;

		first = below(W.blocks);
		for (end = W.step + 20000; W.step < end; step())
			if (W.sstate == RUNNING && fzc_s_writable(&W.s) &&
			    fzc_s_write_begin(&W.s, first, first) == FZC_GO_DATA)
				break;
		if (W.step == end) {
			fail("the recovered volume takes no writes");
			return;
		}
		disk_write(&W.sd[FZC_DATA], first * SPB, 1, &val, false);
		fzc_s_write_end(&W.s, first, first);
		at[n] = first;
		for (end = W.step + below(400); W.step < end;)
			step();
		if (chance(40))
			s_crash(keep_style());
		if (W.s_deaths != deaths) {
			since = n + 1;	/* what was not flushed may be lost */
			deaths = W.s_deaths;
		} else if (chance(50)) {
			flush_recovered(at, since, n);
			since = n + 1;
		}
		for (end = W.step + 20000; W.step < end && W.sstate != RUNNING;)
			step();
		if (!fzc_map_test(&W.s.in.changed[W.s.sb.cur], first))
			fail("R5: block %llu of the recovered volume was written and does not count as changed",
			     (unsigned long long)first);
	}
	W.st.recoveries++;
}

/* Faults are more likely where time is short. */
#define AFTERMATH	50	/* steps until progress is owed, after a planned fault */

static u32 risk(void)
{
	static const u32 p[P_MODES] = { 16, 12, 60, 32 }, s[S_MODES] = { 1, 2, 18 };

	u32 n = p[p_mode()] * s[s_mode()];

	return W.slow && W.sstate == RUNNING && W.s.commit_at ? 8 * n : n;
}

bool schedule(u64 seed, u32 steps, bool verbose)
{
	u32 trouble;

	make_world(seed, verbose);
	draw_weights();
	trouble = below(4);
	while ((W.step < steps || W.plan.fired) && !W.failed) {
		step();
		if (!W.plan.fired && W.step > 100 && below(10000) < trouble * risk())
			fault();
		if (W.cut_at && W.step >= W.cut_at && W.pstate == RUNNING) {
			W.st.crashes++;
			p_crash(0);
		}
		if (W.plan.fired && W.step > W.plan.fired + DEAD_STEPS + AFTERMATH)
			break;
	}
	if (!W.failed && seed % 8 == 7)
		recover();
	else if (!W.failed)
		finish();
	expect_end();
	W.st.schedules++;
	W.st.steps += W.step;
	if (W.pc)
		p_disconnect();
	if (W.sc)
		s_disconnect();
	return !W.failed || W.excused;
}

/* ---- many ---- */

static void add(struct stats *to, const struct stats *from)
{
	u64 *t = (u64 *)to;
	const u64 *f = (const u64 *)from;
	u32 i;

	for (i = 0; i < sizeof(*to) / 8; i++)
		t[i] += f[i];
}

static void print_stats(const struct stats *st, double seconds)
{
	static const char *const pm[] = { "normal", "freezing", "merging", "in doubt" };
	static const char *const sm[] = { "staging", "freezing", "merging" };
	static const char *const fm[] = { "link cut", "primary power cut", "secondary power cut",
					  "both power cut", "primary stop", "secondary stop" };
	int i, k, f;

	printf("%-9s x %-9s", "primary", "secondary");
	for (f = 0; f < F_NR; f++)
		printf("%21s", fm[f]);
	printf("\n");
	for (i = 0; i < P_MODES; i++)
		for (k = 0; k < S_MODES; k++) {
			printf("%-9s x %-9s", pm[i], sm[k]);
			for (f = 0; f < F_NR; f++)
				printf("%21llu", (unsigned long long)st->hits[i][k][f]);
			printf("\n");
		}
	printf("%llu schedules, %.0f a second; a schedule: %.0f steps, %.2f commits, %.2f power cuts, %.2f aborts\n",
	       (unsigned long long)st->schedules, st->schedules / seconds,
	       (double)st->steps / st->schedules, (double)st->commits / st->schedules,
	       (double)st->crashes / st->schedules, (double)st->aborts / st->schedules);
	printf("%llu merges, %llu recoveries, %llu FLUSHes told of what was lost after one, %llu old disks put back, %llu rotten blocks healed\n",
	       (unsigned long long)st->merged, (unsigned long long)st->recoveries,
	       (unsigned long long)st->told,
	       (unsigned long long)st->rollbacks, (unsigned long long)st->heals);
	printf("%llu images not committed because of a rotten block\n",
	       (unsigned long long)st->verify_bad);
	printf("%llu blocks written in closed regions\n", (unsigned long long)st->known);
	printf("%llu I/O errors, %llu host writes failed because of one\n",
	       (unsigned long long)st->io_errors, (unsigned long long)st->host_errors);
	printf("%llu images of more blocks than slots; %llu writes paced, %llu of them went on in time, %llu late\n",
	       (unsigned long long)st->tight, (unsigned long long)st->paced,
	       (unsigned long long)st->paced_ok, (unsigned long long)st->paced_late);
	printf("%llu times no memory for slots\n", (unsigned long long)st->no_memory);
}

/* With enough schedules every combination must have been reached often. */
static u32 thin_spots(const struct stats *st, u64 seeds)
{
	u32 thin = 0;
	int i, k, f;

	if (seeds < 100000)
		return 0;
	for (i = 0; i < P_MODES; i++)
		for (k = 0; k < S_MODES; k++)
			for (f = 0; f < F_NR; f++)
				thin += st->hits[i][k][f] < 100;
	if (st->tight < 100 || st->paced_ok < 100 || st->paced_late < 100) {
		printf("too few images, or paced writes, with a small difference volume\n");
		thin++;
	}
	if (thin)
		printf("%u combinations of modes and faults were hit less than 100 times\n", thin);
	return thin;
}

struct share {
	struct stats st;
	u64 failed;
};

static void worker(struct share *sh, u64 first, u64 seeds, u32 n, u32 of, u32 steps, u64 most)
{
	u64 i;

	for (i = n; i < seeds; i += of)
		if (!schedule(first + i, steps, false) && ++sh->failed >= most)
			break;
	sh->st = W.st;
}

int main(int argc, char **argv)
{
	u64 seeds = 1000, first = 1, failed = 0, most = 5;
	u32 steps = 1200, jobs = sysconf(_SC_NPROCESSORS_ONLN), i;
	const char *walk = NULL, *make_list = NULL;
	bool verbose = false;
	u32 part = 1, hits = 1;
	const char *again = NULL;
	struct timespec t0, t1;
	struct stats sum = { 0 };
	struct share *sh;
	double seconds;
	int c;

	while ((c = getopt(argc, argv, "n:s:t:j:f:vqm:M:o:p:k:x:")) != -1)
		switch (c) {
		case 'n': seeds = strtoull(optarg, NULL, 0); break;
		case 's': first = strtoull(optarg, NULL, 0); break;
		case 't': steps = strtoul(optarg, NULL, 0); break;
		case 'j': jobs = strtoul(optarg, NULL, 0); break;
		case 'f': most = strtoull(optarg, NULL, 0); break;
		case 'v': verbose = true; break;
		case 'q': quiet = true; break;
		case 'm': walk = optarg; break;
		case 'M': make_list = optarg; break;
		case 'o': return matrix_outcomes(optarg);
		case 'p': part = strtoul(optarg, NULL, 0) ?: 1; break;
		case 'k': hits = strtoul(optarg, NULL, 0); break;
		case 'x': again = optarg; break;
		default:
			fprintf(stderr, "usage: sim [-n seeds] [-s first seed] [-t steps] [-j jobs] [-f failures to stop at] [-q] [-v] [-m list [-k walks of a row] [-p one row in so many]] [-M list] [-o list] [-x row]\n");
			return 2;
		}
	if (make_list)
		return matrix_list(make_list, seeds, jobs, steps);
	if (walk)
		return matrix(walk, seeds, jobs, part, hits, steps);
	if (again)
		return matrix_again(again, first, steps, verbose);
	if (verbose || seeds == 1)
		return !schedule(first, steps, verbose);
	sh = mmap(NULL, jobs * sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		  0);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (i = 0; i < jobs; i++)
		if (!fork()) {
			worker(&sh[i], first, seeds, i, jobs, steps, most);
			exit(0);
		}
	for (i = 0; i < jobs; i++) {
		int status;

		wait(&status);
		if (!WIFEXITED(status)) {
			printf("a worker died of signal %d\n", WTERMSIG(status));
			failed++;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	seconds = t1.tv_sec - t0.tv_sec + (t1.tv_nsec - t0.tv_nsec) / 1e9;
	for (i = 0; i < jobs; i++) {
		add(&sum, &sh[i].st);
		failed += sh[i].failed;
	}
	if (!quiet) {
		print_stats(&sum, seconds);
		failed += thin_spots(&sum, seeds);
	}
	printf("%llu passed, %llu failed\n", (unsigned long long)(sum.schedules - min(failed, sum.schedules)),
	       (unsigned long long)failed);
	return failed ? 1 : 0;
}
