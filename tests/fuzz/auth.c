// SPDX-License-Identifier: GPL-2.0-only
/*
 * The proof of the key, with somebody on the line who has no key of theirs.  He hears
 * all that is said, and lets come what he likes where he likes, as often and in what
 * order he likes: as it was, or with fields of his own or from elsewhere.  One key is
 * his, and ends that use it.
 *
 * An end that takes the other's proof has a partner: one end of the other role
 * that heard and said the same, with the same key, and both chose the best they have.
 *
 * Instead of HMAC-SHA-256 there is a mixer of 64 bits, which has not its strength.
 * That is enough: asked here is what goes into it, under which key, and what comes
 * of it; nobody here computes backwards.  But libFuzzer sees what is compared, and
 * could write it into an input.  So the keys depend on the whole input: who changes
 * a byte of it has other keys, and what he has seen is no proof any more.
 */
#include "fuzz.h"
#include "../../dm-freezecopy/core/auth.h"
#include "../../dm-freezecopy/core/ondisk.h"
#include "../../dm-freezecopy/core/wire.h"

#define MAX_ENDS	6
#define MAX_TAPE	20
#define NR_KEYS		4	/* the last one is the attacker's */

static struct {
	u8 key[NR_KEYS][FZC_KEY_BYTES];
	struct fzc_auth end[MAX_ENDS];
	bool proves[MAX_ENDS];	/* it has said a proof */
	const struct fzc_auth *partner[MAX_ENDS];	/* whom each trusts */
	struct fzc_msg tape[MAX_TAPE];
	u32 nends, said;
	u32 fail_in;		/* the HMAC fails at this call; 0: does not */
	bool failed;
} T;

static char why[FZC_REASON_LEN];

static u64 mix(u64 h, const void *data, u32 len)
{
	const u8 *p = data;

	h = (h ^ len) * 0x9e3779b97f4a7c15ULL;
	while (len--) {
		h = (h ^ *p++) * 0x100000001b3ULL;
		h ^= h >> 29;
	}
	return h;
}

static void spread(u64 h, u8 out[32])
{
	u64 word;
	u32 i;

	for (i = 0; i < 4; i++) {
		word = mix(h, &i, sizeof(i));
		memcpy(out + 8 * i, &word, 8);
	}
}

static int hmac_fn(const struct fzc_hmac *hmac, const u8 *key, u32 key_len, const void *data,
		   u32 len, u8 out[FZC_KEY_BYTES])
{
	(void)hmac;
	if (T.fail_in && !--T.fail_in) {
		T.failed = true;
		return -EIO;
	}
	spread(mix(mix(0, key, key_len), data, len), out);
	return 0;
}

static const struct fzc_hmac hmac = { .fn = hmac_fn };

/* ---- what must be true of an end that trusts ---- */

static const u8 *key_of(const struct fzc_auth *a)
{
	MUST(a->used < a->keys.n);
	return a->keys.key[a->used];
}

/* The first that the primary names and the secondary has. */
static const u8 *best_key(const struct fzc_auth *p, const struct fzc_auth *s)
{
	u32 i, k;

	for (i = 0; i < p->keys.n; i++)
		for (k = 0; k < s->keys.n; k++)
			if (!memcmp(p->keys.key[i], s->keys.key[k], FZC_KEY_BYTES))
				return s->keys.key[k];
	return NULL;
}

static bool agree(const struct fzc_auth *p, const struct fzc_auth *s)
{
	return !memcmp(&p->first, &s->first, sizeof(p->first)) &&
	       !memcmp(&p->second, &s->second, sizeof(p->second)) &&
	       !memcmp(key_of(p), key_of(s), FZC_KEY_BYTES);
}

static const struct fzc_auth *find_partner(const struct fzc_auth *a)
{
	const struct fzc_auth *found = NULL, *b;

	for (b = T.end; b < T.end + T.nends; b++) {
		if (b->role == a->role || !T.proves[b - T.end] ||
		    !(a->role == FZC_PRIMARY ? agree(a, b) : agree(b, a)))
			continue;
		MUST(!found);
		found = b;
	}
	return found;
}

static void check_trust(const struct fzc_auth *a, const struct fzc_auth *b)
{
	const struct fzc_auth *p = a->role == FZC_PRIMARY ? a : b, *s = p == a ? b : a;
	bool aes;

	MUST(b);
	aes = p->ciphers & s->ciphers & 1U << FZC_CIPHER_AES_GCM;
	MUST(p->cipher == s->cipher && p->cipher == (aes ? FZC_CIPHER_AES_GCM : FZC_CIPHER_CHACHA));
	MUST(best_key(p, s) && !memcmp(key_of(p), best_key(p, s), FZC_KEY_BYTES));
}

