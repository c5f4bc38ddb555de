// SPDX-License-Identifier: MIT
/* Every ioctl with structures too short, too long, garbled, or with bits that mean nothing. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/test.h"

enum { ON_DEVICE, ON_POOL };

struct call {
	const char *name;
	unsigned long command;
	int where;
};

static const struct call calls[] = {
	{ "query", HEARTH_QUERY, ON_DEVICE },
	{ "create", HEARTH_CREATE, ON_DEVICE },
	{ "open", HEARTH_OPEN, ON_DEVICE },
	{ "destroy", HEARTH_DESTROY, ON_DEVICE },
	{ "list", HEARTH_LIST, ON_DEVICE },
	{ "adopt", HEARTH_ADOPT, ON_DEVICE },
	{ "info", HEARTH_POOL_INFO, ON_POOL },
	{ "allocate", HEARTH_POOL_ALLOCATE, ON_POOL },
	{ "seal", HEARTH_POOL_SEAL, ON_POOL },
	{ "export", HEARTH_POOL_EXPORT, ON_POOL },
	{ "idle", HEARTH_POOL_IDLE, ON_POOL },
	{ "activate", HEARTH_POOL_ACTIVATE, ON_POOL },
	{ "memfd", HEARTH_POOL_MEMFD, ON_POOL },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define for_each_call(call) for (call = calls; call < calls + COUNT(calls); call++)

static unsigned long resized(const struct call *call, unsigned int bytes)
{
	return _IOC(_IOC_DIR(call->command), HEARTH_IOC_MAGIC, _IOC_NR(call->command), bytes);
}

static bool has_input(const struct call *call)
{
	return _IOC_DIR(call->command) & _IOC_WRITE;
}

FIXTURE(abi)
{
	int device, pool;
	/* Room for the longest structure an ioctl number can tell of. */
	uint8_t argument[16384];
};

FIXTURE_SETUP(abi)
{
	memset(self->argument, 0, sizeof(self->argument));
	self->device = pool_device();
	ASSERT_FD(self->device);
	self->pool = pool_create(LARGE_BYTES, 0);
	ASSERT_FD(self->pool);
}

FIXTURE_TEARDOWN(abi)
{
	close(self->pool);
}

static int fd_of(const FIXTURE_DATA(abi) *self, const struct call *call)
{
	return call->where == ON_POOL ? self->pool : self->device;
}

TEST_F(abi, structures_have_no_holes)
{
	EXPECT_EQ(80, sizeof(struct hearth_query));
	EXPECT_EQ(56, sizeof(struct hearth_create));
	EXPECT_EQ(40, sizeof(struct hearth_open));
	EXPECT_EQ(40, sizeof(struct hearth_destroy));
	EXPECT_EQ(48, sizeof(struct hearth_adopt));
	EXPECT_EQ(24, sizeof(struct hearth_list));
	EXPECT_EQ(24, sizeof(struct hearth_export));
	EXPECT_EQ(8, sizeof(struct hearth_pool_flags));
	EXPECT_EQ(0, sizeof(struct hearth_info) % 8);
}

TEST_F(abi, short_structures_are_refused)
{
	const struct call *call;

	for_each_call(call) {
		unsigned int sizes[] = { 0, 1, 4, _IOC_SIZE(call->command) - 1 };

		for (size_t i = 0; i < COUNT(sizes); i++) {
			EXPECT_EQ(-EINVAL, pool_ioctl(fd_of(self, call), resized(call, sizes[i]),
						      self->argument))
			TH_LOG("%s with %u bytes", call->name, sizes[i]);
		}
	}
}

/* Without their first fields these fail, but not for their length. */
TEST_F(abi, long_structures_with_zeroes_are_as_short_ones)
{
	const struct call *call;

	for_each_call(call) {
		unsigned int size = _IOC_SIZE(call->command);
		unsigned int sizes[] = { size + 1, size + 8, 4096, 16383 };
		int exact;

		memset(self->argument, 0, sizeof(self->argument));
		exact = pool_ioctl(fd_of(self, call), call->command, self->argument);
		for (size_t i = 0; i < COUNT(sizes); i++) {
			memset(self->argument, 0, sizeof(self->argument));
			EXPECT_EQ(exact, pool_ioctl(fd_of(self, call), resized(call, sizes[i]),
						    self->argument))
			TH_LOG("%s with %u bytes", call->name, sizes[i]);
		}
	}
}

