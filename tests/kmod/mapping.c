// SPDX-License-Identifier: MIT
/* How a pool is mapped, and that drives fill it: huge, zeroed, shared, and good for direct I/O. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "common/test.h"
#include "common/uring.h"

#define POOL_BYTES (4 * LARGE_BYTES)
#define BLOCK_BYTES (1U << 20)

FIXTURE(mapping)
{
	int pool;
	char *address;
};

FIXTURE_SETUP(mapping)
{
	self->pool = pool_create(POOL_BYTES, 0);
	ASSERT_FD(self->pool);
	self->address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(self->address);
}

FIXTURE_TEARDOWN(mapping)
{
	munmap(self->address, POOL_BYTES);
	close(self->pool);
}

TEST_F(mapping, starts_on_a_large_page)
{
	EXPECT_EQ(0, (uintptr_t)self->address % LARGE_BYTES);
}

TEST_F(mapping, is_pmd_mapped_after_one_touch_per_large_page)
{
	for (size_t i = 0; i < POOL_BYTES; i += LARGE_BYTES)
		*(volatile char *)(self->address + i) = 1;
	EXPECT_EQ(POOL_BYTES / 1024, proc_smaps_kib(self->address, "FilePmdMapped"));
	EXPECT_EQ(POOL_BYTES / 1024, proc_smaps_kib(self->address, "Rss"));
}

TEST_F(mapping, is_pmd_mapped_after_one_read)
{
	(void)*(volatile char *)(self->address + LARGE_BYTES + 12345);
	EXPECT_EQ(LARGE_BYTES / 1024, proc_smaps_kib(self->address, "FilePmdMapped"));
}

TEST_F(mapping, costs_one_fault_per_large_page)
{
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	for (size_t i = 0; i < POOL_BYTES; i += 4096)
		*(volatile char *)(self->address + i) = 1;
	getrusage(RUSAGE_SELF, &after);
	EXPECT_GE(LARGE_PAGES(POOL_BYTES) + 8, after.ru_minflt - before.ru_minflt);
	EXPECT_EQ(0, after.ru_majflt - before.ru_majflt);
}

TEST_F(mapping, stands_on_contiguous_compound_pages_off_the_lru)
{
	for (size_t i = 0; i < POOL_BYTES; i += LARGE_BYTES) {
		uint64_t first, flags;

		*(volatile char *)(self->address + i) = 1;
		first = proc_page_frame(self->address + i);
		flags = proc_page_flags(first);
		ASSERT_NE(0, first);
		EXPECT_EQ(0, first % 512);
		EXPECT_EQ(first + 511, proc_page_frame(self->address + i + LARGE_BYTES - 4096));
		EXPECT_TRUE(flags >> KPF_COMPOUND_HEAD & 1);
		EXPECT_TRUE(proc_page_flags(first + 511) >> KPF_COMPOUND_TAIL & 1);
		EXPECT_FALSE(flags >> KPF_LRU & 1);
	}
}

TEST_F(mapping, starts_as_zeroes)
{
	EXPECT_TRUE(is_zero(self->address, POOL_BYTES));
}

/* The guest boots with init_on_alloc=0: only the module can have zeroed these. */
TEST(memory_of_a_dead_pool_is_not_seen_in_the_next)
{
	const size_t bytes = 32 * LARGE_BYTES / proc_scale();

	for (int round = 0; round < 4; round++) {
		int pool = pool_create(bytes, 0);
		char *address;

		ASSERT_FD(pool);
		address = pool_map(pool, bytes, PROT_READ | PROT_WRITE);
		ASSERT_MAPPED(address);
		ASSERT_TRUE(is_zero(address, bytes));
		memset(address, 0xa5, bytes);
		munmap(address, bytes);
		close(pool);
	}
}

TEST(memory_of_a_dead_process_is_not_seen_in_a_pool)
{
	const size_t bytes = (128 << 20) / proc_scale();
	char *heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *address;
	int pool;

	ASSERT_MAPPED(heap);
	memset(heap, 0xa5, bytes);
	munmap(heap, bytes);
	pool = pool_create(bytes, HEARTH_CREATE_FALLBACK);
	ASSERT_FD(pool);
	address = pool_map(pool, bytes, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_TRUE(is_zero(address, bytes));
}

TEST_F(mapping, is_shared_between_processes)
{
	pid_t child = fork();

	if (child == 0) {
		pattern_fill(self->address, POOL_BYTES, 5);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, NULL, 0));
	EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 5));
}

TEST_F(mapping, keeps_its_bytes_unmapped)
{
	pattern_fill(self->address, POOL_BYTES, 1);
	munmap(self->address, POOL_BYTES);
	self->address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(self->address);
	EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 1));
}

