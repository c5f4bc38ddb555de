// SPDX-License-Identifier: MIT
/* What may be had: by the machine, by a user, by a cgroup. A refusal is never an OOM kill. */
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/test.h"
#include "edu_import/edu_import.h"

#define USER 3001
#define MIB (1UL << 20)
#define PARAMETER(name) "/sys/module/hearth/parameters/" name

struct parameter {
	const char *path;
	char old[32];
};

FIXTURE(limits)
{
	struct parameter machine, bytes, pools;
	struct hearth_query before;
	long long oom_kills;
};

static void save(struct parameter *parameter, const char *path)
{
	parameter->path = path;
	proc_read(path, parameter->old, sizeof(parameter->old));
}

FIXTURE_SETUP(limits)
{
	save(&self->machine, PARAMETER("limit_percent"));
	save(&self->bytes, PARAMETER("uid_limit_percent"));
	save(&self->pools, PARAMETER("uid_limit_pools"));
	ASSERT_EQ(0, pool_query(&self->before));
	self->oom_kills = proc_field("/proc/vmstat", "oom_kill");
	chmod("/dev/hearth", 0666);
}

FIXTURE_TEARDOWN(limits)
{
	proc_write(self->machine.path, self->machine.old);
	proc_write(self->bytes.path, self->bytes.old);
	proc_write(self->pools.path, self->pools.old);
	proc_write("/proc/sys/vm/compact_unevictable_allowed", "1");
}

static int set(const char *path, unsigned long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", value);
	return proc_write(path, text);
}

TEST_F(limits, machine_limit_is_a_share_of_ram)
{
	uint64_t ram = (uint64_t)proc_field("/proc/meminfo", "MemTotal") << 10;
	struct hearth_query query;

	ASSERT_EQ(0, set(self->machine.path, 50));
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_LE(ram / 100 * 49, query.limit_bytes);
	EXPECT_GE(ram / 100 * 51, query.limit_bytes);
}

TEST_F(limits, over_the_machine_limit_is_enomem_at_once)
{
	struct hearth_query query;
	int fd;

	ASSERT_EQ(0, set(self->machine.path, 5));
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_EQ(-ENOMEM, pool_create((query.limit_bytes + LARGE_BYTES) & -LARGE_BYTES, 0));
	EXPECT_EQ(-ENOMEM, pool_create((query.limit_bytes + LARGE_BYTES) & -LARGE_BYTES,
				       HEARTH_CREATE_DEFER));
	fd = pool_create(query.limit_bytes / LARGE_BYTES / 2 * LARGE_BYTES, 0);
	ASSERT_FD(fd);
	EXPECT_EQ(-ENOMEM, pool_create((query.limit_bytes / LARGE_BYTES / 2 + 2) * LARGE_BYTES, 0));
}

TEST_F(limits, parameters_refuse_nonsense)
{
	EXPECT_NE(0, proc_write(self->machine.path, "0"));
	EXPECT_NE(0, proc_write(self->machine.path, "96"));
	EXPECT_NE(0, proc_write(self->machine.path, "-1"));
	EXPECT_NE(0, proc_write(self->machine.path, "x"));
	EXPECT_NE(0, proc_write(self->bytes.path, "0"));
	EXPECT_NE(0, proc_write(self->bytes.path, "101"));
	EXPECT_EQ(0, proc_write(self->machine.path, "1"));
	EXPECT_EQ(0, proc_write(self->machine.path, "95"));
	EXPECT_EQ(0, proc_write(self->bytes.path, "100"));
}

TEST_F(limits, a_lowered_limit_leaves_what_is_there)
{
	struct hearth_info info;
	int fd = pool_create(64 * LARGE_BYTES, 0);

	ASSERT_FD(fd);
	ASSERT_EQ(0, set(self->machine.path, 1));
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, info.state);
	EXPECT_EQ(-ENOMEM, pool_create(LARGE_BYTES, 0));
}

