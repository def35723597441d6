# SPDX-License-Identifier: GPL-2.0-only
"""Whatever is wrong is refused with words that name it, in the kernel's log and by freezectl, and
nothing is lost by it."""

import re
import struct
import time

import pytest

import scenes
from conftest import BY_ID, DIFFS, MIB, NAME, SIZES, UUID
from machines import crc32c

pytestmark = pytest.mark.module

OTHER = "11111111-2222-4333-8444-555555555555"
DONE, FAILED, USAGE, TIMED_OUT, REFUSED = range(5)
PAGE = 4096
SIZE = 16 * MIB
LOAD = {"depth": 4, "ops": 300, "max": 65536}


def says(machine, since, words, timeout=5):
    """The kernel has said this on the console since it was that long; words: a regular expression."""
    end = time.monotonic() + timeout
    while not re.search(words, machine.console_text()[since:]):
        if time.monotonic() > end:
            pytest.fail(machine.report(f"the kernel does not say '{words}'"), pytrace=False)
        time.sleep(0.05)


def refused(machine, command, words, rc=None, kernel=True):
    """The command fails and says words if it is freezectl, and the kernel does if it was asked."""
    since = len(machine.console_text())
    r = machine.run(command, check=False)
    assert r.rc == rc if rc is not None else r.rc, f"{r}expected: refused, {words}"
    if command[0] == "freezectl":
        assert re.search(words, r.err), f"{r}expected: {words}"
    if kernel:
        says(machine, since, words)


def table_refused(machine, table, words):
    refused(machine, ["dmsetup", "create", "bad", "--table", table], words)


def ctl_refused(machine, words, *args, rc=REFUSED, kernel=False):
    refused(machine, ["freezectl", *args], words, rc, kernel)


def ctl(machine, *args):
    return machine.run(["freezectl", *args]).out


def create_words(side, **other):
    """The words of freezectl create, some of them others: meta="/dev/x", block_size=8192."""
    disks = {"meta": "meta", "data": "data"}
    disks.update({"primary": {"diff": "diff"}, "secondary": {"diff_a": "diffa", "diff_b": "diffb"}}[side])
    words = {k: BY_ID + v for k, v in disks.items()}
    words.update({"primary": {"peer": "192.0.2.2"}, "secondary": {"listen": "192.0.2.2"}}[side])
    words.update(other)
    name = words.pop("name", NAME)
    return ["create", name, side, "--insecure",
            *(x for k, v in words.items() for x in ["--" + k.replace("_", "-"), str(v)])]


def is_blank(machine):
    """Nothing was ever written to any of its disks."""
    for serial in ("meta", "data", *DIFFS[machine.name]):
        assert not machine.disk(serial).read_bytes().strip(b"\0"), f"{machine.name}: {serial} was written to"


class Disk:
    """A disk from outside, while nothing in the guest has it open; what was done to it can be undone."""

    def __init__(self, machine, serial):
        self.path = machine.disk(serial)
        self.content = self.path.read_bytes()

    def write(self, at, data):
        with open(self.path, "r+b") as f:
            f.seek(at)
            f.write(data)

    def restore(self):
        self.write(0, self.content)


# -- words

