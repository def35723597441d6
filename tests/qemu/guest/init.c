// SPDX-License-Identifier: GPL-2.0-only
/*
 * First stage of a test guest, a C program because a fork costs tens of
 * milliseconds on an emulated CPU: load the modules of the initramfs, lay a
 * writable layer over the read-only root image and hand over to $fz_init.
 *
 * The kernel passes these words of its command line in the environment:
 *   fz_init   program to run as process 1 of the real root
 *   fz_state  serial of the disk that holds the writable layer (ext4); without
 *             it the layer is a tmpfs and forgotten at the next boot
 *   fz_try    only say that the kernel boots here
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "fz-init: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(1);	/* the kernel panics, which ends the machine */
}

static void must_mount(const char *what, const char *where, const char *type, unsigned long flags,
		       const char *data)
{
	mkdir(where, 0755);
	if (mount(what, where, type, flags, data))
		die("mount %s on %s", what, where);
}

static void load_modules(void)
{
	char name[128], path[160];
	FILE *list = fopen("/modules/list", "r");

	if (!list)
		die("/modules/list");
	while (fgets(name, sizeof(name), list)) {
		int fd;

		name[strcspn(name, "\n")] = 0;
		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			die("module %s", name);
		close(fd);
	}
	fclose(list);
}

/* The virtio disk of that serial number. */
static void find_disk(const char *serial, char *dev, size_t len)
{
	char path[64], found[32];
	int wait, fd, n;

	for (wait = 0; wait < 100; wait++, usleep(50000)) {
		for (char c = 'a'; c <= 'z'; c++) {
			snprintf(path, sizeof(path), "/sys/block/vd%c/serial", c);
			fd = open(path, O_RDONLY);
			if (fd < 0)
				continue;
			n = read(fd, found, sizeof(found) - 1);
			close(fd);
			found[n < 0 ? 0 : n] = 0;
			found[strcspn(found, "\n")] = 0;
			if (!strcmp(found, serial)) {
				snprintf(dev, len, "/dev/vd%c", c);
				return;
			}
		}
	}
	errno = ENODEV;
	die("disk %s", serial);
}

static void mount_root(void)
{
	const char *state = getenv("fz_state");
	char dev[32];

	find_disk("root", dev, sizeof(dev));
	must_mount(dev, "/ro", "ext4", MS_RDONLY, NULL);
	if (state) {
		find_disk(state, dev, sizeof(dev));
		must_mount(dev, "/rw", "ext4", 0, NULL);
	} else {
		must_mount("tmpfs", "/rw", "tmpfs", 0, NULL);
	}
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	must_mount("overlay", "/new", "overlay", 0,
		   "lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work");
}

int main(void)
{
	static const char * const moved[] = { "/dev", "/proc", "/sys" };
	const char *next = getenv("fz_init");
	char to[32];

	if (getenv("fz_try"))
		die("the kernel boots");
	must_mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	must_mount("proc", "/proc", "proc", 0, NULL);
	must_mount("sysfs", "/sys", "sysfs", 0, NULL);
	load_modules();
	mount_root();
	for (size_t i = 0; i < sizeof(moved) / sizeof(*moved); i++) {
		snprintf(to, sizeof(to), "/new%s", moved[i]);
		if (mount(moved[i], to, NULL, MS_MOVE, NULL))
			die("move %s", moved[i]);
	}
	must_mount("tmpfs", "/new/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	must_mount("devpts", "/new/dev/pts", "devpts", 0, "gid=5,mode=620,ptmxmode=666");
	must_mount("tmpfs", "/new/dev/shm", "tmpfs", 0, NULL);
	if (chdir("/new") || mount("/new", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("switch root");
	if (!next)
		next = "/usr/sbin/fz-boot";
	execl(next, next, NULL);
	die("exec %s", next);
}
