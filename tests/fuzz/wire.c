// SPDX-License-Identifier: GPL-2.0-only
/*
 * A frame as it comes from the network, to either side, before and after the
 * session: what is accepted is within every bound, and is what the encoder makes
 * of it.
 */
#include "fuzz.h"
#include "../../dm-freezecopy/core/ondisk.h"
#include "../../dm-freezecopy/core/wire.h"

/* First byte of an input. */
#define EXPECTS_DATA	0x01	/* to a secondary */
#define SEAL_HEAD	0x02	/* the checksums are made right, to get behind them */
#define SEAL_PAYLOAD	0x04
#define VOLUME_SHIFT	3	/* which of the volumes */

static const struct {
	u64 sectors;
	u32 block_size;
} volumes[] = {
	{ 8 * 1000 + 1, 4096 }, { 128 * 20 + 7, 65536 }, { 2048 * 5 + 2047, 1 << 20 }, { 1, 4096 },
	{ (FZC_MAX_BLOCKS - 1) * 8 + 1, 4096 }, { FZC_MAX_BLOCKS * 2048, 1 << 20 },
};

static char why[FZC_REASON_LEN];

/* A refusal says why, in one line. */
static void refused(int err)
{
	MUST(err == -EPROTO && memchr(why, 0, sizeof(why)) && strstr(why, ", expected "));
}

static void check_data(const struct fzc_frame *f, const struct fzc_geometry *geo, const u8 *head)
{
	u64 bytes = geo->sectors * FZC_SECTOR, from = f->first * geo->block_size;
	u8 again[FZC_WIRE_HEAD] __attribute__((aligned(8)));

	MUST(f->n && f->n <= FZC_MAX_RUN && f->first < geo->blocks &&
	     f->first + f->n <= geo->blocks && f->length <= FZC_MAX_RUN_BYTES && from < bytes);
	MUST(f->flags & FZC_WIRE_ZERO ? !f->length :
	     from + f->length == bytes || f->length == f->n * geo->block_size);
	fzc_wire_put_head(again, f);
	MUST(!memcmp(again, head, FZC_WIRE_HEAD));
}

/* What is behind the end of a text is not passed on, all else is. */
static void check_msg(const struct fzc_msg *msg, const u8 *head, const u8 *payload, u32 len)
{
	bool texts = msg->type != FZC_MSG_DURABLE && msg->type != FZC_MSG_FULL &&
		     msg->type != FZC_MSG_NEED;
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

static void run(const u8 *data, size_t len)
{
	struct fzc_wire_head head = { 0 };
	u8 all[FZC_MAX_CTL] __attribute__((aligned(8))) = { 0 }, how, *payload;
	struct fzc_geometry geo;
	struct fzc_frame f;
	struct fzc_msg m;
	u32 volume;
	int err;

	if (!len)
		return;
	how = *data++;
	len--;
	volume = (how >> VOLUME_SHIFT) % ARRAY_SIZE(volumes);
	MUST(!fzc_geometry_init(&geo, volumes[volume].sectors, volumes[volume].block_size, why));
	memcpy(&head, data, min_t(size_t, len, sizeof(head)));
	if (len > sizeof(head))
		memcpy(all, data + sizeof(head), min_t(size_t, len - sizeof(head), sizeof(all)));
	seal(&head, all, how);
	memset(why, 'x', sizeof(why));
	err = fzc_wire_parse_head(&f, &head, how & EXPECTS_DATA ? &geo : NULL, why);
	if (err) {
		refused(err);
		return;
	}
	if (f.type == FZC_MSG_DATA) {
		check_data(&f, &geo, (u8 *)&head);
		return;
	}
	MUST(f.length <= FZC_MAX_CTL);
	payload = malloc(f.length);	/* a byte too many is noticed */
	memcpy(payload, all, f.length);
	err = fzc_wire_parse_msg(&m, &f, payload, why);
	if (err) {
		refused(err);
	} else {
		check_bounds(&m);
		check_msg(&m, (u8 *)&head, payload, f.length);
	}
	free(payload);
}

static void seeds(void (*emit)(const void *data, size_t len))
{
	/* a frame is aligned, an input has a byte in front of it */
	u8 frame[8 + FZC_WIRE_HEAD + FZC_MAX_CTL] __attribute__((aligned(8)));
	u8 *buf = frame + 7;
	struct fzc_frame data = { .type = FZC_MSG_DATA, .frame = 1, .image = 1, .n = 1,
				  .length = 4096 };
	u8 type;

	*buf = SEAL_HEAD | SEAL_PAYLOAD;
	for (type = 1; type < FZC_NR_MSG; type++) {
		struct fzc_msg m = { .type = type };

		if (type == FZC_MSG_DATA)
			continue;
		if (type == FZC_MSG_HELLO)
			m.hello = (struct fzc_hello){ .role = FZC_PRIMARY, .sectors = 1,
						      .block_size = FZC_MIN_BLOCK };
		else if (type == FZC_MSG_SESSION)
			m.session.order = FZC_ORDER_RESUME;
		else if (type == FZC_MSG_NEED)
			m.n = 1;
		else if (type == FZC_MSG_REFUSE)
			strcpy(m.reason, "why not");
		emit(buf, 1 + fzc_wire_put_msg(frame + 8, &m));
	}
	buf[0] = EXPECTS_DATA | SEAL_HEAD;
	fzc_wire_put_head(frame + 8, &data);
	emit(buf, 1 + FZC_WIRE_HEAD);
	data.flags = FZC_WIRE_ZERO | FZC_WIRE_DIRECT;
	data.length = 0;
	data.n = 2;
	fzc_wire_put_head(frame + 8, &data);
	emit(buf, 1 + FZC_WIRE_HEAD);
}

const struct target target_wire = { "wire", run, seeds };
