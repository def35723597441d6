# SPDX-License-Identifier: GPL-2.0-only
"""File systems on the volume: what a freeze saw is what a recovery finds, to the last byte.

The journal is replayed on an overlay, so that the image itself can be seen to stay untouched.
"""

import time

import pytest

from conftest import BY_ID, DEVICE, MKFS_EXT4, MKFS_XFS, MIB, NAME
from scenes import commit, create_by_freezectl, finish, manifest

pytestmark = pytest.mark.module

MKFS = {"xfs": MKFS_XFS, "ext4": MKFS_EXT4}
MOUNT = {"xfs": "mount -t xfs -o nouuid", "ext4": "mount -t ext4"}
FSCK = {"xfs": "xfs_repair -n", "ext4": "e2fsck -fn"}
OVERLAY = "/dev/mapper/over"

# Files come, change, move and go; it stops for a moment while /tmp/hold is there.
CHURN = r"""
cd /mnt/fs || exit 1
n=0
while [ ! -e /tmp/end ]; do
    if [ -e /tmp/hold ]; then
        : >/tmp/held
        while [ -e /tmp/hold ]; do sleep 0.1; done
        rm /tmp/held
    fi
    n=$((n + 1))
    d=d$((n % 7))
    [ -d $d ] || mkdir $d
    head -c $((n * 7919 % 90000)) /dev/urandom >$d/f$((n % 40))
    [ $((n % 5)) != 0 ] || mv -f $d/f$((n % 40)) $d/g$((n % 50))
    [ $((n % 9)) != 0 ] || rm -f $d/f$(((n + 20) % 40))
done
"""
HOLD = "touch /tmp/hold; until [ -e /tmp/held ]; do sleep 0.1; done"
GO_ON = "rm /tmp/hold; while [ -e /tmp/held ]; do sleep 0.1; done"


def lvm_sees(machine, device):
    """LVM accepts nothing but this device, as the README says, and activates nothing by itself:
    that would take systemd."""
    machine.put("/etc/lvm/lvmlocal.conf", f"""
devices {{
    use_devicesfile = 0
    global_filter = [ "a|^{device}$|", "r|.*|" ]
}}
global {{
    event_activation = 0
}}
""")


def freeze_by_freezectl(m):
    """It freezes and thaws the file system itself; what is still in the page cache is in the image."""
    m.run(HOLD)
    listing = manifest(m, "/mnt/fs")
    number = int(m.run(["freezectl", "freeze", NAME], timeout=120).out)
    m.run(GO_ON)
    return number, listing


def freeze_by_user(m):
    """The user freezes the file system in the middle of whatever goes on, and thaws it."""
    m.run(["fsfreeze", "-f", "/mnt/fs"])
    listing = manifest(m, "/mnt/fs")
    number = int(m.run(["freezectl", "freeze", NAME], timeout=120).out)
    m.run(["fsfreeze", "-u", "/mnt/fs"])
    return number, listing


def churn(m, fs="xfs", device=DEVICE):
    """A new file system, in use."""
    m.run(f"{MKFS[fs]} {device} && mkdir -p /mnt/fs && mount {device} /mnt/fs")
    job = m.background(CHURN)
    m.run("until [ -e /mnt/fs/d6/f13 ]; do sleep 0.2; done")
    assert job.running


def recovered(pair, number):
    """The primary dies, the secondary is recovered; its image as it is."""
    pair.primary.kill9()
    pair.wait_disconnected("secondary")
    out = pair.secondary.run(["freezectl", "recover", NAME], timeout=120).out
    assert pair.status("secondary")["image"] == number
    pair.secondary.run(f"dmsetup create over --table "
                       f"'0 {pair.size // 512} snapshot {DEVICE} {BY_ID}spare N 8'")
    return pair.dump("secondary"), out


def verify(pair, fs, device, listing):
    """Replay the journal: the same files, and a file system without fault."""
    m = pair.secondary
    m.run(f"mkdir -p /mnt/over && {MOUNT[fs]} {device} /mnt/over")
    assert manifest(m, "/mnt/over") == listing
    m.run("umount /mnt/over")
    m.run(f"{FSCK[fs]} {device}", timeout=120)


@pytest.mark.parametrize("fs, freeze, block", [
    ("xfs", freeze_by_freezectl, 4096),
    pytest.param("xfs", freeze_by_user, 65536, marks=pytest.mark.long),
    pytest.param("ext4", freeze_by_freezectl, 65536, marks=pytest.mark.long),
    pytest.param("ext4", freeze_by_user, 4096, marks=pytest.mark.long)])
def test_manifest_after_recovery(pair, fs, freeze, block):
    create_by_freezectl(pair, block)
    m = pair.primary
    churn(m, fs)
    freeze(m)
    number, listing = freeze(m)
    assert listing.count("\n") > 20
    before, said = recovered(pair, number)
    assert f"{MOUNT[fs]} {DEVICE}" in said, said
    verify(pair, fs, OVERLAY, listing)
    pair.same(pair.dump("secondary"), before)


def miss_deadline(machine, *words):
    """A disk that hardly moves: there is no cut, and no waiting for one."""
    machine.throttle("data", iops=1)
    machine.run("sleep 1")
    begin = time.monotonic()
    r = machine.run(["freezectl", "freeze", NAME, "--deadline", "2", *words], check=False)
    assert (r.rc, r.out) == (3, ""), str(r)
    assert time.monotonic() - begin < 15
    machine.throttle("data")


@pytest.mark.long
def test_deadline_missed(pair):
    """Nothing stays frozen, and the next freeze is right."""
    create_by_freezectl(pair)
    m = pair.primary
    churn(m)
    miss_deadline(m)
    m.run("touch /mnt/fs/after && sync /mnt/fs/after", timeout=20)
    number, listing = freeze_by_freezectl(m)
    recovered(pair, number)
    verify(pair, "xfs", OVERLAY, listing)


@pytest.mark.long
def test_deadline_missed_by_writes_in_flight(pair):
    """The gate opens again."""
    create_by_freezectl(pair)
    load = pair.load(depth=8, max=65536, flush_every=20)
    load.work()
    miss_deadline(pair.primary, "--no-fs")
    load.work()
    commit(pair, load)
    finish(pair, load)


@pytest.mark.long
@pytest.mark.parametrize("block", [4096, 65536])
def test_xfs_on_lvm(pair, block):
    """freezectl finds the file system above the logical volume and freezes it."""
    for m in pair.machines.both:
        lvm_sees(m, DEVICE)
    create_by_freezectl(pair, block)
    m = pair.primary
    m.run(f"pvcreate {DEVICE} && vgcreate vg0 {DEVICE} && lvcreate -y -Wn -n lv -L {48 * MIB}b vg0")
    churn(m, device="/dev/vg0/lv")
    number, listing = freeze_by_freezectl(m)
    lvm_sees(pair.secondary, OVERLAY)
    before, _ = recovered(pair, number)
    pair.secondary.run("vgchange -ay vg0")
    verify(pair, "xfs", "/dev/vg0/lv", listing)
    pair.secondary.run("vgchange -an vg0; rm /etc/lvm/lvmlocal.conf")
    pair.same(pair.dump("secondary"), before)
