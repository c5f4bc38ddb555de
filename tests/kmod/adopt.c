// SPDX-License-Identifier: MIT
/* Pools on hugetlb memfds. */
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "common/test.h"
#include "edu_import/edu_import.h"

#define PAGES 4
#define KEY 1500
#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef MFD_HUGE_1GB
#define MFD_HUGE_1GB (30U << 26)
#endif

static const char free_pages[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

FIXTURE(adopt)
{
	int memfd;
};

/* A filled hugetlb memfd without seals. */
FIXTURE_SETUP(adopt)
{
	char *address;

	ASSERT_EQ(0, proc_write("/proc/sys/vm/nr_hugepages", "8"));
	if (proc_number(free_pages) < PAGES)
		SKIP(return, "not enough hugetlb pages");
	self->memfd = memfd_create("weights", MFD_HUGETLB | MFD_HUGE_2MB | MFD_ALLOW_SEALING);
	ASSERT_FD(self->memfd);
	ASSERT_EQ(0, ftruncate(self->memfd, PAGES * LARGE_BYTES));
	address = pool_map(self->memfd, PAGES * LARGE_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	pattern_fill(address, PAGES * LARGE_BYTES, 0);
	munmap(address, PAGES * LARGE_BYTES);
}

FIXTURE_TEARDOWN(adopt)
{
	close(self->memfd);
	pool_destroy(KEY, HEARTH_UID_SELF);
	proc_write("/proc/sys/vm/nr_hugepages", "0");
}

TEST_F(adopt, a_sealed_memfd_becomes_a_sealed_pool)
{
	struct hearth_info info;
	struct hearth_query before, after;
	int pool;

	ASSERT_EQ(0, pool_query(&before));
	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(self->memfd);
	ASSERT_FD(pool);
	ASSERT_EQ(0, pool_info(pool, &info));
	EXPECT_EQ(HEARTH_STATE_SEALED, info.state);
	EXPECT_EQ(HEARTH_STATUS_ADOPTED, info.status);
	EXPECT_EQ(PAGES * LARGE_BYTES, info.size_bytes);
	EXPECT_EQ(PAGES * LARGE_BYTES, info.allocated_bytes);
	EXPECT_EQ(PAGES * LARGE_BYTES, info.order_bytes[9]);
	ASSERT_EQ(0, pool_query(&after));
	EXPECT_EQ(before.used_bytes, after.used_bytes);
	EXPECT_EQ(before.uid_pools + 1, after.uid_pools);
}

TEST_F(adopt, every_seal_is_needed)
{
	static const int seals[] = { 0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW };

	for (size_t i = 0; i < sizeof(seals) / sizeof(seals[0]); i++) {
		ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, seals[i]));
		EXPECT_EQ(-EPERM, pool_adopt(self->memfd));
	}
	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_LE(0, pool_adopt(self->memfd));
}

TEST_F(adopt, other_files_are_refused)
{
	int plain = memfd_create("plain", MFD_ALLOW_SEALING);
	int empty = memfd_create("empty", MFD_HUGETLB | MFD_HUGE_2MB | MFD_ALLOW_SEALING);
	int ends[2];

	ASSERT_EQ(0, ftruncate(plain, LARGE_BYTES));
	ASSERT_EQ(0, fcntl(plain, F_ADD_SEALS, ALL_SEALS));
	ASSERT_EQ(0, fcntl(empty, F_ADD_SEALS, ALL_SEALS));
	ASSERT_EQ(0, pipe(ends));
	EXPECT_EQ(-EINVAL, pool_adopt(plain));
	EXPECT_EQ(-EINVAL, pool_adopt(empty));
	EXPECT_EQ(-EBADF, pool_adopt(-1));
	EXPECT_EQ(-EBADF, pool_adopt(4000));
	EXPECT_GT(0, pool_adopt(ends[0]));
	EXPECT_GT(0, pool_adopt(pool_device()));
}

TEST_F(adopt, a_memfd_open_for_reading_alone_is_refused)
{
	char path[64];
	int reader;

	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->memfd);
	reader = open(path, O_RDONLY);
	ASSERT_FD(reader);
	EXPECT_EQ(-EBADF, pool_adopt(reader));
}

TEST_F(adopt, is_mapped_through_its_memfd)
{
	int pool, again;
	char *address;

	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(self->memfd);
	ASSERT_FD(pool);
	close(self->memfd);
	self->memfd = -1;
	EXPECT_EQ(MAP_FAILED, pool_map(pool, LARGE_BYTES, PROT_READ));
	EXPECT_EQ(ENODEV, errno);
	again = pool_memfd(pool);
	ASSERT_FD(again);
	EXPECT_EQ(FD_CLOEXEC, fcntl(again, F_GETFD));
	address = pool_map(again, PAGES * LARGE_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, pattern_check(address, PAGES * LARGE_BYTES, 0));
}

TEST_F(adopt, cannot_be_written_through_its_memfd)
{
	int pool, again;

	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(self->memfd);
	again = pool_memfd(pool);
	ASSERT_FD(again);
	EXPECT_EQ(MAP_FAILED, pool_map(again, LARGE_BYTES, PROT_READ | PROT_WRITE));
	EXPECT_NE(0, ftruncate(again, 0));
}

