// SPDX-License-Identifier: GPL-2.0-only
#include "load.h"
#include "volkey.h"

static const char *const role_name[] = { "none", "primary", "secondary" };
static const char *const dev_name[] = { "meta", "data", "diff", "diff-b" };

static const char *name_of(u8 role)
{
	return role < ARRAY_SIZE(role_name) ? role_name[role] : "unknown";
}

static int choose_super(const struct fzc_page *a, const struct fzc_page *b, char *why)
{
	const struct fzc_page *page[2] = { a, b };
	char text[2][FZC_REASON_LEN];
	int v[2], i, best = -1;

	for (i = 0; i < 2; i++) {
		v[i] = fzc_page_check(page[i], FZC_PAGE_SUPER, text[i]);
		if (v[i] == FZC_PAGE_NEWER) {
			scnprintf(why, FZC_REASON_LEN, "meta: superblock %d: %.200s", i, text[i]);
			return -EINVAL;
		}
		if (v[i] == FZC_PAGE_OK &&
		    (best < 0 || le64_to_cpu(b->head.seq) > le64_to_cpu(a->head.seq)))
			best = i;
	}
	if (best >= 0)
		return best;
	if (v[0] == FZC_PAGE_EMPTY && v[1] == FZC_PAGE_EMPTY)
		return 2;
	i = v[0] == FZC_PAGE_EMPTY;
	scnprintf(why, FZC_REASON_LEN,
		  "meta: superblock %d: %.120s (to give the device up, zero its first 8 KiB)", i,
		  text[i]);
	return -EINVAL;
}

static int check_devices(const struct fzc_super *sb, const struct fzc_opts *opts, char *why)
{
	int i;

	for (i = 0; i < FZC_NR_DEVS; i++) {
		const char *had = sb->device[i].id, *has = opts->device[i].id;

		if (sb->device[i].sectors && sb->device[i].sectors > opts->device[i].sectors) {
			scnprintf(why, FZC_REASON_LEN,
				  "%s device has %llu sectors, expected at least %llu as recorded in meta",
				  dev_name[i], (unsigned long long)opts->device[i].sectors,
				  (unsigned long long)sb->device[i].sectors);
			return -EINVAL;
		}
		if (had[0] && has[0] && strcmp(had, has)) {
			scnprintf(why, FZC_REASON_LEN,
				  "%s device is %.60s, expected %.60s as recorded in meta: devices swapped?",
				  dev_name[i], has, had);
			return -EINVAL;
		}
	}
	return 0;
}

static int check_page(const struct fzc_super *sb, const struct fzc_opts *opts, u8 dev,
		      u64 offset, const struct fzc_page *page, char *why)
{
	char text[FZC_REASON_LEN];
	int err;

	if (!fzc_page_sound(page) || le64_to_cpu(page->head.format) != sb->format)
		return 0;
	err = fzc_volkey_check(opts->vk, &sb->keys, dev, offset, page, text);
	if (err)
		scnprintf(why, FZC_REASON_LEN, "%s: %.240s", dev_name[dev], text);
	return err;
}

int fzc_load_check(const struct fzc_super *sb, const struct fzc_opts *opts,
		   const struct fzc_load *load, const struct fzc_page *a,
		   const struct fzc_page *b, char *why)
{
	int err;

	if (!opts->vk || !(sb->flags & FZC_SB_ENCRYPTED) || sb->flags & FZC_SB_FORMATTING)
		return 0;
	err = check_page(sb, opts, load->dev, load->offset, a, why);
	if (!err && load->both)
		err = check_page(sb, opts, load->dev, load->offset + FZC_PAGE, b, why);
	return err;
}

static bool is_formatting(const struct fzc_page *page)
{
	return le32_to_cpu(page->super.flags) & FZC_SB_FORMATTING;
}

/*
 * The superblock that counts, @pick of @page, says what the keys are; the other one, if
 * it is sound, is older, and of the same volume.  One of a formatting has neither keys nor
 * a signature, so that its flags prove nothing.
 */
static int check_supers(struct fzc_super *sb, const struct fzc_opts *opts,
			const struct fzc_page *const page[2], int pick, char *why)
{
	bool other = fzc_page_sound(page[!pick]);
	char text[FZC_REASON_LEN];
	int err;

	if (other && (page[!pick]->head.format != page[pick]->head.format ||
		      (is_formatting(page[pick]) && !is_formatting(page[!pick])))) {
		scnprintf(why, FZC_REASON_LEN,
			  "meta: superblock %d is newer than %d and %s: devices swapped, or changed by somebody",
			  pick, !pick,
			  is_formatting(page[pick]) ? "says that formatting has only begun" :
						      "of another volume");
		return -EBADMSG;
	}
	if (is_formatting(page[pick]))
		return 0;
	err = fzc_volkey_unwrap(opts->vk, page[pick], &sb->keys, text);
	if (err) {
		scnprintf(why, FZC_REASON_LEN, "meta: superblock %d: %.220s", pick, text);
		return err;
	}
	err = check_page(sb, opts, FZC_META, FZC_OFF_SUPER + pick * FZC_PAGE, page[pick], why);
	if (!err && other && !is_formatting(page[!pick]))
		err = check_page(sb, opts, FZC_META, FZC_OFF_SUPER + !pick * FZC_PAGE,
				 page[!pick], why);
	return err;
}

