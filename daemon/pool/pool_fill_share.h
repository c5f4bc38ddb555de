/* SPDX-License-Identifier: MIT */
/*
 * Inside pool only: fills that run at the same time share the drive. Each gets as many reads under
 * way as the others, and while one that somebody waits for runs, the rest only trickle.
 */
#ifndef HEARTH_POOL_POOL_FILL_SHARE_H
#define HEARTH_POOL_POOL_FILL_SHARE_H

#include <stdbool.h>

/* One fill's part in it. */
struct pool_fill_share {
    bool is_urgent;
};

void pool_fill_share_begin(struct pool_fill_share *share, bool is_urgent);
void pool_fill_share_end(struct pool_fill_share *share);
/* How many reads the fill may have under way now, of the depth it would like; at least 1. */
unsigned pool_fill_share_depth(struct pool_fill_share *share, bool is_urgent, unsigned depth);

#endif
