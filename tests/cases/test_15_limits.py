# SPDX-License-Identifier: GPL-2.0-only
"""What is too small, too slow or rotten costs the image that is being made, and nothing else."""

import pytest

import machines as vm
import scenes
from conftest import BY_ID, DEVICE, DIFFS, MIB

pytestmark = pytest.mark.module
ROOM = 2 * MIB	# of diff, where a freeze has several times that to deliver
PACE = 3000	# ms, more than a busy host takes for a request


def small(machine, pair, block=4096, **options):
    """The difference volumes of this machine are small."""
    pair.create(block=block, start=False, primary={"assume": "identical", **options})
    for serial in DIFFS[machine.name]:
        machine.resize(serial, ROOM)
    pair.start("secondary")
    pair.start("primary")
    pair.wait_connected()


@pytest.mark.long
@pytest.mark.parametrize("block", [4096, 65536])
def test_small_diff_is_announced_and_paced(pair, block):
    """The link is good: writes wait for what they overwrite to be delivered, and the freeze commits."""
    small(pair.primary, pair, block, pace_ms=10000)
    load = pair.load(**{**scenes.SMALL, "depth": 8, "min": 4096})
    pair.netem("primary", scenes.SLOW_WIRE)
    scenes.wait_bytes(pair, "unsent", 3 * ROOM)
    pair.netem("primary", "rate 30mbit")
    number = load.freeze()
    scenes.judge(pair, number)
    status = pair.status("primary")
    assert (status["ev_short"], status["ev_abort"]) == (1, 0), status
    assert status["diff_slots"] * block < ROOM
    pair.netem("primary", "")
    pair.wait_merged("primary")
    scenes.commit(pair, load)
    scenes.finish(pair, load)


@pytest.mark.parametrize("block", [4096, pytest.param(65536, marks=pytest.mark.long)])
def test_small_diff_gives_way(pair, block):
    """The link is bad: the freeze is given up, no write fails or hangs, and the next one backs off."""
    small(pair.primary, pair, block)
    load = pair.load(**{**scenes.SMALL, "depth": 8})
    pair.netem("primary", scenes.SLOW_WIRE)
    scenes.wait_bytes(pair, "unsent", 3 * ROOM)
    load.freeze()
    status = pair.wait("primary", lambda s: s["ev_abort"] == 1, what="aborted")
    assert (status["ev_short"], status["ev_paced"], status["image"]) == (1, 1, 0), status
    assert status["paced"] > 0
    assert status["backoff_ms"] > 0 or vm.SLOW > 1	# a slow kernel's status may come after it
    scenes.healthy(load)
    load.work(20)
    pair.netem("primary", "")
    pair.wait("primary", lambda s: s["mode"] == "normal", what="merged")
    if pair.status("primary")["backoff_ms"] > 300:
        refused = pair.message("primary", "freeze", check=False)
        assert refused.rc and "had to be given up" in pair.primary.console_text(), str(refused)
    pair.wait("primary", lambda s: s["backoff_ms"] == 0, what="the end of the back-off")
    load.pause()	# on a busy host all of it takes longer to be sent than to be written
    pair.wait_in_sync()
    load.resume()
    scenes.commit(pair, load)
    scenes.finish(pair, load)


