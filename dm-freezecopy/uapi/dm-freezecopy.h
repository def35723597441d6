/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * dm-freezecopy: the control interface
 *
 * The module creates one misc device, /dev/freezecopy.  Every request is an
 * ioctl() on it and needs CAP_SYS_ADMIN.  This comment is the specification.
 *
 * Common rules
 * ------------
 * - Every argument starts with struct fzc_head.  @version must be
 *   FZC_UAPI_VERSION and @size the size of the whole argument structure;
 *   anything else is refused with EINVAL and a message.
 * - @major and @minor name the device-mapper device.  ENODEV: there is no
 *   freezecopy device of that number that has been resumed.  EAGAIN: it is
 *   suspended.
 * - Unused flags, reserved and padding fields must be zero, else EINVAL.
 * - @message is written by the kernel when the call fails (and for notes when
 *   it succeeds): one line of text, NUL terminated, the same that dmesg shows.
 *   The argument is copied back to user space on failure too.
 * - All integers are in host byte order; sizes are in bytes, times in
 *   milliseconds unless the name says otherwise; wall clock times are seconds
 *   since 1970-01-01 UTC.
 * - No request pins a table: while one waits, the device can be suspended
 *   (the call goes on waiting) or removed (the call ends with ENODEV).  Waits
 *   are killable.
 *
 * Errors that every request may return
 *   EPERM (no CAP_SYS_ADMIN), EINVAL, ENODEV, EAGAIN (suspended), EFAULT,
 *   EINTR; the others are listed with the request.
 */
#ifndef _UAPI_DM_FREEZECOPY_H
#define _UAPI_DM_FREEZECOPY_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define FZC_UAPI_VERSION	1
#define FZC_DEVICE_NAME		"freezecopy"
#define FZC_MESSAGE_LEN		256
#define FZC_LABEL_LEN		64
#define FZC_PEER_LEN		64
#define FZC_DEFAULT_PORT	7744

struct fzc_head {
	__u32 version;		/* FZC_UAPI_VERSION */
	__u32 size;		/* sizeof() the whole argument */
	__u32 major;		/* of the dm device */
	__u32 minor;
	char message[FZC_MESSAGE_LEN];	/* out: what went wrong, or a note */
};

/*
 * FZC_IOC_FREEZE: make an image of the primary volume as it is now.
 *
 * Returns when the cut is made and its record is durable; delivery and commit
 * follow (FZC_IOC_WAIT).  With FZC_FREEZE_FS the file system that is mounted
 * directly on the device is synced and frozen before the cut and thawed after
 * it.  A file system that the user froze is left frozen.  The deadline counts
 * from entry; when it passes before the cut, everything is thawed, no image is
 * made, and the call ends with ETIMEDOUT.
 *
 * Errors: EBUSY (a freeze is running or its blocks are still being merged),
 * ENOTCONN (no session, and not FZC_FREEZE_FORCE), EAGAIN (also: freezes before
 * had to be given up, see backoff_ms, and not FZC_FREEZE_FORCE), ENODATA (no image yet and
 * the first copy is not done), EOPNOTSUPP (device is a secondary), EDEADLK
 * (the file system cannot be frozen afresh), ETIMEDOUT, EIO.
 */
#define FZC_FREEZE_FS		(1U << 0)
#define FZC_FREEZE_FORCE	(1U << 1)	/* cut although not connected, or backing off */

/* fs_state */
#define FZC_FS_NONE		0	/* no file system on the device itself */
#define FZC_FS_FROZEN		1	/* frozen for the cut, thawed after it */
#define FZC_FS_ALREADY_FROZEN	2	/* found frozen by the user, left so */

struct fzc_freeze {
	struct fzc_head head;
	__u32 flags;		/* FZC_FREEZE_* */
	__u32 deadline_ms;	/* 0: 30000 */
	char label[FZC_LABEL_LEN];	/* free text, NUL terminated */
	__u64 number;		/* out: image number */
	__u8 id[16];		/* out: image id */
	__u32 fs_state;		/* out: FZC_FS_* */
	__u32 stall_us;		/* out: time from gate closed to gate open */
	__u64 reserved[4];
};

/*
 * FZC_IOC_WAIT: wait for a state.
 *
 * Errors: ETIMEDOUT; ECANCELED (the image waited for was aborted); EOPNOTSUPP
 * (this role never reaches that state).
 */
