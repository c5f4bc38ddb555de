/* SPDX-License-Identifier: MIT */
/* Inside pool only: one fill, cut into blocks that either reader takes in turn. */
#ifndef HEARTH_POOL_POOL_FILL_JOB_H
#define HEARTH_POOL_POOL_FILL_JOB_H

#include "pool/pool_fill.h"

#include <stdatomic.h>

#define POOL_FILL_ALIGN_BYTES ((uint64_t)4096)

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
    char *memory;                     /* where file_offset goes */
    uint64_t file_offset, bytes;
    /* relative to file_offset: aligned middle that can be read directly; empty when start == end */
    uint64_t direct_start, direct_end;
    uint64_t next;              /* relative offset of the next block; readers with threads lock */
    atomic_uint_fast64_t done;  /* bytes */
    atomic_bool direct_refused; /* the file system takes no direct I/O after all */
    struct pool_fill_result *result;
};

/* Cuts off the next block; false when there is none left. Not thread-safe. */
bool pool_fill_next(struct pool_fill_job *job, struct pool_block *ret);
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

/* The readers: until all is read, one fails, or cancelled. -ENOSYS when there is no io_uring. */
int pool_fill_uring(struct pool_fill_job *job, struct error *err);
int pool_fill_threads(struct pool_fill_job *job, struct error *err);

#endif
