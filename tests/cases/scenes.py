# SPDX-License-Identifier: GPL-2.0-only
"""Scenes that several cases begin with: a volume held in one of its modes while a load goes on."""

import os
import time

import pytest

import machines as vm
from conftest import BY_ID, MIB, NAME

MIXED = {"depth": 4, "flush_every": 20, "fua_pct": 10, "read_pct": 20, "discard_pct": 2, "zeroes_pct": 2,
         "hot": 30}
# A part of the volume that is overwritten again and again: a freeze finds much of it to divert.
SMALL = {**MIXED, "to": 8 * MIB // 512, "max": 65536}
# One that leaves the machine time: how long its requests take can be compared.
STEADY = {"depth": 2, "rate": 60, "max": 16384, "to": 4 * MIB // 512, "flush_every": 20, "fua_pct": 10,
          "read_pct": 20, "hot": 30}
STALL = 2000	# ms that none of them may take
SLOW_WIRE = "rate 1mbit"
SLOW_DISK = 64 * 1024	# bytes a second
ENOUGH = 2 * MIB	# takes a while over the one and to the other


def verdict(text):
    """A line of figures, which pytest shows only of cases that fail, also in build/log/verdicts."""
    print(text)
    with open(vm.BUILD / "log/verdicts", "a", encoding="utf-8") as f:
        f.write(f"{os.environ.get('PYTEST_CURRENT_TEST', '').split(' ')[0]}: {text}\n")


def slow_writes(machine, serial, bps=SLOW_DISK):
    """Merges take their time and reads do not; 0 ends it."""
    machine.throttle(serial, bps_wr=bps)


def volume(pair, block=4096, size=64 * MIB, **options):
    """Both sides run and know each other; both volumes are blank, which spares the first copy."""
    pair.create(block=block, size=size, primary={"assume": "identical"}, **options)
    pair.wait_connected()


def healthy(load):
    """No request of the load has failed, no read returned what it must not."""
    stats = load.ctl("stats")
    assert " failed 0 bad 0" in stats, stats


def finish(pair, load):
    """The load ends well, and the primary reads as the load has left it."""
    out = load.stop().out
    assert " failed 0 bad 0" in out, out
    pair.check(pair.dump("primary"))


def judge(pair, number):
    """The secondary reads as a legal image of freeze number."""
    pair.wait_image(number)
    pair.check(pair.dump("secondary"), freeze=number)


def commit(pair, load):
    """A freeze under load that the secondary commits; its image is judged while the load goes on."""
    number = load.freeze()
    judge(pair, number)
    return number


def try_freeze(load, seconds=60):
    """A freeze, of a load or a pair, as soon as one can be made; its number."""
    end = time.monotonic() + seconds * vm.SLOW
    while True:
        try:
            return load.freeze()
        except vm.CommandError:
            if time.monotonic() > end:
                raise
        time.sleep(0.3)


def deliver(pair, load):
    """Connected again, or still; a freeze that is judged.  None before it counts: it may have been aborted."""
    pair.wait_connected()
    pair.wait("primary", lambda s: s["phase"] == "none" and s["mode"] == "normal", what="the freeze before ends")
    judge(pair, try_freeze(load))
    healthy(load)


def wait_bytes(pair, key, size=ENOUGH):
    return pair.wait("primary", lambda s: s[key] * s["block"] >= size, what=f"{size} bytes {key}")


def hold_freezing(pair, load):
    """Freeze, and keep the freeze from ending by a slow wire; writes have been diverted."""
    pair.netem("primary", SLOW_WIRE)
    wait_bytes(pair, "unsent")
    number = load.freeze()
    pair.wait("primary", lambda s: s["mode"] == "freezing" and s["diverted"] * s["block"] > ENOUGH / 8,
              what="diverting")
    return number


def hold_merging(pair, load):
    """The freeze is over; the primary's slow data device keeps it merging.  The load is paused."""
    number = hold_freezing(pair, load)
    load.pause()
    slow_writes(pair.primary, "data", SLOW_DISK // 4)
    pair.netem("primary", "")
    pair.wait_image(number)
    pair.wait("primary", lambda s: s["mode"] == "merging" and s["diverted"], what="merging")
    return number


def hold_secondary_merging(pair, load):
    """Committed, and the secondary's slow data device keeps it merging."""
    wait_bytes(pair, "changed")
    slow_writes(pair.secondary, "data")
    number = load.freeze()
    pair.wait("secondary", lambda s: s["image"] == number and s["mode"] == "merging",
              what="the secondary merges")
    return number


HOLD = {
    "normal": lambda pair, load: wait_bytes(pair, "changed") and 0,
    "freezing": hold_freezing,
    "merging": hold_merging,
    "secondary-merging": hold_secondary_merging,
}


def release(pair):
    """What held a mode is gone: from here on it comes to its end."""
    pair.net.restore()
    for m in pair.machines.both:
        if m.running:
            slow_writes(m, "data", 0)
    if pair.primary.running:
        pair.netem("primary", "")


def recover(pair, number):
    """The primary is gone.  The secondary recovers, and is image number."""
    pair.wait_disconnected("secondary")
    pair.recover()
    status = pair.wait("secondary", lambda s: s["mode"] == "recovered" and s["merge_left"] == 0,
                       what="recovered and merged")
    assert status["image"] == number
    image = pair.recovered_image()
    pair.check(image, freeze=number)
    return image


def modes(*names, quick=None, each=False):
    """The modes to be in, with the block sizes by turns, or each; quick: {mode: block size} of
    what is for every day."""
    daily = (quick or {}).items()
    sizes = (4096, 65536)
    return pytest.mark.parametrize("mode, block", [
        pytest.param(mode, block, marks=[] if (mode, block) in daily else pytest.mark.long)
        for i, mode in enumerate(names) for block in (sizes if each else sizes[i % 2:i % 2 + 1])])


def loaded(pair, mode, block=4096):
    """A volume with an image, under load, in this mode; the last freeze that is committed, and the last."""
    volume(pair, block)
    load = pair.load(**SMALL)
    before = load.freeze()
    pair.wait_image(before)
    pair.wait_merged("secondary")
    number = HOLD[mode](pair, load)
    return load, before if mode == "freezing" else number or before, number or before


def restart(pair, *sides):
    """What died comes back, in this order."""
    for side in sides:
        pair.side(side).start(wait=False)
    for side in sides:
        pair.side(side).wait_ready()
        pair.start(side)


def next_freeze(pair):
    """Everything goes on: a load, a freeze, an image."""
    load = pair.load(**SMALL)
    pair.wait_connected()
    pair.wait("primary", lambda s: s["phase"] == "none" and s["mode"] == "normal", what="the freeze before ends")
    wait_bytes(pair, "changed", 1 << 18)
    commit(pair, load)
    finish(pair, load)


def create_by_freezectl(pair, block=4096):
    """The volume as a user makes it, with a key."""
    pair.use_key()
    own = {"secondary": ["--diff-a", BY_ID + "diffa", "--diff-b", BY_ID + "diffb", "--listen", "192.0.2.2"],
           "primary": ["--diff", BY_ID + "diff", "--peer", "192.0.2.2", "--assume-identical"]}
    for side, words in own.items():
        pair.bring_key(side)
        pair.side(side).run(["freezectl", "create", NAME, side, "--meta", BY_ID + "meta",
                             "--data", BY_ID + "data", "--block-size", block, *words, "--key", "vol"])
    pair.primary.run(["freezectl", "wait", NAME, "connected", "--timeout", "60"])


def manifest(machine, where):
    """Kinds, sizes, paths and contents of the files."""
    return machine.run(f"cd {where} && find . -printf '%y %s %p\\n' | sort && "
                       "find . -type f -print0 | sort -z | xargs -r0 sha256sum", timeout=120).out
