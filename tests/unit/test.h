/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TEST(name) { CHECK(...); } in any file is a test.  main.c runs them all.
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

#define TEST(name_)							\
	static void name_(void);					\
	static struct test name_##_test = { #name_, name_, NULL };	\
	static void __attribute__((constructor)) name_##_add(void)	\
	{								\
		test_add(&name_##_test);				\
	}								\
	static void name_(void)

#include "checks.h"

#endif /* TEST_H */
