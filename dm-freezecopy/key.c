// SPDX-License-Identifier: GPL-2.0-only
#include <keys/user-type.h>
#include <linux/err.h>
#include <linux/key.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "key.h"

#define REVOKED	"revoked, expected a valid one: freezectl key load, then restart the volume"

struct fzc_key {
	struct key *key;
	struct mutex lock;		/* protects @settled, and writes of the others */
	const void *payload;		/* as last read: only to see that it is another one */
	u32 changes;			/* so often it was */
	bool settled;
	const void *kept;		/* likewise, by fzc_key_keep() */
};

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
	u32 change;
	int err;

	if (!k)
		return ERR_PTR(say(why, -ENOMEM, description, "no memory"));
	mutex_init(&k->lock);
	k->key = request_key(&key_type_logon, description, NULL);
	if (IS_ERR(k->key)) {
		err = say(why, PTR_ERR(k->key), description,
			  PTR_ERR(k->key) == -EKEYREVOKED ? "revoked" :
			  PTR_ERR(k->key) == -EKEYEXPIRED ? "expired" :
			  "not in this process's keyrings as a logon key; freezectl key load puts it there");
		kfree(k);
		return ERR_PTR(err);
	}
	err = fzc_key_read(k, &keys, &change, why);
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
	kfree(k);
}

/* How many of the keys there are the peer may use. */
static u32 note_payload(struct fzc_key *k, const struct user_key_payload *p)
{
	if (READ_ONCE(k->payload) != p) {
		k->settled = false;
		WRITE_ONCE(k->changes, k->changes + 1);
	}
	WRITE_ONCE(k->payload, p);
	return k->settled ? 1 : p->datalen / FZC_KEY_BYTES;
}

/* @change NULL: to be kept. */
static int copy_keys(struct fzc_key *k, struct fzc_keys *keys, u32 *change, char *why)
{
	const struct user_key_payload *p;
	int err;

	memset(keys, 0, sizeof(*keys));
	mutex_lock(&k->lock);
	down_read(&k->key->sem);
	p = user_key_payload_locked(k->key);
	err = validate(k->key, why) ?: check_payload(k->key, p, why);
	if (!err) {
		keys->n = change ? note_payload(k, p) : p->datalen / FZC_KEY_BYTES;
		memcpy(keys->key, p->data, keys->n * FZC_KEY_BYTES);
	}
	if (change)
		*change = k->changes;
	else
		WRITE_ONCE(k->kept, p);
	up_read(&k->key->sem);
	mutex_unlock(&k->lock);
	return err;
}

int fzc_key_read(struct fzc_key *k, struct fzc_keys *keys, u32 *change, char *why)
{
	return copy_keys(k, keys, change, why);
}

int fzc_key_keep(struct fzc_key *k, struct fzc_keys *keys, char *why)
{
	return copy_keys(k, keys, NULL, why);
}

bool fzc_key_news(const struct fzc_key *k)
{
	return rcu_access_pointer(k->key->payload.rcu_data0) != READ_ONCE(k->kept);
}

void fzc_key_settle(struct fzc_key *k, const struct fzc_keys *keys)
{
	const struct user_key_payload *p;

	mutex_lock(&k->lock);
	down_read(&k->key->sem);
	p = user_key_payload_locked(k->key);
	if (p && p == k->payload && !crypto_memneq(p->data, keys->key[0], FZC_KEY_BYTES))
		k->settled = true;
	up_read(&k->key->sem);
	mutex_unlock(&k->lock);
}

int fzc_key_valid(struct fzc_key *k, char *why)
{
	return validate(k->key, why);
}

int fzc_key_check(struct fzc_key *k, u32 change, char *why)
{
	int err = validate(k->key, why);

	/* @payload alone does not tell: whoever connects meanwhile makes it the new one */
	if (!err && (rcu_access_pointer(k->key->payload.rcu_data0) != READ_ONCE(k->payload) ||
		     READ_ONCE(k->changes) != change))
		err = say(why, -EKEYREJECTED, k->key->description,
			  "has changed, connecting with the new one");
	return err;
}
