/* SPDX-License-Identifier: MIT */
/* A service manager as far as pools see it: keeps their descriptors while nobody serves. */
#ifndef HEARTH_TESTS_ENGINE_MANAGER_H
#define HEARTH_TESTS_ENGINE_MANAGER_H

#include "pool/pool_keeper.h"

enum { MANAGER_KEPT_MOST = 4 };

struct manager {
    struct pool_keeper keeper; /* first */
    struct {
        struct pool_key key;
        int fd; /* -1: none */
    } kept[MANAGER_KEPT_MOST];
};

void manager_init(struct manager *m);
void manager_finish(struct manager *m); /* closes what it keeps */

#endif
