# SPDX-License-Identifier: GPL-2.0-only
"""Stop and start, suspend and resume, reload, remove, unload: in every mode."""

import subprocess
import time

import pytest

import scenes
from conftest import BY_ID, DEVICE, DIFFS, MIB, MKFS_EXT4, MKFS_XFS, NAME
from scenes import loaded, modes, next_freeze, restart

pytestmark = pytest.mark.module

UUID2 = "8d5a6a52-5e0a-4c7e-9a34-3f1c1d7a9b11"


def copy(disks, was, becomes):
    for disk in disks:
        subprocess.run(["cp", "--sparse=always", f"{disk}{was}", f"{disk}{becomes}"], check=True)


def unload(pair, side):
    """The device is removed and the module has nothing left."""
    pair.stop(side)
    pair.side(side).run("rmmod dm_freezecopy")


def go_on(pair, number):
    """Nothing was aborted: the freeze ends, and the next one is right."""
    scenes.release(pair)
    pair.wait_connected()
    scenes.judge(pair, number)
    assert pair.status("primary")["ev_abort"] == 0
    next_freeze(pair)


@modes("normal", "freezing", "merging", "secondary-merging")
def test_primary_stopped_and_started(pair, mode, block):
    load, _, number = loaded(pair, mode, block)
    load.stop()
    before = pair.status("primary")
    unload(pair, "primary")
    pair.start("primary")
    after = pair.status("primary")
    assert (after["mode"], after["freeze"]) == (before["mode"], before["freeze"])
    pair.check(pair.dump("primary"))
    go_on(pair, number)


# What merges is stopped at 4 KiB: a stop waits for 64 blocks to be written to a slow disk.
@modes("normal", "freezing", "secondary-merging", "merging")
def test_secondary_stopped_and_started(pair, mode, block):
    load, committed, number = loaded(pair, mode, block)
    unload(pair, "secondary")
    pair.start("secondary")
    after = pair.status("secondary")
    assert after["image"] == committed
    if mode == "secondary-merging":
        assert after["mode"] == "merging"
    pair.check(pair.dump("secondary"), freeze=committed)
    scenes.release(pair)
    load.resume()
    load.stop()
    go_on(pair, number)


@modes("merging", "freezing")
def test_primary_stopped_while_its_peer_is_dead(pair, mode, block):
    load, _, number = loaded(pair, mode, block)
    pair.secondary.kill9()
    load.stop()
    unload(pair, "primary")
    pair.start("primary")
    pair.check(pair.dump("primary"))
    restart(pair, "secondary")
    go_on(pair, number)


@pytest.mark.parametrize("block", [4096, pytest.param(65536, marks=pytest.mark.long)])
def test_data_mounted_and_written_while_stopped(pair, block):
    """Refused, and said how to go on; taken as changed, both sides are the same again."""
    scenes.volume(pair, block, diff=80 * MIB)	# a stage that can take all blocks
    m = pair.primary
    m.run(f"{MKFS_EXT4} {DEVICE}")
    assert pair.freeze() == 1
    pair.wait_image(1)
    pair.stop("primary")
    m.run(f"mkdir -p /mnt/fs && mount {BY_ID}data /mnt/fs && date >/mnt/fs/behind && umount /mnt/fs")
    begin = len(m.console_text())
    assert not pair.start("primary", check=False).ok
    said = m.console_text()[begin:]
    assert "data was written" in said and "take_all_changed" in said, said
    assert "No devices" in m.run("dmsetup ls").out
    pair.start("primary", take_all_changed="yes")
    pair.wait_connected()
    assert pair.freeze() == 2
    pair.wait_image(2)
    m.run(f"e2fsck -fn {DEVICE} && mount -o ro {DEVICE} /mnt/fs && test -s /mnt/fs/behind && umount /mnt/fs")
    pair.same(pair.dump("primary"), pair.dump("secondary"))


