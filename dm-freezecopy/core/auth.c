// SPDX-License-Identifier: GPL-2.0-only
#include "auth.h"
#include "ondisk.h"

/*
 * DOC: the handshake
 *
 *	primary -> secondary	1: ids of its keys, ciphers, nonce
 *	secondary -> primary	2: id of one of them, cipher, nonce, proof
 *	primary -> secondary	3: proof
 *
 * PRK = HKDF-Extract(salt = both nonces, the key).  Everything else is
 * HKDF-Expand(PRK, a label, message 1, message 2 without its proof): so it
 * is bound to all that both have said, to their roles, and, by the label, to the
 * version of the protocol.  The pair is bound by the HELLOs, which are the first
 * that the session's keys protect and without which nothing is done.
 */
#define LABEL		"freezecopy 1 "
#define LABEL_MAX	40

static int extract(const struct fzc_hmac *hmac, const struct fzc_auth_msg *first,
		   const struct fzc_auth_msg *second, const u8 *key, u8 *prk)
{
	u8 salt[2 * FZC_AUTH_NONCE];

	memcpy(salt, first->nonce, FZC_AUTH_NONCE);
	memcpy(salt + FZC_AUTH_NONCE, second->nonce, FZC_AUTH_NONCE);
	return hmac->fn(hmac, salt, sizeof(salt), key, FZC_KEY_BYTES, prk);
}

int fzc_expand(const struct fzc_hmac *hmac, const u8 prk[FZC_KEY_BYTES], const char *label,
	       const void *context, u32 len, u8 out[FZC_KEY_BYTES])
{
	u8 info[LABEL_MAX + 2 * sizeof(struct fzc_auth_msg) + 1];
	u32 n = scnprintf((char *)info, LABEL_MAX, LABEL "%s", label) + 1;

	if (len)
		memcpy(info + n, context, len);
	n += len;
	info[n++] = 1;
	return hmac->fn(hmac, prk, FZC_KEY_BYTES, info, n, out);
}

static int derive(const struct fzc_auth *a, const char *label, u8 *out)
{
	struct fzc_auth_msg said[2] = { a->first, a->second };

	return fzc_expand(a->hmac, a->prk, label, said, sizeof(said), out);
}

int fzc_key_id(const struct fzc_hmac *hmac, const u8 key[FZC_KEY_BYTES], u8 id[FZC_KEY_ID])
{
	u8 out[FZC_KEY_BYTES];
	int err = fzc_expand(hmac, key, "key id", NULL, 0, out);

	memcpy(id, out, FZC_KEY_ID);
	return err;
}

void fzc_key_id_print(const u8 id[FZC_KEY_ID], char buf[2 * FZC_KEY_ID + 1])
{
	u32 i;

	for (i = 0; i < FZC_KEY_ID; i++)
		scnprintf(buf + 2 * i, 3, "%02x", id[i]);
}

int fzc_auth_begin(struct fzc_auth *a, const struct fzc_hmac *hmac, u8 role, u8 ciphers,
		   const struct fzc_keys *keys, const u8 nonce[FZC_AUTH_NONCE])
{
	struct fzc_auth_msg *mine = role == FZC_PRIMARY ? &a->first : &a->second;
	int err = 0;
	u32 i;

	/* all of a message is hashed, and there is no padding in it */
	BUILD_BUG_ON(sizeof(struct fzc_auth_msg) !=
		     3 + FZC_KEYS * FZC_KEY_ID + FZC_AUTH_NONCE + FZC_KEY_BYTES);
	memset(a, 0, sizeof(*a));
	a->hmac = hmac;
	a->role = role;
	a->step = 1;
	a->ciphers = ciphers;
	a->keys = *keys;
	memcpy(mine->nonce, nonce, FZC_AUTH_NONCE);
	for (i = 0; i < keys->n && !err; i++)
		err = fzc_key_id(hmac, keys->key[i], a->id[i]);
	return err;
}

