/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "base/clock.h"
#include "loop/loop.h"
#include "loop/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* What an operation has told, and what to do when it tells more. */
struct probe {
    struct loop_op op;
    struct loop *loop;
    size_t n_events, n_bytes;
    int last_result;
    bool is_over;
    unsigned char sum;
    size_t cancel_after_bytes; /* 0: never */
    int accepted[64];
};

static void on_probe(struct loop_op *op, const struct loop_event *event)
{
    struct probe *p = container_of(op, struct probe, op);

    assert_int_equal(p->is_over, 0);
    p->n_events++;
    p->last_result = event->result;
    p->is_over = event->is_last;
    assert_int_equal(op->is_pending, !event->is_last);
    if (event->data && event->result > 0) {
        for (int i = 0; i < event->result; i++)
            p->sum += (unsigned char)event->data[i];
        p->n_bytes += (size_t)event->result;
    }
    if (op->kind == LOOP_ACCEPT && event->result >= 0)
        p->accepted[p->n_events - 1] = event->result;
    if (p->cancel_after_bytes && p->n_bytes >= p->cancel_after_bytes)
        loop_cancel(p->loop, op);
}

static void probe_init(struct probe *p, struct loop *l)
{
    memset(p, 0, sizeof(*p));
    p->loop = l;
    p->op.on_event = on_probe;
}

static struct loop *open_loop(enum loop_backend backend)
{
    struct loop *l = NULL;
    struct error err;

    if (loop_create(backend, &l, &err) < 0)
        SKIP("%s", err.text);
    return l;
}

#define STEP_UNTIL(l, condition)                                                                   \
    do {                                                                                           \
        uint64_t until_ = clock_now_ns() + 10000000000u;                                           \
        while (!(condition) && clock_now_ns() < until_)                                            \
            assert_int_equal(loop_step((l), 100000000), 0);                                        \
        assert_true(condition);                                                                    \
    } while (0)

/* Each fact is proved on both ways of waiting. */
#define FACT(name)                                                                                 \
    static void name(struct loop *l);                                                              \
    static void name##_on_uring(void **state)                                                      \
    {                                                                                              \
        struct loop *l = open_loop(LOOP_BACKEND_URING);                                            \
        assert_string_equal(loop_backend_name(l), "io_uring");                                     \
        name(l);                                                                                   \
        loop_destroy(l);                                                                           \
    }                                                                                              \
    static void name##_on_epoll(void **state)                                                      \
    {                                                                                              \
        struct loop *l = open_loop(LOOP_BACKEND_EPOLL);                                            \
        assert_string_equal(loop_backend_name(l), "epoll");                                        \
        name(l);                                                                                   \
        loop_destroy(l);                                                                           \
    }                                                                                              \
    static void name(struct loop *l)

FACT(recv_tells_all_bytes_then_the_end)
{
    int pair[2];
    struct probe p;
    unsigned char sum = 0;
    char block[5000];
    size_t sent = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    probe_init(&p, l);
    loop_recv(l, &p.op, pair[0]);
    for (int i = 0; i < 1000; i++) { /* 5 MB: many times the buffer ring */
        memset(block, i, sizeof(block));
        for (size_t done = 0; done < sizeof(block);) {
            ssize_t n = send(pair[1], block + done, sizeof(block) - done, MSG_DONTWAIT);
            if (n < 0)
                assert_int_equal(loop_step(l, 100000000), 0);
            else
                done += (size_t)n;
        }
        sent += sizeof(block);
        sum += (unsigned char)(i * sizeof(block));
    }
    assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
    STEP_UNTIL(l, p.is_over);
    assert_int_equal(p.last_result, 0);
    assert_int_equal(p.n_bytes, sent);
    assert_int_equal(p.sum, sum);
    close(pair[0]);
    close(pair[1]);
}

