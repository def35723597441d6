# SPDX-License-Identifier: GPL-2.0-only
"""Disks that fail, each of both machines, in reading, writing, flushing, for a while or for good.

What the host may feel of it, what status, events and the kernel's log say, that nothing is lost,
and that an image is made once the disk is whole.  The errors come from QEMU's blkdebug.
"""

import contextlib
import re
import struct
import time

import pytest

import scenes
from conftest import BY_ID, DEVICE, DIFFS, MIB, NAME
from test_40_auth import status as told

pytestmark = pytest.mark.module
long = pytest.mark.long
SIZE = 16 * MIB
# Reads would fail, too, where only writes shall be looked at.
WRITES = {**scenes.SMALL, "read_pct": 0}


def volume(pair, load=WRITES, key=False):
    """A small volume with an image, under load; with a key its stages are encrypted."""
    if key:
        pair.use_key()
    scenes.volume(pair, size=SIZE, diff=SIZE * 5 // 4)	# also for when all counts as changed
    load = pair.load(**load)
    scenes.commit(pair, load)
    pair.wait_merged("secondary")
    pair.wait("primary", lambda s: s["mode"] == "normal", what="merged")
    return load


@contextlib.contextmanager
def failing(pair, side, disk, *kinds, **where):
    m = pair.side(side)
    m.fail(disk, *kinds, **where)
    yield
    if m.running:
        m.fail(disk)


def seen(pair, side, device, words):
    """Status names the device, an event was raised, and the kernel's log says what happened."""
    m = pair.side(side)
    status = pair.wait(side, lambda s: s["error"] == device, what=f"error={device}")
    assert status["ev_error"] > 0, status
    text = m.console_text()[m.console_checked:]
    assert re.search(words, text), m.report(f"the kernel does not say '{words}'")
    return status


def well(pair, load, failed=False):
    """The disk is whole: an image is made, status has forgotten, no read was ever wrong.
    failed: requests of the host may have failed."""
    pair.wait_connected()
    pair.wait("primary", lambda s: s["mode"] == "normal" and not s["backoff_ms"] and s["error"] != "meta",
              what="ready for a freeze")
    scenes.commit(pair, load)
    pair.wait_merged("secondary")
    for side in ("primary", "secondary"):
        pair.wait(side, lambda s: not s["error"], what="no error")
    ended(pair, load, failed)


def ended(pair, load, failed=False):
    load.ctl("stop")
    out = load.job.wait(60, check=False).out
    assert " bad 0" in out and (failed or " failed 0" in out), out
    pair.check(pair.dump("primary"))


# -- the primary's disks

def test_merge_of_a_primary(pair):
    """What was diverted is not forgotten when it cannot be written to data, flushed, or read."""
    load = volume(pair, scenes.SMALL)
    number = scenes.hold_merging(pair, load)
    pair.wait_in_sync()	# what cannot be read for sending from either is said of data
    # what failed is named until an image was made; data comes before diff
    for disk, kind, device in (("diff", "read", "diff"), ("data", "write", "data"), ("data", "flush", "data")):
        with failing(pair, "primary", disk, kind):
            scenes.slow_writes(pair.primary, "data", 0)
            seen(pair, "primary", device, f"{device} device (failed|cannot be)")
            time.sleep(1.5)	# it tries again
            assert pair.status("primary")["diverted"]
            scenes.slow_writes(pair.primary, "data", scenes.SLOW_DISK // 4)
    scenes.release(pair)
    pair.wait_merged("primary")
    load.resume()
    scenes.judge(pair, number)
    # the flush of a merge failed, for which no host asked: the next that asks for one is told
    well(pair, load, failed=True)


@long
def test_one_bad_sector_of_a_primary(pair):
    """A merge leaves the block that cannot be written where it is, and none of its neighbours."""
    scenes.volume(pair, size=SIZE)
    pair.freeze()
    pair.netem("primary", scenes.SLOW_WIRE)
    write = f"dd if=/dev/urandom of={DEVICE} bs=64k count=32 seek={(SIZE - 2 * MIB) // 65536} oflag=direct status=none"
    pair.primary.run(write)
    pair.message("primary", "freeze")
    pair.primary.run(write)
    reference = pair.dump("primary")
    with failing(pair, "primary", "data", "write", sector=(SIZE - MIB // 4) // 512):
        pair.netem("primary", "")
        pair.wait("primary", lambda s: s["mode"] == "merging" and s["merge_left"] == 1, what="all but one merged")
        seen(pair, "primary", "data", r"merging block \d+ failed: the data device cannot be written")
        pair.same(pair.dump("primary"), reference)
    pair.wait_merged("primary")
    pair.same(pair.dump("primary"), reference)


@long
@pytest.mark.parametrize("kind", ["read", "flush"])
def test_data_of_a_primary(pair, kind):
    """What cannot be read for sending, or not be flushed, is never in an image; the freeze gives way."""
    load = volume(pair)
    before = pair.status("primary")
    scenes.hold_freezing(pair, load)
    with failing(pair, "primary", "data", kind):
        pair.netem("primary", "")
        pair.wait("primary", lambda s: s["ev_abort"] > before["ev_abort"], what="aborted")
        seen(pair, "primary", "data", r"freeze 2 aborted: .*(reading|flushing)")
        assert pair.status("secondary")["image"] == before["image"]
    # diverted writes that are partial read their block from data, flushes are the host's own
    well(pair, load, failed=True)


@long
def test_data_of_a_primary_cannot_be_written(pair):
    """The host hears of it; what it wrote counts as changed."""
    load = volume(pair)
    with failing(pair, "primary", "data", "write"):
        load.work(30)
    assert " failed 0 " not in load.ctl("stats")
    well(pair, load, failed=True)


@long
@pytest.mark.parametrize("kind", ["write", "flush"])
def test_diff_of_a_primary(pair, kind):
    """The first write that cannot be diverted ends the freeze and is done in place."""
    load = volume(pair, {**WRITES, "flush_every": 0 if kind == "write" else 5, "fua_pct": 0})
    pair.netem("primary", scenes.SLOW_WIRE)
    scenes.wait_bytes(pair, "unsent")
    with failing(pair, "primary", "diff", kind):
        # it may be over before the cut is recorded, and the call fails
        pair.message("primary", "freeze", check=False)
        status = pair.wait("primary", lambda s: s["ev_abort"] == 1, what="aborted")
        assert status["backoff_ms"] > 0
        seen(pair, "primary", "diff", "freeze 2 aborted: (writing to|flushing) the diff device failed")
        if kind == "write":	# and again, as soon as it may
            pair.wait("primary", lambda s: not s["backoff_ms"] and s["mode"] == "normal", what="ready")
            pair.message("primary", "freeze", check=False)
            pair.wait("primary", lambda s: s["ev_abort"] == 2, what="aborted again")
            assert pair.status("primary")["backoff_ms"] > 1000
            scenes.healthy(load)
    pair.netem("primary", "")
    well(pair, load, failed=kind == "flush")


@long
def test_diff_of_a_primary_cannot_be_read(pair):
    """Reads of what is there fail as long as it lasts, and nothing takes their place."""
    load = volume(pair, scenes.SMALL)
    number = scenes.hold_freezing(pair, load)
    with failing(pair, "primary", "diff", "read"):
        pair.primary.run(f"dd if={DEVICE} of=/dev/null bs=1M iflag=direct", check=False)
        load.work(20)
    pair.netem("primary", "")
    scenes.judge(pair, number)
    well(pair, load, failed=True)


@long
@pytest.mark.parametrize("kind", ["write", "flush"])
def test_meta_of_a_primary(pair, kind):
    """Nothing goes on unrecorded: what would need a new flag fails, the rest is done; it comes back by itself."""
    load = volume(pair)
    scenes.wait_bytes(pair, "changed", 6 * MIB)	# of 8 that it writes to
    with failing(pair, "primary", "meta", kind):
        write = f"dd if=/dev/urandom of={DEVICE} bs=4k count=1 oflag=direct seek=%d"
        refused = pair.primary.run(write % (SIZE // 4096 - 1), timeout=20, check=False)
        assert "Input/output error" in refused.err, str(refused)
        seen(pair, "primary", "meta", "to the meta device failed")
        before = load.stats()
        load.work(100)
        done, failed = (load.stats()[key] - before[key] for key in ("writes", "failed"))
        scenes.verdict(f"{kind}: of {done} writes at least {done - failed} were done")
        assert done > failed	# of which some are flushes
        refused = pair.message("primary", "freeze", check=False)
        assert not refused.ok and "the meta device failed" in pair.primary.console_text(), str(refused)
        assert pair.status("primary")["connection"] == "connected"
    pair.wait("primary", lambda s: not s["error"], what="no error")
    load.ctl("stop")
    assert " bad 0" in load.job.wait(60, check=False).out
    load = pair.load(**WRITES)
    well(pair, load)


@long
def test_cut_that_cannot_be_recorded(pair):
    """The call returns, there is no image, and the host's I/O goes on."""
    load = volume(pair)
    load.pause()
    pair.wait_in_sync()
    time.sleep(3)	# what was noted of it is written
    with failing(pair, "primary", "meta", "write"):
        begin = time.monotonic()
        refused = pair.message("primary", "freeze", check=False)
        assert not refused.ok and "Input/output error" in refused.err, str(refused)
        assert time.monotonic() - begin < 10
        seen(pair, "primary", "meta", "aborted: the cut cannot be recorded")
    pair.wait("primary", lambda s: not s["error"], what="no error")
    load.resume()
    well(pair, load)


@long
@pytest.mark.parametrize("side, disk", [(side, disk) for side in ("primary", "secondary")
                                        for disk in ("meta", "data", *DIFFS[side])])
def test_removed_with_a_failing_disk(pair, side, disk):
    """It can always be removed; what starts afterwards has its image, and goes on."""
    load = volume(pair)
    number = pair.status("secondary")["image"]
    if side == "primary":
        scenes.hold_freezing(pair, load)
    with failing(pair, side, disk, "read", "write", "flush"):
        load.work(20)
        if side == "primary":
            load.ctl("stop")
            load.job.wait(60, check=False)
        begin = time.monotonic()
        pair.side(side).run(f"dmsetup remove --retry {NAME}", timeout=100)
        scenes.verdict(f"removed in {time.monotonic() - begin:.1f} s")
    if side == "primary" and disk != "meta":
        pair.primary.log_loss()	# flushes failed, and so did that of the removal
    pair.netem("primary", "")
    pair.start(side, take_all_changed="yes")
    assert pair.status("secondary")["image"] >= number
    load = load if side == "secondary" else pair.load(**WRITES)
    pair.wait_connected()
    pair.wait("primary", lambda s: s["mode"] == "normal" and s["phase"] == "none", what="the freeze before ends")
    well(pair, load)


def start_refused(pair, side, words):
    m = pair.side(side)
    begin = len(m.console_text())
    assert not pair.start(side, check=False).ok
    assert re.search(words, m.console_text()[begin:]), m.report(f"the kernel does not say '{words}'")
    m.run(f"! dmsetup info {NAME} >/dev/null 2>&1 || dmsetup remove --retry {NAME}")	# it may have no node


@long
@pytest.mark.parametrize("side", ["primary", "secondary"])
def test_start_without_reading(pair, side):
    """A device that cannot be read or written at the start is named, and nothing is loaded."""
    load = volume(pair)
    load.stop()
    number = pair.status("primary")["image"]
    pair.stop(side)
    for disk in ("meta", "data", *DIFFS[side]):
        with failing(pair, side, disk, "read"):
            start_refused(pair, side, r"(meta|data|diff|diff-b) \S+: cannot be read at byte \d+ \(error 5\)")
    with failing(pair, side, "meta", "write"):
        start_refused(pair, side, "meta cannot be written|to the meta device failed")
    pair.start(side)
    pair.wait_connected()
    assert pair.status(side)["image"] == number
    well(pair, pair.load(**WRITES))


# -- the secondary's disks: the primary's host never feels them

def with_key(rows, keyed):
    """These rows, and some of them once more with encrypted stages."""
    return [pytest.param(*row, key, id="-".join(row) + "-key" * key)
            for key in (False, True) for row in (keyed if key else rows)]


@long
@pytest.mark.parametrize("disk, kind, key", with_key(
    [(disk, kind) for disk in DIFFS["secondary"] for kind in ("write", "flush")], [("diffa", "write")]))
def test_stage(pair, disk, kind, key):
    """The connection ends, and comes back; the image stays."""
    load = volume(pair, key=key)
    number = scenes.commit(pair, load)	# so that each stage has its turn
    pair.wait_merged("secondary")
    with failing(pair, "secondary", disk, kind):
        load.work(50)
        if pair.status("primary")["connection"] == "connected" and not pair.status("secondary")["error"]:
            load.freeze()	# what comes now goes to the other stage
            load.work(50)
        seen(pair, "secondary", "diff", f"(writing (tags )?to|flushing) the diff-{disk[-1]} device failed")
        assert pair.status("secondary")["image"] >= number
        scenes.healthy(load)
    well(pair, load)


@long
@pytest.mark.parametrize("disk, kind, key", with_key(
    [("data", "write"), ("data", "flush"), ("diff", "read")], [("diff", "read")]))
def test_merge_of_a_secondary(pair, disk, kind, key):
    """It goes on to be a merge, and to be read through the stage; then the primary is lost for good.
    What cannot be read is not given up as long as nobody can send it again."""
    load = volume(pair, key=key)
    number = scenes.hold_secondary_merging(pair, load)
    stages = DIFFS["secondary"] if disk == "diff" else [disk]
    for one in stages:
        pair.secondary.fail(one, kind)
    scenes.slow_writes(pair.secondary, "data", 0)
    seen(pair, "secondary", disk, f"(merging: (reading|writing to)|flushing) the {disk}(-[ab])? device failed")
    time.sleep(2)
    assert pair.status("secondary")["mode"] == "merging"
    if disk == "data":
        pair.check(pair.dump("secondary"), freeze=number)
    scenes.healthy(load)
    pair.primary.kill9()
    pair.wait_disconnected("secondary")
    pair.recover()
    if disk == "data":
        pair.check(pair.dump("secondary"), freeze=number)
    for one in stages:
        pair.secondary.fail(one)
    status = pair.wait("secondary", lambda s: s["mode"] == "recovered" and not s["merge_left"], what="merged")
    assert (status["image"], status["damaged"]) == (number, 0)
    pair.check(pair.dump("secondary"), freeze=number)


def staged_sector(machine):
    """A sector of some block that is staged."""
    for serial in DIFFS["secondary"]:
        data = machine.disk(serial).read_bytes()
        at = data.find(b"FCSTAMP1", MIB)
        if at >= 0:
            yield serial, at // 512


@long
def test_unreadable_slot(pair):
    """A slot that can never be read is a rotten one: the merge ends, its block heals with another image."""
    load = volume(pair)
    scenes.wait_bytes(pair, "changed")
    scenes.slow_writes(pair.secondary, "data")
    load.pause()
    pair.wait_in_sync()
    number = load.freeze()
    pair.wait("secondary", lambda s: s["image"] == number and s["mode"] == "merging", what="merging")
    for serial, sector in staged_sector(pair.secondary):
        pair.secondary.fail(serial, "read", sector=sector)
    scenes.slow_writes(pair.secondary, "data", 0)
    status = pair.wait("secondary", lambda s: s["mode"] != "merging", what="merged all the same")
    # of the blocks that were read with it, none; if the sector was not of this stage, not even that one
    assert status["damaged"] == 1, status
    for serial in DIFFS["secondary"]:
        pair.secondary.fail(serial)
    r = pair.secondary.run(f"dd if={DEVICE} of=/dev/null bs=4096 iflag=direct conv=noerror", check=False)
    assert r.err.count("error reading") == 1, str(r)
    load.resume()
    well(pair, load)
    assert pair.status("secondary")["damaged"] == 0


@long
def test_given_up_by_order(pair):
    """When the primary is lost nobody can send again what cannot be read: the merge waits for the order, however
    long that takes, then ends without that block, and with all others."""
    load = volume(pair)
    scenes.wait_bytes(pair, "changed")
    scenes.slow_writes(pair.secondary, "data")
    number, reference = pair.freeze_and_keep(load)
    pair.wait("secondary", lambda s: s["image"] == number and s["mode"] == "merging", what="merging")
    pair.primary.kill9()
    pair.wait_disconnected("secondary")
    for serial, sector in staged_sector(pair.secondary):
        pair.secondary.fail(serial, "read", sector=sector)
    pair.recover()
    order = ["freezectl", "recover", NAME, "--give-up"]
    early = pair.secondary.run(order, check=False)
    assert not early.ok and pair.status("secondary")["merge_left"], str(early)
    scenes.slow_writes(pair.secondary, "data", 0)
    seen(pair, "secondary", "diff", "merging: reading the diff-[ab] device failed")
    pair.wait("secondary", lambda s: "(recover give-up gives up" in (told(pair, "secondary")["error"] or ""),
              timeout=90, what="it asks for the order")
    time.sleep(5)
    now = pair.status("secondary")
    assert now["merge_left"] and not now["damaged"], now
    pair.secondary.run(order, timeout=60)	# returns when it is merged
    now = pair.status("secondary")
    assert (now["mode"], now["image"], now["damaged"], now["merge_left"]) == ("recovered", number, 1, 0), now
    for serial in DIFFS["secondary"]:
        pair.secondary.fail(serial)
    pair.secondary.run(f"dd if={DEVICE} of={BY_ID}dump bs=4096 iflag=direct oflag=direct conv=noerror,sync; "
                       f"blockdev --flushbufs {BY_ID}dump", timeout=180)
    one, other = pair.raw("secondary", "dump").read_bytes(), reference.read_bytes()
    assert sum(one[at:at + 4096] != other[at:at + 4096] for at in range(0, SIZE, 4096)) == 1


def pages_of_tags(pair, serial):
    """The first sector of those of a stage: see Layout of a difference volume, and of page 0."""
    slots = struct.unpack_from("<I", pair.secondary.disk(serial).read_bytes()[:4096], 64 + 36)[0]
    return (2 + 2 * -(-slots // 126)) * 8


def other_stage(pair):
    """The stage that does not receive: the newer superblock has the one that does."""
    meta = pair.secondary.disk("meta").read_bytes()[:8192]
    newer = max((meta[:4096], meta[4096:]), key=lambda page: struct.unpack_from("<Q", page, 16))
    return 1 - struct.unpack_from("<I", newer, 64 + 268)[0]


def restart_without_tags(pair, serial):
    """What is cached of the tags is gone; those of the first 64 slots of this stage cannot be read."""
    pair.stop("secondary")
    pair.secondary.fail(serial, "read", sector=pages_of_tags(pair, serial))
    pair.start("secondary")


@long
def test_tags_cannot_be_read_to_merge(pair):
    """Those of 64 slots: without a tag no content is believed, and it is asked for again."""
    # each batch of a merge waits on its own until its blocks are given up: few batches
    load = volume(pair, {**WRITES, "to": MIB // 512}, key=True)
    scenes.wait_bytes(pair, "changed", MIB // 2)
    scenes.slow_writes(pair.secondary, "data", scenes.SLOW_DISK // 4)
    load.pause()
    pair.wait_in_sync()
    number = load.freeze()
    pair.wait("secondary", lambda s: s["image"] == number and s["mode"] == "merging", what="merging")
    stage = DIFFS["secondary"][other_stage(pair)]
    restart_without_tags(pair, stage)
    scenes.slow_writes(pair.secondary, "data", 0)
    seen(pair, "secondary", "diff", f"merging: reading the diff-{stage[-1]} device failed")
    assert pair.status("secondary")["mode"] == "merging"
    pair.wait_connected()
    now = pair.wait("secondary", lambda s: s["mode"] != "merging", timeout=240, what="merged all the same")
    assert 0 < now["damaged"] <= 64 and now["image"] == number, now
    r = pair.secondary.run(f"dd if={DEVICE} of=/dev/null bs=4096 iflag=direct conv=noerror", check=False)
    assert r.err.count("error reading") == now["damaged"], str(r)
    pair.secondary.fail(stage)
    load.resume()
    well(pair, load)
    assert pair.status("secondary")["damaged"] == 0


@long
def test_tags_cannot_be_read_to_receive(pair):
    """No other slots are taken for those: connections come and go, the freeze waits, and the image stays."""
    load = volume(pair, key=True)
    load.pause()
    pair.wait_in_sync()
    before = scenes.commit(pair, load)
    pair.wait_merged("secondary")
    stage = DIFFS["secondary"][1 - other_stage(pair)]
    restart_without_tags(pair, stage)
    pair.wait_connected()
    connects = pair.status("primary")["ev_connect"]
    load.resume()
    seen(pair, "secondary", "diff", f"the diff-{stage[-1]} device failed")
    number = scenes.try_freeze(load)
    pair.wait("primary", lambda s: s["ev_connect"] >= connects + 3, what="it is tried again")
    load.work(50)
    scenes.healthy(load)
    assert pair.status("secondary")["image"] == before
    now = pair.status("primary")
    assert (now["freeze"], now["ev_abort"]) == (number, 0), now
    pair.secondary.fail(stage)
    pair.wait_image(number)
    well(pair, load)


@long
@pytest.mark.parametrize("kind", ["write", "flush"])
def test_meta_of_a_secondary(pair, kind):
    """No commit without meta; the freeze waits for it, and is committed when it is back."""
    load = volume(pair)
    before = pair.status("secondary")["image"]
    load.pause()
    pair.wait_in_sync()
    time.sleep(3)	# what was noted of it is written: nothing else fails, and they stay connected
    with failing(pair, "secondary", "meta", kind):
        number = load.freeze()
        load.resume()
        seen(pair, "secondary", "meta", "to the meta device failed")
        load.work(50)
        scenes.healthy(load)
        assert pair.status("secondary")["image"] == before
    pair.wait_image(number)
    well(pair, load)


@long
def test_data_of_a_secondary_cannot_be_read(pair):
    """Who reads it hears of it; replication does not care."""
    load = volume(pair)
    with failing(pair, "secondary", "data", "read"):
        assert not pair.secondary.run(f"dd if={DEVICE} of=/dev/null bs=4k count=1 iflag=direct skip=4000",
                                      check=False).ok
        number = load.freeze()
        pair.wait_image(number)
        pair.wait_merged("secondary")
        assert not pair.status("secondary")["error"]
    pair.check(pair.dump("secondary"), freeze=number)
    well(pair, load)


@long
def test_first_copy_meets_errors(pair):
    """It goes straight to data: the device is named, and the copy goes on where it was."""
    pair.create(size=SIZE, start=False)
    pair.primary.run(f"dd if=/dev/urandom of=/dev/disk/by-id/virtio-data bs=1M count={SIZE // MIB} oflag=direct status=none")
    pair.netem("primary", "rate 16mbit")
    pair.start("secondary")
    pair.start("primary")
    pair.wait_connected()
    with failing(pair, "secondary", "data", "write"):
        seen(pair, "secondary", "data", "writing to the data device failed")
    pair.netem("primary", "")
    with failing(pair, "primary", "data", "read"):
        status = pair.wait("primary", lambda s: s["error"] == "data" or s["in_sync"], what="an error")
        assert status["error"] == "data" and not status["in_sync"], status
    pair.wait_in_sync()
    assert pair.freeze() == 1
    pair.wait_image(1)
    pair.same(pair.dump("secondary"), pair.dump("primary"))
