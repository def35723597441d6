// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"
#include "args.h"
#include "ondisk.h"
#include "wire.h"

static char why[FZC_REASON_LEN];

/* The words of @line; the table keeps pointing into them. */
static int parse(struct fzc_table *t, const char *line)
{
	static char words[1024];
	char *argv[64];
	unsigned int argc = 0;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	why[0] = 0;
	return fzc_table_parse(t, argc, argv, why);
}

static bool refused(const char *line, const char *word)
{
	struct fzc_table t;

	if (parse(&t, line) == -EINVAL && strstr(why, word))
		return true;
	printf("%s: %s\n", line, why);
	return false;
}

TEST(args_table)
{
	struct fzc_table t;

	CHECK(!parse(&t, "primary /dev/m 8:1 /dev/d 4 peer 10.0.0.2 auth none"));
	CHECK(t.role == FZC_PRIMARY && t.block_size == 4096 && t.auth_none && t.has_addr);
	CHECK(!strcmp(t.dev[FZC_META], "/dev/m") && !strcmp(t.dev[FZC_DATA], "8:1") &&
	      !strcmp(t.dev[FZC_DIFF], "/dev/d") && !t.dev[FZC_DIFF_B]);
	CHECK(t.addr.port == 7744 && !t.addr.v6 && t.addr.ip[0] == 10 && t.addr.ip[3] == 2);
	CHECK(!t.identical && !t.take_all && !t.has_pair && !t.verify);
	CHECK(!parse(&t, "secondary m d a b 6 listen [::]:9 auth none verify yes") && t.verify);

	CHECK(!parse(&t, "secondary m d a b 10 listen [::]:9 auth none block 1048576 pair "
		     "00112233-4455-6677-8899-aabbccddeeff take_all_changed yes"));
	CHECK(t.role == FZC_SECONDARY && t.block_size == 1048576 && t.addr.v6 &&
	      t.addr.port == 9 && t.has_pair && t.pair.b[0] == 0 && t.pair.b[15] == 0xff &&
	      t.take_all && !strcmp(t.dev[FZC_DIFF_B], "b"));
	CHECK(!parse(&t, "primary m d a 6 assume identical peer [fe::1] auth none"));
	CHECK(t.identical && t.pace_ms == 100 && !t.has_pace);
	CHECK(!parse(&t, "primary m d a 6 pace_ms 0 peer [fe::1] auth none"));
	CHECK(t.has_pace && !t.pace_ms);
	CHECK(!parse(&t, "primary m d a 4 key :32:logon:freezecopy:db peer [fe::1]"));
	CHECK(!strcmp(t.key, "freezecopy:db") && !t.auth_none);
	CHECK(!parse(&t, "primary m d a 6 pace_ms 10000 peer [fe::1] auth none"));
	CHECK(t.pace_ms == 10000 && !t.tcp.congestion[0]);
	CHECK(!parse(&t, "primary m d a 6 peer [fe::1] auth none congestion bbr"));
	CHECK(!strcmp(t.tcp.congestion, "bbr"));
	CHECK(!parse(&t, "primary m d a 6 congestion a-23456789_bcdE peer [fe::1] auth none"));
	CHECK(!strcmp(t.tcp.congestion, "a-23456789_bcdE") && !t.tcp.rate);
	CHECK(!parse(&t, "primary m d a 6 peer [fe::1] auth none rate 10M") &&
	      t.tcp.rate == 10 << 20 && !t.compress);
	CHECK(!parse(&t, "primary m d a 6 peer [fe::1] auth none compress lz4") &&
	      t.compress == FZC_WIRE_LZ4 && !strcmp(fzc_compress_name(t.compress), "lz4"));
	CHECK(!parse(&t, "primary m d a 6 compress zstd peer [fe::1] auth none") &&
	      t.compress == FZC_WIRE_ZSTD && !strcmp(fzc_compress_name(t.compress), "zstd"));
	/* blocks in the stage are encrypted unless there is no key, or it is said */
	CHECK(!t.encrypt);
	CHECK(!parse(&t, "primary m d a 4 key :32:logon:freezecopy:db peer [fe::1]") && t.encrypt);
	CHECK(!parse(&t, "primary m d a 6 stage_encryption on key :32:logon:freezecopy:db peer [fe::1]") &&
	      t.encrypt);
	CHECK(!parse(&t, "secondary m d a b 6 key :32:logon:freezecopy:db listen [::] stage_encryption off") &&
	      !t.encrypt);
	CHECK(!parse(&t, "secondary m d a b 6 auth none listen [::] stage_encryption off") &&
	      !t.encrypt);
}

