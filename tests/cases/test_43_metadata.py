# SPDX-License-Identifier: GPL-2.0-only
"""Stage encryption (embodiment 4): metadata is signed with keys of the volume, which only the shared key
opens; what was swapped or changed is refused, and the shared key can be replaced."""

import struct

import pytest

import machines as vm
import scenes
from conftest import BY_ID, DIFFS, MIB, NAME
from test_20_bad_input import Disk, says

pytestmark = pytest.mark.module
SIZE = 16 * MIB
PAGE = 4096
META = 1 * MIB		# more than the metadata of such a volume and of its difference volumes
SWAPPED = "devices swapped, or changed by somebody"
FORMAT, CRC = slice(16, 24), slice(4, 8)


# -- metadata is signed

def volume_with_an_image(pair):
    """Signed metadata of every kind on both sides; they are stopped."""
    pair.create(size=SIZE, primary={"assume": "identical"})
    pair.wait_connected()
    assert pair.status("primary")["stage_encryption"] == "on"
    load = pair.load(**scenes.SMALL)
    number = scenes.commit(pair, load)
    scenes.finish(pair, load)
    pair.wait_merged("secondary")
    for side in ("primary", "secondary"):
        pair.stop(side)
    return number


def devices(pair, side):
    return {serial: Disk(pair.side(side), serial) for serial in ("meta", *DIFFS[side])}


def blank(pair):
    """Another volume: what was written to the one before is forgotten."""
    for machine in pair.machines.both:
        machine.forget_logs()
    for side in ("primary", "secondary"):
        for serial in ("meta", *DIFFS[side]):
            Disk(pair.side(side), serial).write(0, bytes(META))
        Disk(pair.side(side), "data").write(0, bytes(SIZE))


def sealed(page):
    """Its checksum made right, as anybody can."""
    page = bytearray(page)
    page[CRC] = bytes(4)
    page[CRC] = struct.pack("<I", vm.crc32c(bytes(page)))
    return bytes(page)


def start_refused(pair, side, words):
    since = len(pair.side(side).console_text())
    assert not pair.start(side, check=False).ok
    says(pair.side(side), since, words)
    pair.side(side).run(["dmsetup", "remove", "--retry", NAME], check=False)


def metadata_pages(disk):
    """Where there are pages of metadata, and what is in them."""
    for at in range(0, META, PAGE):
        page = disk.content[at:at + PAGE]
        if page[:4] == b"FCZ1":
            yield at, page


@pytest.mark.long
def test_swapped_devices(pair):
    """Two volumes of one pair and one shared key: what is of the one is of no use to the other."""
    pair.use_key()
    volume_with_an_image(pair)
    first = {side: devices(pair, side) for side in ("primary", "secondary")}
    blank(pair)
    volume_with_an_image(pair)
    for side, diff, name in (("primary", "diff", "diff"), ("secondary", "diffa", "diff"), ("secondary", "diffb", "diff-b")):
        now = devices(pair, side)
        other = first[side][diff].content[:META]
        now[diff].write(0, other)
        start_refused(pair, side, f"{name} belongs to another volume")
        # he who swaps them can make that right, and no more
        page = bytearray(other[:PAGE])
        page[FORMAT] = now["meta"].content[FORMAT]
        now[diff].write(0, sealed(page))
        start_refused(pair, side, f"{name}: page at byte 0: its keyed checksum is not what .*{SWAPPED}")
        now[diff].restore()
        # the superblock of the one over that of the other
        for copy in range(2):
            now["meta"].write(copy * PAGE, first[side]["meta"].content[copy * PAGE:][:PAGE])
        start_refused(pair, side, "belongs to another volume")
        now["meta"].restore()
    for side in ("secondary", "primary"):
        pair.start(side)
    scenes.next_freeze(pair)


