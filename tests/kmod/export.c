// SPDX-License-Identifier: MIT
/* dma-bufs of a pool: what the CPU may do with them, and that a device reads the right bytes. */
#include <fcntl.h>
#include <glob.h>
#include <linux/dma-buf.h>
#include <sys/ioctl.h>

#include "common/test.h"
#include "edu_import/edu_import.h"

#define POOL_BYTES (8 * LARGE_BYTES)

FIXTURE(export)
{
	int pool;
	char *address;
};

FIXTURE_SETUP(export)
{
	self->pool = pool_create(POOL_BYTES, 0);
	ASSERT_FD(self->pool);
	self->address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(self->address);
	pattern_fill(self->address, POOL_BYTES, 0);
}

FIXTURE_TEARDOWN(export)
{
	munmap(self->address, POOL_BYTES);
	close(self->pool);
}

static int import_open(int dmabuf, struct edu_import *ret_import)
{
	int device = open("/dev/edu_import", O_RDWR | O_CLOEXEC);

	if (device < 0)
		return -errno;
	memset(ret_import, 0, sizeof(*ret_import));
	ret_import->fd = dmabuf;
	if (ioctl(device, EDU_IOC_IMPORT, ret_import)) {
		int err = -errno;

		close(device);
		return err;
	}
	return device;
}

static int device_read(int device, uint64_t offset, void *block)
{
	struct edu_move move = { .offset = offset, .buffer = (uintptr_t)block };

	return ioctl(device, EDU_IOC_MOVE, &move) ? -errno : 0;
}

static int device_write(int device, uint64_t offset, const void *block)
{
	struct edu_move move = { .offset = offset,
				 .buffer = (uintptr_t)block,
				 .flags = EDU_TO_MEMORY };

	return ioctl(device, EDU_IOC_MOVE, &move) ? -errno : 0;
}

TEST_F(export, size_is_the_windows)
{
	int dmabuf = pool_export(self->pool, LARGE_BYTES, 3 * LARGE_BYTES, 0);

	ASSERT_FD(dmabuf);
	EXPECT_EQ(3 * LARGE_BYTES, lseek(dmabuf, 0, SEEK_END));
}

TEST_F(export, windows_may_overlap)
{
	int first = pool_export(self->pool, 0, 4 * LARGE_BYTES, 0);
	int second = pool_export(self->pool, 3 * LARGE_BYTES, 5 * LARGE_BYTES, 0);
	struct hearth_info info;

	ASSERT_FD(first);
	ASSERT_FD(second);
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(2, info.dmabufs);
	EXPECT_EQ(0, info.writable_dmabufs);
	close(first);
	close(second);
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(0, info.dmabufs);
}

TEST_F(export, maps_its_window_for_reading)
{
	int dmabuf = pool_export(self->pool, 2 * LARGE_BYTES, 2 * LARGE_BYTES, 0);
	char *window;

	ASSERT_FD(dmabuf);
	window = pool_map(dmabuf, 2 * LARGE_BYTES, PROT_READ);
	ASSERT_MAPPED(window);
	EXPECT_EQ(-1, pattern_check(window, 2 * LARGE_BYTES, 2 * LARGE_BYTES / 8));
	munmap(window, 2 * LARGE_BYTES);
	window = mmap(NULL, LARGE_BYTES, PROT_READ, MAP_SHARED, dmabuf, LARGE_BYTES);
	ASSERT_MAPPED(window);
	EXPECT_EQ(-1, pattern_check(window, LARGE_BYTES, 3 * LARGE_BYTES / 8));
}

