// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"
#include "auth.h"
#include "ondisk.h"
#include "wire.h"

#define STEPS		3
#define KEY_ID_5A	"dcc95fa7eb10af4d"	/* of a key of bytes 5a */

static char why[FZC_REASON_LEN];

/* Both sides, and the three messages as they were on the wire. */
struct both {
	struct fzc_auth side[2];	/* primary, secondary */
	u8 wire[STEPS][FZC_WIRE_HEAD + FZC_MAX_CTL];
	u32 len[STEPS];
	u32 sent;
};

static struct fzc_keys keys_of(u8 newer, u8 older)
{
	struct fzc_keys keys = { .n = older ? 2 : 1 };

	memset(keys.key[0], newer, FZC_KEY_BYTES);
	memset(keys.key[1], older, FZC_KEY_BYTES);
	return keys;
}

static void begin(struct fzc_auth *a, u8 role, u8 ciphers, struct fzc_keys keys)
{
	u8 nonce[FZC_AUTH_NONCE];
	u32 i;

	for (i = 0; i < sizeof(nonce); i++)
		nonce[i] = test_random();
	CHECK(!fzc_auth_begin(a, test_hmac(), role, ciphers, &keys, nonce));
}

/* What a receiver makes of bytes; their checksums were repaired, as an attacker does. */
static int receive(struct fzc_auth *a, u8 *bytes)
{
	struct fzc_wire_head *h = (struct fzc_wire_head *)bytes;
	struct fzc_frame f;
	struct fzc_msg msg;

	h->payload_crc = cpu_to_le32(fzc_wire_crc(bytes + FZC_WIRE_HEAD, 88));
	h->head_crc = cpu_to_le32(fzc_wire_crc(h, offsetof(struct fzc_wire_head, head_crc)));
	return fzc_wire_parse_head(&f, bytes, NULL, why) ?:
	       fzc_wire_parse_msg(&msg, &f, bytes + FZC_WIRE_HEAD, why) ?:
	       fzc_auth_take(a, &msg, why);
}

/* Runs a handshake; @flip: a byte of all that is sent, changed by @how on the way. */
static int shake(struct both *b, u32 flip, u8 how)
{
	u32 seen = 0, from = 0;
	struct fzc_msg msg;
	int err = 0;

	for (b->sent = 0; b->sent < STEPS && !err; from ^= 1) {
		u8 *bytes = b->wire[b->sent], copy[FZC_WIRE_HEAD + FZC_MAX_CTL];
		u32 len;

		CHECK(!fzc_auth_next(&b->side[!from], &msg));
		CHECK(fzc_auth_next(&b->side[from], &msg));
		len = fzc_wire_put_msg(bytes, &msg);
		b->len[b->sent++] = len;
		memcpy(copy, bytes, len);
		if (how && flip >= seen && flip < seen + len)
			copy[flip - seen] ^= how;
		seen += len;
		err = receive(&b->side[!from], copy);
	}
	return err;
}

static int agree(struct both *b, u8 fast_p, u8 fast_s, struct fzc_keys p, struct fzc_keys s)
{
	begin(&b->side[0], FZC_PRIMARY, fast_p, p);
	begin(&b->side[1], FZC_SECONDARY, fast_s, s);
	return shake(b, 0, 0);
}

static bool same_secrets(struct both *b)
{
	u8 ptx[FZC_KEY_BYTES], prx[FZC_KEY_BYTES], stx[FZC_KEY_BYTES], srx[FZC_KEY_BYTES];

	CHECK(!fzc_auth_secrets(&b->side[0], ptx, prx));
	CHECK(!fzc_auth_secrets(&b->side[1], stx, srx));
	return !memcmp(ptx, srx, FZC_KEY_BYTES) && !memcmp(prx, stx, FZC_KEY_BYTES) &&
	       memcmp(ptx, prx, FZC_KEY_BYTES);
}

