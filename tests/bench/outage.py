#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""How long a request of the host takes while the peer is lost, in a guest that counts instructions.

    tests/bench/outage.py [--seconds N]

fio writes and reads 4 KiB blocks of the primary at a steady rate: without a peer, and while one that
was connected goes away in one way after the other, at last while it gets a freeze.  No request may
take more than LIMIT times as long as the slowest without a peer, or in a freeze with one.  The figures are left in
BUILD/bench/outage.json; the last line is "N passed, N failed".
"""

import argparse
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import icount  # noqa: E402

vm = icount.vm
LIMIT = 2
MARK = "=== "
# What the load writes to: so little that all of it stays open for writing, or all of the volume.
SETS = {"warm": "4M", "cold": "64M"}
# What becomes of the peer just before the load begins.
OUTAGES = {
    "alone": ("no peer was ever there", ":"),
    "silent": ("nothing crosses the link", "tc qdisc add dev lo root netem loss 100%"),
    "unread": ("the peer does not read: its disks hang", "dmsetup suspend --noflush --nolockfs a b"),
    "gone": ("the peer refuses connections", "dmsetup remove s"),
    "freeze": ("none: the peer gets a freeze, slowly", "freeze"),
    "broken": ("nothing crosses the link any more, in a freeze", "freeze; tc qdisc change dev lo root netem loss 100%"),
}
# What is compared with a freeze: one takes its time from writes to regions that were closed.
BASE = {"freeze": "freeze", "broken": "freeze"}

SCRIPT = """
set -e
modprobe brd rd_nr=7 rd_size=65536
modprobe dm-freezecopy
sectors=131072
pair=6f0c2b5e-8a52-4f9e-9a1b-0d6b3c1f2e11
state() { dmsetup status p | cut -d' ' -f 4-; }
until_is() {
    n=0
    until state | grep -q "$1"; do
        n=$((n + 1))
        [ $n -lt 600 ] || { echo "never: $1; $(state)"; dmesg | tail -n 20; exit 1; }
        sleep 0.1
    done
}
load() {
    fio --name=load --filename=/dev/mapper/p --size=$1 --rw=randrw --rwmixread=30 --bs=4k --direct=1 --ioengine=libaio \\
        --iodepth=4 --rate_iops=1200,2800 --time_based --runtime=$seconds --randrepeat=1 --output-format=json
}
volume() {
    for r in 0 1 2 3 4 5 6; do
        blockdev --flushbufs /dev/ram$r
        dd if=/dev/zero of=/dev/ram$r bs=1M count=2 conv=fsync 2>/dev/null
    done
    dmsetup create a --table "0 131072 linear /dev/ram5 0"
    dmsetup create b --table "0 131072 linear /dev/ram6 0"
    [ $1 = alone ] || dmsetup create s --table "0 $sectors freezecopy secondary /dev/ram3 /dev/ram4 \\
        /dev/mapper/a /dev/mapper/b 4 listen 127.0.0.1:7744 auth none"
    dmsetup create p --table "0 $sectors freezecopy primary /dev/ram0 /dev/ram1 /dev/ram2 8 \\
        peer 127.0.0.1:7744 auth none pair $pair assume identical"
}
freeze() {
    tc qdisc add dev lo root netem rate 1mbit
    dd if=/dev/urandom of=/dev/mapper/p bs=1M count=4 oflag=direct 2>/dev/null
    dmsetup message p 0 freeze
    until_is ' freezing connected '
}
away() {
    tc qdisc del dev lo root 2>/dev/null || :
    dmsetup resume a
    dmsetup resume b
    dmsetup remove p
    [ ! -e /dev/mapper/s ] || dmsetup remove s
    dmsetup remove a
    dmsetup remove b
}
"""
ROUND = """
echo "{progress}{row}" >/dev/kmsg
volume {name}
[ {name} = alone ] || until_is 'connected.* in_sync=1'
[ {name} = alone ] || {{ dmsetup message p 0 freeze; until_is ' ev_commit=1 '; until_is ' normal '; }}
dd if=/dev/urandom of=/dev/mapper/p bs=1M count=4 oflag=direct 2>/dev/null
{breaks}
echo "{mark}{row} before: $(state)"
load {size}
echo "{mark}{row} after: $(state)"
away
"""


def measure(seconds):
    script = f"seconds={seconds}\n{SCRIPT}" + "".join(
        ROUND.format(name=name, row=f"{name}-{kind}", size=size, breaks=breaks, mark=MARK,
                     progress=icount.PROGRESS)
        for kind, size in SETS.items() for name, (_, breaks) in OUTAGES.items())
    out = icount.run(script)
    rows = {}
    for part in out.split(MARK)[1:]:
        name, when = part.split(":")[0].split()
        if when == "before":
            job = json.loads(part[part.index("\n{"):])["jobs"][0]
            rows[name] = {d: {"requests": job[d]["total_ios"], "mean_us": job[d]["lat_ns"]["mean"] / 1000,
                              "p99_us": job[d]["clat_ns"]["percentile"]["99.000000"] / 1000,
                              "max_us": job[d]["lat_ns"]["max"] / 1000} for d in ("read", "write")}
            if job["error"]:
                raise icount.GuestError(f"{name}: fio: error {job['error']}")
        else:
            rows[name]["state"] = part.split(": ", 1)[1].strip()
    return rows


def diverted(row):
    """Whether the freeze was still to be delivered at the end, and writes went to slots."""
    return re.search(r"^primary freezing .* diverted=[1-9]", row["state"])


def report(rows):
    failed = 0
    print(f"{'peer-set':<12} {'':<6} {'requests':>9} {'mean us':>9} {'p99 us':>9} {'max us':>9}  without an outage")
    for name, row in rows.items():
        outage, kind = name.split("-")
        base = BASE.get(outage, "alone")
        for d in ("read", "write"):
            r, alone = row[d], rows[f"{base}-{kind}"][d]["max_us"]
            bad = r["max_us"] > LIMIT * alone or not r["requests"] or (base == "freeze" and not diverted(row))
            failed += bad
            print(f"{name:<12} {d:<6} {r['requests']:>9} {r['mean_us']:>9.1f} {r['p99_us']:>9.1f} {r['max_us']:>9.1f}"
                  f"  {r['max_us'] / alone:>5.2f}{'  FAIL' if bad else ''}")
    for name, (what, _) in OUTAGES.items():
        print(f"{name}: {what}; at the end {rows[name + '-warm']['state'].split(' block=')[0]}")
    print(f"{2 * len(rows) - failed} passed, {failed} failed")
    return failed


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    args.add_argument("--seconds", type=int, default=10, help="of the guest's time for each kind")
    rows = measure(args.parse_args().seconds)
    folder = vm.BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outage.json").write_text(json.dumps({"limit": LIMIT, "rows": rows}, indent=1) + "\n")
    return report(rows) != 0


if __name__ == "__main__":
    sys.exit(main())
