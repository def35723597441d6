# SPDX-License-Identifier: GPL-2.0-only
"""How a primary sends: what its table says of TCP is what the wire shows."""

import re

import pytest

import machines as vm
import scenes
from conftest import BY_ID, DEVICE, MIB, NAME
from test_20_bad_input import create_words, says, table_refused
from test_30_frames import through_proxy

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


# The time is taken next to what it belongs to: between them a busy machine may do something else.
MEASURE = """
seen() { said=$(ss -Htin state established sport 7744); at=$EPOCHREALTIME; read -r bytes </sys/class/net/eth0/statistics/rx_bytes
	grep -oE '(bytes_received|data_segs_in):[0-9]+' <<<"$said"; echo "$bytes ${at/[.,]/}"; }
seen; sleep SECONDS; seen
"""


def measure(pair, seconds):
    """Bytes a second that the secondary gets: of the connection, and of all packets with their heads; bytes a packet."""
    words = pair.secondary.run(["bash", "-c", MEASURE.replace("SECONDS", str(seconds))], timeout=seconds + 30).out
    figures = [int(x) for x in re.findall(r"\d+", words)]
    assert len(figures) == 8, words
    tcp, packets, wire, took = (b - a for a, b in zip(figures[:4], figures[4:]))
    return tcp / took * 1e6, wire / took * 1e6, tcp / packets


@pytest.mark.long
def test_rate(pair):
    """The wire carries what the table allows, no more (the packets' heads apart) and not much less, for seconds
    on end; another table changes it; at the lowest rate a frame of a MiB takes as long as a silence may last, and nobody
    loses patience."""
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
        # timers are late where much is to be done, and so is who looks at the clock
        assert 0.7 * rate / vm.SLOW < tcp < 1.04 * rate
        assert wire < 1.1 * rate
    reload(pair, rate=None)
    tcp, _, _ = measure(pair, 2)
    scenes.verdict(f"no rate: {tcp:.0f} bytes/s")
    assert tcp > 2 * 300 * KIB / vm.SLOW
    pair.wait("primary", lambda s: s["ev_copy_done"], what="the first copy is done")
    pair.wait_image(pair.freeze())
    pair.same(pair.dump("primary"), pair.dump("secondary"))


TEXT = "yes 'what is said again and again takes less room'"
RANDOM = "cat /dev/urandom"
ZEROES = "cat /dev/zero"


def write(pair, content, at, mib=4):
    """So much of it is written there and arrives; what of tx and of tx_saved that took."""
    before = pair.status("primary")
    pair.primary.run(f"{content} | dd of={DEVICE} bs=256k count={4 * mib} seek={4 * at} iflag=fullblock oflag=direct "
                     "status=none")
    after = pair.wait_in_sync()
    return after["tx"] - before["tx"], after["tx_saved"] - before["tx_saved"]


@pytest.mark.parametrize("how, block", [
    ("lz4", 4096), *(pytest.param(*other, marks=pytest.mark.long)
                      for other in [("lz4", 65536), ("zstd", 4096), ("zstd", 65536)])])
def test_compressed(pair, how, block):
    """What can be made smaller is, nothing gets bigger, zeroes stay what they are; all of it arrives as it was."""
    pair.create(size=SIZE + 512 * 9, block=block, primary={"assume": "identical", "compress": how})
    pair.wait_connected()
    assert pair.primary.run(["dmsetup", "table", NAME]).out.rstrip().endswith(f" compress {how}")
    size = 4 * MIB
    text, text_saved = write(pair, TEXT, 0)
    noise, noise_saved = write(pair, RANDOM, 4)
    zeroes, zeroes_saved = write(pair, ZEROES, 8)
    scenes.verdict(f"{how}, blocks of {block}: of {size} bytes text {text} go over the wire, of noise {noise}, "
                   f"of zeroes {zeroes}; saved {text_saved}")
    assert text < size / 8 and text_saved > size * 7 / 8
    assert size < noise < size * 1.03 and not noise_saved
    assert zeroes < size / 32 and not zeroes_saved
    last = (SIZE + 512 * 9) // 512 - 9	# the last block is a short one
    pair.primary.run(f"{TEXT} | dd of={DEVICE} bs=512 count=9 seek={last} iflag=fullblock oflag=direct status=none")
    write(pair, f"(head -c 20000 /dev/zero; {TEXT} | head -c 100000; head -c 50000 /dev/urandom; {TEXT})", 12, 2)
    pair.wait_image(pair.freeze())
    pair.same(pair.dump("primary"), pair.dump("secondary"))
    write(pair, ZEROES, 0)
    load = pair.load(**scenes.STEADY)
    load.work(50)
    pair.primary.run(f"{TEXT} | dd of={DEVICE} bs=64k count=64 seek=128 iflag=fullblock oflag=direct status=none")
    number, reference = pair.freeze_and_keep(load)
    pair.wait_image(number)
    pair.same(reference, pair.dump("secondary"))
    scenes.healthy(load)
    load.stop()
    memory = pair.status("primary")["mem_io"], pair.status("secondary")["mem_io"]
    reload(pair, compress=None)
    plain = pair.status("primary")["mem_io"]
    scenes.verdict(f"{how}: memory {memory[0] - plain} to compress, {memory[1] - plain} to decompress")
    assert 2 * MIB < memory[0] - plain < 4 * MIB and 2 * MIB < memory[1] - plain < 3 * MIB
    text, _ = write(pair, TEXT, 0)
    assert text > size


@pytest.mark.parametrize("how", [pytest.param("lz4", marks=pytest.mark.long), "zstd"])
def test_bad_compressed_frame(pair, how):
    """Sealed as it should be, and not what it says: refused in words, nothing is changed, and all goes on."""
    proxy = through_proxy(pair, compress=how)
    write(pair, TEXT, 0, 2)
    image = pair.freeze()
    pair.wait_image(image)
    pair.wait_merged("secondary")
    reference = pair.dump("secondary")
    for fault in ("garbage", "truncate", "fewer"):
        since = len(pair.secondary.console_text())
        connects = pair.status("primary")["ev_connect"]
        proxy.arm("p", "DATA", fault)
        write(pair, f"(head -c 100 /dev/urandom; {TEXT})", 1, 2)
        assert proxy.state() == "fired"
        says(pair.secondary, since, rf"ended: frame: blocks \d+\+\d+, \d+ bytes of {how}, expected to be \d+ when "
             "decompressed")
        status = pair.status("primary")
        scenes.verdict(f"{how}, {fault}: refused, and sent again in session {status['ev_connect']}")
        assert status["ev_connect"] == connects + 1 and status["image"] == image
        pair.same(reference, pair.dump("secondary"))
    pair.wait_image(pair.freeze())
    pair.same(pair.dump("primary"), pair.dump("secondary"))


def test_wire_options_of_freezectl(pair):
    """What create was told is in the table, and is there again after a start from the conf."""
    pair.create(size=SIZE, start=False)
    m = pair.primary
    m.run(["freezectl", *create_words("primary", congestion="bbr", rate="2048k", compress="zstd")])
    for _ in range(2):
        assert m.run(["dmsetup", "table", NAME]).out.rstrip().endswith(" congestion bbr rate 2M compress zstd")
        m.run(["freezectl", "stop", NAME])
        m.run(["freezectl", "start", NAME])
