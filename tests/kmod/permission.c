// SPDX-License-Identifier: MIT
/* Who may open, see and destroy a named pool: owner, group and mode, in any user namespace. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <grp.h>

#include "common/test.h"

#define OWNER 2001
#define OTHER 2002
#define KEY 700

struct attempt {
	uint32_t uid;
	uint32_t flags;
	uint32_t mode;
	uint64_t id;
};

/* What runs as another user answers by its exit status: 0, or the errno it met. */
static int create_as_owner(void *argument)
{
	const struct attempt *attempt = argument;
	int fd = pool_create_keyed(LARGE_BYTES, 0, KEY, attempt->mode);

	return fd < 0 ? -fd : 0;
}

static int open_it(void *argument)
{
	const struct attempt *attempt = argument;
	int fd = pool_open(KEY, attempt->uid, attempt->flags);

	return fd < 0 ? -fd : 0;
}

static int destroy_it(void *argument)
{
	const struct attempt *attempt = argument;

	return -pool_destroy(KEY, attempt->uid);
}

static int list_it(void *argument)
{
	const struct attempt *attempt = argument;

	return pool_is_listed(attempt->id) ? 0 : ENOENT;
}

FIXTURE(permission)
{
	struct attempt attempt;
};

FIXTURE_SETUP(permission)
{
	memset(&self->attempt, 0, sizeof(self->attempt));
	self->attempt.uid = OWNER;
	ASSERT_EQ(0, chmod("/dev/hearth", 0666));
}

FIXTURE_TEARDOWN(permission)
{
	pool_destroy(KEY, OWNER);
}

/* The pool of OWNER with that mode; its id for root's eyes. */
static int make_pool(FIXTURE_DATA(permission) *self, uint32_t mode)
{
	struct hearth_info info;
	int err, fd;

	self->attempt.mode = mode;
	err = proc_as_user(OWNER, create_as_owner, &self->attempt);
	if (err)
		return err;
	fd = pool_open(KEY, OWNER, 0);
	if (fd < 0)
		return -fd;
	err = -pool_info(fd, &info);
	self->attempt.id = info.id;
	close(fd);
	return err;
}

TEST_F(permission, owner_may_read_and_write_by_0600)
{
	ASSERT_EQ(0, make_pool(self, 0600));
	EXPECT_EQ(0, proc_as_user(OWNER, open_it, &self->attempt));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(0, proc_as_user(OWNER, open_it, &self->attempt));
	self->attempt.uid = HEARTH_UID_SELF;
	EXPECT_EQ(0, proc_as_user(OWNER, open_it, &self->attempt));
}

TEST_F(permission, owner_may_not_write_by_0400)
{
	ASSERT_EQ(0, make_pool(self, 0400));
	EXPECT_EQ(0, proc_as_user(OWNER, open_it, &self->attempt));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(EACCES, proc_as_user(OWNER, open_it, &self->attempt));
}

TEST_F(permission, others_learn_nothing_by_0600)
{
	ASSERT_EQ(0, make_pool(self, 0600));
	EXPECT_EQ(ENOENT, proc_as_user(OTHER, open_it, &self->attempt));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(ENOENT, proc_as_user(OTHER, open_it, &self->attempt));
	EXPECT_EQ(ENOENT, proc_as_user(OTHER, destroy_it, &self->attempt));
	EXPECT_EQ(ENOENT, proc_as_user(OTHER, list_it, &self->attempt));
}

TEST_F(permission, others_may_read_by_0644_but_not_write)
{
	ASSERT_EQ(0, make_pool(self, 0644));
	EXPECT_EQ(0, proc_as_user(OTHER, open_it, &self->attempt));
	EXPECT_EQ(0, proc_as_user(OTHER, list_it, &self->attempt));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(EACCES, proc_as_user(OTHER, open_it, &self->attempt));
}

TEST_F(permission, others_may_write_by_0666)
{
	ASSERT_EQ(0, make_pool(self, 0666));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(0, proc_as_user(OTHER, open_it, &self->attempt));
}

TEST_F(permission, others_may_not_destroy_even_by_0666)
{
	ASSERT_EQ(0, make_pool(self, 0666));
	EXPECT_EQ(EPERM, proc_as_user(OTHER, destroy_it, &self->attempt));
	EXPECT_EQ(0, proc_as_user(OWNER, destroy_it, &self->attempt));
	EXPECT_EQ(ENOENT, proc_as_user(OWNER, destroy_it, &self->attempt));
}

static int open_as_group_member(void *argument)
{
	const struct attempt *attempt = argument;
	gid_t group = OWNER;

	if (setgroups(1, &group) || setresgid(OTHER, OTHER, OTHER) || setresuid(OTHER, OTHER, OTHER))
		return 99;
	return open_it((void *)attempt);
}

TEST_F(permission, group_decides_for_its_members)
{
	ASSERT_EQ(0, make_pool(self, 0640));
	EXPECT_EQ(0, proc_in_child(open_as_group_member, &self->attempt));
	EXPECT_EQ(ENOENT, proc_as_user(OTHER, open_it, &self->attempt));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(EACCES, proc_in_child(open_as_group_member, &self->attempt));
}