TEST(auth_agrees)
{
	struct both *b = test_alloc(sizeof(*b));
	static const struct fzc_auth none;
	u8 first[FZC_KEY_BYTES], again[FZC_KEY_BYTES], rx[FZC_KEY_BYTES];
	u8 salt[3][FZC_SALT_BYTES];

	CHECK(!agree(b, 6, 6, keys_of(1, 0), keys_of(1, 0)));
	CHECK(b->side[0].step == FZC_AUTH_DONE && b->side[1].step == FZC_AUTH_DONE);
	CHECK(b->side[0].cipher == FZC_CIPHER_AES_GCM && b->side[1].cipher == FZC_CIPHER_AES_GCM);
	CHECK(same_secrets(b));
	CHECK(!fzc_auth_secrets(&b->side[0], first, rx));
	CHECK(!fzc_auth_salt(&b->side[0], salt[0]) && !fzc_auth_salt(&b->side[1], salt[1]));
	CHECK(!memcmp(salt[0], salt[1], FZC_SALT_BYTES));
	/* another connection, other secrets */
	CHECK(!agree(b, 4, 6, keys_of(1, 0), keys_of(1, 0)));
	CHECK(b->side[0].cipher == FZC_CIPHER_CHACHA && b->side[1].cipher == FZC_CIPHER_CHACHA);
	CHECK(same_secrets(b));
	CHECK(!fzc_auth_secrets(&b->side[0], again, rx) && memcmp(first, again, FZC_KEY_BYTES));
	CHECK(!fzc_auth_salt(&b->side[0], salt[2]) && memcmp(salt[0], salt[2], FZC_SALT_BYTES));
	fzc_auth_wipe(&b->side[0]);
	CHECK(!memcmp(&b->side[0], &none, sizeof(none)));
	CHECK(!agree(b, 6, 0, keys_of(1, 0), keys_of(1, 0)));
	CHECK(b->side[0].cipher == FZC_CIPHER_CHACHA && b->side[1].cipher == FZC_CIPHER_CHACHA);
}

/* HMAC-SHA-256 of "freezecopy 1 key id\0\1", its first 8 bytes: made with another program. */
TEST(auth_key_id_is_as_documented)
{
	struct fzc_keys keys = keys_of(0x5a, 0);
	u8 id[FZC_KEY_ID];
	char text[2 * FZC_KEY_ID + 1];

	CHECK(!fzc_key_id(test_hmac(), keys.key[0], id));
	fzc_key_id_print(id, text);
	CHECK(!strcmp(text, KEY_ID_5A));
}

