// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyfile.h"
#include "layout.h"
#include "offline.h"
#include "say.h"
#include "verbs.h"
#include "volume.h"

enum opt {
	OPT_META = 'm', OPT_DATA = 'd', OPT_DIFF = 'f', OPT_DIFF_A = 'a', OPT_DIFF_B = 'b',
	OPT_PEER = 'p', OPT_LISTEN = 'l', OPT_BLOCK = 's', OPT_PAIR = 'u',
	OPT_PACE = 't', OPT_VERIFY = 'v', OPT_IDENTICAL = 'i', OPT_INSECURE = 'n',
	OPT_CONGESTION = 'c', OPT_RATE = 'r', OPT_COMPRESS = 'z', OPT_KEY = 'k', OPT_FORCE = 'F',
	OPT_STAGE = 'e',
};

static const struct option options[] = {
	{ "meta", required_argument, NULL, OPT_META },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "diff", required_argument, NULL, OPT_DIFF },
	{ "diff-a", required_argument, NULL, OPT_DIFF_A },
	{ "diff-b", required_argument, NULL, OPT_DIFF_B },
	{ "peer", required_argument, NULL, OPT_PEER },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "block-size", required_argument, NULL, OPT_BLOCK },
	{ "pair", required_argument, NULL, OPT_PAIR },
	{ "pace-ms", required_argument, NULL, OPT_PACE },
	{ "congestion", required_argument, NULL, OPT_CONGESTION },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "compress", required_argument, NULL, OPT_COMPRESS },
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "assume-identical", no_argument, NULL, OPT_IDENTICAL },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "insecure", no_argument, NULL, OPT_INSECURE },
	{ "stage-encryption", required_argument, NULL, OPT_STAGE },
	{ "force", required_argument, NULL, OPT_FORCE },
	{ 0 }
};

struct request {
	struct volume v;
	const char *device[FZC_DEV_NR];
	const char *seen[2];	/* a device option of primary, of secondary */
	const char *link[2];	/* --peer, --listen */
	bool force[FZC_DEV_NR];
	bool identical;
	bool insecure;
};

/* --- arguments --- */

static bool take_force(struct request *r, char *list)
{
	for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
		if (!strcmp(word, "meta"))
			r->force[FZC_DEV_META] = true;
		else if (!strcmp(word, "data"))
			r->force[FZC_DEV_DATA] = true;
		else if (!strcmp(word, "diff"))
			r->force[FZC_DEV_DIFF] = true;
		else
			return false;
	}
	return true;
}