/* Is the next message one of ours to send? */
static bool is_mine(const struct fzc_auth *a)
{
	return a->step < FZC_AUTH_DONE && (a->step == 2) == (a->role == FZC_SECONDARY);
}

static void put_first(struct fzc_auth *a)
{
	a->first.step = 1;
	a->first.role = a->role;
	a->first.ciphers = a->ciphers;
	memcpy(a->first.key, a->id, sizeof(a->id));
}

bool fzc_auth_next(struct fzc_auth *a, struct fzc_msg *msg)
{
	int err = 0;

	if (!is_mine(a))
		return false;
	memset(msg, 0, sizeof(*msg));
	msg->type = FZC_MSG_AUTH;
	switch (a->step) {
	case 1:
		put_first(a);
		msg->auth = a->first;
		break;
	case 2:
		msg->auth = a->second;
		err = derive(a, "secondary's proof", msg->auth.proof);
		break;
	case 3:
		msg->auth.step = 3;
		msg->auth.role = a->role;
		err = derive(a, "primary's proof", msg->auth.proof);
		break;
	}
	if (err)
		return false;
	a->step++;
	return true;
}

static int say_keys(const struct fzc_auth *a, const struct fzc_auth_msg *m, char *why)
{
	char theirs[2 * FZC_KEY_ID + 1], ours[2 * FZC_KEY_ID + 1];

	fzc_key_id_print(m->key[0], theirs);
	fzc_key_id_print(a->id[0], ours);
	scnprintf(why, FZC_REASON_LEN,
		  "authentication: the primary's key has the id %s, the secondary's %s; expected the same key on both sides, see freezectl key",
		  m->role == FZC_PRIMARY ? theirs : ours, m->role == FZC_PRIMARY ? ours : theirs);
	return -EKEYREJECTED;
}

/* Which of our keys is one of @n that the peer names?  The first it names that we have. */
static bool choose_key(struct fzc_auth *a, const struct fzc_auth_msg *m, u32 n)
{
	static const u8 none[FZC_KEY_ID];
	u32 i;

	for (i = 0; i < n; i++) {
		if (!memcmp(m->key[i], none, FZC_KEY_ID))
			continue;
		for (a->used = 0; a->used < a->keys.n; a->used++)
			if (!memcmp(m->key[i], a->id[a->used], FZC_KEY_ID))
				return true;
	}
	return false;
}

/* AES if both do it fast, and what both do in any case else. */
static u8 choose_cipher(const struct fzc_auth *a)
{
	return a->first.ciphers & a->ciphers & (1U << FZC_CIPHER_AES_GCM) ? FZC_CIPHER_AES_GCM :
									    FZC_CIPHER_CHACHA;
}

static int take_first(struct fzc_auth *a, const struct fzc_auth_msg *m, char *why)
{
	if (!choose_key(a, m, FZC_KEYS))
		return say_keys(a, m, why);
	a->first = *m;
	a->cipher = choose_cipher(a);
	a->second.step = 2;
	a->second.role = a->role;
	a->second.ciphers = 1U << a->cipher;
	memcpy(a->second.key[0], a->id[a->used], FZC_KEY_ID);
	return extract(a->hmac, &a->first, &a->second, a->keys.key[a->used], a->prk);
}

static int check_proof(const struct fzc_auth *a, const char *label, const u8 *proof, char *why)
{
	u8 expected[FZC_KEY_BYTES];
	int err = derive(a, label, expected);

	if (!err && fzc_memneq(expected, proof, sizeof(expected))) {
		scnprintf(why, FZC_REASON_LEN,
			  "authentication: %s, expected what only the key makes: somebody who does not have it, or changed what was sent",
			  label);
		err = -EKEYREJECTED;
	}
	fzc_wipe(expected, sizeof(expected));
	return err;
}

