/* SPDX-License-Identifier: MIT */
/* Inside pool only: one fill, cut into blocks that either reader takes in turn. */
#ifndef HEARTH_POOL_POOL_FILL_JOB_H
#define HEARTH_POOL_POOL_FILL_JOB_H

#include "pool/pool_allocator.h"
#include "pool/pool_fill.h"
#include "pool/pool_fill_share.h"

#include <stdatomic.h>

#define POOL_FILL_ALIGN_BYTES ((uint64_t)4096)
/* Memory is made ahead of the reads in such steps; buffers are registered in multiples of it. */
#define POOL_FILL_STEP_BYTES ((uint64_t)16 << 20)

struct pool_block {
    uint64_t file_offset;
    char *memory;
    uint32_t bytes;
    bool is_direct;
};

struct pool_fill_job {
    struct pool_fill_options options; /* defaults filled in */
    int direct_fd;                    /* owned; -1: none */
    int buffered_fd;                  /* owned_fd, or the caller's */
    int owned_fd;                     /* a description of our own; -1: none */
    struct pool_allocator *allocator; /* gets the pool's memory meanwhile; NULL: it needs none */
    char *pool_memory;                /* where the pool starts */
    uint64_t allocated_bytes;         /* of the pool, known to be there */
    char *memory;                     /* where file_offset goes */
    uint64_t file_offset, bytes;
    /* relative to file_offset: aligned middle that can be read directly; empty when start == end */
    uint64_t direct_start, direct_end;
    uint64_t next;              /* relative offset of the next block; readers with threads lock */
    atomic_uint_fast64_t done;  /* bytes */
    atomic_bool direct_refused; /* the file system takes no direct I/O after all */
    atomic_uint retries;
    struct pool_fill_share share;
    struct pool_fill_result *result;
};

/* Cuts off the next block: 1; 0 when there is none left; -EAGAIN while its memory is not there,
 * other codes when it will never be. Not thread-safe. */
int pool_fill_next(struct pool_fill_job *job, struct pool_block *ret, struct error *err);
/* Whether the memory of the job's first n bytes is there. Not thread-safe. */
bool pool_fill_has_memory(struct pool_fill_job *job, uint64_t n);
/* How many reads may be under way now. Not thread-safe. */
unsigned pool_fill_depth(struct pool_fill_job *job);
bool pool_fill_is_cancelled(const struct pool_fill_job *job);
void pool_fill_report(const struct pool_fill_job *job);
/* Records the first reason why something was not had. */
void pool_fill_note(struct pool_fill_job *job, const char *what, int code);

/*
 * What to do after a read of `block` returned n bytes or -errno: 0, the block is whole; 1, read
 * what is left in *block; negative, it failed and *err says why. Drops page cache that a buffered
 * read left. Thread-safe.
 */
int pool_fill_advance(struct pool_fill_job *job, struct pool_block *block, int64_t n,
                      struct error *err);

/*
 * After how long to try again a read that returned n, having been tried `tries` times; 0: not at
 * all, what pool_fill_advance() says of it is final. Thread-safe.
 */
uint64_t pool_fill_retry_ns(struct pool_fill_job *job, int64_t n, unsigned tries);

/* The readers: until all is read, one fails, or cancelled. -ENOSYS when there is no io_uring. */
int pool_fill_uring(struct pool_fill_job *job, struct error *err);
int pool_fill_threads(struct pool_fill_job *job, struct error *err);

#endif
