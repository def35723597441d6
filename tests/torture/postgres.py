#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A PostgreSQL under load whose machine dies, and which goes on from the last image on the other one.

    postgres.py [--cycles N] [--seed S]

A cycle: a cluster on XFS or ext4 (by turns) on the volume, pgbench on it, and clients that say outside of
the machine which of their transactions they begin and which were acknowledged; freezes, and the primary
dies at a random instant.  The secondary recovers; PostgreSQL starts there, and

* pg_amcheck finds nothing in any table or index (data checksums are on);
* each client's transactions are there from the first to some last one, without a gap: all that were
  acknowledged before the freeze was called, none that was begun after it had returned;
* none is there in part: balances add to zero and agree with the ledger, and so do pgbench's own tables.
"""

import random
import subprocess
import sys
import time

import cycles
import journal
import machines as vm
from conftest import BY_ID, DEVICE, DIFFS, MIB, MKFS_EXT4, MKFS_XFS, NAME, Pair

SIZE = 144 * MIB
CLIENTS = 3
MKFS = {"xfs": MKFS_XFS, "ext4": MKFS_EXT4}
MOUNT = {"xfs": "mount -o nouuid", "ext4": "mount"}
BIN = "/usr/lib/postgresql/15/bin"
# A guest changes its root to the image of mkpostgres; the volume is its /srv.
ENTER = f"mkdir -p /pg && mount -o ro {BY_ID}spare /pg && mount --rbind /dev /pg/dev && " \
        "mount -t proc proc /pg/proc && mount -t tmpfs tmpfs /pg/run && mount -t tmpfs tmpfs /pg/tmp && " \
        "chown 70:70 /pg/run && chmod 1777 /pg/tmp"
START = f"{BIN}/pg_ctl -D /srv/db -w -t 180 -l /run/log start"
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '/run'
dynamic_shared_memory_type = mmap
shared_buffers = 8MB
max_connections = 20
max_wal_size = 32MB
min_wal_size = 16MB
checkpoint_timeout = 30s
jit = off
"""
TABLES = """
CREATE TABLE ledger(client int, n int, source int, target int, amount int, note text, PRIMARY KEY(client, n));
CREATE TABLE account(id int PRIMARY KEY, balance int) WITH (fillfactor = 50);
INSERT INTO account SELECT i, 0 FROM generate_series(0, 19) i;
CREATE EXTENSION amcheck;
"""
# Nothing but "t" when all of it is right.
CONSISTENT = """
SELECT (SELECT sum(balance) FROM account) = 0;
SELECT bool_and(balance = (SELECT coalesce(sum(amount), 0) FROM ledger WHERE target = id)
                        - (SELECT coalesce(sum(amount), 0) FROM ledger WHERE source = id)) FROM account;
SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
   AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
   AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history);
"""
LEDGER = "SELECT client, count(*), min(n), max(n) FROM ledger GROUP BY client ORDER BY client"
AMCHECK = ["--heapallindexed", "--parent-check", "--no-strict-names", "--database", "postgres"]


def inside(machine, words, timeout=300):
    """Run as the database's user, in its own root; words: a list, or a string for the shell."""
    words = ["/bin/sh", "-c", words] if isinstance(words, str) else words
    return machine.run(["chroot", "--userspec=70:70", "/pg", *words], timeout=timeout)


def sql(machine, text):
    return inside(machine, [f"{BIN}/psql", "-h", "/run", "-AtqX", "-v", "ON_ERROR_STOP=1", "-c", text,
                            "postgres"]).out.split()


class Load:
    """The clients, and what they have said until now."""

    def __init__(self, machine):
        self.job = machine.background(["/tmp/sqlload", "run", "/pg/run/.s.PGSQL.5432", CLIENTS])

    def _events(self, kind, client):
        for line in bytes(self.job.out).decode().split("\n")[:-1]:
            words = line.split()
            if words[0] == kind and int(words[1]) == client:
                yield int(words[2]), int(words[3])

    def acknowledged(self, client, before=None):
        return max((n for n, when in self._events("done", client) if before is None or when < before), default=0)

    def begun_after(self, client, moment):
        return min((n for n, when in self._events("begin", client) if when > moment), default=None)