static int user_meets_pool_limit(void *argument)
{
	int fds[4];

	(void)argument;
	for (int i = 0; i < 3; i++) {
		fds[i] = pool_create(LARGE_BYTES, 0);
		if (fds[i] < 0)
			return 1;
	}
	if (pool_create(LARGE_BYTES, 0) != -EDQUOT)
		return 2;
	if (pool_create(LARGE_BYTES, HEARTH_CREATE_DEFER) != -EDQUOT)
		return 3;
	close(fds[1]);
	/* A pool's end frees its owner's share. */
	for (int i = 0; i < 100; i++) {
		fds[1] = pool_create(LARGE_BYTES, 0);
		if (fds[1] >= 0)
			return 0;
		usleep(10000);
	}
	return 4;
}

TEST_F(limits, a_user_has_so_many_pools)
{
	ASSERT_EQ(0, set(self->pools.path, 3));
	EXPECT_EQ(0, proc_as_user(USER, user_meets_pool_limit, NULL));
}

static int user_meets_byte_limit(void *argument)
{
	struct hearth_query query;
	int fd;

	(void)argument;
	if (pool_query(&query) || query.uid_used_bytes || query.uid_pools)
		return 1;
	if (pool_create((query.uid_limit_bytes + LARGE_BYTES) & -LARGE_BYTES, 0) != -EDQUOT)
		return 2;
	fd = pool_create(query.uid_limit_bytes / LARGE_BYTES * LARGE_BYTES, 0);
	if (fd < 0)
		return 3;
	if (pool_create(LARGE_BYTES, 0) != -EDQUOT)
		return 4;
	if (pool_query(&query) || query.uid_pools != 1 ||
	    query.uid_used_bytes != query.uid_limit_bytes / LARGE_BYTES * LARGE_BYTES)
		return 5;
	return 0;
}

TEST_F(limits, a_user_has_so_many_bytes)
{
	ASSERT_EQ(0, set(self->bytes.path, 4));
	EXPECT_EQ(0, proc_as_user(USER, user_meets_byte_limit, NULL));
}

static int user_creates_one(void *argument)
{
	(void)argument;
	return pool_create(LARGE_BYTES, 0) < 0;
}

static int user_fills_and_waits(void *argument)
{
	int ready = *(int *)argument;
	struct hearth_query query;

	if (pool_query(&query))
		return 1;
	if (pool_create(query.uid_limit_bytes / LARGE_BYTES * LARGE_BYTES, 0) < 0)
		return 2;
	(void)!write(ready, "x", 1);
	pause();
	return 0;
}

TEST_F(limits, one_user_at_its_limit_is_no_limit_to_another)
{
	int ends[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, set(self->bytes.path, 4));
	ASSERT_EQ(0, pipe(ends));
	child = fork();
	if (child == 0) {
		close(ends[0]);
		proc_become(USER, USER);
		_exit(user_fills_and_waits(&ends[1]));
	}
	close(ends[1]);
	ASSERT_EQ(1, read(ends[0], &byte, 1));
	EXPECT_EQ(0, proc_as_user(USER + 1, user_creates_one, NULL));
	EXPECT_EQ(1, proc_as_user(USER, user_creates_one, NULL));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int user_leaves_named_pools(void *argument)
{
	(void)argument;
	for (int i = 0; i < 3; i++)
		if (pool_create_keyed(LARGE_BYTES, 0, 900 + (uint64_t)i, 0600) < 0)
			return 1;
	return 0;
}

TEST_F(limits, named_pools_left_behind_still_count)
{
	ASSERT_EQ(0, set(self->pools.path, 3));
	EXPECT_EQ(0, proc_as_user(USER, user_leaves_named_pools, NULL));
	EXPECT_EQ(1, proc_as_user(USER, user_creates_one, NULL));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, pool_destroy(900 + (uint64_t)i, USER));
	}
	EXPECT_EQ(0, proc_as_user(USER, user_creates_one, NULL));
}

