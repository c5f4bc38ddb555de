/* SPDX-License-Identifier: MIT */
/* What a way of waiting (uring.c, epoll.c) owes to loop.c. Only these three files see this. */
#ifndef HEARTH_LOOP_BACKEND_H
#define HEARTH_LOOP_BACKEND_H

#include "loop/loop.h"

struct backend_ops {
    const char *name;
    int (*create)(struct loop *l, void **ret_backend, struct error *err);
    void (*destroy)(void *backend);
    /* op is filled in and pending. Must not call back from here. */
    void (*start)(void *backend, struct loop_op *op);
    void (*cancel)(void *backend, struct loop_op *op);
    /* Waits (timeout_ns < 0: for ever), tells loop_woke(), then loop_deliver()s what came. 0 or a
     * negative errno. */
    int (*wait)(void *backend, int64_t timeout_ns);
};

extern const struct backend_ops uring_ops, epoll_ops;

/* From here on loop_now_ns() is the time of the events that come now. */
void loop_woke(struct loop *l);

/* Hands an event to the operation's owner; after is_last op may be gone. */
void loop_deliver(struct loop *l, struct loop_op *op, int result, const char *data, bool is_last);

enum { LOOP_RECV_BYTES = 16384 }; /* of one receive buffer */

#endif
