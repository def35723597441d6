#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Can a case fail?  The module is built with one bug in its shell at a time, and the case that has to
find it is run.

    bugs.py [NAME...]
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/torture"), str(TOP / "tests/qemu")]
import machines as vm  # noqa: E402
import plant  # noqa: E402

# name: what it does, file, text, text instead, the case
BUGS = {
    "reconnect": ("who is disconnected never connects again", "link.c",
                  "			talk(link);\n			retract(link, &link->sock);\n",
                  "			talk(link);\n			retract(link, &link->sock);\n"
                  "			if (link->primary)\n"
                  "				wait_event_idle(link->wait, stopping(link));\n",
                  "test_some_frames"),
    "read-error": ("what could not be read is sent", "primary_send.c",
                   "	if (err)\n		s->err = err;\n	read_done(s);", "	read_done(s);",
                   "test_data_of_a_primary and read"),
    "merge-error": ("a merge that could not be written counts", "engine.c",
                    "			c->item[first + i].result = FZC_COPY_EWRITE;",
                    "			c->item[first + i].result = FZC_COPY_OK;",
                    "test_merge_of_a_primary"),
    "silence": ("a peer may be silent for ever", "link.c",
                "#define SILENCE		(8 * HZ)", "#define SILENCE		(800 * HZ)",
                "test_peer_stands_still"),
    "leak": ("the pages of what was sent are not given back", "primary_send.c",
             "		put_page(s->page[i]);\n", "",
             "test_writeback"),
    "limits": ("sectors of diff are not asked for", "target.c",
               "	raise_sizes(limits, dev->bdev[FZC_DIFF]);\n", "",
               "test_sectors_of_4096_bytes and diff"),
}


def case_fails(build_dir, name):
    """Whether it was run and failed; its last words."""
    (build_dir / "log").mkdir(exist_ok=True)
    env = {**os.environ, "BUILD": str(build_dir), "K": name, "RESULTS": str(build_dir / "cases.xml")}
    out = subprocess.run([TOP / "scripts/run-cases"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, check=False).stdout
    (build_dir / "cases.log").write_text(out)
    words = [line for line in out.splitlines() if line.startswith("E  ") and line[4:].strip()]
    return out.splitlines()[-1] == "0 passed, 1 failed", words[0][4:160].strip() if words else out[-300:]


def main():
    passed = failed = 0
    for name in sys.argv[1:] or BUGS:
        what, file, old, new, case = BUGS[name]
        build_dir = vm.BUILD / "plant" / name
        plant.build(name, build_dir, file, old, new)
        found, words = case_fails(build_dir, case)
        print(f"{'found   ' if found else 'SURVIVES'} {name}: {what}, {case}: {words}", flush=True)
        shutil.rmtree(build_dir / "tree")
        passed, failed = passed + found, failed + (not found)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
