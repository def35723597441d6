// SPDX-License-Identifier: GPL-2.0-only
#include <json-c/json.h>
#include <string.h>
#include <time.h>

#include "say.h"
#include "view.h"

#define JSON_FORMAT	1	/* of --json; grows only, so that old readers go on */
#define BAR_WIDTH	30

static const char *const modes[] = {
	[FZC_MODE_NORMAL] = "normal", [FZC_MODE_FREEZING] = "freezing",
	[FZC_MODE_MERGING] = "merging", [FZC_MODE_STAGING] = "staging",
	[FZC_MODE_RECEIVING] = "freezing", [FZC_MODE_RECOVERED] = "recovered",
};

static const char *const connections[] = {
	[FZC_CONN_DOWN] = "down", [FZC_CONN_CONNECTING] = "connecting",
	[FZC_CONN_HANDSHAKE] = "handshake", [FZC_CONN_CONNECTED] = "connected",
	[FZC_CONN_REFUSED] = "refused",
};

static const char *const event_names[FZC_EV_NR] = {
	[FZC_EV_CONNECT] = "connect", [FZC_EV_DISCONNECT] = "disconnect", [FZC_EV_CUT] = "cut",
	[FZC_EV_COMMIT] = "commit", [FZC_EV_MERGED] = "merged", [FZC_EV_ABORT] = "abort",
	[FZC_EV_COPY_DONE] = "copy_done", [FZC_EV_ERROR] = "error",
};

static const char *name_of(const char *const *names, size_t n, uint32_t i)
{
	return i < n && names[i] ? names[i] : "unknown";
}

static const char *mode_name(const struct view *v)
{
	return v->state ? v->state : name_of(modes, ARRAY_SIZE(modes), v->q.mode);
}

static const char *connection_name(const struct fzc_query *q)
{
	if (q->connection == FZC_CONN_CONNECTING && q->role == FZC_ROLE_SECONDARY)
		return "listening";
	return name_of(connections, ARRAY_SIZE(connections), q->connection);
}

static const char *const ciphers[] = {
	[FZC_SESSION_AES_GCM] = "AES-256-GCM", [FZC_SESSION_CHACHA] = "ChaCha20-Poly1305",
};

/* 16 digits, as freezectl key list has them; empty: no key was proven yet. */
static const char *key_id(const struct fzc_query *q, char buf[17])
{
	static const uint8_t none[sizeof(q->key_id)];

	buf[0] = 0;
	for (size_t i = 0; memcmp(q->key_id, none, sizeof(none)) && i < sizeof(none); i++)
		sprintf(buf + 2 * i, "%02x", q->key_id[i]);
	return buf;
}

static uint64_t age(uint64_t when)
{
	uint64_t now = time(NULL);

	return now > when ? now - when : 0;
}

/* --- for programs --- */

static void put(struct json_object *o, const char *key, struct json_object *value)
{
	json_object_object_add(o, key, value);
}

static void put_u64(struct json_object *o, const char *key, uint64_t value)
{
	put(o, key, json_object_new_uint64(value));
}

static void put_text(struct json_object *o, const char *key, const char *value)
{
	put(o, key, value && *value ? json_object_new_string(value) : NULL);
}

static struct json_object *image_json(const struct fzc_image *i)
{
	struct json_object *o = json_object_new_object();
	char id[FC_UUID_LEN];

	uuid_print(i->id, id);
	put(o, "number", i->number ? json_object_new_uint64(i->number) : NULL);
	put_text(o, "id", i->number ? id : NULL);
	put(o, "time", i->number ? json_object_new_uint64(i->time) : NULL);
	put_text(o, "label", i->number ? i->label : NULL);
	put(o, "age_seconds", i->number ? json_object_new_uint64(age(i->time)) : NULL);
	return o;
}

static struct json_object *task_json(uint64_t total, uint64_t left, uint32_t block_size)
{
	struct json_object *o;

	if (!total)
		return NULL;
	o = json_object_new_object();
	put_u64(o, "bytes_total", total * block_size);
	put_u64(o, "bytes_left", left * block_size);
	return o;
}

static struct json_object *freeze_json(const struct fzc_query *q)
{
	struct json_object *o;
	char seconds[32];

	if (!q->freezing.number)
		return NULL;
	o = json_object_new_object();
	put_u64(o, "number", q->freezing.number);
	put_u64(o, "bytes_total", q->freeze_total * q->block_size);
	put_u64(o, "bytes_left", q->freeze_left * q->block_size);
	/* else it is printed with 17 digits */
	snprintf(seconds, sizeof(seconds), "%.3f", q->freeze_ms / 1000.0);
	put(o, "seconds", json_object_new_double_s(q->freeze_ms / 1000.0, seconds));
	return o;
}

static struct json_object *blocks_json(const struct fzc_query *q)
{
	struct json_object *o = json_object_new_object();

	put_u64(o, "size", q->block_size);
	put_u64(o, "total", q->blocks);
	put_u64(o, "changed", q->changed);
	put_u64(o, "unsent", q->unsent);
	put_u64(o, "inflight", q->inflight);
	put_u64(o, "frozen", q->frozen);
	put_u64(o, "diverted", q->diverted);
	put_u64(o, "staged", q->staged);
	put_u64(o, "damaged", q->damaged);
	return o;
}