FACT(recv_cancelled_inside_its_callback_ends_once)
{
    int pair[2];
    struct probe p;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    probe_init(&p, l);
    p.cancel_after_bytes = 1;
    loop_recv(l, &p.op, pair[0]);
    assert_int_equal(send(pair[1], "abc", 3, 0), 3);
    STEP_UNTIL(l, p.is_over);
    assert_int_equal(p.last_result, -ECANCELED);
    assert_int_equal(p.n_bytes, 3);
    /* bytes that come later are still there for the next receive */
    assert_int_equal(send(pair[1], "de", 2, 0), 2);
    probe_init(&p, l);
    loop_recv(l, &p.op, pair[0]);
    STEP_UNTIL(l, p.n_bytes == 2);
    assert_int_equal(p.sum, (unsigned char)('d' + 'e'));
    loop_cancel_wait(l, &p.op);
    assert_int_equal(p.is_over, 1);
    close(pair[0]);
    close(pair[1]);
}

FACT(send_takes_part_and_waits_for_room)
{
    int pair[2];
    struct probe p;
    size_t len = 4 << 20, taken = 0, got = 0;
    char *data = calloc(1, len), *sink = malloc(65536);

    assert_non_null(data);
    assert_non_null(sink);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    while (taken < len) {
        probe_init(&p, l);
        loop_send(l, &p.op, pair[0], data + taken, len - taken);
        while (!p.is_over) {
            ssize_t n;
            assert_int_equal(loop_step(l, 1000000), 0);
            while (!p.is_over && (n = recv(pair[1], sink, 65536, MSG_DONTWAIT)) > 0)
                got += (size_t)n;
        }
        assert_true(p.last_result > 0);
        taken += (size_t)p.last_result;
    }
    for (ssize_t n; got < len && (n = recv(pair[1], sink, 65536, MSG_DONTWAIT)) > 0;)
        got += (size_t)n;
    assert_int_equal(got, len);
    free(data);
    free(sink);
    close(pair[0]);
    close(pair[1]);
}

FACT(send_blocked_by_a_reader_can_be_cancelled)
{
    int pair[2];
    struct probe p;
    size_t len = 4 << 20;
    char *data = calloc(1, len);

    assert_non_null(data);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    do {
        probe_init(&p, l);
        loop_send(l, &p.op, pair[0], data, len);
        for (int i = 0; i < 20 && !p.is_over; i++)
            assert_int_equal(loop_step(l, 1000000), 0);
    } while (p.is_over); /* until nothing fits any more */
    loop_cancel_wait(l, &p.op);
    assert_int_equal(p.last_result, -ECANCELED);
    free(data);
    close(pair[0]);
    close(pair[1]);
}

FACT(send_to_a_closed_peer_fails_without_a_signal)
{
    int pair[2];
    struct probe p;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]);
    probe_init(&p, l);
    loop_send(l, &p.op, pair[0], "x", 1);
    STEP_UNTIL(l, p.is_over);
    assert_int_equal(p.last_result, -EPIPE);
    close(pair[0]);
}

FACT(accept_takes_many_and_stops)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), clients[20];
    struct probe p;

    /* an abstract name of the kernel's choice: nothing to clean up */
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr.sun_family)), 0);
    assert_int_equal(listen(listener, 64), 0);
    socklen_t len = sizeof(addr);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    probe_init(&p, l);
    loop_accept(l, &p.op, listener);
    for (int i = 0; i < 20; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&addr, len), 0);
    }
    STEP_UNTIL(l, p.n_events == 20);
    loop_cancel_wait(l, &p.op);
    assert_int_equal(p.n_events, 21);
    for (int i = 0; i < 20; i++) {
        close(clients[i]);
        close(p.accepted[i]);
    }
    close(listener);
}

