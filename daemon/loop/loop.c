/* SPDX-License-Identifier: MIT */
#include "loop/loop.h"

#include "base/clock.h"
#include "loop/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct loop {
    const struct backend_ops *ops;
    void *backend;
    char *fallback_reason;
    struct timer_heap timers;
    struct list tasks;
    uint64_t now_ns;
    bool is_stopping;
};

static int open_backend(struct loop *l, const struct backend_ops *ops, struct error *err)
{
    int rc = ops->create(l, &l->backend, err);

    if (rc == 0)
        l->ops = ops;
    return rc;
}

int loop_create(enum loop_backend backend, struct loop **ret_loop, struct error *err)
{
    const char *wish = getenv("HEARTH_LOOP");
    struct error why;
    struct loop *l = calloc(1, sizeof(*l));
    int rc;

    if (!l)
        return error_set(err, -ENOMEM, "no memory for the event loop");
    list_init(&l->tasks);
    l->now_ns = clock_now_ns();
    if (backend == LOOP_BACKEND_AUTO && wish && strcmp(wish, "epoll") == 0) {
        backend = LOOP_BACKEND_EPOLL;
        l->fallback_reason = strdup("HEARTH_LOOP=epoll is set");
    }
    if (backend == LOOP_BACKEND_EPOLL) {
        rc = open_backend(l, &epoll_ops, err);
    } else {
        rc = open_backend(l, &uring_ops, &why);
        if (rc < 0 && backend == LOOP_BACKEND_AUTO) {
            l->fallback_reason = strdup(why.text);
            rc = open_backend(l, &epoll_ops, err);
        } else if (rc < 0 && err) {
            *err = why;
        }
    }
    if (rc < 0) {
        loop_destroy(l);
        return rc;
    }
    *ret_loop = l;
    return 0;
}

void loop_destroy(struct loop *l)
{
    if (!l)
        return;
    if (l->ops)
        l->ops->destroy(l->backend);
    free(l->fallback_reason);
    free(l);
}

const char *loop_backend_name(const struct loop *l)
{
    return l->ops->name;
}

const char *loop_fallback_reason(const struct loop *l)
{
    return l->fallback_reason;
}

uint64_t loop_now_ns(const struct loop *l)
{
    return l->now_ns;
}

void loop_stop(struct loop *l)
{
    l->is_stopping = true;
}

void loop_woke(struct loop *l)
{
    l->now_ns = clock_now_ns();
}

static void run_tasks(struct loop *l)
{
    struct list due;

    if (list_empty(&l->tasks))
        return;
    /* what these defer anew runs in the next round */
    due = l->tasks;
    due.next->prev = due.prev->next = &due;
    list_init(&l->tasks);
    while (!list_empty(&due)) {
        struct loop_task *task = list_first(&due, struct loop_task, link);

        list_remove(&task->link);
        task->run(task);
    }
}

int loop_step(struct loop *l, int64_t timeout_ns)
{
    int rc;

    if (!list_empty(&l->tasks)) {
        timeout_ns = 0;
    } else if (l->timers.root) {
        uint64_t at = l->timers.root->deadline_ns, now = clock_now_ns();
        int64_t until = at > now ? (int64_t)(at - now) : 0;

        if (timeout_ns < 0 || until < timeout_ns)
            timeout_ns = until;
    }
    rc = l->ops->wait(l->backend, timeout_ns);
    l->now_ns = clock_now_ns();
    timer_fire_due(&l->timers, l->now_ns);
    run_tasks(l);
    return rc;
}

int loop_run(struct loop *l)
{
    int rc = 0;

    l->is_stopping = false;
    while (!l->is_stopping && rc >= 0)
        rc = loop_step(l, -1);
    return rc;
}

static void start(struct loop *l, struct loop_op *op, enum loop_kind kind, int fd)
{
    op->kind = (uint8_t)kind;
    op->fd = fd;
    op->is_pending = true;
    op->is_cancelled = false;
    list_init(&op->link);
    l->ops->start(l->backend, op);
}

void loop_accept(struct loop *l, struct loop_op *op, int fd)
{
    start(l, op, LOOP_ACCEPT, fd);
}

void loop_recv(struct loop *l, struct loop_op *op, int fd)
{
    start(l, op, LOOP_RECV, fd);
}

void loop_send(struct loop *l, struct loop_op *op, int fd, const char *data, size_t len)
{
    enum { MOST = 1 << 30 };

    op->data = data;
    op->len = len > MOST ? MOST : (uint32_t)len;
    start(l, op, LOOP_SEND, fd);
}

void loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events)
{
    op->poll_events = events;
    start(l, op, LOOP_POLL, fd);
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
    if (!op->is_pending || op->is_cancelled)
        return;
    op->is_cancelled = true;
    l->ops->cancel(l->backend, op);
}

void loop_cancel_wait(struct loop *l, struct loop_op *op)
{
    loop_cancel(l, op);
    while (op->is_pending && loop_step(l, -1) >= 0)
        ;
}

void loop_timer_set(struct loop *l, struct timer *t, uint64_t deadline_ns)
{
    timer_remove(&l->timers, t);
    timer_add(&l->timers, t, deadline_ns);
}

void loop_timer_clear(struct loop *l, struct timer *t)
{
    timer_remove(&l->timers, t);
}

void loop_defer(struct loop *l, struct loop_task *task)
{
    if (list_empty(&task->link))
        list_push_back(&l->tasks, &task->link);
}

void loop_undefer(struct loop_task *task)
{
    list_remove(&task->link);
}

void loop_deliver(struct loop *l, struct loop_op *op, int result, const char *data, bool is_last)
{
    struct loop_event event = {.result = result, .data = data, .is_last = is_last};

    if (is_last)
        op->is_pending = false;
    op->on_event(op, &event);
}
