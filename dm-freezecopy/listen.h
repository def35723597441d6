/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The secondary's door: accepts connections, and lets those in who prove the
 * key.  Who has not yet is limited in number and time, and disturbs nobody.
 */
#ifndef FZC_LISTEN_H
#define FZC_LISTEN_H

#include "handshake.h"

struct fzc_listener;
struct task_struct;

/* Called from the listener's threads; may sleep. */
struct fzc_listener_ops {
	/* A peer has come, and has proven the key if there is one: @sock is the owner's now. */
	void (*arrived)(void *ctx, struct fzc_sock *sock, const struct fzc_secrets *secrets);
	/* Somebody tried and did not prove it; @why names him. */
	void (*refused)(void *ctx, const char *why);
};

/* Allocates only.  @addr, @key (NULL: nobody proves anything) and @name outlive it.  ERR_PTR. */
struct fzc_listener *fzc_listener_create(const struct fzc_listener_ops *ops, void *ctx,
					 const struct fzc_addr *addr, struct fzc_key *key,
					 u8 ciphers, const char *name);
void fzc_listener_destroy(struct fzc_listener *l);
/* An address that cannot be bound is retried, and reported.  -errno. */
int fzc_listener_start(struct fzc_listener *l);
/* Nothing arrives any more when it returns.  Sleeps. */
void fzc_listener_stop(struct fzc_listener *l);

/*
 * A thread "fzc-@what/@name" that runs @fn(@arg), at *@place; -errno.  And join it,
 * if there is one.  Sleep.
 */
int fzc_thread_start(struct task_struct **place, int (*fn)(void *), void *arg, const char *what,
		     const char *name);
void fzc_thread_stop(struct task_struct **place);

/* Log, once a reason, that @what on @addr does not work; @last is the owner's memory of that. */
void fzc_complain(const char *name, const char *what, const struct fzc_addr *addr, int err,
		  int *last);

#endif /* FZC_LISTEN_H */
