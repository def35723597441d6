// SPDX-License-Identifier: GPL-2.0-only
/*
 * What `freezectl status` makes of a primary in the middle of everything:
 *
 *	view_test json|text|progress
 */
#include <json-c/json.h>
#include <string.h>
#include <time.h>

#include "../say.h"
#include "../view.h"

static void fill(struct view *v)
{
	struct fzc_query *q = &v->q;

	strcpy(v->name, "db");
	*q = (struct fzc_query){
		.role = FZC_ROLE_PRIMARY, .mode = FZC_MODE_FREEZING,
		.connection = FZC_CONN_CONNECTED, .phase = FZC_PHASE_DELIVERING,
		.pair_uuid = { 0x6f, 0x0c }, .peer = "192.0.2.2:7744",
		.last_contact = time(NULL) - 2,
		.image = { .number = 6, .id = { 1 }, .time = time(NULL) - 60, .label = "a \"b\"\033" },
		.freezing = { .number = 7, .id = { 2 } },
		.freeze_total = 1000, .freeze_left = 250, .freeze_ms = 1500,
		.copy_total = 100, .copy_left = 100, .merge_total = 10, .merge_left = 1,
		.size = 1ULL << 40, .block_size = 4096, .blocks = 1ULL << 28,
		.changed = 1, .unsent = 2, .inflight = 3, .frozen = 250, .diverted = 5,
		.diff_slots = 1ULL << 24, .diff_used = 5, .tx_bytes = 1ULL << 53, .rx_bytes = 9,
		.event_nr = 42, .events = { [FZC_EV_CUT] = 7, [FZC_EV_ERROR] = 1 },
		.devices = { { 254, 0 }, { 254, 1 }, { 254, 2 } }, .diff_error = 1,
		.error = "diff: write failed", .diff_short = 3, .pacing = 2, .paced = 11,
		.ev_short = 1, .ev_paced = 4, .mem_maps = 21, .mem_slots = 22, .mem_io = 23,
		.auth = 1, .cipher = FZC_SESSION_AES_GCM, .key_id = { 0x0a, 0xbc },
		.tx_saved = 3 << 20, .stage_encryption = 1,
	};
}

int main(int argc, char **argv)
{
	static struct view v;
	struct json_object *o;
	char line[160];

	fill(&v);
	if (argc == 2 && !strcmp(argv[1], "json")) {
		o = view_json(&v);
		puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
		json_object_put(o);
	} else if (argc == 2 && !strcmp(argv[1], "text")) {
		view_text(stdout, &v);
	} else if (argc == 2 && !strcmp(argv[1], "progress")) {
		view_progress(&v.q, line, sizeof(line));
		puts(line);
	} else {
		return FC_USAGE;
	}
	return FC_DONE;
}
