// SPDX-License-Identifier: GPL-2.0-only
#include "args.h"
#include "ondisk.h"
#include "wire.h"

#define DEFAULT_BLOCK	4096U
#define ADDR_FORMS	"1.2.3.4, 1.2.3.4:port, [ipv6] or [ipv6]:port"
#define KEY_FORM	FZC_KEY_PREFIX "freezecopy:NAME, a key of the keyring (freezectl key)"
#define GROUPS		8	/* of 16 bits in an IPv6 address */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * A decimal number up to @limit at *@s, which moves behind it.  No zeroes in
 * front: elsewhere such a number is octal.
 */
static bool take_number(const char **s, u32 limit, u32 *value)
{
	u64 v = 0;
	const char *c = *s;

	for (; *c >= '0' && *c <= '9' && v <= limit; c++)
		v = v * 10 + (*c - '0');
	if (c == *s || v > limit || (**s == '0' && c - *s > 1))
		return false;
	*value = v;
	*s = c;
	return true;
}

static bool whole_number(const char *s, u32 limit, u32 *value)
{
	return take_number(&s, limit, value) && !*s;
}

static bool take_ip4(const char **s, u8 ip[4])
{
	u32 i, v;

	for (i = 0; i < 4; i++) {
		if (i && *(*s)++ != '.')
			return false;
		if (!take_number(s, 255, &v))
			return false;
		ip[i] = v;
	}
	return true;
}

static bool take_group(const char **s, u8 *two)
{
	u32 v = 0, n = 0;

	for (; n < 4 && hex_value(**s) >= 0; n++)
		v = v << 4 | hex_value(*(*s)++);
	two[0] = v >> 8;
	two[1] = v;
	return n;
}

/* Does an IPv4 address stand at @s, as the last two groups? */
static bool dotted(const char *s)
{
	while (*s >= '0' && *s <= '9')
		s++;
	return *s == '.';
}

/*
 * Up to @max groups; the number of bytes that @ip got, or -1.  Only at the very
 * end of an address may IPv4 stand: after 6 groups, or anywhere if @last.
 */
static int take_groups(const char **s, u8 *ip, u32 max, bool last)
{
	u32 n = 0;

	while (n < max) {
		if (dotted(*s)) {
			if (n + 2 > max || (!last && n + 2 < max) || !take_ip4(s, ip + 2 * n))
				return -1;
			return 2 * (n + 2);
		}
		if (!take_group(s, ip + 2 * n))
			return -1;
		n++;
		if ((*s)[0] != ':' || (*s)[1] == ':')
			break;
		if (n < max)
			(*s)++;
	}
	return 2 * n;
}

static bool take_ip6(const char **s, u8 ip[16])
{
	u8 tail[16];
	int head = 0, n = 0;

	memset(ip, 0, 16);
	if ((*s)[0] != ':')
		head = take_groups(s, ip, GROUPS, false);
	if (head < 0)
		return false;
	if (head == 16)
		return true;
	if ((*s)[0] != ':' || (*s)[1] != ':')
		return false;
	*s += 2;
	/* what stands for zeroes stands for one group at least */
	if (hex_value(**s) >= 0)
		n = take_groups(s, tail, GROUPS - 1 - head / 2, true);
	if (n < 0)
		return false;
	memcpy(ip + 16 - n, tail, n);
	return true;
}

static bool take_ip(const char **s, struct fzc_addr *a)
{
	if (**s != '[')
		return take_ip4(s, a->ip);
	(*s)++;
	a->v6 = true;
	return take_ip6(s, a->ip) && *(*s)++ == ']';
}

int fzc_addr_parse(struct fzc_addr *a, const char *s, char *why)
{
	const char *p = s;
	u32 port = FZC_DEFAULT_PORT;

	memset(a, 0, sizeof(*a));
	if (!take_ip(&p, a) || (*p && *p != ':')) {
		scnprintf(why, FZC_REASON_LEN,
			  "address %.64s: expected " ADDR_FORMS, s);
		return -EINVAL;
	}
	if (*p && (!whole_number(p + 1, 65535, &port) || !port)) {
		scnprintf(why, FZC_REASON_LEN, "address %.64s: expected a port from 1 to 65535", s);
		return -EINVAL;
	}
	a->port = port;
	return 0;
}

