// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the demonstration runs on the primary.
 *
 *   demo write FILE        commit transactions to an SQLite database without ever pausing
 *   demo call COMMAND...   run a command between two lines that say when
 *
 * Lines on standard output, each in one write so that it leaves the machine at once; times are
 * nanoseconds of CLOCK_MONOTONIC, the same clock for all:
 *   begin N TIME   before transaction N is begun
 *   done N TIME    after its commit was acknowledged
 *   call TIME      before the command
 *   return TIME RC after it
 *
 * A transaction moves an amount between two accounts and enters that into a ledger.  Whatever
 * transactions a database holds, its balances add to zero and agree with the ledger.
 */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ACCOUNTS 16

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void must(sqlite3 *db, int rc)
{
	if (rc == SQLITE_OK || rc == SQLITE_DONE)
		return;
	fprintf(stderr, "demo: sqlite: %s\n", sqlite3_errmsg(db));
	exit(1);
}

static void execute(sqlite3 *db, const char *sql)
{
	must(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static void make_tables(sqlite3 *db)
{
	execute(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		"CREATE TABLE ledger(n INTEGER PRIMARY KEY, source, target, amount, note);"
		"CREATE TABLE account(id INTEGER PRIMARY KEY, balance);"
		"WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 15)"
		"INSERT INTO account SELECT i, 0 FROM c");
}

static void run(sqlite3 *db, sqlite3_stmt *s, int64_t a, int64_t b, int64_t c, int64_t d)
{
	const int64_t value[] = { a, b, c, d };

	for (int i = 0; i < sqlite3_bind_parameter_count(s); i++)
		must(db, sqlite3_bind_int64(s, i + 1, value[i]));
	must(db, sqlite3_step(s));
	must(db, sqlite3_reset(s));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s;

	must(db, sqlite3_prepare_v2(db, sql, -1, &s, NULL));
	return s;
}

static void __attribute__((noreturn)) write_for_ever(const char *file)
{
	sqlite3_stmt *entry, *change;
	sqlite3 *db;

	must(NULL, sqlite3_open(file, &db));
	make_tables(db);
	entry = prepare(db, "INSERT INTO ledger VALUES(?, ?, ?, ?, hex(randomblob(100)))");
	change = prepare(db, "UPDATE account SET balance = balance + ? WHERE id = ?");
	for (int64_t n = 1; ; n++) {
		int64_t source = random() % ACCOUNTS, target = random() % ACCOUNTS;
		int64_t amount = random() % 1000;

		dprintf(STDOUT_FILENO, "begin %lld %lld\n", (long long)n, (long long)now());
		execute(db, "BEGIN");
		run(db, entry, n, source, target, amount);
		run(db, change, -amount, source, 0, 0);
		run(db, change, amount, target, 0, 0);
		execute(db, "COMMIT");
		dprintf(STDOUT_FILENO, "done %lld %lld\n", (long long)n, (long long)now());
	}
}

static int run_between(char **argv)
{
	int status;
	pid_t pid;

	dprintf(STDOUT_FILENO, "call %lld\n", (long long)now());
	pid = fork();
	if (!pid) {
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	dprintf(STDOUT_FILENO, "return %lld %d\n", (long long)now(), status);
	return status;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "write"))
		write_for_ever(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "call"))
		return run_between(argv + 2);
	fprintf(stderr, "usage: demo write FILE | demo call COMMAND...\n");
	return 2;
}