def test_table_words(pair):
    """Argument counts and values, and sizes; a right table is taken afterwards, and no disk was written to."""
    pair.create(size=SIZE, start=False)
    m, n = pair.primary, SIZE // 512
    good = pair.table("primary")
    devices = f"{BY_ID}meta {BY_ID}data {BY_ID}diff"
    opts = "peer 192.0.2.2:7744 auth none"

    def bad(tail, words, sectors=n):
        table_refused(m, f"0 {sectors} freezecopy {tail}".rstrip(), words)

    bad("", "role missing: expected primary or secondary")
    bad(f"tertiary {devices} 4 {opts}", "role tertiary: expected primary or secondary")
    bad(f"primary {BY_ID}meta {BY_ID}data", r"2 words after primary: expected 3 devices \(meta data diff\)")
    bad(f"secondary {devices} 0", "4 words after secondary: expected 4 devices")
    bad(f"primary {devices} 6 {opts}", "option words 6: expected their number, which is even; 4 follow")
    bad(f"primary {devices} 3 peer 192.0.2.2 auth", "option words 3: .*even; 3 follow")
    bad(f"primary {devices} x {opts}", "option words x: expected their number")
    bad(f"primary {devices} 6 {opts} colour red", "option colour: unknown, expected peer, listen, block")
    bad(f"primary {devices} 6 {opts} block 5000", "option block: 5000, expected a power of two from 4096 to 1048576")
    bad(f"primary {devices} 6 {opts} block 2048", "option block: 2048, expected a power of two")
    bad(f"primary {devices} 6 {opts} auth none", "option auth: given twice")
    bad(f"primary {devices} 6 {opts} listen 192.0.2.1", "option listen: not for a primary")
    bad(f"primary {devices} 4 peer example.com auth none", "option peer: example.com, expected 1.2.3.4")
    bad(f"primary {devices} 4 peer 192.0.2.2:0 auth none", "option peer: 192.0.2.2:0, expected")
    bad(f"primary {devices} 4 peer 192.0.2.2 auth psk", "option auth: psk, expected none")
    bad(f"primary {devices} 2 peer 192.0.2.2", "option key: missing, expected :32:logon:freezecopy:NAME.*; or auth none")
    bad(f"primary {devices} 6 {opts} key :32:logon:freezecopy:vol", "option auth: none, expected no such option beside key")
    bad(f"primary {devices} 4 peer 192.0.2.2 key vol", "option key: vol, expected :32:logon:freezecopy:NAME")
    bad(f"primary {devices} 4 peer 192.0.2.2 key :32:logon:freezecopy:vol", "key freezecopy:vol: not in this process's keyrings")
    bad(f"primary {devices} 2 auth none", "option peer: missing, expected 1.2.3.4")
    bad(f"primary {devices} 6 {opts} pair 123", "option pair: 123, expected a uuid")
    bad(f"primary {devices} 6 {opts} assume same", "option assume: same, expected identical")
    bad(f"primary {devices} 6 {opts} take_all_changed no", "option take_all_changed: no, expected yes")
    bad(f"primary {devices} 6 {opts} congestion b/r", "option congestion: b/r, expected a TCP congestion control's name")
    bad(f"primary {devices} 6 {opts} congestion nosuch", "option congestion: nosuch, expected one that the kernel has")
    bad(f"primary {devices} 6 {opts} compress gzip", "option compress: gzip, expected lz4 or zstd")
    bad(f"primary {devices} 6 {opts} rate 1kB", r"option rate: 1kB, expected 0 \(no limit\) or 128k to 1024G bytes")
    bad(f"primary {devices} 6 {opts} rate 127k", r"option rate: 127k, expected 0 \(no limit\) or 128k to 1024G")
    bad(f"primary /dev/nothing {BY_ID}data {BY_ID}diff 4 {opts}", r"meta /dev/nothing: cannot be opened \(error \d+")
    bad(f"primary {devices} 4 {opts}", f"has {n} sectors, the table says {n - 8}; expected the same", n - 8)
    bad(f"primary {devices} 4 {opts}", f"has {n} sectors, the table says {n + 8}; expected the same", n + 8)
    table_refused(m, f"8 {n - 8} freezecopy primary {devices} 4 {opts}", "(?i)gap in table")
    is_blank(m)
    bad(f"primary {devices.replace('virtio-diff', 'virtio-data')} 4 {opts}", "diff .*: is named twice in this table")
    pair.start("primary")
    assert m.run(["dmsetup", "table", NAME]).out.split()[:4] == good.split()[:4]
    bad(f"primary {devices} 4 {opts}", r"(meta|data|diff) .*: is used by freezecopy device \d+:\d+")


