// SPDX-License-Identifier: MIT
/*
 * Lets each allocation, and each copy from or to user memory, of each operation fail in turn. Whatever the operation then answers must
 * be in its contract, and nothing may be left of what it gave up.
 */
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "common/fault.h"
#include "common/test.h"
#include "edu_import/edu_import.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 600

#define KEY 1600
#define MOST_SITES 400

FIXTURE(fault_injection)
{
	/* What an operation works on; made anew, without faults, before each try. */
	int pool, file, device;
	char *address;
	struct hearth_query before;
};

FIXTURE_SETUP(fault_injection)
{
	self->pool = self->file = self->device = -1;
	self->address = MAP_FAILED;
	if (!fault_prepare())
		SKIP(return, "no fault injection in this kernel");
	ASSERT_EQ(0, pool_query(&self->before));
}

FIXTURE_TEARDOWN(fault_injection)
{
}

/*
 * Sweeps @operation over its allocation sites. The operation returns 0 or a negative errno and
 * undoes its success by itself. @may_fail lists the errnos a fault may lead to.
 */
static void sweep(struct __test_metadata *_metadata, FIXTURE_DATA(fault_injection) *self,
		  int (*operation)(FIXTURE_DATA(fault_injection) *self), bool must_allocate)
{
	struct hearth_query after = {};
	unsigned int nth, failures = 0;
	bool injected = true;

	/* Once without faults: it must work at all. */
	ASSERT_EQ(0, operation(self));
	for (nth = 1; injected && nth < MOST_SITES; nth++) {
		int result;

		ASSERT_EQ(0, fault_arm(nth));
		result = operation(self);
		injected = fault_was_injected();
		EXPECT_TRUE(result == 0 || (injected && (result == -ENOMEM || result == -EFAULT ||
							  result == -ENFILE || result == -EINTR ||
							  result == -EAGAIN)))
		TH_LOG("allocation %u: result %d", nth, result);
		failures += result != 0;
	}
	TH_LOG("%u allocations failed one by one, the operation %u times", nth - 2, failures);
	EXPECT_GT(MOST_SITES, nth);
	if (must_allocate) {
		EXPECT_LT(0, failures);
	}
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, pool_query(&after));
		if (after.used_bytes == self->before.used_bytes)
			break;
		usleep(20000);
	}
	EXPECT_EQ(self->before.used_bytes, after.used_bytes);
	EXPECT_EQ(self->before.uid_pools, after.uid_pools);
}

typedef FIXTURE_DATA(fault_injection) fixture;

static int create(fixture *self)
{
	int fd = pool_create(2 * LARGE_BYTES, 0);

	(void)self;
	return fd < 0 ? fd : close(fd);
}

TEST_F(fault_injection, create)
{
	sweep(_metadata, self, create, true);
}

static int create_named(fixture *self)
{
	int fd = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600), err;

	(void)self;
	if (fd < 0) {
		/* Nothing may remain of a failed one: not its name either. */
		fault_disarm();
		return pool_destroy(KEY, HEARTH_UID_SELF) == -ENOENT ? fd : -EIO;
	}
	err = pool_destroy(KEY, HEARTH_UID_SELF);
	fault_disarm();
	if (err && pool_destroy(KEY, HEARTH_UID_SELF))
		err = -EIO;
	close(fd);
	return err;
}

TEST_F(fault_injection, create_named)
{
	sweep(_metadata, self, create_named, true);
}

static int create_with_fallback(fixture *self)
{
	int fd = pool_create(2 * LARGE_BYTES, HEARTH_CREATE_FALLBACK);

	(void)self;
	return fd < 0 ? fd : close(fd);
}

TEST_F(fault_injection, create_with_fallback)
{
	sweep(_metadata, self, create_with_fallback, true);
}

static int create_deferred_and_allocate(fixture *self)
{
	int fd = pool_create(2 * LARGE_BYTES, HEARTH_CREATE_DEFER), err;
	struct hearth_info info;

	(void)self;
	if (fd < 0)
		return fd;
	err = pool_allocate(fd);
	fault_disarm();
	/* A second try goes on where the first was stopped. */
	if (err && pool_allocate(fd))
		err = -EIO;
	if (pool_info(fd, &info) || info.state != HEARTH_STATE_WRITABLE)
		err = -EIO;
	close(fd);
	return err;
}

TEST_F(fault_injection, create_deferred_and_allocate)
{
	sweep(_metadata, self, create_deferred_and_allocate, true);
}

static int open_named(fixture *self)
{
	int fd = pool_open(KEY, HEARTH_UID_SELF, HEARTH_OPEN_WRITE);

	(void)self;
	return fd < 0 ? fd : close(fd);
}

