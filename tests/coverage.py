#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of the core do the simulator, its matrix and the unit tests reach?  Those that they do
not are in unreached.txt, each with its reason; one that is not there fails, as does one that
is there and was reached.  A line is known by its text, so that it may move.

usage: coverage.py BUILD-FOLDER SEEDS"""

import collections
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CORE = HERE.parent / "dm-freezecopy/core"
LIST = HERE / "unreached.txt"
# gcov counts lines as the compiler sees them, which is best without optimisation
FLAGS = ["-std=gnu11", "-O0", "-g", "-w", "--coverage"]


def bounds():
    """The bounds that the simulator is built with."""
    show = subprocess.run(["make", "-s", "-C", HERE / "sim", "bounds"], capture_output=True,
                          text=True, check=True)
    return show.stdout.split()


def build(folder, sources, flags, libraries=()):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.gc*"):
        old.unlink()
    for src in sources:
        obj = folder / f"{src.parent.name}-{src.stem}.o"
        subprocess.run(["cc", *FLAGS, *flags, "-c", src, "-o", obj], cwd=folder, check=True)
    objs = [folder / f"{src.parent.name}-{src.stem}.o" for src in sources]
    subprocess.run(["cc", "--coverage", "-o", folder / "test", *objs, *libraries], cwd=folder, check=True)
    return folder / "test"


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    print(f"{' '.join(os.path.basename(str(c)) for c in command)}: "
          f"{done.stdout.strip().splitlines()[-1]}", flush=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:])
        raise SystemExit("coverage: the tests have to pass first\n0 passed, 1 failed")


def read_counts(folder, counts):
    for data in sorted(folder.glob("core-*.gcda")):
        shown = subprocess.run(["gcov", "-j", "-t", data.name], cwd=folder, capture_output=True,
                               text=True, check=True)
        for text in shown.stdout.splitlines():
            for file in json.loads(text)["files"]:
                name = pathlib.Path(file["file"])
                if name.parent.name != "core" or name.name.startswith("port"):
                    continue
                for line in file["lines"]:
                    counts[name.name, line["line_number"]] += line["count"]


def unreached(counts):
    """How often a line of this file and text was not reached, and where."""
    found, where = collections.Counter(), collections.defaultdict(list)
    for (name, number), count in sorted(counts.items()):
        if not count:
            text = (CORE / name).read_text().splitlines()[number - 1].strip()
            found[name, text] += 1
            where[name, text].append(str(number))
    return found, where


def read_list():
    wanted = collections.Counter()
    for line in LIST.read_text().splitlines():
        if not line.startswith(("#", "=")) and line.strip():
            name, text = line.split(": ", 1)
            wanted[name, text.strip()] += 1
    return wanted


def main():
    out = pathlib.Path(sys.argv[1]) / "coverage"
    seeds = sys.argv[2]
    core = sorted(CORE.glob("*.c"))
    limits = bounds()
    sim = build(out / "sim", sorted((HERE / "sim").glob("*.c")) + core, limits)
    # the constants' ciphers are freezectl's
    unit = build(out / "unit", [*sorted((HERE / "unit").glob("*.c")), *core, HERE.parent / "tools/freezectl/cipher.c"],
                 [f"-I{HERE / 'unit'}", f"-I{CORE}", "-DFZC_CHUNK_SLOTS=32U"], ["-lcrypto"])
    run(unit)
    run(sim, "-n", seeds)
    run(sim, "-m", HERE / "sim/points.txt", "-n", "500", "-p", "7")
    counts = collections.Counter()
    read_counts(out / "sim", counts)
    read_counts(out / "unit", counts)
    (found, where), wanted = unreached(counts), read_list()
    for name, text in found - wanted:
        print(f"not reached, and not in {LIST.name}: {name}:{','.join(where[name, text])}: {text}")
    for name, text in wanted - found:
        print(f"in {LIST.name}, and reached: {name}: {text}")
    wrong = sum((found - wanted).values()) + sum((wanted - found).values())
    missed = sum(found.values())
    print(f"{len(counts)} lines of the core, {missed} of them not reached "
          f"({100 - 100 * missed / len(counts):.1f} % are)")
    print(f"{len(counts) - wrong} passed, {wrong} failed")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
