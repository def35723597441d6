// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "dmdev.h"
#include "say.h"
#include "verbs.h"
#include "view.h"

#define WATCH_USEC	700000

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "watch", no_argument, NULL, 'w' },
	{ 0 }
};

struct list {
	struct view *v;
	size_t n;
};

static struct view *add(struct list *l, const char *name)
{
	struct view *v = reallocarray(l->v, l->n + 1, sizeof(*v));

	if (!v)
		return NULL;
	l->v = v;
	v += l->n++;
	memset(v, 0, sizeof(*v));
	snprintf(v->name, sizeof(v->name), "%s", name);
	return v;
}

/* What is known of a volume that the kernel does not tell of. */
static void fill_from_conf(struct view *v, const char *state)
{
	v->state = state;
	memset(&v->q, 0, sizeof(v->q));
	v->q.role = v->conf.role;
	v->q.block_size = v->conf.block_size;
	memcpy(v->q.peer, v->conf.link, sizeof(v->q.peer));
}

static int add_conf(const struct conf *c, void *arg)
{
	struct view *v = add(arg, c->name);

	if (!v)
		return -ENOMEM;
	v->conf = *c;
	fill_from_conf(v, "stopped");
	return 0;
}

static int add_running(const struct dmdev *d, void *arg)
{
	struct list *l = arg;
	struct view *v = NULL;
	int rc;

	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].name, d->name))
			v = &l->v[i];
	if (!v)
		v = add(l, d->name);
	if (!v)
		return -ENOMEM;
	rc = ctl_query(d->dev, &v->q);
	v->state = NULL;
	if (rc) {
		fill_from_conf(v, d->suspended || rc == -EAGAIN ? "suspended" : "unknown");
		snprintf(v->q.error, sizeof(v->q.error), "%s",
			 v->q.head.message[0] ? v->q.head.message : strerror(-rc));
	}
	return 0;
}

static int collect(const char *name, struct list *l)
{
	struct dmdev d;
	struct conf c;
	int rc = 0;

	if (!name) {
		rc = conf_each(CONF_NOTE, add_conf, l);
		return rc ? rc : dmdev_each(add_running, l);
	}
	if (parse_name(name) && conf_exists(name) && !conf_read(name, &c))
		rc = add_conf(&c, l);
	if (rc || !parse_name(name))
		return rc;
	rc = dmdev_find(name, &d);
	if (!rc && d.ours)
		rc = add_running(&d, l);
	return rc == -ENODEV ? 0 : rc;
}

static void print_json(const struct list *l, bool one, bool watch)
{
	struct json_object *o = one ? view_json(l->v) : json_object_new_array();

	for (size_t i = 0; i < l->n && !one; i++)
		json_object_array_add(o, view_json(&l->v[i]));
	/* watching: one line each time, which programs read with ease */
	puts(json_object_to_json_string_ext(o, watch ? JSON_C_TO_STRING_PLAIN :
					    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static void print_text(const struct list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			putchar('\n');
		view_text(stdout, &l->v[i]);
	}
	if (!l->n)
		puts("No freezecopy volumes; 'freezectl create --help' tells how to make one.");
}

static int show(const char *name, bool json, bool watch)
{
	struct list l = { 0 };
	int rc = collect(name, &l);

	if (rc)
		say(FC_FAILED, "%s", dmdev_error()[0] ? dmdev_error() : strerror(-rc));
	else if (name && !l.n)
		rc = say(FC_REFUSED, "%s: no such volume; 'freezectl status' lists what there is",
			 name);
	else if (json)
		print_json(&l, name, watch);
	else
		print_text(&l);
	free(l.v);
	return rc < 0 ? FC_FAILED : rc;
}

/* Until interrupted, or the one volume asked for has gone. */
static int watch(const char *name, bool json)
{
	int rc;

	do {
		if (!json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout);
		rc = show(name, json, true);
		if (fflush(stdout))
			return FC_DONE;		/* the reader has gone */
		usleep(WATCH_USEC);
	} while (!rc);
	return rc;
}

static int run(int argc, char **argv)
{
	bool json = false, again = false;
	const char *name = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j')
			json = true;
		else if (opt == 'w')
			again = true;
		else
			return say_usage("status", NULL);
	}
	if (argc - optind > 1)
		return say_usage("status", "expected at most one NAME");
	name = argv[optind];
	return again ? watch(name, json) : show(name, json, false);
}

const struct verb verb_status = {
	.name = "status",
	.args = "[NAME] [--json] [--watch]",
	.summary = "show one volume, or all that run or have a conf",
	.help =
	"  --json    for programs: one object for NAME, else an array\n"
	"  --watch   go on showing it, until interrupted; with --json a line each time\n"
	"\n"
	"Example:\n"
	"  freezectl status db --watch",
	.run = run,
};
