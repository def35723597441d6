# SPDX-License-Identifier: GPL-2.0-only
"""Bad wires and bad peers: what arrives late, twice, in another order or not at all, a peer that
stands still or does not read.  The host's I/O goes on as before; an image is made when it can be."""

import contextlib
import signal
import time

import pytest

import scenes
from conftest import DIFFS, MIB, NAME
from test_30_frames import through_proxy

pytestmark = pytest.mark.module
long = pytest.mark.long
SIZE = 16 * MIB


def volume(pair):
    scenes.volume(pair, size=SIZE)
    load = pair.load(**scenes.STEADY)
    scenes.deliver(pair, load)
    return load


@contextlib.contextmanager
def not_stalled(load, what):
    """The longest request meanwhile, against that of five good seconds before."""
    load.worst()
    time.sleep(5)
    before = load.worst()
    yield
    worst = load.worst()
    scenes.verdict(f"{what}: the longest request {worst} ms, before {before} ms")
    assert worst < max(scenes.STALL, 2 * before)


@long
@pytest.mark.parametrize("words", [
    "loss 10%", "delay 30ms reorder 25% 50%", "duplicate 20%", "corrupt 2%", "delay 500ms",
    "delay 100ms 80ms loss 5% duplicate 5%"])
def test_bad_wire(pair, words):
    """In both directions."""
    load = volume(pair)
    with not_stalled(load, words):
        for side in ("primary", "secondary"):
            pair.netem(side, words)
        for _ in range(2):
            scenes.deliver(pair, load)
    for side in ("primary", "secondary"):
        pair.netem(side, "")
    scenes.deliver(pair, load)
    scenes.finish(pair, load)


@contextlib.contextmanager
def stopped(machine):
    """The emulator stands still: the machine is there and does nothing."""
    machine.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        machine.process.send_signal(signal.SIGCONT)


def noticed(pair, within):
    begin = time.monotonic()
    pair.wait_disconnected("primary")
    took = time.monotonic() - begin
    scenes.verdict(f"noticed after {took:.1f} s")
    assert took < within


@long
def test_peer_stands_still(pair):
    """In the middle of a freeze.  It is noticed, a freeze is refused, and all goes on where it was."""
    load = volume(pair)
    pair.netem("primary", scenes.SLOW_WIRE)
    scenes.wait_bytes(pair, "unsent", 256 * 1024)
    number = load.freeze()
    with not_stalled(load, "peer stopped in a freeze"), stopped(pair.secondary):
        noticed(pair, 15)
        pair.netem("primary", "")
        assert not pair.message("primary", "freeze", check=False).ok
        load.work(50)
    pair.wait_connected()
    scenes.judge(pair, number)
    scenes.deliver(pair, load)
    scenes.finish(pair, load)


@long
def test_peer_does_not_read(pair):
    """It says that it is there and answers no frame: the connection is given up, a new one is made."""
    proxy = through_proxy(pair)
    load = pair.load(**{**scenes.STEADY, "rate": 0})
    scenes.deliver(pair, load)
    with not_stalled(load, "peer does not read"):
        proxy.arm("p", "DATA", "deaf")
        proxy.wait_fired("DATA")
        time.sleep(10)
        status = pair.status("primary")
        assert status["connection"] == "connected" and status["inflight"] > 0, status
        noticed(pair, 75)
        load.work(50)
    scenes.deliver(pair, load)
    proxy.heal()
    scenes.finish(pair, load)


@long
def test_removed_while_the_other_stands_still(pair):
    """Each side, with a socket that is full or that waits for the rest of a frame."""
    load = volume(pair)
    with stopped(pair.secondary):
        load.work(200)
        load.stop()
        pair.primary.run(f"dmsetup remove --retry {NAME} && rmmod dm_freezecopy", timeout=40)
    pair.start("primary")
    pair.wait_connected()
    load = pair.load(**{**scenes.STEADY, "rate": 0})
    load.work(100)
    with stopped(pair.primary):
        pair.secondary.run(f"dmsetup remove --retry {NAME} && rmmod dm_freezecopy", timeout=40)
    pair.start("secondary")
    scenes.deliver(pair, load)
    scenes.finish(pair, load)


@long
def test_two_connections_and_a_storm(pair):
    """The connection that there is stays; one that is cut again and again is there in the end."""
    proxy = through_proxy(pair)
    load = pair.load(**scenes.STEADY)
    scenes.deliver(pair, load)
    before = pair.status("primary")["ev_connect"]
    for _ in range(5):	# closed at once: reading ends
        pair.primary.run(["timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.2/7744; cat <&3 >/dev/null"])
    assert pair.status("primary")["ev_connect"] == before
    with not_stalled(load, "a storm of connections"):
        for _ in range(30):
            proxy.cut()
        scenes.deliver(pair, load)
    scenes.verdict(f"{pair.status('primary')['ev_connect'] - before} more sessions")
    scenes.finish(pair, load)


@long
@pytest.mark.parametrize("disk", ["data", "diffa", "diffb", "meta"])
def test_slow_disk_of_a_secondary(pair, disk):
    """Images take longer; the primary's host does not notice."""
    load = volume(pair)
    with not_stalled(load, f"slow {disk} of the secondary"):
        pair.secondary.throttle(disk, iops=4)
        number = load.freeze()
        load.work(100)
        pair.secondary.throttle(disk)
        scenes.judge(pair, number)
    scenes.deliver(pair, load)
    scenes.finish(pair, load)


@long
@pytest.mark.parametrize("disk", ["data", "diff", "meta"])
def test_slow_disk_of_a_primary(pair, disk):
    """A request may take as long as the disk needs for what belongs to it, and none waits for the peer."""
    load = volume(pair)
    pair.primary.throttle(disk, iops=20)
    scenes.deliver(pair, load)
    worst = load.worst()
    scenes.verdict(f"slow {disk} of the primary: the longest request {worst} ms")
    assert worst < 10 * scenes.STALL
    pair.primary.throttle(disk)
    scenes.deliver(pair, load)
    scenes.finish(pair, load)


@long
def test_all_disks_of_a_secondary_stand_still(pair):
    """As good as dead: nothing is durable there, nothing waits for it here."""
    load = volume(pair)
    disks = ("data", "meta", *DIFFS["secondary"])
    with not_stalled(load, "hardly a request a second on the secondary's disks"):
        for disk in disks:
            pair.secondary.throttle(disk, bps=512, iops=1)
        load.work(400)
    for disk in disks:
        pair.secondary.throttle(disk)
    scenes.deliver(pair, load)
    scenes.finish(pair, load)
