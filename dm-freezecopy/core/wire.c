// SPDX-License-Identifier: GPL-2.0-only
#include "wire.h"
#include "ondisk.h"

/* Payloads of control frames.  What is reserved is zero. */

struct wire_image {
	__le64 number;
	__le64 time;
	u8 id[16];
	char label[FZC_NAME_LEN];
};

struct wire_hello {
	u8 role;
	u8 blank;
	u8 recovered;
	u8 merging;
	u8 direct;
	u8 encrypted;
	u8 reserved[2];
	u8 pair[16];
	__le64 sectors;
	__le32 block_size;
	__le32 reserved2;
	struct wire_image image;
	struct wire_image freeze;
	u8 stage[16];
	u8 session[16];
	__le64 durable;
};

struct wire_session {
	u8 order;
	u8 reserved[7];
	u8 pair[16];
	u8 session[16];
	u8 stage[16];
	__le64 building;
	struct wire_image freeze;
	u8 stage_key[FZC_KEY_BYTES];
};

/* DURABLE, FULL: frame.  NEED: first, n. */
struct wire_frames {
	__le64 frame;
	__le64 first;
	__le32 n;
	__le32 reserved;
};

/* FREEZE, ALL_SENT, COMMITTED, MERGED, ABORT */
struct wire_freeze {
	struct wire_image image;
	struct wire_image base;
	u8 stage[16];
	__le64 frames;
};

struct wire_refuse {
	char reason[FZC_REASON_LEN];
};

struct wire_auth {
	u8 step;
	u8 role;
	u8 ciphers;
	u8 reserved[5];
	u8 key[2][FZC_KEY_ID];
	u8 nonce[FZC_AUTH_NONCE];
	u8 proof[FZC_KEY_BYTES];
};

static const u16 payload_size[FZC_NR_MSG] = {
	[FZC_MSG_HELLO] = sizeof(struct wire_hello),
	[FZC_MSG_REFUSE] = sizeof(struct wire_refuse),
	[FZC_MSG_SESSION] = sizeof(struct wire_session),
	[FZC_MSG_DURABLE] = sizeof(struct wire_frames),
	[FZC_MSG_FREEZE] = sizeof(struct wire_freeze),
	[FZC_MSG_ALL_SENT] = sizeof(struct wire_freeze),
	[FZC_MSG_COMMITTED] = sizeof(struct wire_freeze),
	[FZC_MSG_MERGED] = sizeof(struct wire_freeze),
	[FZC_MSG_ABORT] = sizeof(struct wire_freeze),
	[FZC_MSG_FULL] = sizeof(struct wire_frames),
	[FZC_MSG_NEED] = sizeof(struct wire_frames),
	[FZC_MSG_AUTH] = sizeof(struct wire_auth),
	/* SESSION_OK and PING have none, DATA has blocks */
};

static void check_layout(void)
{
	BUILD_BUG_ON(sizeof(struct fzc_wire_head) != FZC_WIRE_HEAD);
	BUILD_BUG_ON(offsetof(struct fzc_wire_head, frame) != 16);
	BUILD_BUG_ON(offsetof(struct fzc_wire_head, head_crc) != 60);
	BUILD_BUG_ON(sizeof(struct wire_image) != 96);
	BUILD_BUG_ON(sizeof(struct wire_hello) != 272);
	BUILD_BUG_ON(offsetof(struct wire_hello, image) != 40);
	BUILD_BUG_ON(sizeof(struct wire_session) != 192);
	BUILD_BUG_ON(offsetof(struct wire_session, freeze) != 64);
	BUILD_BUG_ON(sizeof(struct wire_frames) != 24);
	BUILD_BUG_ON(sizeof(struct wire_freeze) != 216);
	BUILD_BUG_ON(sizeof(struct wire_auth) != 88);
	BUILD_BUG_ON(sizeof(struct wire_refuse) > FZC_MAX_CTL);
	BUILD_BUG_ON(sizeof(struct wire_hello) > FZC_MAX_CTL);
}

/* Every check of this file ends here: field, value, expected. */
static bool is(char *why, const char *field, u64 value, bool good, const char *expected)
{
	if (!good)
		scnprintf(why, FZC_REASON_LEN, "frame: %s %llu, expected %s", field,
			  (unsigned long long)value, expected);
	return good;
}

static bool is_zero(const u8 *bytes, u32 n)
{
	while (n && !bytes[n - 1])
		n--;
	return !n;
}

