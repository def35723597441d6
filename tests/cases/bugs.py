#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Can a case fail?  The module is built with one bug in its shell at a time, and the case that has to
find it is run.

    bugs.py [--debug] [NAME...]

--debug: the bugs that only a kernel finds that looks for mistakes (scripts/debug-kernel).
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/torture"), str(TOP / "tests/qemu")]
import machines as vm  # noqa: E402
import plant  # noqa: E402

# name: what it does, file, text, text instead, the case
BUGS = {
    "reconnect": ("who is disconnected never connects again", "link.c",
                  "			talk(link);\n			retract(link, &link->sock);\n",
                  "			talk(link);\n			retract(link, &link->sock);\n"
                  "			if (link->primary)\n"
                  "				wait_event_idle(link->wait, stopping(link));\n",
                  "test_some_frames"),
    "read-error": ("what could not be read is sent", "primary_send.c",
                   "	if (err)\n		s->err = err;\n	read_done(s);", "	read_done(s);",
                   "test_data_of_a_primary and read"),
    "merge-error": ("a merge that could not be written counts", "engine.c",
                    "			c->item[e->copy_first + i].result = FZC_COPY_EWRITE;",
                    "			c->item[e->copy_first + i].result = FZC_COPY_OK;",
                    "test_merge_of_a_primary"),
    "merge-blame": ("one bad block in a run of them damages all", "engine.c",
                    "		copy_pass(dev, c, n, opf | REQ_NOMERGE);\n", "		;\n",
                    "test_unreadable_slot"),
    "silence": ("a peer may be silent for ever", "link.c",
                "#define SILENCE		(8 * HZ)", "#define SILENCE		(800 * HZ)",
                "test_peer_stands_still"),
    "leak": ("the pages of what was sent are not given back", "primary_send.c",
             "		put_page(s->page[i]);\n", "",
             "test_writeback"),
    "congestion": ("the table's congestion control is not used", "sock.c",
                   "set_congestion(sock, tcp->congestion) ?: set_rate", "set_rate", "test_congestion"),
    "rate": ("the table's rate is not kept", "sock.c",
             "set_congestion(sock, tcp->congestion) ?: set_rate(sock, tcp->rate)",
             "set_congestion(sock, tcp->congestion)", "test_rate"),
    "rest": ("what is behind a ciphertext is not looked at", "secondary_open.c",
             "!rest_is_clear(pages, le32_to_cpu(tag->length), bytes))",
             "(rest_is_clear(pages, le32_to_cpu(tag->length), bytes) && 0))", "test_older_content"),
    "other-key": ("a session does not end with a key that was replaced", "key.c",
                  "print_now(k) != print", "0 && print_now(k) != print", "test_session_ends_with_its_key"),
    "held": ("a frame does not wait for a commit that began meanwhile", "secondary_ablog.c",
             "	may = fzc_secondary_may_rx(sec, err);\n", "	fzc_secondary_may_rx(sec, err);\n	may = true;\n",
             "test_frames_wait_for_what_is_verified"),
    "background": ("an image is sent as if it could wait", "primary.c",
                   "pr->core.phase == FZC_PHASE_IDLE && fzc_p_has_image", "fzc_p_has_image", "test_sending_gives_way"),
    "pace": ("a write waits three times as long as it may", "hio.c",
             "msecs_to_jiffies(dev->pace_ms);", "msecs_to_jiffies(3 * dev->pace_ms);", "test_paced_writes"),
    "handshake": ("a handshake may take for ever", "handshake.h",
                  "#define FZC_HANDSHAKE_TIMEOUT	(5 * HZ)", "#define FZC_HANDSHAKE_TIMEOUT	(500 * HZ)",
                  "test_handshake_on_a_bad_line and dead"),
    "compress": ("nothing is compressed", "primary_send.c",
                 "		if (!pr->compressor || piece->zero)\n", "		if (pr->compressor || piece->zero)\n",
                 "test_compressed and lz4 and 4096"),
    "decompress": ("a frame that does not decompress counts", "compress.c",
                   "	if (n != (int)plain)\n		return -EBADMSG;\n", "",
                   "test_bad_compressed_frame and lz4"),
    "clear": ("records are not encrypted", "crypt.c",
              "	int r = fzc_seal_next(&c->state, len, c->nonce, key);\n",
              "	int r = fzc_seal_next(&c->state, len, c->nonce, key);\n\n	if (r >= 0)\n		return 0;\n",
              "test_nothing_can_be_read_on_the_wire and True"),
    "revoked": ("a session outlives its key", "key.c",
                "	int err = validate(k->key, why);\n\n	if (!err && print_now", "	int err = 0;\n\n	if (0 && print_now",
                "test_revoked_while_it_runs"),
    "settled": ("the key before the current one is taken for ever", "key.c",
                "	WRITE_ONCE(k->settled, print);\n", "	WRITE_ONCE(k->settled, ~print);\n",
                "test_old_key_is_not_taken_when_both_have_switched"),
    "right": ("whoever can open the control device may ask", "ctl.c",
              "	if (!capable(CAP_SYS_ADMIN))\n", "	if (0)\n", "test_only_the_administrator"),
    "plain": ("blocks are not encrypted, and any tag will do", "blockcrypt.c",
              "	int err = set_key(bc, stage_key, tag);\n\n	if (!err) {",
              "	int err = set_key(bc, stage_key, tag);\n\n	if (0) {", "test_stages_hold_ciphertext and None and 4096"),
    "forged": ("a block whose tag does not verify is taken", "blockcrypt.c",
               "	return crypt(bc, stage_key, tag, block, from, to, false);",
               "	crypt(bc, stage_key, tag, block, from, to, false);\n	return 0;",
               "test_forged_slots and None"),
    "salt": ("all connections have one salt", "handshake.c",
             "	      fzc_auth_salt(&hs->auth, secrets->salt);", "	      (memset(secrets->salt, 7, FZC_SALT_BYTES), 0);",
             "test_no_nonce_twice"),
    "tags": ("tags do not get to the disk", "tagstore.c", "		if (p->dirty)\n			begin_write(s, p);\n",
             "		p->err = 0;\n", "test_no_nonce_twice"),
    "tags-read": ("tags that cannot be read are taken for others", "tagstore.c",
                  "				  &p->page, FZC_PAGE);\n		if (err)\n			return err;\n",
                  "				  &p->page, FZC_PAGE);\n		err = 0;\n",
                  "test_tags_cannot_be_read_to_merge"),
    "signed": ("signatures of pages are not looked at", "core/load.c", "	if (!opts->vk || !(sb->flags &",
               "	if (1 || !opts->vk || !(sb->flags &",
               "test_one_bit_of_each_page"),
    "limits": ("sectors of diff are not asked for", "target.c",
               "	raise_sizes(limits, dev->bdev[FZC_DIFF]);\n", "",
               "test_sectors_of_4096_bytes and diff"),
}

