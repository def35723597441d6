// SPDX-License-Identifier: GPL-2.0-only
/* Usage: unit [WORD]: the tests whose name holds WORD. */
#include "test.h"

static struct test *tests, **last = &tests;
static bool ok;
static u64 state;
static void *memory;

void test_add(struct test *t)
{
	*last = t;
	last = &t->next;
}

void test_failed(const char *file, int line, const char *what)
{
	printf("%s:%d: %s\n", file, line, what);
	ok = false;
}

void *test_alloc(size_t bytes)
{
	/* the first 16 bytes hold the list together, and the rest aligned */
	void **mem = calloc(1, 16 + bytes);

	if (!mem)
		abort();
	*mem = memory;
	memory = mem;
	return (u8 *)mem + 16;
}

static void free_all(void)
{
	while (memory) {
		void *next = *(void **)memory;

		free(memory);
		memory = next;
	}
}

u64 test_random(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	u64 z = state;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

int main(int argc, char **argv)
{
	int passed = 0, failed = 0;

	for (struct test *t = tests; t; t = t->next) {
		if (argc > 1 && !strstr(t->name, argv[1]))
			continue;
		ok = true;
		state = 1;
		t->run();
		free_all();
		printf("%s  %s\n", ok ? "ok  " : "FAIL", t->name);
		passed += ok;
		failed += !ok;
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed || !passed;
}
