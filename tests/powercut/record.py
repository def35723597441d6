#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Record what the disks of two machines are told while a volume lives through all it has to.

usage: record.py FOLDER [--seed N] [--block BYTES] [--scenes N]

A load with FLUSH and FUA on the primary all the time; a freeze in each scene.  FOLDER gets what the
replay needs: log (recording.h) and load.log (qemu/guest/stamp.h)."""

import argparse
import contextlib
import os
import random
import shutil
import sys
import time
from pathlib import Path

from disks import MIB, PowercutMachines, Recorder, new_pair, vm
from scenes import restart

LOAD = {"depth": 4, "flush_every": 10, "fua_pct": 12, "read_pct": 10, "discard_pct": 2, "zeroes_pct": 3,
        "hot": 40, "max": 32768, "to": 6 * MIB // 512, "rate": 150}
# Hardly anything is flushed but by the module: what it has to flush itself shows.
LAZY = {**LOAD, "flush_every": 200, "fua_pct": 0}
SLOW_WIRE = "rate 1500kbit"
ENOUGH = 512 * 1024


class Story:
    """What happens to the volume; every scene begins and ends connected, with no freeze running."""

    def __init__(self, machines, recorder, pair, rng, options):
        self.machines, self.recorder, self.pair, self.rng = machines, recorder, pair, rng
        self.load, self.options = None, options

    def begin(self):
        for side in ("secondary", "primary"):
            self.pair.start(side)
        self.pair.wait_connected()
        self.load = self.pair.load(**self.options)
        self.load.work(100)	# before the first image what was sent does not count as changed
        self.committed(self.load.freeze())

    def end(self):
        out = self.load.stop().out
        if " failed 0 bad 0" not in out:
            raise vm.MachineError(f"the load had trouble: {out}")
        self.stop("primary")
        self.stop("secondary")
        for m in self.machines.both:
            m.check_console()

    # -- pieces

    def changed(self):
        self.pair.wait("primary", lambda s: s["changed"] * s["block"] > ENOUGH and s["mode"] == "normal" and
                       s["phase"] == "none", what="something to freeze")

    def committed(self, number):
        self.pair.wait_image(number)
        self.recorder.tell(f"note {number}")

    def freeze(self):
        self.changed()
        number = self.load.freeze()
        self.committed(number)
        return number

    def freezing(self):
        """A freeze that finds much to deliver over a slow wire: writes are being diverted."""
        self.pair.netem("primary", SLOW_WIRE)
        self.pair.wait("primary", lambda s: s["unsent"] * s["block"] > ENOUGH and s["mode"] == "normal" and
                       s["phase"] == "none", what="something to deliver")
        number = self.load.freeze()
        self.pair.wait("primary", lambda s: s["mode"] != "freezing" or s["diverted"] > 20, what="diverting")
        return number

    def after(self):
        """What was committed meanwhile, if it was, is noted; on with the next."""
        self.pair.netem("primary", "")
        self.pair.wait_connected()
        self.pair.wait("primary", lambda s: s["phase"] == "none", what="the freeze ends")
        number = self.pair.status("primary")["image"]
        if number:
            self.recorder.tell(f"note {number}")
        self.freeze()

    def stop(self, side):
        self.pair.stop(side)

    def die(self, *sides):
        """Power cuts, and everything is started again."""
        for side in sides:
            self.pair.side(side).lose_power(self.rng.getrandbits(32))
        restart(self.pair, *sides)
        if "primary" in sides:
            self.load_again()

    def load_again(self):
        self.load = self.pair.load(**self.rng.choice((LOAD, LAZY)))

    def soon(self):
        time.sleep(self.rng.random() / 2)

    # -- scenes

    def freezes(self):
        for _ in range(3):
            self.freeze()

    def slow_freeze(self):
        number = self.freezing()
        self.soon()
        self.pair.netem("primary", "")
        self.committed(number)

    def abort(self):
        self.freezing()
        self.pair.message("primary", "abort", check=False)
        self.after()

    def link_cut(self):
        self.freezing()
        self.pair.net.cut()
        self.pair.wait_disconnected("primary")
        self.pair.net.restore()
        self.after()

    def primary_restarts(self):
        self.freezing()
        self.load.stop()
        self.stop("primary")
        self.pair.start("primary")
        self.load_again()
        self.after()

    def secondary_restarts(self):
        self.freezing()
        self.soon()
        self.stop("secondary")
        self.pair.start("secondary")
        self.after()

    def primary_dies(self):
        self.freezing()
        self.soon()
        self.die("primary")
        self.after()

    def secondary_dies(self):
        self.changed()
        self.load.freeze()
        self.soon()
        self.die("secondary")
        self.after()

    def both_die(self):
        self.changed()
        self.load.freeze()
        self.soon()
        self.die("primary", "secondary")
        self.after()

    SCENES = (freezes, slow_freeze, abort, link_cut, primary_restarts, secondary_restarts,
              primary_dies, secondary_dies, both_die)


def record(machines, recorder, folder, block, scenes, rng, options=None):
    """Blank disks; what the scenes make of them is in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for m in machines.both:
        m.forget_logs()
    recorder.tell(f"record {folder / 'log'} {block}")
    story = Story(machines, recorder, new_pair(machines, block), rng, options or LOAD)
    try:
        story.begin()
        for scene in scenes:
            began = time.monotonic()
            scene(story)
            print(f"{scene.__name__}: {time.monotonic() - began:.1f} s, "
                  f"image {story.pair.status('primary')['image']}", flush=True)
        story.end()
    finally:
        shutil.copy(recorder.load_log, folder / "load.log")


@contextlib.contextmanager
def machines_and_recorder():
    net = vm.Net()
    recorder = Recorder(net)
    try:
        machines = PowercutMachines(net, recorder)
        machines.up()
        yield machines, recorder
    finally:
        net.close()
        recorder.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--block", type=int, default=4096)
    parser.add_argument("--scenes", type=int, default=len(Story.SCENES))
    args = parser.parse_args()
    vm.build_image()
    began = time.monotonic()
    rng = random.Random(args.seed)
    scenes = [s for _ in range(-(-args.scenes // len(Story.SCENES))) for s in Story.SCENES][:args.scenes]
    rng.shuffle(scenes)
    try:
        with machines_and_recorder() as (machines, recorder):
            record(machines, recorder, args.folder, args.block, scenes, rng)
    except vm.MachineError as e:
        print(f"record: {e}", file=sys.stderr)
        return 1
    size = (args.folder / "log").stat().st_size >> 20
    print(f"recorded {size} MiB in {time.monotonic() - began:.0f} s, seed {args.seed}, block {args.block}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