TEST_F(export, map_cannot_reach_past_the_window)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, 0);

	ASSERT_FD(dmabuf);
	EXPECT_EQ(MAP_FAILED, pool_map(dmabuf, LARGE_BYTES + 4096, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, dmabuf, LARGE_BYTES));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(export, read_only_cannot_be_mapped_for_writing)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, 0);
	void *window;

	ASSERT_FD(dmabuf);
	EXPECT_EQ(MAP_FAILED, pool_map(dmabuf, LARGE_BYTES, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	window = pool_map(dmabuf, LARGE_BYTES, PROT_READ);
	ASSERT_MAPPED(window);
	EXPECT_NE(0, mprotect(window, LARGE_BYTES, PROT_READ | PROT_WRITE));
}

TEST_F(export, writable_can_be_mapped_for_writing)
{
	int dmabuf = pool_export(self->pool, LARGE_BYTES, LARGE_BYTES, HEARTH_EXPORT_WRITE);
	struct hearth_info info;
	char *window;

	ASSERT_FD(dmabuf);
	window = pool_map(dmabuf, LARGE_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(window);
	pattern_fill(window, LARGE_BYTES, 1000);
	EXPECT_EQ(-1, pattern_check(self->address + LARGE_BYTES, LARGE_BYTES, 1000));
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(1, info.writable_dmabufs);
	EXPECT_EQ(2, info.mappings);
}

TEST_F(export, map_of_the_window_is_pmd_mapped)
{
	int dmabuf = pool_export(self->pool, 2 * LARGE_BYTES, 2 * LARGE_BYTES, 0);
	char *window = pool_map(dmabuf, 2 * LARGE_BYTES, PROT_READ);

	ASSERT_MAPPED(window);
	(void)*(volatile char *)window;
	(void)*(volatile char *)(window + LARGE_BYTES);
	EXPECT_EQ(2 * LARGE_BYTES / 1024, proc_smaps_kib(window, "FilePmdMapped"));
}

TEST_F(export, dmabuf_keeps_memory_after_pool_and_map_are_gone)
{
	int dmabuf = pool_export(self->pool, 0, POOL_BYTES, 0);
	char *window;

	ASSERT_FD(dmabuf);
	munmap(self->address, POOL_BYTES);
	close(self->pool);
	self->pool = -1;
	window = pool_map(dmabuf, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(window);
	EXPECT_EQ(-1, pattern_check(window, POOL_BYTES, 0));
}

TEST_F(export, cpu_access_may_begin_and_end)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE);
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW };

	ASSERT_FD(dmabuf);
	EXPECT_EQ(0, ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync));
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	EXPECT_EQ(0, ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync));
	sync.flags = ~0ULL;
	EXPECT_NE(0, ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync));
}

TEST_F(export, cpu_write_access_to_a_sealed_window_does_not_begin)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ };
	int dmabuf;

	munmap(self->address, POOL_BYTES);
	ASSERT_EQ(0, pool_seal(self->pool));
	dmabuf = pool_export(self->pool, 0, LARGE_BYTES, 0);
	ASSERT_FD(dmabuf);
	EXPECT_EQ(0, ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync));
	sync.flags |= DMA_BUF_SYNC_END;
	EXPECT_EQ(0, ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync));
}

TEST_F(export, needs_a_writable_descriptor_to_write)
{
	int reader;

	ASSERT_FD(pool_create_keyed(LARGE_BYTES, 0, 601, 0600));
	reader = pool_open(601, HEARTH_UID_SELF, 0);
	ASSERT_FD(reader);
	EXPECT_EQ(-EACCES, pool_export(reader, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE));
	EXPECT_LE(0, pool_export(reader, 0, LARGE_BYTES, 0));
	EXPECT_EQ(0, pool_destroy(601, HEARTH_UID_SELF));
}

TEST_F(export, device_reads_the_right_bytes)
{
	int dmabuf = pool_export(self->pool, 2 * LARGE_BYTES, 6 * LARGE_BYTES, 0);
	static const uint64_t places[] = { 0, 4096, LARGE_BYTES - 4096, LARGE_BYTES,
					   6 * LARGE_BYTES - 4096 };
	struct edu_import import;
	uint64_t block[EDU_BLOCK_BYTES / 8];
	int device;

	ASSERT_FD(dmabuf);
	device = import_open(dmabuf, &import);
	ASSERT_FD(device);
	EXPECT_EQ(6 * LARGE_BYTES, import.total_bytes);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		memset(block, 0, sizeof(block));
		ASSERT_EQ(0, device_read(device, places[i], block));
		EXPECT_EQ(-1, pattern_check(block, sizeof(block),
					    (2 * LARGE_BYTES + places[i]) / 8))
		TH_LOG("offset %lx", places[i]);
	}
	close(device);
}

