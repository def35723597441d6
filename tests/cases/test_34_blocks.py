# SPDX-License-Identifier: GPL-2.0-only
"""What the block layer asks of a device: disks of 4096-byte sectors under or beside others, requests
that must not wait."""

import pytest

import scenes
from conftest import BY_ID, DEVICE, DIFFS, MIB

pytestmark = [pytest.mark.module, pytest.mark.long]
SIZE = 16 * MIB


def make_4kn(pair, side, disk):
    """The disk becomes one of 4096-byte sectors."""
    m = pair.side(side)
    m.run(["modprobe", "loop"])
    pair.paths[side, disk] = m.run(f"losetup -f --show --sector-size 4096 --direct-io=off {BY_ID}{disk}").out.strip()


@pytest.mark.parametrize("which", ["data", "diff", "all"])
def test_sectors_of_4096_bytes(pair, which):
    """If one of the primary's disks has them so has the volume; nothing smaller ever reaches that disk."""
    pair.create(size=SIZE, start=False, primary={"assume": "identical"})
    for disk in ("meta", "data", "diff") if which == "all" else (which,):
        make_4kn(pair, "primary", disk)
    if which == "all":
        for disk in ("meta", "data", *DIFFS["secondary"]):
            make_4kn(pair, "secondary", disk)
    pair.start("secondary")
    pair.start("primary")
    pair.wait_connected()
    assert pair.primary.run(f"blockdev --getss {DEVICE}").out == "4096\n"
    refused = pair.primary.run(f"dd if=/dev/zero of={DEVICE} bs=512 count=1 oflag=direct", check=False)
    assert "Invalid argument" in refused.err, str(refused)
    load = pair.load(align=4096, **scenes.SMALL)
    number = scenes.hold_freezing(pair, load)
    pair.netem("primary", "")
    scenes.judge(pair, number)
    scenes.finish(pair, load)
    for side in ("primary", "secondary"):
        pair.stop(side)
        pair.side(side).run("losetup -D")


def test_alignment_of_memory(pair):
    """What diff asks of the memory of a request the volume asks, too: any may be diverted."""
    m = pair.primary
    pair.create(size=SIZE, start=False, primary={"assume": "identical"})
    m.run("modprobe dm-crypt")
    m.run(["dmsetup", "create", "crypt", "--table", f"0 {SIZE // 512} crypt aes-xts-plain64 {'5a' * 32} 0 {BY_ID}diff 0 "
           "1 sector_size:4096"])
    m.run("dd if=/dev/zero of=/dev/mapper/crypt bs=1M count=1 oflag=direct status=none")	# else it is somebody's
    pair.paths["primary", "diff"] = "/dev/mapper/crypt"
    pair.start("secondary")
    pair.start("primary")
    asked = [m.run(f"cat /sys/block/$(basename $(realpath {d}))/queue/dma_alignment").out
             for d in ("/dev/mapper/crypt", f"{BY_ID}data", DEVICE)]
    assert asked == ["4095\n", "511\n", "4095\n"]
    pair.stop("primary")
    m.run(["dmsetup", "remove", "crypt"])


def test_requests_that_must_not_wait(pair):
    """NOWAIT is served or refused at once, in each mode, and never parked."""
    scenes.volume(pair, size=SIZE)
    load = pair.load(**scenes.SMALL)
    nowait = (f"fio --name=nowait --filename={DEVICE} --direct=1 --ioengine=pvsync2 --nowait=1 --bs=4k --size=1M "
              "--offset=8M --rw=%s --time_based --runtime=2 --output-format=terse --ignore_error=EAGAIN,EAGAIN")
    for hold in (lambda: None, lambda: scenes.hold_freezing(pair, load)):
        hold()
        for rw in ("randread", "randwrite"):
            r = pair.primary.run(nowait % rw, timeout=12, check=False)
            assert r.ok or "temporarily unavailable" in r.err + r.out or "not supported" in r.err + r.out, str(r)
    pair.netem("primary", "")
    pair.wait("primary", lambda s: s["phase"] == "none", what="the freeze ends")
    scenes.healthy(load)
    load.stop()
