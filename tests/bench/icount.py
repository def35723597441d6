# SPDX-License-Identifier: GPL-2.0-only
"""A guest whose clock counts instructions: one instruction is one nanosecond, so that what it
measures does not depend on the machine or on what else that does.

run() boots it, lets it carry out a shell script as its only program, and returns what that printed.
One processor, no network but its loopback, disks in memory (brd).
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "qemu"))
import machines as vm  # noqa: E402

# A byte-wise string instruction would count once a byte.
CLOCK = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1", "-cpu", "max,-la57,-erms,-fsrm"]
# Instead: two processors, each a thread here, in the time that passes here.
TWO_CPUS = ["-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max,-la57"]

# Minutes of the guest's time may pass while a loaded machine reads a block for it.
PATIENT = "sysctl.kernel.hung_task_timeout_secs=0"

PROGRESS = "progress: "


class GuestError(Exception):
    pass


def _disk(serial, path, read_only):
    return ["-blockdev", f"driver=raw,node-name={serial},read-only={read_only},file.driver=file,file.filename={path},"
            "file.locking=off", "-device", f"virtio-blk-pci,id=disk-{serial},drive={serial},serial={serial}"]


def _wait(guest, console, timeout):
    """Until it is off; what the script writes to /dev/kmsg with PROGRESS before it is shown at once."""
    begin, shown = time.monotonic(), 0
    while guest.poll() is None:
        time.sleep(0.5)
        text = console.read_text(errors="replace") if console.exists() else ""
        said = text[:text.rfind("\n") + 1].splitlines()
        for line in said[shown:]:
            if PROGRESS in line:
                print(f"{time.monotonic() - begin:5.0f} s  {line.split(PROGRESS)[1]}", file=sys.stderr, flush=True)
        shown = max(shown, len(said))
        if time.monotonic() > begin + timeout:
            guest.kill()
            guest.wait()
            raise GuestError(f"still runs after {timeout} s\n{vm.tail(console)}")
    if guest.returncode:
        raise GuestError(f"QEMU ended with {guest.returncode}\n{vm.tail(console)}")


def _read(path):
    """While this machine reads for the guest, the guest's clock goes from timer to timer: so it is read before."""
    with open(path, "rb") as f:
        while f.read(vm.MIB):
            pass


def run(script, memory=768, timeout=1800, processor=None):
    """What @script printed, stderr too; GuestError when it failed or did not end."""
    _read(vm.GUEST / "root.img")
    with tempfile.TemporaryDirectory(prefix="freezecopy-") as folder:
        folder = Path(folder)
        console = folder / "console"
        text = script.encode()
        (folder / "script").write_bytes(text + bytes(-len(text) % 4096))
        with open(folder / "result", "wb") as f:
            f.truncate(4 * vm.MIB)
        cmd = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot",
               "-machine", "pc", *(processor or CLOCK), "-m", str(memory), "-kernel", vm.GUEST / "vmlinux",
               "-initrd", vm.GUEST / "initrd",
               "-append", f"{vm.KERNEL_WORDS} {PATIENT} printk.devkmsg=on fz_role=bench fz_init=/usr/sbin/fz-boot",
               "-serial", f"file:{console}",
               "-device", "virtio-rng-pci", *_disk("root", vm.GUEST / "root.img", "on"),
               *_disk("script", folder / "script", "on"), *_disk("result", folder / "result", "off")]
        _wait(subprocess.Popen([str(c) for c in cmd], stdin=subprocess.DEVNULL), console, timeout)
        out = (folder / "result").read_bytes().rstrip(b"\0").decode(errors="replace")
        said = console.read_text(errors="replace")
    bad = [line for line in said.splitlines() if vm.TROUBLE.search(line)]
    if bad or not out.endswith("exit 0\n"):
        raise GuestError("\n".join([*bad[:3], out[-4000:], said[-2000:]]))
    return out.removesuffix("exit 0\n")
