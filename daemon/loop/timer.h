/* SPDX-License-Identifier: MIT */
/* Deadlines in order: an intrusive pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986), so that
 * setting a timer allocates nothing and cannot fail. */
#ifndef HEARTH_LOOP_TIMER_H
#define HEARTH_LOOP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer {
    void (*fire)(struct timer *t);
    uint64_t deadline_ns;
    bool is_set;
    /* the heap's own */
    struct timer *child, *next, *prev; /* prev: left sibling, or the parent of a first child */
};

struct timer_heap {
    struct timer *root; /* earliest, NULL when empty */
    uint64_t firing_ns; /* the now of timer_fire_due while it runs, else 0 */
};

void timer_add(struct timer_heap *h, struct timer *t, uint64_t deadline_ns);
void timer_remove(struct timer_heap *h, struct timer *t);
/* Fires everything due at now_ns; timers set meanwhile for now or earlier wait for the next call.
 */
void timer_fire_due(struct timer_heap *h, uint64_t now_ns);

#endif
