// SPDX-License-Identifier: GPL-2.0-only
/* The user space half of port.h; not part of the module. */
#include <stdarg.h>
#include "port.h"

#define CRC32C_POLY	0x82f63b78U

static u32 table[256];

static void __attribute__((constructor)) make_table(void)
{
	for (u32 i = 0; i < 256; i++) {
		u32 c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? (c >> 1) ^ CRC32C_POLY : c >> 1;
		table[i] = c;
	}
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static u32 crc_fast(u32 seed, const u8 *p, size_t len)
{
	u64 crc = seed, v;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&v, p, 8);
		crc = __builtin_ia32_crc32di(crc, v);
	}
	for (; len; len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}
#endif

/* The same convention as the kernel's crc32c(): no inversion before or after. */
u32 fzc_crc32c(u32 seed, const void *data, size_t len)
{
	const u8 *p = data;

#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return crc_fast(seed, p, len);
#endif
	while (len--)
		seed = (seed >> 8) ^ table[(seed ^ *p++) & 0xff];
	return seed;
}

int fzc_scnprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return size && n >= (int)size ? (int)size - 1 : n;
}
