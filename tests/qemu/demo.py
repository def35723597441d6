#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A demonstration on two emulated machines: a volume is replicated and frozen while a database on it
is written to without pause, its machine dies, and the other one continues with the last frozen image.

    tests/qemu/demo.py [--seed N]      the seed draws the moment of death

Ends with 0 if everything that was promised was found, with 1 if not.
"""

import argparse
import json
import random
import sys
import textwrap
import time

import machines as vm

NAME = "bank"
DEVICE = f"/dev/mapper/{NAME}"
BY_ID = "/dev/disk/by-id/virtio-"
MIB = vm.MIB
SIZE = 320 * MIB
DISKS = {"primary": {"meta": 4 * MIB, "data": SIZE, "diff": SIZE // 2},
         "secondary": {"meta": 4 * MIB, "data": SIZE, "diffa": SIZE, "diffb": SIZE, "spare": SIZE // 2}}
CREATE = {"primary": ["--diff", BY_ID + "diff", "--peer", "192.0.2.2"],
          "secondary": ["--diff-a", BY_ID + "diffa", "--diff-b", BY_ID + "diffb", "--listen", "192.0.2.2"]}
BETWEEN_FREEZES = 3	# seconds
DEATH = (10, 45)		# seconds after the first image, at the earliest and at the latest
QUERY = """
PRAGMA integrity_check;
SELECT count(*), ifnull(min(n), 0), ifnull(max(n), 0) FROM ledger;
SELECT sum(balance), sum(balance != (SELECT ifnull(sum(amount), 0) FROM ledger WHERE target = id)
                                  - (SELECT ifnull(sum(amount), 0) FROM ledger WHERE source = id)) FROM account;
