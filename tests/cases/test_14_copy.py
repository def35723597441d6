# SPDX-License-Identifier: GPL-2.0-only
"""The first copy: interrupted in the middle, it goes on and does not begin again."""

import pytest

import scenes
from conftest import BY_ID, MIB

pytestmark = pytest.mark.module

SIZE = 32 * MIB
# A slow host that writes on while its volume is copied.
HOST = {"depth": 2, "max": 4096, "rate": 10, "flush_every": 10, "fua_pct": 20, "read_pct": 20, "to": MIB // 512}


def copy_half(pair, block):
    """Half of a volume is copied, over a wire that makes it last.  Its last quarter is
    zeroes, which have to hide what the secondary's disk holds there."""
    pair.create(block=block, size=SIZE, start=False)
    pair.load(BY_ID + "data", fill=1, depth=2, to=SIZE // 512 * 3 // 4).wait()
    pair.secondary.run(f"tr '\\0' x </dev/zero | dd of={BY_ID}data bs=1M count=8 seek={SIZE // MIB - 8} "
                       "iflag=fullblock oflag=direct status=none")
    pair.netem("primary", "rate 16mbit")
    pair.start("secondary")
    pair.start("primary")
    pair.wait_connected()
    load = pair.load(**HOST)
    return load, pair.wait("primary", lambda s: 0 < s["copy_left"] < s["copy_total"] / 2, what="half a copy")


def cut(pair):
    pair.net.cut()
    pair.wait_disconnected("primary")
    pair.net.restore()


def kill_primary(pair):
    pair.primary.kill9()
    scenes.restart(pair, "primary")


def kill_secondary(pair):
    pair.secondary.kill9()
    scenes.restart(pair, "secondary")


@pytest.mark.parametrize("block", [4096, pytest.param(65536, marks=pytest.mark.long)])
@pytest.mark.parametrize("interrupt", [
    kill_primary, pytest.param(kill_secondary, marks=pytest.mark.long), pytest.param(cut, marks=pytest.mark.long)])
def test_interrupted(pair, interrupt, block):
    load, half = copy_half(pair, block)
    assert not pair.message("primary", "freeze", check=False).ok
    interrupt(pair)
    if interrupt is kill_primary:	# it counts from zero again
        half["tx_blocks"] = 0
        load = pair.load(**HOST)
    else:
        scenes.healthy(load)
    pair.wait_connected()
    pair.netem("primary", "")
    done = pair.wait("primary", lambda s: s["ev_copy_done"], what="the first copy is done")
    assert done["tx_blocks"] - half["tx_blocks"] < done["blocks"] * 3 / 4, (half, done)
    scenes.commit(pair, load)
    scenes.finish(pair, load)