/* As for files: who is in the group is not judged as one of the others. */
TEST_F(permission, group_without_bits_is_worse_than_others)
{
	ASSERT_EQ(0, make_pool(self, 0604));
	EXPECT_EQ(ENOENT, proc_in_child(open_as_group_member, &self->attempt));
	EXPECT_EQ(0, proc_as_user(OTHER, open_it, &self->attempt));
}

TEST_F(permission, root_may_do_all)
{
	ASSERT_EQ(0, make_pool(self, 0));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(0, open_it(&self->attempt));
	EXPECT_EQ(0, list_it(&self->attempt));
	EXPECT_EQ(0, destroy_it(&self->attempt));
}

TEST_F(permission, names_of_two_owners_do_not_meet)
{
	struct attempt other = { .uid = OTHER, .mode = 0600 };

	ASSERT_EQ(0, make_pool(self, 0600));
	EXPECT_EQ(0, proc_as_user(OTHER, create_as_owner, &other));
	EXPECT_EQ(EEXIST, proc_as_user(OTHER, create_as_owner, &other));
	EXPECT_EQ(0, proc_as_user(OTHER, destroy_it, &other));
	EXPECT_EQ(0, proc_as_user(OWNER, open_it, &self->attempt));
}

TEST_F(permission, info_tells_the_owner)
{
	struct hearth_info info;
	int fd;

	ASSERT_EQ(0, make_pool(self, 0640));
	fd = pool_open(KEY, OWNER, 0);
	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(OWNER, info.uid);
	EXPECT_EQ(OWNER, info.gid);
	EXPECT_EQ(0640, info.mode);
	EXPECT_EQ(HEARTH_STATUS_NAMED, info.status);
}

