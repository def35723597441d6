/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The shared key: a reference to a "logon" key of the kernel's keyrings, as
 * dm-crypt has it.  Its bytes are copied only for a handshake.
 *
 * The key's payload is FZC_KEY_BYTES, or twice that: the current key, then the
 * one before it, which is valid until the peer has switched.  An update of the
 * payload is noticed, and so is a revocation.
 */
#ifndef FZC_KEY_H
#define FZC_KEY_H

#include "core/auth.h"

struct fzc_key;

/*
 * Look @description up in the caller's keyrings.  In a constructor only: it
 * may call user space.  ERR_PTR with a reason.
 */
struct fzc_key *fzc_key_get(const char *description, char *why);
void fzc_key_put(struct fzc_key *key);

/*
 * Copy it, for the caller to wipe.  @print: a fingerprint of what the keyring has, for
 * fzc_key_settle() and fzc_key_check().  -errno with a reason.  Sleeps.
 */
int fzc_key_read(struct fzc_key *key, struct fzc_keys *keys, u64 *print, char *why);
/* The same for what is on disk: also the one before, whatever the peer has proven. */
int fzc_key_keep(struct fzc_key *key, struct fzc_keys *keys, char *why);
/* Has it changed since fzc_key_keep()?  No lock, does not sleep. */
bool fzc_key_news(const struct fzc_key *key);
/* The newer key of @print was proven by both: the one before it is not used any more. */
void fzc_key_settle(struct fzc_key *key, u64 print);
/* Is it a key at all, as far as can be told without reading it?  -errno with a reason. */
int fzc_key_valid(struct fzc_key *key, char *why);
/*
 * May a session go on whose handshake read @print?  -errno with a reason if the key is
 * revoked, or another one by now.  No lock, does not sleep.
 */
int fzc_key_check(struct fzc_key *key, u64 print, char *why);

#endif /* FZC_KEY_H */
