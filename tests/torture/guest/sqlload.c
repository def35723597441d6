// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients of a PostgreSQL, which say what they do before they do it and after it is acknowledged.
 *
 *   sqlload run SOCKET CLIENTS   transactions for ever, on this many connections
 *   sqlload call COMMAND...      run a command between two lines that say when
 *
 * Lines on standard output, each in one write so that it leaves the machine at once; times are
 * nanoseconds of CLOCK_MONOTONIC, the same clock for all:
 *   begin CLIENT N TIME   before transaction N of a client is sent
 *   done CLIENT N TIME    when its commit was acknowledged
 *   call TIME             before the command
 *   return TIME N         after it ended well, N the number that it printed
 *
 * A transaction moves an amount between two accounts and enters that into a ledger: of whatever
 * transactions a database holds, its balances add to zero and agree with the ledger.
 *
 * It speaks the simple query protocol itself, as user and database "postgres" and without a
 * password, so that the machines need no library of the release that the database is from.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ACCOUNTS	20
#define MAX_MESSAGE	65536

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "sqlload: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* ---- the protocol ---- */

static void send_all(int fd, const void *data, size_t len)
{
	if (write(fd, data, len) != (ssize_t)len)
		die("the server does not take what is sent: %s", strerror(errno));
}

static void receive(int fd, void *data, size_t len)
{
	for (ssize_t n; len; len -= n, data = (char *)data + n) {
		n = read(fd, data, len);
		if (n <= 0)
			die("the server went away: %s", n ? strerror(errno) : "end of file");
	}
}

/* Until the server is ready for a query; every error ends the program. */
static void wait_ready(int fd)
{
	char type, body[MAX_MESSAGE + 1];
	uint32_t len;

	do {
		receive(fd, &type, 1);
		receive(fd, &len, sizeof(len));
		len = ntohl(len) - sizeof(len);
		if (len > MAX_MESSAGE)
			die("a message of %u bytes", len);
		receive(fd, body, len);
		body[len] = 0;
		if (type == 'E') {
			for (uint32_t i = 0; i < len; i++)
				body[i] = body[i] ?: ' ';
			die("%s", body);
		}
	} while (type != 'Z');
}

static int open_session(const char *path)
{
	static const char words[] = "\0\3\0\0user\0postgres\0database\0postgres\0";
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	uint32_t len = htonl(sizeof(len) + sizeof(words));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("%s: %s", path, strerror(errno));
	send_all(fd, &len, sizeof(len));
	send_all(fd, words, sizeof(words));
	wait_ready(fd);
	return fd;
}

static void query(int fd, const char *sql)
{
	char message[2048] = "Q";
	uint32_t len = strlen(sql) + 1, total = htonl(len + sizeof(total));

	if (len > sizeof(message) - 5)
		die("%u bytes of SQL", len);
	memcpy(message + 1, &total, sizeof(total));
	memcpy(message + 5, sql, len);
	send_all(fd, message, 5 + len);
	wait_ready(fd);
}

/* ---- what is run ---- */

static void __attribute__((noreturn)) client(const char *path, int number)
{
	int fd = open_session(path);
	char sql[1024];

	srandom(now() + number);
	for (int n = 1; ; n++) {
		int source = random() % ACCOUNTS, target = random() % ACCOUNTS;
		int amount = random() % 1000;

		/* in the order of the accounts, so that no two wait for each other */
		snprintf(sql, sizeof(sql),
			 "BEGIN; INSERT INTO ledger VALUES(%d, %d, %d, %d, %d, md5(random()::text));"
			 "UPDATE account SET balance = balance + %d WHERE id = %d;"
			 "UPDATE account SET balance = balance + %d WHERE id = %d; COMMIT",
			 number, n, source, target, amount,
			 source < target ? -amount : amount, source < target ? source : target,
			 source < target ? amount : -amount, source < target ? target : source);
		dprintf(STDOUT_FILENO, "begin %d %d %lld\n", number, n, now());
		query(fd, sql);
		dprintf(STDOUT_FILENO, "done %d %d %lld\n", number, n, now());
	}
}

static int run(const char *path, int clients)
{
	for (int i = 1; i <= clients; i++) {
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			client(path, i);
		}
	}
	wait(NULL);	/* none of them ever ends well */
	return 1;
}

static int call(char **argv)
{
	char number[64] = "";
	int status, out[2];
	ssize_t n;
	pid_t pid;

	if (pipe(out))
		die("pipe: %s", strerror(errno));
	dprintf(STDOUT_FILENO, "call %lld\n", now());
	pid = fork();
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		execvp(argv[0], argv);
		die("%s: %s", argv[0], strerror(errno));
	}
	close(out[1]);
	n = read(out[0], number, sizeof(number) - 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status || n <= 0)
		die("%s failed", argv[0]);
	dprintf(STDOUT_FILENO, "return %lld %ld\n", now(), atol(number));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "run"))
		return run(argv[2], atoi(argv[3]));
	if (argc > 2 && !strcmp(argv[1], "call"))
		return call(argv + 2);
	fprintf(stderr, "usage: sqlload run SOCKET CLIENTS | sqlload call COMMAND...\n");
	return 2;
}
