#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""How fast, next to the raw disk, dm-linear, dm-snapshot and DRBD, in one guest that counts instructions.

    bench.py [--quick] [--update] [--publish] [--only PART,...] [--seconds N]
    bench.py --publish --only none
    bench.py --profile

Prints a table of every row with what it is compared with, its ratio and the goal, and leaves
BUILD/bench/results.json, results.csv and two plots.  --quick: the rows that need no connection, which
fail when a ratio is more than 3 % worse than the one in expected.json (--update writes that file), or misses its goal.
--only crypto: likewise, against expected-crypto.json.
--publish: of each row the last run that measured it, BUILD/bench/runs.json has them all, goes into the
documents, under the commit that the run was made at; plots as well.  --profile: instead, shares of the
instructions, by function and by thread; with --only crypto of a connected pair, by cipher; with --only connected of
one that is written in 64 KiB; with --only slow of one behind a slow link; with --only scattered of a catch-up of every
other block; with --only merge of a merge, and of a copy.
"""

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import icount  # noqa: E402
import pair  # noqa: E402

vm = icount.vm
HERE = Path(__file__).resolve().parent
FALL = 0.03
# Where writes wait for a worker, who runs first decides how many it serves at a time: two runs differ by 2 %.
MORE = {"cold-randwrite": 0.05,
        # what they are compared with, the copy in the clear, differs by 3 % from run to run
        "crypto-aes-gcm": 0.1, "crypto-chacha20-poly1305": 0.1, "crypto-plain-c": 0.1}
CIPHERS = re.compile(r"aes|gcm|ghash|clmul|chacha|poly1305|^crypto_|scatterwalk|skcipher"
                     r"|^_(encrypt_by|initial_(num_)?blocks|get_AAD|(zero|eight)_cipher|partial_block|only_less_than)")
HASHES = re.compile(r"sha256|^loop[0-3]$")	# such are the labels in the kernel's SHA-256 for AVX2
IOS = 40000	# of a load that is not given a time
MOST = 7200	# seconds that a part may take here, on a machine that does other things, too
MARK = "=== "
SPDX = "<!-- SPDX-License-Identifier: " + "GPL-2.0-only -->"
# What is run, in this order: what is compared with each other in one guest.
QUICK = ("local", "drbd_alone", "alone", "cold", "frozen")
GUESTS = (QUICK, ("states",), ("drbd_connected", "connected"), ("drbd_slow", "slow"), ("copy",), ("compress",),
          ("crypto",), ("commit", "merge", "restart"), ("1tib", "16tib"), ("loss",), ("cpus",), ("machines",))
PARTS = tuple(part for guest in GUESTS for part in guest)
TIMED = ("cpus", "machines")	# in the time of the machine that emulates: rounds, their median and its spread
PROFILES = ("connected", "crypto", "merge", "scattered", "slow")	# that are made by themselves
ROUND = 5	# seconds of a load there
DRBD = "DRBD 8.4.11, in-tree,"
LINKS = {"20mbit": "20 Mbit/s 25 ms", "100mbit": "100 Mbit/s 100 ms", "1gbit": "1 Gbit/s 1 ms",
         "lossy": "100 Mbit/s 25 ms, 1 % loss"}


class Row:
    """A figure, what it is compared with, and the goal of their ratio: at least, or with @most at most."""

    def __init__(self, text, case, metric, unit, against=None, goal=None, most=False, other=None):
        self.text, self.case, self.metric, self.unit = text, case, metric, unit
        self.against, self.other, self.goal, self.most = against, other or metric, goal, most

    def result(self, figures):
        """As in results.json; None when its part was not run."""
        value = figures.get(self.case, {}).get(self.metric)
        base = figures.get(self.against, {}).get(self.other) if isinstance(self.against, str) else self.against
        if value is None or (self.against is not None and not base):
            return None
        ratio = value / base if base else None
        met = None
        if self.goal is not None:
            met = ratio <= self.goal if self.most else ratio >= self.goal
        return {"case": self.case, "metric": self.metric, "value": value, "unit": self.unit, "text": self.text,
                "spread": figures[self.case].get(f"{self.metric}_spread"),
                "against": self.against, "ratio": ratio, "goal": self.goal, "at_most": self.most, "met": met}


def iops(text, case, against=None, goal=None):
    return Row(text, case, "iops", "IOPS", against, goal)


def mirrored(text, case, drbd=None, goal=None, while_goal=None):
    """Of a load for a time: while it writes, until the other side has it all, and what was sent of what was written."""
    return [
        iops(f"{text}, while writing", case, drbd, while_goal),
        Row(f"{text}, until in sync", case, "synced_bytes_per_s", "B/s", drbd, goal),
        Row(f"{text}, time until in sync", case, "total_s", "s"),
        *(Row(f"{text}, sent {when}, of what was written", case, metric, "B", case, other="bytes")
          for when, metric in (("while writing", "load_sent"), ("until in sync", "synced_sent"))),
    ]


def copies(link):
    """Of what goes over a link: a bare TCP stream, what else does as much, and the processor that serves both ends."""
    return [
        Row(f"TCP, one stream, {LINKS[link]}", f"tcp-{link}", "tcp_bytes_per_s", "B/s"),
        *(Row(f"{what}, {LINKS[link]}, against TCP", f"{case}-{link}", metric, "B/s", f"tcp-{link}", 0.95,
              other="tcp_bytes_per_s")
          for what, case, metric in (("first copy", "first-copy", "bytes_per_s"),
                                     ("catch-up", "catch-up", "bytes_per_s"),
                                     ("secondary keeps up: staged in a catch-up", "catch-up", "staged_per_s"),
                                     ("freeze drain", "drain", "bytes_per_s"),
                                     ("catch-up of every other 4 KiB block", "scattered", "bytes_per_s"))),
        *(Row(f"{what}, {LINKS[link]}, processor idle", f"{case}-{link}", "idle_percent", "%")
          for what, case in (("first copy", "first-copy"), ("catch-up of every other 4 KiB block", "scattered"))),
    ]


# What is loaded in each state of the part "states", and what with.  Of what lasts something has to be left then; the disks
# of merges are slow ones, and so is dm-linear's.
STATES = (("first copy over 1 Gbit/s, write", "copy-write", "ram7"), ("connected, read", "connected-read", "ram7"),
          ("a secondary, read", "secondary-read", "ram7"), ("a recovered volume, write", "recovered-write", "ram7"),
          ("a secondary that merges, read", "stage-read", "d"), ("a primary that merges, write", "merge-write", "d"),
          ("a primary that merges, read", "merge-read", "d"))
LASTS = ("copy-write", "stage-read", "merge-write", "merge-read")


ROWS = [
    iops("raw disk, 4 KiB random write", "raw-randwrite", "linear-randwrite"),
    iops("raw disk, 4 KiB random read", "raw-randread", "linear-randread"),
    iops("dm-linear, 4 KiB random write", "linear-randwrite"),
    iops("dm-linear, 4 KiB random read", "linear-randread"),
    iops("dm-snapshot, first write of each 4 KiB chunk", "snapshot-cow", "linear-randwrite"),
    iops("dm-snapshot, chunks already copied, write", "snapshot-randwrite", "linear-randwrite"),
    iops("dm-snapshot, read", "snapshot-randread", "linear-randread"),
    iops(f"{DRBD} not connected, write", "drbd-alone-randwrite", "linear-randwrite"),
    iops(f"{DRBD} not connected, read", "drbd-alone-randread", "linear-randread"),
    iops("not connected, write", "alone-randwrite", "linear-randwrite", 0.95),
    iops("not connected, read", "alone-randread", "linear-randread", 0.97),
    iops("cold write, every region new", "cold-randwrite", "linear-randwrite", 0.6),
    iops("frozen, first write of each block", "frozen-first", "linear-randwrite", 0.75),
    iops("frozen, diverted, write", "frozen-randwrite", "linear-randwrite", 0.75),
    iops("frozen, first write, against dm-snapshot", "frozen-first", "snapshot-cow", 1.6),
    iops("frozen, diverted, read", "frozen-randread", "linear-randread", 0.9),
    *(row for text, case, disk in STATES for row in (
        iops(text, f"states-{case}", f"states-linear-{disk}-rand{case.split('-')[1]}"),
        *([Row(f"{text}, blocks left then", f"states-{case}", "left", "blocks")] if case in LASTS else []))),
    *(row for case, text, goal in (("randwrite", "4 KiB random write", 2.5), ("write64k", "64 KiB write", 1.5),
                                   ("write1m", "1 MiB write", 1.5))
      for row in mirrored(f"{DRBD} A connected, {text}", f"drbd-{case}") +
      mirrored(f"connected, {text}", f"connected-{case}", f"drbd-{case}", goal)),
    *mirrored(f"{DRBD} A, {LINKS['20mbit']}, zipf write", "drbd-slow"),
    iops("20 Mbit/s 25 ms, zipf write, while writing, against no link", "slow", "slow-nolink", 0.9),
    *mirrored(f"{LINKS['20mbit']}, zipf write", "slow", "drbd-slow", while_goal=100),
    Row("20 Mbit/s 25 ms, zipf write, 99th percentile", "slow", "p99_us", "us", "slow-alone", 1.2, most=True),
    Row("not connected, beside a bare TCP stream over 20 Mbit/s 25 ms, the same", "slow-stream", "p99_us", "us",
        "slow-alone"),
    Row("20 Mbit/s 25 ms, bytes on the wire until in sync, against blocks sent", "slow", "wire_bytes", "B", "slow",
        1.03, most=True, other="synced_sent"),
    Row("20 Mbit/s 25 ms, bytes on the wire, against distinct blocks changed while nobody was there", "slow-sweep",
        "wire_bytes", "B", "slow-sweep", 1.03, most=True, other="changed_bytes"),
    *(row for name in LINKS for row in copies(name)),
    *(Row(f"first copy of what is half zeroes, {how}", f"compress-{how}", "bytes_per_s", "B/s", "compress-copy")
      for how in ("lz4", "zstd")),
    *(Row(f"first copy of what is half zeroes, {how}, bytes on the wire", f"compress-{how}", "tx", "B",
          "compress-copy") for how in ("lz4", "zstd")),
    *(Row(f"first copy, {text}", f"crypto-{how}", "bytes_per_s", "B/s", "crypto-clear")
      for how, text in (("aes-gcm", "AES-256-GCM, of which an instruction counts as one"),
                        ("chacha20-poly1305", "ChaCha20-Poly1305, with vectors"),
                        ("plain-c", "ChaCha20-Poly1305, the kernel's C"))),
    Row("sealing 8 KiB, AES-256-GCM, the kernel's C", "seal-aes-c", "instructions", "", "seal-chacha-c"),
    Row("sealing 8 KiB, ChaCha20-Poly1305, the kernel's C", "seal-chacha-c", "instructions", ""),
    Row("commit, from ALL_SENT on, against a round trip", "commit-0", "ns", "ns", 50e6, 1.2, most=True),
    Row("the same, a write or flush of the secondary takes 20 ms, against a round trip and one of them", "commit-20",
        "ns", "ns", 70e6, 1.2, most=True),
    Row("what these add, against one of them", "commit-20", "more_ns", "ns", 20e6),
    Row("freeze of what has all arrived, from the call on, against a round trip", "freeze-0", "ns", "ns", 50e6),
    Row("the same, a write or flush of the secondary takes 20 ms, against a round trip and two of them", "freeze-20", "ns",
        "ns", 90e6),
    Row("what these add, against one of them", "freeze-20", "more_ns", "ns", 20e6),
    Row("merge, against a copy of the same bytes", "merge", "bytes_per_s", "B/s", "merge-dd", 0.7),
    Row("restart with a difference volume of 64 GiB, until usable", "restart", "usable_ns", "ns"),
    Row("the same, its index a second, against dd bs=1M of the same range", "restart", "bytes_per_s", "B/s",
        "restart-dd", 0.95),
    Row("the same, blocks that are diverted and not merged when it is usable", "restart", "usable_diverted", "blocks"),
    *(Row(f"{time} freeze stall, {text}", case, f"stall{n}_ms", "ms", 1, 1, most=True)
      for case, text in (("1tib", "1 TiB of 4 KiB blocks"), ("16tib", "16 TiB of 64 KiB blocks"))
      for n, time in ((1, "first"), (2, "second"))),
    Row("memory of block sets, bits a block, against 5 and 1 %", "1tib", "map_bits", "bit", 5, 1.01, most=True),
    Row("memory of block sets, MiB for each TiB of 4 KiB blocks, against 5 bits a block", "1tib", "map_mib", "MiB",
        160, 1, most=True),
    *(Row(f"create and connect, {text}", case, "create_ns", "ns")
      for case, text in (("1tib", "1 TiB of 4 KiB blocks"), ("16tib", "16 TiB of 64 KiB blocks"))),
    *(iops(f"two processors, {text}, {jobs}, write", f"cpus-{case}-{n}", f"cpus-{case}-1" if n == 2 else None)
      for case, text in (("l", "dm-linear"), ("p", "not connected")) for n, jobs in ((1, "one job"), (2, "two jobs"))),
    Row("two processors, two jobs against one, not connected against dm-linear", "cpus-p-2", "scale", "",
        "cpus-l-2"),
    *(iops(f"two machines, {text}, {size}", f"machines-{case}{kind}", against and f"machines-{against}{kind}")
      for kind, size in (("", "4 KiB random write"), ("-64k", "64 KiB write"))
      for case, text, against in (("linear", "dm-linear", None), ("alone", "not connected", "linear"),
                                  ("drbd", f"{DRBD} A connected, until in sync", "linear"),
                                  ("connected", "connected, until in sync", "drbd"))),
    *(Row(f"1 % of the packets lost, TCP, {text}", f"loss-tcp-{case}", "tcp_bytes_per_s", "B/s", 12.5e6)
      for case, text in (("cubic", "one stream"), ("cubic-4", "four streams"), ("bbr", "one stream with BBR"))),
    *(Row(f"1 % of the packets lost, first copy, {name}", f"loss-copy-{name}", "bytes_per_s", "B/s",
          f"loss-tcp-{name}", other="tcp_bytes_per_s") for name in ("cubic", "bbr")),
]


def fio_figures(text):
    job = json.loads(text[text.index("{"):text.rindex("}") + 1])["jobs"][0]
    if job["error"]:
        raise icount.GuestError(f"fio: error {job['error']}")
    way = max((job["read"], job["write"]), key=lambda d: d["total_ios"])
    return {"iops": way["iops"], "ios": way["total_ios"], "ms": way["runtime"], "bytes": way["io_bytes"],
            "mean_us": way["lat_ns"]["mean"] / 1000, "p99_us": way["clat_ns"]["percentile"]["99.000000"] / 1000, "max_us": way["lat_ns"]["max"] / 1000}


def rounds(of, key, value):
    """What is measured again and again is the median, and how far apart they are."""
    values = of.setdefault(f"{key}_rounds", [])
    values.append(value)
    of[key] = statistics.median(values)
    if len(values) > 1 and of[key]:
        of[f"{key}_spread"] = (max(values) - min(values)) / of[key]


def machines(seconds):
    """Two machines: writes a second, counted until the other side has them all."""
    figures = {}
    for case, text, waited_ns in pair.measure(min(seconds, ROUND)):
        new = fio_figures(text)
        rounds(figures.setdefault(f"machines-{case}", {}), "iops", new["ios"] / (new["ms"] / 1e3 + waited_ns / 1e9))
    return figures


def parse(out):
    figures = {}
    for part in out.split("\n" + MARK)[1:]:
        case, key, *rest = part.split(maxsplit=2)
        of = figures.setdefault(case, {})
        if key == "fio":
            of.update(new := fio_figures(rest[0]))
            if case.split("-")[0] in TIMED:
                rounds(of, "iops", new["iops"])
        elif rest:
            rounds(of, key, float(rest[0].split()[0]))
    for of in figures.values():
        if "total_ns" in of:
            of["synced_bytes_per_s"] = of["bytes"] * 1e9 / of["total_ns"]
            of["total_s"] = of["total_ns"] / 1e9
        if "mem_maps" in of:
            of["map_bits"] = of["mem_maps"] * 8 / of["blocks"]
            of["map_mib"] = of["mem_maps"] / (of["blocks"] * of["block"] / 2 ** 20)
    for case in ("commit", "freeze"):
        if f"{case}-20" in figures:
            figures[f"{case}-20"]["more_ns"] = figures[f"{case}-20"]["ns"] - figures[f"{case}-0"]["ns"]
    for case in ("cpus-l", "cpus-p"):
        if f"{case}-2" in figures:
            figures[f"{case}-2"]["scale"] = figures[f"{case}-2"]["iops"] / figures[f"{case}-1"]["iops"]
    return figures


def results_of(figures):
    return [r for r in (row.result(figures) for row in ROWS) if r]


def plot(folder, results):
    """Bars of the ratios to dm-linear, and of those of connected pairs to DRBD."""
    sets = {"local": [r for r in results if str(r["against"]).startswith("linear-")],
            "connected": [r for r in results if str(r["against"]).startswith("drbd-") and r["against"] != r["case"] and
                          r["ratio"] < 20]}
    for name, rows in sets.items():
        if not rows:
            continue
        data = "".join(f'"{r["text"]}" {r["ratio"]:.4f}\n' for r in rows)
        what = "dm-linear" if name == "local" else f"{DRBD} protocol A"
        subprocess.run(["gnuplot"], input=f"""
