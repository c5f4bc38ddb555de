// SPDX-License-Identifier: MIT
/* Pools that outlive descriptors and processes, and processes that die in the middle of things. */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common/test.h"
#include "common/uring.h"

#define POOL_BYTES (4 * LARGE_BYTES)
/* So much that allocating it is long compared with the time between signals. */
#define LONG_BYTES (300 / proc_scale() * LARGE_BYTES)
#define SHARED_BYTES (64 * LARGE_BYTES)
#define KEY 800

FIXTURE(life)
{
	struct hearth_query before;
};

FIXTURE_SETUP(life)
{
	ASSERT_EQ(0, pool_query(&self->before));
}

FIXTURE_TEARDOWN(life)
{
	pool_destroy(KEY, HEARTH_UID_SELF);
}

static int64_t used_bytes_since(const FIXTURE_DATA(life) *self)
{
	struct hearth_query now;

	/* What a dead process held goes with its address space and task work: soon, not at once. */
	for (int i = 0; i < 200; i++) {
		if (pool_query(&now))
			return INT64_MAX;
		if (now.used_bytes == self->before.used_bytes)
			break;
		usleep(20000);
	}
	return (int64_t)(now.used_bytes - self->before.used_bytes);
}

static int create_and_fill(void *argument)
{
	int fd = pool_create_keyed(POOL_BYTES, 0, KEY, 0600);
	void *address;

	(void)argument;
	if (fd < 0)
		return -fd;
	address = pool_map(fd, POOL_BYTES, PROT_READ | PROT_WRITE);
	if (address == MAP_FAILED)
		return 99;
	pattern_fill(address, POOL_BYTES, 0);
	return 0;
}

static int create_fill_and_crash(void *argument)
{
	create_and_fill(argument);
	raise(SIGKILL);
	return 0;
}

TEST_F(life, named_pool_outlives_its_process)
{
	int fd;
	char *address;

	ASSERT_EQ(128 + SIGKILL, proc_in_child(create_fill_and_crash, NULL));
	fd = pool_open(KEY, HEARTH_UID_SELF, 0);
	ASSERT_FD(fd);
	address = pool_map(fd, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
}

TEST_F(life, re_attaching_is_quick)
{
	int64_t start, end;
	int fd;

	ASSERT_EQ(0, proc_in_child(create_and_fill, NULL));
	start = proc_now_ms();
	fd = pool_open(KEY, HEARTH_UID_SELF, 0);
	ASSERT_NE(MAP_FAILED, pool_map(fd, POOL_BYTES, PROT_READ));
	end = proc_now_ms();
	EXPECT_GE(500, end - start);
}

TEST_F(life, nameless_pool_goes_with_its_last_descriptor)
{
	int fd = pool_create(POOL_BYTES, 0), second = dup(fd);

	ASSERT_FD(second);
	close(fd);
	EXPECT_NE(0, used_bytes_since(self));
	close(second);
	EXPECT_EQ(0, used_bytes_since(self));
}

TEST_F(life, destroyed_pool_goes_with_its_last_user)
{
	int fd = pool_create_keyed(POOL_BYTES, 0, KEY, 0600);
	struct hearth_info info;
	void *address;

	ASSERT_FD(fd);
	address = pool_map(fd, POOL_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	ASSERT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
	EXPECT_EQ(-ENOENT, pool_open(KEY, HEARTH_UID_SELF, 0));
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(0, info.status & HEARTH_STATUS_NAMED);
	pattern_fill(address, POOL_BYTES, 0);
	close(fd);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
	munmap(address, POOL_BYTES);
	EXPECT_EQ(0, used_bytes_since(self));
}

TEST_F(life, name_is_free_at_once_after_destroy)
{
	int first = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600), second;
	struct hearth_info a, b;

	ASSERT_FD(first);
	EXPECT_EQ(-EEXIST, pool_create_keyed(LARGE_BYTES, 0, KEY, 0600));
	ASSERT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
	second = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600);
	ASSERT_FD(second);
	ASSERT_EQ(0, pool_info(first, &a));
	ASSERT_EQ(0, pool_info(second, &b));
	EXPECT_NE(a.id, b.id);
}