static u32 group_at(const u8 *ip, u32 i)
{
	return ip[2 * i] << 8 | ip[2 * i + 1];
}

/* The first of the longest runs of at least two zero groups: RFC 5952. */
static u32 longest_zeroes(const u8 *ip, u32 *len)
{
	u32 i, run = 0, best = 0;

	*len = 1;
	for (i = 0; i < GROUPS; i++) {
		run = group_at(ip, i) ? 0 : run + 1;
		if (run > *len) {
			*len = run;
			best = i + 1 - run;
		}
	}
	if (*len < 2) {
		*len = 0;
		best = GROUPS;
	}
	return best;
}

static int print_ip6(const u8 *ip, char *buf, u32 len)
{
	u32 i, skip, from = longest_zeroes(ip, &skip);
	int n = 0;

	for (i = 0; i < GROUPS; i++) {
		if (i == from) {
			n += scnprintf(buf + n, len - n, "::");
			i += skip - 1;
		} else {
			n += scnprintf(buf + n, len - n, "%s%x",
				       i && i != from + skip ? ":" : "", group_at(ip, i));
		}
	}
	return n;
}

int fzc_addr_print(const struct fzc_addr *a, char *buf, u32 len)
{
	char ip6[48];

	if (!a->v6)
		return scnprintf(buf, len, "%u.%u.%u.%u:%u", a->ip[0], a->ip[1], a->ip[2],
				 a->ip[3], a->port);
	print_ip6(a->ip, ip6, sizeof(ip6));
	return scnprintf(buf, len, "[%s]:%u", ip6, a->port);
}