/* In a cgroup of 64 MiB: what fits is had and charged, what does not is refused, none is killed. */
static int live_in_a_small_cgroup(void *argument)
{
	const char *group = argument;
	char path[256], pid[32];
	long long charged;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (proc_write(path, pid))
		return 1;
	fd = pool_create(16 * MIB, 0);
	if (fd < 0)
		return 2;
	snprintf(path, sizeof(path), "%s/memory.current", group);
	charged = proc_number(path);
	if (charged < (long long)(16 * MIB))
		return 3;
	if (pool_create(128 * MIB, 0) != -ENOMEM)
		return 4;
	if (pool_create(128 * MIB, HEARTH_CREATE_FALLBACK) != -ENOMEM)
		return 5;
	close(fd);
	for (int i = 0; i < 100 && proc_number(path) > charged - (long long)(15 * MIB); i++)
		usleep(20000);
	return proc_number(path) > charged - (long long)(15 * MIB) ? 6 : 0;
}

/* Tries whenever told to by *turn, which is in memory that the parent shares. */
static _Noreturn void allocate_in_a_full_cgroup(const char *group, volatile int *turn, int rounds)
{
	char path[256], pid[32];
	int pool = -1;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!proc_write(path, pid))
		pool = pool_create(64 * MIB, HEARTH_CREATE_DEFER | HEARTH_CREATE_FALLBACK);
	*turn = 0;
	while (rounds-- > 0) {
		while (!*turn)
			usleep(1000);
		if (pool_allocate(pool) != -ENOMEM)
			_exit(1);
		*turn = 0;
	}
	_exit(0);
}

/* Also not for the little that it takes to note where a pool's pages are. */
TEST_F(limits, a_full_cgroup_is_enomem_and_kills_none)
{
	enum { ROUNDS = 30 };
	char group[128], path[256], text[512];
	volatile int *turn;
	int status;
	pid_t child;

	if (proc_cgroup_create("hearth-full", "+memory", group, sizeof(group)))
		SKIP(return, "no memory controller");
	turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, turn);
	*turn = 1;
	child = fork();
	if (child == 0)
		allocate_in_a_full_cgroup(group, turn, ROUNDS);
	for (int i = 0; i < ROUNDS && waitpid(child, &status, WNOHANG) == 0; i++) {
		for (int wait = 0; *turn && wait < 5000; wait++)
			usleep(1000);
		snprintf(path, sizeof(path), "%s/memory.current", group);
		ASSERT_LT(0, proc_read(path, text, sizeof(text)));
		snprintf(path, sizeof(path), "%s/memory.max", group);
		ASSERT_EQ(0, proc_write(path, text));
		*turn = 1;
	}
	snprintf(path, sizeof(path), "%s/memory.events", group);
	for (int wait = 0; *turn && wait < 5000; wait++)
		usleep(1000);
	ASSERT_LT(0, proc_read(path, text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "oom_kill 0")) TH_LOG("%s", text);
	snprintf(path, sizeof(path), "%s/memory.max", group);
	proc_write(path, "max");
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	usleep(200000);
	EXPECT_EQ(0, rmdir(group));
}

TEST_F(limits, a_cgroup_is_charged_and_its_limit_is_enomem)
{
	char group[128], path[256], events[512];
	int err = proc_cgroup_create("hearth-limits", "+memory", group, sizeof(group));

	if (err)
		SKIP(return, "no memory controller");
	snprintf(path, sizeof(path), "%s/memory.max", group);
	ASSERT_EQ(0, proc_write(path, "67108864"));
	EXPECT_EQ(0, proc_in_child(live_in_a_small_cgroup, group));
	snprintf(path, sizeof(path), "%s/memory.events", group);
	ASSERT_LT(0, proc_read(path, events, sizeof(events)));
	EXPECT_NE(NULL, strstr(events, "oom_kill 0")) TH_LOG("%s", events);
	usleep(200000);
	EXPECT_EQ(0, rmdir(group));
}

/* The charge is the creator's as long as the pool lives, wherever its creator went. */
static int leave_a_pool(void *argument)
{
	char path[256], pid[32];

	snprintf(path, sizeof(path), "%s/cgroup.procs", (const char *)argument);
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (proc_write(path, pid))
		return 1;
	return pool_create_keyed(16 * MIB, 0, 950, 0600) < 0 ? 2 : 0;
}