static int take_option(struct request *r, int opt)
{
	struct conf *c = &r->v.conf;

	switch (opt) {
	case OPT_META:
		r->device[FZC_DEV_META] = optarg;
		break;
	case OPT_DATA:
		r->device[FZC_DEV_DATA] = optarg;
		break;
	case OPT_DIFF:
		r->seen[0] = "--diff";
		r->device[FZC_DEV_DIFF] = optarg;
		break;
	case OPT_DIFF_A:
		r->seen[1] = "--diff-a";
		r->device[FZC_DEV_DIFF] = optarg;
		break;
	case OPT_DIFF_B:
		r->seen[1] = "--diff-b";
		r->device[FZC_DEV_DIFF_B] = optarg;
		break;
	case OPT_PEER:
		r->seen[0] = "--peer";
		r->link[0] = optarg;
		break;
	case OPT_LISTEN:
		r->seen[1] = "--listen";
		r->link[1] = optarg;
		break;
	case OPT_BLOCK:
		if (!parse_block_size(optarg, &c->block_size))
			return say_usage("create",
					 "--block-size %s: expected a power of two from 4096 to 1M",
					 optarg);
		break;
	case OPT_PAIR:
		if (!parse_uuid(optarg, c->pair))
			return say_usage("create", "--pair %s: expected a UUID", optarg);
		break;
	case OPT_PACE:
		r->seen[0] = "--pace-ms";
		if (!parse_pace(optarg, c->pace_ms))
			return say_usage("create", "--pace-ms %s: expected 0 to 10000", optarg);
		break;
	case OPT_CONGESTION:
		r->seen[0] = "--congestion";
		if (!fzc_congestion_parse(c->congestion, optarg))
			return say_usage("create", "--congestion %s: expected " FZC_CONGESTION_FORM,
					 optarg);
		break;
	case OPT_RATE:
		r->seen[0] = "--rate";
		if (!parse_rate(optarg, c->rate))
			return say_usage("create", "--rate %s: expected " FZC_RATE_FORM, optarg);
		break;
	case OPT_COMPRESS:
		r->seen[0] = "--compress";
		c->compress = fzc_compress_parse(optarg);
		if (!c->compress)
			return say_usage("create", "--compress %s: expected " FZC_COMPRESS_FORM,
					 optarg);
		break;
	case OPT_VERIFY:
		r->seen[1] = "--verify";
		c->verify = true;
		break;
	case OPT_IDENTICAL:
		r->seen[0] = "--assume-identical";
		r->identical = true;
		break;
	case OPT_KEY:
		if (!parse_name(optarg))
			return say_usage("create", "--key %s: expected the name of a key", optarg);
		snprintf(c->key, sizeof(c->key), "%s", optarg);
		break;
	case OPT_INSECURE:
		r->insecure = true;
		break;
	case OPT_STAGE:
		if (!parse_switch(optarg, c->stage_encryption))
			return say_usage("create", "--stage-encryption %s: expected on or off",
					 optarg);
		break;
	case OPT_FORCE:
		if (!take_force(r, optarg))
			return say_usage("create",
					 "--force=%s: expected meta, data or diff, or several of them with commas between",
					 optarg);
		break;
	default:
		return say_usage("create", NULL);
	}
	return FC_DONE;
}

static int take_name_and_role(struct request *r, int argc, char **argv)
{
	struct conf *c = &r->v.conf;

	if (argc - optind != 2)
		return say_usage("create", "expected NAME and a role, got %d words",
				 argc - optind);
	if (!parse_name(argv[optind]))
		return say_usage("create",
				 "name '%s': expected up to %d letters, digits and + _ . -, the first none of . -",
				 argv[optind], FC_NAME_LEN - 1);
	snprintf(c->name, sizeof(c->name), "%s", argv[optind]);
	if (!strcmp(argv[optind + 1], "primary"))
		c->role = FZC_ROLE_PRIMARY;
	else if (!strcmp(argv[optind + 1], "secondary"))
		c->role = FZC_ROLE_SECONDARY;
	else
		return say_usage("create", "role '%s': expected primary or secondary",
				 argv[optind + 1]);
	return FC_DONE;
}

static int check_request(struct request *r)
{
	struct conf *c = &r->v.conf;
	int role = c->role == FZC_ROLE_SECONDARY;

	if (r->seen[!role])
		return say_usage("create", "%s does not fit a %s", r->seen[!role],
				 role_name(c->role));
	for (int i = 0; i < role_devices(c->role); i++)
		if (!r->device[i])
			return say_usage("create", "--%s is missing", device_name(c->role, i));
	if (!r->link[role])
		return say_usage("create", "%s is missing", role ? "--listen" : "--peer");
	if (!parse_address(r->link[role], c->link, sizeof(c->link)))
		return say_usage("create",
				 "%s %s: expected a numeric ADDRESS[:PORT], as 192.0.2.1:7744 or [2001:db8::1]:7744; 'getent hosts' translates names",
				 role ? "--listen" : "--peer", r->link[role]);
	if (!r->insecure && !c->key[0])
		return say(FC_REFUSED,
			   "--key is missing: 'freezectl key generate %s' makes a key, 'freezectl key import %s FILE' takes it over on the peer, and both get --key %s. On a network where you trust everybody, --insecure runs without: whoever reaches the port can then read, change and forge all that is replicated",
			   c->name, c->name, c->name);
	if (r->insecure && c->key[0])
		return say_usage("create", "--insecure does not go with --key");
	if (r->insecure && !strcmp(c->stage_encryption, "on"))
		return say_usage("create",
				 "--stage-encryption on: expected off, or --key in place of --insecure: there is no key to encrypt with");
	if (c->key[0] && !key_exists(c->key))
		return say(FC_REFUSED,
			   "no key %s; 'freezectl key generate %s' makes it, 'freezectl key import %s FILE' takes the peer's",
			   c->key, c->key, c->key);
	c->auth_none = r->insecure;
	if (!c->block_size)
		c->block_size = LAYOUT_DEFAULT_BLOCK;
	return FC_DONE;
}

