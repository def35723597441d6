#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Start real machines on what power cuts have left, at some points of a recording.

usage: boot.py FOLDER [--points N] [--seed N]

At each point the disks of both machines are laid out as the replay has them after the cut.  Then the
module has to show what the replay says that it shows, on both sides; both have to find together again;
and a freeze has to make the secondary what the primary is.  Ends with "N passed, N failed"."""

import argparse
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from disks import MIB, PROGRAMS, ROLES, PowercutMachines, Recorder, new_pair, vm
from record import LOAD

USED = LOAD["to"] * 512		# bytes of the volume that the load writes to; the rest is zeroes
DUMP = "/dev/disk/by-id/virtio-dump"


class Wrong(Exception):
    """A machine does not show what it should."""


class Booted:
    """Both machines, and the disks of one point after the other."""

    def __init__(self, machines, recorder, pair, scratch):
        self.machines, self.recorder, self.pair, self.scratch = machines, recorder, pair, scratch

    def show(self, side):
        self.pair.side(side).run(f"dd if=/dev/mapper/vol of={DUMP} bs=1M count={USED // MIB} iflag=direct "
                                 "oflag=direct status=none", timeout=120)
        path = self.scratch / "shown.img"
        self.recorder.tell(f"save {side}-dump {path}")
        return path.read_bytes()[:USED]

    def expect(self, side, what, wanted):
        shown = self.show(side)
        if shown == wanted:
            return
        at = next(i for i in range(0, USED, 512) if shown[i:i + 512] != wanted[i:i + 512])
        raise Wrong(f"{side}: sector {at // 512} is not that of {what}")

    def view(self, side):
        path = self.scratch / f"{side}-view.img"
        return path.read_bytes()[:USED] if path.exists() else None

    def recover(self):
        self.recorder.tell(f"load {self.scratch}")
        self.pair.start("secondary")
        image = self.view("secondary")
        if image is not None:
            self.expect("secondary", "the image that was committed before the cut", image)
        self.pair.start("primary")
        self.expect("primary", "what the cut has left", self.view("primary"))
        self.pair.wait_connected()
        self.pair.wait("primary", lambda s: s["phase"] == "none", what="the freeze before ends")
        self.pair.wait_image(self.pair.freeze())
        self.expect("secondary", "the primary", self.view("primary"))
        for side in ("primary", "secondary"):
            self.pair.stop(side)
        for m in self.machines.both:
            m.check_console()

    def clean_up(self):
        for m in self.machines.both:
            m.run("dmsetup remove --retry --force vol", check=False)


def entries(folder):
    out = subprocess.run([PROGRAMS / "replay", "-n", "0", folder], check=True, capture_output=True, text=True)
    return int(re.search(r"entry \d+ of (\d+)", out.stdout).group(1))


def lay_out(folder, event, scratch):
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    r = subprocess.run([PROGRAMS / "replay", "-p", f"{event}.1", "-x", scratch, folder], check=False,
                       capture_output=True, text=True)
    return r.returncode == 0 and (scratch / "primary-view.img").exists()


def boot(folder, events, block, scratch):
    passed = failed = 0
    roles = {side: [*own, "dump"] for side, own in ROLES.items()}
    net = vm.Net()
    recorder = Recorder(net, roles)
    try:
        machines = PowercutMachines(net, recorder, roles)
        machines.up()
        booted = Booted(machines, recorder, new_pair(machines, block), scratch)
        for event in events:
            if not lay_out(folder, event, scratch):
                continue	# in the middle of a power cut of the recording
            began = time.monotonic()
            try:
                booted.recover()
                passed += 1
            except (Wrong, vm.MachineError) as e:
                print(f"FAIL at {event}.1: {e}", flush=True)
                failed += 1
                booted.clean_up()
            print(f"point {event}.1: {time.monotonic() - began:.1f} s", flush=True)
    finally:
        net.close()
        recorder.close()
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    vm.build_image()
    head = (args.folder / "log").open("rb").read(16)
    block = int.from_bytes(head[8:12], "little")
    last = entries(args.folder)
    events = sorted(random.Random(args.seed).sample(range(last // 20, last), args.points))
    return boot(args.folder, events, block, vm.BUILD / "powercut" / "point")


if __name__ == "__main__":
    sys.exit(main())
