#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The rows of the matrix in Documentation/failures.rst: which of them show what a section says.
A section is of the outcome that its ":row:" names; every outcome of the simulator has one.

usage: failures.py SIM DOCUMENT [--check]"""

import collections
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def rows(sim):
    """By outcome: how many rows, and of which faults.  The last line of the output is not a row."""
    show = subprocess.run([sim, "-o", HERE / "points.txt"], capture_output=True, text=True,
                          check=True)
    found = collections.defaultdict(dict)
    for line in show.stdout.splitlines():
        outcome, fault, number = line.split("\t")
        found[outcome][fault] = int(number)
    return found


def text_of(faults):
    parts = ", ".join(f"{fault} ({n})" for fault, n in faults.items())
    return f"{sum(faults.values())}: {parts}"


def fill(document, found):
    wanted = set(found)
    out = []
    outcome = None
    for line in document.splitlines():
        row = re.match(r":row: ([a-z-]+)$", line)
        if row:
            outcome = row[1]
            if outcome not in wanted:
                raise SystemExit(f"failures: the document describes '{outcome}' twice, or no row "
                                 "of the matrix has it")
            wanted.discard(outcome)
        if line.startswith(":rows: "):
            line = f":rows: {text_of(found[outcome])}"
        if line.startswith("All rows: "):
            total = sum(sum(f.values()) for f in found.values())
            line = f"All rows: {total}."
        out.append(line)
    if wanted:
        raise SystemExit(f"failures: not in the document: {', '.join(sorted(wanted))}")
    return "\n".join(out) + "\n"


def main():
    path = pathlib.Path(sys.argv[2])
    old = path.read_text()
    new = fill(old, rows(sys.argv[1]))
    if "--check" in sys.argv:
        if old != new:
            print(f"{path} is not what the matrix has: make failures")
        print(f"{int(old == new)} passed, {int(old != new)} failed")
        return old != new
    path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
