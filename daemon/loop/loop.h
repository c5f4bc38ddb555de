/* SPDX-License-Identifier: MIT */
/*
 * One thread's event loop: operations on descriptors, timers, deferred work. io_uring carries it
 * where the kernel has what is needed (multishot receive and buffer rings: Linux 6.0), epoll where
 * it does not or where a container forbids io_uring; callers cannot tell them apart.
 *
 * Everything runs on the thread that called loop_create. Callbacks run inside loop_run and
 * loop_step only, never inside the function that started an operation.
 *
 * An operation's memory belongs to the caller but is the loop's from loop_accept/recv/send/poll
 * until the event with is_last; cancel it and wait for that event before freeing.
 */
#ifndef HEARTH_LOOP_LOOP_H
#define HEARTH_LOOP_LOOP_H

#include "base/error.h"
#include "base/list.h"
#include "loop/timer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct loop_event {
    /* accept: the new descriptor, now the callee's; recv: bytes, 0 at the end of the stream; send:
     * bytes taken; poll: POLL* bits. Or a negative errno (-ECANCELED after loop_cancel). */
    int result;
    const char *data; /* recv: the bytes, valid during the callback only */
    bool is_last;     /* the operation is over and its memory the caller's again */
};

enum loop_kind { LOOP_ACCEPT, LOOP_RECV, LOOP_SEND, LOOP_POLL };

struct loop_op {
    void (*on_event)(struct loop_op *op, const struct loop_event *event);
    bool is_pending; /* for the owner to read */
    /* the loop's own */
    bool is_cancelled;
    uint8_t kind;
    int fd;
    union {
        uint32_t poll_events;
        uint32_t len;
    };
    const char *data;
    struct list link;
};

struct loop_task {
    void (*run)(struct loop_task *task);
    struct list link; /* the loop's list of due tasks; list_init before first use */
};

enum loop_backend { LOOP_BACKEND_AUTO, LOOP_BACKEND_URING, LOOP_BACKEND_EPOLL };

/* AUTO takes io_uring if it can, else epoll. HEARTH_LOOP=epoll in the environment overrides AUTO.
 */
int loop_create(enum loop_backend backend, struct loop **ret_loop, struct error *err);
/* No operation may be pending. Timers and tasks are forgotten. */
void loop_destroy(struct loop *l);
/* "io_uring" or "epoll"; and why io_uring was not taken (NULL when it was). */
const char *loop_backend_name(const struct loop *l);
const char *loop_fallback_reason(const struct loop *l);

/* Runs until loop_stop; a negative errno when the kernel refuses to wait. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* One round: waits at most timeout_ns (negative: for ever) unless there is something to do. */
int loop_step(struct loop *l, int64_t timeout_ns);
/* CLOCK_MONOTONIC as of the start of this round's callbacks. */
uint64_t loop_now_ns(const struct loop *l);

/* Connections until cancelled or failed. Descriptors come close-on-exec. */
void loop_accept(struct loop *l, struct loop_op *op, int fd);
/* Bytes until cancelled, failed or the end of the stream (is_last with result 0). Holds no buffer
 * while nothing arrives. */
void loop_recv(struct loop *l, struct loop_op *op, int fd);
/* Once: takes some of the bytes (at least one) when there is room. data must stay until is_last. */
void loop_send(struct loop *l, struct loop_op *op, int fd, const char *data, size_t len);
/* Every time one of `events` (POLLIN, ...) newly holds, until cancelled; POLLERR and POLLHUP are
 * always told. The callback must empty the descriptor: it may not be told again. */
void loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events);
/* Asks for the end; events may still come until the one with is_last. No effect when not pending.
 */
void loop_cancel(struct loop *l, struct loop_op *op);
/* loop_cancel, then rounds of the loop until it is over. Not from inside a callback. */
void loop_cancel_wait(struct loop *l, struct loop_op *op);

/* Fires once at deadline_ns (CLOCK_MONOTONIC); a timer already set is moved. */
void loop_timer_set(struct loop *l, struct timer *t, uint64_t deadline_ns);
void loop_timer_clear(struct loop *l, struct timer *t);

/* Runs after the events of this round (once, however often it is deferred until then). */
void loop_defer(struct loop *l, struct loop_task *task);
void loop_undefer(struct loop_task *task);

#endif
