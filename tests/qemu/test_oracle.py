# SPDX-License-Identifier: GPL-2.0-only
"""The oracle's own test, without machines: what is legal passes, every kind of wrong image is caught."""

import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from machines import GUEST, crc32c, log_record  # noqa: E402

RUN, SUBMIT, DONE, CALL, RETURN, CRASH = 1, 2, 3, 4, 5, 6
WRITE, FUA, FLUSH, ZERO, DISCARD = 1, 2, 4, 8, 16
SECTORS = 64


@pytest.fixture(scope="session", autouse=True)
def programs():
    subprocess.run(["make", "-s", "-C", Path(__file__).parent, f"BUILD={GUEST.parent}", "programs"], check=True)


def stamp(seq, sector, count, writer=1, volume=1):
    raw = struct.pack("<QQQIIII", 0x31504d4154534346, seq, sector, volume, writer, 0, count)
    raw += bytes(508 - len(raw))
    return raw + struct.pack("<I", crc32c(raw))


class Story:
    """A log and the volume that belongs to it, told step by step."""

    def __init__(self, tmp):
        self.tmp, self.log, self.requests = tmp, log_record(RUN, writer=1, volume=1, arg=SECTORS), {}
        self.image = bytearray(SECTORS * 512)

    def record(self, record_type, **fields):
        self.log += log_record(record_type, writer=1, volume=1, **fields)

    def submit(self, seq, sector, count, kind=WRITE):
        self.requests[seq] = (sector, count, kind)
        self.record(SUBMIT, kind=kind, seq=seq, sector=sector, sectors=count)

    def done(self, seq, error=0):
        self.record(DONE, kind=self.requests[seq][2], seq=seq, error=error)

    def put(self, seq, only=None):
        """The request arrives on the volume, or only some of its sectors."""
        sector, count, kind = self.requests[seq]
        for s in range(sector, sector + count):
            if only is None or s in only:
                data = stamp(seq, s, count) if kind & WRITE else bytes(512)
                self.image[s * 512:s * 512 + 512] = data

    def write(self, seq, sector, count, kind=WRITE):
        self.submit(seq, sector, count, kind)
        self.put(seq)
        self.done(seq)

    def flush(self, seq):
        self.submit(seq, 0, 0, FLUSH)
        self.done(seq)

    def call(self):
        self.record(CALL)

    def returned(self, number):
        self.record(RETURN, arg=number)

    def crash(self):
        self.log += log_record(CRASH)

    def verdict(self, freeze=None):
        (self.tmp / "log").write_bytes(self.log)
        (self.tmp / "image").write_bytes(self.image)
        which = ["--freeze", str(freeze)] if freeze else ["--end"]
        r = subprocess.run([GUEST / "fzcheck", *which, self.tmp / "log", self.tmp / "image"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert r.returncode in (0, 1), r.stdout
        return "legal" if r.returncode == 0 else r.stdout


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def window(story):
    """1 and 2 done before freeze 1, 3 and 4 in flight during it (4 begins when 3 is done), 5 after it."""
    story.write(1, 0, 8)
    story.write(2, 4, 8)
    story.call()
    story.submit(3, 6, 4)
    story.done(3)
    story.submit(4, 20, 4)
    story.returned(1)
    story.done(4)
    story.submit(5, 30, 4)
    story.done(5)


@pytest.mark.parametrize("there", [(), (3,), (3, 4)])
def test_window_legal(story, there):
    window(story)
    for seq in there:
        story.put(seq)
    assert story.verdict(1) == "legal"


def test_order_in_window(story):
    window(story)
    story.put(4)
    assert "no one moment" in story.verdict(1)


def test_torn(story):
    window(story)
    story.put(3, only=(6, 7))
    assert "torn" in story.verdict(1)


def test_torn_over_zeroes(story):
    window(story)
    story.put(3)
    story.put(4, only=(22,))
    assert "torn" in story.verdict(1)


def test_future(story):
    window(story)
    story.put(3)
    story.put(4)
    story.put(5)
    assert "from the future" in story.verdict(1)
    assert story.verdict() == "legal"


def test_missing(story):
    window(story)
    story.image[4 * 512:12 * 512] = b"".join(stamp(1, s, 8) for s in range(4, 8)) + bytes(4 * 512)
    text = story.verdict(1)
    assert "is old" in text and "had replaced them" in text


def test_old_sector(story):
    window(story)
    story.put(1, only=(5,))
    assert "sector 5: writer 1 seq 1" in story.verdict(1)


def test_swapped_sectors(story):
    window(story)
    i = story.image
    i[0:512], i[512:1024] = i[512:1024], i[0:512]
    assert "not its stamp" in story.verdict(1)


def test_flipped_bit(story):
    window(story)
    story.image[3 * 512 + 300] ^= 4
    assert "crc wrong" in story.verdict(1)


def test_garbage(story):
    story.write(1, 0, 8)
    story.image[40 * 512] = 1
    assert "sector 40" in story.verdict()


def test_never_submitted(story):
    story.write(1, 0, 8)
    story.image[0:512] = stamp(9, 0, 8)
    assert "never submitted" in story.verdict()


def test_not_that_far(story):
    story.write(1, 0, 8)
    story.image[8 * 512:9 * 512] = stamp(1, 8, 8)
    assert "never submitted here" in story.verdict()


def test_other_volume(story):
    story.write(1, 0, 8)
    story.image[0:512] = stamp(1, 0, 8, volume=2)
    assert "volume 2" in story.verdict()


def test_concurrent_either_order(story):
    story.submit(1, 0, 8)
    story.submit(2, 0, 8)
    story.done(1)
    story.done(2)
    for last in (1, 2):
        story.put(last)
        assert story.verdict() == "legal"


def test_zeroes(story):
    story.write(1, 0, 8)
    story.write(2, 0, 4, ZERO)
    assert story.verdict() == "legal"
    story.put(1, only=(2,))
    assert "is old" in story.verdict()
    story.put(2)
    story.image[6 * 512:7 * 512] = bytes(512)
    assert "sector 6: zeroes" in story.verdict()


def test_discard_is_either(story):
    story.write(1, 0, 8)
    story.write(2, 0, 8, DISCARD)
    assert story.verdict() == "legal"
    story.put(1)
    assert story.verdict() == "legal"
    story.write(3, 0, 8)
    story.put(2)
    assert "had replaced" in story.verdict()


def test_failed_write_is_either(story):
    story.write(1, 0, 8)
    story.submit(2, 0, 8)
    story.done(2, error=5)
    assert story.verdict() == "legal"
    story.put(2, only=(3,))
    assert story.verdict() == "legal"


def test_durability(story):
    story.write(1, 0, 4)
    story.flush(2)
    story.write(3, 8, 4, WRITE | FUA)
    story.write(4, 16, 4)
    story.crash()
    assert story.verdict() == "legal"
    story.image[16 * 512:20 * 512] = bytes(4 * 512)
    assert story.verdict() == "legal", "never flushed: may be lost"
    story.put(4, only=(17,))
    assert story.verdict() == "legal", "and in part"
    story.image[8 * 512:9 * 512] = bytes(512)
    assert "sector 8: zeroes" in story.verdict(), "FUA is durable"
    story.put(3)
    story.image[0:512] = bytes(512)
    assert "sector 0: zeroes" in story.verdict(), "flushed is durable"


def test_flush_must_begin_after_the_write(story):
    story.submit(1, 0, 0, FLUSH)
    story.write(2, 0, 4)
    story.done(1)
    story.crash()
    story.image[0:2048] = bytes(2048)
    assert story.verdict() == "legal"


def test_crash_before_return(story):
    """The machine died in the call: the image may have been made."""
    story.write(1, 0, 4)
    story.call()
    story.returned(1)
    story.write(2, 8, 4)
    story.call()
    story.submit(3, 16, 4)
    story.crash()
    assert story.verdict(2) == "legal"
    story.put(3)
    assert story.verdict(2) == "legal"
    story.write(4, 24, 4)
    story.call()
    story.returned(3)
    assert "sector 24" in story.verdict(2), "from after the crash"
    story.image[24 * 512:28 * 512] = bytes(4 * 512)
    assert story.verdict(2) == "legal"
    story.image[8 * 512:9 * 512] = bytes(512)
    assert "sector 8" in story.verdict(2)


def load(tmp, *options):
    device, log = tmp / "device", tmp / "log"
    if not device.exists():
        with open(device, "wb") as f:
            f.truncate(8 << 20)
    return subprocess.Popen([GUEST / "fzload", "run", device, "--log", log, *options],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), device, log


def check(log, image):
    return subprocess.run([GUEST / "fzcheck", log, image], capture_output=True, text=True, check=False)


def test_real_load(tmp_path):
    """The generator and the checker agree, over two runs, overlapping requests and all kinds."""
    for writer in "12":
        p, device, log = load(tmp_path, "--ops", "3000", "--depth", "8", "--hot", "50", "--read-pct", "30",
                              "--zeroes-pct", "5", "--flush-every", "20", "--fua-pct", "5", "--writer", writer,
                              "--volume", str(os.getpid()))
        text = p.communicate(timeout=60)[0]
        assert p.returncode == 0, text
    r = subprocess.run([GUEST / "fzcheck", "--volume", str(os.getpid()), log, device], capture_output=True,
                       text=True, check=False)
    assert r.returncode == 0, r.stdout + r.stderr


@pytest.mark.parametrize("what", ["old", "swap", "flip", "zero"])
def test_reads_notice(tmp_path, what):
    """Somebody damages the device under the load: a read says so."""
    volume = str(os.getpid())
    p, device, _ = load(tmp_path, "--fill", "1", "--max", "65536", "--volume", volume)
    assert p.wait(30) == 0
    p, device, _ = load(tmp_path, "--seconds", "20", "--read-pct", "90", "--writer", "2", "--max", "65536",
                        "--rate", "3000", "--volume", volume)
    time.sleep(0.5)
    rnd = random.Random(1)
    with open(device, "r+b", buffering=0) as f:
        old = os.pread(f.fileno(), 8 << 20, 0)
        while p.poll() is None:
            at = rnd.randrange(len(old) // 512 - 1) * 512
            now = os.pread(f.fileno(), 512, at)
            bad = {"old": old[at:at + 512], "swap": old[at + 512:at + 1024], "zero": bytes(512),
                   "flip": now[:77] + bytes([now[77] ^ 1]) + now[78:]}[what]
            os.pwrite(f.fileno(), bad, at)
    assert p.returncode == 3, p.stdout.read()