static int cpu_access(int dmabuf, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	return ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync) ? -errno : 0;
}

/* Also where bounce buffers lie between them: a device that has the window keeps it in step. */
TEST_F(export, device_reads_what_the_cpu_wrote_after_it_was_mapped)
{
	int dmabuf = pool_export(self->pool, LARGE_BYTES, 2 * LARGE_BYTES, HEARTH_EXPORT_WRITE);
	struct edu_import import;
	uint64_t block[EDU_BLOCK_BYTES / 8];
	int device;

	ASSERT_FD(dmabuf);
	device = import_open(dmabuf, &import);
	ASSERT_FD(device);
	ASSERT_EQ(0, device_read(device, 8192, block));
	ASSERT_EQ(0, cpu_access(dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW));
	pattern_fill(self->address + LARGE_BYTES + 8192, EDU_BLOCK_BYTES, 777);
	ASSERT_EQ(0, cpu_access(dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW));
	ASSERT_EQ(0, device_read(device, 8192, block));
	EXPECT_EQ(-1, pattern_check(block, sizeof(block), 777));
	close(device);
}

TEST_F(export, device_writes_what_the_cpu_then_reads)
{
	int dmabuf = pool_export(self->pool, LARGE_BYTES, 2 * LARGE_BYTES, HEARTH_EXPORT_WRITE);
	struct edu_import import;
	uint64_t block[EDU_BLOCK_BYTES / 8];
	int device;

	ASSERT_FD(dmabuf);
	device = import_open(dmabuf, &import);
	ASSERT_FD(device);
	pattern_fill(block, sizeof(block), 123456);
	ASSERT_EQ(0, device_write(device, LARGE_BYTES + 8192, block));
	ASSERT_EQ(0, cpu_access(dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ));
	EXPECT_EQ(-1, pattern_check(self->address + 2 * LARGE_BYTES + 8192, EDU_BLOCK_BYTES, 123456));
	EXPECT_EQ(-1, pattern_check(self->address + 2 * LARGE_BYTES, 8192, 2 * LARGE_BYTES / 8));
	EXPECT_EQ(-1, pattern_check(self->address + 2 * LARGE_BYTES + 12288, LARGE_BYTES - 12288,
				    (2 * LARGE_BYTES + 12288) / 8));
	close(device);
}

TEST_F(export, entries_are_large_and_merged)
{
	int dmabuf = pool_export(self->pool, 0, POOL_BYTES, 0);
	struct edu_import import;
	char command_line[1024];
	int device;

	if (proc_read("/proc/cmdline", command_line, sizeof(command_line)) > 0 &&
	    strstr(command_line, "swiotlb="))
		SKIP(return, "bounce buffers are small");
	ASSERT_FD(dmabuf);
	device = import_open(dmabuf, &import);
	ASSERT_FD(device);
	EXPECT_GE(LARGE_PAGES(POOL_BYTES), import.nents);
	EXPECT_LE(LARGE_BYTES, import.longest_bytes);
	EXPECT_EQ(POOL_BYTES, import.total_bytes);
}

TEST_F(export, import_outlives_everything_else)
{
	int dmabuf = pool_export(self->pool, 0, POOL_BYTES, 0);
	struct edu_import import;
	uint64_t block[EDU_BLOCK_BYTES / 8];
	int device;

	ASSERT_FD(dmabuf);
	device = import_open(dmabuf, &import);
	ASSERT_FD(device);
	close(dmabuf);
	munmap(self->address, POOL_BYTES);
	close(self->pool);
	self->pool = -1;
	ASSERT_EQ(0, device_read(device, LARGE_BYTES, block));
	EXPECT_EQ(-1, pattern_check(block, sizeof(block), LARGE_BYTES / 8));
	close(device);
}