static int parse(struct request *r, int argc, char **argv)
{
	int opt, rc = FC_DONE;

	while (!rc && (opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		rc = take_option(r, opt);
	if (!rc)
		rc = take_name_and_role(r, argc, argv);
	return rc ? rc : check_request(r);
}

/* --- checks --- */

struct claim {
	const char *path;
	dev_t dev;
};

static int claimed(const struct conf *c, void *arg)
{
	const struct claim *claim = arg;
	struct stat st;

	for (int i = 0; i < role_devices(c->role); i++)
		if (!stat(c->device[i], &st) && S_ISBLK(st.st_mode) && st.st_rdev == claim->dev)
			return say(FC_REFUSED,
				   "%s is the %s device of the volume %s; 'freezectl remove --wipe %s' would give it up",
				   claim->path,
				   device_name(c->role, i), c->name, c->name);
	return 0;
}

static int check_name(const char *name)
{
	struct dmdev d;
	int rc;

	if (conf_exists(name))
		return say(FC_REFUSED,
			   "%s exists already (%s/%s.conf); 'freezectl remove %s' removes it",
			   name, conf_dir(), name, name);
	rc = dmdev_find(name, &d);
	if (!rc)
		return say(FC_REFUSED,
			   "a device-mapper device %s exists already; choose another name, or 'dmsetup remove %s'",
			   name, name);
	return rc == -ENODEV ? FC_DONE : volume_find(name, &d);
}

/* Fill in the conf's paths and open what they name. */
static int open_devices(struct request *r)
{
	struct volume *v = &r->v;
	struct claim claim;
	struct stat st;
	int rc;

	for (int i = 0; i < role_devices(v->conf.role); i++) {
		claim.path = r->device[i];
		if (stat(r->device[i], &st) || !S_ISBLK(st.st_mode)) {
			snprintf(v->conf.device[i], PATH_MAX, "%s", r->device[i]);
			continue;		/* volume_open() says it */
		}
		claim.dev = st.st_rdev;
		rc = conf_each(CONF_SKIP, claimed, &claim);
		if (rc)
			return rc;
		blk_stable_path(r->device[i], st.st_rdev, v->conf.device[i]);
	}
	return volume_open(v);
}

/* What is on a device must not be lost unnoticed. */
static int check_content(struct request *r, int dev)
{
	const struct blk *b = &r->v.blk[dev];
	bool keep = dev == FZC_DEV_DATA && r->v.conf.role == FZC_ROLE_PRIMARY;
	const char *word = dev == FZC_DEV_META ? "meta" : dev == FZC_DEV_DATA ? "data" : "diff";
	char text[512];
	int found = blk_content(b->fd, text, sizeof(text));

	if (!found && !keep)
		found = offline_name(b->fd, text, sizeof(text));
	if (found < 0)
		return say(FC_FAILED, "%s %s: cannot tell what is on it: %s", b->label, b->path,
			   text);
	if (keep)
		note("%s %s: %s%s", b->label, b->path, found ? text : "nothing known on it",
		     found ? "; it is kept" : "");
	else if (found && !r->force[dev == FZC_DEV_DIFF_B ? FZC_DEV_DIFF : dev])
		return say(FC_REFUSED, "%s %s holds %s; --force=%s destroys it", b->label, b->path,
			   text, word);
	else if (found)
		note("%s %s: %s; destroyed, because of --force=%s", b->label, b->path, text, word);
	return FC_DONE;
}

/* How long the difference volume lasts while the peer gets nothing. */
static void print_capacity(const struct layout *l, const struct blk *b, enum fzc_role role)
{
	uint32_t slots = layout_slots(l, b->bytes);
	double bytes = (double)slots * l->block_size;
	char size[32];

	note("%s %s: %u slots of %u bytes (%s), %.1f %% of the volume", b->label, b->path, slots,
	     l->block_size, size_print((uint64_t)bytes, size, sizeof(size)),
	     100.0 * slots / l->blocks);
	if (slots >= l->blocks) {
		note("    cannot fill up");
		return;
	}
	note("    takes %.0f s of distinct changed blocks at 10 MB/s, %.0f s at 100 MB/s",
	     bytes / 10e6, bytes / 100e6);
	if (role == FZC_ROLE_SECONDARY)
		note("    an image of more than %u changed blocks cannot be made; for one of all %llu the device needs %llu bytes",
		     slots, (unsigned long long)l->blocks,
		     (unsigned long long)layout_diff_bytes(l, l->blocks));
	else
		note("    during a freeze of more than %u blocks it may fill up: writes are slowed down, then the freeze is aborted; never with %llu bytes",
		     slots, (unsigned long long)layout_diff_bytes(l, l->blocks));
}

static int check_sizes(struct request *r, struct layout *l)
{
	const struct volume *v = &r->v;
	const struct blk *meta = &v->blk[FZC_DEV_META];
	uint32_t block = v->conf.block_size;
	char why[256];

	if (!layout_init(l, v->blk[FZC_DEV_DATA].bytes, block, why))
		return say(FC_REFUSED, "data %s: %s; another --block-size may do",
			   v->blk[FZC_DEV_DATA].path, why);
	l->tagged = v->conf.role == FZC_ROLE_SECONDARY && v->conf.key[0] &&
		    strcmp(v->conf.stage_encryption, "off");
	note("meta %s: has %llu bytes, needs %llu = 4096 x (8 + 6 x %llu pages of bitmap)",
	     meta->path, (unsigned long long)meta->bytes, (unsigned long long)l->meta_bytes,
	     (unsigned long long)l->map_pages);
	if (meta->bytes < l->meta_bytes)
		return say(FC_REFUSED,
			   "meta %s is too small: %llu bytes, expected %llu; take a bigger device or a bigger --block-size",
			   meta->path,
			   (unsigned long long)meta->bytes, (unsigned long long)l->meta_bytes);
	for (int i = FZC_DEV_DIFF; i < v->n; i++) {
		if (!layout_slots(l, v->blk[i].bytes))
			return say(FC_REFUSED,
				   "%s %s is too small: %llu bytes hold no block of %u bytes and its index; take a bigger device",
				   v->blk[i].label,
				   v->blk[i].path, (unsigned long long)v->blk[i].bytes, block);
		print_capacity(l, &v->blk[i], v->conf.role);
	}
	return FC_DONE;
}

/* --- work --- */

static int format(struct request *r, const struct layout *l)
{
	for (int i = 0; i < r->v.n; i++) {
		struct blk *b = &r->v.blk[i];
		int rc;

		if (i == FZC_DEV_DATA)
			continue;	/* the first copy overwrites it, or it is identical */
		rc = blk_wipe_signatures(b);
		if (!rc)
			rc = blk_zero(b, i == FZC_DEV_META ? l->meta_bytes :
				      layout_index_bytes(l, b->bytes));
		if (rc)
			return rc;
	}
	return FC_DONE;
}

static void make_identity(struct conf *c)
{
	uuid_random(c->uuid);
	if (c->role != FZC_ROLE_PRIMARY)
		return;		/* a blank secondary takes over its primary's pair */
	if (c->pair[0])
		strcpy(c->uuid, c->pair);
	else
		strcpy(c->pair, c->uuid);
}

static int start(struct request *r)
{
	struct conf *c = &r->v.conf;
	int rc = conf_write(c);

	if (rc)
		return rc;
	rc = volume_start(&r->v, r->identical ? "assume identical" : NULL);
	if (rc) {
		note("%s is not created; meta and diff are left empty", c->name);
		conf_delete(c->name);
	}
	volume_announce(c);
	return rc;
}

static int create(struct request *r)
{
	struct layout l;
	int rc = conf_lock();

	if (!rc)
		rc = check_name(r->v.conf.name);
	if (!rc)
		rc = open_devices(r);
	for (int i = 0; i < r->v.n && !rc; i++)
		rc = check_content(r, i);
	if (!rc)
		rc = check_sizes(r, &l);
	if (!rc)
		rc = format(r, &l);
	if (rc)
		return rc;
	make_identity(&r->v.conf);
	return start(r);
}

static int run(int argc, char **argv)
{
	static struct request r;
	int rc = parse(&r, argc, argv);

	if (!rc)
		rc = create(&r);
	volume_close(&r.v);
	if (rc)
		return rc;
	note("%s runs as %s, pair %s: /dev/mapper/%s", r.v.conf.name, role_name(r.v.conf.role),
	     r.v.conf.pair[0] ? r.v.conf.pair : "that of the primary that calls first",
	     r.v.conf.name);
	return FC_DONE;
}

const struct verb verb_create = {
	.name = "create",
	.args = "NAME primary|secondary --meta D --data D ... [OPTION]...",
	.summary = "format the devices of a new volume, write its conf, start it",
	.help =
	"  NAME primary   --meta D --data D --diff D --peer ADDRESS[:PORT]\n"
	"  NAME secondary --meta D --data D --diff-a D --diff-b D --listen ADDRESS[:PORT]\n"
	"\n"
	"What is on the primary's data device is named and kept. Any other device that\n"
	"holds something is refused unless --force names it.\n"
	"\n"
	"  --block-size S       4096 (default) to 1M, a power of two; the same on both sides\n"
	"  --pair UUID          the identity of the pair; drawn by the primary by default\n"
	"  --pace-ms N          (primary) how long a write may wait for the difference volume\n"
	"                       to have room; 100 by default, 0: not at all\n"
	"  --congestion NAME    (primary) TCP congestion control, as bbr or cubic; sysctl\n"
	"                       net.ipv4.tcp_available_congestion_control names some\n"
	"  --rate N[k|M|G]      (primary) send so many bytes a second at most; 0, the default: no\n"
	"                       limit. k, M, G: times 1024, 1024^2, 1024^3\n"
	"  --compress lz4|zstd  (primary) compress what is sent, unless it does not get smaller\n"
	"  --verify             (secondary) read all of an image and compare its checksums before\n"
	"                       it is committed\n"
	"  --assume-identical   (primary) both data devices hold the same already, or their\n"
	"                       content does not matter: skip the first copy\n"
	"  --force=meta,data,diff   destroy what is on these devices\n"
	"  --key NAME           what both sides prove to each other and encrypt with: see\n"
	"                       freezectl key\n"
	"  --stage-encryption on|off   keep blocks encrypted in the difference volumes of the\n"
	"                       secondary, and sign metadata with a key; the same on both sides;\n"
	"                       on by default with --key\n"
	"  --insecure           instead of --key: prove nothing, encrypt nothing\n"
	"\n"
	"Addresses are numeric, the default port is 7744.\n"
	"\n"
	"Example:\n"
	"  freezectl create db primary --meta /dev/vg/db-meta --data /dev/vg/db \\\n"
	"      --diff /dev/vg/db-diff --peer 192.0.2.2 --key db",
	.run = run,
};