TEST_F(limits, a_pool_stays_charged_to_its_creators_cgroup)
{
	char group[128], path[256];

	if (proc_cgroup_create("hearth-stays", "+memory", group, sizeof(group)))
		SKIP(return, "no memory controller");
	ASSERT_EQ(0, proc_in_child(leave_a_pool, group));
	snprintf(path, sizeof(path), "%s/memory.current", group);
	EXPECT_LE(16 * MIB, proc_number(path));
	EXPECT_EQ(0, pool_destroy(950, HEARTH_UID_SELF));
	for (int i = 0; i < 100 && proc_number(path) > (long long)MIB; i++)
		usleep(20000);
	EXPECT_GE(MIB, proc_number(path));
	EXPECT_EQ(0, rmdir(group));
}

TEST_F(limits, a_pool_that_does_not_fit_into_free_memory_is_enomem_and_kills_none)
{
	uint64_t ram = (uint64_t)proc_field("/proc/meminfo", "MemTotal") << 10;
	uint64_t large = ram / 100 * 94 / LARGE_BYTES * LARGE_BYTES;
	int64_t start = proc_now_ms();

	ASSERT_EQ(0, set(self->machine.path, 95));
	ASSERT_EQ(0, set(self->bytes.path, 100));
	/* More than is free, though less than the limit: the allocation itself must give up. */
	EXPECT_EQ(-ENOMEM, pool_create(large, 0));
	EXPECT_EQ(-ENOMEM, pool_create(large, HEARTH_CREATE_FALLBACK));
	EXPECT_GE(60000, proc_now_ms() - start);
	EXPECT_EQ(self->oom_kills, proc_field("/proc/vmstat", "oom_kill"));
}

/* Leaves @free_bytes available; what it takes goes with the caller. */
static bool take_all_but(size_t free_bytes)
{
	size_t available = (size_t)proc_field("/proc/meminfo", "MemAvailable") << 10, bytes;
	char *heap;

	if (available < free_bytes)
		return false;
	bytes = available - free_bytes;
	heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (heap == MAP_FAILED)
		return false;
	for (size_t i = 0; i < bytes; i += 4096)
		heap[i] = 1;
	return true;
}

/* Allocates at the word and keeps what it gets. */
static _Noreturn void allocate_with_others(int word, int report)
{
	int pool = pool_create(64 * MIB, HEARTH_CREATE_DEFER);
	char byte = 'x';

	(void)!write(report, &byte, 1);
	(void)!read(word, &byte, 1);
	if (pool >= 0)
		pool_allocate(pool);
	(void)!write(report, &byte, 1);
	pause();
	_exit(0);
}

static void wait_for_reports(int report, int count)
{
	char byte;

	while (count-- > 0)
		(void)!read(report, &byte, 1);
}

static int touch_memory(void *argument)
{
	size_t bytes = *(size_t *)argument;
	char *heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (heap == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < bytes; i += 4096)
		heap[i] = 1;
	return 0;
}

/* Each alone would fit, not all: what one is about to take is none of another's. */
TEST_F(limits, pools_allocated_at_once_leave_others_memory_to_live)
{
	enum { PROCESSES = 8 };
	size_t margin = (size_t)proc_field("/proc/meminfo", "MemTotal") << 10 >> 6;
	size_t need = margin / 2;
	pid_t children[PROCESSES];
	int word[2], report[2];

	ASSERT_EQ(0, set(self->machine.path, 95));
	ASSERT_EQ(0, pipe(word));
	ASSERT_EQ(0, pipe(report));
	for (int i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			close(word[1]);
			allocate_with_others(word[0], report[1]);
		}
	}
	wait_for_reports(report[0], PROCESSES);
	ASSERT_TRUE(take_all_but(margin + 100 * MIB));
	close(word[1]);
	wait_for_reports(report[0], PROCESSES);
	EXPECT_LE(margin / 4 * 3, (size_t)proc_field("/proc/meminfo", "MemAvailable") << 10);
	EXPECT_EQ(0, proc_in_child(touch_memory, &need));
	EXPECT_EQ(self->oom_kills, proc_field("/proc/vmstat", "oom_kill"));
	for (int i = 0; i < PROCESSES; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
}

