// SPDX-License-Identifier: GPL-2.0-only
/*
 * A frame as it comes from the network, to either side, before and after the
 * session: what is accepted is within every bound, and is what the encoder makes
 * of it.
 */
#include "fuzz.h"
#include "../../dm-freezecopy/core/auth.h"
#include "../../dm-freezecopy/core/ondisk.h"
#include "../../dm-freezecopy/core/tags.h"
#include "../../dm-freezecopy/core/wire.h"

/* First byte of an input. */
#define EXPECTS_DATA	0x01	/* to a secondary */
#define SEAL_HEAD	0x02	/* the checksums are made right, to get behind them */
#define SEAL_PAYLOAD	0x04
#define VOLUME_SHIFT	3	/* which of the volumes: 3 bits */
#define PATCHED		0x40	/* of what follows, a sound frame of which fields are changed */
#define SEAL_TAGS	0x80	/* the last tag has the length that the others leave */

static const struct {
	u64 sectors;
	u32 block_size;
} volumes[] = {
	{ 8 * 1000 + 1, 4096 }, { 128 * 20 + 7, 65536 }, { 2048 * 5 + 2047, 1 << 20 }, { 1, 4096 },
	{ (FZC_MAX_BLOCKS - 1) * 8 + 1, 4096 }, { FZC_MAX_BLOCKS * 2048, 1 << 20 },
};

#define FRAME		(FZC_WIRE_HEAD + FZC_MAX_CTL)
#define MAX_BASES	32

/* Sound frames. */
static u8 bases[MAX_BASES][FRAME] __attribute__((aligned(8)));
static u32 nbases;

static char why[FZC_REASON_LEN];

/* Of the connection. */
static const u8 salt[FZC_SALT_BYTES] = { 's', 'a', 'l', 't' };
#define CIPHER		FZC_CIPHER_CHACHA
#define MOST_TAGS	(FZC_MAX_CTL / (u32)sizeof(struct fzc_wire_tag))	/* of an input */

/* A refusal says why, in one line. */
static void refused(int err)
{
	MUST(err == -EPROTO && memchr(why, 0, sizeof(why)) && strstr(why, " expected "));
}

static u32 bytes_of(const struct fzc_geometry *geo, u64 block)
{
	return min_t(u64, geo->block_size, geo->sectors * FZC_SECTOR - block * geo->block_size);
}

/* All bytes and all blocks are those of one span, and of the next. */
static void check_spans(const struct fzc_tag *tag, const struct fzc_frame *f, u32 block_size)
{
	u32 i = 0, span, bytes, sum = 0;

	while (i < f->n) {
		span = fzc_tag_span(tag + i, f->n - i, block_size, &bytes);
		MUST(span && span <= f->n - i);
		sum += bytes;
		for (; span--; i++) {
			u32 length = le32_to_cpu(tag[i].length);

			/* what follows is at the next block's place */
			MUST(span ? length == block_size : i + 1 == f->n || length < block_size);
			bytes -= length;
		}
		MUST(!bytes);
	}
	MUST(sum == f->length);
}

static void check_tags(const struct fzc_tag *tag, const struct fzc_wire_tag *wire,
		       const struct fzc_frame *f, const struct fzc_geometry *geo)
{
	struct fzc_wire_tag again;
	u64 sum = 0;
	u32 i;

	for (i = 0; i < f->n; i++) {
		MUST(fzc_tag_possible(&tag[i], bytes_of(geo, f->first + i)));
		MUST(!memcmp(tag[i].salt, salt, sizeof(salt)) && tag[i].cipher == CIPHER &&
		     le64_to_cpu(tag[i].frame) == f->frame && le32_to_cpu(tag[i].index) == i);
		fzc_wire_put_tag(&again, &tag[i]);
		MUST(!memcmp(&again, &wire[i], sizeof(again)));
		sum += le32_to_cpu(tag[i].length);
	}
	MUST(sum == f->length);
	check_spans(tag, f, geo->block_size);
}

/* Those that follow the head, from the first on again where they end. */
static struct fzc_wire_tag *make_tags(const struct fzc_frame *f, const u8 *after, bool seal)
{
	/* a byte too many is noticed */
	struct fzc_wire_tag *wire = malloc(f->n * sizeof(*wire));
	u32 left = f->length, i;

	for (i = 0; i < f->n; i++) {
		memcpy(&wire[i], after + i % MOST_TAGS * sizeof(*wire), sizeof(*wire));
		if (seal && i + 1 == f->n)
			wire[i].length = cpu_to_le32(left);
		left -= le32_to_cpu(wire[i].length);
	}
	return wire;
}