def test_freezectl_words(pair):
    """The same from freezectl: usage is 2, what it finds on the devices 4."""
    pair.create(size=SIZE, start=False)
    m = pair.primary

    def bad(words, rc=REFUSED, **other):
        ctl_refused(m, words, *create_words("primary", **other), rc=rc)

    bad(r"--block-size 5000: expected a power of two from 4096 to 1M", USAGE, block_size=5000)
    bad(r"--peer example.com: expected a numeric ADDRESS", USAGE, peer="example.com")
    bad(r"name '\.\./x': expected", USAGE, name="../x")
    bad(r"--pair 12: expected a UUID", USAGE, pair="12")
    bad(r"--congestion b/r: expected a TCP congestion control's name", USAGE, congestion="b/r")
    bad("--compress gzip: expected lz4 or zstd", USAGE, compress="gzip")
    bad(r"--rate 1T: expected 0 \(no limit\) or 128k to 1024G bytes a second", USAGE, rate="1T")
    bad("option congestion: nosuch, expected one that the kernel has", congestion="nosuch")
    bad(r"meta /dev/nothing", None, meta="/dev/nothing")
    ctl_refused(m, "--key is missing", *(w for w in create_words("primary") if w != "--insecure"))
    ctl_refused(m, "--peer is missing", "create", NAME, "primary", "--meta", BY_ID + "meta", "--data",
                BY_ID + "data", "--diff", BY_ID + "diff", rc=USAGE)
    ctl_refused(m, "expected the NAME of one volume", "freeze", rc=USAGE)
    for verb in ("freeze", "recover", "abort", "stop", "start", "status"):
        ctl_refused(m, "nosuch.*(no such volume|No such file)", verb, "nosuch", rc=None)
    is_blank(m)
    assert not m.run("ls /etc/freezecopy/*.conf", check=False).out


@pytest.mark.long
def test_too_small(pair):
    """meta and diff that are too small for the volume."""
    pair.create(size=SIZE, start=False)
    m = pair.primary
    need = PAGE * (8 + 6)
    m.resize("meta", need - PAGE)
    table_refused(m, pair.table("primary"), f"has {need - PAGE} bytes, expected at least {need}")
    ctl_refused(m, f"is too small: {need - PAGE} bytes, expected {need}", *create_words("primary"))
    m.resize("meta", need)
    m.resize("diff", 4 * PAGE)
    table_refused(m, pair.table("primary"), f"has {4 * PAGE} bytes, too small for one block of 4096 bytes")
    ctl_refused(m, r"is too small: .* hold no block", *create_words("primary"))
    m.resize("diff", SIZES["meta"])
    is_blank(m)
    ctl(m, *create_words("primary"))


@pytest.mark.long
def test_busy_and_doubly_used(pair):
    pair.create(size=SIZE, start=False)
    m = pair.primary
    good = pair.table("primary")
    table_refused(m, good.replace("virtio-diff", "virtio-data"), "diff .*: is named twice in this table")
    m.run(f"mkfs.ext4 -q -F {BY_ID}spare && mount {BY_ID}spare /mnt && echo kept >/mnt/file")
    table_refused(m, good.replace("virtio-diff", "virtio-spare"), r"diff .*: cannot be opened \(error 16: in use\)")
    ctl_refused(m, "spare.*(mounted|in use)", *create_words("primary", diff=BY_ID + "spare"))
    m.run("umount /mnt")
    ctl_refused(m, "spare holds .*ext4.*--force=diff destroys it", *create_words("primary", diff=BY_ID + "spare"))
    m.run(f"dmsetup create holder --table '0 2048 linear {BY_ID}spare 0'")
    ctl_refused(m, "spare.*holder", *create_words("primary", diff=BY_ID + "spare", force="diff"))
    m.run("dmsetup remove --retry holder")
    ctl(m, *create_words("primary"))
    table_refused(m, good, r"(meta|data|diff) .*: is used by freezecopy device \d+:\d+")
    ctl_refused(m, f"is the meta device of the volume {NAME}", *create_words("primary", name="second"))
    ctl_refused(m, f"{NAME} exists already", *create_words("primary"))
    assert m.run(f"mount {BY_ID}spare /mnt && cat /mnt/file").out == "kept\n"


# -- metadata

