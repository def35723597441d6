/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Payloads made smaller, and back, by the kernel's libraries.  Knows nothing of
 * frames but the flags that name the ways.
 *
 * A payload is compressed as a whole.  All memory is taken at creation: nothing
 * here allocates after that, or trusts what it is to decompress.
 */
#ifndef FZC_COMPRESS_H
#define FZC_COMPRESS_H

#include <linux/types.h>
#include "core/wire.h"

struct fzc_compressor;
struct page;

/*
 * To compress in the way that @flag says (FZC_WIRE_LZ4, FZC_WIRE_ZSTD) or, without,
 * to decompress in either.  For one payload at a time.  Sleeps; NULL: no memory.
 */
struct fzc_compressor *fzc_compressor_create(u32 flag);
void fzc_compressor_destroy(struct fzc_compressor *c);	/* NULL is fine */
u64 fzc_compressor_bytes(const struct fzc_compressor *c);	/* NULL: 0 */

/*
 * Put the @length bytes (FZC_MAX_RUN_BYTES at most) that are in @pages, compressed,
 * into the first of them; returns their number, or 0 if that would not save a 16th:
 * then nothing was changed.  Any context that may use the processor for milliseconds.
 */
u32 fzc_compress(struct fzc_compressor *c, struct page **pages, u32 length);
/*
 * The other way round: @length bytes compressed in the way that @flag says to exactly
 * @plain (FZC_MAX_RUN_BYTES at most), for which there are pages.  -EBADMSG: it is not
 * that; the pages are as they were.  The same context.
 */
int fzc_decompress(struct fzc_compressor *c, u32 flag, struct page **pages, u32 length, u32 plain);

#endif /* FZC_COMPRESS_H */
