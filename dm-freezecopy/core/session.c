// SPDX-License-Identifier: GPL-2.0-only
#include "session.h"
#include "ondisk.h"

static const char way_out[] =
	"freezectl remove --wipe and create on the side that is to be filled anew";

/* The first four bytes: enough to tell two ids apart in a log. */
static u32 brief(const struct fzc_id *id)
{
	return (u32)id->b[0] << 24 | id->b[1] << 16 | id->b[2] << 8 | id->b[3];
}

static const char *role_name(u8 role)
{
	return role == FZC_PRIMARY ? "primary" : role == FZC_SECONDARY ? "secondary" : "unknown";
}

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

static bool same_image(const struct fzc_img *a, const struct fzc_img *b)
{
	return a->number == b->number && (!a->number || fzc_id_equal(&a->id, &b->id));
}

static bool known_id(const struct fzc_id *mine, const struct fzc_id *theirs)
{
	return !fzc_id_is_zero(mine) && fzc_id_equal(mine, theirs);
}

/* What both sides must agree on whatever happened before. */
static int check_same_volume(const struct fzc_hello *me, const struct fzc_hello *peer, u8 my_role,
			     char *why)
{
	u8 peer_role = my_role == FZC_PRIMARY ? FZC_SECONDARY : FZC_PRIMARY;
	const struct fzc_hello *secondary = my_role == FZC_SECONDARY ? me : peer;

	if (me->role != my_role || peer->role != peer_role)
		scnprintf(why, FZC_REASON_LEN,
			  "role: %s here, %s at the peer, expected %s and %s: check both addresses",
			  role_name(me->role), role_name(peer->role), role_name(my_role),
			  role_name(peer_role));
	else if (secondary->recovered)
		scnprintf(why, FZC_REASON_LEN,
			  "the secondary was recovered as image %llu: the operator decides: %s",
			  (unsigned long long)secondary->image.number, way_out);
	else if (me->sectors != peer->sectors)
		scnprintf(why, FZC_REASON_LEN,
			  "size: %llu sectors here, %llu at the peer: both sides need the same",
			  (unsigned long long)me->sectors, (unsigned long long)peer->sectors);
	else if (me->block_size != peer->block_size)
		scnprintf(why, FZC_REASON_LEN,
			  "block: %u bytes here, %u at the peer: create both sides with the same",
			  me->block_size, peer->block_size);
	else if (me->encrypted != peer->encrypted)
		scnprintf(why, FZC_REASON_LEN,
			  "stage_encryption: %s here, %s at the peer: create both sides with the same",
			  on_off(me->encrypted), on_off(peer->encrypted));
	else if (!secondary->blank && !fzc_id_equal(&me->pair, &peer->pair))
		scnprintf(why, FZC_REASON_LEN,
			  "pair: %08x here, %08x at the peer: another volume; check addresses, or %s",
			  brief(&me->pair), brief(&peer->pair), way_out);
	else
		return 0;
	return -EPROTO;
}

int fzc_session_check(const struct fzc_hello *me, const struct fzc_hello *peer, char *why)
{
	return check_same_volume(me, peer, FZC_SECONDARY, why);
}

/* A secondary that belongs to nobody yet. */
static int decide_blank(const struct fzc_hello *me, struct fzc_decision *d, char *why)
{
	if (me->image.number) {
		scnprintf(why, FZC_REASON_LEN,
			  "the peer is blank, this volume has image %llu (%08x): check the peer; to copy everything anew, freezectl remove --wipe and create on this side",
			  (unsigned long long)me->image.number, brief(&me->image.id));
		return -EPROTO;
	}
	d->order = FZC_ORDER_FIRST_COPY;
	d->send_all = true;
	d->abort = me->freeze.number;
	return 0;
}

/* R17: the last session that the secondary took part in must be one of ours. */
static int check_session(const struct fzc_session_view *v, const struct fzc_hello *peer,
			 struct fzc_decision *d, char *why)
{
	if (fzc_id_equal(&peer->session, &v->me.session))
		return 0;
	if (known_id(&v->pending, &peer->session)) {
		d->adopt_pending = true;
		return 0;
	}
	scnprintf(why, FZC_REASON_LEN,
		  "last session: %08x (pending %08x) here, %08x at the peer: one side was restored from a backup or cloned: %s",
		  brief(&v->me.session), brief(&v->pending), brief(&peer->session), way_out);
	return -EPROTO;
}

/* P5: both have the same image, or the secondary has just got what is being frozen. */
static int check_base(const struct fzc_hello *me, const struct fzc_hello *peer,
		      struct fzc_decision *d, char *why)
{
	if (me->freeze.number && same_image(&me->freeze, &peer->image)) {
		d->finish = true;
		return 0;
	}
	if (same_image(&me->image, &peer->image))
		return 0;
	scnprintf(why, FZC_REASON_LEN,
		  "image: %llu (%08x) here, %llu (%08x) at the peer, freeze running here: %llu (%08x): %s",
		  (unsigned long long)me->image.number, brief(&me->image.id),
		  (unsigned long long)peer->image.number, brief(&peer->image.id),
		  (unsigned long long)me->freeze.number, brief(&me->freeze.id), way_out);
	return -EPROTO;
}

/* May what the secondary holds of the next image be built upon? */
static void decide_stage(const struct fzc_session_view *v, const struct fzc_hello *peer,
			 struct fzc_decision *d)
{
	const struct fzc_hello *me = &v->me;
	bool freezing = me->freeze.number && !d->finish;
	bool lost = !fzc_id_equal(&peer->stage, &me->stage) ||
		    (fzc_id_equal(&peer->session, &me->session) && peer->durable < v->told);

	d->order = FZC_ORDER_RESUME;
	d->abort = freezing && v->in_doubt;
	if (!lost && !v->new_stage)
		return;
	d->order = FZC_ORDER_NEW_STAGE;
	d->abort = freezing;
	/* There is no image to start from, and what of the volume was copied is not certain. */
	if (lost && peer->direct && !me->image.number && !peer->image.number) {
		d->order = FZC_ORDER_FIRST_COPY;
		d->send_all = true;
	}
}

int fzc_session_decide(const struct fzc_session_view *v, const struct fzc_hello *peer,
		       struct fzc_decision *d, char *why)
{
	int err;

	memset(d, 0, sizeof(*d));
	err = check_same_volume(&v->me, peer, FZC_PRIMARY, why);
	if (err)
		return err;
	if (peer->blank)
		return decide_blank(&v->me, d, why);
	err = check_session(v, peer, d, why);
	if (err)
		return err;
	err = check_base(&v->me, peer, d, why);
	if (err)
		return err;
	decide_stage(v, peer, d);
	return 0;
}