static struct json_object *devices_json(const struct view *v)
{
	struct json_object *o = json_object_new_object();
	const struct fzc_query *q = &v->q;
	const uint8_t error[FZC_DEV_NR] = {
		q->meta_error, q->data_error, q->diff_error, q->diff_error,
	};

	for (int i = 0; q->role && i < role_devices(q->role); i++) {
		struct json_object *d = json_object_new_object();
		char number[32];

		snprintf(number, sizeof(number), "%u:%u", q->devices[i][0], q->devices[i][1]);
		put_text(d, "path", v->conf.role ? v->conf.device[i] : NULL);
		put_text(d, "number", v->state ? NULL : number);
		put(d, "error", json_object_new_boolean(error[i]));
		put(o, device_name(q->role, i), d);
	}
	return o;
}

static struct json_object *events_json(const struct fzc_query *q)
{
	struct json_object *o = json_object_new_object();

	put_u64(o, "number", q->event_nr);
	for (int i = 0; i < FZC_EV_NR; i++)
		put_u64(o, event_names[i], q->events[i]);
	put_u64(o, "short", q->ev_short);
	put_u64(o, "paced", q->ev_paced);
	return o;
}

/* How it stands with the difference volume, or with both. */
static struct json_object *diff_json(const struct fzc_query *q)
{
	struct json_object *o = json_object_new_object();

	put_u64(o, "bytes", q->diff_slots * q->block_size);
	put_u64(o, "used", q->diff_used * q->block_size);
	put_u64(o, "short", q->diff_short * q->block_size);
	put_u64(o, "writes_waiting", q->pacing);
	put_u64(o, "writes_paced", q->paced);
	return o;
}

static struct json_object *memory_json(const struct fzc_query *q)
{
	struct json_object *o = json_object_new_object();

	put_u64(o, "maps", q->mem_maps);
	put_u64(o, "slots", q->mem_slots);
	put_u64(o, "io", q->mem_io);
	return o;
}

static struct json_object *auth_json(const struct view *v)
{
	struct json_object *o;
	char id[17];

	if (!v->q.auth)
		return NULL;
	o = json_object_new_object();
	put_text(o, "key", v->conf.role ? v->conf.key : NULL);
	put_text(o, "key_id", key_id(&v->q, id));
	put_text(o, "cipher", v->q.cipher ? name_of(ciphers, ARRAY_SIZE(ciphers), v->q.cipher) : NULL);
	return o;
}

static struct json_object *wire_json(const struct fzc_query *q)
{
	struct json_object *o = json_object_new_object();

	put_u64(o, "tx_bytes", q->tx_bytes);
	put_u64(o, "rx_bytes", q->rx_bytes);
	put_u64(o, "tx_saved_bytes", q->tx_saved);
	return o;
}

struct json_object *view_json(const struct view *v)
{
	struct json_object *o = json_object_new_object();
	const struct fzc_query *q = &v->q;
	static const uint8_t none[16];
	char uuid[FC_UUID_LEN];

	uuid_print(q->pair_uuid, uuid);
	put(o, "format", json_object_new_int(JSON_FORMAT));
	put_text(o, "name", v->name);
	put_text(o, "role", q->role ? role_name(q->role) : NULL);
	put_text(o, "mode", mode_name(v));
	put_text(o, "peer", q->peer);
	put_text(o, "connection", connection_name(q));
	put(o, "auth", auth_json(v));
	put(o, "stage_encryption",
	    v->state ? NULL : json_object_new_boolean(q->stage_encryption));
	put(o, "last_contact", q->last_contact ? json_object_new_uint64(q->last_contact) : NULL);
	put_text(o, "pair_uuid", memcmp(q->pair_uuid, none, 16) ? uuid : v->conf.pair);
	put(o, "image", image_json(&q->image));
	put(o, "copy", task_json(q->copy_total, q->copy_left, q->block_size));
	put(o, "freeze", freeze_json(q));
	put(o, "merge", task_json(q->merge_total, q->merge_left, q->block_size));
	put(o, "blocks", blocks_json(q));
	put(o, "diff", diff_json(q));
	put(o, "wire", wire_json(q));
	put(o, "memory", memory_json(q));
	put(o, "devices", devices_json(v));
	put(o, "events", events_json(q));
	put_text(o, "error", q->error);
	return o;
}

/* --- for people --- */

static void bar(char *line, size_t len, const char *what, uint64_t total, uint64_t left,
		uint32_t block_size)
{
	uint64_t done = total > left ? total - left : 0;
	char marks[BAR_WIDTH + 1], size[32];
	int full = done * BAR_WIDTH / total;

	memset(marks, '.', BAR_WIDTH);
	memset(marks, '#', full);
	marks[BAR_WIDTH] = '\0';
	snprintf(line, len, "%-11s [%s] %3u %%  %s left", what, marks,
		 (unsigned int)(done * 100 / total),
		 size_print(left * block_size, size, sizeof(size)));
}