u32 fzc_wire_data_length(const struct fzc_geometry *geo, u64 first, u32 n, u32 flags)
{
	u64 start = first << geo->block_shift, end = (first + n) << geo->block_shift;

	if (flags & FZC_WIRE_ZERO)
		return 0;
	return min_t(u64, end, geo->sectors * FZC_SECTOR) - start;
}

/* Each of these says what the payload is. */
static bool one_form(u32 flags)
{
	u32 form = flags & (FZC_WIRE_ZERO | FZC_WIRE_COMPRESSED | FZC_WIRE_ENCRYPTED);

	return !(form & (form - 1));
}

/* What is compressed has to be less, or it would not have been. */
static bool check_length(const struct fzc_frame *f, const struct fzc_geometry *geo, char *why)
{
	u32 plain = fzc_wire_data_length(geo, f->first, f->n, f->flags);

	if (f->flags & FZC_WIRE_COMPRESSED)
		return is(why, "length", f->length, f->length && f->length < plain,
			  "1 or more, and less than the length of its blocks");
	if (f->flags & FZC_WIRE_ENCRYPTED)
		return is(why, "length", f->length, f->length && f->length <= plain,
			  "1 or more, and at most the length of its blocks");
	return is(why, "length", f->length, f->length == plain, "the length of its blocks");
}

static bool check_crc(const struct fzc_frame *f, char *why)
{
	bool has = f->length && !(f->flags & FZC_WIRE_ENCRYPTED);

	return is(why, "payload_crc", f->payload_crc, has || !f->payload_crc,
		  "0 without a payload, or with blocks that have tags");
}

static bool check_data(const struct fzc_frame *f, const struct fzc_geometry *geo, char *why)
{
	return is(why, "type", f->type, geo, "no DATA here") &&
	       is(why, "flags", f->flags,
		  !(f->flags & ~(FZC_WIRE_ZERO | FZC_WIRE_DIRECT | FZC_WIRE_COMPRESSED |
				 FZC_WIRE_ENCRYPTED)) && one_form(f->flags),
		  "direct (2) or not, and one of zero (1), lz4 (4), zstd (8), encrypted (16)") &&
	       is(why, "number", f->frame, f->frame, "1 or more") &&
	       is(why, "n", f->n,
		  f->n && f->n <= FZC_MAX_RUN &&
		  (u64)f->n << geo->block_shift <= FZC_MAX_RUN_BYTES,
		  "1 to 256 blocks of together 1 MiB at most") &&
	       is(why, "first", f->first,
		  f->first < geo->blocks && f->n <= geo->blocks - f->first,
		  "all blocks to be within the volume") &&
	       check_length(f, geo, why) && check_crc(f, why);
}

static bool check_ctl(const struct fzc_frame *f, char *why)
{
	return is(why, "flags", f->flags, !f->flags, "0 in a control frame") &&
	       is(why, "number", f->frame, !f->frame, "0 in a control frame") &&
	       is(why, "image", f->image, !f->image, "0 in a control frame") &&
	       is(why, "first", f->first, !f->first, "0 in a control frame") &&
	       is(why, "n", f->n, !f->n, "0 in a control frame") &&
	       is(why, "length", f->length, f->length == payload_size[f->type],
		  "the size of its type's structure");
}

/* That this is a frame of our kind at all. */
static bool check_head(const struct fzc_wire_head *h, char *why)
{
	u32 type = le16_to_cpu(h->type);

	return is(why, "magic", le32_to_cpu(h->magic), le32_to_cpu(h->magic) == FZC_WIRE_MAGIC,
		  "1464031814: the peer is no freezecopy") &&
	       is(why, "version", le16_to_cpu(h->version),
		  le16_to_cpu(h->version) == FZC_WIRE_VERSION,
		  "1: run the same version on both sides") &&
	       is(why, "head_crc", le32_to_cpu(h->head_crc),
		  le32_to_cpu(h->head_crc) ==
		  fzc_wire_crc(h, offsetof(struct fzc_wire_head, head_crc)),
		  "the checksum of the head") &&
	       is(why, "features", le32_to_cpu(h->features),
		  !(le32_to_cpu(h->features) & ~FZC_WIRE_FEATURES),
		  "0: run the same version on both sides") &&
	       is(why, "reserved", le32_to_cpu(h->reserved[0] | h->reserved[1]),
		  !(h->reserved[0] | h->reserved[1]), "0") &&
	       is(why, "type", type, type && type < FZC_NR_MSG, "1 to 15");
}