static void check_secrets(const struct fzc_auth *a, const struct fzc_auth *b)
{
	u8 tx[2][FZC_KEY_BYTES], rx[2][FZC_KEY_BYTES];

	T.fail_in = 0;
	MUST(!fzc_auth_secrets(a, tx[0], rx[0]) && !fzc_auth_secrets(b, tx[1], rx[1]));
	MUST(!memcmp(tx[0], rx[1], FZC_KEY_BYTES) && !memcmp(rx[0], tx[1], FZC_KEY_BYTES));
	MUST(memcmp(tx[0], rx[0], FZC_KEY_BYTES));
}

static void look(const struct fzc_auth *a)
{
	const struct fzc_auth **b = &T.partner[a - T.end];

	/* a primary trusts with the second message, a secondary with the third */
	if (a->step > FZC_AUTH_DONE || a->step < (a->role == FZC_PRIMARY ? 3 : FZC_AUTH_DONE))
		return;
	if (!*b) {
		*b = find_partner(a);
		check_trust(a, *b);
	}
	if (a->step == FZC_AUTH_DONE)
		check_secrets(a, *b);
}

/* ---- steps ---- */

/* An end: its role, one or two keys, ciphers that it does fast. */
static void begin(struct in *in)
{
	struct fzc_auth *a = &T.end[T.nends];
	u8 c = take(in), nonce[FZC_AUTH_NONCE];
	struct fzc_keys keys = { .n = c & 0x20 ? 2 : 1 };
	int err;

	if (T.nends == MAX_ENDS)
		return;
	memcpy(keys.key[0], T.key[c >> 1 & 3], FZC_KEY_BYTES);
	if (c & 0x20)
		memcpy(keys.key[1], T.key[c >> 3 & 3], FZC_KEY_BYTES);
	spread(mix(T.nends, T.key[0], FZC_KEY_BYTES), nonce);
	err = fzc_auth_begin(a, &hmac, c & 1 ? FZC_SECONDARY : FZC_PRIMARY, c >> 5 & 6, &keys, nonce);
	MUST(!err || (err == -EIO && T.failed));
	T.nends += !err;
}

static struct fzc_auth *any_end(struct in *in)
{
	u8 c = take(in);

	return T.nends ? &T.end[c % T.nends] : NULL;
}

static void speak(struct in *in)
{
	struct fzc_auth *a = any_end(in);

	if (!a || T.said == MAX_TAPE || !fzc_auth_next(a, &T.tape[T.said]))
		return;
	SAY("end %ld says message %u, step %u", a - T.end, T.said, T.tape[T.said].auth.step);
	T.proves[a - T.end] |= T.tape[T.said++].auth.step > 1;
	look(a);
}

static void twist(struct in *in, struct fzc_auth_msg *m)
{
	u8 how = take(in), arg = how >> 3;
	const struct fzc_auth_msg *other = &T.tape[take(in) % T.said].auth;

	switch (how & 7) {
	case 0:
		m->step = 1 + arg % 3;
		break;
	case 1:
		m->role ^= FZC_PRIMARY ^ FZC_SECONDARY;
		break;
	case 2:
		m->ciphers = arg & 6;
		break;
	case 3:
		memcpy(m->key[0], other->key[arg & 1], FZC_KEY_ID);
		break;
	case 4:
		memcpy(m->key[1], other->key[arg & 1], FZC_KEY_ID);
		break;
	case 5:
		memcpy(m->nonce, other->nonce, sizeof(m->nonce));
		break;
	case 6:
		memcpy(m->proof, other->proof, sizeof(m->proof));
		break;
	case 7:
		((u8 *)m)[take(in) % sizeof(*m)] ^= 1U << (arg & 7);
		break;
	}
}

/* What comes over the wire, checksums and all. */
static int receive(struct fzc_auth *a, const struct fzc_msg *said)
{
	u8 buf[FZC_WIRE_HEAD + FZC_MAX_CTL] __attribute__((aligned(8)));
	struct fzc_frame f;
	struct fzc_msg m;

	fzc_wire_put_msg(buf, said);
	return fzc_wire_parse_head(&f, buf, NULL, why) ?:
	       fzc_wire_parse_msg(&m, &f, buf + FZC_WIRE_HEAD, why) ?:
	       fzc_auth_take(a, &m, why);
}

