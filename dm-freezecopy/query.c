// SPDX-License-Identifier: GPL-2.0-only
#include "query.h"

void fzc_query_take(struct fzc_dev *dev, struct fzc_query *q)
{
	struct fzc_link_stats stats = { };
	unsigned long flags;
	u8 i;

	memset((void *)q + sizeof(q->head), 0, sizeof(*q) - sizeof(q->head));
	q->role = dev->role->role;
	fzc_addr_print(&dev->addr, q->peer, sizeof(q->peer));
	q->size = dev->geo.sectors << SECTOR_SHIFT;
	q->block_size = dev->geo.block_size;
	q->blocks = dev->geo.blocks;
	for (i = 0; i < dev->role->ndevs; i++) {
		q->devices[i][0] = MAJOR(dev->bdevt[i]);
		q->devices[i][1] = MINOR(dev->bdevt[i]);
	}
	fzc_link_stats(dev->link, &stats);
	q->last_contact = stats.last_contact;
	q->tx_bytes = stats.tx_bytes;
	q->rx_bytes = stats.rx_bytes;
	q->auth = dev->key ? 1 : 0;
	q->stage_encryption = dev->encrypt;
	q->cipher = stats.cipher;
	memcpy(q->key_id, stats.key, sizeof(q->key_id));

	spin_lock_irqsave(&dev->lock, flags);
	dev->role->query(dev, q);
	q->event_nr = dev->event_nr;
	for (i = 0; i < ARRAY_SIZE(q->events); i++)
		q->events[i] = dev->events[i];
	q->ev_short = dev->events[FZC_EVENT_SHORT];
	q->ev_paced = dev->events[FZC_EVENT_PACED];
	q->pacing = dev->hio.pacing;
	q->paced = dev->hio.paced;
	q->mem_io += FZC_ENGINE_BYTES + (u64)dev->hio.nfill * dev->geo.block_size;
	spin_unlock_irqrestore(&dev->lock, flags);
}

static const char *mode_word(const struct fzc_query *q)
{
	static const char *const word[] = {
		[FZC_MODE_NORMAL] = "normal",
		[FZC_MODE_FREEZING] = "freezing",
		[FZC_MODE_MERGING] = "merging",
		[FZC_MODE_STAGING] = "staging",
		[FZC_MODE_RECEIVING] = "freezing",
		[FZC_MODE_RECOVERED] = "recovered",
	};

	return word[q->mode];
}

static const char *connection_word(const struct fzc_query *q)
{
	switch (q->connection) {
	case FZC_CONN_CONNECTING:
		return q->role == FZC_ROLE_PRIMARY ? "connecting" : "listening";
	case FZC_CONN_HANDSHAKE:
		return "handshake";
	case FZC_CONN_CONNECTED:
		return "connected";
	case FZC_CONN_REFUSED:
		return "refused";
	default:
		return "down";
	}
}

static const char *phase_word(const struct fzc_query *q)
{
	static const char *const word[] = {
		[FZC_PHASE_NONE] = "none",
		[FZC_PHASE_CLOSING] = "closing",
		[FZC_PHASE_DELIVERING] = "delivering",
		[FZC_PHASE_ALL_SENT] = "all-sent",
		[FZC_PHASE_IN_DOUBT] = "in-doubt",
	};

	return word[q->phase];
}

static const char *error_word(const struct fzc_query *q)
{
	if (q->meta_error)
		return "meta";
	if (q->data_error)
		return "data";
	if (q->diff_error)
		return "diff";
	return q->connection == FZC_CONN_REFUSED ? "refused" : "-";
}

/* An image number, "-" for none. */
static const char *number_word(u64 number, char buf[24])
{
	if (!number)
		return "-";
	snprintf(buf, 24, "%llu", number);
	return buf;
}

/* The id of the key that was proven last, "-" for none yet, "none" where none is wanted. */
static const char *key_word(const struct fzc_query *q, char buf[2 * FZC_KEY_ID + 1])
{
	if (!q->auth)
		return "none";
	if (!q->cipher)
		return "-";
	fzc_key_id_print(q->key_id, buf);
	return buf;
}

static const char *cipher_word(const struct fzc_query *q)
{
	static const char *const word[] = {
		[FZC_SESSION_CLEAR] = "-",
		[FZC_SESSION_AES_GCM] = "aes-gcm",
		[FZC_SESSION_CHACHA] = "chacha20-poly1305",
	};

	return word[q->cipher];
}

void fzc_query_print(const struct fzc_query *q, char *result, unsigned int maxlen)
{
	static const char *const event[] = {
		"connect", "disconnect", "cut", "commit", "merged", "abort", "copy_done", "error",
	};
	unsigned int sz = 0, i;
	char number[24], key[2 * FZC_KEY_ID + 1];

	DMEMIT("%s %s %s", q->role == FZC_ROLE_PRIMARY ? "primary" : "secondary", mode_word(q),
	       connection_word(q));
	DMEMIT(" %s", number_word(q->image.number, number));
	DMEMIT(" block=%u blocks=%llu changed=%llu unsent=%llu inflight=%llu", q->block_size,
	       q->blocks, q->changed, q->unsent, q->inflight);
	DMEMIT(" frozen=%llu diverted=%llu staged=%llu damaged=%llu", q->frozen, q->diverted,
	       q->staged, q->damaged);
	DMEMIT(" diff_slots=%llu diff_used=%llu", q->diff_slots, q->diff_used);
	DMEMIT(" freeze=%s phase=%s", number_word(q->freezing.number, number), phase_word(q));
	DMEMIT(" freeze_total=%llu freeze_left=%llu copy_total=%llu copy_left=%llu",
	       q->freeze_total, q->freeze_left, q->copy_total, q->copy_left);
	DMEMIT(" merge_total=%llu merge_left=%llu tx=%llu rx=%llu tx_blocks=%llu in_sync=%u",
	       q->merge_total, q->merge_left, q->tx_bytes, q->rx_bytes, q->tx_blocks, q->in_sync);
	DMEMIT(" ev=%llu", q->event_nr);
	for (i = 0; i < ARRAY_SIZE(event); i++)
		DMEMIT(" ev_%s=%llu", event[i], q->events[i]);
	DMEMIT(" error=%s", error_word(q));
	DMEMIT(" diff_short=%llu pacing=%llu paced=%llu ev_short=%llu ev_paced=%llu",
	       q->diff_short, q->pacing, q->paced, q->ev_short, q->ev_paced);
	DMEMIT(" backoff_ms=%llu mem_maps=%llu mem_slots=%llu mem_io=%llu", q->backoff_ms,
	       q->mem_maps, q->mem_slots, q->mem_io);
	DMEMIT(" tx_saved=%llu key=%s cipher=%s", q->tx_saved, key_word(q, key),
	       cipher_word(q));
	DMEMIT(" stage_encryption=%s", q->stage_encryption ? "on" : "off");
}
