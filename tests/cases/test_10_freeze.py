# SPDX-License-Identifier: GPL-2.0-only
"""Freezes under every kind of load.  The image is judged on the secondary, the reads by the load."""

import time

import pytest

import scenes
from conftest import DEVICE, MIB

pytestmark = pytest.mark.module
blocks = pytest.mark.parametrize("block", [4096, 65536])


@pytest.mark.parametrize("block", [pytest.param(4096, marks=pytest.mark.long), 65536])
def test_random_writes(pair, block):
    scenes.volume(pair, block)
    load = pair.load(**scenes.MIXED)
    for _ in range(2):
        load.work()
        scenes.commit(pair, load)
    scenes.finish(pair, load)


@pytest.mark.long
@blocks
def test_overwrites_of_blocks_in_flight(pair, block):
    """A slow wire: the same blocks are written again while a freeze still has to deliver them."""
    scenes.volume(pair, block)
    load = pair.load(**{**scenes.SMALL, "hot": 50})
    for _ in range(2):
        number = scenes.hold_freezing(pair, load)
        pair.netem("primary", "rate 20mbit delay 20ms")
        scenes.judge(pair, number)
        scenes.healthy(load)
    pair.netem("primary", "")
    scenes.finish(pair, load)


@pytest.mark.long
@blocks
def test_flush_and_fua_heavy(pair, block):
    diverting_load(pair, block, depth=4, flush_every=2, fua_pct=50, max=65536, to=16 * MIB // 512)


@pytest.mark.long
@blocks
def test_discards_and_write_zeroes(pair, block):
    diverting_load(pair, block, depth=4, flush_every=20, discard_pct=20, zeroes_pct=20, read_pct=20,
                   to=16 * MIB // 512)


def diverting_load(pair, block, **options):
    scenes.volume(pair, block)
    load = pair.load(**options)
    number = scenes.hold_freezing(pair, load)
    pair.netem("primary", "")
    scenes.judge(pair, number)
    scenes.commit(pair, load)
    scenes.finish(pair, load)


@pytest.mark.long
@blocks
def test_reads_while_diverted_and_merging(pair, block):
    """The load itself reads in both modes and compares; then all of it is read while merging."""
    scenes.volume(pair, block)
    load = pair.load(**{**scenes.SMALL, "read_pct": 60})
    number = scenes.hold_merging(pair, load)
    pair.check(pair.dump("primary"))
    load.resume()
    pair.check(pair.dump("secondary"), freeze=number)
    scenes.healthy(load)
    assert pair.status("primary")["mode"] == "merging"
    scenes.release(pair)
    pair.wait_merged("primary")
    scenes.finish(pair, load)


@pytest.mark.long
def test_reads_of_a_secondary_that_merges(pair):
    """Through the stage it reads as the image, bit for bit, before and after the merge."""
    load, _, _ = scenes.loaded(pair, "normal")
    scenes.slow_writes(pair.secondary, "data", scenes.SLOW_DISK // 4)
    number, reference = pair.freeze_and_keep(load)
    pair.wait_image(number)
    pair.same(pair.dump("secondary"), reference)
    assert pair.status("secondary")["mode"] == "merging"
    scenes.release(pair)
    pair.wait_merged("secondary")
    pair.same(pair.dump("secondary"), reference)
    scenes.finish(pair, load)


@pytest.mark.long
def test_cached_reads_of_the_secondary(pair):
    """Who has the device open reads, through the page cache too, the last image and nothing older."""
    scenes.volume(pair, size=16 * MIB)
    load = pair.load(**scenes.SMALL)
    scenes.commit(pair, load)
    pair.secondary.background(f"exec sleep 600 <{DEVICE}")
    for _ in range(2):
        pair.secondary.run(f"cat {DEVICE} >/dev/null")
        number = scenes.commit(pair, load)
        pair.wait_merged("secondary")
        time.sleep(3)	# reads that began before the commit are dealt with once a second
        pair.check(pair.dump("secondary", how=""), freeze=number)
    scenes.finish(pair, load)


@pytest.mark.long
@blocks
def test_thirty_freezes(pair, block):
    scenes.volume(pair, block)
    load = pair.load(**scenes.SMALL)
    for number in range(1, 31):
        assert load.freeze() == number
        pair.wait_image(number)
        if number % 10 == 0:
            scenes.judge(pair, number)
    scenes.finish(pair, load)


@pytest.mark.long
def test_empty_freeze(pair):
    """A freeze of nothing is an image all the same, and sends nothing."""
    scenes.volume(pair)
    pair.load(ops=100, max=65536).wait()
    assert pair.freeze() == 1
    sent = pair.wait_image(1)["tx_blocks"]
    assert pair.freeze() == 2
    assert pair.wait_image(2)["tx_blocks"] == sent
    pair.check(pair.dump("secondary"), freeze=2)


@pytest.mark.long
@pytest.mark.parametrize("size", [33 * MIB + 4096, 32 * MIB + 7 * 512])
def test_odd_size(pair, size):
    """The last block of 64 KiB is not a whole one."""
    scenes.volume(pair, 65536, size=size)
    load = pair.load(depth=4, flush_every=20, discard_pct=5, zeroes_pct=5, read_pct=20, max=65536,
                     **{"from": size // 512 - 1024})
    for _ in range(2):
        load.work()
        scenes.commit(pair, load)
    scenes.finish(pair, load)