set terminal svg size 900,{80 + 26 * len(rows)} background "white" font "sans,11"
set output "{folder}/{name}.svg"
set title "IOPS or throughput, of {what} = 1"
set style fill solid 0.7
set xrange [0:*]
set yrange [{len(rows) - 0.5}:-0.5]
set grid x
set arrow from 1, graph 0 to 1, graph 1 nohead linecolor "gray40"
unset key
$rows << EOD
{data}EOD
plot $rows using (0.5 * $2):0:(0.5 * $2):(0.35):ytic(1) with boxxyerror linecolor "#4477aa"
""", text=True, check=True)


def amount(r):
    text = f"{r['value']:,.{0 if r['value'] >= 100 else 3}f} {r['unit']}".rstrip()
    return text if r["spread"] is None else f"{text}, spread {100 * r['spread']:.0f} %"


def markdown(results):
    yield "| | measured | ratio | against | goal |"
    yield "|---|---:|---:|---|---|"
    for r in results:
        ratio = "" if r["ratio"] is None else f"{r['ratio']:.3f}"
        goal = "" if r["goal"] is None else f"{'<=' if r['at_most'] else '>='} {r['goal']}: " + \
            ("met" if r["met"] else "**not met**")
        against = f"{r['against']:,.0f}" if isinstance(r["against"], (int, float)) else r["against"] or ""
        yield f"| {r['text']} | {amount(r)} | {ratio} | {against} | {goal} |"


def commit_now():
    return subprocess.run(["git", "-C", vm.TOP, "describe", "--always", "--dirty"], check=False,
                          stdout=subprocess.PIPE, text=True).stdout.strip() or "no commit"


def runs_of(folder):
    """The guests that ran until now, with the commit and what was measured."""
    path = folder / "runs.json"
    return json.loads(path.read_text()) if path.exists() else []


def remember(folder, commit, figures):
    runs = [*runs_of(folder), {"commit": commit, "figures": figures}]
    (folder / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")


def latest(runs):
    """Commits in the order of their first row, each with its rows: both sides of a ratio are of one guest."""
    by_commit = {}
    for row in ROWS:
        for run in reversed(runs):
            r = row.result(run["figures"])
            if r:
                by_commit.setdefault(run["commit"], []).append(r)
                break
    return by_commit


def publish(folder, runs):
    by_commit = latest(runs)
    plot(folder, [r for rows in by_commit.values() for r in rows])
    for picture in folder.glob("*.svg"):
        head, rest = picture.read_text().split("\n", 1)
        (vm.TOP / f"Documentation/bench-{picture.name}").write_text(f"{head}\n{SPDX}\n{rest}")
    readme = vm.TOP / "README.md"
    tables = "\n\n".join("\n".join([f"As measured at {commit}:", "", *markdown(rows)])
                         for commit, rows in by_commit.items())
    text, n = re.subn(r"(<!-- bench -->\n).*?(<!-- end of bench -->)", lambda m: f"{m[1]}{tables}\n{m[2]}",
                      readme.read_text(), flags=re.S)
    if n != 1:
        raise icount.GuestError("README.md has no place for the table")
    readme.write_text(text)


def profiles(out):
    """Shares of the instructions, by function; what cannot be interrupted is counted where it ends."""
    for part in ("\n" + out).split("\n" + MARK)[1:]:
        head, *lines = part.splitlines()
        if head.endswith(" threads"):
            print("\n".join([head, *(f"  {line.strip()}" for line in lines)]))
        if not head.endswith(" perf"):
            continue
        print(head.removesuffix(" perf"))
        found = [re.match(r"\s*([\d.]+)%\s+\d+\s+\[k\] (\S+)", line) for line in lines]
        shares = {m[2]: float(m[1]) for m in found if m}
        busy = 100 - shares.pop("native_safe_halt", 0)
        for name, share in shares.items():
            if share >= 0.4:
                print(f"{share:8.1f} %  {name}")
        for what, which in (("ciphers", CIPHERS), ("hashes", HASHES)):
            share = sum(share for name, share in shares.items() if which.search(name))
            print(f"{100 * share / busy:8.1f} %  of what is not idle: {what}")


def report(results):
    wide = max(len(r["text"]) for r in results)
    print(f"{'':<{wide}} {'measured':>26} {'ratio':>9}  {'goal':>7}")
    for r in results:
        ratio = "" if r["ratio"] is None else f"{r['ratio']:9.3f}"
        goal = "" if r["goal"] is None else f"{'<=' if r['at_most'] else '>='} {r['goal']}"
        met = {None: "", True: "met", False: "NOT MET"}[r["met"]]
        print(f"{r['text']:<{wide}} {amount(r):>26} {ratio:>9}  {goal:>7}  {met}")


def gate(results, path):
    """Rows whose ratio fell, or that miss their goal.  Prints the totals."""
    expected = json.loads(path.read_text())
    passed = failed = 0
    for r in results:
        want = expected.get(f"{r['case']} {r['metric']} {r['against']}")
        if want is None:
            continue
        fall = MORE.get(r["case"], FALL)
        bad = r["ratio"] > want * (1 + fall) if r["at_most"] else r["ratio"] < want * (1 - fall)
        if bad:
            print(f"FELL: {r['text']}: {r['ratio']:.3f}, expected {want:.3f}")
        elif r["met"] is False:
            print(f"MISSED: {r['text']}: {r['ratio']:.3f}, goal {r['goal']}")
            bad = True
        passed, failed = passed + (not bad), failed + bad
    failed += len(expected) - passed - failed	# rows that are gone
    print(f"{passed} passed, {failed} failed")
    return failed


def keep(folder, results):
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    with open(folder / "results.csv", "w", newline="", encoding="ascii") as f:
        table = csv.DictWriter(f, results[0])
        table.writeheader()
        table.writerows(results)
    plot(folder, results)


def run(folder, parts, seconds):
    """One guest; what it printed is left in guest-PART.log."""
    words = f"ios={IOS} seconds={seconds} copy_mib=64\n"
    script = words + (HERE / "guest.sh").read_text() + "".join(
        f"progress {p}\nmeasure_{p}\n" for p in parts)
    out = icount.run(script, memory=3072, timeout=MOST * len(parts),
                     processor=icount.TWO_CPUS if parts[0] in TIMED else None)
    (folder / f"guest-{parts[0]}.log").write_text(out)
    return "\n" + out


def measure(folder, only, seconds, figures):
    """Figures of all parts in @only; there is what a guest has measured, whatever becomes of the next."""
    commit = commit_now()	# what is built now, whatever is committed meanwhile
    for guest in GUESTS:
        parts = [p for p in guest if p in only]
        if parts:
            new = machines(seconds) if parts == ["machines"] else parse(run(folder, parts, seconds))
            remember(folder, commit, new)
            figures.update(new)


def measured(folder, only, seconds):
    """Rows, which are kept and shown, also if a guest failed."""
    figures = {}
    try:
        measure(folder, only, seconds, figures)
    finally:
        results = results_of(figures)
        if results:
            keep(folder, results)
            report(results)
    return results


def parts_of(args):
    if not args.only:
        return QUICK if args.quick else PARTS
    only = [p for p in args.only.split(",") if p != "none"]
    known = PROFILES if args.profile else PARTS
    unknown = set(only) - set(known)
    if unknown:
        sys.exit(f"bench: --only {','.join(sorted(unknown))}: unknown, expected of {', '.join(known)}; or none")
    return only


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--update", action="store_true", help="write expected.json")
    parser.add_argument("--publish", action="store_true", help="tables and plots go into the documents")
    parser.add_argument("--profile", action="store_true", help="shares of the instructions, by function, instead")
    parser.add_argument("--only", help="parts, of " + ", ".join(PARTS) + "; or none")
    parser.add_argument("--seconds", type=int, default=30, help="of the guest's time that a connected load takes")
    args = parser.parse_args()
    only = parts_of(args)
    crypto = args.only == "crypto"	# judged, too, when it alone is run
    profile = f"{args.only}_profiles" if args.only in PROFILES else "profiles"
    expected = HERE / ("expected-crypto.json" if crypto else "expected.json")
    folder = vm.BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    if args.profile:
        profiles(run(folder, [profile], args.seconds))
        return 0
    results = measured(folder, only, args.seconds)
    if args.publish:
        publish(folder, runs_of(folder))
    if args.update:
        expected.write_text(json.dumps(
            {f"{r['case']} {r['metric']} {r['against']}": round(r["ratio"], 4) for r in results if r["ratio"]},
            indent=1) + "\n")
    return gate(results, expected) != 0 if args.quick or crypto else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (icount.GuestError, subprocess.CalledProcessError) as e:
        sys.exit(f"bench: {e}")
