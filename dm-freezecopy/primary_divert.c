// SPDX-License-Identifier: GPL-2.0-only
/* Host bios on the primary: to data, or diverted to slots of diff. */
#include "primary.h"

static enum fzc_go begin_flush(struct fzc_primary *pr, struct fzc_hio *h)
{
	enum fzc_go go = fzc_p_flush_begin(&pr->core, &h->ticket);

	h->held = go == FZC_GO_DATA;
	return go;
}

static enum fzc_go divert_begin(struct fzc_dev *dev, struct fzc_hio *h)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	enum fzc_go go;

	if (h->flush)
		return begin_flush(pr, h);
	if (!h->write)
		return fzc_p_read_begin(&pr->core, h->first, h->last);
	go = fzc_p_write_begin(&pr->core, h->first, h->last, fzc_hio_late(dev, h));
	h->held = go == FZC_GO_DATA;
	if (h->again && go != FZC_GO_PARK && go != FZC_GO_PACE) {
		h->again = false;
		fzc_p_write_again(&pr->core);
	}
	if (go != FZC_GO_DATA && fzc_slots_wants(&pr->core.slots))
		fzc_engine_kick(dev);
	return go;
}

static void divert_place(struct fzc_dev *dev, struct fzc_hio *h, u64 block, struct fzc_spot *spot)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	enum fzc_place place;

	if (h->write)
		place = fzc_p_write_place(&pr->core, block, &spot->slot);
	else
		place = fzc_p_read_place(&pr->core, block, &spot->slot);
	spot->kind = place == FZC_AT_NEW ? FZC_SPOT_NEW : FZC_SPOT_AT;
	spot->dev = place == FZC_AT_DATA ? FZC_DATA : FZC_DIFF;
}

static void divert_put(struct fzc_dev *dev, u8 which, u32 slot, u32 n)
{
	struct fzc_primary *pr = fzc_primary_of(dev);

	while (n--)
		fzc_p_slot_put(&pr->core, slot++);
	fzc_engine_kick_soon(dev);
}

/* A freeze that goes on after one that failed would ship what may not be durable here. */
static enum fzc_hio_end flush_ended(struct fzc_primary *pr, struct fzc_hio *h, int err)
{
	if (fzc_p_flush_end(&pr->core, err)) {
		h->status = h->status ?: BLK_STS_IOERR;
		fzc_engine_kick(&pr->dev);
	}
	return FZC_HIO_DONE;
}

static enum fzc_hio_end divert_end(struct fzc_dev *dev, struct fzc_hio *h)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	int err = h->status || h->diff_err ? -EIO : 0;

	if (h->flush)
		return flush_ended(pr, h, err);
	if (!h->write)
		return FZC_HIO_DONE;
	h->again = fzc_p_write_end(&pr->core, h->first, h->last, err, h->diff_err);
	if (h->again)
		return FZC_HIO_AGAIN;
	if (pr->closing)
		fzc_primary_note_cut(pr);
	if ((pr->core.wake && fzc_hio_parked(&dev->hio)) || pr->core.gate_closed)
		fzc_engine_kick(dev);
	else if (pr->core.wake || pr->core.events || pr->core.link == FZC_LINK_UP)
		fzc_engine_kick_soon(dev);
	if (h->diff_err && !h->status)
		h->status = BLK_STS_IOERR;
	if (err || !h->fua || !h->diff)
		return FZC_HIO_DONE;
	h->ticket = fzc_p_sync(&pr->core);
	return FZC_HIO_WAIT;
}

const struct fzc_hio_ops fzc_primary_hio = {
	.begin = divert_begin,
	.place = divert_place,
	.put = divert_put,
	.end = divert_end,
};