@pytest.fixture
def image(pair):
    """A volume made by freezectl with one image, stopped on both sides; the image must survive the case."""
    pair.create(size=SIZE, start=False)
    for side in ("secondary", "primary"):
        more = ["--assume-identical"] if side == "primary" else []
        ctl(pair.side(side), *create_words(side, pair=UUID), *more)
    pair.wait_connected()
    pair.load(**LOAD).wait()
    pair.number = int(ctl(pair.primary, "freeze", NAME, "--no-fs"))
    ctl(pair.primary, "wait", NAME, "merged")
    reference = pair.dump("primary")
    for side in ("primary", "secondary"):
        ctl(pair.side(side), "stop", NAME)
    yield pair
    for side in ("secondary", "primary"):
        ctl(pair.side(side), "start", NAME)
    pair.wait_connected()
    assert pair.status("secondary")["image"] == pair.status("primary")["image"] == pair.number
    for side in ("primary", "secondary"):
        pair.same(pair.dump(side), reference)


def start_refused(machine, words):
    ctl_refused(machine, words, "start", NAME, kernel=True)


def damaged(image, m, meta, diff):
    for copy in (0, 1):		# one torn or rotten copy is what two are for
        meta.write(copy * PAGE + 100, b"rot")
        ctl(m, "start", NAME)
        assert image.status("primary")["image"] == image.number
        ctl(m, "stop", NAME)
        meta.restore()
    meta.write(100, b"rot")
    meta.write(PAGE + 100, b"rot")
    start_refused(m, "meta: superblock [01]: checksum [0-9a-f]{8}, expected [0-9a-f]{8}")
    r = m.run(["freezectl", "check", BY_ID + "meta"], check=False)
    assert r.rc == FAILED and "checksum" in r.out + r.err, r
    meta.restore()
    meta.write(2 * PAGE + 100, b"rot")
    meta.write(3 * PAGE + 100, b"rot")
    start_refused(m, "meta: both copies of the region page are damaged")
    meta.restore()
    diff.write(100, b"rot")
    start_refused(m, "diff: first page: checksum")
    diff.restore()
    meta.write(8, b"\x63")
    start_refused(m, "meta: superblock 0: version 99 features 0x0, expected version 1")
    meta.restore()


