// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"
#include "request.h"

static union {
	struct fzc_head head;
	struct fzc_freeze freeze;
	struct fzc_wait wait;
	struct fzc_abort abort;
	struct fzc_recover recover;
	struct fzc_query query;
	struct fzc_last_error last_error;
	u8 byte[sizeof(struct fzc_query)];
} R;

static const unsigned int requests[] = {
	FZC_IOC_FREEZE, FZC_IOC_WAIT, FZC_IOC_ABORT, FZC_IOC_RECOVER, FZC_IOC_QUERY,
	FZC_IOC_LAST_ERROR,
};

/* A request that is taken, with all fields set that may be, and what is left in a message. */
static void good(unsigned int cmd)
{
	memset(&R, 0, sizeof(R));
	R.head.version = 1;
	R.head.size = _IOC_SIZE(cmd);
	memset(R.head.message, 'x', sizeof(R.head.message));
	if (cmd == FZC_IOC_LAST_ERROR)
		return;
	R.head.major = 253;
	R.head.minor = 7;
	if (cmd == FZC_IOC_FREEZE) {
		R.freeze.flags = FZC_FREEZE_FS | FZC_FREEZE_FORCE;
		R.freeze.deadline_ms = U32_MAX;
		memset(R.freeze.label, 'l', sizeof(R.freeze.label) - 1);
	} else if (cmd == FZC_IOC_WAIT) {
		R.wait.what = FZC_WAIT_IMAGE;
		R.wait.number = U64_MAX;
	} else if (cmd == FZC_IOC_RECOVER) {
		R.recover.flags = FZC_RECOVER_FORCE | FZC_RECOVER_GIVE_UP;
	}
}

static bool is_text(const char *message)
{
	u32 len = strnlen(message, FZC_MESSAGE_LEN), i;

	for (i = len; i < FZC_MESSAGE_LEN; i++)
		if (message[i])
			return false;
	return len < FZC_MESSAGE_LEN;
}

static bool taken(unsigned int cmd)
{
	if (!fzc_request_check(cmd, &R.head) && !*R.head.message && is_text(R.head.message))
		return true;
	printf("%s\n", R.head.message);
	return false;
}

static bool refused(unsigned int cmd, const char *why)
{
	if (fzc_request_check(cmd, &R.head) == -EINVAL && !strcmp(R.head.message, why) &&
	    is_text(R.head.message))
		return true;
	printf("%s, expected %s\n", R.head.message, why);
	return false;
}

TEST(request_taken)
{
	for (u32 i = 0; i < ARRAY_SIZE(requests); i++) {
		good(requests[i]);
		CHECK(taken(requests[i]));
	}
	for (u32 what = 1; what <= 5; what++) {
		good(FZC_IOC_WAIT);
		R.wait.what = what;
		CHECK(taken(FZC_IOC_WAIT));
	}
	good(FZC_IOC_FREEZE);
	memset(R.freeze.label, 0, sizeof(R.freeze.label));
	R.freeze.flags = 0;
	CHECK(taken(FZC_IOC_FREEZE));
}

/* The structure of a later header, of an earlier one, of another request. */
TEST(request_head)
{
	for (u32 i = 0; i < ARRAY_SIZE(requests); i++) {
		u32 size = _IOC_SIZE(requests[i]);
		char why[FZC_MESSAGE_LEN];

		good(requests[i]);
		R.head.version = 2;
		snprintf(why, sizeof(why), "version 2, size %u: expected version 1, size %u", size, size);
		CHECK(refused(requests[i], why));
		good(requests[i]);
		R.head.size = size + 8;
		snprintf(why, sizeof(why), "version 1, size %u: expected version 1, size %u", size + 8,
			 size);
		CHECK(refused(requests[i], why));
		good(requests[i]);
		R.head.size = 0;
		snprintf(why, sizeof(why), "version 1, size 0: expected version 1, size %u", size);
		CHECK(refused(requests[i], why));
	}
}

/* Each byte of what has to be zero. */
static void must_be_zero(unsigned int cmd, size_t at, size_t bytes, const char *why)
{
	for (size_t i = at; i < at + bytes; i++) {
		good(cmd);
		R.byte[i] = 0x80;
		CHECK(refused(cmd, why));
	}
}

#define ZERO(cmd, type, field, why)					\
	must_be_zero(cmd, offsetof(struct type, field), sizeof(((struct type *)0)->field), why)

TEST(request_reserved)
{
	static const char reserved[] = "reserved: expected zero";
	static const char both[] = "pad and reserved: expected zero";
	static const char device[] = "major and minor: expected zero";

	ZERO(FZC_IOC_FREEZE, fzc_freeze, reserved, reserved);
	ZERO(FZC_IOC_WAIT, fzc_wait, reserved, reserved);
	ZERO(FZC_IOC_ABORT, fzc_abort, reserved, reserved);
	ZERO(FZC_IOC_RECOVER, fzc_recover, reserved, both);
	ZERO(FZC_IOC_RECOVER, fzc_recover, pad, both);
	ZERO(FZC_IOC_QUERY, fzc_query, reserved, both);
	ZERO(FZC_IOC_QUERY, fzc_query, pad, both);
	ZERO(FZC_IOC_QUERY, fzc_query, pad2, both);
	ZERO(FZC_IOC_LAST_ERROR, fzc_last_error, reserved, reserved);
	ZERO(FZC_IOC_LAST_ERROR, fzc_last_error, head.major, device);
	ZERO(FZC_IOC_LAST_ERROR, fzc_last_error, head.minor, device);
}

TEST(request_fields)
{
	static const char flags[] = "flags that are not known: expected zero";

	for (u32 bit = 0; bit < 32; bit++) {
		good(FZC_IOC_FREEZE);
		R.freeze.flags = 1U << bit;
		CHECK(bit < 2 ? taken(FZC_IOC_FREEZE) : refused(FZC_IOC_FREEZE, flags));
		good(FZC_IOC_RECOVER);
		R.recover.flags = 1U << bit;
		CHECK(bit < 2 ? taken(FZC_IOC_RECOVER) : refused(FZC_IOC_RECOVER, flags));
	}
	good(FZC_IOC_FREEZE);
	R.freeze.label[FZC_LABEL_LEN - 1] = 'l';
	CHECK(refused(FZC_IOC_FREEZE, "label: expected a NUL within 64 bytes"));
	good(FZC_IOC_WAIT);
	R.wait.what = 0;
	CHECK(refused(FZC_IOC_WAIT, "what 0: expected 1 to 5"));
	good(FZC_IOC_WAIT);
	R.wait.what = 6;
	CHECK(refused(FZC_IOC_WAIT, "what 6: expected 1 to 5"));
	good(FZC_IOC_WAIT);
	R.wait.what = U32_MAX;
	CHECK(refused(FZC_IOC_WAIT, "what 4294967295: expected 1 to 5"));
}

/* Numbers, sizes and directions that are not ours: nothing of the argument is looked at. */
TEST(request_unknown)
{
	CHECK(fzc_request_check(0, NULL) == -ENOTTY);
	CHECK(fzc_request_check(_IOWR(FZC_IOC_MAGIC, 0, struct fzc_abort), NULL) == -ENOTTY);
	CHECK(fzc_request_check(_IOWR(FZC_IOC_MAGIC, 7, struct fzc_abort), NULL) == -ENOTTY);
	for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
		for (u32 bit = 0; bit < 32; bit++)
			CHECK(fzc_request_check(requests[i] ^ 1U << bit, NULL) == -ENOTTY);
}
