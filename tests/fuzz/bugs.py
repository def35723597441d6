#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Remove one check at a time from the core and see that its fuzz target notices, from the seeds
alone, within so many executions.  A bug that is not found is a hole in the target.

usage: bugs.py BUILD-FOLDER [NAME]"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

from targets import LENGTH, LIMITS

HERE = pathlib.Path(__file__).resolve().parent
HOUSE = HERE.parent.parent

# (name, what is broken, target, executions, file of the core, text, replacement)
BUGS = [
    ("data-n", "a DATA frame may have any number of blocks", "wire", 1000000, "wire.c",
     "		  f->n && f->n <= FZC_MAX_RUN &&\n"
     "		  (u64)f->n << geo->block_shift <= FZC_MAX_RUN_BYTES,", "		  f->n,"),
    ("data-first", "the last blocks of a DATA frame may be beyond the volume", "wire", 1000000,
     "wire.c", "f->first < geo->blocks && f->n <= geo->blocks - f->first,",
     "f->first < geo->blocks,"),
    ("need-n", "a NEED may ask for blocks beyond the last possible one", "wire", 1000000, "wire.c",
     "need ? msg->n && msg->n <= FZC_MAX_BLOCKS - msg->first : !msg->n,",
     "need ? msg->n : !msg->n,"),
    ("control-length", "the payload of a control frame may have any length", "wire", 100000,
     "wire.c", "f->length == payload_size[f->type],", "true,"),
    ("label-end", "a label on the wire need not end", "wire", 1000000, "wire.c",
     "strnlen(from, size) < size, \"a text", "true, \"a text"),
    ("compressed-long", "what is compressed may be no shorter", "wire", 1000000, "wire.c",
     "f->length && f->length < plain,", "f->length,"),
    ("compressed-empty", "what is compressed may have no bytes", "wire", 1000000, "wire.c",
     "f->length && f->length < plain,", "f->length < plain,"),
    ("two-forms", "blocks may be zero, lz4 and zstd at once", "wire", 1000000, "wire.c",
     "	return !(form & (form - 1));", "	return form || true;"),
    ("auth-ciphers", "both ciphers may be chosen", "wire", 1000000, "wire.c",
     "d->step == 2 ? d->ciphers == 2 || d->ciphers == 4 :", "d->step == 2 ? d->ciphers :"),
    ("auth-rest", "the last proof may come with a nonce", "wire", 1000000, "wire.c",
     "step < 3 || is_zero(d->nonce, FZC_AUTH_NONCE),", "true,"),
    ("key-bytes", "the name of a key may have any bytes", "table", 1000000, "args.c",
     "		if (*c <= ' ' || *c > '~')\n			return false;\n", "		;\n"),
    ("rate-limit", "a rate may be beyond its limit", "table", 1000000, "args.c",
     "*rate >= FZC_MIN_RATE && *rate <= FZC_MAX_RATE", "*rate >= FZC_MIN_RATE"),
    ("no-proof", "a primary need not prove that it has the key", "auth", 1000000, "auth.c",
     'err = check_proof(a, "primary\'s proof", m->proof, why);', "err = 0;"),
    ("first-unbound", "what the primary offered is not covered by the proofs", "auth", 1000000,
     "auth.c", "said[2] = { a->first, a->second };", "said[2] = { a->second, a->second };"),
    ("second-unbound", "what the secondary chose is not covered by the proofs", "auth", 1000000,
     "auth.c", "said[2] = { a->first, a->second };", "said[2] = { a->first, a->first };"),
    ("cipher-forced", "the primary alone says which cipher", "auth", 1000000, "auth.c",
     "a->first.ciphers & a->ciphers & (1U", "a->first.ciphers & (1U"),
    ("one-secret", "both directions have the same secret", "auth", 1000000, "auth.c",
     '"secondary sends", primary', '"primary sends", primary'),
    ("goes-on", "after a wrong proof the handshake goes on", "auth", 1000000, "auth.c",
     "a->step = err ? FZC_AUTH_OVER : a->step + 1;", "a->step++;"),
    ("address-groups", "an IPv6 address may have a group too many after ::", "table", 1000000,
     "args.c", "GROUPS - 1 - head / 2, true", "GROUPS, true"),
    ("address-end", "what stands behind an address is ignored", "table", 1000000, "args.c",
     "if (!take_ip(&p, a) || (*p && *p != ':')) {", "if (!take_ip(&p, a)) {"),
    ("request-size", "a request may be of another size than its structure", "ioctl", 100000,
     "request.c", " || head->size != _IOC_SIZE(cmd)) {", ") {"),
    ("request-reserved", "the last reserved word of a request may be used", "ioctl", 1000000,
     "request.c", "reserved[2] | reserved[3];", "reserved[2];"),
    ("request-flags", "a recovery may have flags that nobody knows", "ioctl", 100000, "request.c",
     "	if (r->flags & ~(FZC_RECOVER_FORCE | FZC_RECOVER_GIVE_UP))", "	if (0)"),
    ("request-label", "the label of a freeze need not end", "ioctl", 1000000, "request.c",
     "	if (strnlen(f->label, sizeof(f->label)) == sizeof(f->label))", "	if (0)"),
    ("request-what", "a request may wait for what there is not", "ioctl", 100000, "request.c",
     " || w->what > FZC_WAIT_CHANGE) {", ") {"),
    ("request-unknown", "what is no request is taken for one", "ioctl", 100000, "request.c",
     "	if (!is_known(cmd))", "	if (!is_known(cmd) && !_IOC_NR(cmd))"),
    ("need-volume", "the primary marks blocks that the volume does not have", "primary", 300000,
     "pcore_session.c", "	if (first >= p->geo.blocks || n > p->geo.blocks - first) {",
     "	if (0) {"),
    ("committed-early", "an image is committed whose ALL_SENT was not said", "primary", 300000,
     "pcore_session.c", "	if (p->phase != FZC_PHASE_SENT || img->number",
     "	if (img->number"),
    ("r12", "a slot is used again while it is read", "primary", 1000000, "slots.c",
     "	if (*fzc_slot_reads(s, slot))\n		fzc_slot_set_state", "	if (0)\n		fzc_slot_set_state"),
    ("tag-length", "a block may have any length, as its tag says", "wire", 1000000, "tags.c",
     "		if (!possible(length, wire->packed, bytes) || length", "		if (length"),
    ("tag-sum", "the blocks of a frame may be less than its payload", "wire", 1000000, "tags.c",
     "	if (!left)", "	if (true)"),
    ("tag-reserved", "the rest of a tag may be anything", "wire", 1000000, "tags.c",
     "wire->reserved[0] || wire->reserved[1] || wire->reserved[2]) {", "false) {"),
    ("tag-span", "blocks count as back to back behind one that is shorter", "wire", 1000000,
     "tags.c", "span < n && length == block_size", "span < n && length <= block_size"),
    ("tag-late", "DURABLE is said before the tags are", "secondary", 300000, "score.c",
     "		if (tags_due(s))", "		if (0 && tags_due(s))"),
    ("tag-failed", "DURABLE is said of tags that could not be written", "secondary", 1000000,
     "score.c", "		s->sync_err = err;", "		s->sync_err = act->kind == FZC_ACT_TAGS ? 0 : err;"),
    ("downgrade", "blocks that are not encrypted are staged where all are", "secondary", 300000,
     "score_session.c",
     "!(flags & FZC_WIRE_ENCRYPTED) == !(staged && s->sb.flags & FZC_SB_ENCRYPTED) &&",
     "(!(flags & FZC_WIRE_ENCRYPTED) || (staged && s->sb.flags & FZC_SB_ENCRYPTED)) &&"),
    ("other-key", "a pair may get another stage key", "secondary", 300000, "score_session.c",
     "	if (!blank && fzc_memneq(n->stage_key", "	if (0 && fzc_memneq(n->stage_key"),
    ("no-key", "the secondary is not told the stage key", "primary", 300000, "pcore_session.c",
     "	memcpy(s->stage_key, p->sb.keys.stage, FZC_KEY_BYTES);\n", ""),
    ("all-sent-early", "an image is committed with frames of it under way", "secondary", 300000,
     "score_session.c", "	if (not_durable(s)) {", "	if (0) {"),
    ("all-sent-count", "an image is committed with frames of it missing", "secondary", 300000,
     "score_session.c", "	if (m->frames != s->frames) {", "	if (0) {"),
    ("same-block", "two frames for one block are taken", "secondary", 1000000,
     "score_session.c", "	if (same_blocks(s, first, n)) {", "	if (0) {"),
    ("index-slot", "an index page may name a slot that the volume does not have", "load", 1000000,
     "slots.c", "	if (slot >= s->nslots || block >= blocks ||", "	if (block >= blocks ||"),
    ("index-block", "an index page may name a block that the volume does not have", "load",
     1000000, "slots.c", "	if (slot >= s->nslots || block >= blocks ||",
     "	if (slot >= s->nslots || !blocks ||"),
    ("stage-number", "a superblock may name a third stage", "load", 1000000, "ondisk.c",
     "	else if (sb->cur > 1 || sb->stage_cur > 1)", "	else if (0)"),
    ("unsigned", "a page that is not signed is taken", "load", 1000000, "load.c",
     "	err = check_page(sb, opts, load->dev, load->offset, a, why);",
     "	err = 0 && check_page(sb, opts, load->dev, load->offset, a, why);"),
    ("unsigned-super", "a superblock that is not signed is taken", "load", 1000000, "load.c",
     "	if (!err && opts->vk && sb->flags & (FZC_SB_ENCRYPTED | FZC_SB_FORMATTING))", "	if (0)"),
]
PARTS = ("dm-freezecopy", "tests/fuzz", "tests/sim", "tools/freezectl")