TEST_F(abi, long_structures_with_unknown_fields_are_refused)
{
	const struct call *call;

	for_each_call(call) {
		unsigned int size = _IOC_SIZE(call->command);
		unsigned int places[] = { size, size + 7, 4095 };

		if (!has_input(call))
			continue;
		for (size_t i = 0; i < COUNT(places); i++) {
			memset(self->argument, 0, sizeof(self->argument));
			self->argument[places[i]] = 1;
			EXPECT_EQ(-E2BIG, pool_ioctl(fd_of(self, call), resized(call, 4096),
						     self->argument))
			TH_LOG("%s with byte %u set", call->name, places[i]);
		}
	}
}

TEST_F(abi, what_the_kernel_does_not_know_of_an_answer_is_zeroed)
{
	struct hearth_info *info = (void *)self->argument;

	memset(self->argument, 0xff, sizeof(self->argument));
	ASSERT_EQ(0, pool_ioctl(self->pool,
				_IOC(_IOC_READ, HEARTH_IOC_MAGIC, _IOC_NR(HEARTH_POOL_INFO), 1024),
				self->argument));
	EXPECT_EQ(LARGE_BYTES, info->size_bytes);
	EXPECT_TRUE(is_zero(self->argument + sizeof(*info), 1024 - sizeof(*info)));
	EXPECT_EQ(0xff, self->argument[1024]);
}

TEST_F(abi, wrong_directions_are_no_ioctls)
{
	const struct call *call;

	for_each_call(call) {
		unsigned int right = _IOC_DIR(call->command);

		for (unsigned int dir = 0; dir < 4; dir++) {
			if (dir == right)
				continue;
			EXPECT_EQ(-ENOTTY, pool_ioctl(fd_of(self, call),
						      _IOC(dir, HEARTH_IOC_MAGIC,
							   _IOC_NR(call->command),
							   _IOC_SIZE(call->command)),
						      self->argument))
			TH_LOG("%s with direction %u", call->name, dir);
		}
	}
}

TEST_F(abi, unknown_numbers_are_no_ioctls)
{
	for (unsigned int nr = 0; nr < 256; nr++) {
		bool on_device = nr <= _IOC_NR(HEARTH_ADOPT);
		bool on_pool = nr >= _IOC_NR(HEARTH_POOL_INFO) && nr <= _IOC_NR(HEARTH_POOL_MEMFD);

		for (unsigned int dir = 0; dir < 4; dir++) {
			unsigned long command = _IOC(dir, HEARTH_IOC_MAGIC, nr, 24);

			if (!on_device) {
				EXPECT_EQ(-ENOTTY, pool_ioctl(self->device, command, self->argument));
			}
			if (!on_pool) {
				EXPECT_EQ(-ENOTTY, pool_ioctl(self->pool, command, self->argument));
			}
		}
	}
}

TEST_F(abi, foreign_magic_is_no_ioctl)
{
	const struct call *call;

	for_each_call(call) {
		EXPECT_EQ(-ENOTTY,
			  pool_ioctl(fd_of(self, call),
				     _IOC(_IOC_DIR(call->command), 'U', _IOC_NR(call->command),
					  _IOC_SIZE(call->command)),
				     self->argument));
	}
}

TEST_F(abi, unreadable_arguments_fault)
{
	const struct call *call;
	uint8_t *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_MAPPED(pages);
	ASSERT_EQ(0, munmap(pages + 4096, 4096));
	for_each_call(call) {
		int fd = fd_of(self, call);

		EXPECT_EQ(-EFAULT, pool_ioctl(fd, call->command, NULL)) TH_LOG("%s", call->name);
		EXPECT_EQ(-EFAULT, pool_ioctl(fd, call->command, (void *)-4096L))
		TH_LOG("%s", call->name);
		EXPECT_EQ(-EFAULT, pool_ioctl(fd, call->command, pages + 4096 - 4))
		TH_LOG("%s", call->name);
	}
	munmap(pages, 4096);
}

TEST_F(abi, unwritable_answers_fault)
{
	uint8_t *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_MAPPED(page);
	EXPECT_EQ(-EFAULT, pool_ioctl(self->device, HEARTH_QUERY, page));
	EXPECT_EQ(-EFAULT, pool_ioctl(self->pool, HEARTH_POOL_INFO, page));
}

