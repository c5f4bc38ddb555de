// SPDX-License-Identifier: MIT
/* 64 threads (16 where all is slow), half at one call and half at another, for every pair. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "common/test.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 900

#define MOST_THREADS 64
#define POOL_BYTES (2 * LARGE_BYTES)
#define KEY 1200

static __thread sigjmp_buf escape;

static void on_bus_error(int number)
{
	siglongjmp(escape, number);
}

/* Each returns 0 or what it met; any answer that the header knows is right. */
static int do_info(int pool)
{
	struct hearth_info info;

	return pool_info(pool, &info);
}

static int do_query(int pool)
{
	struct hearth_query query;

	(void)pool;
	return pool_query(&query);
}

static int do_list(int pool)
{
	struct hearth_info entries[4];
	struct hearth_list list = { .entries = (uintptr_t)entries, .count = 4,
				    .entry_bytes = sizeof(entries[0]) };

	(void)pool;
	return pool_ioctl(pool_device(), HEARTH_LIST, &list);
}

static int do_create(int pool)
{
	int fd = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600);

	(void)pool;
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static int do_create_nameless(int pool)
{
	int fd = pool_create(LARGE_BYTES, HEARTH_CREATE_IDLE_ON_CLOSE | HEARTH_CREATE_FALLBACK);

	(void)pool;
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static int do_open(int pool)
{
	int fd = pool_open(KEY, HEARTH_UID_SELF, HEARTH_OPEN_WRITE);

	(void)pool;
	if (fd < 0)
		return fd;
	pool_idle(fd);
	return close(fd);
}

static int do_destroy(int pool)
{
	(void)pool;
	return pool_destroy(KEY, HEARTH_UID_SELF);
}

static int do_reclaim(int pool)
{
	(void)pool;
	reclaim_slabs();
	return 0;
}

static int do_export(int pool)
{
	int dmabuf = pool_export(pool, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE);

	if (dmabuf < 0)
		dmabuf = pool_export(pool, LARGE_BYTES, LARGE_BYTES, 0);
	if (dmabuf >= 0)
		close(dmabuf);
	return dmabuf < 0 ? dmabuf : 0;
}

static int touch_mapping(int pool, int prot)
{
	volatile char *address = pool_map(pool, POOL_BYTES, prot);

	if (address == MAP_FAILED)
		return -errno;
	if (!sigsetjmp(escape, 1)) {
		(void)address[0];
		if (prot & PROT_WRITE)
			address[LARGE_BYTES] = 1;
	}
	return munmap((void *)address, POOL_BYTES);
}

static int do_map_for_reading(int pool)
{
	return touch_mapping(pool, PROT_READ);
}

static int do_map_for_writing(int pool)
{
	return touch_mapping(pool, PROT_READ | PROT_WRITE);
}

static const struct race_call {
	const char *name;
	int (*run)(int pool);
} calls[] = {
	{ "info", do_info },
	{ "query", do_query },
	{ "list", do_list },
	{ "create", do_create },
	{ "create nameless", do_create_nameless },
	{ "open", do_open },
	{ "destroy", do_destroy },
	{ "reclaim", do_reclaim },
	{ "allocate", pool_allocate },
	{ "seal", pool_seal },
	{ "idle", pool_idle },
	{ "activate", pool_activate },
	{ "export", do_export },
	{ "map for reading", do_map_for_reading },
	{ "map for writing", do_map_for_writing },
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* One pair at a time; all threads meet before and after each. */
struct race {
	pthread_barrier_t start, end;
	const struct race_call *pair[2];
	int pool;
	int rounds;
	bool over;
	int unknown_result;
	const char *unknown_call;
};

static struct race race;

static bool is_documented(int result)
{
	switch (result) {
	case 0:
	case -EAGAIN: /* mmap, of a machine short of memory */
	case -EACCES:
	case -EBUSY:
	case -EDQUOT:
	case -EEXIST:
	case -EINTR:
	case -ENOENT:
	case -ENOMEM:
	case -EPERM:
	case -ESTALE:
		return true;
	}
	return false;
}

static void *run_thread(void *argument)
{
	unsigned int side = (unsigned int)(uintptr_t)argument & 1;

	for (;;) {
		pthread_barrier_wait(&race.start);
		if (race.over)
			return NULL;
		for (int i = 0; i < race.rounds; i++) {
			int result = race.pair[side]->run(race.pool);

			if (!is_documented(result)) {
				race.unknown_result = result;
				race.unknown_call = race.pair[side]->name;
			}
		}
		pthread_barrier_wait(&race.end);
	}
}

static void race_pairs(struct __test_metadata *_metadata, uint32_t flags)
{
	struct sigaction action = { .sa_handler = on_bus_error };
	struct hearth_query before, after;
	pthread_t threads[MOST_THREADS];
	unsigned int count = MOST_THREADS / proc_scale();
	struct hearth_info info;

	sigaction(SIGBUS, &action, NULL);
	memset(&race, 0, sizeof(race));
	race.rounds = 4 / (int)proc_scale();
	ASSERT_EQ(0, pool_query(&before));
	pthread_barrier_init(&race.start, NULL, count + 1);
	pthread_barrier_init(&race.end, NULL, count + 1);
	for (uintptr_t i = 0; i < count; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, run_thread, (void *)i));
	}
	for (size_t a = 0; a < CALLS; a++) {
		for (size_t b = a; b < CALLS; b++) {
			race.pair[0] = &calls[a];
			race.pair[1] = &calls[b];
			race.pool = pool_create_keyed(POOL_BYTES, flags, KEY, 0600);
			ASSERT_FD(race.pool);
			pthread_barrier_wait(&race.start);
			pthread_barrier_wait(&race.end);
			EXPECT_EQ(0, race.unknown_result)
			{
				TH_LOG("%s against %s", calls[a].name, calls[b].name);
				race.unknown_result = 0;
			}
			ASSERT_EQ(0, pool_info(race.pool, &info));
			EXPECT_EQ(0, info.mappings);
			EXPECT_EQ(1, info.files)
			TH_LOG("%s against %s", calls[a].name, calls[b].name);
			EXPECT_TRUE(info.state == HEARTH_STATE_EVICTED ? !info.allocated_bytes :
				    info.state == HEARTH_STATE_ALLOCATING || info.allocated_bytes)
			TH_LOG("state %u with %llu bytes", info.state, info.allocated_bytes);
			close(race.pool);
			pool_destroy(KEY, HEARTH_UID_SELF);
		}
	}
	race.over = true;
	pthread_barrier_wait(&race.start);
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	ASSERT_EQ(0, pool_query(&after));
	EXPECT_EQ(before.used_bytes, after.used_bytes);
	EXPECT_EQ(before.uid_pools, after.uid_pools);
}

TEST(every_pair_of_calls_on_a_whole_pool)
{
	race_pairs(_metadata, 0);
}

TEST(every_pair_of_calls_on_a_pool_being_allocated)
{
	race_pairs(_metadata, HEARTH_CREATE_DEFER | HEARTH_CREATE_IDLE_ON_CLOSE);
}

TEST_HARNESS_MAIN
