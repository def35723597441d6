# SPDX-License-Identifier: GPL-2.0-only
"""Nobody else (P6): both sides prove the key, what goes over the wire says nothing, and who has no key,
another one, or one that was revoked is told so and disturbs nothing."""

import json
import re
import time

import pytest

import machines as vm
import scenes
from conftest import BY_ID, MIB, NAME

pytestmark = pytest.mark.module
long = pytest.mark.long
SIZE = 16 * MIB
KEY = {"auth": None, "key": ":32:logon:freezecopy:vol"}
OTHER = "another"
# metadata is not under the key: a side starts with another one, or none, and then is refused by its peer
CLEAR = {"stage_encryption": "off"}
PATTERN = b"this is what nobody on the way may read "


def keys(pair):
    """A key of the pair on both sides, as a user makes it; its id."""
    p, s = pair.primary, pair.secondary
    for m in (p, s):
        m.run("rm -f /etc/freezecopy/*.key")
    p.run(["freezectl", "key", "generate", "vol"])
    bring(pair)
    return key_id(p)


def bring(pair, *words):
    return pair.secondary.run(["freezectl", "key", "import", "vol", *words],
                              stdin=pair.primary.get("/etc/freezecopy/vol.key"))


def key_id(machine):
    return machine.run(["freezectl", "key", "list"]).out.split()[1]


def volume(pair, **options):
    pair.create(size=SIZE, primary={"assume": "identical"}, **{**KEY, **options})


def wait_refused(pair, side, words):
    """The reason is in the status and in the log."""
    end = time.monotonic() + 60 * vm.SLOW
    while not re.search(words, status(pair, side)["error"] or ""):
        assert time.monotonic() < end, (words, status(pair, side))
        time.sleep(0.3)
    assert pair.status(side)["connection"] == "refused"
    assert re.search(words, pair.side(side).run("dmesg").out)


def status(pair, side):
    return json.loads(pair.side(side).run(["freezectl", "status", "--json", NAME]).out)


class Capture:
    """What a machine's network card sees."""

    def __init__(self, machine):
        self.machine, self.path = machine, machine.dir / "wire.pcap"
        machine.qmp("object-add", **{"qom-type": "filter-dump", "id": "dump", "netdev": "wire",
                                     "file": str(self.path), "maxlen": 65536})

    def stop(self):
        self.machine.qmp("object-del", id="dump")
        return self.path.read_bytes()


