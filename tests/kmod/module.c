// SPDX-License-Identifier: MIT
/*
 * Loading and unloading: refused while a pool is in use, clean otherwise; parameters; the
 * reserve. Runs last: it leaves the module loaded as it found it.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "common/test.h"

#define KEY 1400
#define MIB (1UL << 20)

static int unload(void)
{
	return syscall(SYS_delete_module, "hearth", O_NONBLOCK) ? -errno : 0;
}

static int load(const char *options)
{
	int fd = open("/modules/hearth.ko", O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, options, 0))
		err = -errno;
	close(fd);
	chmod("/dev/hearth", 0666);
	return err;
}

/*
 * The module's own device descriptor holds it too, so whatever is to be done with the module
 * loaded is done in a child, and the child's exit is awaited.
 */
static int unload_soon(void)
{
	int err = 0;

	for (int i = 0; i < 100; i++) {
		err = unload();
		if (err != -EAGAIN && err != -EBUSY)
			break;
		usleep(20000);
	}
	return err;
}

FIXTURE(module)
{
	long available;
};

FIXTURE_SETUP(module)
{
	self->available = proc_available_kib();
	if (access("/sys/module/hearth", F_OK)) {
		ASSERT_EQ(0, load(""));
	}
}

FIXTURE_TEARDOWN(module)
{
	unload_soon();
	load("");
}

TEST_F(module, unload_is_refused_while_the_device_is_open)
{
	ASSERT_FD(open("/dev/hearth", O_RDWR));
	EXPECT_EQ(-EAGAIN, unload());
}

static int keep_only(int kept)
{
	for (int fd = 3; fd < 64; fd++)
		if (fd != kept)
			close(fd);
	return unload();
}

static int unload_with_pool(void *argument)
{
	(void)argument;
	return keep_only(pool_create(LARGE_BYTES, 0)) == -EAGAIN ? 0 : 1;
}

static int unload_with_mapping(void *argument)
{
	(void)argument;
	if (pool_map(pool_create(LARGE_BYTES, 0), LARGE_BYTES, PROT_READ) == MAP_FAILED)
		return 2;
	return keep_only(-1) == -EAGAIN ? 0 : 1;
}

static int unload_with_dmabuf(void *argument)
{
	(void)argument;
	return keep_only(pool_export(pool_create(LARGE_BYTES, 0), 0, LARGE_BYTES, 0)) == -EAGAIN ?
		       0 :
		       1;
}

TEST_F(module, unload_is_refused_while_a_pool_is_open)
{
	EXPECT_EQ(0, proc_in_child(unload_with_pool, NULL));
}

TEST_F(module, unload_is_refused_while_a_pool_is_mapped)
{
	EXPECT_EQ(0, proc_in_child(unload_with_mapping, NULL));
}

TEST_F(module, unload_is_refused_while_a_dmabuf_is_there)
{
	EXPECT_EQ(0, proc_in_child(unload_with_dmabuf, NULL));
}

static int leave_idle_named_pools(void *argument)
{
	(void)argument;
	for (int i = 0; i < 4; i++) {
		int fd = pool_create_keyed(16 * LARGE_BYTES, 0, KEY + (uint64_t)i, 0600);

		if (fd < 0 || pool_idle(fd))
			return 1;
	}
	return 0;
}

TEST_F(module, unload_frees_idle_named_pools)
{
	ASSERT_EQ(0, proc_in_child(leave_idle_named_pools, NULL));
	EXPECT_EQ(0, unload_soon());
	EXPECT_NE(0, access("/dev/hearth", F_OK));
	EXPECT_NE(0, access("/sys/kernel/debug/hearth", F_OK));
	/* 128 MiB were in those pools. */
	EXPECT_LE(self->available - (48 << 10), proc_available_kib());
}

TEST_F(module, loads_and_unloads_again_and_again)
{
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, unload_soon());
		ASSERT_EQ(0, load(""));
	}
}

static int destroy_left_pool(void *argument)
{
	(void)argument;
	return -pool_destroy(KEY, HEARTH_UID_SELF);
}

static int leave_evicted_name(void *argument)
{
	int fd = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600);

	(void)argument;
	pool_idle(fd);
	for (int i = 0; i < 12; i++)
		reclaim_slabs();
	return 0;
}

TEST_F(module, unload_frees_names_of_evicted_pools)
{
	ASSERT_EQ(0, proc_in_child(leave_evicted_name, NULL));
	EXPECT_EQ(0, unload_soon());
	ASSERT_EQ(0, load(""));
	EXPECT_EQ(ENOENT, proc_in_child(destroy_left_pool, NULL));
}

/* Within a reserve of 64 MiB. The answers are in the exit status: the module must not be held. */
static int use_the_reserve(void *argument)
{
	struct hearth_query query;
	int fd;
	char *address;

	(void)argument;
	if (pool_query(&query) || query.reserve_bytes != 64 * MIB ||
	    query.reserve_free_bytes != 64 * MIB)
		return 1;
	for (int round = 0; round < 2; round++) {
		fd = pool_create(32 * MIB, 0);
		if (fd < 0)
			return 2;
		if (pool_query(&query) || query.reserve_free_bytes != 32 * MIB)
			return 3;
		address = pool_map(fd, 32 * MIB, PROT_READ | PROT_WRITE);
		if (address == MAP_FAILED)
			return 4;
		/* What comes out of the reserve was zeroed since its last user. */
		if (!is_zero(address, 32 * MIB))
			return 5;
		memset(address, 0xa5, 32 * MIB);
		munmap(address, 32 * MIB);
		close(fd);
		for (int i = 0; i < 100; i++) {
			if (pool_query(&query))
				return 6;
			if (query.reserve_free_bytes == 64 * MIB)
				break;
			usleep(10000);
		}
		if (query.reserve_free_bytes != 64 * MIB)
			return 7;
	}
	/* More than the reserve: the rest is allocated. */
	fd = pool_create(96 * MIB, 0);
	if (fd < 0)
		return 8;
	return pool_query(&query) || query.reserve_free_bytes != 0 ? 9 : 0;
}

