# SPDX-License-Identifier: GPL-2.0-only
"""The same loads on two emulated machines, in the time that passes here.

What else this machine does falls on every row, so there are rounds, in each of which every device has its
turn.  All of them are there at once: dm-linear, DRBD and this target, on disks of their own.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("qemu", "cases")]
import conftest  # noqa: E402
import machines as vm  # noqa: E402

ROUNDS = 7
SET_MIB = 48	# of each device
LOADS = {"": "--rw=randwrite --bs=4k --norandommap", "-64k": "--rw=write --bs=64k"}

DRBD_END = """
set -e
drbd=/lib/drbd/drbdsetup-84
disk={disk}
modprobe drbd
drbdmeta 0 v08 $disk internal create-md --force >/dev/null 2>&1
$drbd new-resource r
$drbd new-minor r 0 0
$drbd attach 0 $disk $disk internal
$drbd connect r ipv4:{local}:7789 ipv4:{remote}:7789 --protocol=A
"""
DRBD_BEGIN = "/lib/drbd/drbdsetup-84 new-current-uuid 0 --clear-bitmap && /lib/drbd/drbdsetup-84 primary 0"
# wait WORD: until /proc/drbd has it
DRBD_IS = "n=0; until grep -q '{}' /proc/drbd; do sleep 0.05; n=$((n+1)); [ $n -lt 2400 ] || exit 1; done"
DRBD_IN_SYNC = DRBD_IS.format("pe:0 ua:0 ap:0 .*oos:0")
IN_SYNC = f"freezectl wait {conftest.NAME} in-sync >/dev/null"
NOT_CONNECTED = (f"dmsetup suspend --nolockfs {conftest.NAME}", f"dmsetup resume {conftest.NAME}")

LINEAR, DRBD = "/dev/mapper/linear", "/dev/drbd0"


def _fill(m, device):
    m.run(["fio", "--name=fill", f"--filename={device}", f"--size={SET_MIB}M", "--rw=write", "--bs=1M", "--direct=1",
           "--ioengine=psync", "--refill_buffers=1", "--output=/dev/null"], timeout=300)


def _devices(pair):
    """All three, filled, in sync, with an image."""
    m = pair.primary
    m.run(f"dmsetup create linear --table \"0 $(blockdev --getsz {conftest.BY_ID}dump) linear {conftest.BY_ID}dump 0\"")
    for side, other in (("secondary", "primary"), ("primary", "secondary")):
        pair.side(side).run(DRBD_END.format(disk=f"{conftest.BY_ID}spare", local=conftest.ADDRESS[side],
                                            remote=conftest.ADDRESS[other]))
    m.run(DRBD_IS.format(" 0: cs:Connected"), timeout=150)
    m.run(DRBD_BEGIN)
    pair.create(primary={"assume": "identical"})
    pair.wait_connected()
    for device in (LINEAR, DRBD, conftest.DEVICE):
        _fill(m, device)
    m.run(f"{DRBD_IN_SYNC}; {IN_SYNC}", timeout=300)
    pair.wait_image(pair.freeze())
    pair.wait_merged("secondary")


def _load(m, device, words, wait, seconds):
    """What fio prints, and the nanoseconds after it until @wait has ended."""
    out = m.run(f"fio --output=/tmp/fio --name=load --filename={device} --size={SET_MIB}M --direct=1 --ioengine=libaio "
                f"--iodepth=16 --output-format=json --time_based --runtime={seconds} {words} && begin=$(date +%s%N) && "
                f"({wait}) && echo $(($(date +%s%N) - begin)) && cat /tmp/fio", timeout=300).out
    waited, text = out.split("\n", 1)
    return text, int(waited)


def _round(pair, seconds):
    for kind, words in LOADS.items():
        yield "linear" + kind, *_load(pair.primary, LINEAR, words, "true", seconds)
        pair.secondary.run(NOT_CONNECTED[0])
        pair.wait_disconnected("primary")
        yield "alone" + kind, *_load(pair.primary, conftest.DEVICE, words, "true", seconds)
        pair.secondary.run(NOT_CONNECTED[1])
        pair.wait_in_sync()
        yield "drbd" + kind, *_load(pair.primary, DRBD, words, DRBD_IN_SYNC, seconds)
        yield "connected" + kind, *_load(pair.primary, conftest.DEVICE, words, IN_SYNC, seconds)


def measure(seconds):
    """Tells of each load its device, what fio printed, and the nanoseconds until the other side had it all."""
    vm.build_image()
    machines = conftest.Machines()
    try:
        machines.clean()
        pair = conftest.Pair(machines)
        _devices(pair)
        for n in range(ROUNDS):
            print(f"two machines, round {n + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            yield from _round(pair, seconds)
        for m in machines.both:
            m.run("/lib/drbd/drbdsetup-84 down r")
        machines.end_case()
    finally:
        machines.net.close()
