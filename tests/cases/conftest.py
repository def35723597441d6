# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the cases: a pair of machines, and the words in which a case is told.

The machines are started once for a session and started again when a case has killed them.  Every
case begins with blank disks and a freshly loaded module, and fails when a kernel has complained.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "qemu"))
import machines as vm  # noqa: E402

MIB = vm.MIB
NAME = "vol"
DEVICE = f"/dev/mapper/{NAME}"
BY_ID = "/dev/disk/by-id/virtio-"
ADDRESS = {"primary": "192.0.2.1", "secondary": "192.0.2.2"}
DIFFS = {"primary": ["diff"], "secondary": ["diffa", "diffb"]}
MKFS_XFS = "mkfs.xfs -q -f --unsupported"	# below 300 MB
MKFS_EXT4 = "mkfs.ext4 -q -F"
UUID = "8d5a6a52-5e0a-4c7e-9a34-3f1c1d7a9b10"
MAX_DISK = 256 * MIB
LEAKS_EVERY = 15	# cases
RATE = re.compile(r"rate (\d+)([km])bit")
KBIT = {"k": 1, "m": 1000}
# dump takes images to the host; state keeps the root of a machine with systemd; spare is for a case
SIZES = {"meta": 32 * MIB, "data": 64 * MIB, "dump": MAX_DISK, "state": 64 * MIB, "spare": MAX_DISK}


def pytest_configure(config):
    config.addinivalue_line("markers", "module: the case needs the kernel module")
    config.addinivalue_line("markers", "long: too long for make check")
    config.addinivalue_line("markers", "debug: only with a debug kernel")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A case that fails says what the kernels said last, and where the rest stands."""
    report = (yield).get_result()
    m = item.funcargs.get("machines") if hasattr(item, "funcargs") else None
    if report.failed and m:
        for one in m.both:
            report.sections.append((str(one.console), vm.tail(one.console)))


def pytest_collection_modifyitems(config, items):
    if not vm.debug_kernel():
        others = [item for item in items if item.get_closest_marker("debug")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    module = Path(os.environ.get("MODULE", vm.BUILD / "dm-freezecopy.ko"))
    if not module.exists():
        for item in items:
            if item.get_closest_marker("module"):
                item.add_marker(pytest.mark.skip(reason=f"{module} is not built"))


class Machines:
    """The session's two machines."""

    def __init__(self):
        self.net = vm.Net()
        self.both = []
        for name in ADDRESS:
            m = vm.Machine(name, self.net, {**SIZES, **{s: 64 * MIB for s in DIFFS[name]}})
            self.both.append(self.net.add(m))
        self.primary, self.secondary = self.both
        self.used = False	# something may be loaded
        self.cases = 0

    def up(self):
        off = [m for m in self.both if not m.running]
        for m in off:
            m.start(wait=False)
        for m in off:
            m.wait_ready()
            print(f"{m.name} booted in {m.boot_seconds:.1f} s")

    def unload(self):
        """Remove every device and the module; returns what went wrong with whom."""
        wrong = {}
        for m in self.both:
            try:
                for serial in list(m.failing):
                    m.fail(serial)
            except vm.MachineError as e:
                wrong[m] = e
        for m in self.both:
            if m.systemd and m.running:
                m.kill9()
        jobs = [(m, m.background(CLEAN_GUEST, timeout=40)) for m in self.both if m.running and m not in wrong]
        for m, job in jobs:
            try:
                job.wait(50)
            except vm.MachineError as e:
                wrong[m] = e
        return wrong

    def clean(self):
        """Blank disks of the usual sizes, nothing loaded, the wire whole.  What resists is started again."""
        self.net.restore()
        for m in self.unload() if self.used else []:
            m.kill9()
        for m in self.both:
            m.blank({**SIZES, **{s: 64 * MIB for s in DIFFS[m.name]}})
        self.up()
        for m in self.both:
            m.throttle("data")	# not at all
            m.forget_logs()
            m.allowed = []
            m.console_checked = len(m.console_text())
        self.used = True

    def end_case(self, last=False):
        """After a case everything must come off, whatever state it is in, no kernel may complain, and
        no memory be lost: to look for that takes as long as a few cases."""
        for m in self.both:	# of one that died, too
            m.check_console()
        self.net.restore()
        for m, error in self.unload().items():
            m.kill9()
            raise error
        running = [m for m in self.both if m.running]
        self.cases += 1
        if last or not self.cases % LEAKS_EVERY:
            vm.check_leaks(running)
        for m in running:
            m.check_console()
        self.used = False


