// SPDX-License-Identifier: GPL-2.0-only
#include <keys/user-type.h>
#include <linux/err.h>
#include <linux/key.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/slab.h>

#include "key.h"

#define REVOKED	"revoked, expected a valid one: freezectl key load, then restart the volume"

struct fzc_key {
	struct key *key;
	siphash_key_t secret;		/* of the fingerprints of what it contains */
	u64 settled;			/* that of which the peer has proven the newer key */
	u64 kept;			/* that which fzc_key_keep() read last */
};

static u64 print_of(const struct fzc_key *k, const struct user_key_payload *p)
{
	return p ? siphash(p->data, p->datalen, &k->secret) : 0;
}

static u64 print_now(const struct fzc_key *k)
{
	u64 print;

	rcu_read_lock();
	print = print_of(k, user_key_payload_rcu(k->key));
	rcu_read_unlock();
	return print;
}

static int say(char *why, int err, const char *description, const char *what)
{
	scnprintf(why, FZC_REASON_LEN, "key %.64s: %s", description, what);
	return err;
}

/* The key's semaphore is held. */
static int check_payload(const struct key *key, const struct user_key_payload *p, char *why)
{
	if (!p)
		return say(why, -EKEYREVOKED, key->description, REVOKED);
	if (p->datalen == FZC_KEY_BYTES || p->datalen == FZC_KEYS * FZC_KEY_BYTES)
		return 0;
	scnprintf(why, FZC_REASON_LEN,
		  "key %.64s: has %u bytes, expected 32, or 64 with the key before it",
		  key->description, p->datalen);
	return -EINVAL;
}

static int validate(const struct key *key, char *why)
{
	int err = key_validate(key);

	if (err == -EKEYEXPIRED)
		return say(why, err, key->description, "expired, expected a valid one");
	return err ? say(why, err, key->description, REVOKED) : 0;
}

struct fzc_key *fzc_key_get(const char *description, char *why)
{
	struct fzc_key *k = kzalloc(sizeof(*k), GFP_KERNEL);
	struct fzc_keys keys;
	u64 print;
	int err;

	if (!k)
		return ERR_PTR(say(why, -ENOMEM, description, "no memory"));
	get_random_bytes(&k->secret, sizeof(k->secret));
	k->key = request_key(&key_type_logon, description, NULL);
	if (IS_ERR(k->key)) {
		err = say(why, PTR_ERR(k->key), description,
			  PTR_ERR(k->key) == -EKEYREVOKED ? "revoked" :
			  PTR_ERR(k->key) == -EKEYEXPIRED ? "expired" :
			  "not in this process's keyrings as a logon key; freezectl key load puts it there");
		kfree(k);
		return ERR_PTR(err);
	}
	err = fzc_key_read(k, &keys, &print, why);
	memzero_explicit(&keys, sizeof(keys));
	if (err) {
		fzc_key_put(k);
		return ERR_PTR(err);
	}
	return k;
}

void fzc_key_put(struct fzc_key *k)
{
	if (!k)
		return;
	key_put(k->key);
	kfree_sensitive(k);
}

static int copy_keys(struct fzc_key *k, struct fzc_keys *keys, u64 *print, char *why)
{
	const struct user_key_payload *p;
	int err;

	memset(keys, 0, sizeof(*keys));
	down_read(&k->key->sem);
	p = user_key_payload_locked(k->key);
	*print = print_of(k, p);
	err = validate(k->key, why) ?: check_payload(k->key, p, why);
	if (!err) {
		keys->n = p->datalen / FZC_KEY_BYTES;
		memcpy(keys->key, p->data, p->datalen);
	}
	up_read(&k->key->sem);
	return err;
}

int fzc_key_read(struct fzc_key *k, struct fzc_keys *keys, u64 *print, char *why)
{
	int err = copy_keys(k, keys, print, why);

	if (!err && *print == READ_ONCE(k->settled))
		keys->n = 1;
	return err;
}

int fzc_key_keep(struct fzc_key *k, struct fzc_keys *keys, char *why)
{
	u64 print;
	int err = copy_keys(k, keys, &print, why);

	WRITE_ONCE(k->kept, print);
	return err;
}

bool fzc_key_news(const struct fzc_key *k)
{
	return print_now(k) != READ_ONCE(k->kept);
}

void fzc_key_settle(struct fzc_key *k, u64 print)
{
	WRITE_ONCE(k->settled, print);
}

int fzc_key_valid(struct fzc_key *k, char *why)
{
	return validate(k->key, why);
}

int fzc_key_check(struct fzc_key *k, u64 print, char *why)
{
	int err = validate(k->key, why);

	if (!err && print_now(k) != print)
		err = say(why, -EKEYREJECTED, k->key->description,
			  "has changed, connecting with the new one");
	return err;
}
