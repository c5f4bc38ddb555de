// SPDX-License-Identifier: MIT
/* What is seen from outside: fdinfo, sysfs, debugfs, tracepoints and the kernel log. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "common/test.h"
#include "edu_import/edu_import.h"

#define KEY 1300
#define CLASS "/sys/class/misc/hearth/"

TEST(fdinfo_tells_of_the_pool)
{
	int fd = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600);
	char path[64], text[2048], expected[64];
	struct hearth_info info;

	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	ASSERT_LT(0, proc_read(path, text, sizeof(text)));
	snprintf(expected, sizeof(expected), "hearth-id:\t%llu\n", info.id);
	EXPECT_NE(NULL, strstr(text, expected)) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, "hearth-size:")) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, "hearth-state:\twritable\n")) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, "hearth-key:\t14050000000000005a5a5a")) TH_LOG("%s", text);
	ASSERT_EQ(0, pool_seal(fd));
	ASSERT_LT(0, proc_read(path, text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "hearth-state:\tsealed\n")) TH_LOG("%s", text);
	EXPECT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
}

TEST(sysfs_totals_agree_with_query)
{
	struct hearth_query before, query;
	int fd;

	ASSERT_EQ(0, pool_query(&before));
	EXPECT_EQ(before.used_bytes, proc_number(CLASS "used_bytes"));
	fd = pool_create(4 * LARGE_BYTES, 0);
	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_query(&query));
	EXPECT_EQ(before.used_bytes + 4 * LARGE_BYTES, proc_number(CLASS "used_bytes"));
	EXPECT_EQ(query.limit_bytes, proc_number(CLASS "limit_bytes"));
	EXPECT_EQ(query.idle_bytes, proc_number(CLASS "idle_bytes"));
	EXPECT_EQ(query.reserve_bytes, proc_number(CLASS "reserve_bytes"));
	EXPECT_EQ(query.reserve_free_bytes, proc_number(CLASS "reserve_free_bytes"));
	EXPECT_LE(1, proc_number(CLASS "pools"));
}

TEST(sysfs_counts_evictions)
{
	long long pools = proc_number(CLASS "evicted_pools");
	long long bytes = proc_number(CLASS "evicted_bytes");
	int fd = pool_create(2 * LARGE_BYTES, 0);

	ASSERT_LE(0, pools);
	ASSERT_EQ(0, pool_idle(fd));
	for (int i = 0; i < 12 && proc_number(CLASS "evicted_pools") == pools; i++)
		reclaim_slabs();
	EXPECT_EQ(pools + 1, proc_number(CLASS "evicted_pools"));
	EXPECT_EQ(bytes + (long long)(2 * LARGE_BYTES), proc_number(CLASS "evicted_bytes"));
}

TEST(sysfs_files_can_only_be_read)
{
	struct dirent *entry;
	DIR *directory = opendir(CLASS);
	int files = 0;

	ASSERT_NE(NULL, directory);
	while ((entry = readdir(directory))) {
		char path[512];

		if (entry->d_type != DT_REG || !strcmp(entry->d_name, "uevent"))
			continue;
		snprintf(path, sizeof(path), CLASS "%s", entry->d_name);
		EXPECT_NE(0, proc_write(path, "1")) TH_LOG("%s", path);
		files++;
	}
	closedir(directory);
	EXPECT_LE(8, files);
}

static const char debugfs_pools[] = "/sys/kernel/debug/hearth/pools";

TEST(debugfs_has_a_line_per_pool)
{
	int fd = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600);
	struct hearth_info info;
	char text[16384], id[32];

	ASSERT_FD(fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	ASSERT_LT(0, proc_read(debugfs_pools, text, sizeof(text)));
	snprintf(id, sizeof(id), "%llu", info.id);
	EXPECT_NE(NULL, strstr(text, id)) TH_LOG("%s", text);
	EXPECT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
}

/* More lines than one read of a seq_file gives. */
TEST(debugfs_tells_of_hundreds_of_pools)
{
	enum { POOLS = 300 };
	static char text[1 << 20] = "\n";
	static uint64_t ids[POOLS];
	struct hearth_info info;
	char start[32];

	for (int i = 0; i < POOLS; i++) {
		int fd = pool_create(LARGE_BYTES, HEARTH_CREATE_DEFER);

		ASSERT_FD(fd);
		ASSERT_EQ(0, pool_info(fd, &info));
		ids[i] = info.id;
	}
	ASSERT_LT(0, proc_read(debugfs_pools, text + 1, sizeof(text) - 1));
	for (int i = 0; i < POOLS; i++) {
		snprintf(start, sizeof(start), "\n%lu ", ids[i]);
		EXPECT_NE(NULL, strstr(text, start)) TH_LOG("no pool %lu", ids[i]);
	}
}

static int read_debugfs(void *argument)
{
	char text[64];

	(void)argument;
	return proc_read(debugfs_pools, text, sizeof(text)) < 0 ? 0 : 1;
}

TEST(debugfs_is_not_for_everyone)
{
	EXPECT_EQ(0, proc_as_user(4001, read_debugfs, NULL));
}

#define TRACING "/sys/kernel/tracing/"

TEST(tracepoints_follow_a_pool_through_its_life)
{
	static const char *const events[] = { "hearth_create", "hearth_fill", "hearth_seal",
					      "hearth_export", "hearth_attach", "hearth_evict",
					      "hearth_destroy" };
	static char text[1 << 16];
	struct edu_import import = {};
	int pool, device;
	void *address;

	if (access(TRACING "events", R_OK))
		SKIP(return, "no tracing in this kernel");
	ASSERT_EQ(0, proc_write(TRACING "trace", ""));
	ASSERT_EQ(0, proc_write(TRACING "events/hearth/enable", "1"));
	pool = pool_create_keyed(LARGE_BYTES, 0, KEY, 0600);
	ASSERT_FD(pool);
	address = pool_map(pool, LARGE_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	*(volatile char *)address = 1;
	munmap(address, LARGE_BYTES);
	EXPECT_EQ(0, pool_seal(pool));
	import.fd = pool_export(pool, 0, LARGE_BYTES, 0);
	ASSERT_FD(import.fd);
	device = open("/dev/edu_import", O_RDWR);
	EXPECT_EQ(0, ioctl(device, EDU_IOC_IMPORT, &import));
	close(device);
	close(import.fd);
	EXPECT_EQ(0, pool_idle(pool));
	for (int i = 0; i < 12; i++)
		reclaim_slabs();
	EXPECT_EQ(0, pool_destroy(KEY, HEARTH_UID_SELF));
	close(pool);
	proc_write(TRACING "events/hearth/enable", "0");
	ASSERT_LT(0, proc_read(TRACING "trace", text, sizeof(text)));
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		EXPECT_NE(NULL, strstr(text, events[i])) TH_LOG("no %s in %s", events[i], text);
	}
}

TEST(loading_says_one_line)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), lines = 0;
	char record[4096];
	ssize_t length;

	ASSERT_FD(fd);
	while ((length = read(fd, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		char *message;

		if (length <= 0)
			continue;
		record[length] = 0;
		message = strchr(record, ';');
		if (!message || strncmp(message, ";hearth: ", 9))
			continue;
		/* These two are the module loader's, about any module from outside the tree. */
		if (!strstr(message, "taint") && !strstr(message, "verification"))
			lines++;
	}
	EXPECT_EQ(1, lines);
}

TEST_HARNESS_MAIN
