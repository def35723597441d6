// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>

#include "layout.h"
#include "say.h"
#include "verbs.h"
#include "volume.h"

static const struct option options[] = {
	{ "wipe", no_argument, NULL, 'w' },
	{ 0 }
};

/* After this the devices are as good as new for create; data is not touched. */
static int wipe(const struct volume *v)
{
	uint32_t block = v->conf.block_size ? v->conf.block_size : LAYOUT_DEFAULT_BLOCK;
	struct layout l;
	char why[256];
	int rc = FC_DONE;

	if (!layout_init(&l, v->blk[FZC_DEV_DATA].bytes, block, why))
		return say(FC_REFUSED, "data %s: %s", v->blk[FZC_DEV_DATA].path, why);
	for (int i = 0; i < v->n && !rc; i++) {
		struct blk b = v->blk[i];

		if (i != FZC_DEV_DATA)
			rc = blk_zero(&b, i == FZC_DEV_META ? l.meta_bytes :
				      layout_index_bytes(&l, b.bytes));
	}
	return rc;
}

static int stop(const char *name)
{
	struct dmdev d;
	int rc = dmdev_find(name, &d);

	if (rc == -ENODEV || (!rc && !d.ours))
		return FC_DONE;
	rc = volume_find(name, &d);
	return rc ? rc : volume_stop(&d);
}

static int run(int argc, char **argv)
{
	static struct volume v;
	bool wiping = false;
	const char *name;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'w')
			return say_usage("remove", NULL);
		wiping = true;
	}
	name = only_argument(argc, argv);
	if (!name || !parse_name(name))
		return say_usage("remove", "expected the NAME of one volume");
	rc = conf_lock();
	if (!rc)
		rc = conf_read(name, &v.conf);
	if (!rc)
		rc = stop(name);
	if (!rc && wiping)
		rc = volume_open(&v);
	if (!rc && wiping)
		rc = wipe(&v);
	volume_close(&v);
	if (!rc)
		rc = conf_delete(name);
	if (!rc)
		volume_announce(&v.conf);
	return rc;
}

const struct verb verb_remove = {
	.name = "remove",
	.args = "NAME [--wipe]",
	.summary = "stop a volume and forget its conf",
	.help =
	"Refused while the volume is in use. The data device keeps its content, which on a\n"
	"primary is the volume; on a secondary that was not recovered it is some image only\n"
	"if nothing was left to merge.\n"
	"\n"
	"  --wipe   erase the metadata on meta and diff, so that 'freezectl create' takes\n"
	"           the devices again\n"
	"\n"
	"Example:\n"
	"  freezectl remove db --wipe",
	.run = run,
};