static bool uuid_dash(u32 byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

int fzc_uuid_parse(struct fzc_id *id, const char *s)
{
	u32 i;
	int hi, lo;

	for (i = 0; i < 16; i++) {
		if (uuid_dash(i) && *s++ != '-')
			return -EINVAL;
		hi = hex_value(s[0]);
		lo = hi < 0 ? -1 : hex_value(s[1]);
		if (lo < 0)
			return -EINVAL;
		id->b[i] = hi << 4 | lo;
		s += 2;
	}
	return *s ? -EINVAL : 0;
}

void fzc_uuid_print(const struct fzc_id *id, char buf[37])
{
	u32 i, n = 0;

	for (i = 0; i < 16; i++)
		n += scnprintf(buf + n, 37 - n, "%s%02x", uuid_dash(i) ? "-" : "", id->b[i]);
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool fzc_congestion_parse(char name[FZC_CONGESTION_LEN], const char *s)
{
	u32 i;

	memset(name, 0, FZC_CONGESTION_LEN);
	for (i = 0; i < FZC_CONGESTION_LEN && s[i]; i++) {
		if (!is_alnum(s[i]) && !(i && (s[i] == '_' || s[i] == '-')))
			return false;
		name[i] = s[i];
	}
	return i && i < FZC_CONGESTION_LEN;
}

static u32 unit_shift(char c)
{
	switch (c) {
	case 'k':
	case 'K':
		return 10;
	case 'M':
		return 20;
	case 'G':
		return 30;
	}
	return 0;
}

bool fzc_rate_parse(u64 *rate, const char *s)
{
	u32 n, shift;

	if (!take_number(&s, U32_MAX, &n))
		return false;
	shift = unit_shift(*s);
	*rate = (u64)n << shift;
	return !s[shift ? 1 : 0] && (!n || (*rate >= FZC_MIN_RATE && *rate <= FZC_MAX_RATE));
}

void fzc_rate_print(u64 rate, char *buf)
{
	u32 unit;

	for (unit = 0; unit < 3 && rate && !(rate & 1023); unit++)
		rate >>= 10;
	scnprintf(buf, FZC_RATE_LEN, "%llu%.*s", (unsigned long long)rate, unit ? 1 : 0,
		  &"kMG"[unit ? unit - 1 : 0]);
}

u32 fzc_compress_parse(const char *s)
{
	return !strcmp(s, "lz4") ? FZC_WIRE_LZ4 : !strcmp(s, "zstd") ? FZC_WIRE_ZSTD : 0;
}

const char *fzc_compress_name(u32 flag)
{
	return flag == FZC_WIRE_LZ4 ? "lz4" : "zstd";
}

/* Options.  Each gets its value; false: not what is expected. */

static bool set_block(struct fzc_table *t, const char *value)
{
	return whole_number(value, FZC_MAX_BLOCK, &t->block_size) &&
	       t->block_size >= FZC_MIN_BLOCK && !(t->block_size & (t->block_size - 1));
}

static bool set_auth(struct fzc_table *t, const char *value)
{
	t->auth_none = !strcmp(value, "none");
	return t->auth_none;
}

/* The kernel wants a prefix, too: who may read such keys is told by it. */
static bool set_key(struct fzc_table *t, const char *value)
{
	const u32 skip = sizeof(FZC_KEY_PREFIX) - 1;
	const char *c;

	if (strncmp(value, FZC_KEY_PREFIX, skip) || strlen(value + skip) >= FZC_KEY_MAX)
		return false;
	for (c = value + skip; *c; c++)
		if (*c <= ' ' || *c > '~')
			return false;
	t->key = value + skip;
	c = strchr(t->key, ':');
	return c && c != t->key && c[1];
}

static bool set_assume(struct fzc_table *t, const char *value)
{
	t->identical = !strcmp(value, "identical");
	return t->identical;
}

static bool set_take_all(struct fzc_table *t, const char *value)
{
	t->take_all = !strcmp(value, "yes");
	return t->take_all;
}

static bool set_verify(struct fzc_table *t, const char *value)
{
	t->verify = !strcmp(value, "yes");
	return t->verify;
}

static bool set_encryption(struct fzc_table *t, const char *value)
{
	t->encrypt = !strcmp(value, "on");
	t->no_encrypt = !strcmp(value, "off");
	return t->encrypt || t->no_encrypt;
}

static bool set_pace(struct fzc_table *t, const char *value)
{
	t->has_pace = whole_number(value, FZC_MAX_PACE, &t->pace_ms);
	return t->has_pace;
}

static bool set_pair(struct fzc_table *t, const char *value)
{
	t->has_pair = !fzc_uuid_parse(&t->pair, value) && !fzc_id_is_zero(&t->pair);
	return t->has_pair;
}

static bool any_address(const struct fzc_addr *a)
{
	static const u8 zero[16];

	return !memcmp(a->ip, zero, sizeof(zero));
}

static bool set_addr(struct fzc_table *t, const char *value)
{
	char why[FZC_REASON_LEN];

	t->has_addr = !fzc_addr_parse(&t->addr, value, why) &&
		      !(t->role == FZC_PRIMARY && any_address(&t->addr));
	return t->has_addr;
}

static bool set_congestion(struct fzc_table *t, const char *value)
{
	return fzc_congestion_parse(t->tcp.congestion, value);
}

static bool set_rate(struct fzc_table *t, const char *value)
{
	return fzc_rate_parse(&t->tcp.rate, value);
}

static bool set_compress(struct fzc_table *t, const char *value)
{
	t->compress = fzc_compress_parse(value);
	return t->compress;
}

static const struct option {
	const char *key;
	u8 role;	/* 0: both */
	bool (*set)(struct fzc_table *t, const char *value);
	const char *expected;
} options[] = {
	{ "peer", FZC_PRIMARY, set_addr, ADDR_FORMS },
	{ "listen", FZC_SECONDARY, set_addr, ADDR_FORMS },
	{ "block", 0, set_block, "a power of two from 4096 to 1048576 bytes" },
	{ "auth", 0, set_auth, "none, or key with a key instead" },
	{ "key", 0, set_key, KEY_FORM },
	{ "pair", 0, set_pair, "a uuid that is not all zero" },
	{ "assume", FZC_PRIMARY, set_assume, "identical" },
	{ "take_all_changed", 0, set_take_all, "yes" },
	{ "verify", FZC_SECONDARY, set_verify, "yes" },
	{ "pace_ms", FZC_PRIMARY, set_pace, "0 to 10000 milliseconds" },
	{ "congestion", FZC_PRIMARY, set_congestion, FZC_CONGESTION_FORM },
	{ "rate", FZC_PRIMARY, set_rate, FZC_RATE_FORM },
	{ "compress", FZC_PRIMARY, set_compress, FZC_COMPRESS_FORM },
	{ "stage_encryption", 0, set_encryption, "on or off" },
};

static const struct option *find_option(const char *key)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(options); i++)
		if (!strcmp(options[i].key, key))
			return &options[i];
	return NULL;
}

