/* SPDX-License-Identifier: MIT */
/*
 * The loop on io_uring: multishot accept, poll and receive, the latter into a ring of buffers that
 * only bytes that have arrived occupy. Sends are plain: Unix sockets have no MSG_ZEROCOPY
 * (-EOPNOTSUPP), and for the few hundred bytes of a streamed token it costs several times a copy on
 * TCP; it pays from some 16 KiB on, which only whole answers over TCP reach.
 */
#include "loop/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SQ_ENTRIES = 1024, CQ_ENTRIES = 8192, N_BUFFERS = 64, GROUP = 0 };

struct uring {
    struct loop *loop;
    struct io_uring ring;
    bool is_open;
    struct io_uring_buf_ring *buf_ring;
    char *buffers;
};

static char *buffer_at(const struct uring *u, unsigned id)
{
    return u->buffers + (size_t)id * LOOP_RECV_BYTES;
}

static void give_buffer(struct uring *u, unsigned id)
{
    io_uring_buf_ring_add(u->buf_ring, buffer_at(u, id), LOOP_RECV_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(N_BUFFERS), 0);
    io_uring_buf_ring_advance(u->buf_ring, 1);
}

static int open_ring(struct uring *u)
{
    /* newest kernel first: work is done when this thread asks, without interrupts to it */
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    int rc = -EINVAL;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && rc == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = flags[i] | IORING_SETUP_CQSIZE,
            .cq_entries = CQ_ENTRIES,
        };
        rc = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &params);
    }
    return rc;
}

/* Multishot receive has no probe of its own; it came with SEND_ZC in Linux 6.0. */
static bool has_multishot_recv(struct uring *u)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
    bool has = probe && io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);

    if (probe)
        io_uring_free_probe(probe);
    return has;
}

static int open_buffers(struct uring *u)
{
    struct io_uring_buf_reg reg = {.ring_entries = N_BUFFERS, .bgid = GROUP};
    size_t ring_bytes = N_BUFFERS * sizeof(struct io_uring_buf);
    void *p = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int rc;

    if (p == MAP_FAILED)
        return -ENOMEM;
    u->buf_ring = p;
    u->buffers = malloc((size_t)N_BUFFERS * LOOP_RECV_BYTES);
    if (!u->buffers)
        return -ENOMEM;
    reg.ring_addr = (uintptr_t)p;
    rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (rc < 0)
        return rc;
    io_uring_buf_ring_init(u->buf_ring);
    for (unsigned i = 0; i < N_BUFFERS; i++)
        give_buffer(u, i);
    return 0;
}

static void uring_destroy(void *backend)
{
    struct uring *u = backend;

    if (!u)
        return;
    if (u->is_open)
        io_uring_queue_exit(&u->ring);
    if (u->buf_ring)
        munmap(u->buf_ring, N_BUFFERS * sizeof(struct io_uring_buf));
    free(u->buffers);
    free(u);
}

static int uring_create(struct loop *l, void **ret_backend, struct error *err)
{
    struct uring *u = calloc(1, sizeof(*u));
    int rc;

    if (!u)
        return error_set(err, -ENOMEM, "no memory for io_uring");
    u->loop = l;
    rc = open_ring(u);
    if (rc < 0) {
        error_set_errno(err, rc,
                        rc == -EPERM || rc == -EACCES
                            ? "io_uring is forbidden here (a container's seccomp filter or the "
                              "sysctl kernel.io_uring_disabled)"
                            : "io_uring cannot be set up");
        goto fail;
    }
    u->is_open = true;
    if (!has_multishot_recv(u)) {
        rc = error_set(err, -EOPNOTSUPP,
                       "this kernel's io_uring lacks multishot receive (Linux 6.0 has it)");
        goto fail;
    }
    rc = open_buffers(u);
    if (rc < 0) {
        error_set_errno(err, rc, "io_uring refuses a ring of receive buffers");
        goto fail;
    }
    *ret_backend = u;
    return 0;
fail:
    uring_destroy(u);
    return rc;
}

