# SPDX-License-Identifier: GPL-2.0-only
"""Embodiment 4: a block is encrypted once, crosses the wire and lies in A and B as that, and is decrypted when it
becomes the secondary's volume.  What somebody else put there does not."""

import struct

import pytest

import scenes
from conftest import DEVICE, MIB
from test_20_bad_input import says
from test_40_auth import PATTERN, wait_refused, write_pattern

pytestmark = pytest.mark.module
long = pytest.mark.long
SIZE = 16 * MIB
STAGES = ("diffa", "diffb")


def volume(pair, block=4096, **options):
    pair.use_key()
    pair.create(size=SIZE, block=block, primary={"assume": "identical", **options.pop("primary", {})}, **options)
    pair.wait_connected()
    # before that there is no stage: what is sent is the volume
    pair.wait_image(pair.freeze())


def on_disk(pair, serial):
    return pair.secondary.disk(serial).read_bytes()


def found_in_stages(pair):
    return any(PATTERN in on_disk(pair, s) for s in STAGES)


def commit(pair):
    """A freeze that is held while it is merged."""
    scenes.slow_writes(pair.secondary, "data", scenes.SLOW_DISK)
    number = pair.freeze()
    pair.wait("secondary", lambda s: s["image"] == number and s["mode"] == "merging", what="merging")
    return number


def go_on(pair):
    scenes.slow_writes(pair.secondary, "data", 0)
    pair.wait_merged("secondary")


@pytest.mark.parametrize("how, block", [
    (None, 4096), pytest.param("lz4", 65536, marks=long), pytest.param("zstd", 4096, marks=long), pytest.param(None, 65536, marks=long)])
def test_stages_hold_ciphertext(pair, how, block):
    """Staged, committed and while it is read through a stage: no word of it on A and B; all of it in the volume after
    the merge, when the wire has carried no more than that."""
    volume(pair, block, primary={"compress": how})
    write_pattern(pair)
    pair.wait_in_sync()
    assert pair.status("secondary")["staged"] and not found_in_stages(pair)
    commit(pair)
    pair.same(pair.dump("primary"), pair.dump("secondary"))
    assert pair.status("secondary")["mode"] == "merging"
    assert not found_in_stages(pair)
    go_on(pair)
    assert PATTERN in on_disk(pair, "data") and not found_in_stages(pair)
    pair.same(pair.dump("primary"), pair.dump("secondary"))
    sent = pair.status("primary")["tx"]
    scenes.verdict(f"{how}, blocks of {block}: {sent} bytes over the wire")
    assert sent < MIB // 4 if how else MIB < sent < 1.1 * MIB + 2 * block


@long
def test_without_it_the_words_are_there(pair):
    """Else the case above proves nothing."""
    volume(pair, stage_encryption="off")
    write_pattern(pair)
    pair.wait_in_sync()
    assert found_in_stages(pair)
    assert pair.secondary.run("dmsetup table").out.rstrip().endswith(" stage_encryption off")


def crc32c(data, crc=0):
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc


def forge(pair, serial):
    """Other bits in what is encrypted, of which its checksum knows nothing.  How many slots it was."""
    unseen = b"\1" + struct.pack("<I", crc32c(b"\1"))
    path = pair.secondary.disk(serial)
    data = path.read_bytes()
    # what looks like noise, and is no page of the index or of tags
    slots = [at for at in range(0, len(data), 4096) if len(set(data[at:at + 4096])) > 200
             and data[at:at + 4] != b"FCZ1" and any(data[at + 50:at + 64])]
    with open(path, "r+b") as f:
        for at in slots:
            f.seek(at + 1000)
            f.write(bytes(a ^ b for a, b in zip(data[at + 1000:], unseen)))
    return len(slots)


@pytest.mark.parametrize("verify", [None, pytest.param("yes", marks=long)])
def test_forged_slots(pair, verify):
    """Ciphertext that somebody changed so that no checksum tells.  With verify it is not committed, and the image
    before stays; without, no byte of it is ever shown or merged, and another image heals it."""
    volume(pair, secondary={"verify": verify})
    write_pattern(pair)
    pair.wait_in_sync()
    if not verify:
        commit(pair)
    forged = sum(forge(pair, serial) for serial in STAGES)
    assert forged == 256
    since = len(pair.secondary.console_text())
    if verify:
        pair.freeze()
        says(pair.secondary, since, "what is staged is discarded: block [0-9]+ does not match its checksum", 30)
        assert pair.status("secondary")["image"] == 1
    else:
        r = pair.secondary.run(f"dd if={DEVICE} of=/dev/null bs=4096 count=256 iflag=direct conv=noerror", check=False)
        bad = r.err.count("error reading")
        go_on(pair)
        # some batches of the merge had been read before
        assert forged / 2 <= pair.status("secondary")["damaged"] <= bad <= forged
        says(pair.secondary, since, "the staged content does not match its checksum or tag")
    # the primary has it all, and sends it again
    for _ in range(2):
        pair.wait_connected()
        pair.wait_in_sync()
        pair.wait_image(pair.freeze())
        pair.wait_merged("secondary")
    assert pair.status("secondary")["damaged"] == 0
    pair.same(pair.dump("primary"), pair.dump("secondary"))


