# SPDX-License-Identifier: GPL-2.0-only
"""The main job in its shortest form: load, freeze, the primary dies, the secondary is the image."""

import time

import pytest

MIXED = {"depth": 6, "flush_every": 20, "fua_pct": 10, "read_pct": 20, "discard_pct": 2, "zeroes_pct": 2,
         "hot": 30, "max": 131072}


@pytest.mark.module
def test_freeze_kill_recover(pair):
    pair.create()
    pair.wait_connected()
    load = pair.load(**MIXED)
    time.sleep(2)
    number = load.freeze()
    pair.wait_image(number)
    assert " bad 0" in load.ctl("stats")
    pair.primary.kill9()
    pair.wait_disconnected("secondary")
    pair.recover()
    pair.wait_merged("secondary")
    pair.check(pair.recovered_image(), freeze=number)


@pytest.mark.module
def test_bit_for_bit(pair):
    pair.create()
    pair.wait_connected()
    load = pair.load(**MIXED)
    time.sleep(1)
    number, reference = pair.freeze_and_keep(load)
    pair.wait_image(number)
    load.stop()
    pair.wait_merged("secondary")
    image = pair.dump("secondary")
    pair.same(image, reference)
    pair.check(image, freeze=number)
    pair.check(pair.dump("primary"))
