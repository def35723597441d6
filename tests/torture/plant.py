#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Does the torture notice?  The module is built with one rule removed at a time, by the mutants of the
simulator (tests/sim/mutants.py), and tortured until a round fails.

    plant.py [--minutes M] [NAME...]

Only rules that a death of an emulator or a cut wire can show to be missing: what has been written to a
disk is never lost by these.
"""

import argparse
import os
import shutil
import subprocess
import sys

import journal
import machines as vm

sys.path.append(str(journal.TOP / "tests/sim"))
from mutants import MUTANTS  # noqa: E402

NAMES = ("R7-durable", "R7-fold", "R10-frozen", "R11-unsent", "R13-regions", "R3-wait", "flaw-10", "flaw-12-write")


def copy(name, build_dir, file, old, new):
    """A copy of the tree with a change of the module, and a place for machines that share the lock of others."""
    tree = build_dir / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(journal.SOURCE, tree, ignore=shutil.ignore_patterns("build", ".git"))
    source = tree / "dm-freezecopy" / file
    text = source.read_text()
    if text.count(old) != 1:
        raise SystemExit(f"plant: {name}: its text stands {text.count(old)} times in {file}, expected once")
    source.write_text(text.replace(old, new))
    (build_dir / "vm").mkdir(parents=True, exist_ok=True)
    for shared in ("cache", "vm/lock"):
        if not (build_dir / shared).is_symlink():
            (build_dir / shared).symlink_to((vm.BUILD / shared).resolve())
    return tree


def build(name, build_dir, file, old, new):
    """...and what the machines boot with it."""
    tree = copy(name, build_dir, file, old, new)
    subprocess.run(["make", "-s", "-C", tree, "machines", f"BUILD={build_dir}"], check=True,
                   stdout=subprocess.DEVNULL)


def torture(build_dir, minutes):
    """Until a round fails; returns how, None if none does."""
    env = {**os.environ, "BUILD": str(build_dir)}
    (build_dir / "torture/log").unlink(missing_ok=True)
    run = subprocess.Popen([journal.TOP / "tests/torture/torture.py", "--hours", str(minutes / 60), "--until-failure"],
                           env=env, text=True, stdout=subprocess.PIPE)
    bad = None
    for line in run.stdout:
        print(f"    {line}", end="", flush=True)
        if line.startswith("seed ") and not line.endswith(": ok\n"):
            bad = bad or line.strip()
    run.wait()
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("names", nargs="*", default=NAMES)
    args = parser.parse_args()
    passed = failed = 0
    for name in args.names:
        _, what, file, old, new = next(m for m in MUTANTS if m[0] == name)
        print(f"{name}: {what}", flush=True)
        build_dir = journal.DIR / "plant" / name
        build(name, build_dir, f"core/{file}", old, new)
        how = torture(build_dir, args.minutes)
        print(f"{'found   ' if how else 'SURVIVES'} {name}: {what}", flush=True)
        shutil.rmtree(build_dir / "tree")
        passed, failed = passed + bool(how), failed + (not how)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
