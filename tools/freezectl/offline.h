/* SPDX-License-Identifier: GPL-2.0-only */
/* Metadata on a device, read without the module and never written. */
#ifndef FREEZECTL_OFFLINE_H
#define FREEZECTL_OFFLINE_H

#include <stddef.h>

/*
 * 1: the first pages hold freezecopy metadata, or some data that is not zero,
 * and @text names it; 0: they are zero; -1: they cannot be read.
 */
int offline_name(int fd, char *text, size_t len);

#endif
