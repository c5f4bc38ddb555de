// SPDX-License-Identifier: MIT
/* After HEARTH_POOL_SEAL no CPU writer exists and none can appear, through any path. */
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "common/test.h"
#include "common/uring.h"

#define POOL_BYTES (2 * LARGE_BYTES)

FIXTURE(seal)
{
	int pool;
};

/* Every test finds a pool that is filled and has no mapping. */
FIXTURE_SETUP(seal)
{
	char *address;

	self->pool = pool_create(POOL_BYTES, 0);
	ASSERT_FD(self->pool);
	address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(address);
	pattern_fill(address, POOL_BYTES, 0);
	munmap(address, POOL_BYTES);
}

FIXTURE_TEARDOWN(seal)
{
	close(self->pool);
}

static sigjmp_buf escape;

static void on_signal(int number)
{
	siglongjmp(escape, number);
}

static int store(volatile char *byte)
{
	int caught = sigsetjmp(escape, 1);

	if (!caught) {
		signal(SIGBUS, on_signal);
		signal(SIGSEGV, on_signal);
		*byte = 'x';
	}
	return caught;
}

static uint32_t state_of(int pool)
{
	struct hearth_info info;

	return pool_info(pool, &info) ? UINT32_MAX : info.state;
}

TEST_F(seal, keeps_the_bytes)
{
	char *address;

	ASSERT_EQ(0, pool_seal(self->pool));
	EXPECT_EQ(HEARTH_STATE_SEALED, state_of(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
	EXPECT_EQ(LARGE_BYTES * 2 / 1024, proc_smaps_kib(address, "FilePmdMapped"));
}

TEST_F(seal, twice_is_as_once)
{
	EXPECT_EQ(0, pool_seal(self->pool));
	EXPECT_EQ(0, pool_seal(self->pool));
}

TEST_F(seal, is_refused_while_a_mapping_is_writable)
{
	void *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);

	ASSERT_MAPPED(address);
	EXPECT_EQ(-EBUSY, pool_seal(self->pool));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(self->pool));
	munmap(address, POOL_BYTES);
	EXPECT_EQ(0, pool_seal(self->pool));
}

TEST_F(seal, is_refused_while_a_read_mapping_can_be_made_writable)
{
	void *address = pool_map(self->pool, POOL_BYTES, PROT_READ);

	ASSERT_MAPPED(address);
	EXPECT_EQ(-EBUSY, pool_seal(self->pool));
}

TEST_F(seal, is_refused_while_a_child_holds_a_writable_mapping)
{
	void *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	munmap(address, POOL_BYTES);
	EXPECT_EQ(-EBUSY, pool_seal(self->pool));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_EQ(0, pool_seal(self->pool));
}

TEST_F(seal, is_refused_while_part_of_a_writable_mapping_is_left)
{
	char *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);

	ASSERT_MAPPED(address);
	munmap(address, POOL_BYTES - 4096);
	EXPECT_EQ(-EBUSY, pool_seal(self->pool));
	munmap(address + POOL_BYTES - 4096, 4096);
	EXPECT_EQ(0, pool_seal(self->pool));
}

TEST_F(seal, is_refused_while_a_writable_dmabuf_is_there)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE);

	ASSERT_FD(dmabuf);
	EXPECT_EQ(-EBUSY, pool_seal(self->pool));
	close(dmabuf);
	EXPECT_EQ(0, pool_seal(self->pool));
}

TEST_F(seal, allows_a_read_only_dmabuf)
{
	int dmabuf = pool_export(self->pool, 0, LARGE_BYTES, 0);
	void *address;

	ASSERT_FD(dmabuf);
	EXPECT_EQ(0, pool_seal(self->pool));
	EXPECT_EQ(MAP_FAILED, pool_map(dmabuf, LARGE_BYTES, PROT_READ | PROT_WRITE));
	address = pool_map(dmabuf, LARGE_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, pattern_check(address, LARGE_BYTES, 0));
	EXPECT_NE(0, mprotect(address, LARGE_BYTES, PROT_READ | PROT_WRITE));
}