TEST_F(life, keys_differ_in_every_byte)
{
	for (int i = 0; i < HEARTH_KEY_BYTES; i++) {
		struct hearth_create create =
			pool_create_request(LARGE_BYTES, HEARTH_CREATE_KEYED);
		struct hearth_open open = { .uid = HEARTH_UID_SELF };
		struct hearth_destroy destroy = { .uid = HEARTH_UID_SELF };
		int fd;

		create.key[i] = 1;
		open.key[i] = 1;
		destroy.key[i] = 1;
		fd = pool_ioctl(pool_device(), HEARTH_CREATE, &create);
		ASSERT_FD(fd);
		close(fd);
		open.key[(i + 1) % HEARTH_KEY_BYTES] ^= 1;
		EXPECT_EQ(-ENOENT, pool_ioctl(pool_device(), HEARTH_OPEN, &open));
		open.key[(i + 1) % HEARTH_KEY_BYTES] ^= 1;
		fd = pool_ioctl(pool_device(), HEARTH_OPEN, &open);
		EXPECT_LE(0, fd);
		close(fd);
		EXPECT_EQ(0, pool_ioctl(pool_device(), HEARTH_DESTROY, &destroy));
	}
}

TEST_F(life, deferred_named_pool_is_not_open_to_others_until_whole)
{
	int fd = pool_create_keyed(POOL_BYTES, HEARTH_CREATE_DEFER, KEY, 0600);

	ASSERT_FD(fd);
	EXPECT_EQ(-EBUSY, pool_open(KEY, HEARTH_UID_SELF, 0));
	ASSERT_EQ(0, pool_allocate(fd));
	EXPECT_LE(0, pool_open(KEY, HEARTH_UID_SELF, 0));
}

TEST_F(life, deferred_named_pool_that_is_abandoned_leaves_no_name)
{
	int fd = pool_create_keyed(POOL_BYTES, HEARTH_CREATE_DEFER, KEY, 0600);

	ASSERT_FD(fd);
	close(fd);
	EXPECT_EQ(0, used_bytes_since(self));
	EXPECT_EQ(-ENOENT, pool_open(KEY, HEARTH_UID_SELF, 0));
	fd = pool_create_keyed(POOL_BYTES, 0, KEY, 0600);
	EXPECT_LE(0, fd);
}

TEST_F(life, threads_share_the_allocation)
{
	int fd = pool_create(SHARED_BYTES, HEARTH_CREATE_DEFER);
	struct hearth_info info;
	pid_t children[4];

	ASSERT_FD(fd);
	for (int i = 0; i < 4; i++) {
		children[i] = fork();
		if (children[i] == 0)
			_exit(-pool_allocate(fd));
	}
	for (int i = 0; i < 4; i++) {
		int status;

		waitpid(children[i], &status, 0);
		EXPECT_EQ(0, status);
	}
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, info.state);
	EXPECT_EQ(SHARED_BYTES, info.allocated_bytes);
	EXPECT_EQ(SHARED_BYTES, info.order_bytes[9]);
}

/* What is wrong with a pool when an allocation returns that started with others: 0 nothing. */
static int allocate_and_look(int pool, int word)
{
	struct hearth_info info;
	char byte;

	(void)!read(word, &byte, 1);
	if (pool_allocate(pool) || pool_info(pool, &info))
		return 1;
	return info.state == HEARTH_STATE_ALLOCATING ? 2 : 0;
}

/* Not only when that returns which fills the last slot. */
TEST_F(life, pool_is_whole_when_any_allocation_returns)
{
	enum { PROCESSES = 4 };

	for (int round = 0; round < 100; round++) {
		int pool = pool_create(PROCESSES * LARGE_BYTES, HEARTH_CREATE_DEFER);
		pid_t children[PROCESSES];
		int word[2];

		ASSERT_FD(pool);
		ASSERT_EQ(0, pipe(word));
		for (int i = 0; i < PROCESSES; i++) {
			children[i] = fork();
			if (children[i] == 0) {
				close(word[1]);
				_exit(allocate_and_look(pool, word[0]));
			}
		}
		close(word[1]);
		close(word[0]);
		for (int i = 0; i < PROCESSES; i++) {
			int status;

			waitpid(children[i], &status, 0);
			ASSERT_EQ(0, status);
		}
		close(pool);
	}
}