TEST_F(fault_injection, open)
{
	int fd = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600);

	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_query(&self->before));
	sweep(_metadata, self, open_named, true);
	EXPECT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
}

static int export_a_window(fixture *self)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE);
	struct hearth_info info;

	if (dmabuf < 0) {
		fault_disarm();
		return pool_info(self->pool, &info) || info.dmabufs ? -EIO : dmabuf;
	}
	return close(dmabuf);
}

TEST_F(fault_injection, export)
{
	self->pool = pool_create(LARGE_BYTES, 0);
	ASSERT_FD(self->pool);
	ASSERT_EQ(0, pool_query(&self->before));
	sweep(_metadata, self, export_a_window, true);
}

static int import_a_window(fixture *self)
{
	struct edu_import import = { .fd = self->file };
	int device = open("/dev/edu_import", O_RDWR | O_CLOEXEC), err = 0;

	if (device < 0)
		return -errno;
	if (ioctl(device, EDU_IOC_IMPORT, &import))
		err = -errno;
	close(device);
	return err;
}

TEST_F(fault_injection, attach_and_map)
{
	self->pool = pool_create(4 * LARGE_BYTES, 0);
	ASSERT_FD(self->pool);
	self->file = pool_export(self->pool, 0, 4 * LARGE_BYTES, 0);
	ASSERT_FD(self->file);
	ASSERT_EQ(0, pool_query(&self->before));
	sweep(_metadata, self, import_a_window, true);
}

/* Touches by a system call: a fault that fails is -EFAULT there, and a signal in a program. */
static int map_and_touch(fixture *self)
{
	char *address = pool_map(self->pool, LARGE_BYTES, PROT_READ | PROT_WRITE);
	ssize_t got;
	int err = 0;

	if (address == MAP_FAILED)
		return -errno;
	got = pread(self->file, address, 64, 0);
	if (got < 0)
		err = -errno;
	munmap(address, LARGE_BYTES);
	return err;
}

TEST_F(fault_injection, map_and_touch)
{
	self->pool = pool_create(LARGE_BYTES, 0);
	ASSERT_FD(self->pool);
	self->file = open("/data/weights", O_RDONLY);
	ASSERT_FD(self->file);
	ASSERT_EQ(0, pool_query(&self->before));
	sweep(_metadata, self, map_and_touch, true);
}

static int list_all(fixture *self)
{
	(void)self;
	pool_is_listed(0);
	return 0;
}

TEST_F(fault_injection, list)
{
	sweep(_metadata, self, list_all, false);
}

static int seal_and_idle(fixture *self)
{
	int err = pool_seal(self->pool);

	if (!err)
		err = pool_idle(self->pool);
	if (!err)
		err = pool_activate(self->pool);
	return err;
}

TEST_F(fault_injection, seal_idle_activate)
{
	self->pool = pool_create(LARGE_BYTES, 0);
	ASSERT_FD(self->pool);
	ASSERT_EQ(0, pool_query(&self->before));
	sweep(_metadata, self, seal_and_idle, false);
}

static int evict_a_pool(fixture *self)
{
	struct hearth_info info = {};
	int fd = pool_create(LARGE_BYTES, 0);

	(void)self;
	if (fd < 0)
		return fd;
	pool_idle(fd);
	reclaim_slabs();
	fault_disarm();
	/* A fault may have put the eviction off, not prevented it. */
	pool_idle(fd);
	for (int i = 0; i < 20 && info.state != HEARTH_STATE_EVICTED; i++) {
		reclaim_slabs();
		pool_info(fd, &info);
	}
	close(fd);
	return info.state == HEARTH_STATE_EVICTED ? 0 : -EIO;
}

TEST_F(fault_injection, evict)
{
	sweep(_metadata, self, evict_a_pool, true);
}

static int adopt_a_memfd(fixture *self)
{
	int fd = pool_adopt(self->file);

	return fd < 0 ? fd : close(fd);
}

TEST_F(fault_injection, adopt)
{
	ASSERT_EQ(0, proc_write("/proc/sys/vm/nr_hugepages", "2"));
	self->file = memfd_create("w", MFD_HUGETLB | (21U << 26) | MFD_ALLOW_SEALING);
	ASSERT_FD(self->file);
	ASSERT_EQ(0, ftruncate(self->file, 2 * LARGE_BYTES));
	ASSERT_EQ(0, fcntl(self->file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	sweep(_metadata, self, adopt_a_memfd, true);
	close(self->file);
	proc_write("/proc/sys/vm/nr_hugepages", "0");
}

TEST_HARNESS_MAIN
