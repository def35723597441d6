/* SPDX-License-Identifier: GPL-2.0-only */
/* A volume's state, for people and for programs. */
#ifndef FREEZECTL_VIEW_H
#define FREEZECTL_VIEW_H

#include <stdio.h>

#include "conf.h"

struct json_object;

struct view {
	char name[FC_NAME_LEN];
	const char *state;	/* "stopped", "suspended", ...; NULL: @q is what the kernel says */
	struct fzc_query q;
	struct conf conf;	/* role 0: the volume has no conf */
};

/* The caller owns the object. */
struct json_object *view_json(const struct view *v);

void view_text(FILE *out, const struct view *v);

/* "freeze  [####......]  40 %  1.2 GiB left"; empty when nothing is under way. */
void view_progress(const struct fzc_query *q, char *line, size_t len);

#endif
