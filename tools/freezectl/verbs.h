/* SPDX-License-Identifier: GPL-2.0-only */
/* The verbs, one file each. */
#ifndef FREEZECTL_VERBS_H
#define FREEZECTL_VERBS_H

#include "say.h"

extern const struct verb verb_create;
extern const struct verb verb_start;
extern const struct verb verb_stop;
extern const struct verb verb_freeze;
extern const struct verb verb_status;
extern const struct verb verb_wait;
extern const struct verb verb_abort;
extern const struct verb verb_recover;
extern const struct verb verb_dump;
extern const struct verb verb_check;
extern const struct verb verb_remove;
extern const struct verb verb_key;
extern const struct verb verb_udev_probe;

#endif
