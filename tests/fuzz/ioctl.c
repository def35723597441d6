// SPDX-License-Identifier: GPL-2.0-only
/*
 * A request on the control device: one of ours, or any number, with some fields of its
 * structure changed.  What is taken is just what may be, told here a second time.
 */
#include "fuzz.h"
#include "../../dm-freezecopy/core/request.h"

static const u32 requests[] = {
	FZC_IOC_FREEZE, FZC_IOC_WAIT, FZC_IOC_ABORT, FZC_IOC_RECOVER, FZC_IOC_QUERY,
	FZC_IOC_LAST_ERROR,
};

static bool is_ours(u32 cmd)
{
	for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
		if (requests[i] == cmd)
			return true;
	return false;
}

static bool zero(const void *mem, size_t len)
{
	const u8 *p = mem;

	while (len && !*p)
		p++, len--;
	return !len;
}

#define ZERO(field)	zero(&(field), sizeof(field))

static bool fields_are_good(u32 cmd, const void *arg)
{
	const struct fzc_last_error *e = arg;
	const struct fzc_recover *r = arg;
	const struct fzc_freeze *f = arg;
	const struct fzc_query *q = arg;
	const struct fzc_abort *a = arg;
	const struct fzc_wait *w = arg;

	switch (cmd) {
	case FZC_IOC_FREEZE:
		return f->flags <= 3 && memchr(f->label, 0, FZC_LABEL_LEN) && ZERO(f->reserved);
	case FZC_IOC_WAIT:
		return w->what - 1 < 5 && ZERO(w->reserved);
	case FZC_IOC_ABORT:
		return ZERO(a->reserved);
	case FZC_IOC_RECOVER:
		return r->flags <= 3 && !r->pad && ZERO(r->reserved);
	case FZC_IOC_QUERY:
		return !q->pad && ZERO(q->pad2) && ZERO(q->reserved);
	default:
		return !e->head.major && !e->head.minor && ZERO(e->reserved);
	}
}

static bool is_good(u32 cmd, const struct fzc_head *head)
{
	return head->version == 1 && head->size == _IOC_SIZE(cmd) && fields_are_good(cmd, head);
}

/* One line of text, and zeroes behind it; empty if all is well. */
static void check_message(const char *message, bool good)
{
	size_t len = strnlen(message, FZC_MESSAGE_LEN), i;

	MUST(len < FZC_MESSAGE_LEN && !len == good);
	for (i = 0; i < len; i++)
		MUST(message[i] >= ' ' && message[i] <= '~');
	MUST(zero(message + len, FZC_MESSAGE_LEN - len));
}

/* In memory of just its size. */
static void ask(u32 cmd, const void *given, u32 size)
{
	struct fzc_head *head = malloc(size), *copy = malloc(size);
	bool good = is_good(cmd, given);
	int err;

	memcpy(head, given, size);
	memcpy(copy, given, size);
	err = fzc_request_check(cmd, head);
	SAY("request %08x: %d %.*s", cmd, err, FZC_MESSAGE_LEN, head->message);
	MUST(err == (good ? 0 : -EINVAL));
	check_message(head->message, good);
	memcpy(copy->message, head->message, FZC_MESSAGE_LEN);
	MUST(!memcmp(head, copy, size));
	free(head);
	free(copy);
}

static void make_good(u32 cmd, struct fzc_head *head)
{
	head->version = 1;
	head->size = _IOC_SIZE(cmd);
	if (cmd == FZC_IOC_WAIT)
		((struct fzc_wait *)head)->what = FZC_WAIT_IN_SYNC;
}

/* A field counted from the beginning, from behind the head, or from the end. */
static void change(struct in *in, u8 *arg, u32 size)
{
	u8 how = take(in);
	u32 at = take(in) % (size / 2);

	switch (how >> 4 & 3) {
	case 0:
		at = take_n(in, 2) % (size - 8);
		break;
	case 1:
		at %= sizeof(struct fzc_head);
		break;
	case 2:
		at = sizeof(struct fzc_head) + at % (size - sizeof(struct fzc_head));
		break;
	case 3:
		at = size - 8 - at;
		break;
	}
	change_field(in, arg + (at < size - 8 ? at : size - 8), how);
}

/* A label that ends nowhere takes more than a few fields. */
static void fill_label(struct fzc_freeze *f, u8 len)
{
	memset(f->label, 'l', len <= FZC_LABEL_LEN ? len : FZC_LABEL_LEN);
}

static void run(const u8 *data, size_t len)
{
	static u64 arg[sizeof(struct fzc_query) / 8];
	struct in in = { data, data + len };
	u8 first = take(&in);
	u32 cmd = first < 0xf0 ? requests[first % ARRAY_SIZE(requests)] : (u32)take_n(&in, 4);

	if (!is_ours(cmd)) {
		MUST(fzc_request_check(cmd, NULL) == -ENOTTY);
		return;
	}
	memset(arg, 0, sizeof(arg));
	make_good(cmd, (struct fzc_head *)arg);
	if (cmd == FZC_IOC_FREEZE)
		fill_label((struct fzc_freeze *)arg, take(&in));
	while (in.p < in.end)
		change(&in, (u8 *)arg, _IOC_SIZE(cmd));
	ask(cmd, arg, _IOC_SIZE(cmd));
}

static void seeds(void (*emit)(const void *data, size_t len))
{
	for (u8 i = 0; i < ARRAY_SIZE(requests); i++) {
		u32 cmd = requests[i];
		u8 number[5] = { 0xff, cmd >> 24, cmd >> 16, cmd >> 8, cmd };

		emit(&i, 1);
		emit(number, sizeof(number));
	}
}

const struct target target_ioctl = { "ioctl", run, seeds };
