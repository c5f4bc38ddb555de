// SPDX-License-Identifier: MIT
/* Idle pools go when memory is short, the longest unused first; pools in use never do. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include "common/test.h"

#define POOL_BYTES (4 * LARGE_BYTES)
#define KEY 1000

static uint32_t state_of(int pool)
{
	struct hearth_info info;

	return pool_info(pool, &info) ? UINT32_MAX : info.state;
}

/* Runs the shrinkers until @pool is evicted, or a few times in vain. */
static bool goes_under_reclaim(int pool)
{
	for (int i = 0; i < 4; i++) {
		if (state_of(pool) == HEARTH_STATE_EVICTED)
			return true;
		reclaim_slabs();
	}
	return false;
}

FIXTURE(evict)
{
	int pool;
	struct hearth_query before;
};

FIXTURE_SETUP(evict)
{
	char *address;

	ASSERT_EQ(0, pool_query(&self->before));
	self->pool = pool_create_keyed(POOL_BYTES, 0, KEY, 0600);
	ASSERT_FD(self->pool);
	address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	pattern_fill(address, POOL_BYTES, 0);
	munmap(address, POOL_BYTES);
}

FIXTURE_TEARDOWN(evict)
{
	close(self->pool);
	pool_destroy(KEY, HEARTH_UID_SELF);
}

TEST_F(evict, idle_pool_goes_and_says_so)
{
	struct pollfd poll_fd = { .fd = self->pool, .events = POLLIN | POLLOUT };
	struct hearth_query query;
	struct hearth_info info;

	ASSERT_EQ(0, pool_seal(self->pool));
	ASSERT_EQ(0, pool_idle(self->pool));
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_EQ(self->before.idle_bytes + POOL_BYTES, query.idle_bytes);
	ASSERT_TRUE(goes_under_reclaim(self->pool));
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(0, info.allocated_bytes);
	EXPECT_EQ(0, info.order_bytes[9]);
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_EQ(self->before.used_bytes, query.used_bytes);
	EXPECT_EQ(self->before.idle_bytes, query.idle_bytes);
	poll(&poll_fd, 1, 0);
	EXPECT_TRUE(poll_fd.revents & POLLHUP);
}

TEST_F(evict, an_unsealed_idle_pool_goes_too)
{
	ASSERT_EQ(0, pool_idle(self->pool));
	EXPECT_TRUE(goes_under_reclaim(self->pool));
}

TEST_F(evict, evicted_pool_answers_estale)
{
	ASSERT_EQ(0, pool_idle(self->pool));
	ASSERT_TRUE(goes_under_reclaim(self->pool));
	EXPECT_EQ(-ESTALE, pool_seal(self->pool));
	EXPECT_EQ(-ESTALE, pool_idle(self->pool));
	EXPECT_EQ(-ESTALE, pool_activate(self->pool));
	EXPECT_EQ(-ESTALE, pool_allocate(self->pool));
	EXPECT_EQ(-ESTALE, pool_export(self->pool, 0, LARGE_BYTES, 0));
	EXPECT_EQ(MAP_FAILED, pool_map(self->pool, POOL_BYTES, PROT_READ));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(-ESTALE, pool_open(KEY, HEARTH_UID_SELF, 0));
}

TEST_F(evict, evicted_name_is_taken_over_by_a_new_pool)
{
	struct hearth_info info;
	char *address;
	int fd;

	ASSERT_EQ(0, pool_idle(self->pool));
	ASSERT_TRUE(goes_under_reclaim(self->pool));
	fd = pool_create_keyed(POOL_BYTES, 0, KEY, 0600);
	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, info.state);
	address = pool_map(fd, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_TRUE(is_zero(address, POOL_BYTES));
	EXPECT_EQ(HEARTH_STATE_EVICTED, state_of(self->pool));
}

TEST_F(evict, evicted_name_can_be_destroyed)
{
	ASSERT_EQ(0, pool_idle(self->pool));
	ASSERT_TRUE(goes_under_reclaim(self->pool));
	EXPECT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
	EXPECT_EQ(-ENOENT, pool_open(KEY, HEARTH_UID_SELF, 0));
}

