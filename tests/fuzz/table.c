// SPDX-License-Identifier: GPL-2.0-only
/*
 * A table line, an address and a uuid, as words of any bytes.  Of addresses the
 * C library has another opinion to compare with.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include "fuzz.h"
#include "../../dm-freezecopy/core/args.h"
#include "../../dm-freezecopy/core/ondisk.h"
#include "../../dm-freezecopy/core/wire.h"

#define MAX_WORDS	32

static char why[FZC_REASON_LEN];

static void refused(int err)
{
	MUST(err == -EINVAL && *why && memchr(why, 0, sizeof(why)));
}

/* What inet_pton() makes of the address in @s; NULL: none, else what stands behind it. */
static const char *libc_parse(const char *s, u8 ip[16], bool v6)
{
	char text[64];
	size_t n = v6 ? strcspn(++s, "]") : strcspn(s, ":");

	if (n >= sizeof(text) || (v6 && !s[n]))
		return NULL;
	memcpy(text, s, n);
	text[n] = 0;
	return inet_pton(v6 ? AF_INET6 : AF_INET, text, ip) == 1 ? s + n + v6 : NULL;
}

static void check_addr(const char *s)
{
	u8 ip[16] = { 0 };
	const char *rest = libc_parse(s, ip, *s == '[');
	struct fzc_addr a, b;
	char text[64];
	int err;

	memset(why, 0, sizeof(why));
	err = fzc_addr_parse(&a, s, why);
	if (err) {
		refused(err);
		MUST(!rest || *rest);	/* for its port, or what stands there */
		return;
	}
	MUST(rest && a.port && a.v6 == (*s == '[') && !memcmp(a.ip, ip, sizeof(ip)));
	memset(text, 'x', sizeof(text));
	MUST(fzc_addr_print(&a, text, sizeof(text)) == (int)strlen(text));
	MUST(!fzc_addr_parse(&b, text, why));
	MUST(a.v6 == b.v6 && a.port == b.port && !memcmp(a.ip, b.ip, sizeof(a.ip)));
}

static void check_uuid(const char *s)
{
	struct fzc_id a, b;
	char text[37];
	u32 i;

	if (fzc_uuid_parse(&a, s))
		return;
	fzc_uuid_print(&a, text);
	MUST(strlen(s) == 36 && strlen(text) == 36 && !fzc_uuid_parse(&b, text) &&
	     fzc_id_equal(&a, &b));
	for (i = 0; i < 36; i++)
		MUST((s[i] | 0x20) == (text[i] | 0x20));
}

/* What goes to the keyring, to TCP and to the compressor. */
static void check_key(const char *key)
{
	const char *name = strchr(key, ':');

	MUST(name > key && name[1] && strlen(key) < FZC_KEY_MAX);
	for (; *key; key++)
		MUST(*key > ' ' && *key <= '~');
}

static void check_congestion(const char name[FZC_CONGESTION_LEN])
{
	u32 len = strnlen(name, FZC_CONGESTION_LEN), i;

	MUST(len < FZC_CONGESTION_LEN && (!len || isalnum((u8)*name)));
	for (i = 0; i < FZC_CONGESTION_LEN; i++)
		MUST(i < len ? isalnum((u8)name[i]) || strchr("_-", name[i]) : !name[i]);
}

static void check_rate(const char *s)
{
	char text[FZC_RATE_LEN];
	u64 rate, again;

	if (!fzc_rate_parse(&rate, s))
		return;
	MUST(!rate || (rate >= FZC_MIN_RATE && rate <= FZC_MAX_RATE));
	MUST(strtoull(s, NULL, 10) <= rate);
	memset(text, 'x', sizeof(text));
	fzc_rate_print(rate, text);
	MUST(memchr(text, 0, sizeof(text)) && fzc_rate_parse(&again, text) && rate == again);
}

static void check_sending(const struct fzc_table *t)
{
	check_congestion(t->tcp.congestion);
	MUST(!t->tcp.rate || (t->tcp.rate >= FZC_MIN_RATE && t->tcp.rate <= FZC_MAX_RATE));
	MUST(!t->compress || fzc_compress_parse(fzc_compress_name(t->compress)) == t->compress);
	MUST(t->role == FZC_PRIMARY || (!*t->tcp.congestion && !t->tcp.rate && !t->compress));
}

static void check_table(const struct fzc_table *t, u32 argc)
{
	u32 i, devs = t->role == FZC_PRIMARY ? 3 : 4;

	MUST(t->role == FZC_PRIMARY || t->role == FZC_SECONDARY);
	for (i = 0; i < FZC_NR_DEVS; i++)
		MUST(!t->dev[i] == (i >= devs));
	MUST(argc >= devs + 2 && t->has_addr && t->addr.port && t->auth_none == !t->key);
	if (t->key)
		check_key(t->key);
	check_sending(t);
	MUST(t->block_size >= FZC_MIN_BLOCK && t->block_size <= FZC_MAX_BLOCK &&
	     !(t->block_size & (t->block_size - 1)));
	MUST(t->pace_ms <= FZC_MAX_PACE && (!t->has_pair || !fzc_id_is_zero(&t->pair)));
}

/* Each word in memory of its own, just as long as it is. */
static u32 split(const u8 *data, size_t len, char **argv)
{
	const u8 *end = data + len;
	u32 argc = 0;

	while (data < end && argc < MAX_WORDS) {
		const u8 *from = data;

		while (data < end && *data != ' ' && *data)
			data++;
		argv[argc] = malloc(data - from + 1);
		memcpy(argv[argc], from, data - from);
		argv[argc++][data - from] = 0;
		data += data < end;
	}
	return argc;
}

static void run(const u8 *data, size_t len)
{
	char *argv[MAX_WORDS];
	struct fzc_table t;
	u32 argc = split(data, len, argv), i;
	int err;

	memset(why, 0, sizeof(why));
	err = fzc_table_parse(&t, argc, argv, why);
	if (err)
		refused(err);
	else
		check_table(&t, argc);
	for (i = 0; i < argc; i++) {
		check_addr(argv[i]);
		check_uuid(argv[i]);
		check_rate(argv[i]);
		free(argv[i]);
	}
}

static void seeds(void (*emit)(const void *data, size_t len))
{
	static const char *const lines[] = {
		"primary /dev/m 8:1 /dev/d 4 peer 10.0.0.2 auth none",
		"secondary m d a b 6 listen [::]:9 auth none verify yes",
		"secondary m d a b 8 listen [::1]:9 auth none block 1048576 take_all_changed yes",
		"primary m d a 6 peer 9.9.9.9 pair 00112233-4455-6677-8899-aabbccddeeff auth none",
		"primary m d a 8 assume identical peer [fe80::1:2] auth none pace_ms 0",
		"primary m d a 8 peer 9.9.9.9 key :32:logon:freezecopy:db rate 10M compress zstd",
		"secondary m d a b 4 listen [::]:9 key :32:logon:freezecopy:a",
		"primary m d a 10 peer 9.9.9.9 auth none congestion tcp_b-r2 compress lz4 rate 1024G",
		"0 128k 131072 1023M 1G 4294967295",
		"1.2.3.4:65535 [1:2:3:4:5:6:7:8]:1 [1:2:3:4:5:6:7.8.9.10] [::ffff:1.2.3.4]",
		"[1::8] [::] [1:2:3:4:5:6:7::] [::2:3:4:5:6:7:8] [a:b::1.2.3.4]:7",
	};

	for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
		emit(lines[i], strlen(lines[i]));
}

const struct target target_table = { "table", run, seeds };