enum fzc_wait_for {
	FZC_WAIT_CONNECTED = 1,	/* a session is established */
	FZC_WAIT_IN_SYNC = 2,	/* primary: connected, nothing unsent or in flight */
	FZC_WAIT_IMAGE = 3,	/* image @number, or a later one, is committed */
	FZC_WAIT_MERGED = 4,	/* nothing is left to merge, here and on the peer */
	FZC_WAIT_CHANGE = 5,	/* the event counter differs from @number */
};

struct fzc_wait {
	struct fzc_head head;
	__u32 what;		/* enum fzc_wait_for */
	__u32 timeout_ms;	/* 0: for ever */
	__u64 number;		/* in: see above; out: image committed, or event counter */
	__u64 reserved[4];
};

/* FZC_IOC_ABORT: give up the running freeze.  ENOENT: none runs.  EBUSY: too late (all sent). */
struct fzc_abort {
	struct fzc_head head;
	__u64 number;		/* out: the image number given up */
	__u64 reserved[4];
};

/*
 * FZC_IOC_RECOVER: make the secondary volume usable as its last committed
 * image.  Returns as soon as the device is readable as that image; it becomes
 * writable when the merge is done (FZC_WAIT_MERGED).  Of a volume that is recovered
 * FZC_RECOVER_GIVE_UP gives up blocks that the merge could not read for 30 seconds.
 *
 * Errors: ENODATA (no image yet), EISCONN (the primary is connected, and not
 * FZC_RECOVER_FORCE), EBUSY (the device is open, and not FZC_RECOVER_FORCE),
 * EALREADY (it is recovered, and there are no such blocks or not
 * FZC_RECOVER_GIVE_UP), EOPNOTSUPP (device is a primary), EIO.
 */
#define FZC_RECOVER_FORCE	(1U << 0)
#define FZC_RECOVER_GIVE_UP	(1U << 1)

struct fzc_recover {
	struct fzc_head head;
	__u32 flags;		/* FZC_RECOVER_* */
	__u32 pad;
	__u64 number;		/* out: the image recovered */
	__u64 reserved[4];
};

/* FZC_IOC_QUERY: everything that status knows, in one consistent snapshot.  Never waits. */
enum fzc_role {
	FZC_ROLE_PRIMARY = 1,
	FZC_ROLE_SECONDARY = 2,
};

enum fzc_mode {
	/* primary */
	FZC_MODE_NORMAL = 1,
	FZC_MODE_FREEZING = 2,
	FZC_MODE_MERGING = 3,	/* of either role */
	/* secondary */
	FZC_MODE_STAGING = 4,
	FZC_MODE_RECEIVING = 5,	/* "freezing" on the secondary */
	FZC_MODE_RECOVERED = 6,
};

enum fzc_connection {
	FZC_CONN_DOWN = 0,	/* suspended */
	FZC_CONN_CONNECTING = 1,	/* primary: trying; secondary: listening */
	FZC_CONN_HANDSHAKE = 2,
	FZC_CONN_CONNECTED = 3,
	FZC_CONN_REFUSED = 4,	/* refused, see error; the primary keeps trying */
};

enum fzc_freeze_phase {
	FZC_PHASE_NONE = 0,
	FZC_PHASE_CLOSING = 1,	/* gate closed, I/O in flight drains */
	FZC_PHASE_DELIVERING = 2,
	FZC_PHASE_ALL_SENT = 3,
	FZC_PHASE_IN_DOUBT = 4,	/* after an unclean stop, until the secondary is heard */
};

enum fzc_session_cipher {
	FZC_SESSION_CLEAR = 0,
	FZC_SESSION_AES_GCM = 1,	/* AES-256-GCM */
	FZC_SESSION_CHACHA = 2,		/* ChaCha20-Poly1305 */
};

enum fzc_event {
	FZC_EV_CONNECT, FZC_EV_DISCONNECT, FZC_EV_CUT, FZC_EV_COMMIT, FZC_EV_MERGED,
	FZC_EV_ABORT, FZC_EV_COPY_DONE, FZC_EV_ERROR, FZC_EV_NR,
};

struct fzc_image {
	__u64 number;		/* 0: no image yet */
	__u8 id[16];
	__u64 time;		/* of the cut, by the primary's clock */
	char label[FZC_LABEL_LEN];
};

enum fzc_device_role {
	FZC_DEV_META, FZC_DEV_DATA, FZC_DEV_DIFF, FZC_DEV_DIFF_B, FZC_DEV_NR,
};

