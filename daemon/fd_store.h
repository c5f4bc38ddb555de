/* SPDX-License-Identifier: MIT */
/*
 * The service manager's store of descriptors: memory of pools lies there while the daemon restarts.
 * Knows nothing of pools but their names. Any thread may keep, forget and take.
 */
#ifndef HEARTH_FD_STORE_H
#define HEARTH_FD_STORE_H

#include "pool/pool_keeper.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct stored_fd {
    struct pool_key key;
    int fd; /* owned; -1: taken */
};

struct fd_store {
    struct pool_keeper keeper; /* give this away only if is_open */
    bool is_open;              /* there is a service manager that keeps descriptors */
    pthread_mutex_t lock;
    struct stored_fd *list; /* under lock: what an earlier process had kept */
    size_t n;
};

void fd_store_init(struct fd_store *store);
/* Takes over a descriptor that the service manager handed back under that name; false: it is none
 * of the store's and stays the caller's. */
bool fd_store_restore(struct fd_store *store, const char *name, int fd);
/* Gives up what was handed back and nobody has taken; returns of how many. */
size_t fd_store_drop_rest(struct fd_store *store);
void fd_store_finish(struct fd_store *store); /* what is kept stays kept */

#endif
