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
void test_failed(const char *file, int line, const char *what);

#define TEST(name_)				\
	static void name_(void);		\
	void name_##_case(struct kunit *test);	\
	void name_##_case(struct kunit *test)	\
	{					\
		test_begin(test);		\
		name_();			\
	}					\
	static void name_(void)

#define CHECK(cond)	((cond) ? (void)0 : test_failed(__FILE__, __LINE__, #cond))
#define CHECK_OR_RETURN(cond)						\
	do {								\
		if (!(cond)) {						\
			test_failed(__FILE__, __LINE__, #cond);		\
			return;						\
		}							\
	} while (0)

void *test_alloc(size_t bytes);
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

/* What the cases use of a C library */
#define printf(...)	pr_info(__VA_ARGS__)
#define malloc(n)	kvmalloc(n, GFP_KERNEL)
#define calloc(n, size)	kvcalloc(n, size, GFP_KERNEL)
#define free(mem)	kvfree(mem)

char *strtok(char *text, const char *separators);

#endif /* TEST_H */
