/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the core needs from the world around it: integer types, byte order,
 * memory functions, crc32c; ciphers come through auth.h.  The core is compiled into
 * the module and, as an ordinary program, into the simulator, the unit tests and the
 * offline tools.
 */
#ifndef FZC_PORT_H
#define FZC_PORT_H

#ifdef __KERNEL__

#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/crc32c.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#include <asm/byteorder.h>
#include <crypto/algapi.h>

#define fzc_crc32c(seed, data, len)	crc32c((seed), (data), (len))
#define fzc_memneq(a, b, len)		crypto_memneq((a), (b), (len))
#define fzc_wipe(mem, len)		memzero_explicit((mem), (len))

#else /* user space */

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <linux/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#ifndef __force
#define __force
#endif
#define cpu_to_le16(x)	((__le16)htole16(x))
#define cpu_to_le32(x)	((__le32)htole32(x))
#define cpu_to_le64(x)	((__le64)htole64(x))
#define le16_to_cpu(x)	le16toh((uint16_t)(x))
#define le32_to_cpu(x)	le32toh((uint32_t)(x))
#define le64_to_cpu(x)	le64toh((uint64_t)(x))

#define BIT(n)			(1UL << (n))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define BUILD_BUG_ON(c)		_Static_assert(!(c), #c)
#define __packed		__attribute__((packed))
#define noinline		__attribute__((noinline))
#define __printf(a, b)		__attribute__((format(printf, a, b)))
#define fallthrough		__attribute__((fallthrough))
#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define min_t(t, a, b)		min((t)(a), (t)(b))
#define max_t(t, a, b)		max((t)(a), (t)(b))
#define U64_MAX			UINT64_MAX
#define U32_MAX			UINT32_MAX
#define scnprintf		fzc_scnprintf
#define WARN_ON_ONCE(c)		({ bool w_ = !!(c); assert(!w_); w_; })
#define fls(x)			((x) ? 32 - __builtin_clz(x) : 0)
#define __ffs64(x)		((unsigned long)__builtin_ctzll(x))
#define hweight64(x)		((unsigned long)__builtin_popcountll(x))

/* programs: nobody there measures how long it takes */
#define fzc_memneq(a, b, len)	memcmp((a), (b), (len))
#define fzc_wipe(mem, len)	explicit_bzero((mem), (len))

u32 fzc_crc32c(u32 seed, const void *data, size_t len);
int fzc_scnprintf(char *buf, size_t size, const char *fmt, ...) __printf(3, 4);

#endif

#define FZC_DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))

#endif /* FZC_PORT_H */