struct fzc_query {
	struct fzc_head head;
	__u32 role;		/* enum fzc_role */
	__u32 mode;		/* enum fzc_mode */
	__u32 connection;	/* enum fzc_connection */
	__u32 phase;		/* enum fzc_freeze_phase */
	__u8 pair_uuid[16];
	char peer[FZC_PEER_LEN];	/* "192.0.2.1:7744": peer, or listening address */
	__u64 last_contact;	/* wall clock of the last frame from the peer, 0: never */
	struct fzc_image image;	/* committed */
	struct fzc_image freezing;	/* running freeze; number 0: none */
	__u64 freeze_total;	/* blocks */
	__u64 freeze_left;
	__u64 freeze_ms;	/* since the cut */
	__u64 copy_total;	/* first copy, blocks; 0: none is running */
	__u64 copy_left;
	__u64 merge_total;	/* blocks; 0: none is running */
	__u64 merge_left;
	__u64 size;		/* device size in bytes */
	__u32 block_size;	/* bytes */
	__u32 pad;
	__u64 blocks;		/* number of blocks on the device */
	__u64 changed;		/* the rest are numbers of blocks */
	__u64 unsent;
	__u64 inflight;
	__u64 frozen;
	__u64 diverted;
	__u64 staged;		/* both stages */
	__u64 damaged;		/* blocks that read as EIO until the next image heals them */
	__u64 diff_slots;	/* of diff, or of A and B together */
	__u64 diff_used;
	__u64 tx_bytes;		/* on the wire, headers included, since load */
	__u64 rx_bytes;
	__u64 tx_blocks;	/* blocks sent, a run of zeroes included */
	__u64 event_nr;
	__u64 events[8];	/* by enum fzc_event */
	__u32 devices[FZC_DEV_NR][2];	/* major, minor; 0:0 none */
	__u8 meta_error;	/* non-zero: that device failed */
	__u8 data_error;
	__u8 diff_error;
	__u8 in_sync;
	__u8 stage_encryption;	/* 1: blocks in the stages are encrypted, metadata is signed */
	__u8 pad2[3];
	char error[FZC_MESSAGE_LEN];	/* last trouble that still holds, empty: none */
	__u64 diff_short;	/* blocks of the running freeze that had no slot at the cut */
	__u64 pacing;		/* host writes that wait for a slot now */
	__u64 paced;		/* that had to, since load */
	__u64 ev_short;		/* events: a cut with too few slots; a stage without room */
	__u64 ev_paced;		/* freezes in which writes had to wait for slots */
	__u64 backoff_ms;	/* until a freeze is taken again without FZC_FREEZE_FORCE */
	__u64 mem_maps;		/* bytes of memory: block sets and what else has a fixed size */
	__u64 mem_slots;	/* tables of slots: 15.25 a slot, in chunks, as slots are used */
	__u64 mem_io;		/* buffers of I/O, when all are in use */
	__u64 tx_saved;		/* bytes that compression kept from the wire, since load */
	__u32 cipher;		/* enum fzc_session_cipher, of the session or the last one */
	__u32 auth;		/* 1: a key is proven, 0: auth none */
	__u8 key_id[8];		/* identifies the key that was proven; 0: none was */
	__u64 reserved[4];
};

/*
 * FZC_IOC_LAST_ERROR: why the last table load or resume of the calling process
 * failed; @head.message holds the text, empty if there is none.  @major and
 * @minor must be zero.
 */
struct fzc_last_error {
	struct fzc_head head;
	__u64 reserved[4];
};

#define FZC_IOC_MAGIC		0xFC
#define FZC_IOC_FREEZE		_IOWR(FZC_IOC_MAGIC, 1, struct fzc_freeze)
#define FZC_IOC_WAIT		_IOWR(FZC_IOC_MAGIC, 2, struct fzc_wait)
#define FZC_IOC_ABORT		_IOWR(FZC_IOC_MAGIC, 3, struct fzc_abort)
#define FZC_IOC_RECOVER		_IOWR(FZC_IOC_MAGIC, 4, struct fzc_recover)
#define FZC_IOC_QUERY		_IOWR(FZC_IOC_MAGIC, 5, struct fzc_query)
#define FZC_IOC_LAST_ERROR	_IOWR(FZC_IOC_MAGIC, 6, struct fzc_last_error)

#endif /* _UAPI_DM_FREEZECOPY_H */
