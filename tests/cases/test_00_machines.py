# SPDX-License-Identifier: GPL-2.0-only
"""The machines themselves, without the module: what every other case rests on."""

import time

import pytest

from conftest import BY_ID, MIB


def linear(machine, serial="data", name="lin", size=64 * MIB):
    machine.run(["dmsetup", "create", name, "--table", f"0 {size // 512} linear {BY_ID}{serial} 0"])
    return f"/dev/mapper/{name}"


def pings(machine, address):
    return machine.run(["ping", "-c", "1", "-W", "1", address], check=False).ok


def test_boot_and_network(machines):
    for m in machines.both:
        print(f"{m.name}: ready after {m.boot_seconds:.1f} s, kernel {m.agent.kernel}")
        m.check_console()
    assert pings(machines.primary, "192.0.2.2") and pings(machines.secondary, "2001:db8::1")


def test_commands(machines):
    m = machines.primary
    r = m.run("echo out; echo err >&2; exit 7", check=False)
    assert (r.rc, r.out, r.err) == (7, "out\n", "err\n")
    m.put("/tmp/x", bytes(range(256)) * 1000)
    assert m.get("/tmp/x") == bytes(range(256)) * 1000
    begin = time.monotonic()
    assert m.run("sleep 60", timeout=1, check=False).timed_out
    assert time.monotonic() - begin < 10
    with pytest.raises(Exception, match="ended with 1"):
        m.run("exit 1")


def test_link(machines):
    machines.net.cut()
    assert not pings(machines.primary, "192.0.2.2")
    machines.net.restore()
    assert any(pings(machines.primary, "192.0.2.2") for _ in range(10))


def seconds(machine, command):
    begin = time.monotonic()
    machine.run(command)
    return time.monotonic() - begin


@pytest.mark.long
def test_slow_disk_and_wire(pair):
    m = pair.primary
    write = f"dd if=/dev/zero of={BY_ID}data bs=64k count=64 oflag=direct status=none"
    m.throttle("data", bps=MIB)
    assert seconds(m, write) > 2
    m.throttle("data")
    assert seconds(m, write) < 2
    pair.netem("primary", "delay 700ms")
    assert seconds(m, "ping -c 1 192.0.2.2") > 0.7
    pair.netem("primary", "")
    assert seconds(m, "ping -c 1 192.0.2.2") < 0.7


@pytest.mark.long
def test_resize_and_clean(pair):
    pair.create(size=33 * MIB + 4096, start=False)
    assert int(pair.primary.run(f"blockdev --getsize64 {BY_ID}data").out) == 33 * MIB + 4096
    pair.secondary.run(f"dd if=/dev/urandom of={BY_ID}data bs=1M count=1 oflag=direct status=none")
    linear(pair.primary, size=MIB)
    pair.machines.clean()
    assert int(pair.primary.run(f"blockdev --getsize64 {BY_ID}data").out) == 64 * MIB
    assert not pair.raw("secondary").read_bytes().strip(b"\0")
    assert "No devices" in pair.primary.run("dmsetup ls").out


def test_console_trouble_is_noticed(pair):
    m = pair.secondary
    m.run("echo '<4>WARNING: a test says so' >/dev/kmsg; sleep 0.2")
    with pytest.raises(Exception, match="a test says so"):
        m.check_console()
    m.check_console()


def test_load_and_oracle(pair):
    """Every kind of request on dm-linear; the image is legal at the end, and not if it is touched."""
    dev = linear(pair.primary)
    load = pair.load(dev, ops=1500, depth=4, flush_every=16, fua_pct=10, discard_pct=3, zeroes_pct=3,
                     read_pct=30, hot=30)
    print(load.wait().out)
    image = pair.dump("primary", dev)
    pair.check(image)
    pair.same(image, pair.raw("primary"))
    data = bytearray(image.read_bytes())
    one = data.find(b"FCSTAMP1")
    data[one:one + 512], data[one + 512:one + 1024] = data[one + 512:one + 1024], data[one:one + 512]
    image.write_bytes(data)
    with pytest.raises(pytest.fail.Exception, match=f"sector {one // 512}: not its stamp"):
        pair.check(image)


@pytest.mark.long
def test_freeze_of_a_snapshot(pair):
    """A cut under load: dm-snapshot stands in for a freeze, suspended between call and return."""
    m = pair.primary
    dev = linear(m)
    m.run(f"dmsetup create org --table '0 {64 * MIB // 512} snapshot-origin {dev}'")
    load = pair.load("/dev/mapper/org", depth=6, flush_every=30, fua_pct=10, hot=50, max=65536)
    time.sleep(1)
    load.ctl("call")
    m.run(f"dmsetup suspend org && dmsetup create snap --table "
          f"'0 {64 * MIB // 512} snapshot {dev} {BY_ID}diff N 8' && dmsetup resume org")
    load.ctl("return", "1")
    time.sleep(1)
    print(load.stop().out)
    pair.check(pair.dump("primary", "/dev/mapper/snap"), freeze=1)
    end = pair.dump("primary", "/dev/mapper/org")
    pair.check(end)
    with pytest.raises(pytest.fail.Exception, match="future"):
        pair.check(end, freeze=1)


@pytest.mark.long
def test_durability_after_kill(pair):
    """The machine dies under load; what was flushed is there, and again after the restart."""
    dev = linear(pair.primary)
    load = pair.load(dev, depth=4, flush_every=10, fua_pct=20, read_pct=20)
    time.sleep(2)
    pair.primary.kill9()
    pair.check(pair.raw("primary"))
    pair.primary.start()
    assert not load.job.running
    assert any(pings(pair.secondary, "192.0.2.1") for _ in range(10)), "the wire is back"
    dev = linear(pair.primary)
    print(pair.load(dev, ops=300, read_pct=30).wait().out)
    pair.check(pair.dump("primary", dev))
