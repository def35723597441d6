#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Take one thing at a time from the proof of the key, from the keys and nonces of records and blocks, from what
signs metadata, or from a rule that the simulator seldom gets to, and see whether the unit tests notice.

usage: mutants.py BUILD-FOLDER [NAME...]"""

import concurrent.futures
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CORE = HERE.parent.parent / "dm-freezecopy/core"
CTL = HERE.parent.parent / "tools/freezectl"
CFLAGS = ["-std=gnu11", "-O1", "-w", "-fsanitize=address,undefined", f"-I{HERE}", f"-I{CORE}"]
PARTS = [*HERE.glob("*.c"), *CORE.glob("*.c"), CTL / "cipher.c"]

# file of the core: (name, what is broken, its text, replacement)
MUTANTS = {"auth": [
    ("proof", "any proof will do", "fzc_memneq(expected, proof, sizeof(expected))", "0"),
    ("proof-part", "half of a proof will do", "fzc_memneq(expected, proof, sizeof(expected))",
     "fzc_memneq(expected, proof, 16)"),
    ("roles", "both sides prove the same", 'derive(a, "primary\'s proof", msg->auth.proof)',
     'derive(a, "secondary\'s proof", msg->auth.proof)'),
    ("bind-first", "what the primary said is not bound", "{ a->first, a->second }", "{ a->second, a->second }"),
    ("bind-second", "what the secondary said is not bound", "{ a->first, a->second }", "{ a->first, a->first }"),
    ("bind-none", "nothing but the nonces is bound", "fzc_expand(a->hmac, a->prk, label, said, sizeof(said), out)",
     "fzc_expand(a->hmac, a->prk, label, said, 0, out)"),
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
    ("rekey-same", "the same key is used on", 'fzc_expand(s->hmac, s->secret, "next secret", NULL, 0, next)',
     "(memcpy(next, s->secret, FZC_KEY_BYTES), 0)"),
    ("rekey-count", "the count goes on under the new key", "	s->records = 0;\n", ""),
], "volkey": [
    ("mac", "any keyed checksum will do", "fzc_memneq(mac, page->head.mac, sizeof(page->head.mac))", "0"),
    ("mac-half", "half of it will do", "fzc_memneq(mac, page->head.mac, sizeof(page->head.mac))",
     "fzc_memneq(mac, page->head.mac, 8)"),
    ("mac-page", "the last bytes of a page do not count", "key, sizeof(key), page, FZC_PAGE, mac)",
     "key, sizeof(key), page, FZC_PAGE - 8, mac)"),
    ("mac-head", "the head of a page does not count", "key, sizeof(key), page, FZC_PAGE, mac)",
     "key, sizeof(key), page->body, FZC_BODY, mac)"),
    ("mac-place", "the place of a page does not count", "memcpy(page->head.mac, &place, sizeof(place))",
     "memset(page->head.mac, 0, sizeof(place))"),
    ("mac-dev", "the device of a page does not count", ".dev = cpu_to_le32(dev), .offset", ".offset"),
    ("mac-key", "the key of the volume does not count", 'keys->meta, "metadata", NULL, 0, key)',
     '(const u8[FZC_KEY_BYTES]){ 0 }, "metadata", NULL, 0, key)'),
    ("mac-stage", "the key of the stage signs", 'keys->meta, "metadata"', 'keys->stage, "metadata"'),
    ("mac-label", "the key itself signs", 'fzc_expand(vk->hmac, keys->meta, "metadata", NULL, 0, key)',
     "(memcpy(key, keys->meta, sizeof(key)), 0)"),
    ("unsigned", "a page that is not signed will do", "if (!(le32_to_cpu(page->head.features) & FZC_DISK_SIGNED)) {",
     "if (!(le32_to_cpu(page->head.features) & FZC_DISK_SIGNED))\n\t\treturn 0;\n\tif (0) {"),
    ("tag", "any tag of the wrapped keys will do", "	if (!err)\n		memcpy(keys, w.keys",
     "	if (err == -EBADMSG)\n		err = 0;\n	if (!err)\n		memcpy(keys, w.keys"),
    ("wrapped-before", "the key before the current one opens nothing", "for (i = 0; i < vk->n; i++)\n		if (!memcmp(vk->id",
     "for (i = 0; i < 1; i++)\n		if (!memcmp(vk->id"),
    ("wrap-before", "the key before the current one wraps", "true, vk->kek[0]", "true, vk->kek[vk->n - 1]"),
    ("wrap-format", "the volume of wrapped keys does not count", ".format = page->head.format,", ""),
    ("wrap-role", "the side of wrapped keys does not count", ".role = page->super.role,", ""),
    ("wrap-nonce", "every nonce is the same", "memcpy(w->nonce, nonce, sizeof(w->nonce));", ""),
    ("wipe", "keys that could not be wrapped stay in the page", "	if (err)\n		fzc_wipe(w, sizeof(*w));\n", ""),
    ("formatting", "the first sector of a formatting is signed", "if (super && le32_to_cpu(page->super.flags) & FZC_SB_FORMATTING)",
     "if (0)"),
], "load": [
    ("check-none", "pages are not checked", "if (!opts->vk || !(sb->flags", "if (1 || !opts->vk || !(sb->flags"),
    ("check-first", "the first of two copies is not checked", "err = check_page(sb, opts, load->dev, load->offset, a, why);",
     "err = 0;"),
    ("check-second", "the second of two copies is not checked", "if (!err && load->both)", "if (0)"),
    ("check-torn", "damaged pages are checked", "if (!fzc_page_sound(page) || ", "if ("),
    ("check-older", "pages of an older format are checked",
     "!fzc_page_sound(page) || le64_to_cpu(page->head.format) != sb->format", "!fzc_page_sound(page)"),
    ("supers", "superblocks are not checked", "if (!err && opts->vk && sb->flags & (FZC_SB_ENCRYPTED | FZC_SB_FORMATTING))", "if (0)"),
    ("supers-unsigned", "a formatting may say that nothing is signed", "sb->flags & (FZC_SB_ENCRYPTED | FZC_SB_FORMATTING))", "sb->flags & FZC_SB_ENCRYPTED)"),
    ("supers-rest", "what a formatting says of an image is believed", "if (!err && *fresh)", "if (0)"),
    ("supers-one", "the keyed checksum of the superblock that counts is not checked",
     "err = check_page(sb, opts, FZC_META, FZC_OFF_SUPER + pick * FZC_PAGE, page[pick], why);", "err = 0;"),
    ("supers-other", "that of the other one is not checked", "if (!err && other && !is_formatting(page[!pick]))", "if (0)"),
    ("supers-format", "a newer formatting counts", "(is_formatting(page[pick]) && !is_formatting(page[!pick]))", "0"),
    ("supers-foreign", "superblocks of two volumes will do",
     "page[!pick]->head.format != page[pick]->head.format ||", ""),
], "tags": [
    ("block-salt", "a key is for all connections", "	memcpy(context, tag->salt, FZC_SALT_BYTES);\n",
     "	memset(context, 0, FZC_SALT_BYTES);\n"),
    ("block-epoch", "a key is for any number of frames", "	memcpy(context + FZC_SALT_BYTES, &n, 8);\n",
     "	memset(context + FZC_SALT_BYTES, 0, 8);\n"),
    ("block-same", "frames of another key are taken for ones of the same", "a->cipher == b->cipher && epoch(a) == epoch(b) &&",
     "a->cipher == b->cipher &&"),
    ("block-index", "the blocks of a frame have one nonce", "	memcpy(nonce, &tag->index, 4);\n", "	memset(nonce, 0, 4);\n"),
    ("block-frame", "frames have one nonce", "	memcpy(nonce + 4, &tag->frame, 8);\n", "	memset(nonce + 4, 0, 8);\n"),
    ("block-number", "a block may be put in another's place", "	memcpy(ad, &number, 8);\n", ""),
    ("block-length", "its length is not authenticated", "	memcpy(ad + 8, &tag->length, 4);\n", ""),
    ("block-packed", "nor whether it is compressed", "	ad[12] = tag->packed;\n", ""),
    ("tag-cipher", "any cipher is taken from a disk", "fzc_cipher_known(tag->cipher) &&\n	       ", ""),
    ("tag-long", "what is compressed may be longer than its block", "length &&\n		       length < bytes;", "length;"),
    ("tag-sum", "blocks may have less than the payload", "	if (!left)\n		return 0;", "	return 0;"),
    ("tag-left", "...or more", " || length > left ||", " ||"),
], "pcore_load": [
    ("stop-lost", "a stop in which a flush failed is a clean one", "		if (p->sb.flags & FZC_SB_TAINTED || p->in.ckpt_err)\n", "		if (p->in.ckpt_err)\n"),
    ("taint-doubt", "...and what it lost counts as durable in the image of a freeze in doubt", "	else\n		p->sb.flags &= ~FZC_SB_TAINTED;", "	p->sb.flags &= ~FZC_SB_TAINTED;"),
], "score_load": [
    ("stop-lost-2", "a stop is a clean one after a flush that failed", "		if (s->tainted)\n", "		if (0)\n"),
], "score_session": [
    ("downgrade", "blocks in the clear are staged where all are encrypted",
     "!(flags & FZC_WIRE_ENCRYPTED) == !(staged && s->sb.flags & FZC_SB_ENCRYPTED) &&", ""),
    ("rx-ended", "a frame is taken after the end of its connection", "	if (s->ended)\n		return -ESHUTDOWN;\n", ""),
    ("no-stage-key", "a session without the stage's key will do", "if (has_key(n) == !(sb->flags & FZC_SB_ENCRYPTED))", "if (0)"),
], "pcore": [
    ("start-merge", "a merge begins while the superblock says that nobody wrote", "	return p->sb_done && p->slots.used &&",
     "	return p->slots.used &&"),
    ("flush-record", "a flush waits for a record that cannot be written", "		if (fzc_slots_sync_left(&p->slots) && p->meta_failed)",
     "		if (0)"),
    ("taint-sent", "what a flush has lost is not sent again", "	fzc_p_restage(p, p->sb.flags & FZC_SB_FIRST_COPY);\n", ""),
    ("taint-changed", "...and unchanged with the next image", "	if (p->sb.flags & FZC_SB_TAINTED)\n		fzc_intent_fold", "	if (0)\n		fzc_intent_fold"),
    ("flush-lost", "what a flush has lost is told to nobody", "	p->sync_lost = true;\n	p->lost = true;", "	p->sync_lost = true;"),
    ("merge-beside", "slots are given up though a flush beside their merge failed", "	if (p->merge_step == MERGE_SYNC)\n		end_batch(p, true);\n", ""),
    ("merge-void", "...or one while they were copied", "	p->merge_void = p->merge_step == MERGE_COPY;\n", ""),
    ("flush-next", "who waits for the flush after one that failed is told nothing", "p->sync_ended + p->sync_lost;", "p->sync_ended;"),
    ("merge-written", "a block that is always written again is never merged", "	p->merge_firm = !n && !p->merge_pause;\n", "	p->merge_firm = false;\n"),
    ("merge-overlap", "...nor one with a write at any time", "		p->merge_firm = true;\n", ""),
    ("merge-lax", "writes wait for a merge that cannot begin", "		p->wake |= p->merge_firm;\n		p->merge_firm = false;\n", ""),
    ("copy-failed", "a count of copied frames that could not be written counts", "fzc_p_copied(p, false);", "fzc_p_copied(p, true);"),
], "pcore_io": [
    ("slot-copy", "a write to slots opens no region in the first copy either", "	in_place |= !!(p->sb.flags & FZC_SB_FIRST_COPY);\n", ""),
    ("flush-own", "a host's flush is passed on beside one of ours that may have failed", " && !p->sync_flushes)", ")"),
], "pcore_session": [
    ("copy-record", "what was copied counts with any write of the superblock", " || (recorded && x->record > p->sb_done))", ")"),
    ("pick-all", "without a transfer all blocks are looked at", " || p->xfers == FZC_MAX_XFERS ||", " ||"),
    ("pick-bytes", "any number of bytes may be in flight",
     " ||\n	    p->inflight.count << p->geo.block_shift >= FZC_MAX_INFLIGHT)", ")"),
], "slots": [
    ("unretire", "a slot that comes back during a sync is not named by it", "	fzc_slot_set_state(s, slot, FZC_SLOT_LIVE);\n	touch(s, slot);",
     "	fzc_slot_set_state(s, slot, FZC_SLOT_LIVE);\n	*fzc_slot_flags(s, slot) &= ~FZC_SLOT_NAMED;\n	touch(s, slot);"),
    ("R3-failed", "what a failed commit should have named is forgotten",
     "	for (p = fzc_map_next(&s->dirty, 0); p < s->dirty.nbits;\n	     p = fzc_map_next(&s->dirty, p + 1)) {", "	for (p = 0; 0;) {"),
    ("index-copy", "an index page goes over the only durable copy", "		set_copy(s, p, !fzc_slots_copy(s, p));\n	fzc_map_move",
     "		;\n	fzc_map_move"),
    ("index-lost", "...is not written again", "	fzc_map_move(&s->todo, &s->dirty, U32_MAX);\n	s->next", "	fzc_map_move(&s->todo, NULL, U32_MAX);\n	s->next"),
], "score": [
    ("flush-own-2", "a host's flush is passed on beside one of ours that may have failed", "	return s->in_flushing ? FZC_GO_PARK : FZC_GO_DATA;", "	return FZC_GO_DATA;"),
    ("start-merge-2", "a merge begins while the superblock says that nobody wrote", " || s->reads[!s->parity] || !s->sb_done)",
     " || s->reads[!s->parity])"),
    ("merge-stuck", "a merge that cannot read its stage is forgotten when something else is staged",
     "	s->stage_failed = s->merge_stuck;", "	s->stage_failed = false;"),
    ("flush-again", "DURABLE is said after a second flush, the first has failed", " && !s->ended ? written_prefix(s)", " ? written_prefix(s)"),
    ("merge-again", "a merge goes on though a flush for something else has failed", "s->overlay && s->merge_step < MERGE_DAMAGED;", "s->merge_step == MERGE_FLUSH;"),
    ("merged-early", "MERGED is said before that is durable", "		s->say_merged = s->has_image && !fzc_s_merging(s);",
     "		s->say_merged = s->has_image && !(s->sb.flags & FZC_SB_MERGING);"),
    ("tags-failed", "tags that could not be written count as written", "	if (err) {\n		s->sync_err = err;\n",
     "	if (err) {\n		s->sync_err = act->kind == FZC_ACT_TAGS ? 0 : err;\n"),
    ("flush-lost-2", "what a flush has lost of what the host of a recovered volume wrote is told to nobody", "		s->lost |= !!err;\n", ""),
    ("flush-beside-2", "...or not to who waits for a flush meanwhile", "	if (!err && s->lost)	/* beside it */\n		err = -EIO;\n", ""),
    ("merge-outside", "a merge goes on though a flush that somebody asked for has failed", "	if (err)\n		data_lost(s, err);\n	else if (fzc_s_writable(s))",
     "	if (err)\n		fzc_s_trouble(s, FZC_DATA, \"flushing\", err);\n	else if (fzc_s_writable(s))"),
    ("copy-outside", "...and what a first copy brought is said to be durable", "	s->sync_err = err;	/* if one is running */\n", ""),
    ("shown-early", "an image is shown before it is durable", "	sb->image = s->commit;\n", "	sb->image = s->shown = s->commit;\n"),
    ("damage-full", "more damage than can be noted is told as an I/O error", "	if (it->result == FZC_COPY_BAD)	/* and there", "	if (0)	/* and there"),
    ("fold-recover", "a recovery waits for a fold", "		if (s->fold_void)\n", "		if (0)\n"),
    ("give-up", "what a recovered volume cannot read is given up without an order", "(s->link == FZC_SLINK_UP || s->merge_gives_up))", "1)"),
], "intent": [
    ("all-changed", "all has changed for ever if no region could be closed", "	if (in->ckpt_full)\n		in->sb->flags", "	if (in->ckpt_full && !in->ckpt_err)\n		in->sb->flags"),
    ("all-lost", "...or no more though its pages are not durable", "	in->ckpt_full = false;\n	in->ckpt_fold = false;\n", ""),
    ("slot-meta", "slots are not written again while meta fails", "	if (in->failed && !all_changed(in, first, last + 1))", "	if (in->failed)"),
    ("slot-failed", "slots are given up though what they tell is not durable elsewhere", "	in->loose |= in->ckpt_loose && in->ckpt_err;\n", ""),
    ("R5-failed", "a region stays open though the write that clears its flag may be there", "			set_closed(in, r);	/* failed",
     "			err ? (void)(in->state[r] = OPEN) : set_closed(in, r);	/* failed"),
    ("firm", "writes to open regions never wait for one that needs room", "	in->firm = in->refused;\n", "	in->firm = false;\n"),
    ("firm-crowded", "...nor if there is always one in each", "	in->firm |= in->crowded;\n", ""),
    ("firm-wide", "...if there is room for one that needs fewer", "	if (room(in, in->refused))\n", "	if (room(in, 1))\n"),
    ("firm-slots", "...nor those to slots", " || (in->state[r] == OPEN && held(in, r)))\n			return", ")\n			return"),
    ("firm-again", "...nor those that take the short way", "if (in->state[r] == OPEN && !held(in, r))", "if (in->state[r] == OPEN)"),
    ("clearing", "a checkpoint lasts for as long as regions are wanted", "	in->ckpt_err = err;\n	ckpt_end(in);\n}\n\nstatic void ckpt_step",
     "	if (in->regions_wanted)\n		return;\n	in->ckpt_err = err;\n	ckpt_end(in);\n}\n\nstatic void ckpt_step"),
]}


def compiled(folder, source):
    obj = folder / f"{source.parent.name}-{source.stem}.o"
    subprocess.run(["cc", *CFLAGS, "-c", "-o", obj, source], check=True)
    return obj


def failures(folder, name, parts, part=None):
    """What the tests say of a program made of these."""
    exe = folder / name
    subprocess.run(["cc", *CFLAGS, "-o", exe, *parts, "-lcrypto"], check=True)
    said = []
    for word in ("slots", "cores") if part == "slots" else ("auth", "volkey", "cores", "tags", "intent"):
        run = subprocess.run([exe, word], capture_output=True, text=True, timeout=120, check=False)
        said += [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
        said += ["it died"] if run.returncode not in (0, 1) else []
    return said


def try_mutant(folder, parts, part, name, _, old, new):
    text = (CORE / f"{part}.c").read_text()
    if text.count(old) != 1:
        raise SystemExit(f"mutants: {name}: its text stands {text.count(old)} times in {part}.c, expected once")
    source = folder / "mutants" / f"{name}.c"
    source.parent.mkdir(exist_ok=True)
    source.write_text(text.replace(old, new))
    others = [obj for source, obj in parts.items() if source != CORE / f"{part}.c"]
    return failures(folder, name, [*others, compiled(folder, source)], part)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    wanted = [(part, *m) for part, list_ in MUTANTS.items() for m in list_
              if not sys.argv[2:] or m[0] in sys.argv[2:]]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        parts = dict(zip(PARTS, pool.map(lambda part: compiled(folder, part), PARTS)))
        if failures(folder, "whole", parts.values()):
            raise SystemExit("mutants: the tests fail with nothing broken")
        results = list(pool.map(lambda m: try_mutant(folder, parts, *m), wanted))
    for (_, name, what, _, _), found in zip(wanted, results):
        print(f"{'found   ' if found else 'SURVIVES'} {name:14} {what}\n         {' '.join(found)[:120]}", flush=True)
        passed += bool(found)
        failed += not found
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
