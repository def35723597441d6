// SPDX-License-Identifier: GPL-2.0-only
/* From libFuzzer, or from replay.c, to the target that this program is made of. */
#include "fuzz.h"

extern const struct target TARGET;
int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

bool verbose;

static void __attribute__((constructor)) look_at_environment(void)
{
	verbose = getenv("VERBOSE");
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	TARGET.run(data, len);
	return 0;
}

void broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s: %s:%d: must be true: %s\n", TARGET.name, file, line, what);
	abort();
}

void change_field(struct in *in, u8 *at, u8 how)
{
	u32 n = 1U << (how & 3), i;
	u64 v = 0;

	for (i = 0; i < n; i++)
		v |= (u64)at[i] << 8 * i;
	switch (how >> 2 & 3) {
	case 0:
		v = take_n(in, n);
		break;
	case 1:
		v += take(in) - 128;
		break;
	case 2:
		v = U64_MAX - take(in);
		break;
	case 3:
		v ^= 1ULL << take(in) % (8 * n);
		break;
	}
	for (i = 0; i < n; i++)
		at[i] = v >> 8 * i;
}
