/* SPDX-License-Identifier: GPL-2.0-only */
/* Table lines and messages: words in, checked values out. */
#ifndef FZC_ARGS_H
#define FZC_ARGS_H

#include "types.h"

#define FZC_DEFAULT_PORT	7744
#define FZC_DEFAULT_PACE	100	/* ms */
#define FZC_MAX_PACE		10000U
#define FZC_KEY_PREFIX		":32:logon:"	/* as dm-crypt has it: size, type, description */
#define FZC_KEY_MAX		128U	/* bytes of a description, with its end */
#define FZC_CONGESTION_LEN	16	/* TCP_CA_NAME_MAX, the end of the string included */
#define FZC_CONGESTION_FORM	\
	"a TCP congestion control's name: up to 15 letters, digits, _ and -"

/* Sixteen times as fast as a peer gives up at: it waits 8 seconds for each 64 KiB (link.c). */
#define FZC_MIN_RATE	(128ULL << 10)
#define FZC_MAX_RATE	(1024ULL << 30)
#define FZC_RATE_FORM	\
	"0 (no limit) or 128k to 1024G bytes a second; k, M, G: times 1024, 1024^2, 1024^3"
#define FZC_RATE_LEN	16
#define FZC_COMPRESS_FORM	"lz4 or zstd"

struct fzc_addr {
	bool v6;
	u8 ip[16];	/* network order; IPv4 uses the first 4 bytes */
	u16 port;
};

/* How a primary's TCP sends. */
struct fzc_tcp {
	char congestion[FZC_CONGESTION_LEN];	/* control, by name; empty: the system's */
	u64 rate;				/* bytes a second; 0: no limit */
};

struct fzc_table {
	u8 role;			/* enum fzc_disk_role */
	const char *dev[FZC_NR_DEVS];	/* as given, by enum fzc_dev_role */
	u32 block_size;
	struct fzc_addr addr;		/* peer or listen */
	bool has_addr;
	bool auth_none;
	const char *key;		/* description of a logon key, NULL: none */
	bool identical;
	bool take_all;
	bool verify;
	bool encrypt;			/* stage_encryption on: said, or there is a key */
	bool no_encrypt;		/* stage_encryption off */
	bool has_pace;
	u32 pace_ms;
	bool has_pair;
	struct fzc_id pair;
	struct fzc_tcp tcp;
	u32 compress;			/* FZC_WIRE_LZ4, FZC_WIRE_ZSTD; 0: not */
};

/*
 * Parse the words after the target's name.  -EINVAL with a reason that names
 * the word and what was expected.  @t->dev point into @argv.
 */
int fzc_table_parse(struct fzc_table *t, unsigned int argc, char **argv, char *why);
int fzc_addr_parse(struct fzc_addr *a, const char *s, char *why);
int fzc_addr_print(const struct fzc_addr *a, char *buf, u32 len);
/* FZC_CONGESTION_FORM: of the kind that kernels have; whether one has it is another question. */
bool fzc_congestion_parse(char name[FZC_CONGESTION_LEN], const char *s);
/* FZC_RATE_FORM; and how it is printed, in FZC_RATE_LEN bytes. */
bool fzc_rate_parse(u64 *rate, const char *s);
void fzc_rate_print(u64 rate, char *buf);
/* FZC_COMPRESS_FORM as a flag of the wire, 0: neither; and back. */
u32 fzc_compress_parse(const char *s);
const char *fzc_compress_name(u32 flag);
int fzc_uuid_parse(struct fzc_id *id, const char *s);
void fzc_uuid_print(const struct fzc_id *id, char buf[37]);

#endif /* FZC_ARGS_H */