@pytest.mark.long
@pytest.mark.parametrize("stopped", [True, False])
def test_old_disks_of_the_primary(pair, stopped):
    """The primary comes back with a backup of its disks, made while it was stopped or as a power cut would
    have left them: both sides refuse and say why, the image stays; with its own disks all goes on."""
    disks = [pair.primary.disk(serial) for serial in ("meta", "data", "diff")]
    load, _, _ = loaded(pair, "normal")
    load.stop()
    if stopped:
        pair.stop("primary")
    pair.primary.kill9()
    copy(disks, "", ".backup")
    restart(pair, "primary")
    next_freeze(pair)
    number = pair.status("secondary")["image"]
    pair.primary.kill9()
    copy(disks, "", ".own")
    copy(disks, ".backup", "")
    restart(pair, "primary")
    pair.wait("primary", lambda s: s["connection"] == "refused", what="the backup is refused")
    for m in pair.machines.both:
        assert "restored from a backup or cloned" in m.console_text()
    assert pair.status("secondary")["image"] == number
    pair.same(pair.dump("secondary"), pair.raw("secondary"))
    pair.primary.kill9()
    copy(disks, ".own", "")
    restart(pair, "primary")
    next_freeze(pair)


@pytest.mark.long
@pytest.mark.parametrize("side", ["primary", "secondary"])
@modes("normal", "freezing")
def test_table_reloaded(pair, mode, block, side):
    """With the same devices, under load: what runs goes on."""
    load, _, number = loaded(pair, mode, block)
    pair.side(side).run(f"dmsetup load {NAME} --table '{pair.table(side)}' && dmsetup resume {NAME}")
    if mode == "freezing":
        assert pair.status("primary")["freeze"] == number
    scenes.healthy(load)
    load.stop()
    go_on(pair, number)


@pytest.mark.long
@pytest.mark.parametrize("how", ["", "--noflush --nolockfs"])
@modes("normal", "freezing", "merging")
def test_suspended_and_resumed(pair, mode, block, how):
    """Also with a dead wire; in between nothing is read or written, and no freeze."""
    load, _, number = loaded(pair, mode, block)
    pair.net.cut()
    begin = time.monotonic()
    pair.primary.run(f"dmsetup suspend {how} {NAME}")
    assert time.monotonic() - begin < 20
    assert not pair.message("primary", "freeze", check=False).ok
    sectors = "cat /sys/block/vd[b-z]/stat"
    before = pair.primary.run(f"{sectors}; sleep 2; echo =; {sectors}").out.split("=\n")
    assert before[0] == before[1]
    pair.primary.run(["dmsetup", "resume", NAME])
    scenes.healthy(load)
    scenes.release(pair)
    load.stop()
    go_on(pair, number)


@pytest.mark.long
def test_load_and_clear_leave_no_trace(pair):
    for side in ("primary", "secondary"):
        m = pair.side(side)
        m.run(f"dmsetup create {NAME} --notable && dmsetup load {NAME} --table '{pair.table(side)}' && "
              f"dmsetup clear {NAME} && dmsetup remove {NAME} && rmmod dm_freezecopy")
        assert "7744" not in m.run("ss -ltn").out
        for serial in ("meta", "data", *DIFFS[side]):
            assert not pair.raw(side, serial).read_bytes().strip(b"\0")


# -- two volumes

def halve(pair):
    """Every disk becomes two."""
    sectors = pair.size // 512
    for m in pair.machines.both:
        m.run("; ".join(["set -e"] + [
            f"dmsetup create {disk}{n} --table '0 {sectors} linear {BY_ID}{disk} {(n - 1) * sectors}'"
            for disk in ("data", *DIFFS[m.name]) for n in (1, 2)] + [
            f"dmsetup create meta{n} --table '0 32768 linear {BY_ID}meta {(n - 1) * 32768}'" for n in (1, 2)]))
        pair.paths.update({(m.name, disk): f"/dev/mapper/{disk}1" for disk in ("meta", "data", *DIFFS[m.name])})


def start_second(pair, side):
    words = {"primary": "peer", "secondary": "listen"}
    table = pair.table(side, pair=UUID2, **{words[side]: "192.0.2.2:7745"})
    for disk in ("meta", "data", *DIFFS[side]):
        table = table.replace(f"/dev/mapper/{disk}1", f"/dev/mapper/{disk}2")
    pair.side(side).run(["dmsetup", "create", "vol2", "--uuid", f"FREEZECOPY-{UUID2}", "--table", table])