TEST_F(mapping, outlives_its_descriptor)
{
	pattern_fill(self->address, POOL_BYTES, 2);
	close(self->pool);
	EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 2));
	self->pool = -1;
}

TEST_F(mapping, cannot_be_private)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, LARGE_BYTES, PROT_READ, MAP_PRIVATE, self->pool, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(mapping, cannot_reach_past_the_pool)
{
	EXPECT_EQ(MAP_FAILED, pool_map(self->pool, POOL_BYTES + 4096, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->pool, POOL_BYTES));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, LARGE_BYTES, PROT_READ, MAP_SHARED, self->pool,
				   0x7ffffffffffff000));
	EXPECT_TRUE(errno == EINVAL || errno == EOVERFLOW);
}

TEST_F(mapping, takes_map_shared_validate)
{
	void *address = mmap(NULL, LARGE_BYTES, PROT_READ, MAP_SHARED_VALIDATE, self->pool, 0);

	ASSERT_MAPPED(address);
	munmap(address, LARGE_BYTES);
}

TEST_F(mapping, takes_offsets_inside_a_large_page)
{
	char *inside;

	pattern_fill(self->address, POOL_BYTES, 0);
	inside = mmap(NULL, LARGE_BYTES, PROT_READ, MAP_SHARED, self->pool, LARGE_BYTES + 4096);
	ASSERT_MAPPED(inside);
	EXPECT_EQ(-1, pattern_check(inside, LARGE_BYTES, (LARGE_BYTES + 4096) / 8));
	munmap(inside, LARGE_BYTES);
}

TEST_F(mapping, can_be_unmapped_in_part)
{
	pattern_fill(self->address, POOL_BYTES, 0);
	ASSERT_EQ(0, munmap(self->address + LARGE_BYTES + 4096, 8192));
	EXPECT_EQ(-1, pattern_check(self->address, LARGE_BYTES + 4096, 0));
	EXPECT_EQ(-1, pattern_check(self->address + LARGE_BYTES + 12288, LARGE_BYTES,
				    (LARGE_BYTES + 12288) / 8));
}

TEST_F(mapping, can_move_but_not_grow)
{
	char *moved;

	pattern_fill(self->address, POOL_BYTES, 0);
	EXPECT_EQ(MAP_FAILED, mremap(self->address, POOL_BYTES, 2 * POOL_BYTES, MREMAP_MAYMOVE));
	moved = mremap(self->address, POOL_BYTES, POOL_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED,
		       self->address + (1UL << 30));
	ASSERT_MAPPED(moved);
	EXPECT_EQ(-1, pattern_check(moved, POOL_BYTES, 0));
	self->address = moved;
}

TEST_F(mapping, survives_every_advice)
{
	static const int advice[] = { MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED,
				      MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_FREE, MADV_REMOVE,
				      25 /* MADV_COLLAPSE */, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
				      MADV_DODUMP, MADV_MERGEABLE };

	pattern_fill(self->address, POOL_BYTES, 9);
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		madvise(self->address, POOL_BYTES, advice[i]);
		EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 9))
		TH_LOG("advice %d", advice[i]);
	}
}

TEST_F(mapping, survives_mlock_and_msync)
{
	pattern_fill(self->address, POOL_BYTES, 3);
	mlock(self->address, POOL_BYTES);
	msync(self->address, POOL_BYTES, MS_SYNC);
	munlock(self->address, POOL_BYTES);
	EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 3));
}

/* Unmovable: neither compaction nor migration may change what a device was told. */
TEST_F(mapping, stays_where_it_is_under_compaction)
{
	uint64_t before, after;

	pattern_fill(self->address, POOL_BYTES, 0);
	before = proc_page_frame(self->address);
	proc_write("/proc/sys/vm/compact_memory", "1");
	after = proc_page_frame(self->address);
	EXPECT_EQ(before, after);
	EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 0));
}

TEST_F(mapping, needs_no_rlimit_memlock)
{
	struct rlimit none = {};
	int pool;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &none));
	pool = pool_create(POOL_BYTES, 0);
	ASSERT_FD(pool);
	EXPECT_NE(MAP_FAILED, pool_map(pool, POOL_BYTES, PROT_READ | PROT_WRITE));
}