TEST_F(adopt, named_outlives_every_descriptor)
{
	struct hearth_adopt adopt = { .flags = HEARTH_CREATE_KEYED, .mode = 0600 };
	char *address;
	int pool;

	adopt.memfd = self->memfd;
	pool_key(adopt.key, KEY);
	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_ioctl(pool_device(), HEARTH_ADOPT, &adopt);
	ASSERT_FD(pool);
	EXPECT_EQ(-EEXIST, pool_ioctl(pool_device(), HEARTH_ADOPT, &adopt));
	close(pool);
	close(self->memfd);
	self->memfd = -1;
	pool = pool_open(KEY, HEARTH_UID_SELF, 0);
	ASSERT_FD(pool);
	address = pool_map(pool_memfd(pool), PAGES * LARGE_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, pattern_check(address, PAGES * LARGE_BYTES, 0));
}

TEST_F(adopt, gives_its_pages_back_at_the_end)
{
	int pool;

	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(self->memfd);
	ASSERT_FD(pool);
	close(self->memfd);
	self->memfd = -1;
	EXPECT_GE(8 - PAGES, proc_number(free_pages));
	close(pool);
	for (int i = 0; i < 100 && proc_number(free_pages) != 8; i++)
		usleep(10000);
	EXPECT_EQ(8, proc_number(free_pages));
}

TEST_F(adopt, is_not_idled_and_not_evicted)
{
	int pool;

	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(self->memfd);
	ASSERT_FD(pool);
	EXPECT_EQ(-EOPNOTSUPP, pool_idle(pool));
	EXPECT_EQ(0, pool_activate(pool));
	EXPECT_EQ(0, pool_seal(pool));
	EXPECT_EQ(0, pool_allocate(pool));
}

TEST_F(adopt, exports_windows_that_a_device_reads)
{
	struct edu_import import = {};
	struct edu_move move = { .offset = LARGE_BYTES + 4096 };
	uint64_t block[EDU_BLOCK_BYTES / 8];
	int pool, device = open("/dev/edu_import", O_RDWR);

	ASSERT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(self->memfd);
	ASSERT_FD(pool);
	EXPECT_EQ(-EPERM, pool_export(pool, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE));
	import.fd = pool_export(pool, LARGE_BYTES, 2 * LARGE_BYTES, 0);
	ASSERT_FD(import.fd);
	ASSERT_EQ(0, ioctl(device, EDU_IOC_IMPORT, &import));
	EXPECT_EQ(2 * LARGE_BYTES, import.total_bytes);
	move.buffer = (uintptr_t)block;
	ASSERT_EQ(0, ioctl(device, EDU_IOC_MOVE, &move));
	EXPECT_EQ(-1, pattern_check(block, sizeof(block), (2 * LARGE_BYTES + 4096) / 8));
}

TEST_F(adopt, holes_are_filled_or_it_is_enomem)
{
	int sparse = memfd_create("sparse", MFD_HUGETLB | MFD_HUGE_2MB | MFD_ALLOW_SEALING);
	struct hearth_info info;
	int pool;

	ASSERT_EQ(0, ftruncate(sparse, 2 * LARGE_BYTES));
	ASSERT_EQ(0, fcntl(sparse, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(sparse);
	ASSERT_FD(pool);
	ASSERT_EQ(0, pool_info(pool, &info));
	EXPECT_EQ(2 * LARGE_BYTES, info.allocated_bytes);
	close(sparse);

	sparse = memfd_create("huge", MFD_HUGETLB | MFD_HUGE_2MB | MFD_ALLOW_SEALING);
	ASSERT_EQ(0, ftruncate(sparse, 16 * LARGE_BYTES));
	ASSERT_EQ(0, fcntl(sparse, F_ADD_SEALS, ALL_SEALS));
	EXPECT_EQ(-ENOMEM, pool_adopt(sparse));
}

TEST(pages_of_1_gib_are_adopted_whole)
{
	int memfd = memfd_create("giant", MFD_HUGETLB | MFD_HUGE_1GB | MFD_ALLOW_SEALING);
	struct edu_import import = {};
	struct hearth_info info;
	int pool, device = open("/dev/edu_import", O_RDWR);
	char *address;

	if (proc_number("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages") < 1)
		SKIP(return, "no 1 GiB page set aside at boot");
	ASSERT_FD(memfd);
	ASSERT_EQ(0, ftruncate(memfd, 1 << 30));
	address = pool_map(memfd, 1 << 30, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	pattern_fill(address + (512 << 20), 4096, 3);
	munmap(address, 1 << 30);
	ASSERT_EQ(0, fcntl(memfd, F_ADD_SEALS, ALL_SEALS));
	pool = pool_adopt(memfd);
	ASSERT_FD(pool);
	ASSERT_EQ(0, pool_info(pool, &info));
	EXPECT_EQ(1UL << 30, info.order_bytes[18]);
	import.fd = pool_export(pool, 0, 1 << 30, 0);
	ASSERT_FD(import.fd);
	ASSERT_EQ(0, ioctl(device, EDU_IOC_IMPORT, &import));
	EXPECT_EQ(1, import.nents);
	EXPECT_EQ(1UL << 30, import.total_bytes);
}

TEST_HARNESS_MAIN
