// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "say.h"

#define CONF_DIR	"/etc/freezecopy"
#define SUFFIX		".conf"

const char *role_name(enum fzc_role role)
{
	return role == FZC_ROLE_PRIMARY ? "primary" : "secondary";
}

int role_devices(enum fzc_role role)
{
	return role == FZC_ROLE_PRIMARY ? 3 : 4;
}

const char *device_name(enum fzc_role role, int dev)
{
	static const char *const primary[] = { "meta", "data", "diff", NULL };
	static const char *const secondary[] = { "meta", "data", "diff-a", "diff-b" };

	return role == FZC_ROLE_PRIMARY ? primary[dev] : secondary[dev];
}

const char *conf_dir(void)
{
	const char *dir = getenv("FREEZECTL_CONFDIR");

	return dir && *dir ? dir : CONF_DIR;
}

void conf_path(const char *name, const char *suffix, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s%s", conf_dir(), name, suffix);
}

bool conf_exists(const char *name)
{
	char path[PATH_MAX];

	conf_path(name, SUFFIX, path);
	return !access(path, F_OK);
}

/* --- reading --- */

struct reader {
	struct conf *c;
	char error[PATH_MAX + 256];	/* the first, empty: none */
};

static int reject(struct reader *r, const char *section, const char *key, const char *value,
		  const char *expected)
{
	if (!r->error[0])
		snprintf(r->error, sizeof(r->error), "[%s] %s = %s; expected %s", section, key,
			 value, expected);
	return 0;
}

static int take_device(struct reader *r, const char *key, const char *value)
{
	static const struct {
		const char *key;
		int dev;
	} keys[] = {
		{ "meta", FZC_DEV_META }, { "data", FZC_DEV_DATA }, { "diff", FZC_DEV_DIFF },
		{ "diff-a", FZC_DEV_DIFF }, { "diff-b", FZC_DEV_DIFF_B },
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(key, keys[i].key))
			continue;
		if (*value != '/' || strlen(value) >= PATH_MAX || strpbrk(value, " \t"))
			return reject(r, "devices", key, value, "an absolute path without blanks");
		strcpy(r->c->device[keys[i].dev], value);
		return 1;
	}
	return reject(r, "devices", key, value, "meta, data, diff, diff-a or diff-b as the key");
}

static int take_volume(struct reader *r, const char *key, const char *value)
{
	struct conf *c = r->c;

	if (!strcmp(key, "role")) {
		if (!strcmp(value, "primary"))
			c->role = FZC_ROLE_PRIMARY;
		else if (!strcmp(value, "secondary"))
			c->role = FZC_ROLE_SECONDARY;
		else
			return reject(r, "volume", key, value, "primary or secondary");
		return 1;
	}
	if (!strcmp(key, "uuid"))
		return parse_uuid(value, c->uuid) || reject(r, "volume", key, value, "a UUID");
	if (!strcmp(key, "pair"))
		return parse_uuid(value, c->pair) || reject(r, "volume", key, value, "a UUID");
	if (!strcmp(key, "block-size"))
		return parse_block_size(value, &c->block_size) ||
		       reject(r, "volume", key, value, "a power of two from 4096 to 1048576");
	if (!strcmp(key, "pace-ms"))
		return parse_pace(value, c->pace_ms) ||
		       reject(r, "volume", key, value, "0 to 10000 milliseconds");
	if (!strcmp(key, "verify")) {
		c->verify = !strcmp(value, "yes");
		return c->verify || reject(r, "volume", key, value, "yes, or no such line");
	}
	return reject(r, "volume", key, value,
		      "role, uuid, pair, block-size, pace-ms or verify as the key");
}

