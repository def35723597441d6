# SPDX-License-Identifier: GPL-2.0-only
"""Cycles of a file system in use that is frozen, loses its machine, and is recovered: what fs.py and
postgres.py have in common."""

import argparse
import subprocess
import time

import journal
import machines as vm
from conftest import Machines
from torture import TROUBLE


def one(suite, cycle, diary):
    begin, outcome = time.monotonic(), "ok"
    try:
        cycle.run()
    except TROUBLE as e:
        outcome = f"{type(e).__name__}: {e}"
        kept = journal.keep_evidence(cycle.machines.both, [], f"{suite}-{cycle.seed}")
        for m in cycle.machines.both:
            m.kill9()
        print(f"{outcome}\nkept in {kept}", flush=True)
    seconds = round(time.monotonic() - begin, 1)
    line = cycle.line
    diary.write(outcome, seed=cycle.seed, round=0, seconds=seconds, **line)
    deaths = ", ".join(f"{d['side']} in {d['modes']}" for d in line["deaths"])
    print(f"cycle {cycle.seed}: {line['fs']} in blocks of {line['block']}, {line['freezes']} freezes; died: {deaths}; "
          f"image {line['commits']} with {cycle.contents()}; {seconds:.0f} s: {outcome.splitlines()[0]}", flush=True)


def main(suite, what, make_cycle, count, prepare=()):
    """make_cycle(machines, seed); prepare: commands that make what it needs."""
    parser = argparse.ArgumentParser(description=what.split("\n", maxsplit=1)[0])
    parser.add_argument("--cycles", type=int, default=count)
    parser.add_argument("--seed", type=int, help="of the first cycle")
    args = parser.parse_args()
    for command in (["make", "-s", "-C", journal.TOP / "tests/torture", f"BUILD={vm.BUILD}"], *prepare):
        subprocess.run(command, check=True)
    vm.build_image()
    diary, machines = journal.Journal(suite), Machines()
    seed = args.seed or journal.next_seed(suite)
    try:
        for number in range(seed, seed + args.cycles):
            one(suite, make_cycle(machines, number), diary)
    finally:
        machines.net.close()
    return diary.end()