static void run_tags(const struct fzc_frame *f, const struct fzc_geometry *geo, const u8 *after,
		     bool seal)
{
	struct fzc_wire_tag *wire = make_tags(f, after, seal);
	struct fzc_tag *tag = malloc(f->n * sizeof(*tag));
	int err;

	memset(why, 'x', sizeof(why));
	err = fzc_wire_parse_tags(tag, wire, f, geo, salt, CIPHER, why);
	if (err)
		refused(err);
	else
		check_tags(tag, wire, f, geo);
	free(tag);
	free(wire);
}

static void check_data(const struct fzc_frame *f, const struct fzc_geometry *geo, const u8 *head)
{
	u64 bytes = geo->sectors * FZC_SECTOR, from = f->first * geo->block_size;
	u8 again[FZC_WIRE_HEAD] __attribute__((aligned(8)));
	u64 plain = min_t(u64, bytes - from, (u64)f->n * geo->block_size);

	MUST(f->n && f->n <= FZC_MAX_RUN && f->first < geo->blocks &&
	     f->first + f->n <= geo->blocks && plain <= FZC_MAX_RUN_BYTES && from < bytes);
	switch (f->flags & ~FZC_WIRE_DIRECT) {
	case 0:
		MUST(f->length == plain);
		break;
	case FZC_WIRE_ZERO:
		MUST(!f->length && !f->payload_crc);
		break;
	case FZC_WIRE_ENCRYPTED:
		MUST(f->length && f->length <= plain && !f->payload_crc);
		break;
	default:
		MUST((f->flags & ~FZC_WIRE_DIRECT) == FZC_WIRE_LZ4 ||
		     (f->flags & ~FZC_WIRE_DIRECT) == FZC_WIRE_ZSTD);
		MUST(f->length && f->length < plain);
	}
	fzc_wire_put_head(again, f);
	MUST(!memcmp(again, head, FZC_WIRE_HEAD));
}

/* What is behind the end of a text is not passed on, all else is. */
static void check_msg(const struct fzc_msg *msg, const u8 *head, const u8 *payload, u32 len)
{
	bool texts = msg->type != FZC_MSG_DURABLE && msg->type != FZC_MSG_FULL &&
		     msg->type != FZC_MSG_NEED && msg->type != FZC_MSG_AUTH;
	u8 first[FZC_WIRE_HEAD + FZC_MAX_CTL] __attribute__((aligned(8)));
	u8 second[sizeof(first)] __attribute__((aligned(8)));
	struct fzc_frame f;
	struct fzc_msg m;

	MUST(fzc_wire_put_msg(first, msg) == FZC_WIRE_HEAD + len);
	MUST(!fzc_wire_parse_head(&f, first, NULL, why) && f.length == len);
	MUST(!fzc_wire_parse_msg(&m, &f, first + FZC_WIRE_HEAD, why) && m.type == msg->type);
	MUST(fzc_wire_put_msg(second, &m) == FZC_WIRE_HEAD + len);
	MUST(!memcmp(first, second, FZC_WIRE_HEAD + len));
	if (texts)
		return;
	MUST(!memcmp(first, head, FZC_WIRE_HEAD));
	MUST(!memcmp(first + FZC_WIRE_HEAD, payload, len));
}

static bool is_zero(const u8 *bytes, u32 n)
{
	while (n && !bytes[n - 1])
		n--;
	return !n;
}

/* What a step does not use is zero. */
static void check_auth(const struct fzc_auth_msg *a)
{
	const u8 both = 1U << FZC_CIPHER_AES_GCM | 1U << FZC_CIPHER_CHACHA;

	MUST(a->role == FZC_PRIMARY || a->role == FZC_SECONDARY);
	switch (a->step) {
	case 1:
		MUST(!(a->ciphers & ~both) && is_zero(a->proof, sizeof(a->proof)));
		break;
	case 2:
		MUST(a->ciphers && (a->ciphers & both) == a->ciphers && a->ciphers != both &&
		     is_zero(a->key[1], FZC_KEY_ID));
		break;
	default:
		MUST(a->step == 3 && !a->ciphers && is_zero(a->key[0], sizeof(a->key)) &&
		     is_zero(a->nonce, sizeof(a->nonce)));
	}
}