static uint32_t state_of(int pool)
{
	struct hearth_info info;

	return pool_info(pool, &info) ? UINT32_MAX : info.state;
}

/* Neither for the machine's limit, nor its owner's, nor for lack of memory. */
TEST_F(limits, a_pool_that_cannot_fit_evicts_none)
{
	int idle = pool_create(8 * LARGE_BYTES, 0), active = pool_create(8 * LARGE_BYTES, 0);
	struct hearth_query query;

	ASSERT_FD(idle);
	ASSERT_FD(active);
	ASSERT_EQ(0, pool_idle(idle));
	ASSERT_EQ(0, pool_query(&query));
	/* One large page more than is left when all idle pools are gone. */
	EXPECT_EQ(-ENOMEM, pool_create(query.limit_bytes - query.used_bytes + query.idle_bytes +
					       LARGE_BYTES, HEARTH_CREATE_DEFER));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(idle));
	ASSERT_EQ(0, set(self->bytes.path, 10));
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_EQ(-EDQUOT, pool_create(query.uid_limit_bytes - query.uid_used_bytes +
					       query.idle_bytes + LARGE_BYTES,
				       HEARTH_CREATE_DEFER));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(idle));
	ASSERT_EQ(0, set(self->bytes.path, 100));
	ASSERT_EQ(0, set(self->machine.path, 95));
	ASSERT_EQ(0, pool_query(&query));
	/* More than is free, with room below the limit and without. */
	EXPECT_EQ(-ENOMEM, pool_create(query.limit_bytes - query.used_bytes, 0));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(idle));
	EXPECT_EQ(-ENOMEM, pool_create(query.limit_bytes - query.used_bytes + LARGE_BYTES, 0));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(idle));
	/* Where it helps it is done. */
	ASSERT_EQ(0, set(self->bytes.path, 10));
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_LE(0, pool_create(query.uid_limit_bytes - query.uid_used_bytes + LARGE_BYTES, 0));
	EXPECT_EQ(HEARTH_STATE_EVICTED, state_of(idle));
}

TEST_F(limits, the_longest_unused_goes_first_for_a_new_pool)
{
	static const int order[] = { 2, 0, 3, 1 };
	struct hearth_query query;
	int pools[4];
	size_t each;

	ASSERT_EQ(0, set(self->bytes.path, 10));
	ASSERT_EQ(0, pool_query(&query));
	each = (query.uid_limit_bytes - query.uid_used_bytes) / 4 / LARGE_BYTES * LARGE_BYTES;
	for (int i = 0; i < 4; i++) {
		pools[i] = pool_create(each, 0);
		ASSERT_FD(pools[i]);
	}
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, pool_idle(pools[order[i]]));
	}
	for (int i = 0; i < 3; i++) {
		ASSERT_LE(0, pool_create(each, 0));
		EXPECT_EQ(HEARTH_STATE_EVICTED, state_of(pools[order[i]]));
		EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(pools[order[i + 1]]));
	}
}

TEST_F(limits, a_failed_creation_gives_everything_back)
{
	uint64_t ram = (uint64_t)proc_field("/proc/meminfo", "MemTotal") << 10;
	long before, after;
	struct hearth_query query;

	ASSERT_EQ(0, set(self->machine.path, 95));
	ASSERT_EQ(0, set(self->bytes.path, 100));
	before = proc_available_kib();
	EXPECT_EQ(-ENOMEM, pool_create(ram / 100 * 94 / LARGE_BYTES * LARGE_BYTES, 0));
	after = proc_available_kib();
	EXPECT_LE(before - (64 << 10), after);
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_EQ(self->before.used_bytes, query.used_bytes);
}

/*
 * Cuts memory up: of all but a twelfth of it one page in 16 is kept, locked and not to be moved, so
 * that hardly a large page is left in what is free. Dies with the caller. False if it cannot.
 */
