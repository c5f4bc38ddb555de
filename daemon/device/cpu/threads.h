/* SPDX-License-Identifier: MIT */
/*
 * Worker threads that run jobs one after the other. A job is a row of phases, a phase a number of
 * items that any worker may take in any order; a phase begins when all items of the one before it
 * are done. Knows nothing of kernels.
 *
 * Whoever finishes the last item of a phase begins the next one, so a worker that the kernel has
 * descheduled holds up the others only while it has an item in hand. Idle workers look for work for
 * a few microseconds and then sleep in a futex, so a busy machine is not made busier by waiting.
 */
#ifndef HEARTH_DEVICE_CPU_THREADS_H
#define HEARTH_DEVICE_CPU_THREADS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct threads;

/* Items of one phase at most: the words that count them have 32 bits, and more may ask than get. */
#define THREADS_ITEMS_MAX (1u << 30)

struct job {
    uint32_t n_phases;
    /* How many items the phase has now; 0 skips it. *ret_small: so little work that the calling
     * worker should do it alone. Called once before the phase, by one worker. */
    uint32_t (*begin_phase)(struct job *job, uint32_t phase, bool *ret_small);
    void (*run_item)(struct job *job, uint32_t phase, uint32_t item, unsigned thread);
};

/* CPUs this process may use: its affinity mask, cut to its cgroup's quota; at least 1. */
unsigned threads_allowed_cpus(void);

int threads_create(unsigned n, struct threads **ret_threads, struct error *err);
/* Waits for the jobs submitted. NULL is fine. */
void threads_destroy(struct threads *t);
/* The job must live until its ticket is done. Returns -ENOMEM or 0. Any thread. */
int threads_submit(struct threads *t, struct job *job, uint64_t *ret_ticket);
/* 0, or -ETIME. Any thread. */
int threads_wait(struct threads *t, uint64_t ticket, uint64_t timeout_ns);

#endif