TEST_F(mapping, is_left_out_of_core_dumps)
{
	char smaps[16384], *entry;
	int fd = open("/proc/self/smaps", O_RDONLY);
	char start[32];

	snprintf(start, sizeof(start), "%lx-", (unsigned long)self->address);
	for (ssize_t got; (got = read(fd, smaps, sizeof(smaps) - 1)) > 0;) {
		smaps[got] = 0;
		entry = strstr(smaps, start);
		if (!entry)
			continue;
		entry = strstr(entry, "VmFlags:");
		if (entry) {
			entry[strcspn(entry, "\n")] = 0;
			EXPECT_NE(NULL, strstr(entry, " dd")) TH_LOG("%s", entry);
			EXPECT_NE(NULL, strstr(entry, " de")) TH_LOG("%s", entry);
			EXPECT_EQ(NULL, strstr(entry, " pf")) TH_LOG("%s", entry);
			EXPECT_EQ(NULL, strstr(entry, " io")) TH_LOG("%s", entry);
			close(fd);
			return;
		}
	}
	EXPECT_TRUE(false) TH_LOG("no VmFlags of the mapping");
}

TEST_F(mapping, is_filled_by_direct_io)
{
	int file = open("/data/weights", O_RDONLY | O_DIRECT);

	ASSERT_FD(file);
	for (size_t at = 0; at < POOL_BYTES; at += BLOCK_BYTES) {
		ASSERT_EQ(BLOCK_BYTES, pread(file, self->address + at, BLOCK_BYTES, (off_t)at))
		TH_LOG("errno %d", errno);
	}
	EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 0));
	close(file);
}

TEST_F(mapping, is_filled_by_direct_io_it_has_not_touched)
{
	int file = open("/data/weights", O_RDONLY | O_DIRECT);

	ASSERT_FD(file);
	EXPECT_EQ(4096, pread(file, self->address + LARGE_BYTES + 4096, 4096, 8192));
	EXPECT_EQ(-1, pattern_check(self->address + LARGE_BYTES + 4096, 4096, 1024));
	EXPECT_EQ(LARGE_BYTES / 1024, proc_smaps_kib(self->address, "FilePmdMapped"));
	close(file);
}

TEST_F(mapping, is_filled_by_io_uring_read_fixed)
{
	int file = open("/data/weights", O_RDONLY | O_DIRECT);
	struct uring ring;

	ASSERT_FD(file);
	ASSERT_EQ(0, uring_init(&ring, 32));
	ASSERT_EQ(0, uring_register(&ring, self->address, POOL_BYTES));
	for (unsigned int i = 0; i < POOL_BYTES / BLOCK_BYTES; i++)
		uring_queue_read(&ring, file, self->address + i * BLOCK_BYTES, BLOCK_BYTES,
				 i * BLOCK_BYTES);
	EXPECT_EQ(0, uring_submit_and_wait(&ring, POOL_BYTES / BLOCK_BYTES, BLOCK_BYTES));
	EXPECT_EQ(-1, pattern_check(self->address, POOL_BYTES, 0));
	EXPECT_EQ(0, uring_unregister(&ring));
	uring_finish(&ring);
	close(file);
}

TEST_F(mapping, is_written_out_by_direct_io)
{
	char *back = mmap(NULL, LARGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	int file = open("/data/out", O_RDWR | O_DIRECT | O_CREAT | O_TRUNC, 0600);

	ASSERT_FD(file);
	pattern_fill(self->address, LARGE_BYTES, 77);
	ASSERT_EQ(LARGE_BYTES, pwrite(file, self->address, LARGE_BYTES, 0));
	ASSERT_EQ(LARGE_BYTES, pread(file, back, LARGE_BYTES, 0));
	EXPECT_EQ(-1, pattern_check(back, LARGE_BYTES, 77));
	close(file);
	unlink("/data/out");
}

TEST_F(mapping, is_filled_by_buffered_reads)
{
	int file = open("/data/weights", O_RDONLY);

	ASSERT_FD(file);
	ASSERT_EQ(12345, pread(file, self->address + 96, 12345, 800));
	EXPECT_EQ(-1, pattern_check(self->address + 96, 12344, 100));
	EXPECT_TRUE(is_zero(self->address, 96));
	close(file);
}

TEST_F(mapping, is_read_by_process_vm_readv)
{
	char copy[4096];
	struct iovec local = { copy, sizeof(copy) };
	struct iovec remote = { self->address + LARGE_BYTES, sizeof(copy) };
	ssize_t got;

	pattern_fill(self->address, POOL_BYTES, 0);
	got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (got < 0 && errno == ENOSYS)
		SKIP(return, "no process_vm_readv in this kernel");
	ASSERT_EQ(sizeof(copy), got);
	EXPECT_EQ(-1, pattern_check(copy, sizeof(copy), LARGE_BYTES / 8));
}

static sigjmp_buf escape;

static void on_signal(int number)
{
	siglongjmp(escape, number);
}

/* 0 or the signal that touching the byte raised. */
static int touch(volatile char *byte)
{
	int caught = sigsetjmp(escape, 1);

	if (!caught) {
		signal(SIGBUS, on_signal);
		signal(SIGSEGV, on_signal);
		*byte;
	}
	return caught;
}

TEST(touching_what_is_not_allocated_yet_is_sigbus)
{
	int pool = pool_create(POOL_BYTES, HEARTH_CREATE_DEFER);
	int file = open("/data/weights", O_RDONLY | O_DIRECT);
	struct hearth_info info;
	char *address;

	ASSERT_FD(pool);
	address = pool_map(pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	EXPECT_EQ(SIGBUS, touch(address));
	EXPECT_EQ(-1, pread(file, address, 4096, 0));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, pool_info(pool, &info));
	EXPECT_EQ(HEARTH_STATE_ALLOCATING, info.state);
	EXPECT_EQ(0, info.allocated_bytes);
	ASSERT_EQ(0, pool_allocate(pool));
	EXPECT_EQ(0, touch(address));
	EXPECT_EQ(0, touch(address + POOL_BYTES - 1));
	ASSERT_EQ(0, pool_info(pool, &info));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, info.state);
	EXPECT_EQ(POOL_BYTES, info.allocated_bytes);
	EXPECT_EQ(POOL_BYTES, info.order_bytes[9]);
	close(file);
}

