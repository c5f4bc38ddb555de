/* SPDX-License-Identifier: MIT */
/*
 * The loop on epoll, for kernels and containers without io_uring. A descriptor is registered once,
 * for what its operations together wait for; an operation is tried when the descriptor is ready.
 */
#include "loop/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_A_ROUND = 64, RECVS_A_ROUND = 4 };

struct slot {
    struct list ops; /* of one descriptor, by loop_op.link */
    uint32_t armed;  /* events registered with the kernel; 0: not registered */
};

struct epoll {
    struct loop *loop;
    int fd;
    struct slot **slots; /* by descriptor; NULL until first used */
    size_t n_slots;
    struct list ended; /* operations whose last event (-ECANCELED, -errno) is due, by link */
    char *buffer;
};

static void epoll_destroy(void *backend)
{
    struct epoll *e = backend;

    if (!e)
        return;
    for (size_t i = 0; i < e->n_slots; i++)
        free(e->slots[i]);
    free(e->slots);
    free(e->buffer);
    if (e->fd >= 0)
        close(e->fd);
    free(e);
}

static int epoll_create_backend(struct loop *l, void **ret_backend, struct error *err)
{
    struct epoll *e = calloc(1, sizeof(*e));
    int rc;

    if (!e)
        return error_set(err, -ENOMEM, "no memory for the event loop");
    e->loop = l;
    list_init(&e->ended);
    e->fd = epoll_create1(EPOLL_CLOEXEC);
    e->buffer = malloc(LOOP_RECV_BYTES);
    if (e->fd < 0 || !e->buffer) {
        rc = error_set_errno(err, e->fd < 0 ? -errno : -ENOMEM, "epoll cannot be set up");
        epoll_destroy(e);
        return rc;
    }
    *ret_backend = e;
    return 0;
}

static struct slot *slot_of(struct epoll *e, int fd)
{
    size_t at = (size_t)fd;

    if (at >= e->n_slots) {
        size_t n = at + 64;
        struct slot **more = realloc(e->slots, n * sizeof(struct slot *));

        if (!more)
            return NULL;
        memset(more + e->n_slots, 0, (n - e->n_slots) * sizeof(struct slot *));
        e->slots = more;
        e->n_slots = n;
    }
    if (!e->slots[at]) {
        e->slots[at] = calloc(1, sizeof(struct slot));
        if (e->slots[at])
            list_init(&e->slots[at]->ops);
    }
    return e->slots[at];
}

static uint32_t wanted(const struct loop_op *op)
{
    switch (op->kind) {
    case LOOP_SEND:
        return EPOLLOUT;
    case LOOP_POLL:
        return op->poll_events | EPOLLERR | EPOLLHUP;
    default:
        return EPOLLIN;
    }
}

static int arm(struct epoll *e, int fd, struct slot *slot)
{
    struct epoll_event event = {.data.fd = fd};
    int what, rc;

    list_for_each (op, &slot->ops, struct loop_op, link)
        event.events |= wanted(op);
    if (event.events == slot->armed)
        return 0;
    what = !event.events ? EPOLL_CTL_DEL : slot->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    rc = epoll_ctl(e->fd, what, fd, &event);
    slot->armed = event.events;
    return rc < 0 && what != EPOLL_CTL_DEL ? -errno : 0;
}

/* Takes the operation off its descriptor; its last event is delivered in the next round. */
static void end(struct epoll *e, struct loop_op *op, int result)
{
    struct slot *slot = slot_of(e, op->fd);

    list_remove(&op->link);
    if (slot)
        arm(e, op->fd, slot);
    op->len = (uint32_t)-result;
    list_push_back(&e->ended, &op->link);
}

static void epoll_start(void *backend, struct loop_op *op)
{
    struct epoll *e = backend;
    struct slot *slot = op->fd >= 0 ? slot_of(e, op->fd) : NULL;
    int status, rc;

    if (!slot) {
        op->len = op->fd >= 0 ? ENOMEM : EBADF;
        list_push_back(&e->ended, &op->link);
        return;
    }
    if (op->kind == LOOP_ACCEPT) {
        status = fcntl(op->fd, F_GETFL);
        if (status >= 0)
            fcntl(op->fd, F_SETFL, status | O_NONBLOCK);
    }
    list_push_back(&slot->ops, &op->link);
    rc = arm(e, op->fd, slot);
    if (rc < 0) {
        slot->armed = 0;
        end(e, op, rc);
    }
}

