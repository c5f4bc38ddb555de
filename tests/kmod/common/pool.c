// SPDX-License-Identifier: MIT
#include "common/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/proc.h"

int pool_device(void)
{
	static int device = -1;

	if (device < 0)
		device = open("/dev/hearth", O_RDWR | O_CLOEXEC);
	return device < 0 ? -errno : device;
}

int pool_ioctl(int fd, unsigned long command, void *argument)
{
	int result = ioctl(fd, command, argument);

	return result < 0 ? -errno : result;
}

void pool_key(uint8_t key[HEARTH_KEY_BYTES], uint64_t number)
{
	memset(key, 0x5a, HEARTH_KEY_BYTES);
	memcpy(key, &number, sizeof(number));
}

struct hearth_create pool_create_request(uint64_t size_bytes, uint32_t flags)
{
	return (struct hearth_create){
		.size_bytes = size_bytes, .flags = flags, .node = HEARTH_NODE_ANY, .mode = 0600
	};
}

int pool_create(uint64_t size_bytes, uint32_t flags)
{
	struct hearth_create create = pool_create_request(size_bytes, flags);

	return pool_ioctl(pool_device(), HEARTH_CREATE, &create);
}

int pool_create_keyed(uint64_t size_bytes, uint32_t flags, uint64_t number, uint32_t mode)
{
	struct hearth_create create = pool_create_request(size_bytes, flags | HEARTH_CREATE_KEYED);

	create.mode = mode;
	pool_key(create.key, number);
	return pool_ioctl(pool_device(), HEARTH_CREATE, &create);
}

int pool_open(uint64_t number, uint32_t uid, uint32_t flags)
{
	struct hearth_open request = { .uid = uid, .flags = flags };

	pool_key(request.key, number);
	return pool_ioctl(pool_device(), HEARTH_OPEN, &request);
}

int pool_destroy(uint64_t number, uint32_t uid)
{
	struct hearth_destroy request = { .uid = uid };

	pool_key(request.key, number);
	return pool_ioctl(pool_device(), HEARTH_DESTROY, &request);
}

int pool_query(struct hearth_query *ret_query)
{
	return pool_ioctl(pool_device(), HEARTH_QUERY, ret_query);
}

int pool_adopt(int memfd)
{
	struct hearth_adopt adopt = { .memfd = memfd, .mode = 0600 };

	return pool_ioctl(pool_device(), HEARTH_ADOPT, &adopt);
}

int pool_info(int fd, struct hearth_info *ret_info)
{
	return pool_ioctl(fd, HEARTH_POOL_INFO, ret_info);
}

static int plain(int fd, unsigned long command)
{
	struct hearth_pool_flags none = {};

	return pool_ioctl(fd, command, &none);
}

int pool_allocate(int fd)
{
	return plain(fd, HEARTH_POOL_ALLOCATE);
}

int pool_seal(int fd)
{
	return plain(fd, HEARTH_POOL_SEAL);
}

int pool_idle(int fd)
{
	return plain(fd, HEARTH_POOL_IDLE);
}

int pool_activate(int fd)
{
	return plain(fd, HEARTH_POOL_ACTIVATE);
}

int pool_memfd(int fd)
{
	return plain(fd, HEARTH_POOL_MEMFD);
}

int pool_export(int fd, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct hearth_export request = { .offset = offset, .length = length, .flags = flags };

	return pool_ioctl(fd, HEARTH_POOL_EXPORT, &request);
}

void *pool_map(int fd, size_t bytes, int prot)
{
	return mmap(NULL, bytes, prot, MAP_SHARED, fd, 0);
}

bool pool_is_listed(uint64_t id)
{
	struct hearth_info entries[16];
	struct hearth_list list = { .entries = (uintptr_t)entries,
				    .entry_bytes = sizeof(entries[0]) };

	for (;;) {
		list.count = sizeof(entries) / sizeof(entries[0]);
		if (pool_ioctl(pool_device(), HEARTH_LIST, &list) || list.count == 0)
			return false;
		for (uint32_t i = 0; i < list.count; i++)
			if (entries[i].id == id)
				return true;
	}
}

void pattern_fill(void *buffer, size_t bytes, uint64_t first_index)
{
	uint64_t *words = buffer;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		words[i] = pattern_word(first_index + i);
}

int64_t pattern_check(const void *buffer, size_t bytes, uint64_t first_index)
{
	const uint64_t *words = buffer;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		if (words[i] != pattern_word(first_index + i))
			return (int64_t)i;
	return -1;
}

bool is_zero(const void *buffer, size_t bytes)
{
	const uint64_t *words = buffer;
	uint64_t seen = 0;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		seen |= words[i];
	return seen == 0;
}

void reclaim_slabs(void)
{
	proc_write("/proc/sys/vm/drop_caches", "2");
}
