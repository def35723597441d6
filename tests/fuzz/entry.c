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
