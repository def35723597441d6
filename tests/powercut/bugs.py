#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Plant one bug of durability after the other in a copy of the module: the replay must find each.

usage: bugs.py [NAME...]

For each: build the module with it, record a few freezes with it, replay.  Ends with "N passed, N
failed"; a bug that is not found is a failure, and so is one whose text is no longer found once."""

import os
import random
import re
import shutil
import subprocess
import sys
import time

from disks import HERE, PROGRAMS, vm
from record import LAZY, Story, machines_and_recorder, record

TOP = HERE.parents[1]
WORK = PROGRAMS / "bugs"
POINTS = 6000

FLUSH = "		fzc_io_flush(&dev->io, dev->bdev[act->dev], op_ended, op);\n"
SKIP = "		if ({}) {{\n			op_ended(op, 0);\n			break;\n		}}\n" + FLUSH
PRIMARY = "dev->role->role == FZC_PRIMARY"
SECONDARY = "dev->role->role == FZC_SECONDARY"
# The secondary's core keeps the names of its jobs to itself; they follow INTENT_END in this order.
S_SYNC_FLUSH, S_SYNC_FLUSH2, S_MERGE_FLUSH = (f"FZC_JOB_INTENT_END + {n}" for n in (1, 3, 6))
FUA = "(act->fua ? REQ_FUA : 0)"


def skip(condition):
    return "engine.c", FLUSH, SKIP.format(condition)


# name: what is done instead, file, text, text instead
BUGS = {
    "index-first": ("primary: the index is written before the slots that it names are flushed",
                    *skip(f"{PRIMARY} && act->job == FZC_JOB_SYNC_FLUSH && act->dev == FZC_DIFF")),
    "index-unflushed": ("primary: FLUSH completes before the index is flushed",
                        *skip(f"{PRIMARY} && act->job == FZC_JOB_SYNC_FLUSH2")),
    "flush-data-only": ("primary: FLUSH goes to data alone, not to diff and its index",
                        "primary_divert.c", "	enum fzc_go go = fzc_p_flush_begin(&pr->core, &h->ticket);",
                        "	enum fzc_go go = FZC_GO_DATA;"),
    "fua-at-once": ("primary: a diverted FUA write completes without a flush of diff",
                    "primary_divert.c", "	if (err || !h->fua || !h->diff)", "	if (true)"),
    "merge-unflushed": ("primary: slots are given up before data, to which they were merged, is flushed",
                        *skip(f"{PRIMARY} && act->job == FZC_JOB_SYNC_FLUSH && act->dev == FZC_DATA")),
    "sent-unflushed": ("primary: ALL_SENT is said without a flush of its own devices",
                       *skip(f"{PRIMARY} && act->job == FZC_JOB_R10")),
    "meta-no-fua": ("both: pages of meta are written without FUA",
                    "engine.c", FUA, "0"),
    "regions-no-fua": ("primary: the flag of a region is written without FUA",
                       "engine.c", FUA, "(act->fua && act->job != FZC_JOB_REGIONS ? REQ_FUA : 0)"),
    "durable-unflushed": ("secondary: DURABLE is said, and the image committed, before a stage is flushed",
                          *skip(f"{SECONDARY} && (act->job == {S_SYNC_FLUSH} || act->job == {S_SYNC_FLUSH2})")),
    "merged-unflushed": ("secondary: the superblock that ends a merge is written before data is flushed",
                         *skip(f"{SECONDARY} && act->job == {S_MERGE_FLUSH}")),
}
# What a load that flushes all the time would hide.
LAZILY = {"sent-unflushed"}


class Build:
    """A copy of the module's sources, of which one file at a time is changed."""

    def __init__(self):
        self.tree = WORK / "module"
        shutil.rmtree(self.tree, ignore_errors=True)
        self.tree.mkdir(parents=True)
        shutil.copy(TOP / "Kbuild", self.tree)
        shutil.copytree(TOP / "dm-freezecopy", self.tree / "dm-freezecopy")
        self.kernel = os.environ["KDIR"]
        self.newest = max(p.stat().st_mtime for p in [*(TOP / "dm-freezecopy").rglob("*.[ch]"), HERE / "bugs.py"])

    def module(self, name):
        _, file, old, new = BUGS[name]
        source = TOP / "dm-freezecopy" / file
        text = source.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{file}: {old.strip()!r} stands there {text.count(old)} times, expected once")
        result = WORK / f"{name}.ko"
        if result.exists() and result.stat().st_mtime > self.newest:
            return result
        (self.tree / "dm-freezecopy" / file).write_text(text.replace(old, new))
        try:
            subprocess.run(["make", "-s", "-C", self.kernel, f"M={self.tree}", "CONFIG_DEBUG_INFO_BTF_MODULES=",
                            "modules"], check=True)
        finally:
            shutil.copy(source, self.tree / "dm-freezecopy" / file)
        subprocess.run(["objcopy", "--strip-debug", self.tree / "dm-freezecopy.ko", result], check=True)
        return result


def put_module(machines, module):
    kernel = (vm.GUEST / "kver").read_text().strip()
    machines.unload()
    for m in machines.both:
        m.put(f"/lib/modules/{kernel}/updates/dm-freezecopy.ko", module.read_bytes())


def record_all(modules):
    """With trouble or without: what was recorded is replayed."""
    with machines_and_recorder() as (machines, recorder):
        for name, module in modules.items():
            put_module(machines, module)
            began = time.monotonic()
            try:
                record(machines, recorder, WORK / name, 4096, [Story.freezes, Story.slow_freeze],
                       random.Random(1), LAZY if name in LAZILY else None)
            except vm.MachineError as e:
                print(f"{name}: {str(e).splitlines()[0]}", flush=True)
            print(f"{name}: recorded in {time.monotonic() - began:.0f} s", flush=True)


def find(name):
    """What the replay says first, and how often it says something."""
    out = subprocess.run([PROGRAMS / "replay", "-n", str(POINTS), WORK / name], check=False,
                         capture_output=True, text=True).stdout
    first = re.search(r"FAIL at (\S+): (.*)", out)
    total = re.search(r"(\d+) passed, (\d+) failed", out)
    shutil.rmtree(WORK / name)
    return (first, *map(int, total.groups())) if total else (None, 0, 0)


def main():
    names = sys.argv[1:] or list(BUGS)
    vm.build_image()
    build, modules, failed = Build(), {}, 0
    for name in names:
        modules[name] = build.module(name)
    record_all(modules)
    for name in names:
        first, good, bad = find(name)
        failed += first is None
        print(f"{name}: {BUGS[name][0]}\n  " +
              (f"found at {bad} of {good + bad} points; first {first[1]} {first[2]}" if first else "NOT FOUND"),
              flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