def foreign(m, meta, diff):
    meta.write(0, b"not ours" * (2 * PAGE // 8))
    start_refused(m, "meta: superblock 0: magic 20746f6e, expected [0-9a-f]{8}: not freezecopy metadata")
    meta.restore()
    diff.write(0, b"not ours" * (PAGE // 8))
    start_refused(m, "diff: first page: magic 20746f6e, expected [0-9a-f]{8}")
    diff.restore()
    diff.write(0, bytes(PAGE))
    start_refused(m, "diff: first page: all zero")
    diff.restore()
    meta.write(0, bytes(len(meta.content)))
    start_refused(m, "diff belongs to another volume: format [0-9a-f]{16} place 2, expected")
    meta.restore()


def of_another(image, m, meta, diff):
    """Another volume's meta, the peer's meta, and a table that says something else than the meta."""
    meta.write(0, Disk(image.secondary, "meta").content)
    start_refused(m, "meta belongs to a secondary, the table says primary")
    meta.restore()
    table_refused(m, image.table("primary", pair=OTHER), "meta is of pair 8d5a6a52..., the table says 11111111...")
    table_refused(m, image.table("primary", block=8192), "meta has block 4096, the table says 8192")
    for disk in (meta, diff):
        disk.write(0, bytes(2 * PAGE))
    m.run(["dmsetup", "create", "other", "--table", image.table("primary", pair=OTHER)])
    m.run(["dmsetup", "remove", "--retry", "other"])
    diff.restore()
    start_refused(m, "meta is of pair 11111111..., the table says 8d5a6a52...")
    table_refused(m, image.table("primary", pair=None), "diff belongs to another volume: format")
    meta.restore()


@pytest.mark.long
def test_metadata(image):
    """Damaged, foreign, blank, of another volume.  What was undone starts again, with its image."""
    m = image.primary
    disks = Disk(m, "meta"), Disk(m, "diff")
    damaged(image, m, *disks)
    foreign(m, *disks)
    of_another(image, m, *disks)
    assert "No devices" in m.run(["dmsetup", "ls"]).out


# -- orders at the wrong time

def freeze_too_early(pair):
    """There is nothing to freeze before everything was sent once, and nothing to recover."""
    p, s = pair.primary, pair.secondary
    p.run(f"dd if=/dev/urandom of={BY_ID}data bs=1M count=2 oflag=direct status=none")
    pair.netem("primary", "rate 1mbit")
    ctl(s, *create_words("secondary"))
    refused(s, ["dmsetup", "message", NAME, "0", "recover"], "no image")
    ctl_refused(s, "no image.*freezectl freeze", "recover", NAME)
    ctl(p, *create_words("primary"))
    pair.wait_connected()
    refused(p, ["dmsetup", "message", NAME, "0", "freeze"], "no image yet: the first copy is not done")
    ctl_refused(p, "no image yet: the first copy is not done.*wait NAME in-sync", "freeze", NAME, "--no-fs")
    pair.netem("primary", "")
    pair.wait_in_sync()


def freeze_in_a_freeze(pair):
    pair.netem("primary", "rate 2mbit")
    pair.load(**LOAD).wait()
    number = pair.freeze()
    for more in ([], ["force"]):
        refused(pair.primary, ["dmsetup", "message", NAME, "0", "freeze", *more], f"freeze {number} is running")
    ctl_refused(pair.primary, f"image {number} is not over in time; no image was made", "freeze", NAME,
                "--timeout", "1", rc=TIMED_OUT)
    pair.netem("primary", "")
    return number


def test_orders(pair):
    """Too early, to the wrong side, in the wrong words, twice."""
    pair.create(size=SIZE, start=False)
    freeze_too_early(pair)
    p, s = pair.primary, pair.secondary

    def message_refused(m, words, *message):
        refused(m, ["dmsetup", "message", NAME, "0", *message], words)

    message_refused(p, "recover: this is a primary", "recover")
    ctl_refused(p, "this is a primary.*call this on the other side", "recover", NAME)
    message_refused(s, "freeze: this is a secondary", "freeze")
    ctl_refused(s, "is a secondary; freeze its primary, on the other side", "freeze", NAME)
    message_refused(s, "this is a secondary: only a primary aborts", "abort")
    message_refused(p, "no freeze is running", "abort")
    message_refused(p, r"message thaw: expected freeze \[force\] \[label\], abort, or recover", "thaw")
    message_refused(p, "freeze: unexpected word b", "freeze", "a", "b")
    message_refused(p, "label: expected at most 63 characters", "freeze", "x" * 64)
    message_refused(s, "recover: unexpected word now, expected force or give-up", "recover", "now")
    other = pair.table("secondary").replace("virtio-diffa", "virtio-diff").replace("virtio-diffb", "virtio-spare")
    refused(p, ["dmsetup", "load", NAME, "--table", other],
            "role secondary: the device is a primary; a table cannot change that")

    number = freeze_in_a_freeze(pair)
    pair.wait_image(number, "secondary")
    ctl_refused(s, "the primary is connected.*stop the primary, or recover --force", "recover", NAME)
    pair.wait_merged("secondary")
    pair.same(pair.dump("secondary"), pair.dump("primary"))


# -- the other side

def peer_refused(pair, words):
    """The primary is started as it is, and refused by both with these words."""
    since = {m: len(m.console_text()) for m in pair.machines.both}
    pair.start("primary")
    status = pair.wait("primary", lambda s: s["connection"] == "refused" or s["ev_error"], what="refusal")
    assert status["image"] == 0
    for m in pair.machines.both:
        says(m, since[m], words, timeout=20)
    out = ctl(pair.primary, "status", NAME)
    assert "refused" in out and re.search(words, out), out
    pair.stop("primary")
    for serial in ("meta", "diff"):
        Disk(pair.primary, serial).write(0, bytes(16 * PAGE))


def frame_head(kind, length=0, magic=0x57435a46, version=1, frame=0, image=0, n=0):
    head = struct.pack("<IHHIIQQQIIIQ", magic, version, kind, 0, length, frame, image, 0, n, 0, 0, 0)
    return head + struct.pack("<I", crc32c(head))


HELLO, DATA, PING = 1, 5, 14


def test_strangers(pair):
    """What does not speak as a primary does is sent away by name; the right one still comes in."""
    scenes.volume(pair, size=SIZE)
    pair.stop("primary")
    torn = bytearray(frame_head(HELLO, 272))
    torn[20] ^= 1
    for said, words in ((b"GET / HTTP/1.1\r\n\r\n".ljust(64), "magic"),
                        (bytes(torn), "head_crc"),
                        (frame_head(HELLO, 272, version=9), "version"),
                        (frame_head(HELLO, 1 << 30), "length"),
                        (frame_head(DATA, frame=1, image=1, n=1 << 30), "1 to 256 blocks"),
                        (frame_head(PING), "a ping, expected a hello first")):
        since = len(pair.secondary.console_text())
        text = "".join(f"\\x{byte:02x}" for byte in said)
        # what is read is the end of the connection, or a refusal and then the end
        pair.primary.run(["timeout", "20", "bash", "-c",
                          f"exec 3<>/dev/tcp/192.0.2.2/7744; printf '{text}' >&3; cat <&3 >/dev/null || :"])
        says(pair.secondary, since, words)
    pair.start("primary")
    pair.wait_connected()


@pytest.mark.long
def test_wrong_peer(pair):
    """Another pair, another size, another block size; then the right one, whose image is still there."""
    scenes.volume(pair, size=SIZE)
    pair.load(**LOAD).wait()
    number = pair.freeze()
    pair.wait_image(number)
    pair.wait_merged("secondary")
    pair.stop("primary")
    saved = [Disk(pair.primary, serial) for serial in ("meta", "diff", "data")]
    for disk in saved[:2]:
        disk.write(0, bytes(16 * PAGE))

    pair.options["primary"] = {"assume": "identical", "pair": OTHER}
    peer_refused(pair, "pair: [0-9a-f]{8} here, [0-9a-f]{8} at the peer: another volume")
    pair.options["primary"] = {"assume": "identical", "block": 8192}
    peer_refused(pair, "block: [0-9]+ bytes here, [0-9]+ at the peer: create both sides with the same")
    pair.options["primary"] = {"assume": "identical"}
    pair.primary.resize("data", SIZE + MIB)
    pair.size = SIZE + MIB
    peer_refused(pair, "size: [0-9]+ sectors here, [0-9]+ at the peer: both sides need the same")
    pair.size = SIZE
    pair.primary.resize("data", SIZE)
    peer_refused(pair, "the peer is blank|last session|image: ")	# the right pair, that has lost its memory

    for disk in saved:
        disk.restore()
    pair.start("primary")
    pair.wait_connected()
    assert pair.status("secondary")["image"] == number
    pair.check(pair.dump("primary"))
    pair.check(pair.dump("secondary"), freeze=number)


@pytest.mark.long
def test_swapped_device(pair):
    """meta knows its devices: here two dm devices, of which each has an identity."""
    pair.create(size=SIZE, start=False)
    m = pair.primary
    for letter in "AB":
        m.run(["dmsetup", "create", letter, "--uuid", f"test-{letter}", "--table",
               f"0 {SIZE // 512} linear {BY_ID}spare {0 if letter == 'A' else SIZE // 512}"])
    pair.paths["primary", "data"] = "/dev/mapper/A"
    pair.start("primary")
    pair.stop("primary")
    pair.paths["primary", "data"] = "/dev/mapper/B"
    table_refused(m, pair.table("primary"),
                  "data device is dm-test-B, expected dm-test-A as recorded in meta: devices swapped")
    pair.paths["primary", "data"] = "/dev/mapper/A"
    pair.start("primary")
    assert pair.status("primary")["sectors"] == SIZE // 512
