# SPDX-License-Identifier: GPL-2.0-only
"""What only a debug kernel can do to a case (make check-debug)."""

import contextlib
import time

import pytest

import machines as vm
import scenes

pytestmark = [pytest.mark.module, pytest.mark.debug]

MANY = 1000000
# Allocations of kernel workers and of the link's threads fail, which is where the module
# works; programs get what they want.
BEGIN = """
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
cd /sys/kernel/debug/{what} || exit 1
for p in /proc/[0-9]*; do
    read -r name <$p/comm
    case $name in kworker/*|kthreadd|fzc-*) echo 1 >$p/make-it-fail ;; esac
done 2>/dev/null
echo Y >task-filter
echo N >ignore-gfp-wait
echo 0 >verbose
echo {many} >times
[ ! -e min-order ] || echo 0 >min-order
echo {percent} >probability
"""
LEFT = "cat /sys/kernel/debug/{what}/times"
END = "echo 0 >/sys/kernel/debug/{what}/probability"


def fail_allocations(pair, what, percent):
    for m in pair.machines.both:
        m.run(BEGIN.format(what=what, percent=percent, many=MANY))


def failures(pair, what):
    """How many allocations failed on each side."""
    return [MANY - int(m.run(LEFT.format(what=what)).out) for m in pair.machines.both]


def end_failures(pair, what):
    for m in pair.machines.both:
        m.run(END.format(what=what))
    return failures(pair, what)


def try_to_freeze(load):
    """A freeze may be refused or come to nothing; it may not hang."""
    with contextlib.suppress(vm.CommandError):
        load.freeze()


@pytest.mark.parametrize("what", ["failslab", "fail_page_alloc"])
def test_memory_lacks(pair, what):
    """Allocations fail on both sides while a load and freezes go on: no request of the host fails, and
    when there is memory again a freeze is delivered."""
    scenes.volume(pair)
    load = pair.load(**scenes.MIXED)
    fail_allocations(pair, what, 10)
    try:
        for n in range(20):
            load.work(20)
            try_to_freeze(load)
            if n >= 3 and all(failures(pair, what)):
                break
    finally:
        failed = end_failures(pair, what)
    print(f"{what}: {failed} allocations failed")
    assert all(failed)
    scenes.healthy(load)
    pair.wait_connected()
    pair.wait("primary", lambda s: s["mode"] == "normal" and s["phase"] == "none", what="earlier freezes are over")
    scenes.commit(pair, load)
    scenes.finish(pair, load)


def test_link_starts_without_memory(pair):
    """A connection that cannot be made for want of memory is made when there is some."""
    scenes.volume(pair)
    load = pair.load(**scenes.MIXED)
    fail_allocations(pair, "failslab", 60)
    try:
        for _ in range(3):
            pair.net.cut()
            pair.wait_disconnected("primary")
            pair.net.restore()
            time.sleep(1)
    finally:
        failed = end_failures(pair, "failslab")
    assert all(failed)
    pair.wait_connected()
    scenes.commit(pair, load)
    scenes.finish(pair, load)