@pytest.mark.long
def test_two_volumes(pair):
    """Each with its own freezes, at the same time; one goes, the other stays."""
    pair.size, pair.options = 32 * MIB, {"primary": {"assume": "identical"}}
    halve(pair)
    for side in ("secondary", "primary"):
        pair.start(side)
        start_second(pair, side)
    pair.wait_connected()
    pair.wait("primary", lambda s: s["connection"] == "connected", what="the second is connected", name="vol2")
    loads = [pair.load(**scenes.SMALL), pair.load("/dev/mapper/vol2", volume=2, **scenes.SMALL)]
    for number in (1, 2, 3):
        assert [loads[0].freeze(), loads[1].freeze(name="vol2")] == [number] * 2
        pair.wait_image(number)
        pair.wait("primary", lambda s: s["image"] == number,  # pylint: disable=cell-var-from-loop
                  what="the second's image", name="vol2")
    pair.check(pair.dump("secondary"), freeze=3)
    pair.check(pair.dump("secondary", "/dev/mapper/vol2"), freeze=3, volume=2)
    loads[1].stop()
    for m in pair.machines.both:
        m.run("dmsetup remove --retry vol2")
    scenes.commit(pair, loads[0])
    scenes.finish(pair, loads[0])


# -- systemd

def boot(pair):
    """Both machines as a Debian boots them; what is written to their root stays."""
    for m in pair.machines.both:
        m.stop(timeout=180)
        m.start(wait=False, systemd=True)
    for m in pair.machines.both:
        m.wait_ready()
        m.run("until [ $(systemctl is-system-running) != starting ]; do sleep 1; done", timeout=120)


def started(machine, unit):
    """When a unit became active, in us since the boot."""
    value = machine.run(["systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", unit]).out
    assert int(value) > 0, unit
    return int(value)


@pytest.mark.long
def test_reboot_of_both(pair):
    """Units and fstab: both are there after a reboot, the file system is mounted, nothing is sent again."""
    unit = f"freezecopy@{NAME}.service"
    boot(pair)
    scenes.create_by_freezectl(pair)
    for m in pair.machines.both:
        m.run(["systemctl", "enable", unit])
    m = pair.primary
    m.run(f"{MKFS_XFS} {DEVICE} && mkdir -p /mnt/fs && "
          f"echo '{DEVICE} /mnt/fs xfs _netdev,x-systemd.requires={unit} 0 0' >>/etc/fstab && "
          "systemctl daemon-reload && mount /mnt/fs", timeout=120)
    assert m.run(["freezectl", "freeze", NAME, "--wait", "merged"], timeout=120).out == "1\n"
    m.run("head -c 8M /dev/urandom >/mnt/fs/file && sync")
    m.run(["freezectl", "wait", NAME, "in-sync", "--timeout", "60"], timeout=70)
    before = pair.status("primary")
    listing = scenes.manifest(m, "/mnt/fs")

    boot(pair)
    assert "7744" in pair.secondary.run("ss -ltn").out
    m.run("mountpoint -q /mnt/fs")
    assert started(m, unit) < started(m, "mnt-fs.mount")
    # the umount came before the stop: neither the file system nor the volume has anything to repair
    assert "Ending clean mount" in m.run("dmesg").out
    m.run(["freezectl", "wait", NAME, "in-sync", "--timeout", "60"], timeout=70)
    after = pair.status("primary")
    assert after["changed"] >= before["changed"] > 2048
    assert after["tx_blocks"] < 1024, after	# half of the file; mounting writes some, too
    assert scenes.manifest(m, "/mnt/fs") == listing
    assert m.run(["freezectl", "freeze", NAME], timeout=120).out == "2\n"
    m = pair.secondary
    m.run(f"mkdir -p /mnt/fs && mount -o ro,norecovery,nouuid {DEVICE} /mnt/fs")
    assert scenes.manifest(m, "/mnt/fs") == listing
    m.run("umount /mnt/fs")