static int take_second(struct fzc_auth *a, const struct fzc_auth_msg *m, char *why)
{
	int err;

	if (!choose_key(a, m, 1))
		return say_keys(a, m, why);
	a->second = *m;
	memset(a->second.proof, 0, sizeof(a->second.proof));
	err = extract(a->hmac, &a->first, &a->second, a->keys.key[a->used], a->prk) ?:
	      check_proof(a, "secondary's proof", m->proof, why);
	a->cipher = m->ciphers & (1U << FZC_CIPHER_AES_GCM) ? FZC_CIPHER_AES_GCM :
							      FZC_CIPHER_CHACHA;
	return err;
}

int fzc_auth_take(struct fzc_auth *a, const struct fzc_msg *msg, char *why)
{
	const struct fzc_auth_msg *m = &msg->auth;
	u8 peer = a->role == FZC_PRIMARY ? FZC_SECONDARY : FZC_PRIMARY;
	int err;

	if (msg->type != FZC_MSG_AUTH || m->step != a->step || m->role != peer || is_mine(a)) {
		scnprintf(why, FZC_REASON_LEN,
			  "authentication: frame of type %u, step %u of role %u; expected type %u, step %u of role %u",
			  msg->type, msg->type == FZC_MSG_AUTH ? m->step : 0,
			  msg->type == FZC_MSG_AUTH ? m->role : 0, FZC_MSG_AUTH, a->step, peer);
		return -EPROTO;
	}
	switch (a->step) {
	case 1:
		err = take_first(a, m, why);
		break;
	case 2:
		err = take_second(a, m, why);
		break;
	default:
		err = check_proof(a, "primary's proof", m->proof, why);
		break;
	}
	a->step = err ? FZC_AUTH_OVER : a->step + 1;
	return err;
}

int fzc_auth_secrets(const struct fzc_auth *a, u8 tx[FZC_KEY_BYTES], u8 rx[FZC_KEY_BYTES])
{
	bool primary = a->role == FZC_PRIMARY;

	return derive(a, "primary sends", primary ? tx : rx) ?:
	       derive(a, "secondary sends", primary ? rx : tx);
}

int fzc_auth_salt(const struct fzc_auth *a, u8 salt[FZC_SALT_BYTES])
{
	u8 out[FZC_KEY_BYTES];
	int err = derive(a, "blocks' salt", out);

	memcpy(salt, out, FZC_SALT_BYTES);
	return err;
}

void fzc_auth_wipe(struct fzc_auth *a)
{
	fzc_wipe(a, sizeof(*a));
}

/* A direction of a session */

int fzc_seal_begin(struct fzc_seal *s, const struct fzc_hmac *hmac,
		   const u8 secret[FZC_KEY_BYTES], u8 key[FZC_KEY_BYTES])
{
	s->hmac = hmac;
	s->records = 0;
	s->bytes = 0;
	memcpy(s->secret, secret, FZC_KEY_BYTES);
	return fzc_expand(hmac, s->secret, "record key", NULL, 0, key);
}

/* One way: who learns this secret does not learn the ones before it. */
static int advance(struct fzc_seal *s, u8 *key)
{
	u8 next[FZC_KEY_BYTES];
	int err = fzc_expand(s->hmac, s->secret, "next secret", NULL, 0, next);

	if (!err)
		err = fzc_seal_begin(s, s->hmac, next, key);
	fzc_wipe(next, sizeof(next));
	return err;
}

int fzc_seal_next(struct fzc_seal *s, u32 len, u8 nonce[FZC_NONCE_BYTES], u8 key[FZC_KEY_BYTES])
{
	bool full = s->bytes + len > FZC_REKEY_BYTES && s->records;
	int err = full ? advance(s, key) : 0;
	__le64 count;

	if (err)
		return err;
	count = cpu_to_le64(s->records++);
	s->bytes += len;
	memset(nonce, 0, FZC_NONCE_BYTES - sizeof(count));
	memcpy(nonce + FZC_NONCE_BYTES - sizeof(count), &count, sizeof(count));
	return full;
}
