# SPDX-License-Identifier: GPL-2.0-only
"""Difference volumes of 1 %, 5 % and 20 % of the volume while all of it is being written.

Nothing fails and nothing hangs; a freeze is announced as too big, slowed down for, or given up; it is
delivered when the load leaves room.  What counts as room is what the disk has."""

import pytest

import scenes
from conftest import DEVICE, DIFFS, MIB

pytestmark = [pytest.mark.module, pytest.mark.long]
SIZE = 32 * MIB
SLOW_WIRE = scenes.SLOW_WIRE + " limit 20"	# packets: it is as slow as that no longer than it has to be
RATES = [SLOW_WIRE, "rate 8mbit", "rate 30mbit", "rate 100mbit"]	# in a freeze
FULL_LOAD = {"depth": 8, "min": 4096, "max": 65536, "flush_every": 50, "fua_pct": 5, "read_pct": 10}
percents = pytest.mark.parametrize("percent", [1, 5, 20])


def small(pair, side, percent):
    pair.create(size=SIZE, start=False, primary={"assume": "identical"})
    for serial in DIFFS[side]:
        pair.side(side).resize(serial, SIZE * percent // 100 // 4096 * 4096)
    pair.start("secondary")
    pair.start("primary")
    pair.wait_connected()


@percents
def test_small_diff(pair, percent):
    """Each rung: what could not be diverted is announced; then slowed down, or the freeze gives way."""
    small(pair, "primary", percent)
    load = pair.load(**FULL_LOAD)
    before = pair.status("primary")
    slots = before["diff_slots"]
    assert slots * 4096 >= 0.95 * SIZE * percent / 100 - 3 * 4096, before
    aborted = committed = 0
    for rate in RATES:
        pair.netem("primary", SLOW_WIRE)
        pair.wait("primary", lambda s: s["changed"] > 2 * slots and s["unsent"] > slots, what="changed")
        number = scenes.try_freeze(load, 300)
        pair.netem("primary", rate)
        status = pair.wait("primary", lambda s: s["phase"] == "none", timeout=120, what=f"freeze {number} ends")
        committed += status["image"] == number
        aborted += status["image"] != number
        load.work(20)
        scenes.healthy(load)
    status = pair.status("primary")
    scenes.verdict(f"{percent} %: {committed} images, {aborted} given up, {status['ev_short']} announced, "
                   f"{status['paced']} writes slowed down in {status['ev_paced']} freezes")
    assert status["ev_abort"] == aborted > 0
    assert status["ev_short"] > 0 and status["ev_paced"] > 0
    assert status["diff_used"] <= status["diff_slots"]
    # with less of a load it gets its image
    pair.netem("primary", "")
    load.pause()
    pair.wait_in_sync()
    pair.wait("primary", lambda s: s["mode"] == "normal" and not s["backoff_ms"], timeout=400, what="ready")
    number = load.freeze()
    load.resume()
    scenes.judge(pair, number)
    scenes.finish(pair, load)


@percents
def test_small_stages(pair, percent):
    """What changed does not fit: both sides say so, the image stays, the host does not notice."""
    small(pair, "secondary", percent)
    first = pair.freeze()
    pair.wait_image(first)
    load = pair.load(**FULL_LOAD)
    pair.wait("primary", lambda s: s["changed"] * 4096 > 1.5 * SIZE * percent / 100, what="changed")
    number = scenes.try_freeze(load)
    status = pair.wait("primary", lambda s: s["phase"] == "none", what=f"freeze {number} ends")
    assert status["image"] == first and status["ev_abort"] == 1 and status["ev_error"] > 0, status
    assert "the secondary's difference volume is full" in pair.primary.console_text()
    there = pair.status("secondary")
    assert there["image"] == first and there["ev_short"] > 0, there
    assert there["diff_used"] <= there["diff_slots"]
    assert "no room" in pair.secondary.console_text()
    load.work(100)
    pair.check(pair.dump("secondary"), freeze=first)
    scenes.finish(pair, load)


def test_capacity(pair):
    """A difference volume of so many bytes holds 95 % of that in distinct blocks, whatever the order of
    rewrites; one block more and it gives way."""
    size = 2 * MIB
    pair.create(size=SIZE, start=False, primary={"assume": "identical", "pace_ms": 0})
    pair.primary.resize("diff", size)
    pair.start("secondary")
    pair.start("primary")
    pair.wait_connected()
    pair.netem("primary", "rate 100kbit")
    frozen, room = 4 * MIB // 4096, int(0.95 * size) // 4096
    pair.load(fill=1, depth=1, max=65536, to=frozen * 8).wait()
    pair.freeze()
    pair.net.cut()	# nothing is delivered, and there is nothing to wait for
    before = pair.status("primary")
    assert before["ev_short"] == 1 and before["frozen"] > room, before
    # in an order of its own, many of them again and again; then each of them, once more
    pair.load(depth=8, min=4096, max=4096, to=frozen * 8, ops=3 * room, **{"from": (frozen - room) * 8}).wait()
    dd = f"dd if=/dev/urandom of={DEVICE} bs=4096 oflag=direct status=none count=%d seek=%d"
    pair.primary.run(dd % (room, frozen - room))
    status = pair.status("primary")
    assert (status["ev_abort"], status["diverted"]) == (0, room), status
    pair.primary.run(dd % (before["diff_slots"] - room + 1, 0))
    pair.wait("primary", lambda s: s["ev_abort"] == 1, what="given up")
    scenes.verdict(f"{size} bytes: {before['diff_slots']} slots, {room} blocks held")
    pair.netem("primary", "")
    pair.net.restore()
    pair.wait("primary", lambda s: s["mode"] == "normal" and s["in_sync"] and not s["backoff_ms"], what="sent")
    pair.wait_image(pair.freeze())
    pair.same(pair.dump("primary"), pair.dump("secondary"))
