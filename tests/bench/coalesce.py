#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""How much of what is overwritten has to travel: fio writes a small set again and again, Zipf
distributed, over links of several rates; then a freeze delivers what is left.

    tests/bench/coalesce.py [--rates none,2mbit,512kbit] [--set MIB] [--write MIB]

For each rate: the bytes that fio wrote, the distinct blocks that they changed, the bytes on the wire.
A mirror that sends every write needs the first, a snapshot shipped at the freeze the second.  The
same is left in BUILD/bench/coalesce.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/qemu"), str(TOP / "tests/cases")]
import conftest  # noqa: E402
import machines as vm  # noqa: E402

BLOCK = 4096
MIB = vm.MIB


def fio(pair, area, total):
    """Returns the bytes written, as fio counts them."""
    out = pair.primary.run(
        ["fio", "--name=zipf", f"--filename={conftest.DEVICE}", "--rw=randwrite", f"--bs={BLOCK}", "--direct=1",
         "--ioengine=psync", "--random_distribution=zipf:1.2", "--norandommap", "--randrepeat=1",
         f"--size={area}", f"--io_size={total}", "--output-format=json"], timeout=600).out
    return json.loads(out[out.index("{"):])["jobs"][0]["write"]["io_bytes"]


def measure(pair, rate, area, total):
    pair.netem("primary", "" if rate == "none" else f"rate {rate}")
    before = pair.status("primary")
    begin = time.monotonic()
    written = fio(pair, area, total)
    wrote = time.monotonic() - begin
    changed = pair.status("primary")["changed"]
    number = pair.freeze()
    pair.wait_image(number, timeout=900)
    end = pair.wait_merged("primary", timeout=300)
    pair.netem("primary", "")
    pair.wait_merged("secondary", timeout=300)
    return {"rate": rate, "fio_bytes": written, "changed_blocks": changed, "changed_bytes": changed * BLOCK,
            "wire_bytes": end["tx"] - before["tx"], "blocks_sent": end["tx_blocks"] - before["tx_blocks"],
            "fio_seconds": round(wrote, 1), "commit_seconds": round(time.monotonic() - begin - wrote, 1)}


def report(rows):
    print(f"\n{'link':>8} {'written by fio':>15} {'distinct changed':>17} {'on the wire':>12}"
          f" {'wire/distinct':>14} {'wire/written':>13}")
    for r in rows:
        print(f"{r['rate']:>8} {r['fio_bytes'] / 1e6:>12.2f} MB {r['changed_bytes'] / 1e6:>14.2f} MB"
              f" {r['wire_bytes'] / 1e6:>9.2f} MB {r['wire_bytes'] / r['changed_bytes']:>14.2f}"
              f" {r['wire_bytes'] / r['fio_bytes']:>13.2f}")
    print(f"(distinct changed: number of blocks times {BLOCK} bytes)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rates", default="none,2mbit,512kbit", help="of the link from primary to secondary")
    parser.add_argument("--set", type=int, default=4, metavar="MIB", help="that is overwritten")
    parser.add_argument("--write", type=int, default=16, metavar="MIB", help="in all")
    args = parser.parse_args()
    vm.build_image()
    machines = conftest.Machines()
    rows = []
    try:
        machines.clean()
        pair = conftest.Pair(machines)
        pair.create(block=BLOCK, primary={"assume": "identical"})
        pair.wait_connected()
        pair.wait_image(pair.freeze())	# before there is an image, what has arrived no longer counts as changed
        pair.wait_merged("secondary")
        for rate in args.rates.split(","):
            print(f"link {rate}: fio writes {args.write} MiB into {args.set} MiB", flush=True)
            rows.append(measure(pair, rate, args.set * MIB, args.write * MIB))
        machines.end_case()
    finally:
        machines.net.close()
    report(rows)
    out = vm.BUILD / "bench/coalesce.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"block_size": BLOCK, "set_bytes": args.set * MIB, "runs": rows}, indent=1) + "\n")
    print(f"{out}")


if __name__ == "__main__":
    main()