TEST_F(abi, all_ones_are_refused)
{
	const struct call *call;

	for_each_call(call) {
		if (!has_input(call))
			continue;
		memset(self->argument, 0xff, sizeof(self->argument));
		/* A list has no flags; what it lacks is memory at that address. */
		EXPECT_EQ(call->command == HEARTH_LIST ? -EFAULT : -EINVAL,
			  pool_ioctl(fd_of(self, call), call->command, self->argument))
		TH_LOG("%s", call->name);
	}
}

/* Any answer will do, but no crash, and a descriptor only where one is promised. */
TEST_F(abi, random_bytes_do_no_harm)
{
	const struct call *call;
	struct hearth_info info;

	srandom(4);
	for (int round = 0; round < 500; round++) {
		for_each_call(call) {
			int result;

			for (size_t i = 0; i < _IOC_SIZE(call->command); i++)
				self->argument[i] = (uint8_t)(random() >> 7);
			result = pool_ioctl(fd_of(self, call), call->command, self->argument);
			if (result > 2 && result != self->pool && result != self->device)
				close(result);
		}
	}
	EXPECT_EQ(0, pool_info(self->pool, &info));
}

TEST_F(abi, unknown_flag_bits_are_refused)
{
	for (unsigned int bit = 0; bit < 32; bit++) {
		uint32_t flag = 1U << bit;
		struct hearth_create create = pool_create_request(LARGE_BYTES, flag);
		struct hearth_open open = { .uid = HEARTH_UID_SELF, .flags = flag };
		struct hearth_destroy destroy = { .uid = HEARTH_UID_SELF, .flags = flag };
		struct hearth_adopt adopt = { .memfd = -1, .flags = flag, .mode = 0600 };
		struct hearth_export export = { .length = LARGE_BYTES, .flags = flag };
		struct hearth_pool_flags plain = { .flags = flag };
		const struct call *call;

		if (flag > HEARTH_CREATE_IDLE_ON_CLOSE) {
			EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_CREATE, &create));
		}
		if (flag != HEARTH_OPEN_WRITE) {
			EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_OPEN, &open));
		}
		EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_DESTROY, &destroy));
		if (flag != HEARTH_CREATE_KEYED) {
			EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_ADOPT, &adopt));
		}
		if (flag != HEARTH_EXPORT_WRITE) {
			EXPECT_EQ(-EINVAL, pool_ioctl(self->pool, HEARTH_POOL_EXPORT, &export));
		}
		for_each_call(call)
			if (_IOC_SIZE(call->command) == sizeof(plain)) {
				EXPECT_EQ(-EINVAL, pool_ioctl(self->pool, call->command, &plain))
				TH_LOG("%s bit %u", call->name, bit);
			}
	}
}

TEST_F(abi, padding_that_is_not_zero_is_refused)
{
	for (unsigned int bit = 0; bit < 32; bit++) {
		struct hearth_adopt adopt = { .memfd = -1, .mode = 0600, .pad = 1U << bit };
		struct hearth_export export = { .length = LARGE_BYTES, .pad = 1U << bit };
		struct hearth_pool_flags plain = { .pad = 1U << bit };
		const struct call *call;

		EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_ADOPT, &adopt));
		EXPECT_EQ(-EINVAL, pool_ioctl(self->pool, HEARTH_POOL_EXPORT, &export));
		for_each_call(call)
			if (_IOC_SIZE(call->command) == sizeof(plain)) {
				EXPECT_EQ(-EINVAL, pool_ioctl(self->pool, call->command, &plain));
			}
	}
}

TEST_F(abi, create_refuses_sizes_that_are_no_large_pages)
{
	static const uint64_t sizes[] = { 0, 1, 4096, LARGE_BYTES - 1, LARGE_BYTES + 1,
					  LARGE_BYTES + 4096, 3UL << 20, UINT64_MAX };

	for (size_t i = 0; i < COUNT(sizes); i++) {
		EXPECT_EQ(-EINVAL, pool_create(sizes[i], 0)) TH_LOG("size %lx", sizes[i]);
	}
}

