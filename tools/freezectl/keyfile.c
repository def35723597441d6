// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <keyutils.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cipher.h"
#include "conf.h"
#include "keyfile.h"
#include "say.h"

#define DESCRIPTION	"freezecopy:"

void key_protect(void)
{
	static const struct rlimit none;

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

bool key_exists(const char *name)
{
	char path[PATH_MAX];

	conf_path(name, KEY_SUFFIX, path);
	return !access(path, F_OK);
}

int key_draw(uint8_t key[FZC_KEY_BYTES])
{
	if (getrandom(key, FZC_KEY_BYTES, 0) != FZC_KEY_BYTES)
		return say(FC_FAILED, "random numbers: %s", strerror(errno));
	return FC_DONE;
}

/* --- file --- */

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *d = c ? strchr(digits, c) : NULL;

	return d ? d - digits : -1;
}

static bool parse_key(const char *value, uint8_t key[FZC_KEY_BYTES])
{
	if (strlen(value) != 2 * FZC_KEY_BYTES)
		return false;
	for (unsigned int i = 0; i < FZC_KEY_BYTES; i++) {
		int hi = digit(value[2 * i]), lo = digit(value[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		key[i] = hi << 4 | lo;
	}
	return true;
}

/* Never the value itself in a message. */
static int take(void *user, const char *section, const char *key, const char *value)
{
	struct fzc_keys *keys = user;

	if (*section)
		return 0;
	if (!strcmp(key, "key") && !keys->n)
		return parse_key(value, keys->key[keys->n++]);
	if (!strcmp(key, "previous") && keys->n == 1)
		return parse_key(value, keys->key[keys->n++]);
	return 0;
}

static int parse_file(FILE *f, const char *path, struct fzc_keys *keys)
{
	int line = ini_parse_file(f, take, keys);

	if (line || !keys->n)
		return say(FC_REFUSED,
			   "%s%s: expected 'key = ' and 64 digits 0-9 a-f, then perhaps 'previous = ' and as many, as freezectl key generate writes it",
			   path, line ? "" : " is empty");
	return FC_DONE;
}

int key_read(const char *name, const char *file, struct fzc_keys *keys)
{
	bool input = file && !strcmp(file, "-");
	char path[PATH_MAX], why[2 * PATH_MAX];
	int rc;
	FILE *f;

	memset(keys, 0, sizeof(*keys));
	conf_path(name, KEY_SUFFIX, path);
	if (file)
		snprintf(path, sizeof(path), "%s", input ? "standard input" : file);
	f = input ? stdin : fopen(path, "re");
	if (!f)
		return say(FC_REFUSED, "%s: %s%s", path, strerror(errno), file ? "" :
			   "; 'freezectl key generate' makes one, 'freezectl key import' takes the peer's");
	if (!file && !conf_trusted(f, path, 077, why, sizeof(why)))
		rc = say(FC_REFUSED, "%s", why);
	else
		rc = parse_file(f, path, keys);
	if (!input)
		fclose(f);
	return rc;
}

static void print_key(FILE *f, const char *word, const uint8_t key[FZC_KEY_BYTES])
{
	fprintf(f, "%s = ", word);
	for (unsigned int i = 0; i < FZC_KEY_BYTES; i++)
		fprintf(f, "%02x", key[i]);
	fputc('\n', f);
}

int key_write(const char *name, const struct fzc_keys *keys)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	FILE *f = conf_begin(name, KEY_SUFFIX, path, tmp);

	if (!f)
		return FC_FAILED;
	fputs("# Written by freezectl key.  Who has this has the volume: keep it to yourself.\n", f);
	print_key(f, "key", keys->key[0]);
	if (keys->n > 1)
		print_key(f, "previous", keys->key[1]);
	return conf_end(f, path, tmp);
}

int key_delete(const char *name)
{
	return conf_unlink(name, KEY_SUFFIX);
}

/* --- keyring --- */

static void describe(const char *name, char *out, size_t len)
{
	snprintf(out, len, DESCRIPTION "%s", name);
}

int key_load(const char *name)
{
	struct fzc_keys keys;
	char description[sizeof(DESCRIPTION) + FC_NAME_LEN];
	int rc = key_read(name, NULL, &keys);

	if (rc)
		return rc;
	describe(name, description, sizeof(description));
	/* a service's session does not search the user's keyring, its threads may */
	keyctl_link(KEY_SPEC_USER_KEYRING, KEY_SPEC_THREAD_KEYRING);
	if (add_key("logon", description, keys.key, keys.n * FZC_KEY_BYTES,
		    KEY_SPEC_USER_KEYRING) < 0)
		rc = say(FC_FAILED, "key %s: the kernel's keyring: %s", name, strerror(errno));
	explicit_bzero(&keys, sizeof(keys));
	return rc;
}

int key_unload(const char *name)
{
	char description[sizeof(DESCRIPTION) + FC_NAME_LEN];
	long key;

	describe(name, description, sizeof(description));
	key = keyctl_search(KEY_SPEC_USER_KEYRING, "logon", description, 0);
	if (key < 0)
		return FC_DONE;		/* it is not there */
	if (keyctl_revoke(key) || keyctl_unlink(key, KEY_SPEC_USER_KEYRING))
		return say(FC_FAILED, "key %s: the kernel's keyring: %s", name, strerror(errno));
	return FC_DONE;
}

/* --- id --- */

int key_print_id(const uint8_t key[FZC_KEY_BYTES], char out[2 * FZC_KEY_ID + 1])
{
	u8 id[FZC_KEY_ID];

	if (fzc_key_id(cipher_hmac(), key, id))
		return say(FC_FAILED, "HMAC-SHA-256 is not to be had from libcrypto");
	fzc_key_id_print(id, out);
	return FC_DONE;
}

int key_each(int (*fn)(const char *name))
{
	struct dirent **list;
	int n = scandir(conf_dir(), &list, NULL, alphasort), rc = 0;

	for (int i = 0; i < n; i++) {
		char *dot = strrchr(list[i]->d_name, '.');

		if (!rc && dot && !strcmp(dot, KEY_SUFFIX)) {
			*dot = 0;
			rc = parse_name(list[i]->d_name) ? fn(list[i]->d_name) : 0;
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return rc;
}
