# SPDX-License-Identifier: GPL-2.0-only
"""What every round of torture leaves behind: a line in BUILD/torture/log, and its evidence if it failed.

A line is JSON: suite, seed, round, commit (of the tree; module: the last one that touched what runs in the
kernel, with a + if the tree differs), what was done, in which modes, and the outcome.
"""

import collections
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/qemu"), str(TOP / "tests/cases")]
import machines as vm  # noqa: E402

DIR = vm.BUILD / "torture"
LOG = DIR / "log"
SUITES = ("torture", "fs", "postgres")


def git(*words):
    return subprocess.run(["git", "-C", SOURCE, *words], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


SOURCE = Path(os.environ.get("SOURCE", TOP))	# the tree that BUILD was built from


def revision():
    changed = git("status", "--porcelain", "--", "dm-freezecopy")
    return {"commit": git("log", "-1", "--format=%h"),
            "module": git("log", "-1", "--format=%h", "--", "dm-freezecopy") + ("+" if changed else "")}


def lines(suite=None):
    if not LOG.exists():
        return []
    every = [json.loads(text) for text in LOG.read_text().splitlines()]
    return [line for line in every if suite in (None, line["suite"])]


def next_seed(suite):
    """A run goes on where the last one ended."""
    return max((line["seed"] for line in lines(suite)), default=0) + 1


class Journal:
    """Of one run."""

    def __init__(self, suite):
        self.suite, self.revision = suite, revision()
        self.passed = self.failed = 0
        DIR.mkdir(parents=True, exist_ok=True)

    def write(self, outcome, **fields):
        """outcome: "ok", or what went wrong."""
        line = {"suite": self.suite, **self.revision, "time": time.strftime("%Y-%m-%dT%H:%M:%S"), **fields,
                "outcome": outcome}
        with open(LOG, "a", encoding="ascii") as f:
            f.write(json.dumps(line) + "\n")
        if outcome == "ok":
            self.passed += 1
        else:
            self.failed += 1

    def end(self):
        report(self.suite)
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def keep_evidence(machines, images, name):
    """Consoles, logs, disks and images of a round that failed; returns where."""
    to = DIR / name
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    files = [p for m in machines for p in (m.console, *m.logs.values(), *map(m.disk, m.sizes))]
    for path in [*files, *images]:
        if path.exists() and path.stat().st_blocks:
            subprocess.run(["cp", "--sparse=always", path, to], check=True)
    return to


# -- the report

def table(title, counts):
    if counts:
        print(f"\n{title}")
        for key, count in sorted(counts.items()):
            print(f"  {key:<44} {count:6d}")


def report(suite=None):
    """Totals of all rounds, of all runs, for each revision of the module."""
    every = lines(suite)
    for module in dict.fromkeys(line["module"] for line in every):
        of_module(module, [line for line in every if line["module"] == module])


def of_module(module, rounds):
    total = collections.Counter()
    deaths, cuts = collections.Counter(), collections.Counter()
    for line in rounds:
        total.update({k: line.get(k, 0) for k in ("freezes", "commits", "aborts", "seconds", "judged", "exact")})
        total["failed"] += line["outcome"] != "ok"
        for death in line.get("deaths", []):
            deaths["{side:<9} in {modes}".format(**death)] += 1
            total["deaths"] += 1
        for cut in line.get("cuts", []):
            cuts[cut["modes"]] += 1
            total["cuts"] += 1
    print(f"\n=== module {module}: {len(rounds)} rounds in {total['seconds'] / 60:.0f} minutes, "
          + ", ".join(f"{sum(line['suite'] == s for line in rounds)} {s}" for s in SUITES))
    print(f"deaths {total['deaths']}, link cuts {total['cuts']}, freezes {total['freezes']}, "
          f"commits {total['commits']}, aborts {total['aborts']}, images judged {total['judged']} "
          f"({total['exact']} bit for bit), "
          f"violations {total['failed']}")
    table("deaths, with the modes of primary/secondary", deaths)
    table("link cuts, with the modes of primary/secondary", cuts)
    for line in rounds:
        if line["outcome"] != "ok":
            print(f"FAILED {line['suite']} seed {line['seed']} round {line['round']}: {line['outcome'].splitlines()[0]}")


def main():
    every = lines()
    report()
    failed = sum(line["outcome"] != "ok" for line in every)
    print(f"{len(every) - failed} passed, {failed} failed")
    return 1 if failed or not every else 0


if __name__ == "__main__":
    sys.exit(main())
