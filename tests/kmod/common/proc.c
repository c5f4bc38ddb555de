// SPDX-License-Identifier: MIT
#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_word(const char *path, uint64_t index, uint64_t otherwise)
{
	uint64_t word = otherwise;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return otherwise;
	if (pread(fd, &word, sizeof(word), (off_t)(index * sizeof(word))) != sizeof(word))
		word = otherwise;
	close(fd);
	return word;
}

uint64_t proc_page_frame(const void *address)
{
	uint64_t entry = read_word("/proc/self/pagemap", (uintptr_t)address / 4096, 0);

	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

uint64_t proc_page_flags(uint64_t frame)
{
	return read_word("/proc/kpageflags", frame, UINT64_MAX);
}

long proc_smaps_kib(const void *address, const char *field)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	size_t length = strlen(field);
	bool inside = false;
	char line[512];
	long value = -1;

	while (file && value < 0 && fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (uintptr_t)address >= start && (uintptr_t)address < end;
		else if (inside && !strncmp(line, field, length) && line[length] == ':')
			value = atol(line + length + 1);
	}
	if (file)
		fclose(file);
	return value;
}

long proc_field(const char *path, const char *field)
{
	FILE *file = fopen(path, "r");
	size_t length = strlen(field);
	char line[512];
	long value = -1;

	while (file && value < 0 && fgets(line, sizeof(line), file)) {
		const char *found = strstr(line, field);

		/* "Node 0 MemFree:" of a node's meminfo is found as well as "MemFree:". */
		if (found && (found[length] == ':' || found[length] == ' '))
			value = atol(found + length + 1);
	}
	if (file)
		fclose(file);
	return value;
}

ssize_t proc_read(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got = 0;

	if (fd < 0)
		return -errno;
	while (length + 1 < size) {
		got = read(fd, buffer + length, size - 1 - length);
		if (got <= 0)
			break;
		length += (size_t)got;
	}
	if (got < 0)
		got = -errno;
	close(fd);
	buffer[length] = 0;
	return got < 0 ? got : (ssize_t)length;
}

long long proc_number(const char *path)
{
	char text[64];

	if (proc_read(path, text, sizeof(text)) <= 0)
		return -1;
	return atoll(text);
}

int proc_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

void proc_become(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) {
		perror("proc_become");
		_exit(99);
	}
}

int proc_in_child(int (*work)(void *argument), void *argument)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(work(argument));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct as_user {
	uid_t uid;
	int (*work)(void *argument);
	void *argument;
};

static int become_and_work(void *argument)
{
	struct as_user *as = argument;

	proc_become(as->uid, as->uid);
	return as->work(as->argument);
}

int proc_as_user(uid_t uid, int (*work)(void *argument), void *argument)
{
	struct as_user as = { uid, work, argument };

	return proc_in_child(become_and_work, &as);
}

int proc_send_fd(int socket, int fd)
{
	char byte = 'f';
	struct iovec data = { &byte, 1 };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	return sendmsg(socket, &message, 0) == 1 ? 0 : -errno;
}

int proc_receive_fd(int socket)
{
	char byte;
	struct iovec data = { &byte, 1 };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header;
	int fd;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

int64_t proc_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int proc_cgroup_create(const char *name, const char *controllers, char *path, size_t size)
{
	int err = proc_write("/sys/fs/cgroup/cgroup.subtree_control", controllers);

	if (err)
		return err;
	snprintf(path, size, "/sys/fs/cgroup/%s", name);
	if (mkdir(path, 0755) && errno != EEXIST)
		return -errno;
	return 0;
}

long proc_available_kib(void)
{
	static const char name[] = "\n              count:";
	static char zones[1 << 17];
	long pages = 0;

	if (proc_read("/proc/zoneinfo", zones, sizeof(zones)) > 0)
		for (char *at = zones; (at = strstr(at, name)); at += sizeof(name) - 1)
			pages += atol(at + sizeof(name) - 1);
	return proc_field("/proc/meminfo", "MemAvailable") + pages * 4;
}

unsigned int proc_scale(void)
{
	return access("/sys/kernel/debug/kmemleak", F_OK) ? 1 : 4;
}
