/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared keys: NAME.key beside the conf files, and the kernel's keyring. */
#ifndef FREEZECTL_KEYFILE_H
#define FREEZECTL_KEYFILE_H

#include <stdbool.h>
#include <stdio.h>

#include "../../dm-freezecopy/core/auth.h"

#define KEY_SUFFIX	".key"

/* No core dump of this process tells a key.  Before one is read. */
void key_protect(void);

bool key_exists(const char *name);

/* A new random key, the only one.  Returns an exit code, as all of these; they say why. */
int key_draw(uint8_t key[FZC_KEY_BYTES]);

/* @file: NULL for the file of @name, which nobody but root may read; "-": standard input. */
int key_read(const char *name, const char *file, struct fzc_keys *keys);
/* So that after a crash there is the whole file or the one before. */
int key_write(const char *name, const struct fzc_keys *keys);
int key_delete(const char *name);

/* Into root's keyring of the kernel, where modules find it in this process's table loads. */
int key_load(const char *name);
/* Out of it: who holds a reference notices. */
int key_unload(const char *name);

/* What tells keys apart and may be seen by anybody, as text. */
int key_print_id(const uint8_t key[FZC_KEY_BYTES], char out[2 * FZC_KEY_ID + 1]);

/* Call @fn with the name of each key file, until it returns non-zero, which is returned. */
int key_each(int (*fn)(const char *name));

#endif