TEST_F(permission, a_reader_cannot_map_for_writing)
{
	int fd;

	ASSERT_EQ(0, make_pool(self, 0644));
	fd = pool_open(KEY, OWNER, 0);
	ASSERT_FD(fd);
	EXPECT_EQ(MAP_FAILED, pool_map(fd, LARGE_BYTES, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_NE(MAP_FAILED, pool_map(fd, LARGE_BYTES, PROT_READ));
	EXPECT_EQ(-EACCES, pool_seal(fd));
	EXPECT_EQ(-EACCES, pool_idle(fd));
	EXPECT_EQ(-EACCES, pool_activate(fd));
	EXPECT_EQ(-EACCES, pool_allocate(fd));
}

TEST_F(permission, a_reader_cannot_reopen_for_writing_through_proc)
{
	char path[64];
	int fd, again;

	ASSERT_EQ(0, make_pool(self, 0644));
	fd = pool_open(KEY, OWNER, 0);
	ASSERT_FD(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR);
	if (again >= 0) {
		EXPECT_EQ(MAP_FAILED, pool_map(again, LARGE_BYTES, PROT_READ | PROT_WRITE));
		EXPECT_NE(0, pool_seal(again));
	}
}

TEST_F(permission, a_passed_descriptor_serves_another_user)
{
	int ends[2], fd;
	pid_t child;
	int status;

	ASSERT_EQ(0, make_pool(self, 0600));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	child = fork();
	if (child == 0) {
		char *address;

		proc_become(OTHER, OTHER);
		fd = proc_receive_fd(ends[1]);
		if (fd < 0)
			_exit(1);
		address = pool_map(fd, LARGE_BYTES, PROT_READ);
		_exit(address == MAP_FAILED ? 2 : address[0] == 'h' ? 0 : 3);
	}
	fd = pool_open(KEY, OWNER, HEARTH_OPEN_WRITE);
	ASSERT_FD(fd);
	*(char *)pool_map(fd, LARGE_BYTES, PROT_READ | PROT_WRITE) = 'h';
	ASSERT_EQ(0, proc_send_fd(ends[0], fd));
	close(fd);
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
}

/* Root of a user namespace is nobody in particular outside of it. */
static int become_root_of_a_namespace(uid_t uid)
{
	char map[64];

	proc_become(uid, uid);
	/* Else its own /proc files stay root's. */
	prctl(PR_SET_DUMPABLE, 1);
	if (unshare(CLONE_NEWUSER))
		return errno;
	proc_write("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (proc_write("/proc/self/uid_map", map) || proc_write("/proc/self/gid_map", map))
		return 98;
	return 0;
}

static int namespace_root_opens(void *argument)
{
	struct attempt *attempt = argument;
	int err = become_root_of_a_namespace(attempt->uid);

	if (err)
		return err;
	/* 2001 has no number in there; only a root with power outside could find it otherwise. */
	attempt->uid = OWNER;
	err = open_it(attempt);
	return err == EINVAL ? ENOENT : err;
}

static int owner_in_a_namespace_opens_as_zero(void *argument)
{
	struct attempt *attempt = argument;
	int err = become_root_of_a_namespace(OWNER);
	struct hearth_info info;
	int fd;

	if (err)
		return err;
	fd = pool_open(KEY, 0, HEARTH_OPEN_WRITE);
	if (fd < 0)
		return -fd;
	if (pool_info(fd, &info) || info.uid != 0)
		return 97;
	(void)attempt;
	return pool_open(KEY, HEARTH_UID_SELF, 0) < 0 ? 96 : 0;
}

static int has_no_user_namespaces(void *argument)
{
	(void)argument;
	return unshare(CLONE_NEWUSER) ? 1 : 0;
}

TEST_F(permission, root_of_another_namespace_is_nobody_special)
{
	if (proc_in_child(has_no_user_namespaces, NULL))
		SKIP(return, "no user namespaces in this kernel");
	ASSERT_EQ(0, make_pool(self, 0600));
	self->attempt.uid = OTHER;
	EXPECT_EQ(ENOENT, proc_in_child(namespace_root_opens, &self->attempt));
}

/* The same, in a namespace where OWNER is uid 1: its pool can be asked for by name. */
static _Noreturn void become_root_beside_the_owner(int mapped, struct attempt *attempt,
						   int (*work)(void *argument))
{
	char byte;

	proc_become(OTHER, OTHER);
	if (unshare(CLONE_NEWUSER))
		_exit(90);
	(void)!write(mapped, "x", 1);
	(void)!read(mapped, &byte, 1);
	if (setresuid(0, 0, 0))
		_exit(91);
	attempt->uid = 1;
	_exit(work(attempt));
}

/* What @work answers there. */
static int as_root_beside_the_owner(struct attempt *attempt, int (*work)(void *argument))
{
	char map[64], path[64], byte;
	int ends[2], status;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return 92;
	child = fork();
	if (child == 0)
		become_root_beside_the_owner(ends[1], attempt, work);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
	snprintf(map, sizeof(map), "0 %d 1\n1 %d 1\n", OTHER, OWNER);
	(void)!read(ends[0], &byte, 1);
	if (proc_write(path, map))
		kill(child, SIGKILL);
	(void)!write(ends[0], "x", 1);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 93;
}

TEST_F(permission, root_of_another_namespace_may_nothing_with_a_neighbours_pool)
{
	if (proc_in_child(has_no_user_namespaces, NULL))
		SKIP(return, "no user namespaces in this kernel");
	ASSERT_EQ(0, make_pool(self, 0600));
	EXPECT_EQ(ENOENT, as_root_beside_the_owner(&self->attempt, open_it));
	EXPECT_EQ(ENOENT, as_root_beside_the_owner(&self->attempt, list_it));
	EXPECT_EQ(ENOENT, as_root_beside_the_owner(&self->attempt, destroy_it));
	EXPECT_EQ(0, pool_destroy(KEY, OWNER));
	ASSERT_EQ(0, make_pool(self, 0644));
	self->attempt.flags = HEARTH_OPEN_WRITE;
	EXPECT_EQ(EACCES, as_root_beside_the_owner(&self->attempt, open_it));
	EXPECT_EQ(EPERM, as_root_beside_the_owner(&self->attempt, destroy_it));
	self->attempt.flags = 0;
	EXPECT_EQ(0, as_root_beside_the_owner(&self->attempt, open_it));
}

TEST_F(permission, owner_is_numbered_as_its_namespace_does)
{
	if (proc_in_child(has_no_user_namespaces, NULL))
		SKIP(return, "no user namespaces in this kernel");
	ASSERT_EQ(0, make_pool(self, 0600));
	EXPECT_EQ(0, proc_in_child(owner_in_a_namespace_opens_as_zero, &self->attempt));
}

static int namespace_sees_stranger_as_nobody(void *argument)
{
	struct attempt *attempt = argument;
	struct hearth_info entries[64];
	struct hearth_list list = { .entries = (uintptr_t)entries, .count = 64,
				    .entry_bytes = sizeof(entries[0]) };
	int err = become_root_of_a_namespace(OTHER);

	if (err)
		return err;
	if (pool_ioctl(pool_device(), HEARTH_LIST, &list))
		return 95;
	for (uint32_t i = 0; i < list.count; i++)
		if (entries[i].id == attempt->id)
			return entries[i].uid == 65534 ? 0 : 94;
	return ENOENT;
}

TEST_F(permission, strangers_to_a_namespace_are_65534)
{
	if (proc_in_child(has_no_user_namespaces, NULL))
		SKIP(return, "no user namespaces in this kernel");
	ASSERT_EQ(0, make_pool(self, 0644));
	EXPECT_EQ(0, proc_in_child(namespace_sees_stranger_as_nobody, &self->attempt));
}

/* A device descriptor opened by root gives an unprivileged holder nothing of root's. */
static int open_after_dropping(void *argument)
{
	if (pool_device() < 0)
		return 93;
	proc_become(OTHER, OTHER);
	return open_it(argument);
}

TEST_F(permission, is_checked_for_who_asks_not_for_who_opened_the_device)
{
	ASSERT_EQ(0, make_pool(self, 0600));
	EXPECT_EQ(ENOENT, proc_in_child(open_after_dropping, &self->attempt));
}

TEST_HARNESS_MAIN
