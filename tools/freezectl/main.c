// SPDX-License-Identifier: GPL-2.0-only
/* freezectl: create, run, freeze and recover freezecopy volumes.  See freezectl(8). */
#include <stdio.h>
#include <string.h>

#include "dm-freezecopy.h"
#include "verbs.h"

static const struct verb *const verbs[] = {
	&verb_create, &verb_start, &verb_stop, &verb_freeze, &verb_status, &verb_wait,
	&verb_abort, &verb_recover, &verb_dump, &verb_check, &verb_remove, &verb_key,
	&verb_udev_probe,
};

static const struct verb *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i]->name, name))
			return verbs[i];
	return NULL;
}

static void list_verbs(FILE *out)
{
	fputs("Usage: freezectl VERB [ARGUMENT]...\n"
	      "Replicate block devices, freeze images of them, recover the last one.\n\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (verbs[i]->summary)
			fprintf(out, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
	fputs("  help      show this, or 'help VERB' what VERB does\n\n"
	      "Exit codes: 0 done, 1 failed, 2 usage, 3 timed out, 4 refused.\n", out);
}

static int help_for(const char *name)
{
	const struct verb *v = find(name);

	if (!v)
		return say(FC_USAGE, "no verb '%s'; 'freezectl help' lists them", name);
	verb_help(v);
	return FC_DONE;
}

static int asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	const struct verb *v = find(name);

	if (v && asks_for_help(argc - 1, argv + 1))
		return help_for(name);
	if (v)
		return v->run(argc - 1, argv + 1);
	if (!strcmp(name, "--version")) {
		printf("freezectl %s, control interface %d\n", FREEZECTL_VERSION, FZC_UAPI_VERSION);
		return FC_DONE;
	}
	if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
		if (argc > 2)
			return help_for(argv[2]);
		list_verbs(stdout);
		return FC_DONE;
	}
	if (!*name)
		list_verbs(stderr);
	else
		say(FC_USAGE, "no verb '%s'; 'freezectl help' lists them", name);
	return FC_USAGE;
}