TEST_F(seal, is_refused_while_a_buffer_is_registered)
{
	void *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	struct uring ring;

	ASSERT_MAPPED(address);
	ASSERT_EQ(0, uring_init(&ring, 4));
	ASSERT_EQ(0, uring_register(&ring, address, POOL_BYTES));
	munmap(address, POOL_BYTES);
	EXPECT_EQ(-EBUSY, pool_seal(self->pool));
	EXPECT_EQ(HEARTH_STATE_WRITABLE, state_of(self->pool));
	ASSERT_EQ(0, uring_unregister(&ring));
	uring_finish(&ring);
	for (int i = 0; i < 100 && pool_seal(self->pool) == -EBUSY; i++)
		usleep(20000);
	EXPECT_EQ(HEARTH_STATE_SEALED, state_of(self->pool));
}

/* A page in a pipe is a plain reference: what tee() and splice() share could be written later. */
TEST_F(seal, is_refused_while_a_page_is_in_a_pipe)
{
	char *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	struct iovec part = { address, 4096 };
	int ends[2];
	char drain[4096];

	ASSERT_MAPPED(address);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(4096, vmsplice(ends[1], &part, 1, 0));
	munmap(address, POOL_BYTES);
	EXPECT_EQ(-EBUSY, pool_seal(self->pool));
	ASSERT_EQ(4096, read(ends[0], drain, sizeof(drain)));
	EXPECT_EQ(0, pool_seal(self->pool));
}

static void on_alarm(int number)
{
	(void)number;
}

TEST_F(seal, a_signal_interrupts_the_wait_and_the_pool_can_still_be_written)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	char *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	struct iovec part = { address, 4096 };
	int ends[2];

	ASSERT_MAPPED(address);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(4096, vmsplice(ends[1], &part, 1, 0));
	munmap(address, POOL_BYTES);
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
	EXPECT_EQ(-EINTR, pool_seal(self->pool));
	EXPECT_NE(MAP_FAILED, pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE));
}

/* Has somebody try to seal a pool of which a page is in a pipe; gives the trier. */
static pid_t seal_in_vain(FIXTURE_DATA(seal) *self)
{
	char *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	struct iovec part = { address, 4096 };
	int ends[2];
	pid_t child;

	if (address == MAP_FAILED || pipe(ends) || vmsplice(ends[1], &part, 1, 0) != 4096)
		return -1;
	munmap(address, POOL_BYTES);
	child = fork();
	while (child == 0) {
		pool_seal(self->pool);
		usleep(500);
	}
	return child;
}