def test_one_bit_of_each_page(pair):
    """Checksums made right; by then it is as well noticed offline.  A damaged page is another thing."""
    pair.use_key()
    volume_with_an_image(pair)
    tried = 0
    for side in ("primary", "secondary"):
        for serial, disk in devices(pair, side).items():
            kinds = {}
            for at, page in metadata_pages(disk):
                kinds[struct.unpack_from("<H", page, 10)] = at, page	# one of each kind, the last
            for at, page in kinds.values():
                changed = bytearray(page)
                changed[64 + 900] ^= 1
                disk.write(at, sealed(changed))
                start_refused(pair, side, f"page at byte {at}: its keyed checksum is not what .*{SWAPPED}")
                words = ["--meta", BY_ID + "meta"] if serial != "meta" else []
                r = pair.side(side).run(["freezectl", "check", BY_ID + serial, "--key", "vol", *words], check=False)
                assert r.rc == 1 and f"page at byte {at}: its keyed checksum" in r.out, r
                disk.restore()
                tried += 1
    scenes.verdict(f"{tried} pages, one of each kind and device")
    assert tried >= 9
    for side in ("secondary", "primary"):
        pair.start(side)
    scenes.next_freeze(pair)


# -- the shared key is replaced

def key_id(machine):
    return machine.run(["freezectl", "key", "list"]).out.split()[1]


def rotate(pair):
    """On both sides, and the one before is forgotten at once."""
    pair.primary.run(["freezectl", "key", "rotate", "vol"])
    pair.secondary.run(["freezectl", "key", "import", "vol"], stdin=pair.primary.get("/etc/freezecopy/vol.key"))
    new = key_id(pair.primary)
    pair.wait("secondary", lambda s: s["key"] == new and s["connection"] == "connected", what="the new key")
    for m in (pair.primary, pair.secondary):
        m.run(["freezectl", "key", "retire", "vol"])
        assert "previous" not in m.run(["freezectl", "key", "list"]).out
    pair.key = pair.primary.get("/etc/freezecopy/vol.key").decode()
    return new


def wrapped_with(pair, side):
    out = pair.side(side).run(["freezectl", "dump", BY_ID + "meta"]).out
    return dict(line.split(" = ", 1) for line in out.splitlines() if " = " in line)["superblock.wrapped_with"]


@pytest.mark.long
def test_rotated_and_retired(pair):
    """Then stopped and started, or dead and started: the new key alone opens both sides' metadata."""
    pair.create(size=SIZE, start=False)
    scenes.create_by_freezectl(pair)
    assert "stage_encryption on" not in pair.primary.run(["dmsetup", "table", NAME]).out	# the default
    pair.wait_image(pair.freeze())
    new = rotate(pair)
    for side in ("primary", "secondary"):
        pair.side(side).run(["freezectl", "stop", NAME])
        assert wrapped_with(pair, side) == new
        pair.side(side).run(["freezectl", "key", "unload", "vol"])
    for side in ("secondary", "primary"):
        pair.side(side).run(["freezectl", "start", NAME])
    pair.wait_connected()
    pair.wait_image(pair.freeze())

    # while a side is stopped its key is not thrown away
    pair.primary.run(["freezectl", "stop", NAME])
    pair.primary.run(["freezectl", "key", "rotate", "vol"])
    r = pair.primary.run(["freezectl", "key", "retire", "vol"], check=False)
    assert r.rc == 4 and f"still under the key {new}, which would be lost" in r.err, r
    pair.primary.run(["freezectl", "start", NAME])
    pair.wait_connected()
    pair.secondary.run(["freezectl", "key", "import", "vol"], stdin=pair.primary.get("/etc/freezecopy/vol.key"))
    pair.primary.run(["freezectl", "key", "retire", "vol"])
    pair.secondary.run(["freezectl", "key", "retire", "vol"])
    pair.wait("secondary", lambda s: s["key"] == key_id(pair.primary) and s["connection"] == "connected",
              what="the new key")

    # dead right after it was retired
    rotate(pair)
    number = scenes.try_freeze(pair)	# the session may be about to end by the change
    pair.wait_image(number)
    pair.secondary.kill9()
    pair.secondary.start()
    pair.start("secondary", pair=None)	# that of its metadata
    pair.wait_connected()
    assert pair.status("secondary")["image"] == number
    pair.wait_image(pair.freeze())