static struct io_uring_sqe *get_sqe(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    while (!sqe) { /* full: the kernel takes them all at once unless its own queue is */
        if (io_uring_submit(&u->ring) < 0)
            io_uring_get_events(&u->ring);
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

static void uring_start(void *backend, struct loop_op *op)
{
    struct uring *u = backend;
    struct io_uring_sqe *sqe = get_sqe(u);
    int status;

    switch (op->kind) {
    case LOOP_ACCEPT:
        /* a non-blocking listener (socket activation may hand one over) would answer -EAGAIN */
        status = fcntl(op->fd, F_GETFL);
        if (status >= 0 && (status & O_NONBLOCK))
            fcntl(op->fd, F_SETFL, status & ~O_NONBLOCK);
        io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
        break;
    case LOOP_RECV:
        io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = GROUP;
        break;
    case LOOP_SEND:
        io_uring_prep_send(sqe, op->fd, op->data, op->len, MSG_NOSIGNAL);
        break;
    case LOOP_POLL:
        io_uring_prep_poll_multishot(sqe, op->fd, op->poll_events);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

static void uring_cancel(void *backend, struct loop_op *op)
{
    struct uring *u = backend;
    struct io_uring_sqe *sqe = get_sqe(u);

    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL);
}

/* A multishot operation may end without a reason of the caller's: no free buffer, a full completion
 * queue, a kernel that prefers one shot. It is then started again unseen. */
static bool ended_by_itself(const struct loop_op *op, int res)
{
    if (op->is_cancelled || op->kind == LOOP_SEND)
        return false;
    if (res == -ENOBUFS || res == -EINTR || res == -EAGAIN)
        return true;
    return op->kind == LOOP_RECV ? res > 0 : res >= 0;
}

static void complete(struct uring *u, struct loop_op *op, int res, unsigned flags)
{
    bool has_data = flags & IORING_CQE_F_BUFFER;
    unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
    bool is_over = !(flags & IORING_CQE_F_MORE);
    bool is_last = is_over && !ended_by_itself(op, res);

    if (op->kind == LOOP_POLL && res > 0) {
        /* the kernel adds POLLRDHUP to what was asked for */
        res &= (int)(op->poll_events | POLLERR | POLLHUP | POLLNVAL);
        if (!res && !is_over)
            return;
    }
    if (is_over && !is_last) {
        if (res >= 0)
            loop_deliver(u->loop, op, res, has_data ? buffer_at(u, id) : NULL, false);
        if (has_data)
            give_buffer(u, id);
        if (op->is_cancelled) /* by the callback: the cancel on its way will find nothing */
            loop_deliver(u->loop, op, -ECANCELED, NULL, true);
        else
            uring_start(u, op);
        return;
    }
    loop_deliver(u->loop, op, res, has_data ? buffer_at(u, id) : NULL, is_last);
    if (has_data)
        give_buffer(u, id);
}

static int uring_wait(void *backend, int64_t timeout_ns)
{
    struct uring *u = backend;
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / 1000000000,
                                   .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_cqe *cqe = NULL;
    unsigned ready;
    int rc;

    rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
    if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
        return rc;
    loop_woke(u->loop);
    /* only what is there now: what callbacks cause waits for the next round */
    for (ready = io_uring_cq_ready(&u->ring); ready; ready--) {
        struct loop_op *op;
        unsigned flags;
        int res;

        if (io_uring_peek_cqe(&u->ring, &cqe) < 0 || !cqe)
            break;
        op = io_uring_cqe_get_data(cqe);
        res = cqe->res;
        flags = cqe->flags;
        io_uring_cqe_seen(&u->ring, cqe);
        if (op)
            complete(u, op, res, flags);
    }
    return 0;
}

const struct backend_ops uring_ops = {
    .name = "io_uring",
    .create = uring_create,
    .destroy = uring_destroy,
    .start = uring_start,
    .cancel = uring_cancel,
    .wait = uring_wait,
};
