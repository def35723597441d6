/* SPDX-License-Identifier: GPL-2.0-only */
/* What every verb tells its user: exit codes, messages, help. */
#ifndef FREEZECTL_SAY_H
#define FREEZECTL_SAY_H

#include <stddef.h>
#include <stdio.h>

/* As in the core's port.h, for files that do without it. */
#define __printf(a, b)		__attribute__((format(printf, a, b)))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))

enum fc_exit {
	FC_DONE = 0,
	FC_FAILED = 1,
	FC_USAGE = 2,
	FC_TIMEOUT = 3,
	FC_REFUSED = 4,
};

/* A verb of the command line; @args and @help are what its --help prints. */
struct verb {
	const char *name;
	const char *args;
	const char *summary;
	const char *help;
	int (*run)(int argc, char **argv);
};

/* Print "freezectl: ..." to stderr and return @code, so that callers can `return say(...)`. */
int __printf(2, 3) say(enum fc_exit code, const char *fmt, ...);

/* Print a line to stderr: something to know that is no error. */
void __printf(1, 2) note(const char *fmt, ...);

/* What somebody else wrote, @max bytes at most: nothing of it commands a terminal. */
void print_safely(FILE *out, const char *text, size_t max);

/* Wrong arguments of a verb: getopt has printed the reason, or @fmt is it. */
int __printf(2, 3) say_usage(const char *verb, const char *fmt, ...);

void verb_help(const struct verb *v);

#endif