def write_pattern(pair):
    text = PATTERN * (MIB // len(PATTERN))
    pair.primary.run(f"cat >/tmp/text && dd if=/tmp/text of=/dev/mapper/{NAME} bs=64k oflag=direct conv=notrunc",
                     stdin=text + bytes(MIB - len(text)))


@pytest.mark.parametrize("proven", [True, pytest.param(False, marks=long)])
def test_nothing_can_be_read_on_the_wire(pair, proven):
    """The words of a block, and those of the protocol; without a key both are there to be found."""
    keys(pair)
    volume(pair, **(KEY if proven else {"auth": "none", "key": None}))
    capture = Capture(pair.primary)
    pair.wait_connected()
    write_pattern(pair)
    pair.wait_image(pair.freeze())
    pair.wait_merged("secondary")
    wire = capture.stop()
    assert PATTERN in pair.secondary.run(["dd", f"if={BY_ID}data", "bs=64k", "count=1"]).raw
    assert len(wire) > MIB
    assert (PATTERN in wire) is not proven
    # with a key, the three messages of a handshake; a second one if the first came too early
    assert (wire.count(b"FZCW") <= 6) is proven


@pytest.mark.parametrize("block", [4096, pytest.param(65536, marks=long)])
def test_freeze_kill_recover(pair, block):
    """The main job, with a key."""
    number = keys(pair)
    volume(pair, block=block)
    pair.wait_connected()
    for side in ("primary", "secondary"):
        assert pair.status(side)["key"] == number and pair.status(side)["cipher"] == "aes-gcm"
    load = pair.load(**scenes.MIXED)
    number = scenes.commit(pair, load)
    pair.primary.kill9()
    pair.wait_disconnected("secondary")
    pair.recover()
    pair.check(pair.dump("secondary"), freeze=number)


@long
def test_more_than_one_key_takes(pair):
    """A first copy of more than the 64 MiB after which both ends replace the key of a direction."""
    pair.use_key()
    pair.create(size=80 * MIB, start=False)
    pair.primary.run(f"dd if=/dev/urandom of={BY_ID}data bs=1M count=80 oflag=direct", timeout=120)
    pair.start("secondary")
    pair.start("primary")
    pair.wait_in_sync(timeout=300)
    pair.wait_image(pair.freeze())
    after = pair.status("primary")
    assert after["tx"] > 80 * MIB and after["ev_connect"] == 1
    pair.wait_merged("secondary")
    assert pair.dump("primary").read_bytes() == pair.dump("secondary").read_bytes()


@long
def test_every_side_says_what_is_wrong(pair):
    """Another key, none in the keyring, none in the table of one side: nothing is lost by it."""
    keys(pair)
    volume(pair, **CLEAR)
    pair.wait_connected()
    load = pair.load(**scenes.STEADY)
    scenes.commit(pair, load)
    pair.stop("secondary")
    # another key
    pair.secondary.run(["freezectl", "key", "generate", OTHER])
    pair.start("secondary", key=f":32:logon:freezecopy:{OTHER}")
    for side in ("primary", "secondary"):
        wait_refused(pair, side, "primary's key has the id [0-9a-f]{16}, the secondary's [0-9a-f]{16}; expected the same")
    pair.stop("secondary")
    # no key here, one there
    pair.start("secondary", key=None, auth="none")
    for side in ("primary", "secondary"):
        wait_refused(pair, side, "authentication: the proof of a key, expected none")
    pair.stop("secondary")
    # no such key in the keyring
    said = pair.start("secondary", check=False, key=":32:logon:freezecopy:nobody")
    assert not said.ok
    assert "key freezecopy:nobody: not in this process's keyrings" in pair.secondary.run("dmesg").out
    # one that is none
    pair.secondary.run(["keyctl", "add", "logon", "freezecopy:short", "0123456789", "@u"])
    said = pair.start("secondary", check=False, key=":32:logon:freezecopy:short")
    assert not said.ok
    assert "key freezecopy:short: has 10 bytes, expected 32" in pair.secondary.run("dmesg").out
    pair.start("secondary")
    scenes.deliver(pair, load)
    scenes.finish(pair, load)


@long
def test_primary_without_a_key(pair):
    """It is told why, and the secondary that wants a proof goes on listening."""
    keys(pair)
    volume(pair, start=False, **CLEAR)
    pair.start("secondary")
    pair.start("primary", key=None, auth="none")
    wait_refused(pair, "primary", "refused by the secondary: authentication: a frame of type 1, expected the proof")
    wait_refused(pair, "secondary", "a frame of type 1, expected the proof of a key")
    pair.stop("primary")
    pair.start("primary")
    pair.wait_connected()


def test_revoked_while_it_runs(pair):
    """Both sides part; with a new table, which finds the key again, they go on where they were."""
    keys(pair)
    volume(pair)
    pair.wait_connected()
    load = pair.load(**scenes.STEADY)
    scenes.commit(pair, load)
    pair.primary.run(["freezectl", "key", "unload", "vol"])
    wait_refused(pair, "primary", "key freezecopy:vol: revoked")
    scenes.healthy(load)
    pair.primary.run(["freezectl", "key", "load", "vol"])
    pair.primary.run(f"dmsetup load {NAME} --table '{pair.table('primary')}' && dmsetup resume {NAME}")
    scenes.deliver(pair, load)
    assert pair.status("primary")["ev_copy_done"] == 0
    scenes.finish(pair, load)


def test_rotation(pair):
    """Under load, one side after the other; each of the keys is used in its time, nothing is copied again."""
    first = keys(pair)
    volume(pair)
    pair.wait_connected()
    load = pair.load(**scenes.STEADY)
    scenes.commit(pair, load)
    pair.primary.run(["freezectl", "key", "rotate", "vol"])
    second = key_id(pair.primary)
    assert first != second
    # the primary has both, the secondary the old one
    pair.wait("primary", lambda s: s["ev_connect"] >= 2 and s["connection"] == "connected", what="connected anew")
    assert pair.status("primary")["key"] == first
    scenes.deliver(pair, load)
    bring(pair)
    pair.wait("secondary", lambda s: s["key"] == second and s["connection"] == "connected", what="the new key")
    scenes.deliver(pair, load)
    for m in (pair.primary, pair.secondary):
        m.run(["freezectl", "key", "retire", "vol"])
    scenes.deliver(pair, load)
    for side in ("primary", "secondary"):
        assert pair.status(side)["key"] == second
    assert pair.status("primary")["ev_copy_done"] == 0
    scenes.finish(pair, load)


def test_session_ends_with_its_key(pair):
    """Also if somebody connects, for whom the new key is read, before the session's next frame comes."""
    keys(pair)
    volume(pair)
    pair.wait_connected()
    before = pair.status("primary")["ev_connect"]
    # they say nothing but pings now, one every two seconds
    pair.secondary.run("freezectl key rotate vol && fzattack flood 192.0.2.2 192.0.2.2 7744 1 1")
    pair.wait("primary", lambda s: s["ev_connect"] > before and s["connection"] == "connected", what="connected anew")
    assert "has changed, connecting with the new one" in pair.secondary.run("dmesg").out


@long
def test_old_key_is_not_taken_when_both_have_switched(pair):
    """Whoever has only the one before is refused, although it is in the file yet."""
    keys(pair)
    old = pair.primary.get("/etc/freezecopy/vol.key")
    volume(pair, **CLEAR)
    pair.wait_connected()
    pair.primary.run(["freezectl", "key", "rotate", "vol"])
    second = key_id(pair.primary)
    bring(pair)
    pair.wait("secondary", lambda s: s["key"] == second and s["connection"] == "connected", what="the new key")
    pair.stop("primary")
    pair.primary.run(["freezectl", "key", "import", OTHER], stdin=old)
    pair.start("primary", key=f":32:logon:freezecopy:{OTHER}")
    wait_refused(pair, "primary", "primary's key has the id [0-9a-f]{16}, the secondary's [0-9a-f]{16}; expected the same")
    pair.stop("primary")
    pair.start("primary")
    pair.wait_connected()
