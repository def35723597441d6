# SPDX-License-Identifier: GPL-2.0-only
"""Who may do what: requests and messages need CAP_SYS_ADMIN, a key is in its file and in the kernel's keyring
and nowhere else, and a kernel that is locked down has nothing to forbid."""

import re

import pytest

import scenes
from conftest import BY_ID, DEVICE, DIFFS, MIB, NAME, UUID
from test_40_auth import keys, volume

pytestmark = pytest.mark.module
SIZE = 16 * MIB
LOCKDOWN = "/sys/kernel/security/lockdown"
NO_RIGHT = "setpriv --bounding-set -sys_admin --inh-caps -sys_admin"	# root without CAP_SYS_ADMIN
ROOT_OF_A_USER = "unshare --user --map-root-user"	# who has it in a namespace of his own
NOBODY = "setpriv --reuid 65534 --regid 65534 --clear-groups"
REQUESTS = 200


def requests(machine, who=""):
    """So many are asked by WHO, of all kinds; how it ends."""
    major, minor = re.search(r"\((\d+)[:,] ?(\d+)\)", machine.run(["dmsetup", "ls"]).out).groups()
    return machine.run(f"{who} fzfuzz ioctl {major} {minor} 1 {REQUESTS}", check=False)


def test_only_the_administrator(pair):
    """Whoever is not gets nothing done, is told so, and changes nothing."""
    scenes.volume(pair, size=SIZE)
    m = pair.primary
    number = pair.freeze()
    pair.wait_image(number)
    pair.wait_merged("secondary")
    assert m.run(["stat", "-c", "%a %u", "/dev/freezecopy"]).out.split() == ["600", "0"]
    for who in (NO_RIGHT, ROOT_OF_A_USER):
        assert requests(m, who).out == f"{REQUESTS} requests, 0 done\n"
    said = requests(m, NOBODY)
    assert not said.ok and "/dev/freezecopy: Permission denied" in said.err, said
    for who in (NO_RIGHT, ROOT_OF_A_USER, NOBODY):
        for words in ("freeze", "abort", "assume identical"):
            said = m.run(f"{who} dmsetup message {NAME} 0 {words}", check=False)
            assert not said.ok and "Permission denied" in said.err, said
        for words in ("status", f"status {NAME}", f"freeze {NAME} --no-fs", f"abort {NAME}", f"stop {NAME}"):
            said = m.run(f"{who} freezectl {words}", check=False)
            assert said.rc == 1 and "freezectl must run as root" in said.err, f"{who}: {said}"
    after = pair.status("primary")
    assert after["image"] == number and after["freeze"] is None and after["ev_abort"] == 0
    done = re.fullmatch(rf"{REQUESTS} requests, (\d+) done\n", requests(m).out)
    assert int(done[1]) > 0


# A program that has begun to read a key, and one that has not asked for silence, both killed.
DUMP = """
cd /tmp && ulimit -c unlimited && mkfifo way || exit 1
for program in 'freezectl key import other' cat; do
    $program <way >/dev/null 2>&1 &
    exec 3>way
    echo 'key = %s' >&3
    sleep 1
    kill -SEGV $!
    wait $!
    echo "$program: $(ls core* 2>/dev/null | wc -l)"
    exec 3>&-
    rm -f core*
done
rm way
"""


