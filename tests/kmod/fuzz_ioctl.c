// SPDX-License-Identifier: MIT
/*
 * Random sequences of calls by several processes and uids that share names, descriptors and
 * memory. Any answer is right; the kernel must stay silent and count right in the end.
 *
 *   fuzz_ioctl [-s SEED] [-d SECONDS] [-p PROCESSES]
 *
 * The same seed gives each process the same sequence; how they interleave is the scheduler's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/memfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/pool.h"
#include "common/proc.h"

#define FDS 24
#define MAPS 8
#define KEYS 6
#define UIDS 3
#define FIRST_UID 5000

struct random {
	uint64_t state;
};

/* splitmix64, Steele et al. 2014. */
static uint64_t random_next(struct random *random)
{
	uint64_t z = (random->state += 0x9E3779B97F4A7C15ULL);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	return z ^ (z >> 31);
}

static uint32_t below(struct random *random, uint32_t limit)
{
	return (uint32_t)(random_next(random) % limit);
}

struct fuzzer {
	struct random random;
	int fds[FDS];
	struct {
		void *address;
		size_t bytes;
	} maps[MAPS];
	/* Keeps references to pages. */
	int pipe[2];
	/* Read by direct I/O. */
	int data;
	/* In memory that the parent shares: a killed process has counted too. */
	uint64_t *calls;
};

static sigjmp_buf escape;

static void on_fault(int number)
{
	siglongjmp(escape, number);
}

static bool one_in(struct fuzzer *fuzzer, uint32_t n)
{
	return below(&fuzzer->random, n) == 0;
}

static int any_fd(struct fuzzer *fuzzer)
{
	return one_in(fuzzer, 10) ? pool_device() : fuzzer->fds[below(&fuzzer->random, FDS)];
}

static void keep_fd(struct fuzzer *fuzzer, int fd)
{
	int *slot = &fuzzer->fds[below(&fuzzer->random, FDS)];

	if (fd < 0)
		return;
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
}

/* A number near a limit, or any. */
static uint64_t odd_number(struct fuzzer *fuzzer)
{
	static const uint64_t edges[] = { 0,	      1,	 4095,	       4096,	    LARGE_BYTES,
					  2 * LARGE_BYTES, INT32_MAX, UINT32_MAX, INT64_MAX,
					  UINT64_MAX,	   -LARGE_BYTES };

	return one_in(fuzzer, 3) ? random_next(&fuzzer->random) :
				   edges[below(&fuzzer->random, sizeof(edges) / sizeof(edges[0]))];
}

/* Overwrites a random field of a sound structure now and then. */
static void spoil(struct fuzzer *fuzzer, void *structure, size_t bytes)
{
	uint64_t odd = odd_number(fuzzer);
	size_t width = 1UL << below(&fuzzer->random, 4), at;

	if (!one_in(fuzzer, 6) || bytes < 8)
		return;
	at = below(&fuzzer->random, (uint32_t)(bytes - width + 1));
	memcpy((char *)structure + at, &odd, width);
}

static int call(struct fuzzer *fuzzer, int fd, unsigned long command, void *structure)
{
	unsigned int bytes = _IOC_SIZE(command);
	char room[512] = {};

	memcpy(room, structure, bytes);
	spoil(fuzzer, room, bytes);
	if (one_in(fuzzer, 40))
		command = _IOC(_IOC_DIR(command), HEARTH_IOC_MAGIC, _IOC_NR(command),
			       below(&fuzzer->random, 500));
	return pool_ioctl(fd, command, room);
}

static void fuzz_create(struct fuzzer *fuzzer)
{
	struct hearth_create create = pool_create_request(
		LARGE_BYTES * (one_in(fuzzer, 4) ? 1 + below(&fuzzer->random, 8) : 1), below(&fuzzer->random, 32));

	if (create.flags & HEARTH_CREATE_KEYED)
		pool_key(create.key, 5000 + below(&fuzzer->random, KEYS));
	if (create.flags & HEARTH_CREATE_STRICT_NODE)
		create.node = (int)below(&fuzzer->random, 2);
	if (create.flags & HEARTH_CREATE_FALLBACK)
		create.min_order = below(&fuzzer->random, 10);
	create.mode = one_in(fuzzer, 2) ? 0666 : below(&fuzzer->random, 01000) & 0666;
	keep_fd(fuzzer, call(fuzzer, pool_device(), HEARTH_CREATE, &create));
}

