/* SPDX-License-Identifier: MIT */
#include "pool/pool_window.h"

#include <errno.h>
#include <stdlib.h>

static int compare_offsets(const void *a, const void *b)
{
    const struct pool_extent *const *x = a, *const *y = b;

    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

static uint64_t round_down(uint64_t n)
{
    return n & ~(POOL_LARGE_PAGE_BYTES - 1);
}

int pool_window_check(uint64_t bytes, const struct pool_extent *e, struct error *err)
{
    if (e->bytes == 0 || e->bytes > bytes || e->offset > bytes - e->bytes)
        return error_set(err, EINVAL,
                         "tensor %s (%llu bytes at offset %llu) does not lie in its pool of %llu "
                         "bytes",
                         e->name, (unsigned long long)e->bytes, (unsigned long long)e->offset,
                         (unsigned long long)bytes);
    if (pool_round_up(e->offset + e->bytes) - round_down(e->offset) >
        POOL_WINDOW_TENSOR_LIMIT_BYTES)
        return error_set(err, EFBIG,
                         "tensor %s has %llu bytes, more than the 4 GiB that can be mapped in one "
                         "piece: use a smaller quantisation",
                         e->name, (unsigned long long)e->bytes);
    return 0;
}

int pool_windows(const struct pool *pool, struct pool_extent *extents, size_t n,
                 struct pool_window **ret, size_t *ret_n, struct error *err)
{
    struct pool_extent **sorted = calloc(n + 1, sizeof(struct pool_extent *));
    struct pool_window *windows = calloc(n + 1, sizeof(*windows));
    size_t n_windows = 0;
    int r = 0;

    if (!sorted || !windows) {
        r = error_set(err, ENOMEM, "not enough memory for %zu windows", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        r = pool_window_check(pool_bytes(pool), &extents[i], err);
        if (r < 0)
            goto out;
        sorted[i] = &extents[i];
    }
    qsort(sorted, n, sizeof(struct pool_extent *), compare_offsets);
    for (size_t i = 0; i < n; i++) {
        struct pool_window *w = n_windows ? &windows[n_windows - 1] : NULL;
        uint64_t end = pool_round_up(sorted[i]->offset + sorted[i]->bytes);

        if (!w || end - w->offset > POOL_WINDOW_LIMIT_BYTES) {
            w = &windows[n_windows++];
            w->offset = round_down(sorted[i]->offset);
        }
        if (end > w->offset + w->bytes)
            w->bytes = end - w->offset;
        sorted[i]->window = (uint32_t)(n_windows - 1);
    }
    *ret = windows;
    *ret_n = n_windows;
    windows = NULL;

out:
    free(sorted);
    free(windows);
    return r;
}
