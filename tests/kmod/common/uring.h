/* SPDX-License-Identifier: MIT */
/* The least of io_uring that reads a file into registered buffers. One thread per ring. */
#ifndef COMMON_URING_H
#define COMMON_URING_H

#include <linux/io_uring.h>
#include <stddef.h>
#include <stdint.h>

struct uring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array;
	unsigned int *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	void *rings;
	size_t rings_bytes, sqes_bytes;
};

/* 0 or a negative errno; uring_finish() takes a half-built ring. */
int uring_init(struct uring *ring, unsigned int entries);
void uring_finish(struct uring *ring);

/* Makes [@address, @address + @bytes) registered buffer 0. 0 or a negative errno. */
int uring_register(struct uring *ring, void *address, size_t bytes);
int uring_unregister(struct uring *ring);

/* Queues a READ_FIXED into buffer 0; uring_submit_and_wait() starts it. */
void uring_queue_read(struct uring *ring, int file, void *address, unsigned int bytes,
		      uint64_t offset);

/* Submits @count queued reads, waits for all. The first error among them, or 0. */
int uring_submit_and_wait(struct uring *ring, unsigned int count, unsigned int expected_bytes);

#endif