TEST(a_pool_that_is_not_whole_is_busy)
{
	int pool = pool_create(LARGE_BYTES, HEARTH_CREATE_DEFER);

	ASSERT_FD(pool);
	EXPECT_EQ(-EBUSY, pool_seal(pool));
	EXPECT_EQ(-EBUSY, pool_idle(pool));
	EXPECT_EQ(-EBUSY, pool_activate(pool));
	EXPECT_EQ(-EBUSY, pool_export(pool, 0, LARGE_BYTES, 0));
	EXPECT_EQ(0, pool_allocate(pool));
	EXPECT_EQ(0, pool_allocate(pool));
	EXPECT_EQ(0, pool_seal(pool));
}

TEST_F(mapping, is_counted_by_info)
{
	struct hearth_info info;
	void *readable = pool_map(self->pool, LARGE_BYTES, PROT_READ);

	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(2, info.mappings);
	/* A descriptor open for writing could make both writable. */
	EXPECT_EQ(2, info.writable_mappings);
	munmap(readable, LARGE_BYTES);
	munmap(self->address, POOL_BYTES);
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(0, info.mappings);
	EXPECT_EQ(0, info.writable_mappings);
}

TEST_F(mapping, is_counted_over_fork_and_split)
{
	struct hearth_info info;
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(2, info.mappings);
	ASSERT_EQ(0, munmap(self->address + LARGE_BYTES, 4096));
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(3, info.mappings);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(2, info.mappings);
}

/* The node of each large page of a mapping that was touched there; -1 if one is elsewhere. */
static int node_of_all(char *address, size_t bytes)
{
	int first = -1;

	for (size_t i = 0; i < bytes; i += LARGE_BYTES) {
		void *page = address + i;
		int node = -1;

		(void)*(volatile char *)page;
		if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &node, 0) || node < 0)
			return -2;
		if (i && node != first)
			return -1;
		first = node;
	}
	return first;
}

TEST(strict_node_places_all_memory_there)
{
	for (int node = 0; node < 2; node++) {
		struct hearth_create create =
			pool_create_request(16 * LARGE_BYTES, HEARTH_CREATE_STRICT_NODE);
		char path[64], *address;
		struct hearth_info info;
		int pool;

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
		if (access(path, R_OK))
			SKIP(return, "one NUMA node");
		create.node = node;
		pool = pool_ioctl(pool_device(), HEARTH_CREATE, &create);
		ASSERT_FD(pool);
		address = pool_map(pool, 16 * LARGE_BYTES, PROT_READ);
		ASSERT_MAPPED(address);
		EXPECT_EQ(node, node_of_all(address, 16 * LARGE_BYTES));
		ASSERT_EQ(0, pool_info(pool, &info));
		EXPECT_EQ(node, info.node);
		munmap(address, 16 * LARGE_BYTES);
		close(pool);
	}
}

TEST(strict_node_that_is_full_is_enomem)
{
	struct hearth_create create = pool_create_request(0, HEARTH_CREATE_STRICT_NODE);
	long free_kib = proc_field("/sys/devices/system/node/node1/meminfo", "MemTotal");

	if (free_kib < 0)
		SKIP(return, "one NUMA node");
	create.node = 1;
	create.size_bytes = (((uint64_t)free_kib << 10) + LARGE_BYTES) & -LARGE_BYTES;
	EXPECT_EQ(-ENOMEM, pool_ioctl(pool_device(), HEARTH_CREATE, &create));
	create.flags = HEARTH_CREATE_STRICT_NODE | HEARTH_CREATE_FALLBACK;
	EXPECT_EQ(-ENOMEM, pool_ioctl(pool_device(), HEARTH_CREATE, &create));
}

TEST_HARNESS_MAIN
