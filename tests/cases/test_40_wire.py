# SPDX-License-Identifier: GPL-2.0-only
"""How a primary sends: what its table says of TCP is what the wire shows."""

import pytest

from conftest import MIB, NAME
from test_20_bad_input import table_refused

pytestmark = pytest.mark.module
SIZE = 16 * MIB


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
