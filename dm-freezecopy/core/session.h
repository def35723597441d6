/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may talk to whom, and what a new connection means for a freeze and a
 * stage.  Functions without side effects.
 */
#ifndef FZC_SESSION_H
#define FZC_SESSION_H

#include "types.h"

/* What the primary knows, besides its hello. */
struct fzc_session_view {
	struct fzc_hello me;
	struct fzc_id pending;
	u64 told;		/* frames it was told are durable in session me.session */
	bool in_doubt;		/* me.freeze is in doubt (R13) */
	bool new_stage;		/* the stage is void whatever the secondary says */
};

struct fzc_decision {
	bool adopt_pending;	/* the secondary knows the pending session: it is current now */
	bool finish;		/* the secondary committed me.freeze: the reply was lost */
	bool abort;		/* me.freeze is void */
	bool send_all;		/* every block is unsent */
	u8 order;		/* enum fzc_order */
};

/* The secondary's first look at a primary's hello.  -EPROTO with a reason. */
int fzc_session_check(const struct fzc_hello *me, const struct fzc_hello *peer, char *why);
/* The primary decides.  -EPROTO with a reason: refused. */
int fzc_session_decide(const struct fzc_session_view *v, const struct fzc_hello *peer,
		       struct fzc_decision *d, char *why);

#endif /* FZC_SESSION_H */