def compensate(head, wanted):
    """Four bytes behind @head that give a page, zeroes behind them, the checksum of @wanted."""
    pad = bytes(4096 - len(head) - 4)
    zero = crc32c(head + bytes(4) + pad)
    rows = []	# [what changes in the checksum, which of the 32 bits do that], no highest bit of the first twice
    for bit in range(32):
        row = [crc32c(head + (1 << bit).to_bytes(4, "little") + pad) ^ zero, 1 << bit]
        for r in sorted(rows, reverse=True):
            if row[0] ^ r[0] < row[0]:
                row = [row[0] ^ r[0], row[1] ^ r[1]]
        rows.append(row)
    left, bits = crc32c(wanted) ^ zero, 0
    for r in sorted(rows, reverse=True):
        if left ^ r[0] < left:
            left, bits = left ^ r[0], bits ^ r[1]
    page = head + bits.to_bytes(4, "little") + pad
    assert not left and crc32c(page) == crc32c(wanted)
    return page


def put_back(pair, serial, old):
    """The slot that has changed since the disk was @old, and its tag, as they were; the checksum as it is now."""
    new, path = on_disk(pair, serial), pair.secondary.disk(serial)
    pages = [at for at in range(0, len(new), 4096) if old[at:at + 4096] != new[at:at + 4096]
             and new[at:at + 4] != b"FCZ1"]
    records = [at for page in pages for at in range(page, page + 4096, 64) if old[at:at + 64] != new[at:at + 64]
               and new[at + 48] in (1, 2) and new[at + 49] and not any(new[at + 50:at + 64])]
    if not pages:
        return 0
    [record] = records
    [slot] = [page for page in pages if not page <= record < page + 4096]
    length = struct.unpack_from("<I", old, record + 44)[0]
    with open(path, "r+b") as f:
        f.seek(record)
        f.write(old[record:record + 64])
        f.seek(slot)
        f.write(compensate(old[slot:slot + length], new[slot:slot + 4096]))
    return 1


@long
def test_older_content_of_a_block(pair):
    """Put back with its own tag, and so that the index's checksum is right: of what is compressed the slot has room
    for that."""
    volume(pair, primary={"compress": "lz4"})
    was = {}
    for text in ("once", "now"):
        was = {serial: on_disk(pair, serial) for serial in STAGES}
        pair.primary.run(f"yes {text} | dd of={DEVICE} bs=4096 count=1 iflag=fullblock oflag=direct status=none")
        pair.wait_in_sync()
    pair.secondary.kill9()
    assert sum(put_back(pair, serial, was[serial]) for serial in STAGES) == 1
    scenes.restart(pair, "secondary")
    pair.wait_connected()
    pair.wait_image(pair.freeze())
    pair.wait_merged("secondary")
    assert pair.status("secondary")["damaged"] == 1
    assert not pair.secondary.run(f"dd if={DEVICE} bs=4096 count=1 iflag=direct", check=False).ok
    for _ in range(2):
        pair.wait_in_sync()
        pair.wait_image(pair.freeze())
        pair.wait_merged("secondary")
    assert pair.status("secondary")["damaged"] == 0
    pair.same(pair.dump("primary"), pair.dump("secondary"))


def tags(pair):
    """What the tag areas of both stages hold: tag by salt, frame and index."""
    seen = {}
    for serial in STAGES:
        data = on_disk(pair, serial)
        for at in range(0, len(data), 64):
            tag, salt, frame, index, length, cipher = struct.unpack_from("<16s16sQIIB", data, at)
            if cipher in (1, 2) and frame and index < 256 and length == 4096 and not any(data[at + 49:at + 64]):
                seen[salt, frame, index] = tag
    return seen


@long
def test_no_nonce_twice(pair):
    """Over connections and boots: whatever has the same salt, frame and index is the same block."""
    volume(pair)
    seen = {}
    for event in ("connect", "cut", "restart", "reboot"):
        if event == "cut":
            pair.net.cut()
            pair.wait_disconnected("primary")
            pair.net.restore()
        elif event == "restart":
            pair.stop("primary")
            pair.start("primary")
        elif event == "reboot":
            for side in ("primary", "secondary"):
                pair.side(side).kill9()
            scenes.restart(pair, "secondary", "primary")
        pair.wait_connected()
        pair.primary.run(f"dd if=/dev/urandom of={DEVICE} bs=4096 count=64 oflag=direct status=none")
        pair.wait_in_sync()
        now = tags(pair)
        assert len(now) >= 64
        assert all(seen.get(which, tag) == tag for which, tag in now.items())
        seen.update(now)
    assert len({salt for salt, _, _ in seen}) == 4
    pair.wait_image(pair.freeze())
    pair.wait_merged("secondary")
    pair.same(pair.dump("primary"), pair.dump("secondary"))


@long
def test_one_side_encrypts(pair):
    """Refused with what both say; nothing is staged in the clear."""
    pair.use_key()
    pair.create(size=SIZE, primary={"assume": "identical"}, secondary={"stage_encryption": "off"})
    for side in ("primary", "secondary"):
        wait_refused(pair, side, "stage_encryption: o(n|ff) here, o(n|ff) at the peer: create both sides with the same")
    assert not pair.status("secondary")["staged"]
