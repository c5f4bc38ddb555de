/* SPDX-License-Identifier: MIT */
#include "pool/pool_kept.h"

#include "pool/pool_ops.h"

#include <string.h>

int pool_kept_list(const struct pool_config *config, struct pool_kept **ret_list, size_t *ret_n)
{
    const struct pool_ops *ops = pool_ops_of_kind(config->kind);

    *ret_list = NULL;
    *ret_n = 0;
    return ops && ops->list ? ops->list(config, ret_list, ret_n) : 0;
}

bool pool_kept_may_hold(const struct pool_kept *list, size_t n, uint64_t bytes)
{
    uint64_t mapped = pool_round_up(bytes);

    for (size_t i = 0; i < n; i++)
        if (!list[i].mapped_bytes || list[i].mapped_bytes == mapped)
            return true;
    return false;
}

const struct pool_kept *pool_kept_find(const struct pool_kept *list, size_t n,
                                       const struct pool_key *key)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].key.hex, key->hex))
            return &list[i];
    return NULL;
}
