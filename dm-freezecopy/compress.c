// SPDX-License-Identifier: GPL-2.0-only
#include <linux/errno.h>
#include <linux/highmem.h>
#include <linux/kconfig.h>
#include <linux/lz4.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/zstd.h>

#include "compress.h"

#if !IS_ENABLED(CONFIG_LZ4_COMPRESS) || !IS_ENABLED(CONFIG_LZ4_DECOMPRESS)
#error "dm-freezecopy needs the kernel's LZ4: CONFIG_CRYPTO_LZ4 brings it in"
#endif
#if !IS_ENABLED(CONFIG_ZSTD_COMPRESS) || !IS_ENABLED(CONFIG_ZSTD_DECOMPRESS)
#error "dm-freezecopy needs the kernel's zstd: CONFIG_CRYPTO_ZSTD brings it in"
#endif

#define ZSTD_LEVEL	1

/* The libraries want payloads in one piece. */
struct fzc_compressor {
	u32 flag;		/* 0: decompresses */
	void *plain;		/* FZC_MAX_RUN_BYTES, as the next */
	void *packed;
	void *work;		/* the library's; NULL: it needs none */
	size_t work_bytes;
	zstd_parameters params;
};

static void set_up(struct fzc_compressor *c)
{
	c->params = zstd_get_params(ZSTD_LEVEL, FZC_MAX_RUN_BYTES);
	switch (c->flag) {
	case FZC_WIRE_LZ4:
		c->work_bytes = LZ4_MEM_COMPRESS;
		break;
	case FZC_WIRE_ZSTD:
		c->work_bytes = zstd_cctx_workspace_bound(&c->params.cParams);
		break;
	default:
		c->work_bytes = zstd_dctx_workspace_bound();
		break;
	}
}

struct fzc_compressor *fzc_compressor_create(u32 flag)
{
	struct fzc_compressor *c = kzalloc(sizeof(*c), GFP_KERNEL);

	if (!c)
		return NULL;
	c->flag = flag;
	set_up(c);
	c->plain = kvmalloc(FZC_MAX_RUN_BYTES, GFP_KERNEL);
	c->packed = kvmalloc(FZC_MAX_RUN_BYTES, GFP_KERNEL);
	c->work = kvmalloc(c->work_bytes, GFP_KERNEL);
	if (c->plain && c->packed && c->work)
		return c;
	fzc_compressor_destroy(c);
	return NULL;
}

void fzc_compressor_destroy(struct fzc_compressor *c)
{
	if (!c)
		return;
	kvfree(c->work);
	kvfree(c->packed);
	kvfree(c->plain);
	kfree(c);
}

u64 fzc_compressor_bytes(const struct fzc_compressor *c)
{
	return c ? 2 * FZC_MAX_RUN_BYTES + c->work_bytes : 0;
}

static void from_pages(void *to, struct page **pages, u32 length)
{
	u32 n;

	for (; length; length -= n, to += n, pages++) {
		n = min_t(u32, length, PAGE_SIZE);
		memcpy_from_page(to, *pages, 0, n);
	}
}

static void to_pages(struct page **pages, const void *from, u32 length)
{
	u32 n;

	for (; length; length -= n, from += n, pages++) {
		n = min_t(u32, length, PAGE_SIZE);
		memcpy_to_page(*pages, 0, from, n);
	}
}

/* Both: the compressed length, or 0 if it is not at most @room. */

static u32 lz4(struct fzc_compressor *c, u32 length, u32 room)
{
	return LZ4_compress_default(c->plain, c->packed, length, room, c->work);
}

static u32 zstd(struct fzc_compressor *c, u32 length, u32 room)
{
	zstd_cctx *ctx = zstd_init_cctx(c->work, c->work_bytes);
	size_t n;

	if (WARN_ON_ONCE(!ctx))
		return 0;
	n = zstd_compress_cctx(ctx, c->packed, room, c->plain, length, &c->params);
	return zstd_is_error(n) ? 0 : n;
}

u32 fzc_compress(struct fzc_compressor *c, struct page **pages, u32 length)
{
	u32 room = length - DIV_ROUND_UP(length, 16), n;

	from_pages(c->plain, pages, length);
	n = c->flag == FZC_WIRE_LZ4 ? lz4(c, length, room) : zstd(c, length, room);
	to_pages(pages, c->packed, n);
	return n;
}

/* Both: -EBADMSG, or how much it was. */

static int unlz4(struct fzc_compressor *c, u32 length, u32 plain)
{
	int n = LZ4_decompress_safe(c->packed, c->plain, length, plain);

	return n < 0 ? -EBADMSG : n;
}

static int unzstd(struct fzc_compressor *c, u32 length, u32 plain)
{
	zstd_dctx *ctx = zstd_init_dctx(c->work, c->work_bytes);
	size_t n;

	if (WARN_ON_ONCE(!ctx))
		return -EBADMSG;
	n = zstd_decompress_dctx(ctx, c->plain, plain, c->packed, length);
	return zstd_is_error(n) ? -EBADMSG : (int)n;
}

int fzc_decompress(struct fzc_compressor *c, u32 flag, struct page **pages, u32 length, u32 plain)
{
	int n;

	from_pages(c->packed, pages, length);
	n = flag == FZC_WIRE_LZ4 ? unlz4(c, length, plain) : unzstd(c, length, plain);
	if (n != (int)plain)
		return -EBADMSG;
	to_pages(pages, c->plain, plain);
	return 0;
}
