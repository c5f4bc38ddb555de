/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Taking idle pools back, least recently used first: when the kernel reclaims memory, before it
 * kills for lack of it, and when a new pool needs room.
 */
#ifndef _HEARTH_SHRINK_H
#define _HEARTH_SHRINK_H

#include <linux/types.h>
#include <linux/uidgid.h>

struct hearth_pool;

int hearth_shrink_init(void);
void hearth_shrink_exit(void);
void hearth_shrink_update(struct hearth_pool *pool);
void hearth_shrink_remove(struct hearth_pool *pool);
bool hearth_shrink_make_way(kuid_t uid);
bool hearth_shrink_make_room(void);
u64 hearth_shrink_idle_bytes(void);
u64 hearth_shrink_reclaimable_bytes(void);
u64 hearth_shrink_going_bytes(void);
u64 hearth_shrink_evictable_bytes(kuid_t uid);
u64 hearth_shrink_evicted_bytes(void);
u64 hearth_shrink_evicted_pools(void);

#endif /* _HEARTH_SHRINK_H */