static bool cut_memory_up(void)
{
	size_t bytes = (size_t)(proc_field("/proc/meminfo", "MemAvailable") -
				proc_field("/proc/meminfo", "MemTotal") / 12) << 10;
	char *heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (heap == MAP_FAILED || madvise(heap, bytes, MADV_NOHUGEPAGE) ||
	    proc_write("/proc/sys/vm/compact_unevictable_allowed", "0") ||
	    mlock2(heap, bytes, MLOCK_ONFAULT))
		return false;
	for (size_t i = 0; i < bytes; i += 4096)
		heap[i] = 1;
	for (size_t i = 0; i + 65536 <= bytes; i += 65536)
		if (madvise(heap + i, 65536 - 4096, 24 /* MADV_DONTNEED_LOCKED */))
			return false;
	return true;
}

/* Of memory cut up: more than can be left of it in large pages. */
static size_t more_than_is_large(void)
{
	return ((size_t)proc_field("/proc/meminfo", "MemAvailable") << 9) & -LARGE_BYTES;
}

static uint64_t bytes_below_large(const struct hearth_info *info)
{
	uint64_t sum = 0;

	for (int order = 0; order < 9; order++)
		sum += info->order_bytes[order];
	return sum;
}

TEST_F(limits, fallback_takes_smaller_orders_and_info_tells)
{
	struct hearth_info info;
	int64_t start;
	size_t bytes;
	int fd;

	if (proc_scale() > 1)
		SKIP(return, "the next test takes the same way");
	ASSERT_EQ(0, set(self->machine.path, 95));
	ASSERT_TRUE(cut_memory_up());
	bytes = more_than_is_large();
	start = proc_now_ms();
	EXPECT_EQ(-ENOMEM, pool_create(bytes, 0));
	EXPECT_GE(60000, proc_now_ms() - start);
	fd = pool_create(bytes, HEARTH_CREATE_FALLBACK);
	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_LT(0, bytes_below_large(&info));
	EXPECT_EQ(info.size_bytes, bytes_below_large(&info) + info.order_bytes[9]);
	EXPECT_EQ(info.size_bytes, info.allocated_bytes);
}

/* A pool of pages of many sizes is one pool: its bytes follow each other, for CPU and device. */
TEST_F(limits, pages_of_many_orders_map_and_export_as_one)
{
	struct edu_import import = {};
	struct hearth_info info;
	uint64_t block[EDU_BLOCK_BYTES / 8];
	int fd, device = open("/dev/edu_import", O_RDWR | O_CLOEXEC);
	char *address;
	size_t bytes;

	ASSERT_FD(device);
	ASSERT_EQ(0, set(self->machine.path, 95));
	ASSERT_TRUE(cut_memory_up());
	bytes = more_than_is_large();
	fd = pool_create(bytes, HEARTH_CREATE_FALLBACK);
	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	ASSERT_LT(0, bytes_below_large(&info));
	address = pool_map(fd, bytes, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	ASSERT_TRUE(is_zero(address, bytes));
	pattern_fill(address, bytes, 0);
	EXPECT_EQ(-1, pattern_check(address, bytes, 0));
	import.fd = pool_export(fd, 0, bytes, 0);
	ASSERT_FD(import.fd);
	ASSERT_EQ(0, ioctl(device, EDU_IOC_IMPORT, &import));
	EXPECT_EQ(bytes, import.total_bytes);
	EXPECT_LT(import.nents, 1 + bytes / 4096);
	for (size_t at = 0; at < bytes; at += bytes / 16 & -4096UL) {
		struct edu_move move = { .offset = at, .buffer = (uintptr_t)block };

		ASSERT_EQ(0, ioctl(device, EDU_IOC_MOVE, &move));
		EXPECT_EQ(-1, pattern_check(block, sizeof(block), at / 8));
	}
}

TEST_F(limits, fallback_heeds_the_least_order)
{
	struct hearth_create create = pool_create_request(64 * LARGE_BYTES, HEARTH_CREATE_FALLBACK);
	struct hearth_info info;
	int fd;

	create.min_order = 4;
	fd = pool_ioctl(pool_device(), HEARTH_CREATE, &create);
	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	for (int order = 0; order < 4; order++) {
		EXPECT_EQ(0, info.order_bytes[order]);
	}
}

TEST_HARNESS_MAIN
