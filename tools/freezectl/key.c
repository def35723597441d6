// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "dmdev.h"
#include "keyfile.h"
#include "offline.h"
#include "say.h"
#include "verbs.h"

static bool force;
static const char *from;	/* the file of import */

static int print(const char *name)
{
	char id[2][2 * FZC_KEY_ID + 1] = { 0 };
	struct fzc_keys keys;
	int rc = key_read(name, NULL, &keys);

	for (u32 i = 0; i < keys.n && !rc; i++)
		rc = key_print_id(keys.key[i], id[i]);
	if (!rc)
		printf("%-20s %s%s%s\n", name, id[0], keys.n > 1 ? "  previous " : "", id[1]);
	explicit_bzero(&keys, sizeof(keys));
	return rc;
}

/* A running volume has written its metadata anew within seconds of a new key. */
#define FOLLOWS_MS	5000
#define LOOK_MS		200

/* Keys that are to be the only ones that are left under this name. */
struct left {
	const char *name;
	u32 n;
	char id[FZC_KEYS][2 * FZC_KEY_ID + 1];
};

static bool is_left(const struct left *left, const u8 id[FZC_KEY_ID])
{
	char text[2 * FZC_KEY_ID + 1];
	u32 i = 0;

	fzc_key_id_print(id, text);
	while (i < left->n && strcmp(left->id[i], text))
		i++;
	return i < left->n;
}

/* A superblock's key that would be lost, into @id: 1; 0: none would; -errno: nobody knows. */
static int is_needed(const struct conf *c, const struct left *left, u8 id[FZC_KEY_ID])
{
	u8 had[2][FZC_KEY_ID];
	int n = offline_wrapped(c->device[FZC_DEV_META], had);

	for (int i = 0; i < n; i++)
		if (!is_left(left, had[i])) {
			memcpy(id, had[i], FZC_KEY_ID);
			return 1;
		}
	return n < 0 ? n : 0;
}

static int check_volume(const struct conf *c, void *arg)
{
	const struct left *left = arg;
	char text[2 * FZC_KEY_ID + 1];
	struct dmdev d;
	u8 id[FZC_KEY_ID];
	int ms = 0, needed;

	if (strcmp(c->key, left->name))
		return 0;
	for (; (needed = is_needed(c, left, id)) > 0; ms += LOOK_MS) {
		if (ms < FOLLOWS_MS && !dmdev_find(c->name, &d)) {
			usleep(LOOK_MS * 1000);
			continue;
		}
		fzc_key_id_print(id, text);
		return say(FC_REFUSED,
			   "the metadata of the volume %s is still under the key %s, which would be lost; 'freezectl start %s' writes it anew, within seconds, or import with --force gives it up",
			   c->name, text, c->name);
	}
	if (needed < 0 && strcmp(c->stage_encryption, "off"))
		return say(FC_REFUSED,
			   "the metadata of the volume %s cannot be read (%s: %s), it may be under a key that would be lost; bring that device back or 'freezectl remove %s', or import with --force gives it up",
			   c->name, c->device[FZC_DEV_META], strerror(-needed), c->name);
	return 0;
}

/* What volumes have on disk has to stay readable with @keys. */
static int check_volumes(const char *name, const struct fzc_keys *keys)
{
	struct left left = { .name = name, .n = keys->n };
	int rc = 0;

	for (u32 i = 0; i < keys->n && !rc; i++)
		rc = key_print_id(keys->key[i], left.id[i]);
	return rc ? rc : conf_each(CONF_REFUSE, check_volume, &left);
}

/* Write it, and have the kernel use it if it does so already. */
static int put(const char *name, struct fzc_keys *keys)
{
	int rc = key_write(name, keys);

	explicit_bzero(keys, sizeof(*keys));
	if (!rc)
		rc = key_load(name);
	return rc ? rc : print(name);
}

static int generate(const char *name)
{
	struct fzc_keys keys = { .n = 1 };
	int rc;

	if (key_exists(name))
		return say(FC_REFUSED,
			   "key %s exists already; 'freezectl key rotate %s' replaces it while both sides run",
			   name, name);
	rc = key_draw(keys.key[0]);
	if (!rc)
		rc = put(name, &keys);
	if (!rc)
		note("Bring %s/%s.key to the peer on a safe way, then there: freezectl key import %s FILE",
		     conf_dir(), name, name);
	return rc;
}

static bool has(const struct fzc_keys *keys, const uint8_t key[FZC_KEY_BYTES])
{
	for (u32 i = 0; i < keys->n; i++)
		if (!memcmp(keys->key[i], key, FZC_KEY_BYTES))
			return true;
	return false;
}