static void epoll_cancel(void *backend, struct loop_op *op)
{
    end(backend, op, -ECANCELED);
}

static void finish(struct epoll *e, struct slot *slot, struct loop_op *op, int result)
{
    list_remove(&op->link);
    arm(e, op->fd, slot);
    loop_deliver(e->loop, op, result, NULL, true);
}

static void try_accept(struct epoll *e, struct slot *slot, struct loop_op *op)
{
    for (int i = 0; i < ACCEPTS_A_ROUND && !op->is_cancelled; i++) {
        int fd = accept4(op->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0) {
            loop_deliver(e->loop, op, fd, NULL, false);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EAGAIN)
                finish(e, slot, op, -errno);
            return;
        }
    }
}

static void try_recv(struct epoll *e, struct slot *slot, struct loop_op *op)
{
    for (int i = 0; i < RECVS_A_ROUND && !op->is_cancelled; i++) {
        ssize_t n = recv(op->fd, e->buffer, LOOP_RECV_BYTES, MSG_DONTWAIT);

        if (n > 0) {
            loop_deliver(e->loop, op, (int)n, e->buffer, false);
            if (n < LOOP_RECV_BYTES)
                return;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            finish(e, slot, op, n == 0 ? 0 : -errno);
            return;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static void try_send(struct epoll *e, struct slot *slot, struct loop_op *op)
{
    ssize_t n = send(op->fd, op->data, op->len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0)
        finish(e, slot, op, (int)n);
    else if (errno != EAGAIN && errno != EINTR)
        finish(e, slot, op, -errno);
}

static void try_op(struct epoll *e, struct slot *slot, struct loop_op *op, uint32_t events)
{
    if (!(events & (wanted(op) | EPOLLERR | EPOLLHUP)))
        return;
    switch (op->kind) {
    case LOOP_ACCEPT:
        try_accept(e, slot, op);
        break;
    case LOOP_RECV:
        try_recv(e, slot, op);
        break;
    case LOOP_SEND:
        try_send(e, slot, op);
        break;
    case LOOP_POLL:
        loop_deliver(e->loop, op, (int)(events & wanted(op)), NULL, false);
        break;
    }
}

static void ready(struct epoll *e, int fd, uint32_t events)
{
    struct slot *slot = e->slots[fd];
    struct list todo;

    if (!slot || list_empty(&slot->ops))
        return;
    /* moved aside and back one by one: callbacks may add, cancel and free any of them */
    todo = slot->ops;
    todo.next->prev = todo.prev->next = &todo;
    list_init(&slot->ops);
    while (!list_empty(&todo)) {
        struct loop_op *op = list_first(&todo, struct loop_op, link);

        list_remove(&op->link);
        list_push_back(&slot->ops, &op->link);
        try_op(e, slot, op, events);
    }
    arm(e, fd, slot);
}

static void deliver_ended(struct epoll *e)
{
    struct list todo = e->ended;

    if (list_empty(&e->ended))
        return;
    todo.next->prev = todo.prev->next = &todo;
    list_init(&e->ended);
    while (!list_empty(&todo)) {
        struct loop_op *op = list_first(&todo, struct loop_op, link);

        list_remove(&op->link);
        loop_deliver(e->loop, op, -(int)op->len, NULL, true);
    }
}

static int epoll_wait_round(void *backend, int64_t timeout_ns)
{
    struct epoll *e = backend;
    struct epoll_event events[256];
    int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
    int n;

    if (!list_empty(&e->ended))
        ms = 0;
    n = epoll_wait(e->fd, events, 256, ms > 1 << 30 ? 1 << 30 : (int)ms);
    if (n < 0 && errno != EINTR)
        return -errno;
    loop_woke(e->loop);
    deliver_ended(e);
    for (int i = 0; i < n; i++)
        ready(e, events[i].data.fd, events[i].events);
    return 0;
}

const struct backend_ops epoll_ops = {
    .name = "epoll",
    .create = epoll_create_backend,
    .destroy = epoll_destroy,
    .start = epoll_start,
    .cancel = epoll_cancel,
    .wait = epoll_wait_round,
};
