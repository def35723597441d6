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

/* The same convention as the kernel's crc32c(): no inversion before or after. */
u32 fzc_crc32c(u32 seed, const void *data, size_t len)
{
	const u8 *p = data;

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