TEST_F(seal, lets_no_writer_in_while_it_waits)
{
	int64_t end = proc_now_ms() + 20000;
	pid_t child = seal_in_vain(self);
	bool map_was_refused = false, export_was_refused = false;

	ASSERT_LT(0, child);
	while (!(map_was_refused && export_was_refused) && proc_now_ms() < end) {
		char *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
		int dmabuf;

		if (address == MAP_FAILED)
			map_was_refused |= errno == EPERM;
		else
			munmap(address, POOL_BYTES);
		dmabuf = pool_export(self->pool, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE);
		export_was_refused |= dmabuf == -EPERM;
		if (dmabuf >= 0)
			close(dmabuf);
		usleep(2000);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_TRUE(map_was_refused);
	EXPECT_TRUE(export_was_refused);
}

/* While the wait for pins looks at its pages they must not go. */
TEST_F(seal, holds_an_idle_pool_against_eviction_meanwhile)
{
	char *address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	struct iovec part = { address, 4096 };
	int ends[2], status;
	pid_t child;

	ASSERT_MAPPED(address);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(4096, vmsplice(ends[1], &part, 1, 0));
	munmap(address, POOL_BYTES);
	ASSERT_EQ(0, pool_idle(self->pool));
	child = fork();
	if (child == 0) {
		usleep(20000);
		while (true)
			reclaim_slabs();
	}
	/* Before and between the attempts it may go. */
	for (int i = 0; i < 3; i++) {
		int result = pool_seal(self->pool);

		EXPECT_TRUE(result == -EBUSY || result == -ESTALE) TH_LOG("%d", result);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

TEST_F(seal, forbids_writable_mappings)
{
	ASSERT_EQ(0, pool_seal(self->pool));
	EXPECT_EQ(MAP_FAILED, pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(MAP_FAILED, pool_map(self->pool, POOL_BYTES, PROT_WRITE));
	EXPECT_EQ(EPERM, errno);
}

TEST_F(seal, forbids_mprotect)
{
	void *address;

	ASSERT_EQ(0, pool_seal(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, mprotect(address, POOL_BYTES, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(address, 4096, PROT_WRITE));
	EXPECT_EQ(SIGSEGV, store(address));
}

TEST_F(seal, forbids_writing_through_proc_mem)
{
	char byte = 'x';
	char *address;
	int memory;

	ASSERT_EQ(0, pool_seal(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	memory = open("/proc/self/mem", O_RDWR);
	ASSERT_FD(memory);
	EXPECT_EQ(-1, pwrite(memory, &byte, 1, (off_t)(uintptr_t)address));
	(void)*(volatile char *)address;
	EXPECT_EQ(-1, pwrite(memory, &byte, 1, (off_t)(uintptr_t)address));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
}

TEST_F(seal, forbids_ptrace_pokes)
{
	char *address;
	pid_t child;
	int status;

	ASSERT_EQ(0, pool_seal(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	(void)*(volatile char *)address;
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, child, address, (void *)0x1234));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
}

TEST_F(seal, forbids_direct_io_into_it)
{
	int file = open("/data/weights", O_RDONLY | O_DIRECT);
	char *address;

	ASSERT_FD(file);
	ASSERT_EQ(0, pool_seal(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_EQ(-1, pread(file, address, 4096, 8192));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
}

TEST_F(seal, forbids_registering_it_as_a_buffer)
{
	struct uring ring;
	void *address;

	ASSERT_EQ(0, pool_seal(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	ASSERT_EQ(0, uring_init(&ring, 4));
	EXPECT_EQ(-EFAULT, uring_register(&ring, address, LARGE_BYTES));
	uring_finish(&ring);
}

TEST_F(seal, forbids_process_vm_writev)
{
	char bytes[16] = "overwritten";
	struct iovec local = { bytes, sizeof(bytes) }, remote;

	ASSERT_EQ(0, pool_seal(self->pool));
	remote.iov_base = pool_map(self->pool, POOL_BYTES, PROT_READ);
	remote.iov_len = sizeof(bytes);
	ASSERT_MAPPED(remote.iov_base);
	EXPECT_EQ(-1, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(-1, pattern_check(remote.iov_base, POOL_BYTES, 0));
}

TEST_F(seal, forbids_writing_through_a_new_descriptor_of_proc)
{
	char path[64];
	int again;

	ASSERT_EQ(0, pool_seal(self->pool));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->pool);
	again = open(path, O_RDWR);
	if (again < 0)
		return;
	EXPECT_EQ(MAP_FAILED, pool_map(again, POOL_BYTES, PROT_READ | PROT_WRITE));
}

TEST_F(seal, forbids_populating_for_write)
{
	void *address;

	ASSERT_EQ(0, pool_seal(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	EXPECT_NE(0, madvise(address, POOL_BYTES, 23 /* MADV_POPULATE_WRITE */));
	madvise(address, POOL_BYTES, MADV_REMOVE);
	madvise(address, POOL_BYTES, MADV_DONTNEED);
	EXPECT_EQ(-1, pattern_check(address, POOL_BYTES, 0));
}

TEST_F(seal, forbids_writable_exports)
{
	ASSERT_EQ(0, pool_seal(self->pool));
	EXPECT_EQ(-EPERM, pool_export(self->pool, 0, LARGE_BYTES, HEARTH_EXPORT_WRITE));
	EXPECT_LE(0, pool_export(self->pool, 0, LARGE_BYTES, 0));
}

TEST_F(seal, needs_a_descriptor_for_writing)
{
	int reader;
	struct hearth_create create = pool_create_request(LARGE_BYTES, HEARTH_CREATE_KEYED);

	pool_key(create.key, 501);
	ASSERT_FD(pool_ioctl(pool_device(), HEARTH_CREATE, &create));
	reader = pool_open(501, HEARTH_UID_SELF, 0);
	ASSERT_FD(reader);
	EXPECT_EQ(-EACCES, pool_seal(reader));
	EXPECT_EQ(0, pool_destroy(501, HEARTH_UID_SELF));
}

struct racer {
	int pool;
	volatile bool stop;
	char *address;
};

/* Maps, writes and unmaps as fast as it can until it is refused. */
static void *map_and_write(void *argument)
{
	struct racer *racer = argument;

	while (!racer->stop) {
		char *address = pool_map(racer->pool, LARGE_BYTES, PROT_READ | PROT_WRITE);

		if (address == MAP_FAILED)
			return NULL;
		*(volatile uint64_t *)address = 0;
		munmap(address, LARGE_BYTES);
	}
	return NULL;
}

/* Whatever a racing writer did it did before: from the seal on the bytes do not change. */
TEST_F(seal, holds_against_racing_faults)
{
	for (int round = 0; round < 30; round++) {
		int pool = pool_create(LARGE_BYTES, 0);
		struct racer racer = { .pool = pool };
		pthread_t threads[2];
		uint64_t *address, first;

		ASSERT_FD(pool);
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, map_and_write, &racer));
		}
		for (int i = 0; i < 20000 && pool_seal(pool); i++)
			;
		racer.stop = state_of(pool) != HEARTH_STATE_SEALED;
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		ASSERT_EQ(0, pool_seal(pool));
		address = pool_map(pool, LARGE_BYTES, PROT_READ);
		ASSERT_MAPPED(address);
		first = *address;
		EXPECT_EQ(SIGSEGV, store((char *)address));
		EXPECT_EQ(first, *address);
		munmap(address, LARGE_BYTES);
		close(pool);
	}
}

/* Writes until a signal stops it; the mapping is taken away under it. */
static void *write_until_killed(void *argument)
{
	struct racer *racer = argument;
	volatile char *byte = racer->address;

	while (!racer->stop)
		byte[(random() % LARGE_BYTES)] = 1;
	return NULL;
}

static int write_in_child(void *argument)
{
	struct racer *racer = argument;

	racer->address = pool_map(racer->pool, LARGE_BYTES, PROT_READ | PROT_WRITE);
	write_until_killed(racer);
	return 0;
}

/* A writer that dies mid-store leaves its bytes, and none come after the seal succeeded. */
TEST_F(seal, succeeds_only_after_a_killed_writer_is_gone)
{
	for (int round = 0; round < 8; round++) {
		struct racer racer = { .pool = self->pool };
		pid_t child = fork();
		char *address, *copy = malloc(LARGE_BYTES);

		if (child == 0)
			_exit(write_in_child(&racer));
		for (struct hearth_info info = {}; !info.mappings;) {
			ASSERT_EQ(0, pool_info(self->pool, &info));
		}
		EXPECT_EQ(-EBUSY, pool_seal(self->pool));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		if (round < 7)
			continue;
		ASSERT_EQ(0, pool_seal(self->pool));
		address = pool_map(self->pool, LARGE_BYTES, PROT_READ);
		ASSERT_MAPPED(address);
		memcpy(copy, address, LARGE_BYTES);
		usleep(100000);
		EXPECT_EQ(0, memcmp(copy, address, LARGE_BYTES));
		free(copy);
	}
}

/* Direct reads in flight while sealing: either the seal is refused or no byte comes later. */
struct reader {
	int file;
	char *address;
	volatile bool stop;
};

static void *read_forever(void *argument)
{
	struct reader *reader = argument;

	while (!reader->stop)
		(void)!pread(reader->file, reader->address, 256 << 10, 4096);
	return NULL;
}

TEST_F(seal, is_refused_while_direct_io_runs)
{
	struct reader reader = { .file = open("/data/weights", O_RDONLY | O_DIRECT) };
	pthread_t thread;

	ASSERT_FD(reader.file);
	reader.address = pool_map(self->pool, POOL_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_MAPPED(reader.address);
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_forever, &reader));
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(-EBUSY, pool_seal(self->pool));
	}
	/* The mapping goes while I/O is on its way: what is pinned must still hold the seal off. */
	munmap(reader.address, POOL_BYTES);
	for (int i = 0; i < 1000 && pool_seal(self->pool) == -EBUSY; i++)
		usleep(1000);
	EXPECT_EQ(HEARTH_STATE_SEALED, state_of(self->pool));
	reader.stop = true;
	pthread_join(thread, NULL);
}

TEST_F(seal, lets_a_reader_fork)
{
	char *address;

	ASSERT_EQ(0, pool_seal(self->pool));
	address = pool_map(self->pool, POOL_BYTES, PROT_READ);
	ASSERT_MAPPED(address);
	for (int i = 0; i < 4; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			if (pattern_check(address, POOL_BYTES, 0) != -1)
				_exit(1);
			if (mprotect(address, POOL_BYTES, PROT_READ | PROT_WRITE) == 0)
				_exit(2);
			_exit(store(address) == SIGSEGV ? 0 : 3);
		}
		waitpid(child, &status, 0);
		EXPECT_EQ(0, status);
	}
}

TEST_HARNESS_MAIN