FACT(poll_tells_every_time_and_of_hangup)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), pair[2];
    struct probe p;
    eventfd_t value;

    probe_init(&p, l);
    loop_poll(l, &p.op, fd, POLLIN);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(eventfd_write(fd, 1), 0);
        STEP_UNTIL(l, p.n_events == i);
        assert_int_equal(p.last_result & POLLIN, POLLIN);
        assert_int_equal(eventfd_read(fd, &value), 0);
    }
    loop_cancel_wait(l, &p.op);
    close(fd);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    probe_init(&p, l);
    loop_poll(l, &p.op, pair[0], 0);
    assert_int_equal(loop_step(l, 1000000), 0);
    assert_int_equal(p.n_events, 0);
    assert_int_equal(shutdown(pair[1], SHUT_WR), 0); /* not a hangup yet */
    assert_int_equal(loop_step(l, 10000000), 0);
    assert_int_equal(p.n_events, 0);
    close(pair[1]);
    STEP_UNTIL(l, p.n_events > 0);
    assert_int_equal(p.last_result & POLLHUP, POLLHUP);
    loop_cancel_wait(l, &p.op);
    close(pair[0]);
}

FACT(an_operation_on_a_bad_descriptor_says_so)
{
    struct probe p;

    probe_init(&p, l);
    loop_recv(l, &p.op, -1);
    STEP_UNTIL(l, p.is_over);
    assert_int_equal(p.last_result, -EBADF);
}

FACT(two_operations_share_a_descriptor)
{
    int pair[2];
    struct probe in, out;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    probe_init(&in, l);
    probe_init(&out, l);
    loop_recv(l, &in.op, pair[0]);
    loop_send(l, &out.op, pair[0], "ping", 4);
    STEP_UNTIL(l, out.is_over);
    assert_int_equal(out.last_result, 4);
    assert_int_equal(send(pair[1], "pong!", 5, 0), 5);
    STEP_UNTIL(l, in.n_bytes == 5);
    loop_cancel_wait(l, &in.op);
    close(pair[0]);
    close(pair[1]);
}

struct timed_event {
    struct loop_op op;
    struct loop *loop;
    uint64_t caused_ns; /* when it was brought about */
    int n;
};

static void on_timed_event(struct loop_op *op, const struct loop_event *event)
{
    struct timed_event *t = container_of(op, struct timed_event, op);

    if (event->result > 0) {
        assert_true(loop_now_ns(t->loop) >= t->caused_ns);
        t->n++;
    }
}

/* What started at an event must not be counted from the one before it. */
FACT(an_event_is_told_at_its_own_time)
{
    struct timed_event t = {.op = {.on_event = on_timed_event}, .loop = l};
    const struct timespec idle = {.tv_nsec = 20000000};
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    loop_poll(l, &t.op, ends[0], POLLIN);
    loop_step(l, 0);
    nanosleep(&idle, NULL);
    t.caused_ns = clock_now_ns();
    assert_int_equal(write(ends[1], "x", 1), 1);
    STEP_UNTIL(l, t.n > 0);
    loop_cancel_wait(l, &t.op);
    close(ends[0]);
    close(ends[1]);
}

struct clocked {
    struct timer timer;
    struct loop *loop;
    struct list order; /* of firing */
    int n_fired, again;
};

static struct list fired;

static void on_timer(struct timer *t)
{
    struct clocked *c = container_of(t, struct clocked, timer);

    assert_true(loop_now_ns(c->loop) >= t->deadline_ns);
    c->n_fired++;
    list_remove(&c->order);
    list_push_back(&fired, &c->order);
    if (c->again-- > 0)
        loop_timer_set(c->loop, t, 0); /* long past: must not starve the rest */
}