static void check_bounds(const struct fzc_msg *m)
{
	switch (m->type) {
	case FZC_MSG_HELLO:
		MUST(m->hello.sectors && m->hello.block_size >= FZC_MIN_BLOCK &&
		     m->hello.block_size <= FZC_MAX_BLOCK);
		MUST(memchr(m->hello.image.label, 0, FZC_NAME_LEN) &&
		     memchr(m->hello.freeze.label, 0, FZC_NAME_LEN));
		break;
	case FZC_MSG_SESSION:
		MUST(m->session.order >= FZC_ORDER_RESUME &&
		     m->session.order <= FZC_ORDER_FIRST_COPY &&
		     memchr(m->session.freeze.label, 0, FZC_NAME_LEN));
		break;
	case FZC_MSG_NEED:
		MUST(m->n && m->first < FZC_MAX_BLOCKS && m->first + m->n <= FZC_MAX_BLOCKS);
		break;
	case FZC_MSG_REFUSE:
		MUST(memchr(m->reason, 0, FZC_REASON_LEN));
		for (const char *c = m->reason; *c; c++)
			MUST(*c >= ' ' && *c <= '~');
		break;
	case FZC_MSG_AUTH:
		check_auth(&m->auth);
		break;
	case FZC_MSG_FREEZE:
	case FZC_MSG_ALL_SENT:
	case FZC_MSG_COMMITTED:
	case FZC_MSG_MERGED:
	case FZC_MSG_ABORT:
		MUST(memchr(m->image.label, 0, FZC_NAME_LEN) &&
		     memchr(m->base.label, 0, FZC_NAME_LEN));
		break;
	}
}

static void seal(struct fzc_wire_head *h, const u8 *payload, u8 how)
{
	u32 len = le32_to_cpu(h->length);

	if (how & SEAL_PAYLOAD && len <= FZC_MAX_CTL)
		h->payload_crc = cpu_to_le32(fzc_wire_crc(payload, len));
	if (how & SEAL_HEAD)
		h->head_crc = cpu_to_le32(fzc_wire_crc(h, offsetof(struct fzc_wire_head, head_crc)));
}

/* A frame of each type, with what it cannot be without; AUTH of each step. */
static void fill(struct fzc_msg *m, u8 step)
{
	switch (m->type) {
	case FZC_MSG_HELLO:
		m->hello = (struct fzc_hello){ .role = FZC_PRIMARY, .sectors = 1,
					       .block_size = FZC_MIN_BLOCK };
		break;
	case FZC_MSG_SESSION:
		m->session.order = FZC_ORDER_RESUME;
		break;
	case FZC_MSG_NEED:
		m->n = 1;
		break;
	case FZC_MSG_REFUSE:
		memset(m->reason, 'r', FZC_REASON_LEN - 1);
		break;
	case FZC_MSG_FREEZE:
		memset(m->image.label, 'x', FZC_NAME_LEN - 1);
		break;
	case FZC_MSG_AUTH:
		m->auth.step = step;
		m->auth.role = step == 2 ? FZC_SECONDARY : FZC_PRIMARY;
		m->auth.ciphers = step == 1 ? 6 : step == 2 ? 4 : 0;
		memset(m->auth.key[0], 1, step < 3 ? FZC_KEY_ID : 0);
		memset(m->auth.key[1], 2, step < 2 ? FZC_KEY_ID : 0);
		memset(m->auth.nonce, 3, step < 3 ? FZC_AUTH_NONCE : 0);
		memset(m->auth.proof, 4, step > 1 ? FZC_KEY_BYTES : 0);
		break;
	}
}

/* Frames of the first volume's last blocks, with so much of each, and of the very last. */
static const struct {
	u32 n;
	u32 length[2];
	u8 packed[2];
} encrypted[] = {
	{ 2, { 4096, 512 }, { 0, 0 } },
	{ 2, { 100, 512 }, { FZC_WIRE_LZ4, 0 } },
	{ 2, { 4095, 511 }, { FZC_WIRE_ZSTD, FZC_WIRE_LZ4 } },
	{ 3, { 4096, 1 }, { 0, FZC_WIRE_ZSTD } },
	{ MOST_TAGS, { 4096, 512 }, { 0, 0 } },
};

static void make_encrypted(u32 n, u8 *frame)
{
	const u32 *length = encrypted[n].length;
	struct fzc_frame f = { .type = FZC_MSG_DATA, .frame = 7, .image = 1,
			       .first = 1001 - encrypted[n].n, .n = encrypted[n].n,
			       .flags = FZC_WIRE_ENCRYPTED,
			       .length = (encrypted[n].n - 1) * length[0] + length[1] };
	struct fzc_tag tag;
	u32 i;

	fzc_wire_put_head(frame, &f);
	for (i = 0; i < f.n; i++) {
		bool last = i + 1 == f.n;

		fzc_tag_init(&tag, salt, CIPHER, f.frame, i, length[last],
			     encrypted[n].packed[last]);
		memset(tag.tag, 't', sizeof(tag.tag));
		fzc_wire_put_tag((struct fzc_wire_tag *)(frame + FZC_WIRE_HEAD) + i, &tag);
	}
}