# Written for few forks: with nothing to do it is three.
CLEAN_GUEST = """
pkill -9 -x 'fzload|fzproxy|fzattack|fzfuzz|fio|sqlite3|freezectl|dd|sleep'
for n in 1 2 3; do
    while read -r dev dir rest; do
        case $dir in /mnt*) umount -R "$dir" ;; esac
    done </proc/mounts
    [ "$(echo /sys/block/dm-*)" = '/sys/block/dm-*' ] && break
    dmsetup remove_all --retry
done
[ "$(echo /sys/block/dm-*)" = '/sys/block/dm-*' ] || exit 1
[ ! -e /sys/module/dm_freezecopy ] || rmmod dm_freezecopy || exit 1
[ ! -e /etc/freezecopy ] || rm -r /etc/freezecopy
[ ! -e /run/netem ] || tc qdisc del dev eth0 root
rm -f /run/netem
udevadm settle
"""


@pytest.fixture(scope="session")
def machines():
    vm.build_image()
    m = Machines()
    m.up()
    yield m
    m.net.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    item.is_last = nextitem is None


@pytest.fixture
def pair(machines, request):
    machines.clean()
    yield Pair(machines)
    # A run that is ended from outside has no teardown of its last case before this.
    machines.end_case(last=getattr(request.node, "is_last", True))


def parse_status(line):
    """'0 S freezecopy role mode connection image key=value...' as a dict; numbers are ints."""
    words = line.split()
    if len(words) < 7 or words[2] != "freezecopy":
        raise ValueError(f"not a status of freezecopy: {line!r}")
    status = {"sectors": int(words[1]), "role": words[3], "mode": words[4], "connection": words[5],
              "image": 0 if words[6] == "-" else int(words[6])}
    for word in words[7:]:
        key, _, value = word.partition("=")
        status[key] = int(value) if value.isdigit() else None if value == "-" else value
    return status


class Load:
    """A running fzload."""

    def __init__(self, machine, job, volume):
        self.machine, self.job, self.volume = machine, job, volume

    def ctl(self, *words, timeout=60):
        r = self.machine.run(["fzload", "ctl", "--volume", self.volume, *words], timeout=timeout, check=False)
        if not r.ok and self.job.ended.wait(0.5):
            self.job.wait()		# the load's own words are the better ones
        if not r.ok:
            raise vm.CommandError(self.machine.report(str(r)))
        return r.out.strip().partition(" ")[2]

    def wait_begun(self, timeout=30):
        """Until it can be told something, or has ended."""
        end = time.monotonic() + timeout * vm.SLOW
        while self.job.running and time.monotonic() < end:
            if self.machine.run(["fzload", "ctl", "--volume", self.volume, "stats"], check=False).ok:
                return
            time.sleep(0.1)
        if not self.job.running:
            self.wait()

    def freeze(self, *words, name=NAME):
        return int(self.ctl("freeze", name, *words))

    def pause(self):
        self.ctl("pause")

    def resume(self):
        self.ctl("resume")

    def stats(self):
        """Numbers since it began, by name."""
        words = self.ctl("stats").split()
        return dict(zip(words[::2], map(int, words[1::2])))

    def writes(self):
        return self.stats()["writes"]

    def worst(self):
        """The longest that a request took since the last time this was asked, in ms."""
        return int(self.ctl("worst"))

    def work(self, writes=50, timeout=60):
        """Until it has written so often."""
        end, until = time.monotonic() + timeout * vm.SLOW, self.writes() + writes
        while self.writes() < until:
            if time.monotonic() > end:
                raise vm.MachineError(self.machine.report(f"no {writes} writes in {timeout} s"))
            time.sleep(0.1)

    def wait(self, timeout=120):
        return self.job.wait(timeout)

    def stop(self):
        if self.job.running:
            self.ctl("stop")
        return self.wait()