int fzc_wire_parse_head(struct fzc_frame *f, const void *head, const struct fzc_geometry *geo,
			char *why)
{
	const struct fzc_wire_head *h = head;
	bool good;

	check_layout();
	memset(f, 0, sizeof(*f));
	if (!check_head(h, why))
		return -EPROTO;
	f->type = le16_to_cpu(h->type);
	f->flags = le32_to_cpu(h->flags);
	f->length = le32_to_cpu(h->length);
	f->frame = le64_to_cpu(h->frame);
	f->image = le64_to_cpu(h->image);
	f->first = le64_to_cpu(h->first);
	f->n = le32_to_cpu(h->n);
	f->payload_crc = le32_to_cpu(h->payload_crc);
	good = f->type == FZC_MSG_DATA ? check_data(f, geo, why) : check_ctl(f, why);
	return good ? 0 : -EPROTO;
}

void fzc_wire_put_head(void *head, const struct fzc_frame *f)
{
	struct fzc_wire_head *h = head;

	memset(h, 0, sizeof(*h));
	h->magic = cpu_to_le32(FZC_WIRE_MAGIC);
	h->version = cpu_to_le16(FZC_WIRE_VERSION);
	h->type = cpu_to_le16(f->type);
	h->flags = cpu_to_le32(f->flags);
	h->length = cpu_to_le32(f->length);
	h->frame = cpu_to_le64(f->frame);
	h->image = cpu_to_le64(f->image);
	h->first = cpu_to_le64(f->first);
	h->n = cpu_to_le32(f->n);
	h->payload_crc = cpu_to_le32(f->payload_crc);
	h->features = cpu_to_le32(FZC_WIRE_FEATURES);
	h->head_crc = cpu_to_le32(fzc_wire_crc(h, offsetof(struct fzc_wire_head, head_crc)));
}

/* @to is all zero, and stays so behind the text. */
static void put_text(char *to, const char *from, u32 size)
{
	memcpy(to, from, strnlen(from, size - 1));
}

static bool get_text(char *to, const char *from, u32 size, const char *field, char *why)
{
	if (!is(why, field, size, strnlen(from, size) < size, "a text that ends before that"))
		return false;
	memcpy(to, from, size);
	return true;
}

static void put_image(struct wire_image *d, const struct fzc_img *img)
{
	d->number = cpu_to_le64(img->number);
	d->time = cpu_to_le64(img->time);
	memcpy(d->id, img->id.b, 16);
	put_text(d->label, img->label, FZC_NAME_LEN);
}

static bool get_image(struct fzc_img *img, const struct wire_image *d, char *why)
{
	img->number = le64_to_cpu(d->number);
	img->time = le64_to_cpu(d->time);
	memcpy(img->id.b, d->id, 16);
	return get_text(img->label, d->label, FZC_NAME_LEN, "label length", why);
}

static void put_hello(struct wire_hello *d, const struct fzc_hello *h)
{
	d->role = h->role;
	d->blank = h->blank;
	d->recovered = h->recovered;
	d->merging = h->merging;
	d->direct = h->direct;
	d->encrypted = h->encrypted;
	memcpy(d->pair, h->pair.b, 16);
	d->sectors = cpu_to_le64(h->sectors);
	d->block_size = cpu_to_le32(h->block_size);
	put_image(&d->image, &h->image);
	put_image(&d->freeze, &h->freeze);
	memcpy(d->stage, h->stage.b, 16);
	memcpy(d->session, h->session.b, 16);
	d->durable = cpu_to_le64(h->durable);
}

static bool check_hello(const struct wire_hello *d, char *why)
{
	u32 block = le32_to_cpu(d->block_size);

	return is(why, "role", d->role, d->role == FZC_PRIMARY || d->role == FZC_SECONDARY,
		  "1 (primary) or 2 (secondary)") &&
	       is(why, "blank", d->blank, d->blank <= 1, "0 or 1") &&
	       is(why, "recovered", d->recovered, d->recovered <= 1, "0 or 1") &&
	       is(why, "merging", d->merging, d->merging <= 1, "0 or 1") &&
	       is(why, "direct", d->direct, d->direct <= 1, "0 or 1") &&
	       is(why, "encrypted", d->encrypted, d->encrypted <= 1, "0 or 1") &&
	       is(why, "reserved", 1, !d->reserved[0] && !d->reserved[1] && !d->reserved2,
		  "0") &&
	       is(why, "sectors", 0, d->sectors, "1 or more") &&
	       is(why, "block size", block,
		  block >= FZC_MIN_BLOCK && block <= FZC_MAX_BLOCK && !(block & (block - 1)),
		  "a power of two from 4096 to 1048576");
}