TEST_F(evict, active_pool_stays)
{
	EXPECT_FALSE(goes_under_reclaim(self->pool));
	ASSERT_EQ(0, pool_idle(self->pool));
	ASSERT_EQ(0, pool_activate(self->pool));
	EXPECT_FALSE(goes_under_reclaim(self->pool));
}

TEST_F(evict, mapped_idle_pool_stays_until_unmapped)
{
	char *address = pool_map(self->pool, POOL_BYTES, PROT_READ);

	ASSERT_MAPPED(address);
	ASSERT_EQ(0, pool_idle(self->pool));
	EXPECT_FALSE(goes_under_reclaim(self->pool));
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
	munmap(address, POOL_BYTES);
	EXPECT_TRUE(goes_under_reclaim(self->pool));
}

TEST_F(evict, exported_idle_pool_stays_until_the_dmabuf_goes)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, 0);

	ASSERT_FD(dmabuf);
	ASSERT_EQ(0, pool_idle(self->pool));
	EXPECT_FALSE(goes_under_reclaim(self->pool));
	close(dmabuf);
	EXPECT_TRUE(goes_under_reclaim(self->pool));
}

TEST_F(evict, mapping_of_a_dmabuf_holds_it_as_well)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, 0);
	char *window = pool_map(dmabuf, LARGE_BYTES, PROT_READ);

	ASSERT_MAPPED(window);
	close(dmabuf);
	ASSERT_EQ(0, pool_idle(self->pool));
	EXPECT_FALSE(goes_under_reclaim(self->pool));
	EXPECT_EQ(-1, pattern_check(window, LARGE_BYTES, 0));
	munmap(window, LARGE_BYTES);
	EXPECT_TRUE(goes_under_reclaim(self->pool));
}

TEST_F(evict, activating_in_time_keeps_the_bytes)
{
	char *address;

	ASSERT_EQ(0, pool_idle(self->pool));
	ASSERT_EQ(0, pool_activate(self->pool));
	reclaim_slabs();
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
}