class Pair:
    """A volume on two machines.  side: "primary" or "secondary"."""

    def __init__(self, machines):
        self.machines, self.net = machines, machines.net
        self.primary, self.secondary = machines.primary, machines.secondary
        self.writer, self.size, self.block, self.options = 0, 64 * MIB, 4096, {}
        self.key = None		# the file of the key that both sides prove
        self.paths = {}		# (side, disk): what the table names instead of the disk itself
        self.dir = vm.VM / "images"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)

    def side(self, name):
        return getattr(self, name)

    # -- the devices

    def create(self, block=4096, size=64 * MIB, diff=None, start=True, **options):
        """Give the disks their sizes and start both devices.  options: words of both table lines,
        or of one: primary={"assume": "identical"}."""
        self.size, self.block, self.options = size, block, options
        for m in self.machines.both:
            m.resize("data", size)
            for serial in DIFFS[m.name]:
                m.resize(serial, diff or size)
        if start:
            self.start("secondary")
            self.start("primary")

    def use_key(self):
        """Before the sides are started."""
        self.key = f"key = {os.urandom(32).hex()}\n"

    def bring_key(self, side):
        """A machine that was booted anew does not have it."""
        if self.key:
            self.side(side).run("[ -e /etc/freezecopy/vol.key ] || freezectl key import vol", stdin=self.key)

    def table(self, side, **more):
        words = {"primary": {"peer": "192.0.2.2:7744"}, "secondary": {"listen": "192.0.2.2:7744"}}[side]
        proven = {"key": ":32:logon:freezecopy:vol"} if self.key else {"auth": "none"}
        words = {**words, "block": self.block, **proven, "pair": UUID}
        words.update((k, v) for k, v in self.options.items() if k not in ADDRESS)
        words.update(self.options.get(side, {}))
        words.update(more)
        opts = [str(x) for item in words.items() if item[1] is not None for x in item]
        disks = [self.paths.get((side, d), BY_ID + d) for d in ("meta", "data", *DIFFS[side])]
        return " ".join(["0", str(self.size // 512), "freezecopy", side, *disks, str(len(opts)), *opts])

    def start(self, side, check=True, **more):
        self.bring_key(side)
        return self.side(side).run(["dmsetup", "create", NAME, "--uuid", f"FREEZECOPY-{UUID}",
                                    "--table", self.table(side, **more)], check=check)

    def stop(self, side):
        self.side(side).run(["dmsetup", "remove", "--retry", NAME])

    def status(self, side, name=NAME):
        return parse_status(self.side(side).run(["dmsetup", "status", name]).out)

    def message(self, side, *words, check=True, timeout=60):
        r = self.side(side).run(["dmsetup", "message", NAME, "0", *words], check=check, timeout=timeout)
        return r.out.strip() if check else r

    def wait(self, side, condition, timeout=60, what="condition", name=NAME):
        """Until condition(status) holds; returns that status."""
        end = time.monotonic() + timeout * vm.SLOW
        while True:
            status = self.status(side, name)
            if condition(status):
                return status
            if time.monotonic() > end:
                m = self.side(side)
                raise vm.MachineError(m.report(f"{what} not reached in {timeout} s; status {status}"))
            time.sleep(0.1)

    def wait_connected(self, timeout=60, side="primary"):
        return self.wait(side, lambda s: s["connection"] == "connected", timeout, "connected")

    def wait_disconnected(self, side):
        return self.wait(side, lambda s: s["connection"] != "connected", what="the loss is noticed")

    def wait_in_sync(self, timeout=120):
        return self.wait("primary", lambda s: s["in_sync"] == 1, timeout, "in sync")

    def wait_image(self, number, side="primary", timeout=120):
        return self.wait(side, lambda s: s["image"] >= number, timeout, f"image {number}")

    def wait_merged(self, side, timeout=120):
        return self.wait(side, lambda s: s["mode"] != "merging" and s["merge_left"] == 0, timeout, "merged")

    def freeze(self, *words):
        """A freeze with no load running; returns the image number."""
        out = self.primary.run(["fzload", "ctl", "freeze", NAME, *words]).out
        return int(out.split()[1])

    def freeze_and_keep(self, load):
        """Freeze while the load holds its breath; returns the number and what the image must equal."""
        load.pause()
        number = load.freeze()
        reference = self.dump("primary")
        load.resume()
        return number, reference

    def recover(self, *words):
        self.message("secondary", "recover", *words)

    # -- the world around

    def netem(self, side, words):
        """Make the wire worse in the direction from side: "rate 4mbit delay 20ms"; "" ends it.  Where a load
        is slow a rate is so much lower: what is to be slower than the load stays so."""
        words = RATE.sub(lambda m: f"rate {int(m[1]) * KBIT[m[2]] // vm.SLOW}kbit", words)
        self.side(side).run("tc qdisc del dev eth0 root 2>/dev/null; rm -f /run/netem" if not words else
                            f"touch /run/netem; tc qdisc replace dev eth0 root netem {words}")

    # -- load and verdict

    def load(self, device=DEVICE, machine=None, volume=1, **options):
        """fzload in the background; options as its own, flush_every=8 for --flush-every 8."""
        machine = machine or self.primary
        self.writer += 1
        argv = ["fzload", "run", device, "--volume", volume, "--writer", self.writer, "--seed", self.writer]
        for key, value in options.items():
            argv += ["--" + key.replace("_", "-"), value]
        load = Load(machine, machine.background(argv), volume)
        load.wait_begun()
        return load

    def dump(self, side, device=DEVICE, name=None, how="iflag=direct"):
        """What the device reads as, as a file here."""
        m = self.side(side)
        m.run(f"dd if={device} of={BY_ID}dump bs=1M {how} oflag=direct status=none "
              f"&& blockdev --flushbufs {BY_ID}dump", timeout=180)
        return self._keep(m.disk("dump"), name or f"{side}-{len(list(self.dir.iterdir()))}.img")

    def raw(self, side, serial="data", name=None):
        """A disk as it lies on this side of the guest; for a machine that is off or has flushed."""
        return self._keep(self.side(side).disk(serial),
                          name or f"{side}-{serial}-{len(list(self.dir.iterdir()))}.img")

    def _keep(self, path, name):
        to = self.dir / name
        subprocess.run(["cp", "--sparse=always", path, to], check=True)
        os.truncate(to, self.size)
        return to

    def recovered_image(self):
        return self.dump("secondary")

    def check(self, image, freeze=None, volume=1, machine=None):
        """The oracle: image is freeze N (or, without a number, the volume at the end of the log)."""
        log = (machine or self.primary).logs[volume]
        which = ["--freeze", str(freeze)] if freeze else ["--end"]
        r = subprocess.run([vm.GUEST / "fzcheck", "--volume", str(volume), *which, log, image],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120)
        if r.returncode:
            shutil.copy(log, self.dir / "load.log")
            pytest.fail(f"oracle, {'freeze %d' % freeze if freeze else 'end'}, {image}:\n{r.stdout}"
                        f"(log kept as {self.dir / 'load.log'})", pytrace=False)
        print(r.stdout.strip())
        return r.stdout

    def same(self, one, other):
        """Two images are the same, bit for bit."""
        r = subprocess.run(["cmp", one, other], capture_output=True, text=True, check=False)
        if r.returncode:
            pytest.fail(f"images differ: {r.stdout}{r.stderr}", pytrace=False)
