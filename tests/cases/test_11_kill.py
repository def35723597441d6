# SPDX-License-Identifier: GPL-2.0-only
"""Machines that die and links that break, in every mode, under load."""

import pytest

import scenes
from conftest import DEVICE
from scenes import loaded, modes, next_freeze, restart

pytestmark = pytest.mark.module


@modes("normal", "freezing", "merging", "secondary-merging", quick={"freezing": 65536}, each=True)
def test_primary_killed_and_secondary_recovers(pair, mode, block):
    _, committed, _ = loaded(pair, mode, block)
    pair.primary.kill9()
    scenes.slow_writes(pair.secondary, "data", 0)
    scenes.recover(pair, committed)


@modes("normal", "freezing", "merging", "secondary-merging", each=True)
def test_primary_killed_and_restarted(pair, mode, block):
    """What was flushed is there at once; the secondary catches up with it."""
    _, committed, _ = loaded(pair, mode, block)
    pair.primary.kill9()
    restart(pair, "primary")
    pair.check(pair.dump("primary"))
    pair.check(pair.dump("secondary"), freeze=pair.status("secondary")["image"])
    assert pair.status("secondary")["image"] >= committed
    scenes.release(pair)
    next_freeze(pair)


@pytest.mark.long
@pytest.mark.parametrize("by", [{"flush_every": 0, "fua_pct": 50}, {"flush_every": 5, "fua_pct": 0}], ids=["fua", "flush"])
def test_diverted_and_durable(pair, by):
    """What only FUA, or only FLUSH, made durable while it was diverted outlives the machine."""
    scenes.volume(pair)
    load = pair.load(**{**scenes.SMALL, **by})
    scenes.hold_freezing(pair, load)
    pair.primary.kill9()
    restart(pair, "primary")
    pair.check(pair.dump("primary"))


@modes("normal", "freezing", "merging", "secondary-merging", quick={"secondary-merging": 4096}, each=True)
def test_secondary_killed_and_restarted(pair, mode, block):
    """A freeze that was running goes on; an image that was being merged is there."""
    load, committed, number = loaded(pair, mode, block)
    pair.secondary.kill9()
    load.resume()
    restart(pair, "secondary")
    assert pair.status("secondary")["image"] in (committed, number)
    scenes.release(pair)
    # the primary may not have noticed yet that its peer is another
    pair.wait_connected(side="secondary")
    pair.wait_connected()
    scenes.judge(pair, number)
    pair.wait("primary", lambda s: s["mode"] == "normal", what="merged")
    scenes.commit(pair, load)
    scenes.finish(pair, load)


@modes("normal", "freezing", "merging", "secondary-merging", each=True)
def test_both_killed_and_restarted(pair, mode, block):
    _, committed, number = loaded(pair, mode, block)
    pair.primary.kill9()
    pair.secondary.kill9()
    restart(pair, "secondary")
    image = pair.status("secondary")["image"]
    assert image in (committed, number)
    pair.check(pair.dump("secondary"), freeze=image)
    restart(pair, "primary")
    pair.check(pair.dump("primary"))
    next_freeze(pair)


@pytest.mark.long
def test_killed_again_and_again(pair):
    """The secondary dies in the merge, and again in its repetition; then the primary is lost."""
    _, committed, _ = loaded(pair, "secondary-merging")
    for _ in range(2):
        pair.secondary.kill9()
        pair.secondary.start()
        scenes.slow_writes(pair.secondary, "data")
        pair.start("secondary")
        assert pair.status("secondary")["mode"] == "merging"
    pair.primary.kill9()
    scenes.slow_writes(pair.secondary, "data", 0)
    scenes.recover(pair, committed)


@pytest.mark.long
def test_secondary_killed_while_recovered_and_merging(pair):
    """A recovery survives the machine."""
    _, committed, _ = loaded(pair, "secondary-merging")
    pair.primary.kill9()
    pair.wait_disconnected("secondary")
    pair.recover()
    pair.secondary.kill9()
    restart(pair, "secondary")
    status = pair.wait("secondary", lambda s: s["mode"] == "recovered" and not s["merge_left"], what="merged")
    assert status["image"] == committed
    pair.check(pair.dump("secondary"), freeze=committed)


def rot(disk):
    """A byte of some blocks that hold stamps is another."""
    data = disk.read_bytes()
    held = [at for at in range(0, len(data), 4096) if data[at:at + 8] == b"FCSTAMP1"]
    with open(disk, "r+b") as f:
        for at in held[::len(held) // 40 + 1]:
            f.seek(at + 100)
            f.write(bytes([data[at + 100] ^ 1]))


def unreadable(pair):
    """How many blocks of what the load writes to cannot be read on the secondary."""
    r = pair.secondary.run(f"dd if={DEVICE} of=/dev/null bs=4096 count=2048 iflag=direct conv=noerror", check=False)
    return r.err.count("error reading")


@pytest.mark.long
def test_stage_rots(pair):
    """What is rotten is never shown, before its merge or after it, until another image heals it."""
    load, _, number = loaded(pair, "secondary-merging")
    pair.secondary.kill9()
    for serial in ("diffa", "diffb"):
        rot(pair.secondary.disk(serial))
    pair.secondary.start()
    scenes.slow_writes(pair.secondary, "data", scenes.SLOW_DISK // 4)
    pair.start("secondary")
    before = unreadable(pair)
    assert pair.status("secondary")["mode"] == "merging"
    scenes.slow_writes(pair.secondary, "data", 0)
    pair.wait_merged("secondary")
    status = pair.status("secondary")
    assert (status["image"], status["damaged"]) == (number, before)
    assert unreadable(pair) == before > 0
    pair.wait_connected()
    # rotten blocks are asked for again, perhaps after this cut
    pair.wait_image(load.freeze())
    pair.wait_merged("secondary")
    pair.wait("primary", lambda s: s["mode"] == "normal", what="merged")
    scenes.commit(pair, load)
    pair.wait_merged("secondary")
    assert pair.status("secondary")["damaged"] == 0
    scenes.finish(pair, load)


@modes("normal", "freezing", "merging", "secondary-merging", quick={"freezing": 65536}, each=True)
def test_link_cut_and_restored(pair, mode, block):
    """The load does not notice, the freeze goes on where it was."""
    load, _, number = loaded(pair, mode, block)
    pair.net.cut()
    load.resume()
    pair.wait_disconnected("primary")
    scenes.healthy(load)
    scenes.release(pair)
    pair.wait_connected()
    scenes.judge(pair, number)
    pair.wait("primary", lambda s: s["mode"] == "normal", what="merged")
    scenes.commit(pair, load)
    scenes.finish(pair, load)