static const char *role_name(u8 role)
{
	return role == FZC_PRIMARY ? "primary" : "secondary";
}

static int parse_option(struct fzc_table *t, const char *key, const char *value, u32 *seen,
			char *why)
{
	const struct option *o = find_option(key);
	u32 bit = o ? 1U << (o - options) : 0;
	bool twice = *seen & bit;

	*seen |= bit;
	if (!o)
		scnprintf(why, FZC_REASON_LEN,
			  "option %.32s: unknown, expected peer, listen, block, auth, key, pair, assume, take_all_changed, verify, pace_ms, congestion, rate, compress or stage_encryption",
			  key);
	else if (o->role && o->role != t->role)
		scnprintf(why, FZC_REASON_LEN, "option %s: not for a %s", key, role_name(t->role));
	else if (twice)
		scnprintf(why, FZC_REASON_LEN, "option %s: given twice", key);
	else if (!o->set(t, value))
		scnprintf(why, FZC_REASON_LEN, "option %s: %.64s, expected %s", key, value,
			  o->expected);
	else
		return 0;
	return -EINVAL;
}

static int check_complete(const struct fzc_table *t, char *why)
{
	if (!t->has_addr)
		scnprintf(why, FZC_REASON_LEN, "option %s: missing, expected " ADDR_FORMS,
			  t->role == FZC_PRIMARY ? "peer" : "listen");
	else if (t->auth_none && t->key)
		scnprintf(why, FZC_REASON_LEN,
			  "option auth: none, expected no such option beside key");
	else if (!t->auth_none && !t->key)
		scnprintf(why, FZC_REASON_LEN,
			  "option key: missing, expected %s; or auth none, if whoever reaches the port may read and forge everything",
			  KEY_FORM);
	else if (t->auth_none && t->encrypt)
		scnprintf(why, FZC_REASON_LEN,
			  "option stage_encryption: on, expected off or no such option with auth none: there is no key");
	else
		return 0;
	return -EINVAL;
}

/* The role and the devices; returns the words taken, or -EINVAL. */
static int parse_devices(struct fzc_table *t, unsigned int argc, char **argv, char *why)
{
	u32 i, n;

	if (!argc || (strcmp(argv[0], "primary") && strcmp(argv[0], "secondary"))) {
		scnprintf(why, FZC_REASON_LEN, "role %.32s: expected primary or secondary",
			  argc ? argv[0] : "missing");
		return -EINVAL;
	}
	t->role = !strcmp(argv[0], "primary") ? FZC_PRIMARY : FZC_SECONDARY;
	n = t->role == FZC_PRIMARY ? 3 : 4;
	if (argc < n + 2) {
		scnprintf(why, FZC_REASON_LEN,
			  "%u words after %s: expected %u devices (%s) and the number of option words",
			  argc - 1, argv[0], n,
			  n == 3 ? "meta data diff" : "meta data diffA diffB");
		return -EINVAL;
	}
	for (i = 0; i < n; i++)
		t->dev[FZC_META + i] = argv[1 + i];
	return n + 1;
}

int fzc_table_parse(struct fzc_table *t, unsigned int argc, char **argv, char *why)
{
	u32 nopts, seen = 0;
	int used, err;

	memset(t, 0, sizeof(*t));
	t->block_size = DEFAULT_BLOCK;
	t->pace_ms = FZC_DEFAULT_PACE;
	used = parse_devices(t, argc, argv, why);
	if (used < 0)
		return used;
	argc -= used + 1;
	argv += used + 1;
	if (!whole_number(argv[-1], U32_MAX, &nopts) || nopts != argc || argc % 2) {
		scnprintf(why, FZC_REASON_LEN,
			  "option words %.32s: expected their number, which is even; %u follow",
			  argv[-1], argc);
		return -EINVAL;
	}
	for (; argc; argc -= 2, argv += 2) {
		err = parse_option(t, argv[0], argv[1], &seen, why);
		if (err)
			return err;
	}
	err = check_complete(t, why);
	t->encrypt = t->key && !t->no_encrypt;
	return err;
}