static bool get_hello(struct fzc_hello *h, const struct wire_hello *d, char *why)
{
	if (!check_hello(d, why))
		return false;
	h->role = d->role;
	h->blank = d->blank;
	h->recovered = d->recovered;
	h->merging = d->merging;
	h->direct = d->direct;
	h->encrypted = d->encrypted;
	memcpy(h->pair.b, d->pair, 16);
	h->sectors = le64_to_cpu(d->sectors);
	h->block_size = le32_to_cpu(d->block_size);
	memcpy(h->stage.b, d->stage, 16);
	memcpy(h->session.b, d->session, 16);
	h->durable = le64_to_cpu(d->durable);
	return get_image(&h->image, &d->image, why) && get_image(&h->freeze, &d->freeze, why);
}

static void put_session(struct wire_session *d, const struct fzc_session *s)
{
	d->order = s->order;
	memcpy(d->pair, s->pair.b, 16);
	memcpy(d->session, s->session.b, 16);
	memcpy(d->stage, s->stage.b, 16);
	d->building = cpu_to_le64(s->building);
	put_image(&d->freeze, &s->freeze);
	memcpy(d->stage_key, s->stage_key, FZC_KEY_BYTES);
}

static bool get_session(struct fzc_session *s, const struct wire_session *d, char *why)
{
	if (!is(why, "order", d->order,
		d->order >= FZC_ORDER_RESUME && d->order <= FZC_ORDER_FIRST_COPY, "1 to 3") ||
	    !is(why, "reserved", 1, is_zero(d->reserved, sizeof(d->reserved)), "0"))
		return false;
	s->order = d->order;
	memcpy(s->pair.b, d->pair, 16);
	memcpy(s->session.b, d->session, 16);
	memcpy(s->stage.b, d->stage, 16);
	s->building = le64_to_cpu(d->building);
	memcpy(s->stage_key, d->stage_key, FZC_KEY_BYTES);
	return get_image(&s->freeze, &d->freeze, why);
}

static void put_frames(struct wire_frames *d, const struct fzc_msg *msg)
{
	if (msg->type == FZC_MSG_NEED) {
		d->first = cpu_to_le64(msg->first);
		d->n = cpu_to_le32(msg->n);
	} else {
		d->frame = cpu_to_le64(msg->frame);
	}
}

static bool get_frames(struct fzc_msg *msg, const struct wire_frames *d, char *why)
{
	bool need = msg->type == FZC_MSG_NEED;

	msg->frame = le64_to_cpu(d->frame);
	msg->first = le64_to_cpu(d->first);
	msg->n = le32_to_cpu(d->n);
	return is(why, "reserved", le32_to_cpu(d->reserved), !d->reserved, "0") &&
	       is(why, "frame", msg->frame, !need || !msg->frame, "0 in NEED") &&
	       is(why, "first", msg->first, msg->first < (need ? FZC_MAX_BLOCKS : 1),
		  "a block in NEED, else 0") &&
	       is(why, "n", msg->n,
		  need ? msg->n && msg->n <= FZC_MAX_BLOCKS - msg->first : !msg->n,
		  "1 or more blocks in NEED, else 0");
}

static void put_freeze(struct wire_freeze *d, const struct fzc_msg *msg)
{
	put_image(&d->image, &msg->image);
	put_image(&d->base, &msg->base);
	memcpy(d->stage, msg->stage.b, 16);
	d->frames = cpu_to_le64(msg->frames);
}

static bool get_freeze(struct fzc_msg *msg, const struct wire_freeze *d, char *why)
{
	memcpy(msg->stage.b, d->stage, 16);
	msg->frames = le64_to_cpu(d->frames);
	return get_image(&msg->image, &d->image, why) && get_image(&msg->base, &d->base, why);
}