static void fresh_super(struct fzc_super *sb, const struct fzc_geometry *geo,
			const struct fzc_opts *opts, u8 role)
{
	memset(sb, 0, sizeof(*sb));
	sb->role = role;
	sb->format = opts->format;
	sb->pair = opts->pair;
	sb->sectors = geo->sectors;
	sb->block_size = geo->block_size;
	sb->regions = geo->regions;
	sb->next_gen = 1;
	sb->gen[0] = 1;
	fzc_note_devices(sb, opts);
}

/* What a formatting goes on with; of the rest of that superblock, which is not signed, nothing. */
static void formatting_super(struct fzc_super *sb, const struct fzc_geometry *geo,
			     const struct fzc_opts *opts, u8 role)
{
	u64 format = sb->format, seq = sb->seq, next_gen = sb->next_gen;

	fresh_super(sb, geo, opts, role);
	sb->format = format;
	sb->seq = seq;
	sb->next_gen = next_gen;
}

/* Is it that of the volume that the table describes? */
static int check_table(const struct fzc_super *sb, const struct fzc_geometry *geo,
		       const struct fzc_opts *opts, u8 role, bool fresh, char *why)
{
	if (sb->role != role)
		scnprintf(why, FZC_REASON_LEN, "meta belongs to a %s, the table says %s",
			  name_of(sb->role), name_of(role));
	else if (sb->sectors != geo->sectors)
		scnprintf(why, FZC_REASON_LEN, "meta is for %llu sectors, the table says %llu",
			  (unsigned long long)sb->sectors, (unsigned long long)geo->sectors);
	else if (sb->block_size != geo->block_size)
		scnprintf(why, FZC_REASON_LEN, "meta has block %u, the table says %u",
			  sb->block_size, geo->block_size);
	else if (sb->regions != geo->regions)
		scnprintf(why, FZC_REASON_LEN, "meta has %u regions, expected %u", sb->regions,
			  geo->regions);
	else if (!fresh && !(sb->flags & FZC_SB_ENCRYPTED) == opts->encrypt)
		scnprintf(why, FZC_REASON_LEN,
			  "meta was created with stage_encryption %s, the table says %s; expected the same, or remove --wipe and create on both sides",
			  opts->encrypt ? "off" : "on", opts->encrypt ? "on" : "off");
	else if (!fzc_id_is_zero(&opts->pair) && !fzc_id_is_zero(&sb->pair) &&
		 !fzc_id_equal(&opts->pair, &sb->pair))
		scnprintf(why, FZC_REASON_LEN,
			  "meta is of pair %02x%02x%02x%02x..., the table says %02x%02x%02x%02x...",
			  sb->pair.b[0], sb->pair.b[1], sb->pair.b[2], sb->pair.b[3],
			  opts->pair.b[0], opts->pair.b[1], opts->pair.b[2], opts->pair.b[3]);
	else
		return check_devices(sb, opts, why);
	return -EINVAL;
}

int fzc_load_super(struct fzc_super *sb, const struct fzc_geometry *geo,
		   const struct fzc_opts *opts, u8 role, const struct fzc_page *a,
		   const struct fzc_page *b, u8 *copy, bool *fresh, char *why)
{
	const struct fzc_page *const page[2] = { a, b };
	int pick = choose_super(a, b, why), err;

	*fresh = pick == 2;
	*copy = 0;
	if (pick < 0)
		return pick;
	if (*fresh) {
		fresh_super(sb, geo, opts, role);
		return 0;
	}
	*copy = pick;
	err = fzc_super_decode(sb, page[pick], why);
	if (!err && opts->vk && sb->flags & (FZC_SB_ENCRYPTED | FZC_SB_FORMATTING))
		err = check_supers(sb, opts, page, pick, why);
	if (err)
		return err;
	*fresh = sb->flags & FZC_SB_FORMATTING;
	err = check_table(sb, geo, opts, role, *fresh, why);
	if (!err && *fresh)
		formatting_super(sb, geo, opts, role);
	return err;
}