static bool is_hex(const u8 bytes[FZC_KEY_BYTES], const char *digits)
{
	char text[2 * FZC_KEY_BYTES + 1];
	u32 i;

	for (i = 0; i < FZC_KEY_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return !strcmp(text, digits);
}

/* A handshake and the keys of records as security.rst has them; made with another program, too. */
TEST(auth_is_as_documented)
{
	struct both *b = test_alloc(sizeof(*b));
	u8 tx[FZC_KEY_BYTES], rx[FZC_KEY_BYTES], key[FZC_KEY_BYTES], nonce[FZC_NONCE_BYTES];
	struct fzc_keys keys = keys_of(0x5a, 0);
	struct fzc_seal seal;
	u8 n[2][FZC_AUTH_NONCE];
	u32 i;

	for (i = 0; i < FZC_AUTH_NONCE; i++) {
		n[0][i] = i;
		n[1][i] = 100 + i;
	}
	CHECK(!fzc_auth_begin(&b->side[0], test_hmac(), FZC_PRIMARY, 6, &keys, n[0]));
	CHECK(!fzc_auth_begin(&b->side[1], test_hmac(), FZC_SECONDARY, 6, &keys, n[1]));
	CHECK(!shake(b, 0, 0));
	CHECK(is_hex(b->wire[1] + FZC_WIRE_HEAD + 56,
		     "bdc2e9bbb7d3744cbc666ff81478874fc51e4669a4da47bf209684f676b1be27"));
	CHECK(is_hex(b->wire[2] + FZC_WIRE_HEAD + 56,
		     "3408741e8767f68896759c6345a17b5fa829c9f0d9e4941513f0b18696d49b06"));
	CHECK(!fzc_auth_secrets(&b->side[0], tx, rx));
	CHECK(is_hex(tx, "eb93604aa19e7c2834d259ac65a0a541310459c702aaca805e2381bc849ad241"));
	CHECK(is_hex(rx, "bd3a658ba675510e34c71642632723aaf6de77603720e2e9a0f6ea76568ad30d"));
	CHECK(!fzc_seal_begin(&seal, test_hmac(), tx, key));
	CHECK(is_hex(key, "e4e8130d5c358076a469b8b14f16521e7a7f05b62282e9f2d825583932e1ef35"));
	CHECK(!fzc_seal_next(&seal, FZC_MAX_RUN_BYTES, nonce, key));
	seal.bytes = FZC_REKEY_BYTES;
	CHECK(fzc_seal_next(&seal, 1, nonce, key) == 1);
	CHECK(is_hex(key, "b5ecaefbb4e4862f76b699ceb5b9678ca7eb81e5d158f3944b6020210e0bda29"));
}

TEST(auth_other_key_is_refused)
{
	struct both *b = test_alloc(sizeof(*b));

	CHECK(agree(b, 6, 6, keys_of(1, 0), keys_of(2, 0)) == -EKEYREJECTED);
	CHECK(strstr(why, "expected the same key on both sides"));
	CHECK(b->sent == 1);
	/* nor is it enough to know the id */
	begin(&b->side[0], FZC_PRIMARY, 6, keys_of(1, 0));
	begin(&b->side[1], FZC_SECONDARY, 6, keys_of(2, 0));
	memcpy(b->side[0].id, b->side[1].id, sizeof(b->side[0].id));
	CHECK(shake(b, 0, 0) == -EKEYREJECTED && b->sent == 2);
	CHECK(strstr(why, "secondary's proof"));
}

/* Rotation: whoever goes first, the two have one key in common until both have switched. */
TEST(auth_rotation)
{
	struct both *b = test_alloc(sizeof(*b));

	CHECK(!agree(b, 6, 6, keys_of(2, 1), keys_of(1, 0)) && same_secrets(b));
	CHECK(b->side[0].used == 1 && b->side[1].used == 0);
	CHECK(!agree(b, 6, 6, keys_of(1, 0), keys_of(2, 1)) && same_secrets(b));
	CHECK(b->side[0].used == 0 && b->side[1].used == 1);
	CHECK(!agree(b, 6, 6, keys_of(2, 1), keys_of(2, 1)) && same_secrets(b));
	CHECK(b->side[0].used == 0 && b->side[1].used == 0);
	CHECK(agree(b, 6, 6, keys_of(3, 2), keys_of(1, 0)) == -EKEYREJECTED);
}

/* Every bit of every message: one side or the other notices, and never do both agree. */
TEST(auth_every_bit_counts)
{
	struct both *b = test_alloc(sizeof(*b));
	u32 total, i, bit;

	CHECK(!agree(b, 6, 6, keys_of(2, 1), keys_of(2, 1)));
	total = b->len[0] + b->len[1] + b->len[2];
	CHECK(total == STEPS * (FZC_WIRE_HEAD + 88));
	for (i = 0; i < total; i++) {
		/* the checksums are no secret: they are repaired */
		u32 at = i % (total / STEPS);

		if ((at >= 44 && at < 48) || (at >= 60 && at < 64))
			continue;
		for (bit = 0; bit < 8; bit++) {
			begin(&b->side[0], FZC_PRIMARY, 6, keys_of(2, 1));
			begin(&b->side[1], FZC_SECONDARY, 6, keys_of(2, 1));
			CHECK(shake(b, i, 1 << bit));
		}
	}
}

/* More than a bit: another cipher, another of the keys that both have. */
TEST(auth_choices_are_bound)
{
	struct both *b = test_alloc(sizeof(*b));
	const u32 choice = FZC_WIRE_HEAD + 2;
	struct fzc_auth *s = &b->side[1];
	struct fzc_msg msg;
	u8 ids[2 * FZC_KEY_ID];

	begin(&b->side[0], FZC_PRIMARY, 6, keys_of(2, 1));
	begin(s, FZC_SECONDARY, 6, keys_of(2, 1));
	CHECK(shake(b, b->len[0] + choice, 0) == 0);
	begin(&b->side[0], FZC_PRIMARY, 6, keys_of(2, 1));
	begin(s, FZC_SECONDARY, 6, keys_of(2, 1));
	CHECK(shake(b, FZC_WIRE_HEAD + 88 + choice, 6) == -EKEYREJECTED && b->sent == 2);

	/* the newer key's id taken out on the way: the older one is agreed on, and not by both */
	begin(&b->side[0], FZC_PRIMARY, 6, keys_of(2, 1));
	begin(s, FZC_SECONDARY, 6, keys_of(2, 1));
	CHECK(fzc_auth_next(&b->side[0], &msg));
	memcpy(ids, msg.auth.key, sizeof(ids));
	memcpy(msg.auth.key[0], ids + FZC_KEY_ID, FZC_KEY_ID);
	CHECK(!fzc_auth_take(s, &msg, why) && s->used == 1 && fzc_auth_next(s, &msg));
	CHECK(fzc_auth_take(&b->side[0], &msg, why) == -EKEYREJECTED);
}

/* What somebody says who does as if he were the other side, or us. */
TEST(auth_roles)
{
	struct both *b = test_alloc(sizeof(*b));
	struct fzc_auth *s = &b->side[1];
	struct fzc_msg msg, again;

	begin(&b->side[0], FZC_PRIMARY, 6, keys_of(1, 0));
	begin(s, FZC_SECONDARY, 6, keys_of(1, 0));
	CHECK(fzc_auth_next(&b->side[0], &msg));
	again = msg;
	again.auth.role = FZC_SECONDARY;
	CHECK(fzc_auth_take(s, &again, why) == -EPROTO && strstr(why, "role 2; expected"));
	CHECK(!fzc_auth_take(s, &msg, why));
	/* it is the secondary's turn to speak */
	again = msg;
	again.auth.step = 2;
	CHECK(fzc_auth_take(s, &again, why) == -EPROTO && s->step == 2);
	CHECK(fzc_auth_next(s, &msg) && !fzc_auth_take(&b->side[0], &msg, why));
}

TEST(auth_replay_and_reflection)
{
	struct both *b = test_alloc(sizeof(*b));
	struct fzc_auth other;
	struct fzc_msg msg;
	u32 i;

	CHECK(!agree(b, 6, 6, keys_of(1, 0), keys_of(1, 0)));
	/* a recorded primary, to a secondary with another nonce */
	begin(&other, FZC_SECONDARY, 6, keys_of(1, 0));
	CHECK(!receive(&other, b->wire[0]) && fzc_auth_next(&other, &msg));
	CHECK(receive(&other, b->wire[2]) == -EKEYREJECTED);
	/* a recorded secondary, to a primary with another nonce */
	begin(&other, FZC_PRIMARY, 6, keys_of(1, 0));
	CHECK(fzc_auth_next(&other, &msg));
	CHECK(receive(&other, b->wire[1]) == -EKEYREJECTED);
	/* a primary's own words; and anything out of turn */
	for (i = 0; i < STEPS; i++) {
		begin(&other, FZC_PRIMARY, 6, keys_of(1, 0));
		if (i)
			fzc_auth_next(&other, &msg);
		CHECK(i == 1 || receive(&other, b->wire[i]) == -EPROTO);
		CHECK(receive(&other, b->wire[0]) == -EPROTO);
		begin(&other, FZC_SECONDARY, 6, keys_of(1, 0));
		CHECK(!i || receive(&other, b->wire[i]) == -EPROTO);
	}
}

/* Nothing follows a wrong proof, not even the right one: found by a fuzzer. */
TEST(auth_error_is_the_end)
{
	struct both *b = test_alloc(sizeof(*b));
	struct fzc_auth *p = &b->side[0], *s = &b->side[1];
	struct fzc_msg msg, wrong;

	begin(p, FZC_PRIMARY, 6, keys_of(1, 0));
	begin(s, FZC_SECONDARY, 6, keys_of(1, 0));
	CHECK(fzc_auth_next(p, &msg) && !fzc_auth_take(s, &msg, why));
	CHECK(fzc_auth_next(s, &msg) && !fzc_auth_take(p, &msg, why));
	CHECK(fzc_auth_next(p, &msg));
	wrong = msg;
	wrong.auth.proof[0] ^= 1;
	CHECK(fzc_auth_take(s, &wrong, why) == -EKEYREJECTED && s->step != FZC_AUTH_DONE);
	CHECK(fzc_auth_take(s, &msg, why) == -EPROTO && s->step == FZC_AUTH_OVER);
	/* nor does a secondary speak that has not chosen a key */
	begin(p, FZC_PRIMARY, 6, keys_of(1, 0));
	begin(s, FZC_SECONDARY, 6, keys_of(2, 0));
	CHECK(fzc_auth_next(p, &msg) && fzc_auth_take(s, &msg, why) == -EKEYREJECTED);
	CHECK(!fzc_auth_next(s, &msg));
}

/* One nonce a record and key; both ends change the key at the same record. */
TEST(auth_records)
{
	u8 secret[FZC_KEY_BYTES] = { 7 }, key[2][FZC_KEY_BYTES], last[FZC_KEY_BYTES];
	u8 nonce[2][FZC_NONCE_BYTES];
	struct fzc_seal s[2];
	u64 expected = 0, under = 0;
	u32 i, changes = 0;

	CHECK(!fzc_seal_begin(&s[0], test_hmac(), secret, key[0]));
	CHECK(!fzc_seal_begin(&s[1], test_hmac(), secret, key[1]));
	for (i = 0; i < 1000; i++) {
		u32 len = i % 2 ? 1 + test_below(FZC_MAX_RUN_BYTES) : 64;
		int changed = fzc_seal_next(&s[0], len, nonce[0], key[0]);
		__le64 count;

		CHECK(changed == fzc_seal_next(&s[1], len, nonce[1], key[1]));
		CHECK(changed == (under + len > FZC_REKEY_BYTES));
		CHECK(!memcmp(key[0], key[1], sizeof(key[0])));
		CHECK(!memcmp(nonce[0], nonce[1], sizeof(nonce[0])));
		if (changed) {
			CHECK(memcmp(last, key[0], sizeof(last)));
			changes++;
			expected = 0;
			under = 0;
		}
		under += len;
		memcpy(&count, nonce[0] + 4, 8);
		CHECK(le64_to_cpu(count) == expected++);
		memcpy(last, key[0], sizeof(last));
	}
	CHECK(changes >= 3);
}