def plant(build, folder, bug):
    """A copy of what the targets are built of and of its objects, with one text replaced."""
    _, _, _, _, name, text, replacement = bug
    for part in PARTS:
        shutil.copytree(HOUSE / part, folder / part)
    for bounds in ("real", "small"):
        shutil.copytree(build / "fuzz" / bounds, folder / "build/fuzz" / bounds)
    path = folder / "dm-freezecopy/core" / name
    source = path.read_text()
    if source.count(text) != 1:
        sys.exit(f"{bug[0]}: its text is {source.count(text)} times in {name}, expected once")
    path.write_text(source.replace(text, replacement))


def hunt(build, folder, bug):
    """Executions until it was found, or None."""
    target, runs = bug[2], bug[3]
    program, seeds = folder / "build/fuzz" / target, folder / "seeds"
    subprocess.run(["make", "-s", "-C", folder / "tests/fuzz", f"BUILD={folder / 'build'}", program],
                   env={**os.environ, "MAKEFLAGS": ""}, check=True)
    seeds.mkdir()
    subprocess.run([build / "fuzz-replay" / target, "--seeds", seeds], check=True)
    env = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=4:malloc_context_size=0"}
    result = subprocess.run([program, *LIMITS, "-seed=1", f"-max_len={LENGTH[target]}",
                             f"-runs={runs}", f"-artifact_prefix={folder}/", seeds],
                            capture_output=True, text=True, errors="replace", env=env)
    executed = re.findall(r"number_of_executed_units: (\d+)", result.stderr)
    return int(executed[-1]) if result.returncode and executed else None


def try_bug(build, bug):
    folder = build / "fuzz-bugs" / bug[0]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plant(build, folder, bug)
    runs = hunt(build, folder, bug)
    shutil.rmtree(folder)
    return runs


def main():
    build = pathlib.Path(sys.argv[1])
    wanted = [bug for bug in BUGS if bug[0] in sys.argv[2:] or not sys.argv[2:]]
    if not wanted:
        sys.exit(f"bugs: no {sys.argv[2]}; there are {', '.join(bug[0] for bug in BUGS)}")
    found = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for bug, runs in zip(wanted, pool.map(lambda bug: try_bug(build, bug), wanted)):
            found += runs is not None
            print(f"{'ok  ' if runs is not None else 'FAIL'}  {bug[0]} ({bug[2]}): {bug[1]}: "
                  + (f"found in {runs} executions" if runs is not None else
                     f"not found in {bug[3]} executions"), flush=True)
    print(f"{found} passed, {len(wanted) - found} failed")
    return found != len(wanted)


if __name__ == "__main__":
    sys.exit(main())