TEST_F(abi, create_refuses_sizes_beyond_the_machine)
{
	static const uint64_t sizes[] = { 1UL << 40, 1UL << 46, 1UL << 62, 1UL << 63,
					  -(2UL << 20) };

	for (size_t i = 0; i < COUNT(sizes); i++) {
		int result = pool_create(sizes[i], 0);

		EXPECT_TRUE(result == -ENOMEM || result == -EDQUOT || result == -EINVAL)
		TH_LOG("size %lx gives %d", sizes[i], result);
		result = pool_create(sizes[i], HEARTH_CREATE_DEFER);
		EXPECT_TRUE(result == -ENOMEM || result == -EDQUOT || result == -EINVAL)
		TH_LOG("deferred size %lx gives %d", sizes[i], result);
	}
}

TEST_F(abi, create_refuses_nodes_that_are_none)
{
	static const int nodes[] = { -2, -1000, INT32_MIN, 2, 63, 64, 1023, 1024, 65536, INT32_MAX };

	for (size_t i = 0; i < COUNT(nodes); i++) {
		struct hearth_create create = pool_create_request(LARGE_BYTES, 0);

		create.node = nodes[i];
		EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_CREATE, &create))
		TH_LOG("node %d", nodes[i]);
	}
}

TEST_F(abi, create_refuses_a_strict_node_that_is_any)
{
	EXPECT_EQ(-EINVAL, pool_create(LARGE_BYTES, HEARTH_CREATE_STRICT_NODE));
}

TEST_F(abi, create_refuses_orders_out_of_place)
{
	struct hearth_create create = pool_create_request(LARGE_BYTES, 0);

	create.min_order = 1;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_CREATE, &create));
	create.flags = HEARTH_CREATE_FALLBACK;
	create.min_order = 10;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_CREATE, &create));
	create.min_order = UINT32_MAX;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_CREATE, &create));
}

TEST_F(abi, create_refuses_modes_beyond_0666)
{
	static const uint32_t modes[] = { 0100, 0010, 0001, 01000, 02000, 04000, 0777, 1U << 31 };

	for (size_t i = 0; i < COUNT(modes); i++) {
		struct hearth_create create = pool_create_request(LARGE_BYTES, 0);
		struct hearth_adopt adopt = { .memfd = -1, .mode = modes[i] };

		create.mode = modes[i];
		EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_CREATE, &create));
		EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_ADOPT, &adopt));
	}
}

TEST_F(abi, create_refuses_a_key_without_its_flag)
{
	for (size_t i = 0; i < HEARTH_KEY_BYTES; i++) {
		struct hearth_create create = pool_create_request(LARGE_BYTES, 0);

		create.key[i] = 1;
		EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_CREATE, &create));
	}
}

TEST_F(abi, create_takes_every_valid_flag)
{
	static const uint32_t flags[] = { 0, HEARTH_CREATE_DEFER, HEARTH_CREATE_FALLBACK,
					  HEARTH_CREATE_IDLE_ON_CLOSE,
					  HEARTH_CREATE_DEFER | HEARTH_CREATE_FALLBACK |
						  HEARTH_CREATE_IDLE_ON_CLOSE };

	for (size_t i = 0; i < COUNT(flags); i++) {
		struct hearth_info info;
		int fd = pool_create(LARGE_BYTES, flags[i]);

		ASSERT_FD(fd);
		ASSERT_EQ(0, pool_info(fd, &info));
		EXPECT_EQ(flags[i], info.flags);
		EXPECT_EQ(LARGE_BYTES, info.size_bytes);
		EXPECT_EQ(0600, info.mode);
		EXPECT_EQ(1, info.files);
		close(fd);
	}
}

