/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TEST(name) { CHECK(...); } in any file is a test.  main.c runs them all.
 * A failed check is printed and fails its test; the test goes on.
 */
#ifndef TEST_H
#define TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "types.h"

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

void test_add(struct test *t);
void test_failed(const char *file, int line, const char *what);

#define TEST(name_)							\
	static void name_(void);					\
	static struct test name_##_test = { #name_, name_, NULL };	\
	static void __attribute__((constructor)) name_##_add(void)	\
	{								\
		test_add(&name_##_test);				\
	}								\
	static void name_(void)

#define CHECK(cond)	((cond) ? (void)0 : test_failed(__FILE__, __LINE__, #cond))
/* For loops: enough was said. */
#define CHECK_OR_RETURN(cond)						\
	do {								\
		if (!(cond)) {						\
			test_failed(__FILE__, __LINE__, #cond);		\
			return;						\
		}							\
	} while (0)

/* Zeroed memory, freed when the test is over. */
void *test_alloc(size_t bytes);

/* Pseudo random numbers, the same in every run. */
u64 test_random(void);
static inline u64 test_below(u64 n)
{
	return test_random() % n;
}

static inline void test_fill(void *mem, size_t len)
{
	u8 *p = mem;

	while (len--)
		*p++ = test_random();
}

static inline struct fzc_id test_id(void)
{
	struct fzc_id id;

	test_fill(&id, sizeof(id));
	return id;
}

#endif /* TEST_H */
