/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a test may use wherever it runs.  A failed check is printed and fails
 * its test; the test goes on.
 */
#ifndef CHECKS_H
#define CHECKS_H

struct fzc_aead;
struct fzc_hmac;

void test_failed(const char *file, int line, const char *what);

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

/* HMAC-SHA-256, as struct fzc_auth wants it: of the kernel, or of libcrypto. */
const struct fzc_hmac *test_hmac(void);
/* Likewise the AEADs. */
const struct fzc_aead *test_aead(void);

static inline struct fzc_id test_id(void)
{
	struct fzc_id id;

	test_fill(&id, sizeof(id));
	return id;
}

#endif /* CHECKS_H */