TEST_F(abi, descriptors_are_close_on_exec)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, 0);

	ASSERT_FD(dmabuf);
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->pool, F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(dmabuf, F_GETFD));
	EXPECT_EQ(O_RDONLY, fcntl(dmabuf, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(O_RDWR, fcntl(self->pool, F_GETFL) & O_ACCMODE);
	close(dmabuf);
}

TEST_F(abi, no_descriptor_left_is_emfile_and_no_pool_remains)
{
	struct hearth_query before, after;
	struct hearth_create create = pool_create_request(LARGE_BYTES, 0);
	int last = -1, fd;

	ASSERT_EQ(0, pool_query(&before));
	while ((fd = dup(self->pool)) >= 0)
		last = fd;
	EXPECT_EQ(-EMFILE, pool_ioctl(self->device, HEARTH_CREATE, &create));
	EXPECT_EQ(-EMFILE, pool_export(self->pool, 0, LARGE_BYTES, 0));
	ASSERT_EQ(0, pool_query(&after));
	EXPECT_EQ(before.used_bytes, after.used_bytes);
	EXPECT_EQ(before.uid_pools, after.uid_pools);
	EXPECT_GT(last, 0);
}

TEST_F(abi, export_refuses_windows_off_the_large_pages_or_the_pool)
{
	static const struct {
		uint64_t offset, length;
	} windows[] = {
		{ 0, 0 }, { 0, 4096 }, { 0, LARGE_BYTES + 4096 }, { 4096, LARGE_BYTES },
		{ 0, 2 * LARGE_BYTES }, { LARGE_BYTES, LARGE_BYTES }, { LARGE_BYTES, 0 },
		{ -LARGE_BYTES, 2 * LARGE_BYTES }, { LARGE_BYTES, -LARGE_BYTES },
		{ -LARGE_BYTES, LARGE_BYTES }, { UINT64_MAX, UINT64_MAX },
	};

	for (size_t i = 0; i < COUNT(windows); i++) {
		EXPECT_EQ(-EINVAL,
			  pool_export(self->pool, windows[i].offset, windows[i].length, 0))
		TH_LOG("offset %lx length %lx", windows[i].offset, windows[i].length);
	}
}

TEST_F(abi, list_refuses_no_room_and_short_entries)
{
	struct hearth_info entry;
	struct hearth_list list = { .entries = (uintptr_t)&entry,
				    .entry_bytes = sizeof(entry) };

	EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_LIST, &list));
	list.count = 1;
	list.entry_bytes = sizeof(entry) - 1;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_LIST, &list));
	list.entry_bytes = 0;
	EXPECT_EQ(-EINVAL, pool_ioctl(self->device, HEARTH_LIST, &list));
}

TEST_F(abi, list_that_cannot_write_entries_changes_nothing)
{
	struct hearth_list list = { .entries = 4096, .count = 7,
				    .entry_bytes = sizeof(struct hearth_info) };

	ASSERT_FD(pool_create_keyed(LARGE_BYTES, 0, 99, 0600));
	EXPECT_EQ(-EFAULT, pool_ioctl(self->device, HEARTH_LIST, &list));
	EXPECT_EQ(0, list.cursor);
	EXPECT_EQ(7, list.count);
	list.entries = UINT64_MAX - 8;
	EXPECT_EQ(-EFAULT, pool_ioctl(self->device, HEARTH_LIST, &list));
	list.entries = (uintptr_t)self->argument;
	list.entry_bytes = UINT32_MAX;
	list.count = UINT32_MAX;
	EXPECT_GE(0, pool_ioctl(self->device, HEARTH_LIST, &list));
	EXPECT_EQ(0, pool_destroy(99, HEARTH_UID_SELF));
}

TEST_F(abi, query_tells_the_version_and_the_page)
{
	struct hearth_query query;

	memset(&query, 0xff, sizeof(query));
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_EQ(HEARTH_ABI_VERSION, query.abi_version);
	EXPECT_EQ(LARGE_BYTES, query.large_page_bytes);
	EXPECT_EQ(0, query.pad);
	EXPECT_GE(query.limit_bytes, query.used_bytes);
	EXPECT_GE(query.used_bytes, LARGE_BYTES);
	EXPECT_GE(query.uid_limit_bytes, query.uid_used_bytes);
	EXPECT_GE(query.uid_pools, 1);
}

TEST_F(abi, poll_tells_writable_then_sealed)
{
	struct pollfd poll_fd = { .fd = self->pool, .events = POLLIN | POLLOUT };
	int deferred = pool_create(LARGE_BYTES, HEARTH_CREATE_DEFER);

	ASSERT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_EQ(POLLOUT, poll_fd.revents);
	ASSERT_EQ(0, pool_seal(self->pool));
	ASSERT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_EQ(POLLIN, poll_fd.revents);
	poll_fd.fd = deferred;
	EXPECT_EQ(0, poll(&poll_fd, 1, 0));
	ASSERT_EQ(0, pool_allocate(deferred));
	ASSERT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_EQ(POLLOUT, poll_fd.revents);
}

/*
 * Waits long for @events; the revents it woke for, 0 if nothing woke it: poll() looks once more when
 * its time is over.
 */
