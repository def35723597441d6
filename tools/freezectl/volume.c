// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../dm-freezecopy/core/args.h"
#include "ctl.h"
#include "keyfile.h"
#include "say.h"
#include "users.h"
#include "volume.h"

#define SECTOR	512

int volume_open(struct volume *v)
{
	int rc = FC_DONE;

	for (v->n = 0; v->n < role_devices(v->conf.role) && !rc; ) {
		struct blk *b = &v->blk[v->n];

		rc = blk_open(b, device_name(v->conf.role, v->n), v->conf.device[v->n]);
		if (!rc)
			v->n++;
	}
	if (rc)
		volume_close(v);
	return rc;
}

void volume_close(struct volume *v)
{
	for (int i = 0; i < v->n; i++)
		blk_close(&v->blk[i]);
	v->n = 0;
}

void volume_announce(const struct conf *c)
{
	struct stat st;

	for (int i = 0; i < role_devices(c->role); i++)
		if (!stat(c->device[i], &st) && S_ISBLK(st.st_mode))
			blk_announce(st.st_rdev);
}

/* --- table --- */

struct words {
	char text[1024];
	int n;
};

/* "key value": two words */
static void __printf(2, 3) option(struct words *w, const char *fmt, ...)
{
	size_t used = strlen(w->text);
	va_list ap;

	va_start(ap, fmt);
	w->text[used++] = ' ';
	vsnprintf(w->text + used, sizeof(w->text) - used, fmt, ap);
	va_end(ap);
	w->n += 2;
}

static void table(const struct volume *v, const char *once, char *out, size_t len)
{
	const struct conf *c = &v->conf;
	struct words w = { 0 };
	int n;

	option(&w, "%s %s", c->role == FZC_ROLE_PRIMARY ? "peer" : "listen", c->link);
	if (c->block_size)
		option(&w, "block %u", c->block_size);
	if (c->pace_ms[0])
		option(&w, "pace_ms %s", c->pace_ms);
	if (c->verify)
		option(&w, "verify yes");
	if (c->congestion[0])
		option(&w, "congestion %s", c->congestion);
	if (c->rate[0])
		option(&w, "rate %s", c->rate);
	if (c->compress)
		option(&w, "compress %s", fzc_compress_name(c->compress));
	if (c->key[0])
		option(&w, "key " FZC_KEY_PREFIX "freezecopy:%s", c->key);
	else
		option(&w, "auth none");
	if (c->stage_encryption[0])
		option(&w, "stage_encryption %s", c->stage_encryption);
	if (c->pair[0])
		option(&w, "pair %s", c->pair);
	if (once)
		option(&w, "%s", once);
	n = snprintf(out, len, "%s", role_name(c->role));
	/* numbers, so that it is the very devices that were checked */
	for (int i = 0; i < role_devices(c->role); i++)
		n += snprintf(out + n, len - n, " %u:%u", major(v->blk[i].dev),
			      minor(v->blk[i].dev));
	snprintf(out + n, len - n, " %d%s", w.n, w.text);
}

static int explain_load(const char *name, int err)
{
	char why[FZC_MESSAGE_LEN];

	ctl_last_error(why);
	if (why[0])
		return say(FC_REFUSED, "%s: %s", name, why);
	if (access("/sys/module/dm_freezecopy", F_OK))
		return say(FC_FAILED,
			   "%s: the dm-freezecopy module is not loaded and does not load by itself; try modprobe dm-freezecopy (%s)",
			   name,
			   dmdev_error()[0] ? dmdev_error() : strerror(-err));
	return say(FC_FAILED, "%s: %s; dmesg may tell more", name,
		   dmdev_error()[0] ? dmdev_error() : strerror(-err));
}

int volume_start(struct volume *v, const char *once)
{
	uint64_t sectors = v->blk[FZC_DEV_DATA].bytes / SECTOR;
	char params[2048];
	int rc = FC_DONE;

	if (v->conf.key[0]) {
		key_protect();
		rc = key_load(v->conf.key);
	}
	if (rc)
		return rc;
	table(v, once, params, sizeof(params));
	volume_close(v);	/* the table claims them for itself */
	rc = dmdev_create(v->conf.name, v->conf.uuid, sectors, params,
			  v->conf.role == FZC_ROLE_SECONDARY);
	return rc ? explain_load(v->conf.name, rc) : FC_DONE;
}

/* --- running device --- */

int volume_find(const char *name, struct dmdev *d)
{
	int rc = parse_name(name) ? dmdev_find(name, d) : -ENODEV;

	if (rc == -ENODEV && parse_name(name) && conf_exists(name))
		return say(FC_REFUSED, "%s is not running; 'freezectl start %s' starts it", name,
			   name);
	if (rc == -ENODEV)
		return say(FC_REFUSED, "%s: no such volume; 'freezectl status' lists what there is",
			   name);
	if (rc)
		return say(FC_FAILED, "%s: %s", name,
			   dmdev_error()[0] ? dmdev_error() : strerror(-rc));
	if (!d->ours)
		return say(FC_REFUSED, "%s is a device-mapper device with uuid '%s', expected "
			   DMDEV_UUID_PREFIX "...; 'freezectl status' lists what there is", name,
			   d->uuid);
	return FC_DONE;
}

int volume_check_unused(const struct dmdev *d, bool readers)
{
	struct users u = { 0 };
	int rc = users_find(d->dev, USERS_ALL, &u);

	if (rc)
		rc = say(FC_FAILED, "%s: cannot find out who uses it: %s", d->name, strerror(-rc));
	for (size_t i = 0; i < u.n; i++)
		if (readers || u.v[i].kind != USER_READER)
			rc = say(FC_REFUSED, "%s is in use: %s; %s", d->name, u.v[i].what,
				 u.v[i].way_out);
	users_free(&u);
	return rc;
}

/* Writes of the page cache are out when the last opener closed; this is the disks' own cache. */
static void flush_disks(const struct dmdev *d)
{
	char path[160];
	int fd;

	if (d->suspended)
		return;		/* it would wait for the resume */
	snprintf(path, sizeof(path), "/dev/mapper/%s", d->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		note("freezectl: %s: flush: %s; stopping it nevertheless", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

int volume_stop(const struct dmdev *d)
{
	/* who only reads may be udev in passing, which dmdev_remove() waits for */
	int rc = d->open_count ? volume_check_unused(d, false) : FC_DONE;

	if (rc)
		return rc;
	flush_disks(d);
	rc = dmdev_remove(d->name);
	if (rc == -EBUSY)
		return say(FC_REFUSED,
			   "%s is in use; close whatever has /dev/mapper/%s open (fuser -v shows it)",
			   d->name, d->name);
	if (rc)
		return say(FC_FAILED, "%s: %s", d->name,
			   dmdev_error()[0] ? dmdev_error() : strerror(-rc));
	return FC_DONE;
}