TEST_F(module, reserve_is_used_first_and_refilled)
{
	ASSERT_EQ(0, unload_soon());
	ASSERT_EQ(0, load("reserve_bytes=67108864"));
	EXPECT_EQ(0, proc_in_child(use_the_reserve, NULL));
	EXPECT_EQ(0, unload_soon());
	EXPECT_LE(self->available - (48 << 10), proc_available_kib());
}

static int leave_a_page_in_a_pipe(void *argument)
{
	struct hearth_query query;
	int fd = pool_create(2 * LARGE_BYTES, 0), ends[2];
	char *address = pool_map(fd, 2 * LARGE_BYTES, PROT_READ | PROT_WRITE), *again;
	struct iovec part = { address, 4096 };
	static char page[4096];

	(void)argument;
	if (address == MAP_FAILED || pipe(ends))
		return 1;
	memset(address, 0x77, 2 * LARGE_BYTES);
	if (vmsplice(ends[1], &part, 1, 0) != 4096)
		return 2;
	munmap(address, 2 * LARGE_BYTES);
	close(fd);
	for (int i = 0; i < 100; i++) {
		if (pool_query(&query))
			return 3;
		if (query.reserve_bytes == query.reserve_free_bytes)
			break;
		usleep(10000);
	}
	/* The page's folio left the reserve, the other went back. */
	if (query.reserve_bytes != LARGE_BYTES || query.reserve_free_bytes != LARGE_BYTES)
		return 4;
	fd = pool_create(2 * LARGE_BYTES, 0);
	again = pool_map(fd, 2 * LARGE_BYTES, PROT_READ | PROT_WRITE);
	if (again == MAP_FAILED)
		return 5;
	memset(again, 0x11, 2 * LARGE_BYTES);
	if (read(ends[0], page, sizeof(page)) != 4096)
		return 6;
	for (size_t i = 0; i < sizeof(page); i++)
		if (page[i] != 0x77)
			return 7;
	return 0;
}

TEST_F(module, a_page_that_somebody_holds_is_not_lent_again_from_the_reserve)
{
	ASSERT_EQ(0, unload_soon());
	ASSERT_EQ(0, load("reserve_bytes=4194304"));
	EXPECT_EQ(0, proc_in_child(leave_a_page_in_a_pipe, NULL));
}

static int idle_in_the_reserve(void *argument)
{
	static const char limit[] = "/sys/module/hearth/parameters/uid_limit_percent";
	struct hearth_info info;
	struct hearth_query query;
	char percent[16];
	long available;
	int idle;

	(void)argument;
	idle = pool_create(32 * MIB, 0);
	if (idle < 0)
		return 1;
	available = proc_field("/proc/meminfo", "MemAvailable");
	if (pool_idle(idle))
		return 2;
	/* The reserve would have it, nobody else. */
	if (proc_field("/proc/meminfo", "MemAvailable") > available + (16 << 10))
		return 3;
	for (int i = 0; i < 8; i++)
		reclaim_slabs();
	if (pool_info(idle, &info) || info.state == HEARTH_STATE_EVICTED)
		return 4;
	if (pool_query(&query) || query.idle_bytes != 32 * MIB)
		return 5;
	/* A pool that cannot be otherwise does have it: one of the two is within the limit. */
	snprintf(percent, sizeof(percent), "%ld",
		 1 + (48L << 10) * 100 / proc_field("/proc/meminfo", "MemTotal"));
	if (proc_write(limit, percent) || pool_create(32 * MIB, 0) < 0)
		return 6;
	return pool_info(idle, &info) || info.state != HEARTH_STATE_EVICTED ? 7 : 0;
}

TEST_F(module, idle_pool_in_the_reserve_goes_for_a_pool_alone)
{
	ASSERT_EQ(0, unload_soon());
	ASSERT_EQ(0, load("reserve_bytes=67108864"));
	EXPECT_EQ(0, proc_in_child(idle_in_the_reserve, NULL));
}

TEST_F(module, reserve_leaves_others_memory_to_live)
{
	static const char *const options[] = { "reserve_bytes=1099511627776",
					       "reserve_bytes=1099511627776 limit_percent=95" };
	long kills = proc_field("/proc/vmstat", "oom_kill");
	long margin = proc_field("/proc/meminfo", "MemTotal") / 64;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		ASSERT_EQ(0, unload_soon());
		ASSERT_EQ(0, load(options[i]));
		EXPECT_GE(proc_number("/sys/class/misc/hearth/limit_bytes"),
			  proc_number("/sys/class/misc/hearth/reserve_bytes"));
		EXPECT_LE(margin / 4 * 3, proc_field("/proc/meminfo", "MemAvailable"));
	}
	EXPECT_EQ(kills, proc_field("/proc/vmstat", "oom_kill"));
}

TEST_F(module, nonsense_parameters_do_no_harm)
{
	static const char *const options[] = { "limit_percent=0", "limit_percent=1000",
					       "limit_percent=x", "uid_limit_percent=0",
					       "uid_limit_pools=-1", "reserve_bytes=-1",
					       "reserve_bytes=18446744073709551615",
					       "reserve_bytes=1", "reserve_bytes=1099511627776" };

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		ASSERT_EQ(0, unload_soon());
		load(options[i]);
		if (access("/sys/module/hearth", F_OK)) {
			ASSERT_EQ(0, load(""));
		}
	}
}

TEST_HARNESS_MAIN