static int wake_for(int pool, short events)
{
	struct pollfd poll_fd = { .fd = pool, .events = events };
	int limit_ms = 10000 * (int)proc_scale();
	int64_t start = proc_now_ms();

	if (poll(&poll_fd, 1, limit_ms) != 1 || proc_now_ms() - start >= limit_ms)
		return 0;
	return poll_fd.revents;
}

static bool is_asleep(pid_t child)
{
	char path[64], text[512], *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", child);
	if (proc_read(path, text, sizeof(text)) <= 0)
		return true;
	state = strrchr(text, ')');
	return state && state[2] == 'S';
}

/* A poll() that waits already, not one that comes later and sees for itself. */
TEST_F(abi, poll_wakes_when_a_pool_is_whole_sealed_or_evicted)
{
	int deferred = pool_create(LARGE_BYTES, HEARTH_CREATE_DEFER);
	static const short events[] = { POLLOUT, POLLIN, 0 };
	static const int expected[] = { POLLOUT, POLLIN, POLLHUP };

	ASSERT_FD(deferred);
	for (int step = 0; step < 3; step++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(wake_for(deferred, events[step]) != expected[step]);
		while (!is_asleep(child))
			usleep(1000);
		if (step == 0)
			EXPECT_EQ(0, pool_allocate(deferred));
		if (step == 1)
			EXPECT_EQ(0, pool_seal(deferred));
		if (step == 2) {
			EXPECT_EQ(0, pool_idle(deferred));
			for (int i = 0; i < 12; i++)
				reclaim_slabs();
		}
		waitpid(child, &status, 0);
		EXPECT_EQ(0, status) TH_LOG("step %d", step);
	}
}

TEST_F(abi, fstat_tells_the_size)
{
	struct stat status;

	ASSERT_EQ(0, fstat(self->pool, &status));
	EXPECT_EQ(LARGE_BYTES, status.st_size);
}

TEST_F(abi, a_pool_cannot_be_resized_read_or_written_as_a_file)
{
	char byte = 0;

	EXPECT_NE(0, ftruncate(self->pool, 0));
	EXPECT_NE(0, ftruncate(self->pool, 4 * LARGE_BYTES));
	EXPECT_EQ(-1, read(self->pool, &byte, 1));
	EXPECT_EQ(-1, write(self->pool, &byte, 1));
	EXPECT_NE(0, fallocate(self->pool, 3, 0, LARGE_BYTES));
}

/* The int $0x80 entry is what a 32-bit program uses; it takes the compat path of ioctl(). */
static int compat_ioctl(int fd, unsigned int command, void *argument)
{
	int result = SYS_ioctl == 16 ? 54 : -1;

	__asm__ volatile("int $0x80"
			 : "+a"(result)
			 : "b"(fd), "c"(command), "d"((unsigned int)(uintptr_t)argument)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static int has_compat(void *argument)
{
	struct hearth_query *query = argument;

	return compat_ioctl(pool_device(), HEARTH_QUERY, query) == -ENOSYS;
}

TEST_F(abi, callers_of_32_bits_are_served_alike)
{
	uint8_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct hearth_create *create = (void *)low;
	struct hearth_query wide, *narrow = (void *)(low + 1024);
	struct hearth_info *info = (void *)(low + 2048), wide_info;
	struct hearth_pool_flags *plain = (void *)(low + 512);
	int pool;

	ASSERT_MAPPED(low);
	if (proc_in_child(has_compat, narrow) != 0)
		SKIP(return, "no 32-bit entry in this kernel");
	*create = pool_create_request(LARGE_BYTES, 0);
	pool = compat_ioctl(self->device, HEARTH_CREATE, create);
	ASSERT_FD(pool);
	ASSERT_EQ(0, compat_ioctl(self->device, HEARTH_QUERY, narrow));
	ASSERT_EQ(0, pool_query(&wide));
	EXPECT_EQ(0, memcmp(&wide, narrow, sizeof(wide)));
	ASSERT_EQ(0, compat_ioctl(pool, HEARTH_POOL_INFO, info));
	ASSERT_EQ(0, pool_info(pool, &wide_info));
	EXPECT_EQ(0, memcmp(&wide_info, info, sizeof(wide_info)));
	EXPECT_EQ(0, compat_ioctl(pool, HEARTH_POOL_SEAL, plain));
	EXPECT_EQ(-EINVAL, compat_ioctl(pool, resized(&calls[7], 4), plain));
	close(pool);
}

TEST_HARNESS_MAIN