/* Kills a child that repeats @work after each of many delays; nothing may remain of it. */
static void kill_in_the_middle(struct __test_metadata *_metadata, FIXTURE_DATA(life) *self,
			       int (*work)(void *argument), int rounds)
{
	for (int round = 0; round < rounds; round++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			for (;;)
				work(NULL);
		}
		usleep(1000 + (unsigned int)(random() % 60000));
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_EQ(0, used_bytes_since(self));
}

static int allocate_large(void *argument)
{
	int fd = pool_create(200 / proc_scale() * LARGE_BYTES, 0);

	(void)argument;
	close(fd);
	return 0;
}

TEST_F(life, killed_while_allocating_leaves_nothing)
{
	kill_in_the_middle(_metadata, self, allocate_large, 20);
}

static int allocate_named(void *argument)
{
	int fd = pool_create_keyed(100 / proc_scale() * LARGE_BYTES, 0, KEY, 0600);

	(void)argument;
	close(fd);
	return pool_destroy(KEY, HEARTH_UID_SELF);
}

TEST_F(life, killed_while_allocating_a_named_pool_leaves_a_whole_one_or_none)
{
	for (int round = 0; round < 20; round++) {
		pid_t child = fork();
		struct hearth_info info;
		int fd;

		if (child == 0) {
			for (;;)
				allocate_named(NULL);
		}
		usleep(1000 + (unsigned int)(random() % 60000));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		fd = pool_open(KEY, HEARTH_UID_SELF, 0);
		if (fd >= 0) {
			ASSERT_EQ(0, pool_info(fd, &info));
			EXPECT_EQ(HEARTH_STATE_WRITABLE, info.state);
			EXPECT_EQ(info.size_bytes, info.allocated_bytes);
			close(fd);
			EXPECT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
		} else {
			EXPECT_EQ(-ENOENT, fd);
		}
	}
	EXPECT_EQ(0, used_bytes_since(self));
}

static int fill_through_io_uring(void *argument)
{
	int file = open("/data/weights", O_RDONLY | O_DIRECT);
	int fd = pool_create(POOL_BYTES, 0);
	char *address = pool_map(fd, POOL_BYTES, PROT_READ | PROT_WRITE);
	struct uring ring;

	(void)argument;
	if (uring_init(&ring, 16) || uring_register(&ring, address, POOL_BYTES))
		return 1;
	for (unsigned int i = 0; i < 8; i++)
		uring_queue_read(&ring, file, address + i * (1 << 20), 1 << 20, i * (1UL << 20));
	uring_submit_and_wait(&ring, 8, 1 << 20);
	uring_finish(&ring);
	munmap(address, POOL_BYTES);
	close(fd);
	close(file);
	return 0;
}

TEST_F(life, killed_while_filling_leaves_nothing)
{
	kill_in_the_middle(_metadata, self, fill_through_io_uring, 15);
}

static int seal_export_idle(void *argument)
{
	int fd = pool_create(LARGE_BYTES, 0);
	int dmabuf;

	(void)argument;
	pool_seal(fd);
	dmabuf = pool_export(fd, 0, LARGE_BYTES, 0);
	pool_idle(fd);
	close(dmabuf);
	close(fd);
	return 0;
}

TEST_F(life, killed_while_sealing_leaves_nothing)
{
	kill_in_the_middle(_metadata, self, seal_export_idle, 20);
}

static void on_alarm(int number)
{
	(void)number;
}

