# SPDX-License-Identifier: GPL-2.0-only
"""Little memory: writeback that has to go through the volume to make room, swap on the volume, both
ends in one kernel.  Progress, no deadlock, and the kernel says so if a task hangs for a minute."""

import contextlib
import time

import pytest

import scenes
from conftest import BY_ID, DEVICE, MIB, MKFS_XFS, NAME

pytestmark = [pytest.mark.module, pytest.mark.long]
SMALL = 192	# MiB
# Dirty pages until this ends, in files that come and go.
WRITEBACK = r"""
cd /mnt/fs || exit 1
n=0
while [ ! -e /tmp/end ]; do
    n=$((n + 1))
    dd if=/dev/urandom of=f$((n % 6)) bs=1M count=$((n % 4 + 3)) status=none || exit 1
    echo $n >/tmp/rounds
done
"""
# Holds all but this many MiB of what is available: less than the files are, and enough for the
# programs, which the kernel would rather kill.
HOG = ("m=$(awk '/MemAvailable/ {print int($2 / 1024) - %d}' /proc/meminfo); "
       "head -c ${m}M /dev/zero | tail -c ${m}M | sleep 1000")


@pytest.fixture
def little(machines):
    """The primary has 192 MiB, for this case."""
    m = machines.primary
    usual = m.memory
    m.kill9()
    m.memory = usual * SMALL // 320
    yield m
    m.kill9()
    m.memory = usual


@contextlib.contextmanager
def writeback(m, spare=20):
    """Both sides of it: few free pages, many dirty ones."""
    m.run("rm -f /tmp/end /tmp/rounds; echo 1 >/proc/sys/vm/overcommit_memory")
    writer = m.background(WRITEBACK)
    m.run("until [ -e /tmp/rounds ]; do sleep 0.2; done")
    hog = m.background(HOG % spare)
    yield
    assert writer.running and hog.running, (writer.err, hog.err)
    assert m.run("pkill -x tail", check=False).ok, m.report("what held the memory was killed")
    m.run("pkill -x sleep && touch /tmp/end")
    writer.wait(120)


def rounds(m):
    return int(m.run("cat /tmp/rounds").out)


def reclaimed(m):
    """Pages that the kernel had to take back until now, in MiB."""
    return int(m.run("awk '/^pgsteal_(kswapd|direct) / {n += $2} END {print int(n / 256)}' /proc/vmstat").out)


def progresses(m, more=3, timeout=90):
    begin, end = rounds(m), time.monotonic() + timeout
    while rounds(m) < begin + more:
        assert time.monotonic() < end, m.report(f"not {more} files in {timeout} s")
        time.sleep(0.5)


def under_pressure(pair):
    """Freezes while the file system's pages have to be written back; each is committed."""
    m = pair.primary
    m.run(f"{MKFS_XFS} {DEVICE} && mkdir -p /mnt/fs && mount {DEVICE} /mnt/fs", timeout=120)
    pair.wait_in_sync()
    with writeback(m):
        for _ in range(3):
            before = reclaimed(m)
            progresses(m)
            begin = time.monotonic()
            number = int(m.run(["freezectl", "freeze", NAME, "--timeout", "120"], timeout=180).out)
            pair.wait_image(number, timeout=180)
            pair.wait("primary", lambda s: s["mode"] == "normal", timeout=180, what="merged")
            took, taken = time.monotonic() - begin, reclaimed(m) - before
            scenes.verdict(f"image {number} after {took:.1f} s, {taken} MiB reclaimed, {rounds(m)} files")
            assert taken > 0, "there was memory enough"
    m.run("umount /mnt/fs", timeout=180)


def same_at_last(pair, device=DEVICE, side="secondary"):
    pair.wait_connected()
    number = pair.freeze()
    pair.wait_image(number)
    pair.wait_merged("primary")
    pair.same(pair.dump("primary"), pair.dump(side, device))


def test_writeback(little, pair):
    scenes.volume(pair)
    under_pressure(pair)
    same_at_last(pair)


def test_swap(little, pair):
    """What does not fit is swapped to the volume, and comes back unchanged, through freezes and merges."""
    pair.create(size=160 * MIB, primary={"assume": "identical"})
    pair.wait_connected()
    m = pair.primary
    m.run(f"mkswap -q {DEVICE} >/dev/null; swapon {DEVICE} && mkdir -p /mnt/swapped && "
          "mount -t tmpfs -o size=200m tmpfs /mnt/swapped")
    m.run("head -c 130M /dev/urandom >/mnt/swapped/file", timeout=180)
    digest = m.run("sha256sum </mnt/swapped/file", timeout=180).out
    used = int(m.run("awk 'NR == 2 {print $4}' /proc/swaps").out)
    assert used > 20 * 1024, used
    reader = m.background("while [ ! -e /tmp/end ]; do sha256sum </mnt/swapped/file; done")
    for _ in range(3):
        number = pair.freeze()
        pair.wait_image(number, timeout=300)
        pair.wait("primary", lambda s: s["mode"] == "normal", timeout=300, what="merged")
        scenes.verdict(f"image {number}")
    m.run("touch /tmp/end")
    digests = set(reader.wait(300).out.splitlines())
    assert digests == {digest.strip()}, digests
    scenes.verdict(f"{used // 1024} MiB swapped")
    m.run("umount /mnt/swapped && swapoff -a", timeout=180)
    same_at_last(pair)


def both_here(pair, size):
    """The secondary's volume on the primary's machine, on a disk of its own."""
    m, sectors = pair.primary, size // 512
    for n, disk in enumerate(("data", "diffa", "diffb", "meta")):
        m.run(["dmsetup", "create", f"r-{disk}", "--table", f"0 {sectors} linear {BY_ID}spare {n * sectors}"])
        pair.paths["secondary", disk] = f"/dev/mapper/r-{disk}"
    m.resize("data", size)
    m.resize("diff", size)
    pair.size = size
    pair.options = {"primary": {"assume": "identical", "peer": "127.0.0.1:7744"},
                    "secondary": {"listen": "127.0.0.1:7744"}}
    m.run(["dmsetup", "create", "replica", "--table", pair.table("secondary")])
    pair.start("primary")
    pair.wait_connected()


def test_both_roles_in_one_kernel(little, pair):
    """Writeback waits for the volume, whose sender waits for a socket, whose other end waits for pages."""
    both_here(pair, 48 * MIB)
    under_pressure(pair)
    same_at_last(pair, "/dev/mapper/replica", "primary")
    m = pair.primary
    m.run("dmsetup remove --retry replica")
