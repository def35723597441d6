#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""File systems in use that are frozen, lose their machine, and are recovered, again and again.

    fs.py [--cycles N] [--seed S]

A cycle: a new volume with XFS or ext4 (by turns), churn on it with a freeze every second or so, and the primary
dies at a random instant, in a third of the cycles with the secondary.  The secondary recovers an image:
no older than the last that was known to be committed; its files are those of the manifest that was taken
right before that freeze was called, in contents, names, attributes and times; and fsck finds nothing.
Cycles go on where the last run ended; each adds its line to BUILD/torture/log.
"""

import random
import sys
import time

import cycles
import journal
from conftest import DEVICE, MIB, MKFS_EXT4, MKFS_XFS, NAME, Pair, parse_status
from torture import start_in_background, unload

SIZE = 64 * MIB
SLOW = 64 * 1024		# bytes a second
MKFS = {"xfs": MKFS_XFS, "ext4": MKFS_EXT4}
FSCK = {"xfs": "xfs_repair -n", "ext4": "e2fsck -fn"}
MOUNT = {"xfs": "mount -o nouuid", "ext4": "mount"}
FREEZE = ["freezectl", "freeze", NAME, "--wait", "cut"]
CHURN = "/tmp/churn"


class Story:
    """What churn has said: manifests, freezes that were called, numbers that were returned."""

    def __init__(self, text):
        self.manifests, self.called = {}, None
        self.freezes, manifest = 0, []
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word == "manifest":
                manifest = []
            elif word == "call":
                self.called = manifest
                self.freezes += 1
            elif word == "return":
                self.manifests[int(rest)] = self.called
                self.called = None
            else:
                manifest.append(line)

    def of(self, number):
        """The manifest of an image; a freeze that had been called only may have made the last one."""
        if number in self.manifests:
            return self.manifests[number]
        assert self.called is not None and number > max(self.manifests, default=0), \
            f"image {number} was never asked for: {sorted(self.manifests)} were"
        return self.called


class Cycle:
    def __init__(self, machines, seed):
        self.machines, self.draw = machines, random.Random(seed)
        self.pair, self.job, self.seed = None, None, seed
        self.fs = ("xfs", "ext4")[seed % 2]
        self.block = self.draw.choice([4096, 4096, 65536])
        self.line = {"deaths": [], "freezes": 0, "commits": 0, "judged": 0, "fs": self.fs, "block": self.block}

    def contents(self):
        return f"{self.line.get('files', 0)} files"

    def run(self):
        self.create()
        self.churn()
        committed = self.die()
        number = self.recover()
        assert number >= committed, f"image {number} is older than image {committed}, which was committed"
        self.verify(number)
        for m in self.machines.both:
            m.check_console()

    def create(self):
        unload(self.machines)
        self.machines.clean()
        pair = self.pair = Pair(self.machines)
        pair.create(block=self.block, size=SIZE, start=False, primary={"assume": "identical"})
        program = (journal.DIR / "churn").read_bytes()
        jobs = [start_in_background(pair, side) for side in ("secondary", "primary")]
        for m, job in zip(self.machines.both, jobs):
            m.put(CHURN, program, mode="755")
            job.wait()
        pair.primary.run(f"{MKFS[self.fs]} {DEVICE} && mkdir -p /mnt/fs && mount {DEVICE} /mnt/fs")

    def churn(self):
        """Until the moment comes."""
        self.job = self.pair.primary.background([CHURN, "run", "/mnt/fs", self.seed, *FREEZE])
        images = self.draw.randint(1, 2)
        self.pair.wait("primary", lambda s: s["image"] >= images or not self.job.running, what="images")
        for serial in self.draw.choice([(), ("diffa", "diffb"), ("data",)]):	# a mode lasts
            self.pair.secondary.throttle(serial, bps_wr=SLOW)
        time.sleep(self.draw.uniform(0, 3))
        assert self.job.running, f"churn has ended: {self.job.err.decode()}"

    def die(self):
        """Returns the last image that is known to be committed."""
        jobs = [m.background(["dmsetup", "status", NAME], timeout=20) for m in self.machines.both]
        status = [parse_status(job.wait(30).out) for job in jobs]
        sides = ["primary"] + ["secondary"] * (self.draw.random() < 0.3)
        for side in sides:
            self.pair.side(side).process.kill()
        for side in sides:
            self.pair.side(side).kill9()
            self.line["deaths"].append({"side": side, "modes": "/".join(s["mode"] for s in status)})
            self.pair.side(side).start(wait=False)	# the primary for the next cycle
        self.story = Story(bytes(self.job.out).decode().rpartition("\n")[0])
        self.line["freezes"] = self.story.freezes
        return status[0]["image"]

    def recover(self):
        pair = self.pair
        if "secondary" in [d["side"] for d in self.line["deaths"]]:
            pair.secondary.wait_ready()
            pair.start("secondary")
            pair.secondary.put(CHURN, (journal.DIR / "churn").read_bytes(), mode="755")
        else:
            for serial in ("data", "diffa", "diffb"):
                pair.secondary.throttle(serial)
        force = self.draw.random() < 0.7
        if not force:
            pair.wait_disconnected("secondary")
        pair.secondary.run(["freezectl", "recover", NAME, *["--force"] * force], timeout=120)
        self.line["commits"] = number = pair.status("secondary")["image"]
        return number

    def verify(self, number):
        m = self.pair.secondary
        m.run(f"mkdir -p /mnt/fs && {MOUNT[self.fs]} {DEVICE} /mnt/fs")
        found = Story(m.run([CHURN, "manifest", "/mnt/fs"], timeout=120).out + "call\n").called
        expected = self.story.of(number)
        self.line["files"] = len(expected)
        differ = [f"-{line}" for line in expected if line not in found]
        differ += [f"+{line}" for line in found if line not in expected]
        assert not differ, f"image {number}: {len(differ)} lines of the manifest differ:\n" + "\n".join(differ[:20])
        m.run("umount /mnt/fs")
        m.run(f"{FSCK[self.fs]} {DEVICE}", timeout=120)
        self.line["judged"] = 1


if __name__ == "__main__":
    sys.exit(cycles.main("fs", __doc__, Cycle, 50))
