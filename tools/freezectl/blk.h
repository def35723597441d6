/* SPDX-License-Identifier: GPL-2.0-only */
/* One block device that a volume is made of: is it free, what is on it, erase it. */
#ifndef FREEZECTL_BLK_H
#define FREEZECTL_BLK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct blk {
	const char *label;	/* "meta", for messages */
	char path[PATH_MAX];
	dev_t dev;
	uint64_t bytes;
	int fd;			/* open read-write and exclusively, -1: closed */
};

/*
 * Open @path if it is a writable block device that nobody uses: no holders, not
 * mounted, no swap, nobody has it open exclusively.  Says why not, returns an
 * exit code.  A @b with fd >= 0 has to be closed with blk_close().
 */
int blk_open(struct blk *b, const char *label, const char *path);
void blk_close(struct blk *b);

/* 1: there is content and @text names it; 0: libblkid finds none; -1: it cannot tell (@text). */
int blk_content(int fd, char *text, size_t len);

/* One value of libblkid, "TYPE" say; false when there is none. */
bool blk_value(int fd, const char *key, char *value, size_t len);

/* Erase what libblkid finds; zero the first @bytes.  Say what failed, return an exit code. */
int blk_wipe_signatures(struct blk *b);
int blk_zero(struct blk *b, uint64_t bytes);

/* Have udev look at it again, because what the rules say of it has changed. */
void blk_announce(dev_t dev);

/* The path under which @path is found again after a reboot, or @path itself. */
void blk_stable_path(const char *path, dev_t dev, char out[PATH_MAX]);

/* "dm-3 (vg-lv)" or "sda1" */
const char *blk_kernel_name(dev_t dev, char *buf, size_t len);

#endif
