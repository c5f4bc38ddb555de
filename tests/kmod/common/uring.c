// SPDX-License-Identifier: MIT
#include "common/uring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int uring_init(struct uring *ring, unsigned int entries)
{
	struct io_uring_params params = {};
	size_t sq_bytes, cq_bytes;
	char *base;

	memset(ring, 0, sizeof(*ring));
	ring->fd = (int)syscall(SYS_io_uring_setup, entries, &params);
	if (ring->fd < 0)
		return -errno;
	sq_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned int);
	cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	ring->rings_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
	ring->sqes_bytes = params.sq_entries * sizeof(struct io_uring_sqe);
	ring->rings = mmap(NULL, ring->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
			   IORING_OFF_SQ_RING);
	if (ring->rings == MAP_FAILED)
		return -errno;
	ring->sqes = mmap(NULL, ring->sqes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
			  IORING_OFF_SQES);
	if (ring->sqes == MAP_FAILED)
		return -errno;
	base = ring->rings;
	ring->sq_tail = (unsigned int *)(base + params.sq_off.tail);
	ring->sq_mask = (unsigned int *)(base + params.sq_off.ring_mask);
	ring->sq_array = (unsigned int *)(base + params.sq_off.array);
	ring->cq_head = (unsigned int *)(base + params.cq_off.head);
	ring->cq_tail = (unsigned int *)(base + params.cq_off.tail);
	ring->cq_mask = (unsigned int *)(base + params.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
	return 0;
}

void uring_finish(struct uring *ring)
{
	if (ring->sqes && ring->sqes != MAP_FAILED)
		munmap(ring->sqes, ring->sqes_bytes);
	if (ring->rings && ring->rings != MAP_FAILED)
		munmap(ring->rings, ring->rings_bytes);
	if (ring->fd >= 0)
		close(ring->fd);
	memset(ring, 0, sizeof(*ring));
	ring->fd = -1;
}

int uring_register(struct uring *ring, void *address, size_t bytes)
{
	struct iovec buffer = { address, bytes };

	return syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS, &buffer, 1) ?
		       -errno :
		       0;
}

int uring_unregister(struct uring *ring)
{
	return syscall(SYS_io_uring_register, ring->fd, IORING_UNREGISTER_BUFFERS, NULL, 0) ?
		       -errno :
		       0;
}

void uring_queue_read(struct uring *ring, int file, void *address, unsigned int bytes,
		      uint64_t offset)
{
	unsigned int tail = *ring->sq_tail, slot = tail & *ring->sq_mask;
	struct io_uring_sqe *sqe = &ring->sqes[slot];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_READ_FIXED;
	sqe->fd = file;
	sqe->addr = (uintptr_t)address;
	sqe->len = bytes;
	sqe->off = offset;
	ring->sq_array[slot] = slot;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

int uring_submit_and_wait(struct uring *ring, unsigned int count, unsigned int expected_bytes)
{
	int err = 0;

	if (syscall(SYS_io_uring_enter, ring->fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -errno;
	for (unsigned int i = 0; i < count; i++) {
		unsigned int head = *ring->cq_head;
		const struct io_uring_cqe *cqe;

		while (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
			if (syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL,
				    0) < 0)
				return -errno;
		cqe = &ring->cqes[head & *ring->cq_mask];
		if (!err && cqe->res != (int)expected_bytes)
			err = cqe->res < 0 ? cqe->res : -EIO;
		__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	}
	return err;
}
