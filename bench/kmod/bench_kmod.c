// SPDX-License-Identifier: MIT
/*
 * Runs in the guest. Measures what it costs to have, to map and to hand to a device the same
 * number of bytes as a pool, as a memfd of 4 KiB pages, as transparent huge pages, as hugetlb
 * and through udmabuf. Prints one line of tab-separated numbers per kind; bench/kmod/run makes
 * a table of ratios of them.
 *
 *   bench_kmod [MIB]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/udmabuf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/pool.h"
#include "common/proc.h"
#include "kmod/edu_import/edu_import.h"

#define GIB (1UL << 30)
#define ROUNDS 5

struct kind {
	const char *name;
	/* The memory as an fd; -1 with errno. Anonymous memory has none and is_anonymous. */
	int (*create)(size_t bytes);
	/* A dma-buf of the whole; NULL where this kind has none. */
	int (*export)(int fd, size_t bytes);
	bool is_anonymous;
};

struct cost {
	double allocate_ms, remap_ms, fault_us, faults_per_gib, map_us;
	long page_table_kib;
	double sg_per_gib;
};

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int sealed_memfd(size_t bytes, unsigned int flags)
{
	int fd = memfd_create("bench", MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return -1;
	/* udmabuf takes only what cannot shrink. */
	if (ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int create_memfd(size_t bytes)
{
	return sealed_memfd(bytes, 0);
}

static int create_hugetlb(size_t bytes)
{
	char count[32];

	snprintf(count, sizeof(count), "%zu", bytes / LARGE_BYTES);
	proc_write("/proc/sys/vm/nr_hugepages", count);
	return sealed_memfd(bytes, MFD_HUGETLB | MFD_HUGE_2MB);
}

static int create_nothing(size_t bytes)
{
	(void)bytes;
	return 0;
}

static int create_pool(size_t bytes)
{
	return pool_create(bytes, 0);
}

static int export_udmabuf(int fd, size_t bytes)
{
	struct udmabuf_create create = {
		.memfd = (__u32)fd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = bytes
	};
	int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), dmabuf;

	if (device < 0)
		return -1;
	dmabuf = ioctl(device, UDMABUF_CREATE, &create);
	close(device);
	return dmabuf;
}

static int export_pool(int fd, size_t bytes)
{
	int dmabuf = pool_export(fd, 0, bytes, 0);

	return dmabuf < 0 ? -1 : dmabuf;
}

static const struct kind kinds[] = {
	{ "hearth pool", create_pool, export_pool, false },
	{ "memfd, 4 KiB", create_memfd, NULL, false },
	{ "anonymous THP", create_nothing, NULL, true },
	{ "hugetlb memfd, 2 MiB", create_hugetlb, NULL, false },
	{ "udmabuf over memfd", create_memfd, export_udmabuf, false },
	{ "udmabuf over hugetlb", create_hugetlb, export_udmabuf, false },
};

static char *map(const struct kind *kind, int fd, size_t bytes)
{
	char *address;

	if (!kind->is_anonymous)
		return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	address = mmap(NULL, bytes + LARGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (address == MAP_FAILED)
		return address;
	address += -(unsigned long)address % LARGE_BYTES;
	madvise(address, bytes, MADV_HUGEPAGE);
	return address;
}

static double touch(char *address, size_t bytes)
{
	double start = now_us();

	for (size_t i = 0; i < bytes; i += 4096)
		*(volatile char *)(address + i) = 1;
	return now_us() - start;
}

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* One touch per large page: each is a fault, in memory that is there but not mapped. */
static double fault_once_per_large_page(char *address, size_t bytes)
{
	double start = now_us();

	for (size_t i = 0; i < bytes; i += LARGE_BYTES)
		*(volatile char *)(address + i) = 1;
	return (now_us() - start) / (double)LARGE_PAGES(bytes);
}

static int measure_mapping(const struct kind *kind, int fd, size_t bytes, struct cost *cost)
{
	cost->remap_ms = cost->fault_us = 1e18;
	for (int i = 0; i < ROUNDS; i++) {
		long before = proc_field("/proc/self/status", "VmPTE"), faults = minor_faults();
		double start = now_us(), took;
		char *address = map(kind, fd, bytes);

		if (address == MAP_FAILED)
			return -errno;
		touch(address, bytes);
		took = (now_us() - start) / 1e3;
		if (took < cost->remap_ms)
			cost->remap_ms = took;
		cost->faults_per_gib = (double)(minor_faults() - faults) * GIB / (double)bytes;
		cost->page_table_kib = proc_field("/proc/self/status", "VmPTE") - before;
		munmap(address, bytes);

		address = map(kind, fd, bytes);
		if (address == MAP_FAILED)
			return -errno;
		took = fault_once_per_large_page(address, bytes);
		if (took < cost->fault_us)
			cost->fault_us = took;
		munmap(address, bytes);
	}
	return 0;
}

static int measure_import(const struct kind *kind, int fd, size_t bytes, struct cost *cost)
{
	double best = 1e18;

	for (int i = 0; i < ROUNDS; i++) {
		struct edu_import import = { .fd = kind->export(fd, bytes) };
		int device = open("/dev/edu_import", O_RDWR | O_CLOEXEC);
		int err;

		if (import.fd < 0 || device < 0)
			return -errno;
		err = ioctl(device, EDU_IOC_IMPORT, &import) ? -errno : 0;
		close(device);
		close(import.fd);
		if (err)
			return err;
		if ((double)import.map_ns / 1e3 < best)
			best = (double)import.map_ns / 1e3;
		cost->sg_per_gib = (double)import.nents * GIB / (double)bytes;
	}
	cost->map_us = best;
	return 0;
}

/* Creates, maps and touches once; what is to be measured further stays. */
static int measure_allocation(const struct kind *kind, size_t bytes, struct cost *cost, int *ret_fd)
{
	long before = proc_field("/proc/self/status", "VmPTE");
	double start = now_us(), took;
	int fd = kind->create(bytes);
	char *address;

	if (fd < 0)
		return -errno;
	address = map(kind, fd, bytes);
	if (address == MAP_FAILED)
		return -errno;
	touch(address, bytes);
	took = (now_us() - start) / 1e3;
	if (took < cost->allocate_ms)
		cost->allocate_ms = took;
	cost->page_table_kib = proc_field("/proc/self/status", "VmPTE") - before;
	munmap(address, bytes);
	*ret_fd = fd;
	return 0;
}

static int measure(const struct kind *kind, size_t bytes, struct cost *cost)
{
	int fd = -1, err = 0;

	cost->allocate_ms = 1e18;
	for (int i = 0; i < ROUNDS && !err; i++) {
		if (fd > 0)
			close(fd);
		proc_write("/proc/sys/vm/nr_hugepages", "0");
		err = measure_allocation(kind, bytes, cost, &fd);
	}
	if (!err && !kind->is_anonymous)
		err = measure_mapping(kind, fd, bytes, cost);
	if (!err && kind->export)
		err = measure_import(kind, fd, bytes, cost);
	if (fd > 0)
		close(fd);
	proc_write("/proc/sys/vm/nr_hugepages", "0");
	return err;
}

/* The machine below gives the guest its memory at first touch: that must not be on any kind's bill. */
static void warm_up(void)
{
	size_t bytes = (size_t)proc_field("/proc/meminfo", "MemAvailable") / 8 * 7 << 10;
	char *heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (heap == MAP_FAILED)
		return;
	touch(heap, bytes);
	munmap(heap, bytes);
}

int main(int argc, char **argv)
{
	size_t bytes = (argc > 1 ? strtoul(argv[1], NULL, 0) : 256) << 20;
	int failures = 0;

	proc_write("/sys/module/udmabuf/parameters/size_limit_mb", "1024");
	proc_write("/sys/module/udmabuf/parameters/list_limit", "1024");
	warm_up();
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct cost cost = {};
		int err = measure(&kinds[i], bytes, &cost);

		if (err) {
			printf("# %s: %s\n", kinds[i].name, strerror(-err));
			failures++;
			continue;
		}
		printf("# bench\t%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.1f\t%ld\n", kinds[i].name,
		       cost.allocate_ms, kinds[i].is_anonymous ? -1 : cost.remap_ms,
		       kinds[i].is_anonymous ? -1 : cost.fault_us,
		       kinds[i].is_anonymous ? -1 : cost.faults_per_gib,
		       kinds[i].export ? cost.sg_per_gib : -1, kinds[i].export ? cost.map_us : -1,
		       cost.page_table_kib);
		fflush(stdout);
	}
	printf("%s 1 every kind was measured\n", failures ? "not ok" : "ok");
	return failures > 0;
}