# name: what it does, kernel, what is said then, file, text, text instead, the case
DEBUG_BUGS = {
    "atomic-sleep": ("memory is waited for under the lock", "debug", "sleeping function called from invalid context",
                     "hio.c", "	dev->hio.taken++;\n",
                     "	dev->hio.taken++;\n	kfree(kmalloc(16, GFP_KERNEL));\n", "test_bit_for_bit"),
    "irq-lock": ("the lock is taken with interrupts on", "debug", "inconsistent lock state",
                 "hio.c", "	lockdep_assert_held(&dev->lock);\n	s->pacing",
                 "	lockdep_assert_held(&dev->lock);\n	spin_unlock_irq(&dev->lock);\n	spin_lock(&dev->lock);\n"
                 "	s->pacing", "test_bit_for_bit"),
    # not a bio: KASAN does not look after slabs of SLAB_TYPESAFE_BY_RCU
    "use-after-free": ("a table's words are looked at after their end", "debug", "KASAN: ",
                       "target.c", "	kfree(t);\n	if (r) {", "	kfree(t);\n	if (r || t->role > 100) {",
                       "test_bit_for_bit"),
    "lost-memory": ("the table of blocks being completed is forgotten", "debug", "unreferenced object",
                    "hio.c", "	kfree(s->fill);\n", "", "test_bit_for_bit"),
    "race": ("requests are counted without the lock", "kcsan", "KCSAN: data-race",
             "hio.c", "	spin_lock_irq(&dev->lock);\n	dev->hio.taken++;\n",
             # so often, because few accesses are looked at
             "	for (r = 0; r < 100; r++) {\n		dev->hio.taken++;\n		barrier();\n	}\n"
             "	spin_lock_irq(&dev->lock);\n",
             "test_reads_while_diverted_and_merging and 65536"),
    "no-reserve": ("a part of a request takes memory that has no reserve", "debug", "AssertionError: writes ",
                   "hio.c", "	part->parent = parent;\n", "	void *room = kmalloc(64, GFP_NOIO);\n\n	if (!room)\n"
                   "		h->status = BLK_STS_RESOURCE;\n	kfree(room);\n	part->parent = parent;\n",
                   "test_memory_lacks and failslab"),
}


def run_case(build_dir, name, **env):
    """Whether it was run and failed, and what was printed."""
    (build_dir / "log").mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "BUILD": str(build_dir), "K": name, "RESULTS": str(build_dir / "cases.xml"), **env}
    out = subprocess.run([TOP / "scripts/run-cases"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, check=False).stdout
    (build_dir / "cases.log").write_text(out)
    return out.splitlines()[-1] == "0 passed, 1 failed", out


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def find(name, build_dir):
    """Whether its case fails; the case and its last words."""
    _, file, old, new, case = BUGS[name]
    plant.build(name, build_dir, file, old, new)
    failed, out = run_case(build_dir, case)
    words = [line for line in out.splitlines() if line.startswith("E  ") and line[4:].strip()]
    return failed, f"{case}: {words[0][4:160].strip() if words else out[-300:]}"


def find_debug(name, build_dir):
    """Whether its case fails because the kernel says what it has to."""
    _, kernel, words, file, old, new, case = DEBUG_BUGS[name]
    tree = plant.copy(name, build_dir, file, old, new)
    root = output_of(TOP / "scripts/debug-kernel", kernel).strip()
    env = dict(line.split("=", 1) for line in output_of(tree / "scripts/debug-image", root, build_dir).splitlines())
    env.update(SLOW="4", CPUS="2" if kernel == "kcsan" else "1")
    failed, out = run_case(build_dir, case, **env)
    said = next((line.strip() for line in out.splitlines() if words in line), None)
    return failed and said is not None, f"{kernel} kernel, {case}: {said or out[-300:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    bugs, seek = (DEBUG_BUGS, find_debug) if args.debug else (BUGS, find)
    passed = failed = 0
    for name in args.names or bugs:
        build_dir = vm.BUILD / "plant" / name
        found, words = seek(name, build_dir)
        print(f"{'found   ' if found else 'SURVIVES'} {name}: {bugs[name][0]}, {words}", flush=True)
        shutil.rmtree(build_dir / "tree")
        passed, failed = passed + found, failed + (not found)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
