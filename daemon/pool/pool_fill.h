/* SPDX-License-Identifier: MIT */
/*
 * Filling a pool from a file: io_uring with direct I/O straight into the pool, or what the kernel,
 * the file system and the limits of the process allow instead; the result says which and why.
 */
#ifndef HEARTH_POOL_POOL_FILL_H
#define HEARTH_POOL_POOL_FILL_H

#include "base/error.h"
#include "pool/pool.h"
#include "pool/pool_key.h"

#include <stdatomic.h>

struct pool_fill_options {
    unsigned depth;       /* reads under way at once; 0: 32 */
    uint32_t block_bytes; /* per read, 4 KiB to 64 MiB, multiple of 4 KiB; 0: 1 MiB */
    /* Called on the calling thread, now and then and at the end; may be NULL. */
    void (*progress)(uint64_t bytes_done, uint64_t bytes_total, void *data);
    void *progress_data;
    /* Set by any thread to end the fill soon with -ECANCELED; may be NULL. */
    const atomic_bool *cancel;
    /* Whether somebody waits for this fill: others then leave it the drive. Looked at all the time;
     * NULL: nobody does. */
    const atomic_bool *is_urgent;
    /* The file whose header was read; a fill of another is refused. May be NULL. */
    const struct pool_file_id *expect;
    /* For tests and measuring: leave out what would be tried first. */
    bool no_direct, no_uring, no_registered;
};

struct pool_fill_result {
    uint64_t bytes;
    uint64_t ns;
    bool is_direct;     /* all but the unaligned ends went around the page cache */
    bool is_uring;      /* else: preads on a few threads */
    bool is_registered; /* most reads used registered buffers */
    unsigned retries;   /* reads that failed and succeeded when tried again */
    char note[160];     /* why not, "" when all three hold */
};

/*
 * Reads `bytes` bytes at file_offset into the pool at pool_offset and returns when they are there.
 * Direct I/O needs both offsets equal modulo 4 KiB. Leaves no copy in the page cache. The
 * descriptor is borrowed, its file position not used. options and ret may be NULL.
 *
 * A read that fails in a way that may pass is tried again a few times, ever later. Fails with a
 * sentence (which the caller prefixes with the path) on a lasting I/O error, a file that ends
 * early (-EIO), one that is changed meanwhile (-ESTALE), cancellation (-ECANCELED), ranges outside
 * the pool or a sealed pool (-EINVAL), memory of a deferred pool that cannot be had (-ENOMEM). No
 * read is under way any more then; what the pool holds is undefined.
 */
int pool_fill_file(struct pool *pool, uint64_t pool_offset, int fd, uint64_t file_offset,
                   uint64_t bytes, const struct pool_fill_options *options,
                   struct pool_fill_result *ret, struct error *err);

#endif