static void fuzz_open(struct fuzzer *fuzzer)
{
	struct hearth_open open = { .uid = one_in(fuzzer, 2) ?
						   HEARTH_UID_SELF :
						   FIRST_UID + below(&fuzzer->random, UIDS),
				    .flags = below(&fuzzer->random, 2) };

	pool_key(open.key, 5000 + below(&fuzzer->random, KEYS));
	keep_fd(fuzzer, call(fuzzer, pool_device(), HEARTH_OPEN, &open));
}

static void fuzz_destroy(struct fuzzer *fuzzer)
{
	struct hearth_destroy destroy = { .uid = one_in(fuzzer, 2) ?
							 HEARTH_UID_SELF :
							 FIRST_UID + below(&fuzzer->random, UIDS) };

	pool_key(destroy.key, 5000 + below(&fuzzer->random, KEYS));
	call(fuzzer, pool_device(), HEARTH_DESTROY, &destroy);
}

static void fuzz_list(struct fuzzer *fuzzer)
{
	struct hearth_info entries[3];
	struct hearth_list list = { .entries = (uintptr_t)entries, .count = 3,
				    .entry_bytes = sizeof(entries[0]),
				    .cursor = one_in(fuzzer, 4) ? odd_number(fuzzer) : 0 };

	/* Not spoiled: the kernel would write wherever a spoiled address points. */
	pool_ioctl(pool_device(), HEARTH_LIST, &list);
}

static void fuzz_info(struct fuzzer *fuzzer)
{
	struct hearth_info info = {};
	struct hearth_query query = {};

	if (one_in(fuzzer, 4))
		call(fuzzer, pool_device(), HEARTH_QUERY, &query);
	else
		call(fuzzer, any_fd(fuzzer), HEARTH_POOL_INFO, &info);
}

static void fuzz_plain(struct fuzzer *fuzzer)
{
	static const unsigned long commands[] = { HEARTH_POOL_ALLOCATE, HEARTH_POOL_SEAL,
						  HEARTH_POOL_IDLE, HEARTH_POOL_IDLE,
						  HEARTH_POOL_ACTIVATE };
	struct hearth_pool_flags plain = {};

	if (one_in(fuzzer, 10))
		keep_fd(fuzzer, call(fuzzer, any_fd(fuzzer), HEARTH_POOL_MEMFD, &plain));
	else
		call(fuzzer, any_fd(fuzzer), commands[below(&fuzzer->random, 5)], &plain);
}

static void fuzz_export(struct fuzzer *fuzzer)
{
	struct hearth_export export = { .offset = LARGE_BYTES * below(&fuzzer->random, 4),
					.length = LARGE_BYTES * (1 + below(&fuzzer->random, 4)),
					.flags = below(&fuzzer->random, 2) };

	keep_fd(fuzzer, call(fuzzer, any_fd(fuzzer), HEARTH_POOL_EXPORT, &export));
}

/* A hugetlb memfd with all seals that adoption needs, or now and then with too few. */
static void fuzz_adopt(struct fuzzer *fuzzer)
{
	int seals = one_in(fuzzer, 4) ? (int)below(&fuzzer->random, 32) :
					F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int memfd = memfd_create("fuzz", MFD_HUGETLB | MFD_ALLOW_SEALING);
	struct hearth_adopt adopt = { .memfd = memfd,
				      .flags = below(&fuzzer->random, 2),
				      .mode = 0600 };

	if (memfd < 0)
		return;
	if (!ftruncate(memfd, (off_t)(LARGE_BYTES * below(&fuzzer->random, 3))))
		fcntl(memfd, F_ADD_SEALS, seals);
	if (adopt.flags & HEARTH_CREATE_KEYED)
		pool_key(adopt.key, 5000 + below(&fuzzer->random, KEYS));
	keep_fd(fuzzer, call(fuzzer, pool_device(), HEARTH_ADOPT, &adopt));
	close(memfd);
}

