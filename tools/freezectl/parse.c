// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../../dm-freezecopy/core/args.h"
#include "dm-freezecopy.h"
#include "parse.h"

bool parse_name(const char *s)
{
	size_t n = strlen(s);

	if (!n || n >= FC_NAME_LEN || *s == '.' || *s == '-')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("+_.-", *s))
			return false;
	return true;
}

bool parse_u64(const char *s, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*out = strtoull(s, &end, 10);
	return !errno && !*end;
}

bool parse_seconds(const char *s, uint32_t *ms)
{
	char *end;
	double v;

	if (!isdigit((unsigned char)*s))
		return false;
	v = strtod(s, &end);
	if (*end || v * 1000 >= UINT32_MAX)
		return false;
	*ms = v * 1000;
	return true;
}

bool parse_block_size(const char *s, uint32_t *out)
{
	unsigned long v;
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	v = strtoul(s, &end, 10);
	if (v > 1 << 20)
		return false;
	if (*end == 'K' || *end == 'k')
		v <<= 10, end++;
	else if (*end == 'M')
		v <<= 20, end++;
	if (*end || v < 4096 || v > 1 << 20 || (v & (v - 1)))
		return false;
	*out = v;
	return true;
}

bool parse_pace(const char *s, char out[8])
{
	uint64_t ms;

	if (!parse_u64(s, &ms) || ms > FZC_MAX_PACE)
		return false;
	snprintf(out, 8, "%u", (unsigned int)ms);
	return true;
}

bool parse_switch(const char *s, char out[4])
{
	if (strcmp(s, "on") && strcmp(s, "off"))
		return false;
	strcpy(out, s);
	return true;
}

bool parse_rate(const char *s, char out[FZC_RATE_LEN])
{
	u64 rate;

	if (!fzc_rate_parse(&rate, s))
		return false;
	fzc_rate_print(rate, out);
	return true;
}

bool parse_uuid(const char *s, char out[FC_UUID_LEN])
{
	int i;

	if (strlen(s) != FC_UUID_LEN - 1)
		return false;
	for (i = 0; i < FC_UUID_LEN - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
			return false;
		out[i] = tolower((unsigned char)s[i]);
	}
	out[i] = '\0';
	return true;
}

/* Split off the port; "[addr]" needs its brackets only when a port follows. */
static bool split_port(char *s, char **host, uint64_t *port)
{
	char *colon = strrchr(s, ':'), *close = strchr(s, ']');

	*port = FZC_DEFAULT_PORT;
	*host = s;
	if (*s == '[') {
		if (!close)
			return false;
		*host = s + 1;
		*close++ = '\0';
		if (!*close)
			return true;
		if (*close != ':')
			return false;
		colon = close;
	} else if (!colon || strchr(s, ':') != colon) {
		return true;		/* no port, or a bare IPv6 address */
	}
	*colon = '\0';
	return parse_u64(colon + 1, port) && *port >= 1 && *port <= 65535;
}

bool parse_address(const char *s, char *out, size_t len)
{
	char copy[FZC_PEER_LEN], canon[INET6_ADDRSTRLEN], *host;
	unsigned char bin[16];
	uint64_t port;
	int n;

	if (strlen(s) >= sizeof(copy))
		return false;
	strcpy(copy, s);
	if (!split_port(copy, &host, &port))
		return false;
	if (inet_pton(AF_INET, host, bin) == 1 && *s != '[')
		n = snprintf(out, len, "%s:%u", host, (unsigned int)port);
	else if (inet_pton(AF_INET6, host, bin) == 1 &&
		 inet_ntop(AF_INET6, bin, canon, sizeof(canon)))
		n = snprintf(out, len, "[%s]:%u", canon, (unsigned int)port);
	else
		return false;
	return n > 0 && (size_t)n < len;
}

void uuid_random(char out[FC_UUID_LEN])
{
	uint8_t id[16];

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		abort();		/* cannot happen for 16 bytes on Linux >= 3.17 */
	id[6] = (id[6] & 0x0f) | 0x40;
	id[8] = (id[8] & 0x3f) | 0x80;
	uuid_print(id, out);
}

void uuid_print(const uint8_t id[16], char out[FC_UUID_LEN])
{
	int i, n = 0;

	for (i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[n++] = '-';
		n += sprintf(out + n, "%02x", id[i]);
	}
}

const char *size_print(uint64_t bytes, char *buf, size_t len)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = bytes;
	int u = 0;

	for (; v >= 1024 && u < 6; u++)
		v /= 1024;
	if (v == (uint64_t)v)
		snprintf(buf, len, "%.0f %s", v, unit[u]);
	else
		snprintf(buf, len, "%.1f %s", v, unit[u]);
	return buf;
}

const char *only_argument(int argc, char **argv)
{
	return argc - optind == 1 ? argv[optind] : NULL;
}
