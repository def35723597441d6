/* SPDX-License-Identifier: GPL-2.0-only */
/* The two cores under inputs: what is done to each is taken from an input, step by step. */
#ifndef FUZZ_CORES_H
#define FUZZ_CORES_H

#include "shell.h"

/* From blank disks, or from what is on those of W, which then is not trusted to be sound. */
void secondary_begin(bool sound);
void primary_begin(bool sound);
/* Until the input ends. */
void secondary_steps(struct in *in);
void primary_steps(struct in *in);
/* The peer has gone: everything comes to rest, and nothing was lost. */
void secondary_end(void);
void primary_end(void);

/* Some of the stories that the seeds of either target tell. */
#define SECONDARY_SEEDS	9
#define PRIMARY_SEEDS	7
u32 secondary_seed(u32 n, u8 *buf);
u32 primary_seed(u32 n, u8 *buf);
#define MAX_SEED	256
/* In the first byte of an input: the blocks are encrypted in the stages. */
#define ENCRYPTS	0x20

#endif /* FUZZ_CORES_H */
