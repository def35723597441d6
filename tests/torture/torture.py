#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Two emulated machines under load that die, and a wire that breaks, at random instants, round after round.

    torture.py [--hours H] [--rounds N] [--seed S] [--until-failure]

A seed draws a volume (block size, size, options) and some rounds with it; in the last one the primary is
lost and the secondary recovers.  Without --seed the run goes on with the seed after the last one in
BUILD/torture/log, to which each round adds its line.  What a seed draws is always the same; when things
happen is the machines' own affair.

A round: a load runs on the primary; a freeze; when both sides are in the modes that were drawn, or after a
while, and a random delay later, it strikes.  Then what died is started again and judged: the primary is a
good disk (P3), the secondary is one freeze, not older than the last known to be committed (P1, P2), the
load went on, no kernel complained, and within a bound both are connected and a new freeze commits.
"""

import argparse
import contextlib
import random
import sys
import time

import journal
import machines as vm
import pytest
from conftest import MIB, NAME, UUID, Machines, Pair, parse_status
from scenes import MIXED, restart

BLOCKS = (4096, 4096, 16384, 65536, 1 << 20)
SIZES = (16 * MIB, 16 * MIB + 7 * 512, 17 * MIB - 512)
BOUND = 90		# seconds for everything to go on after a strike
AIM_FOR = 6		# seconds to wait for the modes that are aimed at
SLOW = 64 * 1024	# bytes a second
TROUBLE = (vm.MachineError, AssertionError, OSError, pytest.fail.Exception)

WIRE = ("primary", "wire")
STAGES = ("secondary", "diffa"), ("secondary", "diffb")
# Modes of primary and secondary, and the disks that are slow so that they last; or a wire with a delay.
AIMS = {
    "normal/staging": (),
    "freezing/staging": (WIRE,),
    "freezing/freezing": STAGES,
    "freezing/merging": (("secondary", "data"),),
    "merging/staging": (("primary", "data"),),
    "merging/merging": (("primary", "data"), ("secondary", "data")),
    "merging/freezing": (WIRE, ("primary", "data"), *STAGES),
    "normal/merging": (("secondary", "data"),),
}
# What strikes, and how often in proportion.
STRIKES = {"kill_primary": 5, "kill_secondary": 5, "kill_both": 4, "kill_again": 3, "cut_link": 10, "flaps": 6,
           "cut_and_kill": 4}


class Life:
    """The rounds of one seed."""

    def __init__(self, machines, seed):
        self.machines, self.seed = machines, seed
        self.pair = self.load = None
        self.line = {}
        self.committed = 0	# the image that is known to be
        self.slowed = set()
        draw = random.Random(seed)
        self.block, self.size = draw.choice(BLOCKS), draw.choice(SIZES)
        self.small = draw.random() < 0.2	# the primary's diff volume
        self.verify = draw.random() < 0.3
        self.rounds = draw.randint(4, 7)
        self.key = draw.random() < 0.5

    # -- one volume

    def begin(self):
        unload(self.machines)
        self.machines.clean()
        self.pair = Pair(self.machines)
        if self.key:
            self.pair.use_key()
        self.pair.create(block=self.block, size=self.size, diff=20 * MIB, start=False,
                         primary={"assume": "identical"},
                         secondary={"verify": "yes"} if self.verify else {})
        if self.small:
            self.machines.primary.resize("diff", max(MIB, 4 * self.block))
        self.pair.start("secondary")
        self.pair.start("primary")
        self.pair.wait_connected()
        self.committed = self.pair.freeze()
        self.pair.wait_image(self.committed)

    def start_load(self, rnd):
        options = {**MIXED, "hot": rnd.choice([0, 30, 60]), "flush_every": rnd.choice([2, 20, 100]),
                   "fua_pct": rnd.choice([0, 10, 50]), "discard_pct": rnd.choice([0, 2, 10]),
                   "max": rnd.choice([4096, 65536, 262144]), "to": rnd.choice([2, 8, 16]) * MIB // 512}
        self.load = self.pair.load(**options)

    def numbers(self, **changes):
        """What this round has done so far."""
        for key, value in changes.items():
            self.line[key] += value

    # -- a round

    def round(self, number):
        """Returns the line for the journal, but for its outcome."""
        rnd = random.Random(f"{self.seed} {number}")
        lost = number == self.rounds
        strike = "lost" if lost else rnd.choices(list(STRIKES), STRIKES.values())[0]
        aim = rnd.choice(list(AIMS))
        self.line.update(strike=strike, aim=aim, block=self.block, small=self.small, verify=self.verify,
                         key=self.key)
        if self.load is None or not self.load.job.running:
            self.start_load(rnd)
        self.aim(aim, rnd)
        getattr(self, strike)(rnd)
        if not lost:
            self.settle(rnd)
        for m in self.machines.both:
            m.check_console()

    def aim(self, aim, rnd):
        """Freeze, and wait until both sides are where they are to be struck."""
        self.load.work(rnd.randint(5, 60))
        self.slow(*AIMS[aim])
        if aim == "normal/staging":
            time.sleep(rnd.uniform(0, 1))
            return
        if aim in ("merging/staging", "merging/merging"):	# there has to be something to merge
            self.slow(*STAGES)
            self.freeze()
            self.wait_status(lambda s: s["primary"]["diverted"] * self.block > 256 * 1024)
            self.fast(*STAGES)
        else:
            self.freeze()
        if aim == "freezing/merging":
            self.wait_modes("normal/merging")
            self.freeze()
        if aim == "merging/freezing":
            self.wait_modes("freezing/freezing")
            self.pair.message("primary", "abort", check=False)
        if rnd.random() < 0.8:	# else: at once
            self.wait_modes(aim)
            time.sleep(rnd.uniform(0, 1.5))

    def slow(self, *what):
        for one in what:
            if one == WIRE:
                self.pair.netem("primary", "delay 1500ms")
            else:
                self.pair.side(one[0]).throttle(one[1], bps_wr=SLOW)
        self.slowed.update(what)

    def fast(self, *what):
        for one in what:
            if one == WIRE:
                self.pair.netem("primary", "")
            elif self.pair.side(one[0]).running:
                self.pair.side(one[0]).throttle(one[1])
        self.slowed.difference_update(what)

    def freeze(self):
        """A freeze that may be refused, as the one before may not be over."""
        try:
            number = self.load.freeze()
        except vm.CommandError:
            if not self.load.job.running:
                raise
            return None
        self.numbers(freezes=1)
        return number

    def statuses(self):
        """Of the sides that are up, in one go."""
        jobs = {side: self.pair.side(side).background(["dmsetup", "status", NAME], timeout=20)
                for side in ("primary", "secondary") if self.pair.side(side).running}
        status = {side: parse_status(job.wait(30).out) for side, job in jobs.items()}
        if "primary" in status:
            self.committed = max(self.committed, status["primary"]["image"])
        return status

    def modes(self, status=None):
        status = status or self.statuses()
        return "/".join(status[side]["mode"] if side in status else "off" for side in ("primary", "secondary"))

    def wait_status(self, condition):
        """Not for long: what is aimed at need not be reached."""
        end = time.monotonic() + AIM_FOR
        while not condition(self.statuses()) and time.monotonic() < end:
            time.sleep(0.05)

    def wait_modes(self, modes):
        self.wait_status(lambda status: self.modes(status) == modes)

    # -- strikes

    def die(self, *sides, modes=None):
        modes = modes or self.modes()
        for side in sides:
            m = self.pair.side(side)
            if m.running:
                m.process.kill()	# both at the same moment
        for side in sides:
            self.pair.side(side).kill9()
            self.line["deaths"].append({"side": side, "modes": modes})
            self.slowed = {s for s in self.slowed if s[0] != side}

    def cut(self, seconds):
        self.line["cuts"].append({"modes": self.modes(), "seconds": round(seconds, 2)})
        self.pair.net.cut()
        time.sleep(seconds)

    def kill_primary(self, _rnd):
        self.die("primary")
        self.pair.primary.start(wait=False)
        self.judge_secondary()
        self.pair.primary.wait_ready()
        self.pair.start("primary")
        self.judge_primary()

    def kill_secondary(self, _rnd):
        with self.load_goes_on():
            self.die("secondary")
            restart(self.pair, "secondary")
        self.judge_secondary()

    def kill_both(self, rnd):
        self.die("primary", "secondary")
        sides = ["primary", "secondary"]
        rnd.shuffle(sides)
        restart(self.pair, *sides)
        self.judge_primary()
        self.judge_secondary()

    def kill_again(self, rnd):
        """A second death during the recovery from the first."""
        side = rnd.choice(["primary", "secondary"])
        self.die(side)
        m = self.pair.side(side)
        m.start()
        for serial in rnd.choice([(), ("data",), ("meta",)]):
            m.throttle(serial, bps_wr=SLOW)
        start_in_background(self.pair, side)
        time.sleep(rnd.uniform(0, 3))
        self.die(side, modes="again: " + self.line["deaths"][-1]["modes"])
        restart(self.pair, side)
        if side == "primary":
            self.judge_primary()
        self.judge_secondary()

    def cut_link(self, rnd):
        with self.load_goes_on():
            self.cut(rnd.choice([0.05, 0.5, 2, 7, 12]) * rnd.uniform(0.5, 1.5))

    def flaps(self, rnd):
        with self.load_goes_on():
            for _ in range(rnd.randint(2, 5)):
                self.cut(rnd.uniform(0.02, 2) if rnd.random() < 0.8 else rnd.uniform(6, 10))
                self.pair.net.restore()
                time.sleep(rnd.uniform(0, 2))

    def cut_and_kill(self, rnd):
        """A machine dies that its peer did not hear from for a while."""
        side = rnd.choice(["primary", "secondary"])
        self.cut(rnd.uniform(0, 10))
        self.die(side)
        if rnd.random() < 0.5:
            self.pair.net.restore()
        restart(self.pair, side)
        self.pair.net.restore()
        if side == "primary":
            self.judge_primary()
        self.judge_secondary()

    def lost(self, rnd):
        """The primary is lost: the secondary recovers, and is the last committed freeze."""
        both = rnd.random() < 0.3
        self.die("primary", *(["secondary"] if both else []))
        self.pair.primary.start(wait=False)	# for the next volume; it has nothing of this one loaded
        if both:
            restart(self.pair, "secondary")
        self.release()
        self.pair.wait_disconnected("secondary")
        self.pair.recover()
        if not both and rnd.random() < 0.5:	# a recovery survives the machine
            self.die("secondary", modes="off/recovered")
            restart(self.pair, "secondary")
        status = self.pair.wait("secondary", lambda s: s["mode"] == "recovered" and not s["merge_left"],
                                what="recovered and merged")
        self.judge_secondary(status["image"])

    # -- verdicts

    @contextlib.contextmanager
    def load_goes_on(self):
        """Trouble with the peer or the link neither stops nor fails the host's I/O."""
        before, begin = self.load.writes(), time.monotonic()
        yield
        seconds = time.monotonic() - begin
        stats = self.load.ctl("stats")
        assert " failed 0 bad 0" in stats, stats
        if ("primary", "data") not in self.slowed and seconds > 2:
            assert int(stats.split()[1]) > before, f"no write was completed in {seconds:.0f} s of an outage: {stats}"

    def judge_primary(self):
        """Nothing acknowledged is lost.  No load runs."""
        self.pair.check(self.pair.dump("primary", name="primary.img"))
        self.numbers(judged=1)

    def judge_secondary(self, number=None):
        """It is one freeze, and none from before the last that was known to be committed.  While it is
        read another one may be committed: then it is read again."""
        while True:
            before = self.pair.status("secondary")["image"]
            image = self.pair.dump("secondary", name="secondary.img")
            if self.pair.status("secondary")["image"] == before:
                break
        assert before >= self.committed, f"image {before} is older than image {self.committed}, which was committed"
        assert number in (None, before), f"image {before}, expected {number}"
        if before:
            self.pair.check(image, freeze=before)
            self.committed = before
            self.numbers(judged=1)
        return image

    # -- and on it goes

    def release(self):
        """What held a mode is gone."""
        self.pair.net.restore()
        self.fast(*tuple(self.slowed))

    def settle(self, rnd):
        """Both find each other, and a freeze commits, within a bound."""
        self.release()
        end = time.monotonic() + BOUND
        if not self.load.job.running:
            self.start_load(rnd)
        self.pair.wait_connected(BOUND)
        exact = rnd.random() < 0.7
        while not self.commit(end, exact):
            pass
        stats = self.load.ctl("stats")
        assert " failed 0 bad 0" in stats, stats
        if rnd.random() < 0.3:
            self.load.stop()
            self.judge_primary()

    def commit(self, end, exact):
        """False when the freeze was refused or given up, as with a small diff volume it may be.  exact: the load
        holds its breath, so that the image has to equal the primary, bit for bit."""
        left = max(end - time.monotonic(), 0.1)
        status = self.pair.wait("primary", lambda s: s["phase"] == "none" and s["mode"] == "normal" and
                                s["connection"] == "connected" and not s["backoff_ms"], left, "ready for a freeze")
        if exact or self.small:		# so small that all of it may never fit while it is overwritten
            self.load.pause()
        number = self.freeze()
        expected = self.pair.dump("primary", name="expected.img") if exact else None
        if exact or self.small:
            self.load.resume()
        if number is None:
            return False
        aborts = status["ev_abort"]
        left = max(end - time.monotonic(), 0.1)
        status = self.pair.wait("primary", lambda s: s["image"] >= number or s["ev_abort"] > aborts, left,
                                f"image {number} committed")
        if status["image"] < number:
            self.numbers(aborts=1)
            return False
        self.committed = number
        self.numbers(commits=1)
        image = self.judge_secondary()
        if exact:
            self.pair.same(image, expected)
            self.numbers(exact=1)
        return True


