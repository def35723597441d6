# SPDX-License-Identifier: GPL-2.0-only
"""Two emulated Debian machines and what a test does to them.

Machine is one QEMU process: start, run commands, kill, restart with the same disks.  Commands
travel over a virtio-serial port to guest/agent.c.  The disks are sparse raw files in BUILD/vm,
which may be read from here while the guest is down or has flushed.  Everything has a time limit;
an exception of this module carries the tail of the machine's console.
"""

import fcntl
import json
import os
import queue
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", TOP / "build"))
GUEST = Path(os.environ.get("GUEST", BUILD / "guest"))	# what they boot; see mkimage
SLOW = int(os.environ.get("SLOW", 1))	# a debug kernel needs so many times as long, and so much memory
CPUS = int(os.environ.get("CPUS", 1))
VM = BUILD / "vm"

MIB = 1 << 20
READY_TIMEOUT = 120
VOLUMES = 3	# that can be under load at a time, by the number of log ports
# What QEMU's blkdebug calls them.
IO_TYPES = {"read": ["read"], "write": ["write", "write-zeroes", "discard"], "flush": ["flush"]}
# What must never stand in a console.
TROUBLE = re.compile(
    r"Kernel panic|Oops|BUG:|WARNING:|general protection|INFO: task .* blocked for|"
    r"self-detected stall|detected stalls|soft lockup|refcount_t:|unreferenced object|"
    r"possible circular locking|INFO: possible|suspicious RCU|double fault|fz-agent:|fz-init:")

# no_timer_check: on a busy host an emulated timer may seem not to work.
KERNEL_WORDS = ("console=ttyS0 loglevel=6 net.ifnames=0 edd=off acpi=noirq no_timer_check panic=-1 "
                "oops=panic nowatchdog "
                f"rcupdate.rcu_cpu_stall_timeout={min(120 * SLOW, 300)} "
                f"sysctl.kernel.hung_task_timeout_secs={60 * SLOW} "
                "sysctl.kernel.hung_task_warnings=-1")

# An object counts when it is five seconds old and two scans in a row find it the same.
FIND_LEAKS = """
leaks=/sys/kernel/debug/kmemleak
[ -e $leaks ] || mount -t debugfs none /sys/kernel/debug
[ -e $leaks ] || exit 0
sleep 5
echo scan >$leaks && echo scan >$leaks && cat $leaks && echo clear >$leaks
"""


class MachineError(Exception):
    """Something went wrong with a machine; the text ends with its console."""


class CommandError(MachineError):
    """A command in a guest failed, or took longer than it may."""


def tail(path, lines=40):
    try:
        text = Path(path).read_text(errors="replace").splitlines()
    except OSError as e:
        return f"({e})"
    return "\n".join(text[-lines:])


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def log_record(record_type, **fields):
    """One record of guest/stamp.h."""
    order = ("type", "kind", "writer", "volume", "seq", "sector", "sectors", "error", "time_ns", "arg")
    values = {**dict.fromkeys(order, 0), "type": record_type, **fields}
    raw = struct.pack("<IHHIIQQIiQQI", 0x31474c46, *(values[k] for k in order), 0)
    return raw + struct.pack("<I", crc32c(raw))


class Result:
    def __init__(self, machine, argv, rc, out, err, timed_out):
        self.machine, self.argv, self.rc, self.timed_out = machine, argv, rc, timed_out
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")
        self.raw = out

    @property
    def ok(self):
        return self.rc == 0

    def __str__(self):
        what = "timed out" if self.timed_out else f"ended with {self.rc}"
        return f"{self.machine.name}: {' '.join(self.argv)}: {what}\n{self.out}{self.err}"


