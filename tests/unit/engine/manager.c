/* SPDX-License-Identifier: MIT */
#include "manager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int keep(struct pool_keeper *keeper, const struct pool_key *key, int fd)
{
    struct manager *m = (struct manager *)keeper;

    for (int i = 0; i < MANAGER_KEPT_MOST; i++) {
        if (m->kept[i].fd >= 0)
            continue;
        m->kept[i].fd = dup(fd);
        m->kept[i].key = *key;
        return 0;
    }
    return -ENOSPC;
}

static void forget(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct manager *m = (struct manager *)keeper;

    for (int i = 0; i < MANAGER_KEPT_MOST; i++) {
        if (m->kept[i].fd < 0 || strcmp(m->kept[i].key.hex, key->hex) != 0)
            continue;
        close(m->kept[i].fd);
        m->kept[i].fd = -1;
    }
}

static int take(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct manager *m = (struct manager *)keeper;

    for (int i = 0; i < MANAGER_KEPT_MOST; i++)
        if (m->kept[i].fd >= 0 && !strcmp(m->kept[i].key.hex, key->hex))
            return dup(m->kept[i].fd);
    return -ENOENT;
}

static int list(struct pool_keeper *keeper, struct pool_key **ret_keys, size_t *ret_n)
{
    struct manager *m = (struct manager *)keeper;

    *ret_n = 0;
    *ret_keys = calloc(MANAGER_KEPT_MOST, sizeof(**ret_keys));
    for (int i = 0; *ret_keys && i < MANAGER_KEPT_MOST; i++)
        if (m->kept[i].fd >= 0)
            (*ret_keys)[(*ret_n)++] = m->kept[i].key;
    return *ret_keys ? 0 : -ENOMEM;
}

void manager_init(struct manager *m)
{
    *m = (struct manager){.keeper = {keep, forget, take, take, list}};
    for (int i = 0; i < MANAGER_KEPT_MOST; i++)
        m->kept[i].fd = -1;
}

void manager_finish(struct manager *m)
{
    for (int i = 0; i < MANAGER_KEPT_MOST; i++)
        if (m->kept[i].fd >= 0)
            close(m->kept[i].fd);
}
