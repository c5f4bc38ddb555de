/* SPDX-License-Identifier: MIT */
/*
 * What of named pools lies in memory, whoever made them: what a process that ended has left for
 * pool_find(). Any thread.
 */
#ifndef HEARTH_POOL_POOL_KEPT_H
#define HEARTH_POOL_POOL_KEPT_H

#include "pool/pool.h"

struct pool_kept {
    struct pool_key key;
    uint64_t mapped_bytes; /* as of pool_mapped_bytes(); 0: nobody knows */
    uint64_t used_ns;      /* CLOCK_BOOTTIME of its last use; 0: nobody knows */
    bool is_sealed; /* false: a cache, or an image that is not whole; of unknown size: maybe */
};

/*
 * The pools of config->kind that this user could find, in no order; config->keeper's, not its key,
 * counts. Nothing is opened, and none of them becomes younger by it. *ret_list is malloc'd, NULL if
 * there are none. -ENOMEM; KMOD: what opening /dev/hearth gives.
 */
int pool_kept_list(const struct pool_config *config, struct pool_kept **ret_list, size_t *ret_n);
/* Whether one of them may hold so many bytes. */
bool pool_kept_may_hold(const struct pool_kept *list, size_t n, uint64_t bytes);
/* The one of that key, or NULL. */
const struct pool_kept *pool_kept_find(const struct pool_kept *list, size_t n,
                                       const struct pool_key *key);

#endif