def test_key_is_nowhere_else(pair):
    """Not on a command line, in a table, a status or a log, not in another file, on a disk or in a core dump."""
    keys(pair)
    volume(pair)
    pair.wait_connected()
    pair.primary.run(["freezectl", "key", "rotate", "vol"])
    pair.primary.run(f"dd if=/dev/urandom of={DEVICE} bs=64k count=4 oflag=direct")
    # the session ends for another key, and begins with the one that both have
    pair.wait("primary", lambda s: s["ev_connect"] >= 2 and s["connection"] == "connected", what="connected again")
    number = pair.freeze()
    pair.wait_image(number)
    pair.wait_merged("secondary")
    for m in (pair.primary, pair.secondary):
        text = m.get("/etc/freezecopy/vol.key").decode()
        digits = re.findall(r"= ([0-9a-f]{64})", text)
        assert len(digits) == (2 if m is pair.primary else 1)
        said = m.run(f"dmsetup table --showkeys; dmsetup status; freezectl status --json {NAME}; freezectl key list; "
                     "dmesg; cat /proc/keys; cat /proc/[0-9]*/cmdline 2>/dev/null || :").raw	# some end meanwhile
        files = m.run("grep -raFf - /etc /run /tmp /var /root /dev/shm 2>/dev/null | cut -d : -f 1 | sort -u",
                      stdin="\n".join(digits)).out
        assert files == "/etc/freezecopy/vol.key\n"
        assert m.run("cd /etc/freezecopy && stat -c '%n %a %u' $(ls -A)").out == "vol.key 600 0\n"
        number = m.run(["keyctl", "search", "@u", "logon", "freezecopy:vol"]).out.strip()
        said_of_key = m.run(["keyctl", "pipe", number], check=False)
        assert not said_of_key.ok and "not supported" in said_of_key.err, said_of_key
        disks = [m.disk(d).read_bytes() for d in ("meta", "data", *DIFFS[m.name])]
        for one in digits:
            raw = bytes.fromhex(one)
            assert not any(key in place for key in (one.encode(), raw) for place in (said, *disks))
    assert pair.primary.run(DUMP % ("0" * 64), timeout=30).out == "freezectl key import other: 0\ncat: 1\n"


@pytest.fixture
def locked(pair):
    """Both kernels are locked down, after the module was loaded; only the end of the machine ends that."""
    pair.create(size=SIZE, start=False)
    for m in (pair.primary, pair.secondary):
        m.run(f"modprobe dm-freezecopy; mount -t securityfs none /sys/kernel/security; echo integrity >{LOCKDOWN}")
        assert "[integrity]" in m.run(["cat", LOCKDOWN]).out
    yield pair
    for m in (pair.primary, pair.secondary):
        m.kill9()


def ctl(machine, *words):
    return machine.run(["freezectl", *words]).out


def create(pair, side, *words):
    disks = {"primary": ["--diff", "diff"], "secondary": ["--diff-a", "diffa", "--diff-b", "diffb"]}[side]
    paths = [BY_ID + word if n % 2 else word for n, word in enumerate(["--meta", "meta", "--data", "data", *disks])]
    ctl(pair.side(side), "create", NAME, side, "--key", "vol", "--pair", UUID, *paths, *words)


def forbidden(machine):
    """What lockdown has stopped."""
    return re.findall(r"Lockdown: (.*)", machine.run("dmesg").out)


@pytest.mark.long
def test_locked_down(locked):
    """In integrity mode all that a volume needs works: create, freeze, status, check, recover.  Loading an
    unsigned module does not, which is what freezectl then says."""
    pair, first, second = locked, locked.primary, locked.secondary
    keys(pair)
    create(pair, "secondary", "--listen", "192.0.2.2")
    create(pair, "primary", "--peer", "192.0.2.2", "--assume-identical")
    pair.wait_connected()
    load = pair.load(**scenes.STEADY)
    scenes.commit(pair, load)
    scenes.finish(pair, load)
    reference = pair.dump("primary").read_bytes()
    number = int(ctl(first, "freeze", NAME, "--no-fs"))
    ctl(first, "wait", NAME, "merged")
    assert "AES-256-GCM" in ctl(first, "status", NAME)
    ctl(first, "stop", NAME)
    ctl(first, "check", BY_ID + "meta")
    pair.wait_disconnected("secondary")
    ctl(second, "recover", NAME)
    ctl(second, "wait", NAME, "merged")
    assert pair.dump("secondary").read_bytes() == reference
    second.run(f"dd if=/dev/zero of={DEVICE} bs=64k count=1 oflag=direct")
    assert not forbidden(first) and not forbidden(second)

    first.run(["rmmod", "dm_freezecopy"])
    said = first.run(["freezectl", "start", NAME], check=False)
    assert said.rc == 1 and "the dm-freezecopy module is not loaded" in said.err, said
    assert forbidden(first) == ["modprobe: unsigned module loading is restricted; see man kernel_lockdown.7"]
    scenes.verdict(f"image {number} under lockdown; unsigned module refused: {said.err.strip()}")