/* Others hold pages of a pool: a pipe for long, direct I/O for short. */
static void fuzz_pin(struct fuzzer *fuzzer)
{
	unsigned int slot = below(&fuzzer->random, MAPS);
	struct iovec part = { fuzzer->maps[slot].address, 4096 };
	char drain[4096];

	switch (below(&fuzzer->random, 3)) {
	case 0:
		(void)!vmsplice(fuzzer->pipe[1], &part, 1, SPLICE_F_NONBLOCK);
		break;
	case 1:
		(void)!read(fuzzer->pipe[0], drain, sizeof(drain));
		break;
	case 2:
		(void)!pread(fuzzer->data, part.iov_base, 65536,
			     4096 * (off_t)below(&fuzzer->random, 1000));
		break;
	}
}

static void fuzz_map(struct fuzzer *fuzzer)
{
	unsigned int slot = below(&fuzzer->random, MAPS);
	size_t bytes = one_in(fuzzer, 3) ? 4096 * (1 + below(&fuzzer->random, 2000)) :
					   LARGE_BYTES * (1 + below(&fuzzer->random, 4));
	int prot = one_in(fuzzer, 2) ? PROT_READ : PROT_READ | PROT_WRITE;
	off_t offset = one_in(fuzzer, 3) ? 4096 * (off_t)below(&fuzzer->random, 3000) : 0;
	void *address;

	if (fuzzer->maps[slot].address)
		munmap(fuzzer->maps[slot].address, fuzzer->maps[slot].bytes);
	fuzzer->maps[slot].address = NULL;
	address = mmap(NULL, bytes, prot, one_in(fuzzer, 20) ? MAP_PRIVATE : MAP_SHARED,
		       fuzzer->fds[below(&fuzzer->random, FDS)], offset);
	if (address == MAP_FAILED)
		return;
	fuzzer->maps[slot].address = address;
	fuzzer->maps[slot].bytes = bytes;
}

static void fuzz_touch(struct fuzzer *fuzzer)
{
	unsigned int slot = below(&fuzzer->random, MAPS);
	volatile char *byte = fuzzer->maps[slot].address;

	if (!byte)
		return;
	byte += below(&fuzzer->random, (uint32_t)fuzzer->maps[slot].bytes);
	if (sigsetjmp(escape, 1))
		return;
	if (one_in(fuzzer, 2))
		*byte = 1;
	else
		(void)*byte;
}

static void fuzz_protect(struct fuzzer *fuzzer)
{
	static const int advice[] = { MADV_DONTNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_PAGEOUT,
				      MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_REMOVE,
				      MADV_DONTFORK };
	unsigned int slot = below(&fuzzer->random, MAPS);
	char *address = fuzzer->maps[slot].address;
	size_t bytes = fuzzer->maps[slot].bytes, part;

	if (!address)
		return;
	part = 4096 * (1 + below(&fuzzer->random, (uint32_t)(bytes / 4096)));
	switch (below(&fuzzer->random, 4)) {
	case 0:
		mprotect(address, part, (int)below(&fuzzer->random, 4));
		break;
	case 1:
		madvise(address, part, advice[below(&fuzzer->random, 8)]);
		break;
	case 2:
		munmap(address, part);
		break;
	case 3:
		address = mremap(address, bytes, bytes, MREMAP_MAYMOVE);
		if (address != MAP_FAILED)
			fuzzer->maps[slot].address = address;
		break;
	}
}