static int take_link(struct reader *r, const char *key, const char *value)
{
	struct conf *c = r->c;

	if (!strcmp(key, "peer") || !strcmp(key, "listen"))
		return parse_address(value, c->link, sizeof(c->link)) ||
		       reject(r, "link", key, value, "a numeric ADDRESS[:PORT]");
	if (!strcmp(key, "auth")) {
		c->auth_none = !strcmp(value, "none") && !c->key[0];
		return c->auth_none ||
		       reject(r, "link", key, value, "none, or a line 'key = NAME' in its place");
	}
	if (!strcmp(key, "key")) {
		snprintf(c->key, sizeof(c->key), "%s", value);
		return (parse_name(value) && !c->auth_none) ||
		       reject(r, "link", key, value,
			      "the name of a key, and no line 'auth = none' beside it");
	}
	if (!strcmp(key, "congestion"))
		return fzc_congestion_parse(c->congestion, value) ||
		       reject(r, "link", key, value, FZC_CONGESTION_FORM);
	if (!strcmp(key, "rate"))
		return parse_rate(value, c->rate) || reject(r, "link", key, value, FZC_RATE_FORM);
	if (!strcmp(key, "compress")) {
		c->compress = fzc_compress_parse(value);
		return c->compress || reject(r, "link", key, value, FZC_COMPRESS_FORM);
	}
	if (!strcmp(key, "stage_encryption"))
		return parse_switch(value, c->stage_encryption) ||
		       reject(r, "link", key, value, "on or off");
	return reject(r, "link", key, value,
		      "peer, listen, key, auth, congestion, rate, compress or stage_encryption as the key");
}

static int take(void *user, const char *section, const char *key, const char *value)
{
	struct reader *r = user;

	if (!strcmp(section, "volume"))
		return take_volume(r, key, value);
	if (!strcmp(section, "devices"))
		return take_device(r, key, value);
	if (!strcmp(section, "link"))
		return take_link(r, key, value);
	return reject(r, section, key, value, "section [volume], [devices] or [link]");
}

/* What a table cannot do without; NULL when it is all there. */
static const char *missing(const struct conf *c)
{
	if (!c->role)
		return "[volume] role";
	if (!c->uuid[0])
		return "[volume] uuid";
	if (!c->link[0])
		return c->role == FZC_ROLE_PRIMARY ? "[link] peer" : "[link] listen";
	if (!c->auth_none && !c->key[0])
		return "[link] key";
	for (int i = 0; i < role_devices(c->role); i++)
		if (!c->device[i][0])
			return device_name(c->role, i);
	return NULL;
}

bool conf_trusted(FILE *f, const char *path, mode_t forbidden, char *why, size_t len)
{
	struct stat st;

	if (fstat(fileno(f), &st)) {
		snprintf(why, len, "%s: %s", path, strerror(errno));
		return false;
	}
	if (S_ISREG(st.st_mode) && !st.st_uid && !(st.st_mode & forbidden))
		return true;
	snprintf(why, len,
		 "%s: owner %u, mode %04o; expected a file of root that nobody else can %s: look at what it says, then chown root and chmod 0600 it",
		 path, st.st_uid, st.st_mode & 07777, forbidden & 044 ? "read" : "write");
	return false;
}

static int conf_load(const char *name, struct conf *c, char *why, size_t len)
{
	struct reader r = { .c = c };
	char path[PATH_MAX];
	int line = 0;
	bool ok;
	FILE *f;

	memset(c, 0, sizeof(*c));
	snprintf(c->name, sizeof(c->name), "%s", name);
	conf_path(name, SUFFIX, path);
	f = fopen(path, "re");
	if (!f) {
		snprintf(why, len, "%s: %s%s", path, strerror(errno), errno == ENOENT ?
			 "; 'freezectl create' makes it, 'freezectl status' lists what there is" :
			 "");
		return FC_REFUSED;
	}
	/* whoever can write this file decides which disks are overwritten */
	ok = conf_trusted(f, path, 022, why, len);
	if (ok)
		line = ini_parse_file(f, take, &r);
	fclose(f);
	if (!ok)
		return FC_REFUSED;
	if (line || r.error[0])
		snprintf(why, len, "%s line %d: %s", path, line,
			 r.error[0] ? r.error : "not of the form 'key = value'");
	else if (missing(c))
		snprintf(why, len, "%s: %s is missing; see freezecopy.conf(5)", path, missing(c));
	else
		return FC_DONE;
	return FC_REFUSED;
}

int conf_read(const char *name, struct conf *c)
{
	char why[2 * PATH_MAX + 512];

	if (conf_load(name, c, why, sizeof(why)))
		return say(FC_REFUSED, "%s", why);
	return FC_DONE;
}