FACT(timers_fire_in_order_and_can_be_moved)
{
    enum { N = 500 };
    struct clocked *c = calloc(N, sizeof(*c));
    uint64_t base = clock_now_ns(), last = 0;
    size_t n_fired = 0;

    assert_non_null(c);
    list_init(&fired);
    srand(1);
    for (int i = 0; i < N; i++) {
        c[i].timer.fire = on_timer;
        c[i].loop = l;
        list_init(&c[i].order);
        loop_timer_set(l, &c[i].timer, base + (uint64_t)(rand() % 20000) * 1000);
    }
    for (int i = 0; i < N; i += 3)
        loop_timer_clear(l, &c[i].timer);
    for (int i = 1; i < N; i += 3)
        loop_timer_set(l, &c[i].timer, base + (uint64_t)(rand() % 20000) * 1000);
    c[2].again = 5;
    STEP_UNTIL(l, c[2].n_fired == 6 && clock_now_ns() > base + 40000000);
    list_for_each (it, &fired, struct clocked, order) {
        n_fired++;
        if (it == &c[2])
            continue;
        assert_true(it->timer.deadline_ns >= last);
        last = it->timer.deadline_ns;
    }
    assert_int_equal(n_fired, N - (N + 2) / 3);
    assert_int_equal(c[2].n_fired, 6);
    assert_int_equal(c[0].n_fired, 0);
    free(c);
}

struct job {
    struct loop_task task;
    struct loop *loop;
    int n_runs;
};

static void on_job(struct loop_task *task)
{
    struct job *job = container_of(task, struct job, task);

    if (++job->n_runs < 3)
        loop_defer(job->loop, task);
    else
        loop_stop(job->loop);
}

FACT(deferred_work_runs_once_a_round)
{
    struct job job = {.task.run = on_job, .loop = l};

    list_init(&job.task.link);
    loop_defer(l, &job.task);
    loop_defer(l, &job.task);
    assert_int_equal(loop_step(l, -1), 0);
    assert_int_equal(job.n_runs, 1);
    loop_undefer(&job.task);
    assert_int_equal(loop_step(l, 0), 0);
    assert_int_equal(job.n_runs, 1);
    loop_defer(l, &job.task);
    assert_int_equal(loop_run(l), 0);
    assert_int_equal(job.n_runs, 3);
}

static int last_signal;

static void on_signal(struct signals *s, int signo)
{
    last_signal = signo;
}

FACT(signals_arrive_as_events)
{
    static const int signos[] = {SIGUSR1, SIGUSR2, 0};
    struct signals s = {.on_signal = on_signal};

    assert_int_equal(signals_block(signos), 0);
    assert_int_equal(signals_init(&s, l, signos), 0);
    raise(SIGUSR2);
    STEP_UNTIL(l, last_signal == SIGUSR2);
    raise(SIGUSR1);
    STEP_UNTIL(l, last_signal == SIGUSR1);
    signals_finish(&s);
}

static void environment_can_ask_for_epoll(void **state)
{
    struct loop *l;
    struct error err;

    setenv("HEARTH_LOOP", "epoll", 1);
    assert_int_equal(loop_create(LOOP_BACKEND_AUTO, &l, &err), 0);
    unsetenv("HEARTH_LOOP");
    assert_string_equal(loop_backend_name(l), "epoll");
    assert_string_equal(loop_fallback_reason(l), "HEARTH_LOOP=epoll is set");
    loop_destroy(l);
}

#define BOTH(name) cmocka_unit_test(name##_on_uring), cmocka_unit_test(name##_on_epoll)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        BOTH(recv_tells_all_bytes_then_the_end),
        BOTH(recv_cancelled_inside_its_callback_ends_once),
        BOTH(send_takes_part_and_waits_for_room),
        BOTH(send_blocked_by_a_reader_can_be_cancelled),
        BOTH(send_to_a_closed_peer_fails_without_a_signal),
        BOTH(accept_takes_many_and_stops),
        BOTH(poll_tells_every_time_and_of_hangup),
        BOTH(an_operation_on_a_bad_descriptor_says_so),
        BOTH(two_operations_share_a_descriptor),
        BOTH(an_event_is_told_at_its_own_time),
        BOTH(timers_fire_in_order_and_can_be_moved),
        BOTH(deferred_work_runs_once_a_round),
        BOTH(signals_arrive_as_events),
        cmocka_unit_test(environment_can_ask_for_epoll),
    };
    return TEST_MAIN(argc, argv, tests);
}
