/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests/unit/test.h offers, in a kernel: the same sources become KUnit cases.
 * TEST(name) gives name_case(), of which scripts/kunit makes the lists.
 */
#ifndef TEST_H
#define TEST_H

#include <kunit/test.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "types.h"

void test_begin(struct kunit *test);
void test_end(struct kunit *test);

#define TEST(name_)				\
	static void name_(void);		\
	void name_##_case(struct kunit *test);	\
	void name_##_case(struct kunit *test)	\
	{					\
		test_begin(test);		\
		name_();			\
	}					\
	static void name_(void)

#include "checks.h"

/* What the cases use of a C library */
#define printf(...)	pr_info(__VA_ARGS__)
#define malloc(n)	kvmalloc(n, GFP_KERNEL)
#define calloc(n, size)	kvcalloc(n, size, GFP_KERNEL)
#define free(mem)	kvfree(mem)

char *strtok(char *text, const char *separators);

#endif /* TEST_H */