TEST_F(evict, idle_on_close_takes_effect_when_the_last_user_goes)
{
	int fd = pool_create_keyed(POOL_BYTES, HEARTH_CREATE_IDLE_ON_CLOSE, KEY + 1, 0600);
	char *address;

	ASSERT_FD(fd);
	EXPECT_FALSE(goes_under_reclaim(fd));
	address = pool_map(fd, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	close(fd);
	for (int i = 0; i < 5; i++)
		reclaim_slabs();
	fd = pool_open(KEY + 1, HEARTH_UID_SELF, 0);
	ASSERT_FD(fd);
	close(fd);
	munmap(address, POOL_BYTES);
	for (int i = 0; i < 4; i++)
		reclaim_slabs();
	EXPECT_EQ(-ESTALE, pool_open(KEY + 1, HEARTH_UID_SELF, 0));
	EXPECT_EQ(0, pool_destroy(KEY + 1, HEARTH_UID_SELF));
}

TEST_F(evict, pool_of_a_crashed_owner_is_reclaimed_if_idle_on_close)
{
	pid_t child = fork();

	if (child == 0) {
		int fd = pool_create_keyed(POOL_BYTES, HEARTH_CREATE_IDLE_ON_CLOSE, KEY + 2, 0600);

		pool_map(fd, POOL_BYTES, PROT_READ | PROT_WRITE);
		raise(SIGKILL);
	}
	waitpid(child, NULL, 0);
	for (int i = 0; i < 4; i++)
		reclaim_slabs();
	EXPECT_EQ(-ESTALE, pool_open(KEY + 2, HEARTH_UID_SELF, 0));
	EXPECT_EQ(0, pool_destroy(KEY + 2, HEARTH_UID_SELF));
}

/* Real memory pressure by a hog that must survive it. */
struct hog {
	size_t bytes;
	int done;
};

static int hog_memory(void *argument)
{
	struct hog *hog = argument;
	char *heap = mmap(NULL, hog->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	if (heap == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < hog->bytes; i += 4096)
		heap[i] = (char)i;
	return 0;
}

static size_t available_bytes(void)
{
	return (size_t)proc_field("/proc/meminfo", "MemAvailable") << 10;
}

TEST(the_longest_unused_goes_first_under_pressure_and_the_hog_lives)
{
	enum { POOLS = 6 };
	const size_t each = 48 / proc_scale() * LARGE_BYTES;
	const size_t in_use = 64 / proc_scale() * LARGE_BYTES;
	struct hearth_info info[POOLS];
	int pools[POOLS], active;
	int evicted = 0;
	struct hog hog;
	char *address;

	active = pool_create(in_use, 0);
	ASSERT_FD(active);
	address = pool_map(active, in_use, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	pattern_fill(address, in_use, 42);
	for (int i = 0; i < POOLS; i++) {
		pools[i] = pool_create(each, 0);
		ASSERT_FD(pools[i]);
	}
	/* Idled in another order than created: 3 4 5 0 1 2. */
	for (int i = 0; i < POOLS; i++) {
		ASSERT_EQ(0, pool_idle(pools[(i + 3) % POOLS]));
	}
	/* MemAvailable counts idle pools in and the watermarks out: this takes half of the pools. */
	hog.bytes = available_bytes() - POOLS / 2 * each;
	EXPECT_EQ(0, proc_in_child(hog_memory, &hog));
	for (int i = 0; i < POOLS; i++) {
		ASSERT_EQ(0, pool_info(pools[i], &info[i]));
		evicted += info[i].state == HEARTH_STATE_EVICTED;
	}
	EXPECT_LT(0, evicted);
	/* None that was used later went before one used earlier. */
	for (int i = 0; i < POOLS; i++) {
		for (int j = 0; j < POOLS; j++) {
			if (info[i].used_ns < info[j].used_ns) {
				EXPECT_FALSE(info[j].state == HEARTH_STATE_EVICTED &&
					     info[i].state != HEARTH_STATE_EVICTED)
				TH_LOG("pool %d went before pool %d", j, i);
			}
		}
	}
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(active));
	EXPECT_EQ(-1, pattern_check(address, in_use, 42));
}

/* The disk behind /data, which has 160 MiB. */
static int open_data_disk(void)
{
	FILE *mounts = fopen("/proc/mounts", "r");
	char device[64], path[64];
	int fd = -1;

	while (mounts && fd < 0 && fscanf(mounts, "%63s %63s %*[^\n]", device, path) == 2)
		if (strcmp(path, "/data") == 0)
			fd = open(device, O_RDONLY);
	if (mounts)
		fclose(mounts);
	return fd;
}

/* Has the kernel take a tenth of what is read, of which there is enough: it is in no need. */
static void reclaim_a_little(void)
{
	for (int node = 0; node < 2; node++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/reclaim", node);
		fd = open(path, O_WRONLY);
		if (fd < 0)
			continue;
		/* It says so where it got less. */
		if (write(fd, "16M", 3) != 3 && errno != EAGAIN)
			perror(path);
		close(fd);
	}
}

/*
 * The kernel mostly asks for little at a time and finds enough elsewhere. Where that goes on, because
 * the same is read again and again, an idle pool is the better thing to give up.
 */
TEST(a_pool_goes_when_as_much_as_it_holds_was_asked_for_little_by_little)
{
	enum { MOST_ROUNDS = 100 };
	const size_t bytes = 16 * LARGE_BYTES;
	int disk, pool, rounds = 0;
	char *buffer;

	if (access("/sys/devices/system/node/node0/reclaim", W_OK))
		SKIP(return, "this kernel reclaims of a node by itself alone");
	disk = open_data_disk();
	buffer = malloc(LARGE_BYTES);
	ASSERT_FD(disk);
	ASSERT_NE(NULL, buffer);
	pool = pool_create(bytes, 0);
	ASSERT_FD(pool);
	ASSERT_EQ(0, pool_idle(pool));
	for (; rounds < MOST_ROUNDS && state_of(pool) != HEARTH_STATE_EVICTED; rounds++) {
		for (off_t at = 0; pread(disk, buffer, LARGE_BYTES, at) > 0;)
			at += LARGE_BYTES;
		reclaim_a_little();
		/* Not at the first, either: it is dear to load again. */
		if (rounds == 0)
			EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(pool));
	}
	TH_LOG("%d rounds", rounds);
	EXPECT_EQ(HEARTH_STATE_EVICTED, state_of(pool));
	close(disk);
	free(buffer);
}

/* One thread frees the pool for long: those that come meanwhile wait for it, none is killed. */
TEST(hogs_live_while_another_has_the_only_idle_pool_freed)
{
	enum { HOGS = 6 };
	const long kills = proc_field("/proc/vmstat", "oom_kill");
	size_t large = available_bytes() / 2 / LARGE_BYTES * LARGE_BYTES;
	struct hearth_query query;
	struct hog hog;
	int pool;

	ASSERT_EQ(0, pool_query(&query));
	if (large > query.limit_bytes - query.used_bytes)
		large = (query.limit_bytes - query.used_bytes) / LARGE_BYTES * LARGE_BYTES;
	pool = pool_create(large, 0);
	ASSERT_FD(pool);
	ASSERT_EQ(0, pool_idle(pool));
	hog.bytes = (available_bytes() - large / 4) / HOGS;
	for (int i = 0; i < HOGS; i++)
		if (fork() == 0)
			_exit(hog_memory(&hog));
	for (int i = 0; i < HOGS; i++) {
		int status;

		ASSERT_LT(0, wait(&status));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(HEARTH_STATE_EVICTED, state_of(pool));
	EXPECT_EQ(kills, proc_field("/proc/vmstat", "oom_kill"));
}

TEST(a_new_pool_finds_room_where_idle_ones_were)
{
	struct hearth_query query;
	int idle, fd;
	size_t most;

	ASSERT_EQ(0, pool_query(&query));
	most = (query.limit_bytes - query.used_bytes) / LARGE_BYTES * LARGE_BYTES;
	if (most > available_bytes() * 3 / 4)
		most = available_bytes() * 3 / 4 / LARGE_BYTES * LARGE_BYTES;
	idle = pool_create(most, 0);
	ASSERT_FD(idle);
	ASSERT_EQ(0, pool_idle(idle));
	fd = pool_create(most, 0);
	EXPECT_LE(0, fd);
	EXPECT_EQ(HEARTH_STATE_EVICTED, state_of(idle));
}

TEST(a_new_pool_evicts_no_active_one)
{
	struct hearth_query query;
	size_t half;
	int active, result;

	ASSERT_EQ(0, pool_query(&query));
	half = query.limit_bytes / LARGE_BYTES / 2 * LARGE_BYTES;
	if (half > available_bytes() / 2)
		half = available_bytes() / 2 / LARGE_BYTES * LARGE_BYTES;
	active = pool_create(half, 0);
	ASSERT_FD(active);
	/* Over the owner's limit as well, where that is not above the machine's. */
	result = pool_create(query.limit_bytes / LARGE_BYTES * LARGE_BYTES, 0);
	EXPECT_TRUE(result == -ENOMEM || result == -EDQUOT);
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(active));
}

/* An opener that comes while the shrinker runs gets the bytes or ESTALE, never half. */
TEST(opening_races_with_eviction)
{
	for (int round = 0; round < 40; round++) {
		int fd = pool_create_keyed(LARGE_BYTES, 0, KEY + 9, 0600), again;
		char *address;
		pid_t child;
		int status;

		ASSERT_FD(fd);
		address = pool_map(fd, LARGE_BYTES, PROT_READ | PROT_WRITE);
		ASSERT_MAPPED(address);
		pattern_fill(address, LARGE_BYTES, 7);
		munmap(address, LARGE_BYTES);
		ASSERT_EQ(0, pool_idle(fd));
		close(fd);
		child = fork();
		if (child == 0) {
			reclaim_slabs();
			_exit(0);
		}
		again = pool_open(KEY + 9, HEARTH_UID_SELF, HEARTH_OPEN_WRITE);
		if (again >= 0) {
			address = pool_map(again, LARGE_BYTES, PROT_READ);
			if (address != MAP_FAILED) {
				EXPECT_EQ(-1, pattern_check(address, LARGE_BYTES, 7));
				munmap(address, LARGE_BYTES);
			} else {
				EXPECT_EQ(ESTALE, errno);
			}
			close(again);
		} else {
			EXPECT_EQ(-ESTALE, again);
		}
		waitpid(child, &status, 0);
		EXPECT_EQ(0, pool_destroy(KEY + 9, HEARTH_UID_SELF));
	}
}

TEST_HARNESS_MAIN