int fzc_load_diff(const struct fzc_super *sb, const struct fzc_geometry *geo,
		  const struct fzc_page *page, u8 which, bool fresh, char *why)
{
	char text[FZC_REASON_LEN];
	int v = fzc_page_check(page, FZC_PAGE_DIFF, text);
	u32 slots = geo->slots[which == FZC_DIFF_B];

	if (fresh && v == FZC_PAGE_EMPTY)
		return 0;
	if (v != FZC_PAGE_OK)
		scnprintf(why, FZC_REASON_LEN, "%s: first page: %.200s", dev_name[which], text);
	else if (le64_to_cpu(page->head.format) != sb->format ||
		 le32_to_cpu(page->diff.which) != which)
		scnprintf(why, FZC_REASON_LEN,
			  "%s belongs to another volume: format %016llx place %u, expected %016llx place %u",
			  dev_name[which], (unsigned long long)le64_to_cpu(page->head.format),
			  le32_to_cpu(page->diff.which), (unsigned long long)sb->format, which);
	else if (le32_to_cpu(page->diff.flags) != (geo->tagged ? FZC_DIFF_TAGGED : 0))
		scnprintf(why, FZC_REASON_LEN, "%s: first page: flags %#x, expected %#x",
			  dev_name[which], le32_to_cpu(page->diff.flags),
			  geo->tagged ? (u32)FZC_DIFF_TAGGED : 0);
	else if (le32_to_cpu(page->diff.slots) != slots)
		scnprintf(why, FZC_REASON_LEN,
			  "%s was formatted with %u slots, its size now gives %u", dev_name[which],
			  le32_to_cpu(page->diff.slots), slots);
	else
		return 0;
	return -EINVAL;
}

int fzc_load_index(struct fzc_slots *slots, const struct fzc_super *sb, u64 log, u64 blocks,
		   u64 *seq, struct fzc_load *load, const struct fzc_page *a,
		   const struct fzc_page *b, char *why)
{
	int pick = fzc_page_pick(a, b, FZC_PAGE_INDEX, sb->format, log, load->page);
	const struct fzc_page *page = pick ? b : a;

	if (pick < 0)
		return 0;
	if (load->chunk)
		fzc_slots_give(slots, load->chunk);
	load->chunk = NULL;
	*seq = max(*seq, le64_to_cpu(page->head.seq));
	return fzc_slots_load(slots, load->page, pick, &page->index, blocks, why, FZC_REASON_LEN);
}

void fzc_note_devices(struct fzc_super *sb, const struct fzc_opts *opts)
{
	int i;

	for (i = 0; i < FZC_NR_DEVS; i++) {
		memcpy(sb->device[i].id, opts->device[i].id, FZC_DEVICE_ID_LEN);
		sb->device[i].sectors = opts->device[i].sectors;
	}
}

static void format_diff(const struct fzc_super *sb, const struct fzc_geometry *geo, u8 which,
			struct fzc_page *page, struct fzc_act *act)
{
	struct fzc_diff_body *d = &page->diff;

	memcpy(d->pair, sb->pair.b, 16);
	d->role = cpu_to_le32(sb->role);
	d->which = cpu_to_le32(which);
	d->sectors = cpu_to_le64(geo->sectors);
	d->block_size = cpu_to_le32(geo->block_size);
	d->slots = cpu_to_le32(geo->slots[which == FZC_DIFF_B]);
	d->flags = cpu_to_le32(geo->tagged ? FZC_DIFF_TAGGED : 0);
	fzc_page_seal(page, FZC_PAGE_DIFF, sb->format, 1, 0, 0);
	act->dev = which;
	act->offset = 0;
}

bool fzc_format_page(const struct fzc_super *sb, const struct fzc_geometry *geo, u32 step,
		     struct fzc_page *page, struct fzc_act *act)
{
	struct fzc_super first;

	memset(page, 0, sizeof(*page));
	act->kind = FZC_ACT_WRITE;
	act->fua = true;
	switch (step) {
	case 0: /* from here on the formatting is ours to finish */
		/* there is no second copy yet: nothing outside of one sector, which cannot tear */
		first = *sb;
		memset(first.device, 0, sizeof(first.device));
		fzc_super_encode(&first, page);
		act->dev = FZC_META;
		act->offset = FZC_OFF_SUPER + FZC_PAGE;
		return true;
	case 1:
		fzc_page_seal(page, FZC_PAGE_REGIONS, sb->format, 1, 0, 0);
		act->dev = FZC_META;
		act->offset = FZC_OFF_REGIONS;
		return true;
	case 2:
		format_diff(sb, geo, FZC_DIFF, page, act);
		return true;
	case 3:
		if (sb->role != FZC_SECONDARY)
			break;
		format_diff(sb, geo, FZC_DIFF_B, page, act);
		return true;
	}
	act->kind = FZC_ACT_NONE;
	return false;
}
