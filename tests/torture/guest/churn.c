// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file system in use, frozen again and again, and what is in it.
 *
 *   churn run DIR SEED COMMAND...   change files below DIR for ever; now and then hold still,
 *                                   print a manifest, run COMMAND (a freeze), go on
 *   churn manifest DIR              print the manifest
 *
 * Workers change files of their own directory, w0 to w2, and hold still while a manifest is
 * taken and the freeze is called.  Nobody syncs for that: what they wrote is in the page cache.
 * One more, in "free", never stops and is in no manifest: a freeze always has something to stop.
 *
 * On standard output, a line at a time:
 *   manifest           lines of the manifest follow
 *   call               COMMAND is about to be run
 *   return N           it has ended well and printed the number N; the workers go on
 *
 * A line of the manifest: path, mode with type, links, size, time of the last change of content,
 * attribute user.n, and the checksum of the content or the target of a link.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define WORKERS		3	/* that hold still; one more does not */
#define FILES		24	/* names in each directory of a worker */
#define DIRS		4
#define MAX_FILE	(96 << 10)
#define MAX_LINES	2048

static struct shared {
	atomic_bool hold;
	atomic_int held;
} *shared;

static uint64_t seed;
static char buffer[MAX_FILE];

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "churn: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(1);
}

static uint32_t draw(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

/* Names are drawn blindly: that one does not fit is no error. */
static bool ok(int result, const char *what)
{
	if (result >= 0)
		return true;
	if (errno != ENOENT && errno != EEXIST && errno != ENOTEMPTY && errno != ELOOP)
		die("%s", what);
	return false;
}

/* ---- changes ---- */

static void name(char *path)
{
	sprintf(path, "d%u/f%u", draw(DIRS), draw(FILES));
}

static void fill(size_t len)
{
	uint64_t *word = (uint64_t *)buffer;

	for (size_t i = 0; i < len / 8 + 1 && i < sizeof(buffer) / 8; i++) {
		draw(1);
		word[i] = seed;
	}
}

static void write_some(int fd, off_t at)
{
	size_t len = draw(draw(4) ? 6000 : MAX_FILE / 2);

	fill(len);
	if (pwrite(fd, buffer, len, at) != (ssize_t)len)
		die("write of %zu bytes", len);
}

static void write_by_mmap(int fd)
{
	char *p;

	if (!ok(ftruncate(fd, 20000), "ftruncate"))
		return;
	p = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	fill(9000);
	memcpy(p + draw(11000), buffer, 9000);
	munmap(p, 20000);
}

static void change_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0644), n;

	if (!ok(fd, "open"))
		return;
	switch (draw(9)) {
	case 0:
		ok(ftruncate(fd, draw(MAX_FILE)), "ftruncate");
		break;
	case 1:
		write_by_mmap(fd);
		break;
	case 2:
		ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, draw(40000), 9000),
		   "punch");
		break;
	case 3:
		ok(fallocate(fd, 0, draw(40000), 20000), "fallocate");
		break;
	case 4:
		n = draw(1 << 20);
		ok(fsetxattr(fd, "user.n", &n, sizeof(n), 0), "setxattr");
		break;
	case 5:
		ok(fchmod(fd, 0600 | draw(0100)), "chmod");
		break;
	default:
		write_some(fd, draw(MAX_FILE / 2));
	}
	if (!draw(8))
		ok(draw(2) ? fsync(fd) : fdatasync(fd), "fsync");
	close(fd);
}

/* A file that has no name any more is kept open for a while. */
static void orphan(const char *path)
{
	static int kept = -1;

	if (kept >= 0)
		close(kept);
	kept = open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (!ok(kept, "open"))
		return;
	write_some(kept, 0);
	ok(unlink(path), "unlink");
}

static void change(void)
{
	char path[64], other[64];

	name(path);
	name(other);
	switch (draw(16)) {
	case 0:
		ok(rename(path, other), "rename");
		break;
	case 1:
		ok(link(path, other), "link");
		break;
	case 2:
		ok(symlink(other, path), "symlink");
		break;
	case 3:
	case 4:
		ok(unlink(path), "unlink");
		break;
	case 5:
		sprintf(path, "s%u", draw(8));
		ok(draw(2) ? mkdir(path, 0755) : rmdir(path), "mkdir");
		break;
	case 6:
		orphan(path);
		break;
	default:
		change_file(path);
	}
}

