# SPDX-License-Identifier: GPL-2.0-only
"""How a primary sends: what its table says of TCP is what the wire shows."""

import re

import pytest

import scenes
from conftest import BY_ID, MIB, NAME
from test_20_bad_input import table_refused

pytestmark = pytest.mark.module
SIZE = 16 * MIB
KIB = 1024


def reload(pair, **more):
    """The running primary gets another table."""
    pair.primary.run(["dmsetup", "load", NAME, "--table", pair.table("primary", **more)])
    pair.primary.run(["dmsetup", "resume", NAME])
    pair.wait_connected()


def congestion(pair):
    """What the connection uses."""
    out = pair.primary.run("ss -Htin dst 192.0.2.2:7744").out.split("\n", 1)
    assert out[0].startswith("ESTAB"), out
    return out[1].split()[0]


def test_congestion(pair):
    """The constructor loads the module, which stays while the table does; each connection uses it."""
    m = pair.primary
    m.run("modprobe -r tcp_bbr")
    pair.create(size=SIZE, start=False, primary={"assume": "identical", "congestion": "bbr"})
    table_refused(m, pair.table("primary", congestion="nosuch"),
                  "option congestion: nosuch, expected one that the kernel has")
    pair.start("primary")	# nobody listens yet: what loads it is not a connection
    assert "bbr" in m.run("sysctl -n net.ipv4.tcp_available_congestion_control").out.split()
    assert not m.run("modprobe -r tcp_bbr", check=False).ok
    pair.start("secondary")
    pair.wait_connected()
    assert congestion(pair) == "bbr"
    assert m.run(["dmsetup", "table", NAME]).out.rstrip().endswith(" congestion bbr")
    pair.net.cut()
    pair.wait_disconnected("primary")
    pair.net.restore()
    pair.wait_connected()
    assert congestion(pair) == "bbr"
    default = m.run("sysctl -n net.ipv4.tcp_congestion_control").out.strip()
    assert default != "bbr"
    reload(pair, congestion=None)
    assert congestion(pair) == default
    m.run("modprobe -r tcp_bbr")


MEASURE = """
seen() { ss -Htin sport 7744 | grep -oE '(bytes_received|data_segs_in):[0-9]+'; cat /sys/class/net/eth0/statistics/rx_bytes; date +%s%N; }
seen; sleep SECONDS; seen
"""


def measure(pair, seconds):
    """Bytes a second that the secondary gets: of the connection, and of all packets with their heads; bytes a packet."""
    words = pair.secondary.run(MEASURE.replace("SECONDS", str(seconds)), timeout=seconds + 30).out
    figures = [int(x) for x in re.findall(r"\d+", words)]
    tcp, packets, wire, took = (b - a for a, b in zip(figures[:4], figures[4:]))
    return tcp / took * 1e9, wire / took * 1e9, tcp / packets


def test_rate(pair):
    """The wire carries what the table allows, no more (1 %, and 6 % with the packets' heads) and not much less (20 %: a
    busy machine's timers are late), for seconds on end; another table changes it; at the lowest rate a frame of a
    MiB takes as long as a silence may last, and nobody loses patience."""
    pair.create(size=2 * SIZE, start=False, primary={"rate": "300k"})
    pair.load(BY_ID + "data", fill=1, depth=2).wait()
    pair.start("secondary")
    pair.start("primary")
    pair.wait_connected()
    pair.wait("primary", lambda s: s["tx"] > MIB / 2, what="half a MiB is sent")
    for rate, words, seconds in ((300 * KIB, "300k", 10), (200 * KIB, "200k", 10), (128 * KIB, "128k", 30)):
        if words != "300k":
            # as the manual has it
            pair.primary.run(f"dmsetup table {NAME} | sed 's/ rate [^ ]*/ rate {words}/' | dmsetup load {NAME} "
                             f"&& dmsetup resume {NAME}")
            pair.wait_connected()
            pair.wait("primary", lambda s: s["inflight"], what="it goes on")
        assert f" rate {words}" in pair.primary.run(["dmsetup", "table", NAME]).out
        before = pair.status("primary")["ev_disconnect"]
        tcp, wire, packet = measure(pair, seconds)
        status = pair.status("primary")
        scenes.verdict(f"rate {words}: {tcp:.0f} bytes/s are {tcp / rate:.3f} of it, {wire:.0f} with the packets' heads, "
                       f"{packet:.0f} a packet")
        assert status["copy_left"] and status["ev_disconnect"] == before, status
        assert 0.8 * rate < tcp < 1.01 * rate
        assert wire < 1.06 * rate
    reload(pair, rate=None)
    tcp, _, _ = measure(pair, 2)
    scenes.verdict(f"no rate: {tcp:.0f} bytes/s")
    assert tcp > 2 * 300 * KIB
    pair.wait("primary", lambda s: s["ev_copy_done"], what="the first copy is done")
    pair.wait_image(pair.freeze())
    pair.same(pair.dump("primary"), pair.dump("secondary"))