void view_progress(const struct fzc_query *q, char *line, size_t len)
{
	*line = '\0';
	if (q->freezing.number && q->freeze_total)
		bar(line, len, "freeze", q->freeze_total, q->freeze_left, q->block_size);
	else if (q->merge_total)
		bar(line, len, "merge", q->merge_total, q->merge_left, q->block_size);
	else if (q->copy_total)
		bar(line, len, "copy", q->copy_total, q->copy_left, q->block_size);
}

static void text_image(FILE *out, const struct fzc_query *q)
{
	char when[64] = "";
	time_t t = q->image.time;
	struct tm tm;

	if (!q->image.number) {
		fputs("  image       no image yet\n", out);
		return;
	}
	if (localtime_r(&t, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(out, "  image       %llu of %s, %llu s ago%s",
		(unsigned long long)q->image.number, when, (unsigned long long)age(q->image.time),
		q->image.label[0] ? ", \"" : "");
	print_safely(out, q->image.label, FZC_LABEL_LEN);
	fprintf(out, "%s\n", q->image.label[0] ? "\"" : "");
}

static void text_auth(FILE *out, const struct fzc_query *q)
{
	char id[17];

	if (!q->auth)
		fprintf(out, "  key         none: nobody proves anything, nothing is encrypted\n");
	else if (q->cipher)
		fprintf(out, "  key         %s, %s\n", key_id(q, id),
			name_of(ciphers, ARRAY_SIZE(ciphers), q->cipher));
	else
		fprintf(out, "  key         not proven by a peer yet\n");
	fprintf(out, "  stage       %s\n", q->stage_encryption ? "encrypted, metadata signed" :
		"not encrypted");
}

static void text_bars(FILE *out, const struct fzc_query *q)
{
	char line[160];

	if (q->copy_total) {
		bar(line, sizeof(line), "copy", q->copy_total, q->copy_left, q->block_size);
		fprintf(out, "  %s\n", line);
	}
	if (q->freezing.number) {
		bar(line, sizeof(line), "freeze", q->freeze_total ? q->freeze_total : 1,
		    q->freeze_left, q->block_size);
		fprintf(out, "  %s, image %llu, %.1f s%s\n", line,
			(unsigned long long)q->freezing.number, q->freeze_ms / 1000.0,
			q->phase == FZC_PHASE_IN_DOUBT ? ", in doubt until the peer is heard" : "");
	}
	if (q->merge_total) {
		bar(line, sizeof(line), "merge", q->merge_total, q->merge_left, q->block_size);
		fprintf(out, "  %s\n", line);
	}
}

static void text_blocks(FILE *out, const struct fzc_query *q)
{
	char a[32], b[32];

	fprintf(out, "  blocks      %llu of %u bytes",
		(unsigned long long)q->blocks, q->block_size);
	if (q->role == FZC_ROLE_PRIMARY)
		fprintf(out, "; %llu changed, %llu unsent, %llu in flight, %llu diverted",
			(unsigned long long)q->changed, (unsigned long long)q->unsent,
			(unsigned long long)q->inflight, (unsigned long long)q->diverted);
	else
		fprintf(out, "; %llu staged, %llu damaged", (unsigned long long)q->staged,
			(unsigned long long)q->damaged);
	fprintf(out, "\n  diff        %s used of %s",
		size_print(q->diff_used * q->block_size, a, sizeof(a)),
		size_print(q->diff_slots * q->block_size, b, sizeof(b)));
	if (q->diff_short)
		fprintf(out, "; %s more are frozen than it can take",
			size_print(q->diff_short * q->block_size, a, sizeof(a)));
	if (q->pacing)
		fprintf(out, "; %llu writes wait for room", (unsigned long long)q->pacing);
	fprintf(out, "\n");
	fprintf(out, "  wire        %s sent, %s received", size_print(q->tx_bytes, a, sizeof(a)),
		size_print(q->rx_bytes, b, sizeof(b)));
	if (q->tx_saved)
		fprintf(out, "; compression saved %s", size_print(q->tx_saved, a, sizeof(a)));
	fprintf(out, "\n");
}

void view_text(FILE *out, const struct view *v)
{
	const struct fzc_query *q = &v->q;

	fprintf(out, "%s  %s, %s\n", v->name, q->role ? role_name(q->role) : "?", mode_name(v));
	if (q->peer[0])
		fprintf(out, "  %-10s  %s, %s", q->role == FZC_ROLE_PRIMARY ? "peer" : "listens",
			q->peer, connection_name(q));
	if (q->peer[0] && q->last_contact)
		fprintf(out, ", heard %llu s ago", (unsigned long long)age(q->last_contact));
	if (q->peer[0])
		fprintf(out, "%s\n", q->in_sync ? ", in sync" : "");
	if (!v->state) {
		text_auth(out, q);
		text_image(out, q);
		text_bars(out, q);
		text_blocks(out, q);
	}
	if (!q->error[0])
		return;
	fputs("  error       ", out);
	print_safely(out, q->error, FZC_MESSAGE_LEN);
	fputc('\n', out);
}