@pytest.mark.long
def test_paced_writes_wait_so_long(pair):
    """A write that finds no room waits for pace_ms, while the link delivers nothing, and not longer."""
    small(pair.primary, pair, pace_ms=PACE)
    load = pair.load(**{**scenes.SMALL, "depth": 8})
    pair.netem("primary", scenes.SLOW_WIRE)
    scenes.wait_bytes(pair, "unsent", 3 * ROOM)
    load.stop()
    # slower, so that the machine is not what they wait for
    load = pair.load(**{**scenes.STEADY, "depth": 8, "rate": 200, "to": 8 * MIB // 512, "hot": 0})
    load.worst()
    load.freeze()
    status = pair.wait("primary", lambda s: s["ev_abort"] == 1, timeout=120, what="aborted")
    worst = load.worst()
    scenes.verdict(f"{status['paced']} writes waited for {PACE} ms; the longest request {worst} ms")
    assert status["paced"] > 0 and status["ev_paced"] == 1, status
    # none aborts before it has waited for all of that
    assert PACE - 10 <= worst < PACE + scenes.STALL * vm.SLOW
    pair.netem("primary", "")
    pair.wait("primary", lambda s: s["mode"] == "normal" and not s["backoff_ms"], what="ready for a freeze")
    scenes.commit(pair, load)
    scenes.finish(pair, load)


@pytest.mark.long
def test_small_stage_gives_way(pair):
    """A stage that is too small for what changed: the image stays, the primary says why and goes on."""
    small(pair.secondary, pair)
    number = pair.freeze()		# of nothing: what was sent until now went to the volume itself
    pair.wait_image(number)
    load = pair.load(**scenes.SMALL)
    pair.wait("primary", lambda s: s["changed"] * s["block"] > 2 * ROOM, what="changed")
    load.freeze()
    pair.wait("primary", lambda s: s["ev_abort"] >= 1, what="aborted")
    assert pair.status("secondary")["image"] == number
    assert "the secondary's difference volume is full" in pair.primary.console_text()
    scenes.finish(pair, load)


def zeroes_and_others(machine, parts, size):
    """Zeroes and noise in turn, each @size bytes, from the beginning of the volume."""
    kib = size // 1024
    machine.run(f"for i in $(seq 0 {parts - 1}); do "
                f"[ $((i % 2)) = 0 ] && from=/dev/zero || from=/dev/urandom; "
                f"dd if=$from of={DEVICE} bs={kib}k seek=$i count=1 oflag=direct status=none || exit 1; done")


def test_zeroes_cost_a_few_bytes(pair):
    """Zeroes among other blocks do not travel."""
    scenes.volume(pair, size=16 * MIB)
    pair.net.cut()	# so that it waits, in long runs
    zeroes_and_others(pair.primary, 64, 65536)
    pair.wait_disconnected("primary")	# what was on its way is to be sent again
    assert pair.status("primary")["unsent"] * 4096 == 4 * MIB
    pair.net.restore()
    pair.wait_in_sync()
    number = pair.freeze()
    pair.wait_image(number)
    after = pair.status("primary")
    assert after["tx"] < 2 * MIB + 256 * 1024, after
    pair.same(pair.dump("secondary"), pair.dump("primary"))


@pytest.mark.long
def test_verified_before_the_commit(pair):
    """With `verify yes` a stage that rots is found before it becomes the image, not after."""
    scenes.volume(pair, size=16 * MIB, secondary={"verify": "yes"})
    load = pair.load(**scenes.SMALL)
    good = scenes.commit(pair, load)
    pair.wait_merged("secondary")
    pair.wait_merged("primary")
    pair.wait("secondary", lambda s: s["staged"] > 600, what="staged")
    load.pause()
    pair.wait_in_sync()
    # of what is staged for the next image; no stage's index is touched
    for serial in DIFFS["secondary"]:
        pair.secondary.run(f"dd if=/dev/urandom of={BY_ID}{serial} bs=1M seek=1 count=8 oflag=direct status=none")
    load.freeze()
    pair.wait("primary", lambda s: s["ev_abort"] >= 1, what="aborted")
    pair.check(pair.dump("secondary"), freeze=good)
    pair.wait("primary", lambda s: s["mode"] == "normal" and s["backoff_ms"] == 0, timeout=120, what="ready")
    load.resume()
    scenes.commit(pair, load)
    assert pair.status("secondary")["damaged"] == 0
    scenes.finish(pair, load)


@pytest.mark.long
def test_frames_wait_for_what_is_verified(pair):
    """The next image's frames come while this one is verified and committed; no connection ends by that."""
    scenes.volume(pair, size=16 * MIB, secondary={"verify": "yes"})
    load = pair.load(**scenes.STEADY)
    scenes.commit(pair, load)
    for serial in DIFFS["secondary"]:	# so that there is always one that waits to be put there
        scenes.slow_writes(pair.secondary, serial, 4 * scenes.SLOW_DISK)
    for _ in range(4):
        pair.wait_image(load.freeze())
        pair.wait("primary", lambda s: s["mode"] == "normal", what="merged")
    for serial in DIFFS["secondary"]:
        scenes.slow_writes(pair.secondary, serial, 0)
    scenes.deliver(pair, load)
    assert pair.status("primary")["ev_connect"] == 1
    scenes.finish(pair, load)


def wait_nice(pair, nice):
    """Until the primary's sender has this priority; the secondary's is always 0."""
    def has():
        # of all processes, of which one may just end; a connection that begins or ends has none, or two
        return {side: pair.side(side).run("awk '$2 ~ /^.fzc-send/ {print $19}' /proc/[0-9]*/stat", check=False).out
                for side in ("primary", "secondary")} == {"primary": f"{nice}\n", "secondary": "0\n"}
    pair.wait("primary", lambda s: has(), what=f"a sender of nice {nice}")


def test_sending_gives_way(pair):
    """What can wait is sent with what others leave of the processor; an image cannot."""
    scenes.volume(pair)
    load = pair.load(**scenes.SMALL)
    load.work()
    wait_nice(pair, 0)	# there is none yet
    scenes.judge(pair, load.freeze())
    wait_nice(pair, 10)
    number = scenes.hold_freezing(pair, load)
    wait_nice(pair, 0)
    pair.netem("primary", "")
    scenes.judge(pair, number)
    wait_nice(pair, 10)
    scenes.finish(pair, load)