static void __attribute__((noreturn)) work(const char *dir, uint64_t own_seed, bool stops)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	seed = own_seed | 1;
	if ((mkdir(dir, 0755) && errno != EEXIST) || chdir(dir))
		die("%s", dir);
	for (int i = 0; i < DIRS; i++) {
		char path[16];

		sprintf(path, "d%d", i);
		if (mkdir(path, 0755) && errno != EEXIST)
			die("%s", path);
	}
	for (;;) {
		change();
		usleep(draw(16000));
		if (!stops || !shared->hold)
			continue;
		shared->held++;
		while (shared->hold)
			usleep(2000);
		shared->held--;
	}
}

/* ---- the manifest ---- */

static char *lines[MAX_LINES];
static int nr_lines;

static uint64_t checksum(const char *path)
{
	uint64_t sum = 0xcbf29ce484222325ULL;
	int fd = open(path, O_RDONLY | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		die("%s", path);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		for (ssize_t i = 0; i < n; i++)
			sum = (sum ^ (unsigned char)buffer[i]) * 0x100000001b3ULL;
	if (n < 0)
		die("read of %s", path);
	close(fd);
	return sum;
}

static int entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char content[PATH_MAX] = "-";
	int n = -1;
	ssize_t len;

	(void)ftw;
	if (!strncmp(path, "./free", 6) || !strcmp(path, "./lost+found") || !strcmp(path, "."))
		return 0;
	if (nr_lines == MAX_LINES)
		die("more than %d entries", MAX_LINES);
	if (type == FTW_F && S_ISREG(st->st_mode))
		sprintf(content, "%016llx", (unsigned long long)checksum(path));
	if (type == FTW_SL || type == FTW_SLN) {
		len = readlink(path, content, sizeof(content) - 1);
		content[len < 0 ? 0 : len] = 0;
	} else if (getxattr(path, "user.n", &n, sizeof(n)) < 0 && errno != ENODATA) {
		die("getxattr of %s", path);
	}
	if (asprintf(&lines[nr_lines++], "%s %o %lu %lld %lld.%09ld %d %s", path, st->st_mode,
		     (unsigned long)st->st_nlink,
		     S_ISDIR(st->st_mode) ? 0LL : (long long)st->st_size,
		     (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, n, content) < 0)
		die("memory");
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char * const *)a, *(char * const *)b);
}

static void print_manifest(const char *dir)
{
	int home = open(".", O_RDONLY | O_DIRECTORY);

	if (chdir(dir) || nftw(".", entry, 16, FTW_PHYS) || fchdir(home))
		die("%s", dir);
	close(home);
	qsort(lines, nr_lines, sizeof(*lines), compare);
	printf("manifest\n");
	for (int i = 0; i < nr_lines; i++) {
		puts(lines[i]);
		free(lines[i]);
	}
	nr_lines = 0;
	fflush(stdout);
}

/* ---- freezes ---- */

/* Run a command; returns the number that it printed. */
static long freeze(char **argv)
{
	char text[64] = "";
	int out[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe(out))
		die("pipe");
	pid = fork();
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		execvp(argv[0], argv);
		die("%s", argv[0]);
	}
	close(out[1]);
	n = read(out[0], text, sizeof(text) - 1);
	close(out[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status || n <= 0)
		die("%s: status %x", argv[0], status);
	return atol(text);
}

static void __attribute__((noreturn)) run(const char *dir, char **command)
{
	char path[64];

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	for (int i = 0; i <= WORKERS; i++) {
		if (i < WORKERS)
			snprintf(path, sizeof(path), "%s/w%d", dir, i);
		else
			snprintf(path, sizeof(path), "%s/free", dir);
		if (!fork())
			work(path, seed * 31 + i * 0x9e3779b97f4a7c15ULL, i < WORKERS);
	}
	for (;;) {
		usleep(100000 + draw(900000));
		if (waitpid(-1, NULL, WNOHANG))
			die("a worker has ended");
		shared->hold = true;
		while (shared->held < WORKERS)
			usleep(2000);
		print_manifest(dir);
		printf("call\n");
		fflush(stdout);
		printf("return %ld\n", freeze(command));
		fflush(stdout);
		shared->hold = false;
		while (shared->held)
			usleep(2000);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "manifest")) {
		print_manifest(argv[2]);
		return 0;
	}
	if (argc > 4 && !strcmp(argv[1], "run")) {
		seed = strtoull(argv[3], NULL, 0) * 0x9e3779b97f4a7c15ULL | 1;
		run(argv[2], argv + 4);
	}
	fprintf(stderr, "usage: churn run DIR SEED COMMAND... | churn manifest DIR\n");
	return 2;
}
