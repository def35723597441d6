/* SPDX-License-Identifier: GPL-2.0-only */
/* Words of the command line and of conf files, checked before anything uses them. */
#ifndef FREEZECTL_PARSE_H
#define FREEZECTL_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FC_NAME_LEN	128	/* a volume's name, its NUL included */
#define FC_UUID_LEN	37	/* "8-4-4-4-12" and the NUL */

/* A device-mapper name that is a file name, too: letters, digits, + _ . - ; no leading . or - */
bool parse_name(const char *s);

/* An unsigned decimal number and nothing else. */
bool parse_u64(const char *s, uint64_t *out);

/* Seconds with an optional fraction, as milliseconds; at most ~49 days. */
bool parse_seconds(const char *s, uint32_t *ms);

/* 4096, 64K, 1M: a block size, a power of two from 4 KiB to 1 MiB. */
bool parse_block_size(const char *s, uint32_t *out);

/* 0 to 10000 milliseconds, written to @out as the table wants it. */
/* on or off */
bool parse_switch(const char *text, char out[4]);
bool parse_pace(const char *s, char out[8]);

/* FZC_RATE_FORM, written to @out as the table wants it. */
bool parse_rate(const char *s, char out[16]);

/* A UUID in any case, written to @out in lower case. */
bool parse_uuid(const char *s, char out[FC_UUID_LEN]);

/*
 * ADDRESS[:PORT] with a numeric address, written to @out as the table wants it:
 * "192.0.2.1:7744" or "[2001:db8::1]:7744".
 */
bool parse_address(const char *s, char *out, size_t len);

void uuid_random(char out[FC_UUID_LEN]);
void uuid_print(const uint8_t id[16], char out[FC_UUID_LEN]);

/* "1.5 GiB"; returns @buf */
const char *size_print(uint64_t bytes, char *buf, size_t len);

/* The one positional argument that most verbs have; NULL when there is none, or more. */
const char *only_argument(int argc, char **argv);

#endif
