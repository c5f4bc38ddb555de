// SPDX-License-Identifier: MIT
/*
 * The guest's first process: mounts, loads modules, makes every warning fatal, runs the test
 * programs named in /tests/list, unloads the module, lets kmemleak look, and powers off.
 *
 * Results go to ttyS1 as TAP with lines "@@ ..." between them that tests/vm/run reads; the
 * kernel's log has ttyS0 to itself. A panic ends QEMU without "@@ done": that is a failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static FILE *result;

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("@@ ", result);
	vfprintf(result, format, args);
	fputc('\n', result);
	fflush(result);
	va_end(args);
}

static _Noreturn void power_off(void)
{
	fflush(result);
	tcdrain(fileno(result));
	sync();
	reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

static void mount_all(void)
{
	static const struct {
		const char *type, *path;
	} mounts[] = {
		{ "proc", "/proc" },
		{ "sysfs", "/sys" },
		{ "devtmpfs", "/dev" },
		{ "debugfs", "/sys/kernel/debug" },
		{ "tracefs", "/sys/kernel/tracing" },
		{ "cgroup2", "/sys/fs/cgroup" },
		{ "tmpfs", "/tmp" },
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].path, 0755);
		mount(mounts[i].type, mounts[i].path, mounts[i].type, 0, NULL);
	}
}

static void open_result(void)
{
	int fd = open("/dev/ttyS1", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	struct termios mode;

	if (fd < 0)
		fd = dup(STDERR_FILENO);
	if (tcgetattr(fd, &mode) == 0) {
		cfmakeraw(&mode);
		tcsetattr(fd, TCSANOW, &mode);
	}
	result = fdopen(fd, "w");
	if (!result)
		abort();
}

static void load_module(const char *path, const char *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, options, 0))
		say("cannot load %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void load_modules(void)
{
	FILE *list = fopen("/modules/list", "r");
	char line[256];

	while (list && fgets(line, sizeof(line), list)) {
		char path[300], *options;

		line[strcspn(line, "\n")] = 0;
		options = strchr(line, ' ');
		if (options)
			*options++ = 0;
		snprintf(path, sizeof(path), "/modules/%s", line);
		load_module(path, options ? options : "");
	}
	if (list)
		fclose(list);
}

/* Finds the disk that is the first namespace of the controller; kernels number as they find. */
static bool find_data(char *path, size_t size)
{
	for (int i = 1; i <= 3; i++) {
		FILE *file;
		int nsid = 0;

		snprintf(path, size, "/sys/block/nvme0n%d/nsid", i);
		file = fopen(path, "r");
		if (file && fscanf(file, "%d", &nsid) != 1)
			nsid = 0;
		if (file)
			fclose(file);
		snprintf(path, size, "/dev/nvme0n%d", i);
		if (nsid == 1 && !access(path, F_OK))
			return true;
	}
	return false;
}

static void mount_data(void)
{
	char path[64];

	for (int i = 0; i < 100 && !find_data(path, sizeof(path)); i++)
		usleep(100000);
	mkdir("/data", 0755);
	if (mount(path, "/data", "ext4", MS_NOATIME, NULL))
		say("no /data: %s", strerror(errno));
}

/* A kernel that only complains must not pass for one that has nothing to complain about. */
static void make_complaints_fatal(void)
{
	write_file("/proc/sys/kernel/panic_on_warn", "1");
	write_file("/proc/sys/kernel/panic_on_oops", "1");
	write_file("/proc/sys/kernel/softlockup_panic", "1");
	write_file("/proc/sys/kernel/hung_task_panic", "1");
	write_file("/proc/sys/kernel/panic_on_rcu_stall", "1");
}

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Runs one program; its output goes to ttyS1. Returns its wait status, -1 after a timeout. */
static int run_program(char **argv, unsigned int timeout_s)
{
	sigset_t set;
	pid_t pid;
	struct timespec tick = { .tv_sec = 1 };
	time_t end = seconds() + timeout_s;
	int status;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		dup2(fileno(result), STDOUT_FILENO);
		dup2(fileno(result), STDERR_FILENO);
		execv(argv[0], argv);
		printf("Bail out! %s: %s\n", argv[0], strerror(errno));
		fflush(stdout);
		_exit(126);
	}
	while (seconds() < end) {
		pid_t died;

		while ((died = waitpid(-1, &status, WNOHANG)) > 0) {
			if (died == pid) {
				kill(-pid, SIGKILL);
				return status;
			}
		}
		sigtimedwait(&set, NULL, &tick);
	}
	write_file("/proc/sysrq-trigger", "w");
	kill(-pid, SIGKILL);
	return -1;
}

/* A line of /tests/list: NAME TIMEOUT_S [ARGUMENT...] */
static void run_line(char *line)
{
	char path[256], *argv[16] = { path }, *name = strtok(line, " \n"), *word;
	unsigned int timeout_s, argc = 1;
	char note[320];
	int status;

	word = strtok(NULL, " \n");
	if (!name || !word)
		return;
	timeout_s = (unsigned int)atoi(word);
	while ((word = strtok(NULL, " \n")) && argc < 15)
		argv[argc++] = word;
	snprintf(path, sizeof(path), "/tests/%s", name);
	snprintf(note, sizeof(note), "hearth-test: %s\n", name);
	write_file("/dev/kmsg", note);
	say("begin %s", name);
	status = run_program(argv, timeout_s);
	if (status == -1)
		say("end %s timeout", name);
	else if (WIFSIGNALED(status))
		say("end %s signal %d", name, WTERMSIG(status));
	else
		say("end %s exit %d", name, WEXITSTATUS(status));
}

static void unload_module(void)
{
	long status = -1;

	if (access("/sys/module/hearth", F_OK))
		return;
	if (!access("/sys/module/edu_import", F_OK))
		syscall(SYS_delete_module, "edu_import", O_NONBLOCK);
	for (int i = 0; i < 50 && status; i++) {
		status = syscall(SYS_delete_module, "hearth", O_NONBLOCK);
		if (status)
			usleep(100000);
	}
	if (status)
		say("unload %s", strerror(errno));
	else
		say("unload ok");
}

/* kmemleak reports an object only when two scans found it unreferenced. */
static void scan_for_leaks(void)
{
	FILE *file;
	char line[256];
	unsigned int count = 0;

	if (access("/sys/kernel/debug/kmemleak", W_OK)) {
		say("kmemleak absent");
		return;
	}
	sleep(6);
	for (int i = 0; i < 2; i++)
		write_file("/sys/kernel/debug/kmemleak", "scan");
	file = fopen("/sys/kernel/debug/kmemleak", "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "unreferenced object", 19) == 0)
			count++;
		if (count <= 8)
			fprintf(result, "# %s", line);
	}
	if (file)
		fclose(file);
	say("kmemleak %u", count);
}

int main(void)
{
	FILE *list;
	char line[512];

	mount_all();
	open_result();
	write_file("/dev/kmsg", "hearth-test: booted\n");
	say("booted");
	make_complaints_fatal();
	/* From here on nobody notes in the kernel's log, which tests read, that caches are dropped. */
	write_file("/proc/sys/vm/drop_caches", "4");
	load_modules();
	mount_data();
	chmod("/dev/hearth", 0666);
	/* What the drivers loaded so far lost is not this module's. */
	write_file("/sys/kernel/debug/kmemleak", "clear");

	list = fopen("/tests/list", "r");
	while (list && fgets(line, sizeof(line), list))
		run_line(line);
	if (list)
		fclose(list);

	unload_module();
	scan_for_leaks();
	say("done");
	power_off();
}
