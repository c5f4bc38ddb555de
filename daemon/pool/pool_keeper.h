/* SPDX-License-Identifier: MIT */
/*
 * Whoever keeps descriptors of memfd pools while this process restarts: a service manager. The pool
 * part only calls it; any thread may.
 */
#ifndef HEARTH_POOL_POOL_KEEPER_H
#define HEARTH_POOL_POOL_KEEPER_H

#include "pool/pool_key.h"

#include <stddef.h>

struct pool_keeper {
    /* Keeps a duplicate of fd under the key, in place of what was there; 0 or negative errno. */
    int (*keep)(struct pool_keeper *keeper, const struct pool_key *key, int fd);
    /* Gives up what is kept under the key. */
    void (*forget)(struct pool_keeper *keeper, const struct pool_key *key);
    /* A descriptor of what an earlier process had kept, the caller's to close; it stays kept.
     * -ENOENT when there is none, or it was taken before. */
    int (*take)(struct pool_keeper *keeper, const struct pool_key *key);
    /* A duplicate of what take() would give, the caller's to close; it can still be taken. */
    int (*look)(struct pool_keeper *keeper, const struct pool_key *key);
    /* The keys of what can be taken, malloc'd; NULL if there are none. 0 or -ENOMEM. */
    int (*list)(struct pool_keeper *keeper, struct pool_key **ret_keys, size_t *ret_n);
};

#endif