TEST(args_table_refused)
{
	CHECK(refused("", "missing"));
	CHECK(refused("tertiary m d f 4 peer 1.2.3.4 auth none", "tertiary"));
	CHECK(refused("primary m d", "2 words"));
	CHECK(refused("primary m d f", "meta data diff"));
	CHECK(refused("secondary m d a 4", "diffB"));
	CHECK(refused("primary m d f x peer 1.2.3.4 auth none", "option words x"));
	CHECK(refused("primary m d f 2 peer 1.2.3.4 auth none", "4 follow"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none", "4 follow"));
	CHECK(refused("primary m d f 3 peer 1.2.3.4 auth", "even"));
	CHECK(refused("primary m d f 0", "peer: missing"));
	CHECK(refused("secondary m d f g 2 auth none", "listen: missing"));
	CHECK(refused("primary m d f 2 peer 1.2.3.4", "key: missing"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 auth psk", "psk"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none key :32:logon:freezecopy:db",
		      "auth: none, expected no such option beside key"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 key freezecopy:db", ":32:logon:"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 key :64:logon:freezecopy:db", ":32:logon:"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 key :32:user:freezecopy:db", ":32:logon:"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 key :32:logon:freezecopy:d\001b", ":32:logon:"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 key :32:logon:db", ":32:logon:"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 key :32:logon::db", ":32:logon:"));
	CHECK(refused("primary m d f 4 peer 1.2.3.4 key :32:logon:freezecopy:", ":32:logon:"));
	CHECK(refused("primary m d f 4 listen 1.2.3.4 auth none", "listen: not for a primary"));
	CHECK(refused("secondary m d f g 4 peer 1.2.3.4 auth none", "peer: not for a secondary"));
	CHECK(refused("secondary m d f g 6 listen 1.2.3.4 auth none assume identical", "assume"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none assume empty", "identical"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none colour red", "colour: unknown"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none auth none", "auth: given twice"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 peer 1.2.3.4 auth none", "given twice"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none block 4095", "4095"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none block 2048", "2048"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none block 12288", "12288"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none block 2097152", "2097152"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none block 4294971392", "4294971392"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none block 4k", "4k"));
	CHECK(refused("primary m d f 4 peer 0.0.0.0 auth none", "0.0.0.0"));
	CHECK(refused("primary m d f 4 peer [::] auth none", "[::]"));
	CHECK(refused("primary m d f 4 peer host auth none", "host"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none take_all_changed no", "yes"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none pair xyz", "xyz"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none pace_ms 10001", "10001"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none pace_ms -1", "-1"));
	CHECK(refused("secondary m d f g 6 listen 1.2.3.4 auth none pace_ms 1", "pace_ms: not"));
	CHECK(refused("secondary m d f g 6 listen 1.2.3.4 auth none verify no", "yes"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none verify yes", "verify: not for a"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none congestion a23456789_bcdefg",
		      "up to 15"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none congestion b/r", "b/r"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none congestion -bbr", "-bbr"));
	CHECK(refused("secondary m d f g 6 listen 1.2.3.4 auth none congestion bbr",
		      "congestion: not for a"));
	CHECK(refused("secondary m d f g 6 listen 1.2.3.4 auth none rate 1M", "rate: not for a"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none compress gzip", "lz4 or zstd"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none compress LZ4", "LZ4"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none stage_encryption on", "expected off"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none stage_encryption yes", "on or off"));
	CHECK(refused("secondary m d f g 6 listen 1.2.3.4 auth none compress lz4",
		      "compress: not for a"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none rate 127k", "0 (no limit) or 128k"));
	CHECK(refused("primary m d f 6 peer 1.2.3.4 auth none pair "
		      "00000000-0000-0000-0000-000000000000", "not all zero"));
}

/* The rate, and what it is printed as; NULL: refused. */
static bool rate_is(const char *s, u64 rate, const char *printed)
{
	char buf[FZC_RATE_LEN];
	u64 got, again;

	if (!fzc_rate_parse(&got, s))
		return !printed;
	fzc_rate_print(got, buf);
	return printed && got == rate && !strcmp(buf, printed) && fzc_rate_parse(&again, buf) &&
	       again == rate;
}

TEST(args_rate)
{
	CHECK(rate_is("0", 0, "0"));
	CHECK(rate_is("0G", 0, "0"));
	CHECK(rate_is("128k", 131072, "128k"));
	CHECK(rate_is("128K", 131072, "128k"));
	CHECK(rate_is("131073", 131073, "131073"));
	CHECK(rate_is("1000000", 1000000, "1000000"));
	CHECK(rate_is("1M", 1048576, "1M"));
	CHECK(rate_is("1536k", 1572864, "1536k"));
	CHECK(rate_is("2048k", 2097152, "2M"));
	CHECK(rate_is("4294967295", 4294967295, "4294967295"));
	CHECK(rate_is("1073741823k", 1073741823ULL << 10, "1073741823k"));
	CHECK(rate_is("1024G", 1ULL << 40, "1024G"));
	static const char * const bad[] = {
		"", "k", "1", "131071", "127k", "-1", "+1M", "1m", "1g", "1T", "1M ", "1MB", "1kk",
		"1.5M", "01M", " 1M", "1025G", "4294967295k", "4294967295M", "4294967295G", "4294967296",
		"18446744073709551616", "99999999999999999999999",
	};
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		if (!rate_is(bad[i], 0, NULL))
			test_failed(__FILE__, __LINE__, bad[i]);
}

static bool addr_is(const char *s, const char *printed)
{
	struct fzc_addr a;
	char buf[64];

	if (fzc_addr_parse(&a, s, why))
		return !printed;
	fzc_addr_print(&a, buf, sizeof(buf));
	return printed && !strcmp(buf, printed);
}

TEST(args_address)
{
	CHECK(addr_is("1.2.3.4", "1.2.3.4:7744"));
	CHECK(addr_is("255.0.0.255:1", "255.0.0.255:1"));
	CHECK(addr_is("0.0.0.0:65535", "0.0.0.0:65535"));
	CHECK(addr_is("[::]", "[::]:7744"));
	CHECK(addr_is("[::1]:80", "[::1]:80"));
	CHECK(addr_is("[2001:DB8::]:80", "[2001:db8::]:80"));
	CHECK(addr_is("[0:0:1:0:0:0:1:0]", "[0:0:1::1:0]:7744"));
	CHECK(addr_is("[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8]:7744"));
	CHECK(addr_is("[1:2:3:4:5:6:7::]", "[1:2:3:4:5:6:7:0]:7744"));
	CHECK(addr_is("[::ffff:1.2.3.4]", "[::ffff:102:304]:7744"));
	static const char * const bad[] = {
		"", ":", "1", "1.2.3", "1.2.3.", "1.2.3.4.5", "1.2.3.256", "1.2.3.04", "1.2.3.4:",
		"1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:99999999999999999999", "1.2.3.4:7x",
		"1.2.3.4 ", "1.2.3.4/8", "::1", "[::1", "[]", "[:]", "[:::]", "[1]", "[1:2:3:4:5:6:7]",
		"[1:2:3:4:5:6:7:8:9]", "[1::2::3]", "[12345::]", "[::1]7744", "[::1]:", "[1.2.3.4]",
		"[1.2.3.4::]", "[::1%eth0]", "[1:2:3:4:5:6:7:8::]", "[::g]",
		"[1:2:3:4:5:6:7:1.2.3.4]",
	};
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		if (!addr_is(bad[i], NULL))
			test_failed(__FILE__, __LINE__, bad[i]);
}

TEST(args_uuid)
{
	struct fzc_id id = test_id(), got;
	char buf[37];

	fzc_uuid_print(&id, buf);
	CHECK(strlen(buf) == 36 && buf[8] == '-' && buf[13] == '-' && buf[18] == '-' &&
	      buf[23] == '-');
	CHECK(!fzc_uuid_parse(&got, buf) && fzc_id_equal(&got, &id));
	CHECK(!fzc_uuid_parse(&got, "00112233-4455-6677-8899-AABBCCDDEEFF") && got.b[10] == 0xaa);
	CHECK(fzc_uuid_parse(&got, ""));
	CHECK(fzc_uuid_parse(&got, "00112233-4455-6677-8899-aabbccddeef"));
	CHECK(fzc_uuid_parse(&got, "00112233-4455-6677-8899-aabbccddeeff0"));
	CHECK(fzc_uuid_parse(&got, "00112233445566778899aabbccddeeff"));
	CHECK(fzc_uuid_parse(&got, "0011223g-4455-6677-8899-aabbccddeeff"));
}