int conf_each(enum conf_bad bad, int (*fn)(const struct conf *c, void *arg), void *arg)
{
	char why[2 * PATH_MAX + 512], name[FC_NAME_LEN];
	struct dirent **list;
	int i, n, rc = 0;
	struct conf c;

	n = scandir(conf_dir(), &list, NULL, alphasort);
	if (n < 0 && bad == CONF_REFUSE)
		return say(FC_REFUSED, "%s: %s", conf_dir(), strerror(errno));
	for (i = 0; i < n; i++) {
		char *dot = strrchr(list[i]->d_name, '.');

		if (!rc && dot && !strcmp(dot, SUFFIX) && dot - list[i]->d_name < FC_NAME_LEN) {
			snprintf(name, sizeof(name), "%.*s", (int)(dot - list[i]->d_name),
				 list[i]->d_name);
			if (!parse_name(name))
				;	/* an editor's copy, not ours */
			else if (!conf_load(name, &c, why, sizeof(why)))
				rc = fn(&c, arg);
			else if (bad == CONF_REFUSE)
				rc = say(FC_REFUSED, "%s", why);
			else if (bad == CONF_NOTE)
				note("freezectl: skipped: %s", why);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return rc;
}

/* --- writing --- */

static void conf_print(FILE *f, const struct conf *c)
{
	fprintf(f, "# Written by freezectl create; see freezecopy.conf(5).\n\n"
		"[volume]\nrole = %s\nuuid = %s\n", role_name(c->role), c->uuid);
	if (c->pair[0])
		fprintf(f, "pair = %s\n", c->pair);
	if (c->block_size)
		fprintf(f, "block-size = %u\n", c->block_size);
	if (c->pace_ms[0])
		fprintf(f, "pace-ms = %s\n", c->pace_ms);
	if (c->verify)
		fprintf(f, "verify = yes\n");
	fprintf(f, "\n[devices]\n");
	for (int i = 0; i < role_devices(c->role); i++)
		fprintf(f, "%s = %s\n", device_name(c->role, i), c->device[i]);
	fprintf(f, "\n[link]\n%s = %s\n%s = %s\n",
		c->role == FZC_ROLE_PRIMARY ? "peer" : "listen", c->link,
		c->key[0] ? "key" : "auth", c->key[0] ? c->key : "none");
	if (c->stage_encryption[0])
		fprintf(f, "stage_encryption = %s\n", c->stage_encryption);
	if (c->congestion[0])
		fprintf(f, "congestion = %s\n", c->congestion);
	if (c->rate[0])
		fprintf(f, "rate = %s\n", c->rate);
	if (c->compress)
		fprintf(f, "compress = %s\n", fzc_compress_name(c->compress));
}

static int sync_dir(void)
{
	int fd = open(conf_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

FILE *conf_begin(const char *name, const char *suffix, char path[PATH_MAX], char tmp[PATH_MAX])
{
	FILE *f = NULL;
	int fd;

	conf_path(name, suffix, path);
	conf_path(name, ".new", tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	/* one that a crash has left may be of another mode */
	if (fd >= 0 && !fchmod(fd, 0600))
		f = fdopen(fd, "w");
	if (!f) {
		say(FC_FAILED, "%s: %s", tmp, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	return f;
}

int conf_end(FILE *f, const char *path, const char *tmp)
{
	if (fflush(f) || fsync(fileno(f)) || fclose(f) || rename(tmp, path) || sync_dir()) {
		int rc = say(FC_FAILED, "%s: %s", path, strerror(errno));

		unlink(tmp);
		return rc;
	}
	return FC_DONE;
}

int conf_write(const struct conf *c)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	FILE *f = conf_begin(c->name, SUFFIX, path, tmp);

	if (!f)
		return FC_FAILED;
	conf_print(f, c);
	return conf_end(f, path, tmp);
}

int conf_unlink(const char *name, const char *suffix)
{
	char path[PATH_MAX], tmp[PATH_MAX];

	conf_path(name, suffix, path);
	/* what a crash has left of writing it */
	conf_path(name, ".new", tmp);
	if ((unlink(tmp) && errno != ENOENT) || (unlink(path) && errno != ENOENT) || sync_dir())
		return say(FC_FAILED, "%s: %s", path, strerror(errno));
	return FC_DONE;
}

int conf_delete(const char *name)
{
	return conf_unlink(name, SUFFIX);
}

int conf_lock(void)
{
	int fd;

	if (mkdir(conf_dir(), 0755) && errno != EEXIST)
		return say(FC_FAILED, "%s: %s", conf_dir(), strerror(errno));
	fd = open(conf_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX))
		return say(FC_FAILED, "%s: %s", conf_dir(), strerror(errno));
	return FC_DONE;			/* the descriptor, and with it the lock, lives until exit */
}
