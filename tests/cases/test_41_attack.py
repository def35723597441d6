# SPDX-License-Identifier: GPL-2.0-only
"""An attacker without the key, on the way between the machines or anywhere: each attempt is refused with a
reason in the log, a session that is up stays up, and afterwards a freeze is what it has to be."""

import re
import time

import pytest

import machines as vm
import scenes
from conftest import DEVICE, MIB, NAME
from test_40_auth import keys, volume

pytestmark = pytest.mark.module
long = pytest.mark.long

# In the bytes of one side: messages of the handshake, then records, each with its tag.
STEP, HEAD, TAG, HELLO = 64 + 88, 64, 16, 272
AFTER = {"p": 2 * STEP, "s": STEP}	# where the first record begins
FORGED = "its tag, expected that of the session's key|authentication: |frame: |hear"


def ways(side, places):
    return [f"{side}:flip:{at}" for at in places]


def all_of_the_hello(side):
    """Its head, the head's tag, 64 places of its payload, the payload's tag."""
    begin = AFTER[side]
    payload = begin + HEAD + TAG
    return [*range(begin, payload), *range(payload, payload + HELLO, HELLO // 64),
            *range(payload + HELLO, payload + HELLO + TAG)]


# The handshake is tried bit by bit in tests/unit/test_auth.c.
FEW = ["p:flip:140", f"s:flip:{AFTER['s'] + 5}", f"p:repeat:{AFTER['p']}:80", "p:flip:9000"]
SOME = [*ways("p", [8, 70, 140, STEP + 90, AFTER["p"], AFTER["p"] + 64, AFTER["p"] + 100]),
        *ways("s", [64 + 10, 140, AFTER["s"] + 5, AFTER["s"] + 200]),
        f"p:drop:{AFTER['p']}:80", f"p:repeat:{AFTER['p']}:80", f"p:swap:{AFTER['p']}:80",
        f"p:cut:{AFTER['p'] + 30}", f"s:repeat:{AFTER['s']}:368", f"s:swap:{AFTER['s']}:80", "p:flip:9000",
        "p:swap:9000:4192", "p:drop:12000:1"]
MANY = [*ways("p", all_of_the_hello("p")), *ways("s", all_of_the_hello("s"))]
# The messages of the handshake: who sends it, and where it begins.
AUTH = [("p", 0), ("s", 0), ("p", STEP)]
PATIENCE = 4	# after so many attacks a primary would wait for a second and more before it calls again


def refusals(machine):
    return len(re.findall(rf"freezecopy: .*({FORGED})", machine.run("dmesg").out))


def on_the_way(pair, attacks):
    """Where the primary calls is the attacker, who passes everything on but one thing a connection."""
    pair.secondary.run("dmesg -C")
    pair.primary.run("dmesg -C")
    pair.secondary.put("/tmp/attacks", "\n".join(attacks))	# more than a command of ours has words
    job = pair.secondary.background("exec fzattack way 7745 192.0.2.2 7744 $(cat /tmp/attacks)")
    volume(pair, start=False)
    pair.options["primary"]["peer"] = "192.0.2.2:7745"
    pair.start("secondary")
    pair.start("primary")
    return job


def wait_over(pair, job, attacks, seconds):
    """All attacks have been made: so many connections have ended."""
    end, next_resume = time.monotonic() + seconds * vm.SLOW, PATIENCE
    while (made := bytes(job.out).count(b"\n")) < len(attacks):
        if not job.running:
            job.wait()
        assert time.monotonic() < end, pair.secondary.report(f"after {seconds} s: {bytes(job.out).decode()}")
        if made >= next_resume:		# it calls at once, as if nothing had happened
            pair.primary.run(f"dmsetup suspend --noflush --nolockfs {NAME}; dmsetup resume {NAME}")
            next_resume = made + PATIENCE
        time.sleep(0.2)
    return bytes(job.out).decode().splitlines()


@pytest.mark.parametrize("attacks", [FEW, pytest.param(SOME, marks=long), pytest.param(MANY, marks=long)],
                         ids=["few", "some", "hello"])
def test_changed_on_the_way(pair, attacks):
    """Bytes flipped, left out, repeated, exchanged: each ends its connection, none is believed."""
    keys(pair)
    job = on_the_way(pair, attacks)
    load = pair.load(**scenes.STEADY)
    begin = time.monotonic()
    lines = wait_over(pair, job, attacks, 60 + 5 * len(attacks))
    seconds = time.monotonic() - begin
    assert [x.split(": ")[0] for x in lines] == attacks
    pair.wait_connected()
    scenes.deliver(pair, load)
    scenes.finish(pair, load)
    said = refusals(pair.primary) + refusals(pair.secondary)
    scenes.verdict(f"{len(attacks)} changes on the way in {seconds:.0f} s, {said} reasons in the logs")
    assert said


@long
@pytest.mark.parametrize("fault", ["cut", "end", "repeat", "hold", "dead"])
def test_handshake_on_a_bad_line(pair, fault):
    """What test_30_frames does to the other kinds: each message of the handshake lost with the connection, the
    connection lost behind it, said twice, held, and a connection that is there and carries nothing any more, also
    behind the last.  They connect again by themselves."""
    keys(pair)
    on_the_way(pair, [])
    pair.wait_connected()
    load = pair.load(**scenes.STEADY)
    scenes.deliver(pair, load)
    for side, at in AUTH + [("p", AFTER["p"])] * (fault == "dead"):
        attack = f"{side}:{fault}:{at + STEP if fault == 'end' else at}" + f":{STEP}" * (fault == "repeat")
        connects, begun = pair.status("primary")["ev_connect"], time.monotonic()
        load.worst()
        pair.secondary.run("pkill -x fzattack")	# and so the session
        job = pair.secondary.background(["fzattack", "way", "7745", "192.0.2.2", "7744", attack])
        pair.wait("primary", lambda s: s["connection"] == "connected" and s["ev_connect"] > connects,  # pylint: disable=W0640
                  what=f"{attack}: another connection")
        seconds = time.monotonic() - begun
        load.work(20)
        scenes.deliver(pair, load)
        worst = load.worst()
        scenes.verdict(f"{attack}: connected after {seconds:.0f} s; the longest request {worst} ms")
        assert bytes(job.out).decode().startswith(f"{attack}: "), bytes(job.out)
        assert pair.status("primary")["ev_connect"] == connects + 1
        assert worst < scenes.STALL * vm.SLOW
    scenes.finish(pair, load)


def test_recorded_session(pair):
    """All that a primary sent, said again to the same secondary: nothing of it is believed."""
    keys(pair)
    job = on_the_way(pair, ["p:record:0"])
    pair.wait_connected()
    pair.primary.run(f"dd if=/dev/urandom of={DEVICE} bs=64k count=16 oflag=direct")
    pair.wait_in_sync()
    pair.wait_image(pair.freeze())
    pair.wait_merged("secondary")
    before = pair.dump("secondary").read_bytes()
    pair.stop("primary")
    wait_over(pair, job, [1], 30)
    assert int(pair.secondary.run(["stat", "-c", "%s", "/tmp/record"]).out) > MIB
    said = pair.secondary.run(["fzattack", "say", "192.0.2.2", "7744", "/tmp/record"]).out
    assert "refused: authentication: primary's proof" in said, said
    assert pair.dump("secondary").read_bytes() == before
    pair.start("primary")
    pair.wait_connected()
    pair.primary.run(f"dd if=/dev/urandom of={DEVICE} bs=64k count=4 seek=8 oflag=direct")
    pair.wait_image(pair.freeze())
    assert pair.dump("primary").read_bytes() == pair.dump("secondary").read_bytes() != before


def test_false_peers(pair):
    """Who knows the protocol and the key's id, and not the key."""
    number = keys(pair)
    volume(pair, start=False)
    pair.start("secondary")
    said = pair.secondary.run(["fzattack", "primary", "192.0.2.2", "7744", number]).out
    assert "refused: authentication: primary's proof, expected what only the key makes" in said
    said = pair.secondary.run(["fzattack", "primary", "192.0.2.2", "7744", "0123456789abcdef"]).out
    assert "the primary's key has the id 0123456789abcdef" in said
    assert pair.status("secondary")["ev_connect"] == 0
    job = pair.secondary.background(["fzattack", "secondary", "7745"])
    pair.start("primary", peer="192.0.2.2:7745")
    assert "refused: authentication: secondary's proof, expected what only the key makes" in job.wait().out
    assert pair.status("primary")["ev_connect"] == 0
    pair.stop("primary")
    pair.start("primary")
    pair.wait_connected()


def open_connections(machine):
    """Established ones of the secondary's port, and those that wait to be accepted."""
    out = machine.run(["cat", "/proc/net/tcp"]).out
    return len(re.findall(r": [0-9A-F]{8}:1E40 [0-9A-F]{8}:[0-9A-F]{4} 01 ", out))


@long
def test_a_crowd_of_strangers(pair):
    """From one address they are never more than two in the room, from two never more than all of it; the
    session stays, and the primary is let in when it comes back."""
    keys(pair)
    volume(pair)
    pair.wait_connected()
    load = pair.load(**scenes.STEADY)
    scenes.deliver(pair, load)
    before = pair.status("secondary")
    pair.primary.run("ip addr add 192.0.2.66/24 dev eth0; ip addr add 192.0.2.67/24 dev eth0")
    jobs = [pair.primary.background(["fzattack", "flood", f"192.0.2.{n}", "192.0.2.2", "7744", 20, 30 * vm.SLOW])
            for n in (66, 67)]
    time.sleep(5)
    most = 0
    for _ in range(5):
        most = max(most, open_connections(pair.secondary))
        time.sleep(1)
    assert pair.status("secondary")["ev_disconnect"] == before["ev_disconnect"]
    scenes.deliver(pair, load)
    # the door is crowded, and the primary comes
    pair.primary.run(f"dmsetup suspend --noflush --nolockfs {NAME}; dmsetup resume {NAME}")
    pair.wait_connected()
    scenes.deliver(pair, load)
    made = sum(int(j.wait(120).out.split()[0]) for j in jobs)
    scenes.verdict(f"{made} strangers, {most} connections at once")
    assert made >= 500
    assert most <= 8 + 1 + 5	# the room, the session, the queue of the kernel
    scenes.finish(pair, load)