class Freeze:
    def __init__(self, machine):
        self.job = machine.background(["/tmp/sqlload", "call", "freezectl", "freeze", NAME, "--wait", "cut"])

    def _word(self, first, index):
        for line in bytes(self.job.out).decode().split("\n")[:-1]:
            if line.startswith(first):
                return int(line.split()[index])
        return None

    called = property(lambda self: self._word("call", 1))
    returned = property(lambda self: self._word("return", 1))
    number = property(lambda self: self._word("return", 2))


class Cycle:
    def __init__(self, machines, seed):
        self.machines, self.seed, self.draw = machines, seed, random.Random(seed)
        self.fs = ("xfs", "ext4")[seed % 2]
        self.block = self.draw.choice([4096, 65536])
        self.pair = self.load = None
        self.freezes = []
        self.line = {"deaths": [], "freezes": 0, "commits": 0, "judged": 0, "fs": self.fs, "block": self.block}

    def contents(self):
        return f"{self.line.get('transactions')} transactions, of {self.line.get('acknowledged')} acknowledged"

    def run(self):
        make_cluster(self.machines, self.fs)
        self.boot()
        self.work()
        committed = self.until_death()
        number = self.recover()
        assert number >= committed, f"image {number} is older than image {committed}, which was committed"
        self.verify(number)
        for m in self.machines.both:
            m.check_console()

    def boot(self):
        """Both volumes hold the same cluster, which spares the first copy."""
        fresh(self.machines, cluster_image(self.fs))
        self.pair = Pair(self.machines)
        self.pair.size, self.pair.block = SIZE, self.block
        self.pair.options = {"primary": {"assume": "identical"}}
        self.pair.start("secondary")
        self.pair.start("primary")
        self.pair.wait_connected()
        enter(self.machines.primary, self.fs, DEVICE)

    def work(self):
        m = self.pair.primary
        inside(m, START)
        self.load = Load(m)
        self.pgbench = m.background(["chroot", "--userspec=70:70", "/pg", f"{BIN}/pgbench", "-n", "-h", "/run", "-c", "2",
                                     "-T", "3600", "postgres"])

    def until_death(self):
        """Returns the last image known to be committed."""
        pair, end = self.pair, time.monotonic() + 120
        while min(self.load.acknowledged(c) for c in range(1, CLIENTS + 1)) < 5:
            assert time.monotonic() < end and self.load.job.running and self.pgbench.running, "the clients do not work"
            time.sleep(0.2)
        for _ in range(self.draw.randint(1, 3)):
            freeze = self.freeze()
            freeze.job.wait(60)
            pair.wait_image(freeze.number)
            time.sleep(self.draw.uniform(0, 3))
        if self.draw.random() < 0.5:
            self.freeze()
            time.sleep(self.draw.uniform(0, 3))
        assert self.load.job.running and self.pgbench.running, str(self.load.job.err + self.pgbench.err)
        status = {side: pair.status(side) for side in ("primary", "secondary")}
        pair.primary.kill9()
        pair.primary.start(wait=False)
        self.line["deaths"].append({"side": "primary", "modes": "/".join(s["mode"] for s in status.values())})
        self.line["acknowledged"] = sum(self.load.acknowledged(c) for c in range(1, CLIENTS + 1))
        return status["primary"]["image"]

    def freeze(self):
        self.freezes.append(Freeze(self.pair.primary))
        self.line["freezes"] += 1
        return self.freezes[-1]

    def recover(self):
        self.pair.wait_disconnected("secondary")
        self.pair.secondary.run(["freezectl", "recover", NAME], timeout=120)
        self.line["commits"] = number = self.pair.status("secondary")["image"]
        return number

    def verify(self, number):
        m = self.pair.secondary
        enter(m, self.fs, DEVICE)
        inside(m, START)
        self.check_clients(number, m)
        assert (wrong := sql(m, CONSISTENT)) == ["t"] * 3, f"not consistent: {wrong}"
        inside(m, [f"{BIN}/pg_amcheck", "-h", "/run", "-U", "postgres", *AMCHECK])
        inside(m, f"{BIN}/pg_ctl -D /srv/db -w -t 120 -m fast stop")
        self.line["judged"] = 1

    def check_clients(self, number, machine):
        freeze = next((f for f in self.freezes if f.number == number), self.freezes[-1])
        assert freeze.number in (None, number), f"image {number} was never asked for"
        last = {int(c): tuple(map(int, rest)) for c, *rest in (line.split("|") for line in sql(machine, LEDGER))}
        for client in range(1, CLIENTS + 1):
            count, low, high = last.get(client, (0, 1, 0))
            assert (count, low) == (high, 1), f"client {client}: {count} transactions from {low} to {high}: not a prefix"
            acknowledged = self.load.acknowledged(client, freeze.called)
            assert high >= acknowledged, \
                f"client {client}: has 1 to {high}, but {acknowledged} was acknowledged before the freeze was called"
            after = self.load.begun_after(client, freeze.returned) if freeze.returned else None
            assert after is None or high < after, \
                f"client {client}: has 1 to {high}, but {after} was begun after the freeze had returned"
        self.line["transactions"] = sum(high for _, _, high in last.values())