class Job:
    """A command that runs in a guest."""

    def __init__(self, machine, argv):
        self.machine, self.argv = machine, argv
        self.out, self.err = bytearray(), bytearray()
        self.rc, self.timed_out, self.lost = None, False, False
        self.ended = threading.Event()

    def wait(self, timeout=60, check=True):
        if not self.ended.wait(timeout * SLOW):
            self.machine.show_blocked_tasks()
            raise CommandError(self.machine.report(f"'{' '.join(self.argv)}' still runs after {timeout * SLOW} s"))
        if self.lost:
            raise MachineError(self.machine.report(f"the machine went away during '{' '.join(self.argv)}'"))
        result = Result(self.machine, self.argv, self.rc, bytes(self.out), bytes(self.err), self.timed_out)
        if check and not result.ok:
            raise CommandError(self.machine.report(str(result)))
        return result

    @property
    def running(self):
        return not self.ended.is_set()


class Agent:
    """Host end of the control channel, see guest/agent.c."""

    MAGIC, RUN, KILL, HELLO, OUT, ERR, EXIT = 0x315a4641, 1, 2, 10, 11, 12, 13

    def __init__(self, path):
        self.sock = connect_unix(path)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 20, 0))
        self.lock = threading.Lock()
        self.jobs, self.next_id = {}, 1
        self.ready, self.kernel = threading.Event(), None
        threading.Thread(target=self._read, daemon=True).start()

    def start(self, job, timeout, stdin):
        body = struct.pack("<II", int(timeout * SLOW * 1000), len(job.argv))
        body += b"".join(a.encode() + b"\0" for a in job.argv) + stdin
        with self.lock:
            if self.jobs is None:
                raise MachineError(job.machine.report("the machine is gone"))
            self.jobs[self.next_id] = job
            self.sock.sendall(struct.pack("<IIII", self.MAGIC, self.next_id, self.RUN, len(body)) + body)
            self.next_id += 1

    def _receive(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.sock.recv(min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def _read(self):
        try:
            while True:
                magic, number, kind, size = struct.unpack("<IIII", self._receive(16))
                if magic != self.MAGIC:
                    raise EOFError
                self._frame(number, kind, self._receive(size))
        except (OSError, EOFError):
            with self.lock:
                lost, self.jobs = self.jobs, None
            for job in lost.values():
                job.lost = True
                job.ended.set()

    def _frame(self, number, kind, data):
        if kind == self.HELLO:
            self.kernel = data.decode()
            self.ready.set()
            return
        job = self.jobs.get(number)
        if job is None:
            return
        if kind == self.OUT:
            job.out += data
        elif kind == self.ERR:
            job.err += data
        elif kind == self.EXIT:
            job.rc, job.timed_out = struct.unpack("<iI", data)
            with self.lock:
                del self.jobs[number]
            job.ended.set()


def connect_unix(path, timeout=10):
    end = time.monotonic() + timeout
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(path))
            return sock
        except OSError:
            sock.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


class Qmp:
    """QEMU's monitor.  All is read at once: a disk that fails has thousands of events, and parts of them are
    lost when nobody reads."""

    def __init__(self, path):
        self.sock = connect_unix(path)
        self.answers = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self("qmp_capabilities")

    def _read(self):
        try:
            with self.sock.makefile() as lines:
                for line in lines:
                    answer = json.loads(line)
                    if "return" in answer or "error" in answer:
                        self.answers.put(answer)
        except (OSError, ValueError) as e:
            self.answers.put({"error": str(e)})
        self.answers.put({"error": "monitor closed"})

    def __call__(self, command, **arguments):
        try:
            self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            answer = self.answers.get(timeout=60 * SLOW)
        except (OSError, queue.Empty) as e:
            raise MachineError(f"monitor: {command}: {e or 'no answer'}") from e
        if "error" in answer:
            raise MachineError(f"monitor: {command}: {answer['error']}")
        return answer["return"]


class Machine:
    """disks: serial -> bytes; in the guest /dev/disk/by-id/virtio-SERIAL."""

    def __init__(self, name, net, disks, memory=320, cpus=CPUS, directory=VM):
        self.name, self.net, self.memory, self.cpus = name, net, memory * SLOW, cpus
        self.guest = Path(os.environ.get(f"GUEST_{name.upper()}", GUEST))
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.sizes = {}
        self.console = self.dir / f"{name}-console.log"
        self.logs = {v: self.dir / f"{name}-load{v}.log" for v in range(1, VOLUMES + 1)}
        self.process = self.agent = self.qmp = None
        self.systemd = False
        self.failing = set()	# disks, see fail()
        self.boot_seconds = None
        self.console_checked = 0
        self.allowed = []
        self.console.write_bytes(b"")
        self.forget_logs()
        self.blank(disks)

    # -- disks

    def disk(self, serial):
        return self.dir / f"{self.name}-{serial}.img"

    def blank(self, sizes):
        """Make all disks zeroes, of these sizes; while the machine runs only if nothing has them open."""
        for serial, size in sizes.items():
            with open(self.disk(serial), "r+b" if self.running else "wb") as f:
                f.truncate(0)
                f.truncate(self.sizes.setdefault(serial, size))
            self.resize(serial, size)

    def resize(self, serial, size):
        """Give a disk another size, also while the machine runs."""
        if self.sizes[serial] == size:
            return
        self.sizes[serial] = size
        if not self.running:
            os.truncate(self.disk(serial), size)
            return
        self.qmp("block_resize", **{"node-name": serial, "size": size})
        dev = f"/dev/disk/by-id/virtio-{serial}"
        self.run(f"n=0; while [ $(blockdev --getsize64 {dev}) != {size} ]; do sleep 0.1; n=$((n+1)); "
                 f"[ $n -lt 100 ] || exit 1; done")

    # -- life

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self, wait=True, systemd=False):
        """systemd: boot the whole of Debian, and keep what is written to the root (needs a disk "state")."""
        if self.running:
            raise MachineError(f"{self.name} runs already")
        self.systemd = systemd
        if systemd and not any(self.disk("state").read_bytes()[:4096]):
            subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", self.disk("state")], check=True)
        self.started = time.monotonic()
        self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(self.dir / f"{self.name}-qemu.log", "wb"))
        try:
            self.qmp = Qmp(self.net.socket(self.name, "qmp"))
            self.agent = Agent(self.net.socket(self.name, "agent"))
        except OSError:
            self.process.kill()
            raise MachineError(f"QEMU does not start: {tail(self.dir / f'{self.name}-qemu.log')}") from None
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=READY_TIMEOUT):
        end = self.started + timeout * SLOW
        while not self.agent.ready.wait(0.05):
            if not self.running or time.monotonic() > end:
                raise MachineError(self.report("the machine does not come up"))
        if self.boot_seconds is None:
            self.boot_seconds = time.monotonic() - self.started
        return self

    def kill9(self):
        """The machine dies: no guest code runs any more.  (No power cut: the host has what was written.)"""
        if self.running:
            self.process.send_signal(signal.SIGKILL)
        self._gone()
        self.log_loss()

    def log_loss(self):
        """What was not flushed may be lost from here on; no load is running."""
        for path in self.logs.values():
            with open(path, "ab") as f:
                f.truncate(f.tell() // 64 * 64)
                f.write(log_record(6))

    def forget_logs(self):
        for path in self.logs.values():
            path.write_bytes(b"")

    def stop(self, timeout=60):
        """A clean shutdown."""
        if self.running:
            self.background("systemctl poweroff" if self.systemd else "sync; poweroff -f")
            try:
                self.process.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                self.show_blocked_tasks()
                raise MachineError(self.report(f"no shutdown after {timeout * SLOW} s")) from None
        self._gone()

    def restart(self, **how):
        self.stop()
        return self.start(**how)

    def _gone(self):
        if self.process:
            self.process.wait(20)
        if self.agent:
            self.agent.sock.close()
            self.qmp.sock.close()
        self.process = self.agent = self.qmp = None
        self.failing.clear()
        self.boot_seconds = None

    # -- commands

    def background(self, command, timeout=0, stdin=b""):
        """command: a list, or a string for the shell (two forks more); timeout 0: none."""
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else [str(a) for a in command]
        if not self.running:
            raise MachineError(self.report("the machine is off"))
        job = Job(self, argv)
        self.agent.start(job, timeout, stdin if isinstance(stdin, bytes) else stdin.encode())
        return job

    def run(self, command, timeout=60, check=True, stdin=b""):
        return self.background(command, timeout, stdin).wait(timeout + 10, check)

    def put(self, path, data, mode="644"):
        self.run(f"cat >'{path}' && chmod {mode} '{path}'", stdin=data)

    def get(self, path):
        return self.run(["cat", path]).raw

    def throttle(self, serial, bps=0, bps_wr=0, iops=0):
        """Slow a disk down; 0 is no limit."""
        self.qmp("block_set_io_throttle", id=f"/machine/peripheral/disk-{serial}/virtio-backend",
                 bps=bps, bps_rd=0, bps_wr=bps_wr, iops=iops, iops_rd=0, iops_wr=0)

    def fail(self, serial, *kinds, sector=None):
        """Let requests of these kinds (read, write, flush) fail on a disk, or only those that touch
        a sector of it; without a kind it is whole again."""
        device, bad = f"/machine/peripheral/disk-{serial}/virtio-backend", f"{serial}-bad"
        if serial in self.failing:
            self.qmp("qom-set", path=device, property="drive", value=serial)
            self.qmp("blockdev-del", **{"node-name": bad})
            self.failing.remove(serial)
        if not kinds:
            return
        where = {} if sector is None else {"sector": sector}
        rules = [{"event": "none", "iotype": t, **where} for k in kinds for t in IO_TYPES[k]]
        self.qmp("blockdev-add", driver="blkdebug", image=serial, **{"node-name": bad, "inject-error": rules})
        self.qmp("qom-set", path=device, property="drive", value=bad)
        self.failing.add(serial)

    def link(self, up):
        self.qmp("set_link", name="net", up=up)

    # -- trouble

    def console_text(self):
        return self.console.read_text(errors="replace")

    def check_console(self):
        """Raise when the kernel has complained since the last call."""
        text = self.console_text()
        new, self.console_checked = text[self.console_checked:], len(text)
        bad = [line for line in new.splitlines()
               if TROUBLE.search(line) and not any(re.search(a, line) for a in self.allowed)]
        if bad:
            raise MachineError(self.report("console: " + "; ".join(bad[:3]), lines=80))

    def show_blocked_tasks(self):
        """Backtraces of what hangs, into the console."""
        try:
            self.background("echo 8 >/proc/sys/kernel/printk; echo w >/proc/sysrq-trigger")
            time.sleep(3)
        except (MachineError, OSError):
            pass

    def report(self, text, lines=40):
        other = self.net.other(self)
        out = f"{self.name}: {text}\n--- {self.console}\n{tail(self.console, lines)}"
        if other:
            out += f"\n--- {other.console}\n{tail(other.console, lines // 2)}"
        return out

    # -- QEMU's command line

    def _command(self):
        init = "fz_init=/lib/systemd/systemd fz_state=state" if self.systemd else "fz_init=/usr/sbin/fz-boot"
        cmd = ["setpriv", "--pdeathsig", "KILL",	# no machine outlives who drives it
               "qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-name", self.name,
               "-machine", "pc", *accelerator(), "-smp", str(self.cpus), "-m", str(self.memory),
               "-kernel", self.guest / "vmlinux", "-initrd", self.guest / "initrd",
               "-append", f"{KERNEL_WORDS} fz_role={self.name} {init}",
               "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
               "-qmp", f"unix:{self.net.socket(self.name, 'qmp')},server=on,wait=off",
               "-device", "virtio-serial-pci",
               "-chardev", f"socket,id=agent,path={self.net.socket(self.name, 'agent')},server=on,wait=off",
               "-device", "virtserialport,chardev=agent,name=fz.agent",
               "-device", "virtio-rng-pci",
               *self.net.arguments(self.name)]
        for number, path in self.logs.items():
            cmd += ["-chardev", f"file,id=log{number},path={path},append=on",
                    "-device", f"virtserialport,chardev=log{number},name=fz.log{number}"]
        for serial, path, ro in [("root", self.guest / "root.img", "on"),
                                 *((s, self.disk(s), "off") for s in self.sizes)]:
            cmd += ["-blockdev", f"driver=raw,node-name={serial},read-only={ro},discard=unmap,"
                    f"file.driver=file,file.filename={path},file.locking=off",
                    "-device", f"virtio-blk-pci,id=disk-{serial},drive={serial},serial={serial},"
                    # or requests beside a bad sector fail with it
                    "request-merging=off"]
        return [str(c) for c in cmd]


class Net:
    """One wire between machines of these names; a cut is at both ends.  One at a time: the disks
    and consoles in BUILD/vm are its own."""

    def __init__(self, names=("primary", "secondary"), patience=1800):
        VM.mkdir(parents=True, exist_ok=True)
        self.lock = open(VM / "lock", "w")
        begin = time.monotonic()
        told = False
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > begin + patience:
                    raise MachineError(f"other machines have been using {VM} for {patience} s") from None
                if not told:
                    print(f"waiting for other machines, which use {VM}", file=sys.stderr, flush=True)
                told = True
                time.sleep(1)
        self.names, self.machines = names, {}
        self.dir = Path(tempfile.mkdtemp(prefix="freezecopy-"))	# short: socket paths end at 108 bytes

    def add(self, machine):
        self.machines[machine.name] = machine
        return machine

    def other(self, machine):
        return next((m for m in self.machines.values() if m is not machine), None)

    def socket(self, name, what):
        return self.dir / f"{name}.{what}"

    def arguments(self, name):
        number = self.names.index(name)
        peer = self.names[1 - number]
        return ["-netdev", f"dgram,id=wire,local.type=unix,local.path={self.socket(name, 'net')},"
                f"remote.type=unix,remote.path={self.socket(peer, 'net')}",
                "-device", f"virtio-net-pci,id=net,netdev=wire,mac=52:54:00:00:02:{number + 1:02x},romfile="]

    def cut(self):
        for m in self.machines.values():
            if m.running:
                m.link(False)

    def restore(self):
        for m in self.machines.values():
            if m.running:
                m.link(True)

    def close(self):
        for m in self.machines.values():
            if m.running:
                m.process.kill()
                m._gone()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.lock.close()


def check_leaks(machines):
    """Raise when kmemleak, where the kernel has it, finds memory that nothing refers to."""
    jobs = [(m, m.background(FIND_LEAKS)) for m in machines if debug_kernel(m.guest)]
    for m, job in jobs:
        found = job.wait(120).out
        if "unreferenced object" in found:
            raise MachineError(m.report(f"leaked:\n{found}"))


def debug_kernel(guest=GUEST):
    """Is it the one of scripts/debug-kernel?"""
    kver = guest / "kver"
    return kver.exists() and "debug" in kver.read_text()


# -- the accelerator: KVM only where it really boots the guest's kernel

TCG = ["-accel", "tcg", "-cpu", "max,-la57"]
KVM = ["-accel", "kvm", "-cpu", "host"]


def accelerator():
    verdict = VM / f"accelerator-{os.uname().release}"
    if not verdict.exists():
        VM.mkdir(parents=True, exist_ok=True)
        verdict.write_text("kvm\n" if kvm_boots() else "tcg\n")
    return KVM if verdict.read_text().strip() == "kvm" else TCG


def kvm_boots(timeout=10):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    cmd = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", *KVM, "-m", "256",
           "-kernel", GUEST / "vmlinux", "-initrd", GUEST / "initrd",
           "-append", "console=ttyS0 panic=-1 loglevel=3 fz_try=1", "-serial", "stdio"]
    try:
        out = subprocess.run([str(c) for c in cmd], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, timeout=timeout, check=False).stdout
    except subprocess.TimeoutExpired:
        return False
    return b"fz-init: the kernel boots" in out


def build_image():
    """Programs and the guest's root, when something they are made from is newer."""
    subprocess.run(["make", "-s", "-C", TOP / "tests/qemu", f"BUILD={BUILD}", "image"], check=True)