TEST_F(export, many_importers_share_one_dmabuf)
{
	int dmabuf = pool_export(self->pool, 0, POOL_BYTES, 0);
	struct edu_import import;
	uint64_t block[EDU_BLOCK_BYTES / 8];
	int devices[8];

	ASSERT_FD(dmabuf);
	for (int i = 0; i < 8; i++) {
		devices[i] = import_open(dmabuf, &import);
		ASSERT_FD(devices[i]);
	}
	close(devices[0]);
	ASSERT_EQ(0, device_read(devices[7], 4096, block));
	EXPECT_EQ(-1, pattern_check(block, sizeof(block), 512));
	for (int i = 1; i < 8; i++)
		close(devices[i]);
}

TEST_F(export, works_for_small_orders_too)
{
	struct hearth_create create = pool_create_request(LARGE_BYTES, HEARTH_CREATE_FALLBACK);
	struct edu_import import;
	int pool = pool_ioctl(pool_device(), HEARTH_CREATE, &create), device, dmabuf;

	ASSERT_FD(pool);
	dmabuf = pool_export(pool, 0, LARGE_BYTES, 0);
	ASSERT_FD(dmabuf);
	device = import_open(dmabuf, &import);
	ASSERT_FD(device);
	EXPECT_EQ(LARGE_BYTES, import.total_bytes);
}

/* Where the guest was booted with an IOMMU, the device's addresses must truly be translated. */
TEST_F(export, device_is_behind_the_iommu_asked_for)
{
	char text[1024], type[64];
	glob_t found;
	bool translated = false;

	ASSERT_LT(0, proc_read("/proc/cmdline", text, sizeof(text)));
	if (!strstr(text, "iommu=nopt"))
		SKIP(return, "booted without an IOMMU");
	ASSERT_EQ(0, glob("/sys/bus/pci/drivers/edu_import/0000:*/iommu_group/type", 0, NULL, &found));
	for (size_t i = 0; i < found.gl_pathc; i++) {
		translated |= proc_read(found.gl_pathv[i], type, sizeof(type)) > 0 &&
			      !strcmp(type, "DMA\n");
	}
	EXPECT_TRUE(translated) TH_LOG("%s", type);
	globfree(&found);
}

/* From <drm/drm.h>, which Debian's libc headers do not carry. */
struct drm_prime_handle {
	__u32 handle;
	__u32 flags;
	__s32 fd;
};
struct drm_gem_close {
	__u32 handle;
	__u32 pad;
};
#define DRM_IOCTL_PRIME_FD_TO_HANDLE _IOWR('d', 0x2e, struct drm_prime_handle)
#define DRM_IOCTL_GEM_CLOSE _IOW('d', 0x09, struct drm_gem_close)

TEST_F(export, vgem_imports_it)
{
	struct drm_prime_handle prime = { .fd = pool_export(self->pool, 0, POOL_BYTES, 0) };
	struct drm_gem_close close_handle = {};
	struct hearth_info info;
	int card = open("/dev/dri/card0", O_RDWR | O_CLOEXEC);

	if (card < 0)
		SKIP(return, "no vgem in this kernel");
	ASSERT_FD(prime.fd);
	ASSERT_EQ(0, ioctl(card, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime)) TH_LOG("errno %d", errno);
	close(prime.fd);
	ASSERT_EQ(0, pool_info(self->pool, &info));
	EXPECT_EQ(1, info.dmabufs);
	close_handle.handle = prime.handle;
	ASSERT_EQ(0, ioctl(card, DRM_IOCTL_GEM_CLOSE, &close_handle));
	close(card);
	/* The last reference of the dma-buf's file goes from task work. */
	for (int i = 0; i < 100 && (pool_info(self->pool, &info), info.dmabufs); i++)
		usleep(10000);
	EXPECT_EQ(0, info.dmabufs);
}

TEST_HARNESS_MAIN
