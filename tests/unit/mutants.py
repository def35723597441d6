#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Take one thing at a time from the proof of the key, or from the records' keys and nonces, and see
whether the unit tests notice.

usage: mutants.py BUILD-FOLDER [NAME...]"""

import concurrent.futures
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CORE = HERE.parent.parent / "dm-freezecopy/core"
CFLAGS = ["-std=gnu11", "-O1", "-g", "-w", "-fsanitize=address,undefined", f"-I{HERE}", f"-I{CORE}"]
PARTS = [HERE / "main.c", HERE / "hmac.c", HERE / "test_auth.c", CORE / "wire.c", CORE / "port_user.c"]

# (name, what is broken, text of auth.c, replacement)
MUTANTS = [
    ("proof", "any proof will do", "fzc_memneq(expected, proof, sizeof(expected))", "0"),
    ("proof-part", "half of a proof will do", "fzc_memneq(expected, proof, sizeof(expected))",
     "fzc_memneq(expected, proof, 16)"),
    ("roles", "both sides prove the same", 'derive(a, "primary\'s proof", msg->auth.proof)',
     'derive(a, "secondary\'s proof", msg->auth.proof)'),
    ("bind-first", "what the primary said is not bound", "{ a->first, a->second }", "{ a->second, a->second }"),
    ("bind-second", "what the secondary said is not bound", "{ a->first, a->second }", "{ a->first, a->first }"),
    ("bind-none", "nothing but the nonces is bound", "expand(a->hmac, a->prk, label, said, sizeof(said), out)",
     "expand(a->hmac, a->prk, label, said, 0, out)"),
    ("nonce", "the secondary's nonce does not count", "memcpy(salt + FZC_AUTH_NONCE, second->nonce",
     "memcpy(salt + FZC_AUTH_NONCE, first->nonce"),
    ("label", "what a secret is for does not count", 'LABEL "%s", label) + 1', 'LABEL "%s", "") + 1'),
    ("step", "a message may come out of turn", "m->step != a->step || ", ""),
    ("role", "one's own message may come back", "m->role != peer || ", ""),
    ("mine", "a message may come when one is to be sent", " || is_mine(a)) {", ") {"),
    ("any-key", "a key that is not ours is taken for one", "if (!choose_key(a, m, FZC_KEYS))",
     "if (!choose_key(a, m, FZC_KEYS) && (a->used = 0, 0))"),
    ("previous", "the key before the current one is not known", "for (i = 0; i < keys->n && !err; i++)",
     "for (i = 0; i < 1 && !err; i++)"),
    ("cipher", "the secondary chooses alone", "a->first.ciphers & a->ciphers & (1U", "a->ciphers & (1U"),
    ("swapped", "both directions have one secret", 'derive(a, "secondary sends", primary ? rx : tx)',
     'derive(a, "primary sends", primary ? rx : tx)'),
    ("nonce-again", "a nonce is used twice", "cpu_to_le64(s->records++)", "cpu_to_le64(s->records++ / 2)"),
    ("rekey", "the key is never replaced", "bool full = s->bytes + len > FZC_REKEY_BYTES && s->records;",
     "bool full = false;"),
    ("rekey-same", "the same key is used on", 'expand(s->hmac, s->secret, "next secret", NULL, 0, next)',
     "(memcpy(next, s->secret, FZC_KEY_BYTES), 0)"),
    ("rekey-count", "the count goes on under the new key", "	s->records = 0;\n", ""),
]


def compiled(folder, source):
    obj = folder / f"{source.stem}.o"
    subprocess.run(["cc", *CFLAGS, "-c", "-o", obj, source], check=True)
    return obj


def build(folder, name, parts, auth):
    exe = folder / name
    subprocess.run(["cc", *CFLAGS, "-o", exe, *parts, compiled(folder, auth), "-lcrypto"], check=True)
    return exe


def failures(exe):
    run = subprocess.run([exe, "auth"], capture_output=True, text=True, timeout=120, check=False)
    return [line for line in run.stdout.splitlines() if line.startswith("FAIL")] or (
        ["it died"] if run.returncode not in (0, 1) else [])


def try_mutant(folder, parts, text, name, _, old, new):
    if text.count(old) != 1:
        raise SystemExit(f"mutants: {name}: its text stands {text.count(old)} times in auth.c, expected once")
    source = folder / f"{name}.c"
    source.write_text(text.replace(old, new))
    return failures(build(folder, name, parts, source))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    text = (CORE / "auth.c").read_text()
    passed = failed = 0
    parts = [compiled(folder, part) for part in PARTS]
    if failures(build(folder, "whole", parts, CORE / "auth.c")):
        raise SystemExit("mutants: the tests fail with nothing broken")
    wanted = [m for m in MUTANTS if not sys.argv[2:] or m[0] in sys.argv[2:]]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda m: try_mutant(folder, parts, text, *m), wanted))
    for (name, what, _, _), found in zip(wanted, results):
        print(f"{'found   ' if found else 'SURVIVES'} {name:12} {what}\n         {' '.join(found)[:120]}", flush=True)
        passed += bool(found)
        failed += not found
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