# -- machines and disks

def fresh(machines, data=None):
    """Both machines boot with blank disks; the volumes hold this image."""
    for m in machines.both:
        m.kill9()
        m.blank({"meta": 32 * MIB, "data": SIZE, "spare": 256 * MIB, **{s: SIZE for s in DIFFS[m.name]}})
        m.forget_logs()
        m.console_checked = len(m.console_text())
        fill(m, "spare", journal.DIR / "postgres.img")
        if data:
            fill(m, "data", data)
    machines.up()
    for m in machines.both:
        m.put("/tmp/sqlload", (journal.DIR / "sqlload").read_bytes(), mode="755")


def fill(machine, serial, image):
    subprocess.run(["cp", "--sparse=always", image, machine.disk(serial)], check=True)
    with open(machine.disk(serial), "r+b") as f:
        f.truncate(machine.sizes[serial])


def enter(machine, fs, device):
    machine.run(f"{ENTER} && {MOUNT[fs]} {device} /pg/srv")


def cluster_image(fs):
    return journal.DIR / f"cluster-{fs}.img"


def make_cluster(machines, fs):
    """The volume that cycles begin with, made once and kept."""
    image = cluster_image(fs)
    if image.exists() and image.stat().st_mtime > (journal.DIR / "postgres.img").stat().st_mtime:
        return
    begin = time.monotonic()
    fresh(machines)
    m = machines.primary
    m.run(f"{MKFS[fs]} {BY_ID}data")
    enter(m, fs, BY_ID + "data")
    m.run("chown 70:70 /pg/srv")
    inside(m, f"{BIN}/initdb -k -N --locale=C --encoding=UTF8 --wal-segsize=4 -D /srv/db")
    m.run("cat >>/pg/srv/db/postgresql.conf", stdin=SETTINGS)
    inside(m, START)
    sql(m, TABLES)
    inside(m, f"{BIN}/pgbench -i -q -h /run postgres")
    inside(m, f"{BIN}/pg_ctl -D /srv/db -w -t 120 stop")
    m.run("umount /pg/srv && sync")
    m.stop()
    subprocess.run(["cp", "--sparse=always", m.disk("data"), image], check=True)
    print(f"a cluster on {fs} made in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(cycles.main("postgres", __doc__, Cycle, 4, [[journal.TOP / "tests/torture/mkpostgres", vm.BUILD]]))