def unload(machines):
    """Everything comes off, whatever state it is in; a machine that was started for this has booted before."""
    for m in machines.both:
        if m.running:
            m.wait_ready()
    for error in machines.unload().values():
        raise error
    machines.used = False


def start_in_background(pair, side):
    pair.bring_key(side)
    return pair.side(side).background(["dmsetup", "create", NAME, "--uuid", f"FREEZECOPY-{UUID}",
                                       "--table", pair.table(side)])


def live(machines, diary, seed, more):
    """The rounds of a seed, until one fails or more() says that it is enough."""
    life = Life(machines, seed)
    for number in range(life.rounds + 1):
        begin, outcome = time.monotonic(), "ok"
        life.line = {"deaths": [], "cuts": [], "freezes": 0, "commits": 0, "aborts": 0, "judged": 0, "exact": 0}
        try:
            if number == 0:
                life.begin()
            life.round(number)
        except TROUBLE as e:
            outcome = f"{type(e).__name__}: {e}"
            kept = journal.keep_evidence(machines.both, life.pair.dir.iterdir() if life.pair else [],
                                         f"torture-{seed}-{number}")
            for m in machines.both:
                m.kill9()
            print(f"{outcome}\nkept in {kept}", flush=True)
        line = {"seed": seed, "round": number, "seconds": round(time.monotonic() - begin, 1), **life.line}
        diary.write(outcome, **line)
        tell(line, outcome)
        if outcome != "ok" or not more():
            return


def tell(line, outcome):
    """One line a round."""
    struck = [f"{d['side']} died in {d['modes']}" for d in line["deaths"]]
    struck += [f"cut in {c['modes']} for {c['seconds']} s" for c in line["cuts"]]
    print(f"seed {line['seed']} round {line['round']}: {line.get('strike')}: {', '.join(struck)}; "
          f"{line['commits']} of {line['freezes']} freezes committed, {line['judged']} images judged, "
          f"{line['seconds']:.0f} s: {outcome.splitlines()[0]}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=1 << 30)
    parser.add_argument("--seed", type=int, help="the rounds of this one only")
    parser.add_argument("--until-failure", action="store_true")
    args = parser.parse_args()
    vm.build_image()
    diary, machines = journal.Journal("torture"), Machines()
    end = time.monotonic() + args.hours * 3600

    def more():
        return time.monotonic() < end and diary.passed + diary.failed < args.rounds and \
            not (args.until_failure and diary.failed)

    try:
        if args.seed is not None:
            live(machines, diary, args.seed, more)
        while args.seed is None and more():
            live(machines, diary, journal.next_seed("torture"), more)
    finally:
        machines.net.close()
    return diary.end()


if __name__ == "__main__":
    sys.exit(main())