"""

class Clock:
    """The time of the story, which begins when the machines are ours."""
    begin = time.monotonic()

    @classmethod
    def seconds(cls):
        return time.monotonic() - cls.begin


def say(text):
    """A sentence of the story."""
    stamp = f"{Clock.seconds():4.0f} s  "
    print(textwrap.fill(text, 110, initial_indent=stamp, subsequent_indent=" " * len(stamp)), flush=True)


def step(number, text):
    print(f"\n{number}. {text}", flush=True)


def command(machine, text):
    """Show a command as the user of that machine would type it."""
    lines = textwrap.wrap(f"{machine.name}# {text}", 100, break_long_words=False, break_on_hyphens=False)
    print("        " + " \\\n            ".join(lines), flush=True)


def megabytes(count):
    return f"{count / 1e6:.1f} MB"


def status(machine):
    return json.loads(machine.run(["freezectl", "status", NAME, "--json"]).out)


def wait_for(machine, condition, what, timeout=60, progress=None):
    """Until condition(status) holds; progress(status) is a line that is drawn over, on a terminal."""
    end = time.monotonic() + timeout
    while not condition(now := status(machine)):
        if time.monotonic() > end:
            raise vm.MachineError(machine.report(f"not {what} after {timeout} s: {now}"))
        if progress and sys.stdout.isatty():
            print(f"\r\033[K        {progress(now)}", end="", flush=True)
        time.sleep(0.5)
    if progress and sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    return now


class Freeze:
    """A call of freezectl freeze, as far as it came."""

    def __init__(self, primary):
        self.job = primary.background(["/tmp/demo", "call", "freezectl", "freeze", NAME, "--wait", "cut"])
        self.committed = False

    def _words(self, first):
        for line in bytes(self.job.out).decode().splitlines():
            words = line.split()
            if words[0] == first:
                return [int(w) for w in words[1:]]
        return None

    @property
    def called(self):
        return (self._words("call") or [None])[0]

    @property
    def returned(self):
        """When it returned, None if it had not."""
        words = self._words("return")
        return words[0] if words and words[1] == 0 else None

    @property
    def number(self):
        for line in bytes(self.job.out).decode().splitlines():
            if line.isdigit():
                return int(line)
        return None


class Writer:
    """The database program, and what it has said so far."""

    def __init__(self, primary):
        self.job = primary.background(["/tmp/demo", "write", "/mnt/bank.db"])

    def _events(self, kind):
        for line in bytes(self.job.out).decode().split("\n")[:-1]:
            word, number, when = line.split()
            if word == kind:
                yield int(number), int(when)

    def acknowledged(self, before=None):
        """The last transaction acknowledged, by now or before a moment."""
        return max((n for n, when in self._events("done") if before is None or when < before), default=0)

    def first_begun(self, after):
        return min((n for n, when in self._events("begin") if when > after), default=None)

    def check(self):
        if not self.job.running:
            self.job.wait()
            raise vm.MachineError("the database program has ended by itself")


class Demo:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.net = vm.Net()
        Clock.begin = time.monotonic()
        self.primary, self.secondary = (self.net.add(vm.Machine(name, self.net, DISKS[name]))
                                        for name in self.net.names)
        self.writer, self.freezes, self.wrong = None, [], 0

    def boot(self):
        step(1, "Two machines")
        say(f"Starting two emulated machines with Debian's kernel ({vm.accelerator()[1]}).")
        for m in (self.primary, self.secondary):
            m.start(wait=False)
        for m in (self.primary, self.secondary):
            m.wait_ready()
        say(f"Both are up, Linux {self.primary.agent.kernel}, with a wire between them.")

    def create(self):
        step(2, f"A volume of {SIZE // MIB} MiB, replicated from the primary to the secondary")
        for m, words, key in ((self.primary, ["generate", NAME], b""), (self.secondary, ["import", NAME], None)):
            command(m, f"freezectl key {' '.join(words)}")
            m.run(["freezectl", "key", *words],
                  stdin=self.primary.get(f"/etc/freezecopy/{NAME}.key") if key is None else key)
        for m in (self.secondary, self.primary):
            words = ["freezectl", "create", NAME, m.name, "--meta", BY_ID + "meta", "--data", BY_ID + "data",
                     *CREATE[m.name], "--key", NAME]
            command(m, " ".join(words).replace(BY_ID, ".../virtio-"))
            m.run(words)
        wait_for(self.primary, lambda s: s["connection"] == "connected", "connected")
        say("The two sides have found each other, and each has proven that it has the key: from here on "
            "everything between them is encrypted.")

    def make_file_system(self):
        for words in (["mkfs.xfs", "-q", DEVICE], ["mount", DEVICE, "/mnt"]):
            command(self.primary, " ".join(words))
            self.primary.run(words)
        self.primary.put("/tmp/demo", (vm.GUEST / "demo").read_bytes(), mode="755")
        self.writer = Writer(self.primary)
        say("SQLite starts on it: a ledger of transfers between accounts, one transaction after the other, "
            "each acknowledged when it is on stable storage. It will not pause from here on.")
        wait_for(self.primary, lambda s: s["events"]["copy_done"], "copied", 120,
                 lambda s: s["copy"] and f"first copy: {megabytes(s['copy']['bytes_left'])} to go")
        say("The first copy is done: from here on only what changes is sent.")
        end = time.monotonic() + 60
        while self.writer.acknowledged() < 20 and time.monotonic() < end:
            self.writer.check()
            time.sleep(0.2)

    # -- freezing, until the moment comes

    def freeze_until_death(self):
        step(3, "Freezing it again and again, with the file system mounted and the database busy")
        command(self.primary, f"freezectl freeze {NAME} --wait cut    # every {BETWEEN_FREEZES} s; "
                f"then: freezectl wait {NAME} image=N")
        say("Each line says which transaction was the last to be acknowledged before the call, and which was the "
            "first to begin after the return: the image must hold all up to the one and none from the other on.")
        self.freeze(time.monotonic() + 60)
        death = time.monotonic() + self.random.uniform(*DEATH)
        while self.pause(death) and self.freeze(death):
            pass
        self.writer.check()
        self.primary.process.kill()	# SIGKILL
        self.primary.process.wait()
        self.primary.kill9()
        self.tell_death()

    def pause(self, death):
        self.writer.check()
        time.sleep(max(0, min(BETWEEN_FREEZES, death - time.monotonic())))
        return time.monotonic() < death

    def freeze(self, death):
        """False: the moment came before the image was committed."""
        freeze = Freeze(self.primary)
        self.freezes.append(freeze)
        if not self.done(freeze.job, death):
            return False
        wait = self.primary.background(["freezectl", "wait", NAME, f"image={freeze.number}"])
        before = time.monotonic()
        if not self.done(wait, death):
            return False
        freeze.committed = True
        say(f"image {freeze.number}: freeze called after transaction {self.writer.acknowledged(freeze.called)}, "
            f"returned after {(freeze.returned - freeze.called) / 1e9:.1f} s before "
            f"{self.writer.first_begun(freeze.returned) or 'the next'} began; committed "
            f"{time.monotonic() - before:.1f} s later.")
        return True

    @staticmethod
    def done(job, death):
        if not job.ended.wait(max(0, death - time.monotonic())):
            return False
        job.wait()
        return True

    def tell_death(self):
        last = self.freezes[-1]
        say("The primary is dead: its emulator got SIGKILL. Nothing that runs there could prepare for it.")
        if last.committed:
            where = f"Image {last.number} was the last to be committed, and no freeze was under way."
        elif last.number:
            where = f"Image {last.number} was cut, and was being sent."
        else:
            where = "A freeze had been called, and its cut had not been reported."
        say(f"{where} The last transaction that the database acknowledged was {self.writer.acknowledged()}.")

    # -- the other side

    def recover(self):
        step(4, "The secondary takes over")
        wait_for(self.secondary, lambda s: s["connection"] != "connected", "alone")
        say("The secondary has noticed that the primary is gone.")
        command(self.secondary, f"freezectl recover {NAME}")
        lines = self.secondary.run(["freezectl", "recover", NAME], timeout=120).out.splitlines()
        for line in lines:
            print(f"        {line}")
        number = status(self.secondary)["image"]["number"]
        say(f"The volume is image {number} now, and nothing that was sent after it.")
        return number, lines[-1]

    def verify(self, ok, text):
        self.wrong += not ok
        say(f"{'ok   ' if ok else 'WRONG'}  {text}")

    def check_file_system(self):
        step(5, "Is it what was promised?")
        overlay = "/dev/mapper/overlay"
        m = self.secondary
        m.run(["dmsetup", "create", "overlay", "--table",
               f"0 {SIZE // 512} snapshot {DEVICE} {BY_ID}spare N 8"])
        m.run(f"mount -o nouuid {overlay} /mnt && umount /mnt")
        r = m.run(["xfs_repair", "-n", overlay], check=False, timeout=120)
        m.run(["dmsetup", "remove", "--retry", "overlay"])
        self.verify(r.ok, "xfs_repair -n finds nothing to repair (on an overlay, with the journal replayed).")
        if not r.ok:
            print(r)

    def check_database(self, number, mount):
        m = self.secondary
        command(m, mount)
        m.run(mount)
        out = m.run(["sqlite3", "/mnt/bank.db", QUERY], timeout=120).out.splitlines()
        integrity, (count, first, last), (balance, accounts) = (
            out[0], map(int, out[1].split("|")), map(int, out[2].split("|")))
        m.run("umount /mnt")
        freeze = next((f for f in self.freezes if f.number == number), self.freezes[-1])
        before = self.writer.acknowledged(freeze.called)
        after = self.writer.first_begun(freeze.returned) if freeze.returned else None
        self.verify(integrity == "ok", f"PRAGMA integrity_check says: {integrity}.")
        self.verify(last >= before, f"It has every transaction acknowledged before the freeze was called: "
                    f"{before} of them; its last is {last}.")
        if after:
            self.verify(last < after, f"It has none that was begun after the freeze returned: the first was {after}.")
        else:
            say("       No transaction is known to have begun after the freeze returned.")
        self.verify(first == min(1, count) and count == last,
                    f"Of those in between it has the first ones: 1 to {last} without a gap, {count} in all.")
        self.verify(balance == 0 and accounts == 0,
                    "No transaction is there in part: the balances add to zero and agree with the ledger.")
        return last

    def check_number(self, number):
        committed = max(f.number for f in self.freezes if f.committed)
        known = [f.number for f in self.freezes]
        self.verify(number >= committed, f"Image {number} is no older than the last one known to be committed, "
                    f"{committed}.")
        self.verify(number in known or (None in known and number == committed + 1),
                    f"Image {number} is one that was asked for.")

    def run(self):
        self.boot()
        self.create()
        self.make_file_system()
        self.freeze_until_death()
        number, mount = self.recover()
        self.check_file_system()
        self.check_number(number)
        last = self.check_database(number, mount)
        for m in (self.primary, self.secondary):
            m.check_console()
        self.summary(number, last)

    def summary(self, number, last):
        print()
        if self.wrong:
            print(f"FAILED: {self.wrong} of the promises above were broken; the machines' consoles are "
                  f"{self.primary.console} and {self.secondary.console}.")
            return
        lost = self.writer.acknowledged() - last
        print(textwrap.fill(
            f"In short: {len(self.freezes)} freezes under a database that never paused; the primary died at a "
            f"moment drawn at random; the secondary mounted as exactly image {number}, with transactions 1 to "
            f"{last}. The {lost} acknowledged after that cut are in no image yet and are gone with the primary, "
            f"as it must be: freeze more often to lose less. {Clock.seconds():.0f} seconds in all.", 110))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, help="draws the moment at which the primary dies")
    seed = parser.parse_args().seed
    if seed is None:
        seed = random.randrange(1000000)
    print(f"Seed {seed} draws the moment at which the primary dies; 'make demo SEED={seed}' draws it again.",
          flush=True)
    vm.build_image()
    demo = Demo(seed)
    try:
        demo.run()
    except vm.MachineError as e:
        print(f"\nFAILED: {e}", file=sys.stderr)
        return 1
    finally:
        demo.net.close()
    return 1 if demo.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