static void fuzz_file_calls(struct fuzzer *fuzzer)
{
	int fd = any_fd(fuzzer);
	char buffer[64];
	struct dma_buf_sync sync = { .flags = below(&fuzzer->random, 8) };

	switch (below(&fuzzer->random, 7)) {
	case 0:
		(void)!read(fd, buffer, sizeof(buffer));
		break;
	case 1:
		(void)!ftruncate(fd, (off_t)odd_number(fuzzer));
		break;
	case 2:
		lseek(fd, (off_t)odd_number(fuzzer), SEEK_END);
		break;
	case 3:
		ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync);
		break;
	case 4:
		fallocate(fd, (int)below(&fuzzer->random, 8), (off_t)odd_number(fuzzer),
			  (off_t)odd_number(fuzzer));
		break;
	case 5:
		keep_fd(fuzzer, dup(fd));
		break;
	case 6:
		fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND);
		break;
	}
}

static void fuzz_close(struct fuzzer *fuzzer)
{
	int *slot = &fuzzer->fds[below(&fuzzer->random, FDS)];

	if (*slot >= 0)
		close(*slot);
	*slot = -1;
}

static void fuzz_fork(struct fuzzer *fuzzer)
{
	pid_t child;

	if (!one_in(fuzzer, 30))
		return;
	child = fork();
	if (child == 0) {
		for (int i = 0; i < 5; i++)
			fuzz_touch(fuzzer);
		raise(SIGKILL);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
}

static void fuzz_garbage(struct fuzzer *fuzzer)
{
	unsigned long command = _IOC(below(&fuzzer->random, 4), HEARTH_IOC_MAGIC,
				     below(&fuzzer->random, 32), below(&fuzzer->random, 600));
	uint64_t bytes[128];
	int fd;

	/* HEARTH_LIST would write where garbage points to: into this process alone, but why. */
	if (_IOC_NR(command) == _IOC_NR(HEARTH_LIST))
		return;
	for (size_t i = 0; i < 128; i++)
		bytes[i] = one_in(fuzzer, 4) ? odd_number(fuzzer) : 0;
	/* 0 is success without a descriptor for all but the calls that give one, and those never do. */
	fd = pool_ioctl(any_fd(fuzzer), command, bytes);
	if (fd > 2)
		keep_fd(fuzzer, fd);
}

static void (*const actions[])(struct fuzzer *fuzzer) = {
	fuzz_create,  fuzz_create, fuzz_create, fuzz_open,  fuzz_open,	fuzz_destroy,	fuzz_list,
	fuzz_info,    fuzz_plain,  fuzz_plain,	fuzz_plain, fuzz_export, fuzz_export,	fuzz_map,
	fuzz_map,     fuzz_touch,  fuzz_touch,	fuzz_touch, fuzz_protect, fuzz_file_calls, fuzz_close,
	fuzz_close,   fuzz_close,  fuzz_fork,	fuzz_garbage, fuzz_adopt, fuzz_pin,
};

static _Noreturn void fuzz(uint64_t seed, unsigned int index, unsigned int seconds,
			   uint64_t *calls)
{
	struct sigaction action = { .sa_handler = on_fault };
	struct fuzzer fuzzer = { .random = { seed + index }, .calls = calls };
	int64_t end = proc_now_ms() + (int64_t)seconds * 1000;

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	for (int i = 0; i < FDS; i++)
		fuzzer.fds[i] = -1;
	fuzzer.data = open("/data/weights", O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (pipe2(fuzzer.pipe, O_NONBLOCK | O_CLOEXEC))
		_exit(1);
	pool_device();
	proc_become(FIRST_UID + index % UIDS, FIRST_UID + index % UIDS);
	while (proc_now_ms() < end) {
		for (int i = 0; i < 32; i++) {
			actions[below(&fuzzer.random, sizeof(actions) / sizeof(actions[0]))](&fuzzer);
			++*fuzzer.calls;
		}
	}
	_exit(0);
}

/* Root's part: runs the shrinkers, moves the limits, and kills and replaces a process. */
static void disturb(pid_t *children, unsigned int processes, uint64_t seed, unsigned int seconds,
		    uint64_t *calls)
{
	static const char *const percents[] = { "10", "50", "85", "95" };
	struct random random = { ~seed };
	int64_t start = proc_now_ms(), end = start + (int64_t)seconds * 1000;

	for (unsigned int round = 0; proc_now_ms() < end; round++) {
		unsigned int victim = below(&random, processes);
		int64_t left;

		usleep(100000);
		reclaim_slabs();
		if (round % 8)
			continue;
		proc_write("/sys/module/hearth/parameters/limit_percent", percents[below(&random, 4)]);
		proc_write("/sys/module/hearth/parameters/uid_limit_pools", percents[below(&random, 4)]);
		kill(children[victim], SIGKILL);
		waitpid(children[victim], NULL, 0);
		left = (end - proc_now_ms()) / 1000;
		children[victim] = fork();
		if (children[victim] == 0)
			fuzz(seed + round, victim, left < 0 ? 0 : (unsigned int)left,
			     &calls[victim]);
	}
}

static int check_nothing_is_left(uint64_t used_before)
{
	struct hearth_query query = {};
	static char pools[1 << 16];

	for (uint64_t key = 0; key < KEYS; key++)
		for (uint32_t uid = 0; uid < UIDS; uid++)
			pool_destroy(5000 + key, FIRST_UID + uid);
	/* Spoiled keys named pools as well: all that is left is listed, and can be destroyed. */
	for (;;) {
		struct hearth_info entry;
		struct hearth_list list = { .entries = (uintptr_t)&entry, .count = 1,
					    .entry_bytes = sizeof(entry) };
		struct hearth_destroy destroy = {};

		if (pool_ioctl(pool_device(), HEARTH_LIST, &list) || !list.count ||
		    !(entry.status & HEARTH_STATUS_NAMED))
			break;
		destroy.uid = entry.uid;
		memcpy(destroy.key, entry.key, sizeof(destroy.key));
		if (pool_ioctl(pool_device(), HEARTH_DESTROY, &destroy))
			break;
	}
	for (int i = 0; i < 200; i++) {
		if (pool_query(&query))
			return -errno;
		if (query.used_bytes == used_before)
			return 0;
		usleep(20000);
	}
	printf("# %llu bytes are still used by these pools:\n", query.used_bytes - used_before);
	if (proc_read("/sys/kernel/debug/hearth/pools", pools, sizeof(pools)) > 0)
		for (char *line = strtok(pools, "\n"); line; line = strtok(NULL, "\n"))
			printf("# %s\n", line);
	return -ENOTEMPTY;
}

int main(int argc, char **argv)
{
	unsigned int seconds = 60, processes = 4;
	uint64_t seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32, sum = 0, *calls;
	struct hearth_query before;
	pid_t children[64];
	int option;

	while ((option = getopt(argc, argv, "s:d:p:")) > 0) {
		if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == 'd')
			seconds = (unsigned int)atoi(optarg);
		else if (option == 'p')
			processes = (unsigned int)atoi(optarg);
		else
			return 2;
	}
	if (processes < 1 || processes > 64 || pool_query(&before))
		return 2;
	calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (calls == MAP_FAILED)
		return 2;
	printf("# fuzz_ioctl -s %#llx -d %u -p %u\n", (unsigned long long)seed, seconds, processes);
	fflush(stdout);
	proc_write("/proc/sys/vm/nr_hugepages", "8");
	for (unsigned int i = 0; i < processes; i++) {
		children[i] = fork();
		if (children[i] == 0)
			fuzz(seed, i, seconds, &calls[i]);
	}
	disturb(children, processes, seed, seconds, calls);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	proc_write("/sys/module/hearth/parameters/limit_percent", "85");
	proc_write("/sys/module/hearth/parameters/uid_limit_pools", "1024");
	for (unsigned int i = 0; i < processes; i++)
		sum += calls[i];
	printf("# %llu calls\n", (unsigned long long)sum);
	printf("%s 1 nothing is left of random calls\n",
	       check_nothing_is_left(before.used_bytes) ? "not ok" : "ok");
	proc_write("/proc/sys/vm/nr_hugepages", "0");
	return 0;
}
