/* SPDX-License-Identifier: MIT */
#include "pool/pool_fill_share.h"

#include <stdatomic.h>

/* A drive is kept busy by twice the reads of one fill, and gains nothing from more. */
enum { FILLS_AT_FULL_DEPTH = 2 };

static atomic_uint n_fills[2]; /* running: [0] those that can wait, [1] the urgent */

void pool_fill_share_begin(struct pool_fill_share *share, bool is_urgent)
{
    share->is_urgent = is_urgent;
    atomic_fetch_add(&n_fills[is_urgent], 1);
}

void pool_fill_share_end(struct pool_fill_share *share)
{
    atomic_fetch_sub(&n_fills[share->is_urgent], 1);
}

unsigned pool_fill_share_depth(struct pool_fill_share *share, bool is_urgent, unsigned depth)
{
    unsigned n, most;

    if (share->is_urgent != is_urgent) { /* somebody came to wait for it, or left */
        pool_fill_share_end(share);
        pool_fill_share_begin(share, is_urgent);
    }
    if (!is_urgent && atomic_load(&n_fills[true]))
        return 1;
    n = atomic_load(&n_fills[is_urgent]);
    most = depth * FILLS_AT_FULL_DEPTH / (n ? n : 1);
    if (most > depth)
        most = depth;
    return most ? most : 1;
}