static void make_bases(void)
{
	static const struct fzc_frame data[] = {
		{ .type = FZC_MSG_DATA, .frame = 1, .image = 1, .n = 1, .length = 4096 },
		{ .type = FZC_MSG_DATA, .frame = 1, .image = 1, .n = 2,
		  .flags = FZC_WIRE_ZERO | FZC_WIRE_DIRECT },
		{ .type = FZC_MSG_DATA, .frame = 1, .image = 1, .n = 2, .length = 100,
		  .flags = FZC_WIRE_LZ4 | FZC_WIRE_DIRECT },
		{ .type = FZC_MSG_DATA, .frame = 1, .image = 1, .n = 2, .length = 8191,
		  .flags = FZC_WIRE_ZSTD },
	};
	u8 type, step;
	u32 i;

	if (nbases)
		return;
	for (i = 0; i < ARRAY_SIZE(data); i++)
		fzc_wire_put_head(bases[nbases++], &data[i]);
	for (i = 0; i < ARRAY_SIZE(encrypted); i++)
		make_encrypted(i, bases[nbases++]);
	for (type = 1; type < FZC_NR_MSG; type++) {
		if (type == FZC_MSG_DATA)
			continue;
		for (step = 1; step <= (type == FZC_MSG_AUTH ? 3 : 1); step++) {
			struct fzc_msg m = { .type = type };

			fill(&m, step);
			MUST(nbases < MAX_BASES);
			fzc_wire_put_msg(bases[nbases++], &m);
		}
	}
}

static void patch(struct in in, u8 *frame)
{
	u8 at, how;

	memcpy(frame, bases[take(&in) % nbases], FRAME);
	while (in.p < in.end) {
		at = take(&in);
		how = take(&in);
		change_field(&in, frame + 4 * at % (FRAME - 7), how);
	}
}

static void run(const u8 *data, size_t len)
{
	u8 frame[FRAME] __attribute__((aligned(8))) = { 0 }, how, *payload;
	struct fzc_wire_head *head = (struct fzc_wire_head *)frame;
	struct fzc_geometry geo;
	struct fzc_frame f;
	struct fzc_msg m;
	u32 volume;
	int err;

	if (!len)
		return;
	how = *data++;
	len--;
	volume = (how >> VOLUME_SHIFT & 7) % ARRAY_SIZE(volumes);
	MUST(!fzc_geometry_init(&geo, volumes[volume].sectors, volumes[volume].block_size, why));
	make_bases();
	if (how & PATCHED)
		patch((struct in){ data, data + len }, frame);
	else
		memcpy(frame, data, min_t(size_t, len, FRAME));
	seal(head, frame + FZC_WIRE_HEAD, how);
	memset(why, 'x', sizeof(why));
	err = fzc_wire_parse_head(&f, frame, how & EXPECTS_DATA ? &geo : NULL, why);
	if (err) {
		refused(err);
		return;
	}
	if (f.type == FZC_MSG_DATA) {
		check_data(&f, &geo, frame);
		if (f.flags & FZC_WIRE_ENCRYPTED)
			run_tags(&f, &geo, frame + FZC_WIRE_HEAD, how & SEAL_TAGS);
		return;
	}
	MUST(f.length <= FZC_MAX_CTL);
	payload = malloc(f.length);	/* a byte too many is noticed */
	memcpy(payload, frame + FZC_WIRE_HEAD, f.length);
	err = fzc_wire_parse_msg(&m, &f, payload, why);
	if (err) {
		refused(err);
	} else {
		check_bounds(&m);
		check_msg(&m, frame, payload, f.length);
	}
	free(payload);
}

static u32 behind_head(const struct fzc_wire_head *h)
{
	if (le16_to_cpu(h->type) != FZC_MSG_DATA)
		return le32_to_cpu(h->length);
	if (le32_to_cpu(h->flags) & FZC_WIRE_ENCRYPTED)
		return le32_to_cpu(h->n) * sizeof(struct fzc_wire_tag);
	return 0;
}

static void seeds(void (*emit)(const void *data, size_t len))
{
	u8 buf[1 + FRAME];
	u32 i;

	make_bases();
	for (i = 0; i < nbases; i++) {
		const struct fzc_wire_head *h = (struct fzc_wire_head *)bases[i];
		bool data = le16_to_cpu(h->type) == FZC_MSG_DATA;

		buf[0] = SEAL_HEAD | (data ? EXPECTS_DATA : SEAL_PAYLOAD);
		memcpy(buf + 1, bases[i], FRAME);
		emit(buf, 1 + FZC_WIRE_HEAD + behind_head(h));
		buf[0] |= PATCHED;
		memcpy(buf + 1, (u8 []){ i, offsetof(struct fzc_wire_head, flags) / 4, 0x0c, 0 }, 4);
		emit(buf, 2);
		emit(buf, 5);
	}
}

const struct target target_wire = { "wire", run, seeds };