/* Another key for a volume that has one would part it from its peer. */
static int import(const char *name)
{
	struct fzc_keys keys, old = { 0 };
	int rc = key_read(name, from ? from : "-", &keys);

	if (!rc && key_exists(name))
		rc = key_read(name, NULL, &old);
	if (!rc && old.n && !has(&keys, old.key[0]) && !has(&old, keys.key[0]) && !force)
		rc = say(FC_REFUSED,
			 "key %s exists already and the new file does not have it as its previous one: this side would not be let in any more; --force replaces it",
			 name);
	if (!rc && !force)
		rc = check_volumes(name, &keys);
	return rc ? rc : put(name, &keys);
}

static int rotate(const char *name)
{
	struct fzc_keys keys;
	int rc = key_read(name, NULL, &keys);

	if (!rc && keys.n > 1 && !force)
		rc = say(FC_REFUSED,
			 "key %s: a rotation is under way; when the peer has the new key, 'freezectl key retire %s' ends it, or --force forgets the previous key now",
			 name, name);
	if (rc)
		return rc;
	memcpy(keys.key[1], keys.key[0], FZC_KEY_BYTES);
	keys.n = 2;
	rc = key_draw(keys.key[0]);
	if (!rc)
		rc = check_volumes(name, &keys);
	if (!rc)
		rc = put(name, &keys);
	if (!rc)
		note("Bring %s/%s.key to the peer on a safe way, then there: freezectl key import %s FILE; until then the previous key is valid",
		     conf_dir(), name, name);
	return rc;
}

static int retire(const char *name)
{
	struct fzc_keys keys;
	int rc = key_read(name, NULL, &keys);

	if (!rc && keys.n < 2)
		rc = say(FC_REFUSED, "key %s has no previous one; nothing is to be retired", name);
	if (rc)
		return rc;
	keys.n = 1;
	rc = check_volumes(name, &keys);
	return rc ? rc : put(name, &keys);
}

static int uses(const struct conf *c, void *arg)
{
	if (strcmp(c->key, arg))
		return 0;
	return say(FC_REFUSED, "key %s is that of the volume %s; 'freezectl remove %s' first",
		   c->key, c->name, c->name);
}

static int delete(const char *name)
{
	int rc = key_exists(name) || force ? conf_each(CONF_REFUSE, uses, (void *)name) :
		 say(FC_REFUSED, "no key %s; 'freezectl key list' lists them", name);

	if (!rc)
		rc = key_unload(name);
	return rc ? rc : key_delete(name);
}

static const struct action {
	const char *word;
	int (*run)(const char *name);
} actions[] = {
	{ "generate", generate }, { "import", import }, { "load", key_load },
	{ "unload", key_unload }, { "rotate", rotate }, { "retire", retire },
	{ "delete", delete },
};

static int run_action(int argc, char **argv)
{
	const char *word = optind < argc ? argv[optind] : "";
	int words = argc - optind;

	if (!strcmp(word, "list") && words == 1)
		return key_each(print);
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(word, actions[i].word))
			continue;
		if (actions[i].run == import && words == 3)
			from = argv[optind + 2];
		else if (words != 2)
			return say_usage("key", "%s: expected the NAME of one key", word);
		if (!parse_name(argv[optind + 1]))
			return say_usage("key",
					 "name '%s': expected up to %d letters, digits and + _ . -, the first none of . -",
					 argv[optind + 1], FC_NAME_LEN - 1);
		return conf_lock() ?: actions[i].run(argv[optind + 1]);
	}
	return say_usage("key",
			 "'%s': expected generate, import, load, unload, rotate, retire, delete or list",
			 word);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' },
		{ 0 }
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'f')
			return say_usage("key", NULL);
		force = true;
	}
	key_protect();
	return run_action(argc, argv);
}

const struct verb verb_key = {
	.name = "key",
	.args = "generate|import|load|unload|rotate|retire|delete NAME [FILE] [--force]",
	.summary = "make, bring, replace the key that both sides share",
	.help =
	"  generate NAME        draw a new key and load it\n"
	"  import NAME [FILE]   take the peer's, from FILE or standard input, and load it\n"
	"  load NAME            put it into the kernel's keyring; start does it, too\n"
	"  unload NAME          revoke it there: volumes that use it disconnect\n"
	"  rotate NAME          draw another one; the present one stays valid until the peer\n"
	"                       has imported the new file\n"
	"  retire NAME          forget the previous key, when the peer has the new one, and\n"
	"                       the metadata of this side's volumes is under it\n"
	"  delete NAME          unload it and delete its file, if no volume uses it\n"
	"  list                 names and ids; the ids of both sides' keys have to be equal\n"
	"\n"
	"A key is a file NAME.key beside the conf files, which only root can read. It is\n"
	"256 random bits; nothing prints it.\n"
	"\n"
	"  --force              import over another key; rotate twice\n"
	"\n"
	"Example:\n"
	"  freezectl key generate db\n"
	"  ssh root@192.0.2.2 freezectl key import db < /etc/freezecopy/db.key",
	.run = run,
};
