// SPDX-License-Identifier: GPL-2.0-only
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "say.h"

/* Of a terminal. */
static bool is_command(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

/* File systems' labels, names of programs, what is on a disk: others wrote parts of it. */
static void __printf(2, 0) put_line(const char *prefix, const char *fmt, va_list ap)
{
	char *text;

	fflush(stdout);
	if (vasprintf(&text, fmt, ap) < 0)
		return;
	for (char *c = text; *c; c++)
		if (is_command(*c))
			*c = '?';
	fprintf(stderr, "%s%s\n", prefix, text);
	free(text);
}

int say(enum fc_exit code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line("freezectl: ", fmt, ap);
	va_end(ap);
	return code;
}

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line("", fmt, ap);
	va_end(ap);
}

void print_safely(FILE *out, const char *text, size_t max)
{
	for (; max && *text; max--, text++)
		fputc(is_command(*text) ? '?' : *text, out);
}

int say_usage(const char *verb, const char *fmt, ...)
{
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		put_line("freezectl: ", fmt, ap);
		va_end(ap);
	}
	fprintf(stderr, "Try 'freezectl %s --help'.\n", verb);
	return FC_USAGE;
}

void verb_help(const struct verb *v)
{
	printf("Usage: freezectl %s %s\n\n%s\n", v->name, v->args, v->help);
}