/* The text goes to our log: nothing but printable characters. */
static bool get_refuse(struct fzc_msg *msg, const struct wire_refuse *d, char *why)
{
	char *c;

	if (!get_text(msg->reason, d->reason, FZC_REASON_LEN, "reason length", why))
		return false;
	for (c = msg->reason; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return true;
}

static void put_auth(struct wire_auth *d, const struct fzc_auth_msg *a)
{
	d->step = a->step;
	d->role = a->role;
	d->ciphers = a->ciphers;
	memcpy(d->key, a->key, sizeof(d->key));
	memcpy(d->nonce, a->nonce, sizeof(d->nonce));
	memcpy(d->proof, a->proof, sizeof(d->proof));
}

static bool good_ciphers(const struct wire_auth *d)
{
	if (d->step == 1)
		return !(d->ciphers & ~6U);
	return d->step == 2 ? d->ciphers == 2 || d->ciphers == 4 : !d->ciphers;
}

static bool get_auth(struct fzc_auth_msg *a, const struct wire_auth *d, char *why)
{
	u8 step = d->step;

	if (!is(why, "step", step, step >= 1 && step <= 3, "1 to 3") ||
	    !is(why, "role", d->role, d->role == FZC_PRIMARY || d->role == FZC_SECONDARY,
		"1 (primary) or 2 (secondary)") ||
	    !is(why, "ciphers", d->ciphers, good_ciphers(d),
		"2 (AES-256-GCM) and 4 (ChaCha20-Poly1305), in step 2 one, in step 3 none") ||
	    !is(why, "reserved", 1, is_zero(d->reserved, sizeof(d->reserved)), "0") ||
	    !is(why, "key", 1, step < 3 || is_zero(d->key[0], FZC_KEY_ID), "0 in step 3") ||
	    !is(why, "key", 2, step < 2 || is_zero(d->key[1], FZC_KEY_ID),
		"only one after step 1") ||
	    !is(why, "nonce", step, step < 3 || is_zero(d->nonce, FZC_AUTH_NONCE),
		"0 in step 3") ||
	    !is(why, "proof", step, step > 1 || is_zero(d->proof, FZC_KEY_BYTES),
		"0 in step 1"))
		return false;
	a->step = step;
	a->role = d->role;
	a->ciphers = d->ciphers;
	memcpy(a->key, d->key, sizeof(a->key));
	memcpy(a->nonce, d->nonce, sizeof(a->nonce));
	memcpy(a->proof, d->proof, sizeof(a->proof));
	return true;
}

u32 fzc_wire_put_msg(void *buf, const struct fzc_msg *msg)
{
	struct fzc_frame f = { .type = msg->type, .length = payload_size[msg->type] };
	void *payload = (u8 *)buf + FZC_WIRE_HEAD;

	memset(payload, 0, f.length);
	switch (msg->type) {
	case FZC_MSG_HELLO:
		put_hello(payload, &msg->hello);
		break;
	case FZC_MSG_SESSION:
		put_session(payload, &msg->session);
		break;
	case FZC_MSG_DURABLE:
	case FZC_MSG_FULL:
	case FZC_MSG_NEED:
		put_frames(payload, msg);
		break;
	case FZC_MSG_FREEZE:
	case FZC_MSG_ALL_SENT:
	case FZC_MSG_COMMITTED:
	case FZC_MSG_MERGED:
	case FZC_MSG_ABORT:
		put_freeze(payload, msg);
		break;
	case FZC_MSG_REFUSE:
		put_text(payload, msg->reason, FZC_REASON_LEN);
		break;
	case FZC_MSG_AUTH:
		put_auth(payload, &msg->auth);
		break;
	}
	f.payload_crc = fzc_wire_crc(payload, f.length);
	fzc_wire_put_head(buf, &f);
	return FZC_WIRE_HEAD + f.length;
}

static bool get_msg(struct fzc_msg *msg, const void *payload, char *why)
{
	switch (msg->type) {
	case FZC_MSG_HELLO:
		return get_hello(&msg->hello, payload, why);
	case FZC_MSG_SESSION:
		return get_session(&msg->session, payload, why);
	case FZC_MSG_DURABLE:
	case FZC_MSG_FULL:
	case FZC_MSG_NEED:
		return get_frames(msg, payload, why);
	case FZC_MSG_FREEZE:
	case FZC_MSG_ALL_SENT:
	case FZC_MSG_COMMITTED:
	case FZC_MSG_MERGED:
	case FZC_MSG_ABORT:
		return get_freeze(msg, payload, why);
	case FZC_MSG_REFUSE:
		return get_refuse(msg, payload, why);
	case FZC_MSG_AUTH:
		return get_auth(&msg->auth, payload, why);
	case FZC_MSG_SESSION_OK:
	case FZC_MSG_PING:
		return true;
	}
	return is(why, "type", msg->type, false, "a control frame");
}

int fzc_wire_parse_msg(struct fzc_msg *msg, const struct fzc_frame *f, const void *payload,
		       char *why)
{
	u32 crc = fzc_wire_crc(payload, f->length);

	memset(msg, 0, sizeof(*msg));
	msg->type = f->type;
	if (!is(why, "payload_crc", f->payload_crc, f->payload_crc == crc,
		"the checksum of the payload"))
		return -EPROTO;
	return get_msg(msg, payload, why) ? 0 : -EPROTO;
}