static void deliver(struct in *in)
{
	struct fzc_auth *a = any_end(in);
	u8 which = take(in), twists = take(in) % 4;
	struct fzc_msg m;
	int err;

	if (!a || !T.said)
		return;
	m = T.tape[which % T.said];
	while (twists--)
		twist(in, &m.auth);
	why[0] = 0;
	err = receive(a, &m);
	SAY("message %u to end %ld: %d %s", which % T.said, a - T.end, err, why);
	MUST(!err || (err == -EIO && T.failed) ||
	     ((err == -EPROTO || err == -EKEYREJECTED) && strstr(why, "expected")));
	look(a);
}

static void fail(struct in *in)
{
	T.fail_in = 1 + take(in) % 8;
}

enum { BEGIN, SPEAK, DELIVER, FAIL, NR_STEPS };

static void run(const u8 *data, size_t len)
{
	static void (*const steps[NR_STEPS])(struct in *in) = {
		[BEGIN] = begin, [SPEAK] = speak, [DELIVER] = deliver, [FAIL] = fail,
	};
	struct in in = { data, data + len };
	u32 i;

	memset(&T, 0, sizeof(T));
	for (i = 0; i < NR_KEYS; i++)
		spread(mix(i, data, len), T.key[i]);
	while (in.p < in.end)
		steps[take(&in) % NR_STEPS](&in);
}

/* ---- stories to begin with ---- */

#define AES		0x80	/* and ChaCha, which all do */
#define TWO(k)		(0x20 | (k) << 3)
#define PRIMARY(k)	BEGIN, (k) << 1 | AES
#define SECONDARY(k)	BEGIN, 1 | (k) << 1 | AES
/* between ends @p and @s; message @m is the first of it */
#define SHAKE(p, s, m)	SPEAK, p, DELIVER, s, m, 0, SPEAK, s, DELIVER, p, (m) + 1, 0, SPEAK, p, \
			DELIVER, s, (m) + 2, 0

static const u8 plain[] = { PRIMARY(0), SECONDARY(0), SHAKE(0, 1, 0) };
static const u8 rotated[] = { PRIMARY(1) | TWO(0), SECONDARY(0), SHAKE(0, 1, 0), SECONDARY(1) | TWO(0),
			      PRIMARY(1) | TWO(0), SHAKE(3, 2, 3) };
static const u8 replayed[] = { PRIMARY(0), SECONDARY(0), SHAKE(0, 1, 0), SECONDARY(0),
			       DELIVER, 2, 0, 0, SPEAK, 2, DELIVER, 2, 2, 0, PRIMARY(0), SPEAK, 3,
			       DELIVER, 3, 1, 0 };
static const u8 reflected[] = { PRIMARY(0), SPEAK, 0, DELIVER, 0, 0, 2, 0x08, 0, 1, 0, PRIMARY(0),
				SECONDARY(0), DELIVER, 2, 0, 0, SPEAK, 2, DELIVER, 1, 1, 0 };
static const u8 weakened[] = { PRIMARY(2) | TWO(1), SECONDARY(2) | TWO(1), SPEAK, 0,
			       DELIVER, 1, 0, 1, 2, 0, SPEAK, 1, DELIVER, 0, 1, 1, 2 | 4 << 3, 0 };
static const u8 foreign[] = { PRIMARY(3), SECONDARY(0), PRIMARY(0), SPEAK, 0, SPEAK, 2,
			      DELIVER, 1, 0, 1, 3, 1, SPEAK, 1, DELIVER, 0, 2, 0, SPEAK, 0,
			      DELIVER, 1, 1, 2, 0x10, 0, 6, 2 };
static const u8 broken_hmac[] = { PRIMARY(0), SECONDARY(0), SPEAK, 0, FAIL, 0, DELIVER, 1, 0, 0, SPEAK, 1,
				  FAIL, 1, DELIVER, 0, 1, 0 };

static void seeds(void (*emit)(const void *data, size_t len))
{
	emit(plain, sizeof(plain));
	emit(rotated, sizeof(rotated));
	emit(replayed, sizeof(replayed));
	emit(reflected, sizeof(reflected));
	emit(weakened, sizeof(weakened));
	emit(foreign, sizeof(foreign));
	emit(broken_hmac, sizeof(broken_hmac));
}

const struct target target_auth = { "auth", run, seeds };