static void interrupt_often(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = { { 0, 3000 }, { 0, 3000 } };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

TEST_F(life, a_signal_interrupts_an_allocation_and_nothing_remains)
{
	struct itimerval off = {};
	bool interrupted = false;
	int fd;

	interrupt_often();
	for (int i = 0; i < 50 && !interrupted; i++) {
		fd = pool_create(LONG_BYTES, 0);
		interrupted = fd == -EINTR;
		EXPECT_TRUE(fd >= 0 || interrupted) TH_LOG("result %d", fd);
		if (fd >= 0)
			close(fd);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	EXPECT_TRUE(interrupted);
	EXPECT_EQ(0, used_bytes_since(self));
}

TEST_F(life, an_interrupted_deferred_allocation_goes_on_where_it_was)
{
	int fd = pool_create(LONG_BYTES, HEARTH_CREATE_DEFER), interruptions = 0, err;
	struct itimerval off = {};
	struct hearth_info info;
	uint64_t last = 0;

	ASSERT_FD(fd);
	interrupt_often();
	while ((err = pool_allocate(fd)) == -EINTR) {
		interruptions++;
		ASSERT_EQ(0, pool_info(fd, &info));
		EXPECT_GE(info.allocated_bytes, last);
		EXPECT_EQ(HEARTH_STATE_ALLOCATING, info.state);
		last = info.allocated_bytes;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	EXPECT_EQ(0, err);
	EXPECT_LT(0, interruptions);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(LONG_BYTES, info.allocated_bytes);
}

TEST_F(life, descriptors_pass_over_a_socket_and_keep_the_pool)
{
	int ends[2], fd, passed;
	struct hearth_info info;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	fd = pool_create(LARGE_BYTES, 0);
	ASSERT_FD(fd);
	ASSERT_EQ(0, proc_send_fd(ends[0], fd));
	close(fd);
	EXPECT_NE(0, used_bytes_since(self));
	passed = proc_receive_fd(ends[1]);
	ASSERT_FD(passed);
	EXPECT_EQ(0, pool_info(passed, &info));
	EXPECT_EQ(1, info.files);
	EXPECT_EQ(FD_CLOEXEC, fcntl(passed, F_GETFD));
	close(passed);
	EXPECT_EQ(0, used_bytes_since(self));
}

TEST_F(life, a_descriptor_in_flight_to_nobody_is_freed)
{
	int ends[2], fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	fd = pool_create(LARGE_BYTES, 0);
	ASSERT_EQ(0, proc_send_fd(ends[0], fd));
	/* The socket within itself: only the kernel's garbage collector finds it. */
	ASSERT_EQ(0, proc_send_fd(ends[0], ends[1]));
	close(fd);
	close(ends[1]);
	close(ends[0]);
	EXPECT_EQ(0, used_bytes_since(self));
}

TEST_F(life, list_tells_of_thousands_of_pools_exactly_once)
{
	enum { POOLS = 60 };
	static uint64_t ids[POOLS];
	static uint32_t seen[POOLS];
	struct hearth_info entries[7];
	struct hearth_list list = { .entries = (uintptr_t)entries,
				    .entry_bytes = sizeof(entries[0]) };
	struct hearth_info info;

	for (int i = 0; i < POOLS; i++) {
		int fd = pool_create(LARGE_BYTES, HEARTH_CREATE_DEFER);

		ASSERT_FD(fd);
		ASSERT_EQ(0, pool_info(fd, &info));
		ids[i] = info.id;
	}
	do {
		list.count = 7;
		ASSERT_EQ(0, pool_ioctl(pool_device(), HEARTH_LIST, &list));
		for (uint32_t i = 0; i < list.count; i++) {
			for (int j = 0; j < POOLS; j++)
				seen[j] += entries[i].id == ids[j];
		}
	} while (list.count);
	for (int i = 0; i < POOLS; i++) {
		EXPECT_EQ(1, seen[i]);
	}
}

TEST_F(life, list_fills_wider_entries_with_zeroes)
{
	uint8_t entries[2][512];
	struct hearth_list list = { .entries = (uintptr_t)entries, .count = 1,
				    .entry_bytes = sizeof(entries[0]) };
	int fd = pool_create(LARGE_BYTES, 0);

	ASSERT_FD(fd);
	memset(entries, 0xff, sizeof(entries));
	ASSERT_EQ(0, pool_ioctl(pool_device(), HEARTH_LIST, &list));
	ASSERT_EQ(1, list.count);
	EXPECT_TRUE(is_zero(entries[0] + sizeof(struct hearth_info),
			    sizeof(entries[0]) - sizeof(struct hearth_info)));
	EXPECT_EQ(0xff, entries[1][0]);
}

TEST_HARNESS_MAIN
