/* SPDX-License-Identifier: MIT */
/*
 * Windows: the ranges of a pool that a GPU maps. Each starts and ends on a large-page boundary, so
 * that its page tables keep large fragments; each is small enough for one import; every tensor lies
 * whole in one. Arithmetic only; any thread.
 */
#ifndef HEARTH_POOL_POOL_WINDOW_H
#define HEARTH_POOL_POOL_WINDOW_H

#include "base/error.h"
#include "pool/pool.h"

#define POOL_WINDOW_LIMIT_BYTES                                                                    \
    ((uint64_t)2 << 30) /* several tensors share a window up to this                               \
                         */
/* one tensor may have a window to itself up to this */
#define POOL_WINDOW_TENSOR_LIMIT_BYTES (((uint64_t)4 << 30) - POOL_LARGE_PAGE_BYTES)

struct pool_extent {
    const char *name;       /* of the tensor, for sentences */
    uint64_t offset, bytes; /* within the pool; bytes > 0 */
    uint32_t window;        /* set: index of the window it lies in */
};

struct pool_window {
    uint64_t offset, bytes; /* multiples of POOL_LARGE_PAGE_BYTES */
};

/* Whether pool_windows would take the extent of a pool of so many bytes: to know it before anything
 * is read. */
int pool_window_check(uint64_t pool_bytes, const struct pool_extent *extent, struct error *err);

/*
 * Covers the extents, in any order, with as few windows as a walk by offset finds; they ascend, and
 * neighbours overlap by one large page at most. *ret is the caller's to free(). -EINVAL for an
 * extent outside the pool, -EFBIG for a tensor that no window can hold.
 */
int pool_windows(const struct pool *pool, struct pool_extent *extents, size_t n,
                 struct pool_window **ret, size_t *ret_n, struct error *err);

#endif
