/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fuzz target looks at one input and returns, or it is a finding.  entry.c
 * makes a libFuzzer program of it, with replay.c one that is fed with files.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdlib.h>
#include "../../dm-freezecopy/core/types.h"

struct target {
	const char *name;
	void (*run)(const u8 *data, size_t len);
	/* Inputs to begin with, made by the real encoders. */
	void (*seeds)(void (*emit)(const void *data, size_t len));
};

/* What must be true whatever the input is. */
void broken(const char *file, int line, const char *what) __attribute__((noreturn));
#define MUST(cond)	((cond) ? (void)0 : broken(__FILE__, __LINE__, #cond))

/* With VERBOSE=1 in the environment: what is done, step by step. */
extern bool verbose;
#define SAY(fmt, ...)	(verbose ? (void)fprintf(stderr, fmt "\n", ##__VA_ARGS__) : (void)0)

/* An input, from its beginning on; behind its end there are zeroes. */
struct in {
	const u8 *p, *end;
};

static inline u8 take(struct in *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static inline u64 take_n(struct in *in, u32 bytes)
{
	u64 v = 0;

	while (bytes--)
		v = v << 8 | take(in);
	return v;
}

/* A little-endian field of 1 << (@how & 3) bytes: set, added to, or as the input says. */
void change_field(struct in *in, u8 *at, u8 how);

#endif /* FUZZ_H */
