/* SPDX-License-Identifier: GPL-2.0-only */
/* /etc/freezecopy/NAME.conf: what a volume is made of.  See freezecopy.conf(5). */
#ifndef FREEZECTL_CONF_H
#define FREEZECTL_CONF_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "../../dm-freezecopy/core/args.h"
#include "dm-freezecopy.h"
#include "parse.h"

struct conf {
	char name[FC_NAME_LEN];
	enum fzc_role role;
	char uuid[FC_UUID_LEN];		/* of the dm device; a primary's is the pair's */
	char pair[FC_UUID_LEN];		/* empty: as recorded in meta */
	char device[FZC_DEV_NR][PATH_MAX];	/* by enum fzc_device_role */
	char link[FZC_PEER_LEN];	/* whom to call (primary), where to listen (secondary) */
	uint32_t block_size;		/* 0: as recorded in meta */
	bool verify;			/* a secondary: every slot before the commit */
	char pace_ms[8];		/* empty: the default; a primary's */
	char congestion[FZC_CONGESTION_LEN];	/* empty: the system's; a primary's */
	char rate[FZC_RATE_LEN];	/* empty: no limit; a primary's */
	uint32_t compress;		/* FZC_WIRE_LZ4, FZC_WIRE_ZSTD; 0: not; a primary's */
	bool auth_none;			/* runs without authentication, by the user's word */
	char key[FC_NAME_LEN];		/* name of the key, if it does not */
	char stage_encryption[4];	/* on, off; empty: the default, which is on with a key */
};

/* Directory of the conf files: $FREEZECTL_CONFDIR or /etc/freezecopy. */
const char *conf_dir(void);

bool conf_exists(const char *name);

/* Other files in that directory, of the same name. */
void conf_path(const char *name, const char *suffix, char path[PATH_MAX]);
/* Is it a file of root, of which others have none of the bits @forbidden?  Else @why. */
bool conf_trusted(FILE *f, const char *path, mode_t forbidden, char *why, size_t len);
/*
 * Write one so that after a crash there is the whole file or the one before:
 * NULL if it cannot be begun; conf_end() returns an exit code.  They say why.
 */
FILE *conf_begin(const char *name, const char *suffix, char path[PATH_MAX], char tmp[PATH_MAX]);
int conf_end(FILE *f, const char *path, const char *tmp);
int conf_unlink(const char *name, const char *suffix);

/* Read and check NAME.conf; says what is wrong and returns an exit code. */
int conf_read(const char *name, struct conf *c);

/* Write it so that after a crash there is the whole file or none; says, returns an exit code. */
int conf_write(const struct conf *c);
int conf_delete(const char *name);

/* What to do about a conf file that is refused, or cannot be read. */
enum conf_bad {
	CONF_SKIP,		/* without a word */
	CONF_NOTE,		/* skip it and say so */
	CONF_REFUSE,		/* say so and end: what it names is not to be lost */
};

/*
 * Call @fn for every NAME.conf that can be read, until it returns non-zero,
 * which is returned.
 */
int conf_each(enum conf_bad bad, int (*fn)(const struct conf *c, void *arg), void *arg);

/* Keep other freezectl processes from creating and removing volumes; freed at exit. */
int conf_lock(void);

const char *role_name(enum fzc_role role);
int role_devices(enum fzc_role role);			/* how many it has */
const char *device_name(enum fzc_role role, int dev);	/* "meta", "diff-a", ... */

#endif
