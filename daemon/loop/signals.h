/* SPDX-License-Identifier: MIT */
/* Signals as events of the loop. They must be blocked before any thread starts: signals_block. */
#ifndef HEARTH_LOOP_SIGNALS_H
#define HEARTH_LOOP_SIGNALS_H

#include "loop/loop.h"

struct signals {
    void (*on_signal)(struct signals *s, int signo);
    /* its own */
    struct loop *loop;
    struct loop_op poll;
    int fd;
};

/* signos end with 0. Blocks them in the calling thread and those it starts later. */
int signals_block(const int *signos);
/* Tells of the blocked signos from now on; on_signal is set by the caller. */
int signals_init(struct signals *s, struct loop *l, const int *signos);
/* The signos do again what they do by default, in the calling thread. */
void signals_unblock(const int *signos);
/* Steps the loop until no event can come. */
void signals_finish(struct signals *s);

#endif
