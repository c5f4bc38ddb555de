/* SPDX-License-Identifier: MIT */
/*
 * Inside pool only: threads that get the memory of a deferred pool while others read into what is
 * there already. They are interrupted by SIGRTMIN, for which a handler that does nothing is set.
 */
#ifndef HEARTH_POOL_POOL_ALLOCATOR_H
#define HEARTH_POOL_POOL_ALLOCATOR_H

#include "pool/pool_ops.h"

#include <pthread.h>

enum { POOL_ALLOCATOR_THREADS = 2 };

struct pool_allocator {
    struct pool *pool; /* not owned */
    pthread_t threads[POOL_ALLOCATOR_THREADS];
    unsigned n_threads;
    atomic_uint n_ended;
    atomic_bool is_stopping;
    atomic_bool is_whole; /* the module said so, which is more than all pages being there */
    pthread_mutex_t lock;
    struct error failure; /* under lock; code 0 while none failed */
};

int pool_allocator_start(struct pool_allocator *a, struct pool *pool, struct error *err);
/* 0: the first `bytes` of the pool are there; -EAGAIN: not yet; else it failed. */
int pool_allocator_check(struct pool_allocator *a, uint64_t bytes, struct error *err);
/* Waits until the pool is whole; -ECANCELED when *cancel (may be NULL) is set first. */
int pool_allocator_wait(struct pool_allocator *a, const atomic_bool *cancel, struct error *err);
/* Interrupts what is not finished; the pool knows then whether it is whole. */
void pool_allocator_stop(struct pool_allocator *a);

#endif
