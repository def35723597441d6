# SPDX-License-Identifier: GPL-2.0-only
"""Two emulated machines whose disks are those of the recorder, and Pair (cases/conftest.py) on them."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "qemu"), str(HERE.parent / "cases")]
import machines as vm  # noqa: E402
from conftest import ADDRESS, MIB, Machines, Pair  # noqa: E402

PROGRAMS = vm.BUILD / "powercut"
ROLES = {"primary": ["meta", "data", "diff"], "secondary": ["meta", "data", "diffa", "diffb"]}
SIZES = {"meta": 1 * MIB, "data": 16 * MIB, "diff": 12 * MIB, "diffa": 16 * MIB, "diffb": 16 * MIB,
         "dump": 16 * MIB}


class Recorder:
    """The process that has the disks."""

    def __init__(self, net, roles=None):
        disks = [f"{m}-{r}:{SIZES[r]}" for m, own in (roles or ROLES).items() for r in own]
        self.socket, self.load_log = net.dir / "disks", vm.VM / "primary-load1.log"
        self.load_log.write_bytes(b"")
        self.process = subprocess.Popen([PROGRAMS / "recorder", self.socket, self.load_log, *disks],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != "ok":
            raise vm.MachineError(f"the recorder refuses '{words}'")
        return int(answer[1])

    def close(self):
        self.process.stdin.close()
        return self.process.wait(60)


class Machine(vm.Machine):
    """Each disk has a volatile write cache and a flush of its own; a FUA write is a write and a flush."""

    def __init__(self, name, net, recorder, roles):
        self.recorder, self.roles = recorder, roles
        super().__init__(name, net, {})

    def _command(self):
        cmd = super()._command()
        for role in self.roles:
            cmd += ["-blockdev", f"driver=nbd,node-name={role},server.type=unix,"
                    f"server.path={self.recorder.socket},export={self.name}-{role}",
                    "-device", f"virtio-blk-pci,id=disk-{role},drive={role},serial={role}"]
        return cmd

    def lose_power(self, seed):
        self.kill9()
        self.recorder.tell(f"death {self.name} {seed}")


class PowercutMachines(Machines):
    """The session's machines, on these disks."""

    def __init__(self, net, recorder, roles=None):	# pylint: disable=super-init-not-called
        self.net = net
        self.both = [net.add(Machine(name, net, recorder, (roles or ROLES)[name])) for name in ADDRESS]
        self.primary, self.secondary = self.both


def new_pair(machines, block):
    """A blank volume of the size of these disks."""
    pair = Pair(machines)
    pair.size, pair.block = SIZES["data"], block
    pair.options = {"primary": {"assume": "identical"}}
    return pair
