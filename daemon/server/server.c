/* SPDX-License-Identifier: MIT */
#include "server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/server_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What cancelled requests have to end in, and to be told so: more than a step of the device. */
#define LAST_WORDS_NS 2000000000ull

struct listener {
    struct list link;
    struct server *server;
    struct loop_op accept;
    int fd;
};

const double server_bounds[SERVER_BUCKETS] = {.001, .0025, .005, .01, .025, .05, .1,
                                              .25,  .5,    1,    2.5, 5,    10,  60};

void server_observe(struct server_histogram *h, double seconds)
{
    int i = 0;

    while (i < SERVER_BUCKETS && seconds > server_bounds[i])
        i++;
    h->counts[i]++;
    h->n++;
    h->sum_seconds += seconds;
}

void server_config_defaults(struct server_config *config)
{
    *config = (struct server_config){
        .http = {.head_bytes = 16384, .head_headers = 64, .body_bytes = 16 << 20},
        .max_connections = 16384,
        .bodies_bytes = 256 << 20,
        .output_high_bytes = 128 << 10,
        .output_low_bytes = 32 << 10,
        .output_max_bytes = 1 << 20,
        .idle_timeout = 120,
        .head_timeout = 10,
        .body_timeout = 30,
        .send_timeout = 30,
        .quiet_seconds = 10,
        .least_bytes_per_second = 4096,
        .drain_timeout = 30,
        .version = "",
        .logs_access = true,
    };
}

static void on_engine(struct loop_op *op, const struct loop_event *event)
{
    struct server *s = container_of(op, struct server, engine_poll);

    if (event->result > 0)
        engine_dispatch(s->engine);
}

static void stop_accepting(struct server *s)
{
    list_for_each (listener, &s->listeners, struct listener, link)
        loop_cancel(s->loop, &listener->accept);
}

/* So that who connects from now on is refused at once, and does not wait for an answer. */
static void close_listener(struct listener *listener)
{
    if (listener->fd >= 0 && !listener->accept.is_pending) {
        close(listener->fd);
        listener->fd = -1;
    }
}

/* Whoever connected before the last accept was over is answered. */
static void end_if_drained(struct server *s)
{
    bool is_accepting = false;

    list_for_each (listener, &s->listeners, struct listener, link)
        is_accepting |= listener->accept.is_pending;
    if (s->is_draining && !is_accepting && !s->n_connections)
        loop_defer(s->loop, &s->drained);
}

/* Waits until descriptors or memory may be there again. */
static void accept_later(struct server *s)
{
    if (!s->is_draining)
        loop_timer_set(s->loop, &s->accept_timer, loop_now_ns(s->loop) + 100000000);
}

static void on_accept_timer(struct timer *t)
{
    struct server *s = container_of(t, struct server, accept_timer);

    if (s->n_connections >= s->config.max_connections) {
        accept_later(s);
        return;
    }
    list_for_each (listener, &s->listeners, struct listener, link) {
        if (!listener->accept.is_pending)
            loop_accept(s->loop, &listener->accept, listener->fd);
    }
}

static void take_connection(struct server *s, int fd)
{
    struct connection *c = connection_create(s, fd);

    if (!c) {
        s->figures.connections_refused++;
        return;
    }
    list_push_back(&s->connections, &c->link);
    s->n_connections++;
    s->figures.connections_total++;
    if (s->is_ending)
        connection_close(c);
    else if (s->n_connections == s->config.max_connections)
        stop_accepting(s);
}

/* Whoever had connected before the accepting ended is waiting in the socket and would be lost with
 * it. */
static void take_who_waits(struct listener *listener)
{
    struct server *s = listener->server;
    struct pollfd p = {.fd = listener->fd, .events = POLLIN};

    while (s->n_connections < s->config.max_connections && poll(&p, 1, 0) > 0) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            break;
        take_connection(s, fd);
    }
}

/* Where an accept is pending, once that is over. */
static void end_listener(struct listener *listener)
{
    if (listener->fd < 0 || listener->accept.is_pending)
        return;
    if (!listener->server->is_ending)
        take_who_waits(listener);
    close_listener(listener);
}

static void on_accepted(struct loop_op *op, const struct loop_event *event)
{
    struct listener *listener = container_of(op, struct listener, accept);
    struct server *s = listener->server;

    if (event->result >= 0)
        take_connection(s, event->result);
    if (!event->is_last)
        return;
    if (event->result < 0 && event->result != -ECANCELED)
        log_warn("accepting connections paused: %s", strerror(-event->result));
    if (s->is_draining)
        end_listener(listener);
    accept_later(s);
    end_if_drained(s);
}

int server_listen(struct server *s, int fd, struct error *err)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    if (!listener) {
        close(fd);
        return error_set(err, -ENOMEM, "no memory for a listening socket");
    }
    listener->server = s;
    listener->fd = fd;
    listener->accept.on_event = on_accepted;
    list_push_back(&s->listeners, &listener->link);
    loop_accept(s->loop, &listener->accept, fd);
    return 0;
}

static void on_drain_timer(struct timer *t)
{
    struct server *s = container_of(t, struct server, drain_timer);

    if (!s->has_cancelled) {
        s->has_cancelled = true;
        log_warn("%u connections were still busy when the time to finish ran out",
                 s->n_connections);
        engine_cancel_all(s->engine);
        loop_timer_set(s->loop, t, loop_now_ns(s->loop) + LAST_WORDS_NS);
        return;
    }
    list_for_each_safe (c, &s->connections, struct connection, link)
        connection_close(c);
}

static void on_drained(struct loop_task *task)
{
    struct server *s = container_of(task, struct server, drained);

    if (s->on_drained)
        s->on_drained(s->drained_user);
}

void server_connection_over(struct server *s)
{
    s->n_connections--;
    end_if_drained(s);
}

void server_drain(struct server *s, void (*drained)(void *user), void *user)
{
    if (s->is_draining)
        return;
    s->is_draining = true;
    s->on_drained = drained;
    s->drained_user = user;
    loop_timer_clear(s->loop, &s->accept_timer);
    stop_accepting(s);
    list_for_each (listener, &s->listeners, struct listener, link)
        end_listener(listener);
    list_for_each_safe (c, &s->connections, struct connection, link)
        connection_close_softly(c);
    /* the next process has more time for it */
    engine_stop_loading(s->engine);
    loop_timer_set(s->loop, &s->drain_timer,
                   loop_now_ns(s->loop) + (uint64_t)(s->config.drain_timeout * 1e9));
    end_if_drained(s);
}

void server_set_tokens(struct server *s, const char *const *tokens)
{
    s->config.tokens = tokens;
}

void server_set_access_log(struct server *s, bool logs_access)
{
    s->config.logs_access = logs_access;
}

int server_create(struct loop *loop, struct engine *engine, const struct server_config *config,
                  struct server **ret_server, struct error *err)
{
    struct server *s = calloc(1, sizeof(*s));

    if (!s)
        return error_set(err, -ENOMEM, "no memory for the server");
    s->loop = loop;
    s->engine = engine;
    s->config = *config;
    list_init(&s->listeners);
    list_init(&s->connections);
    strbuf_init(&s->scratch, 0);
    s->drain_timer.fire = on_drain_timer;
    s->accept_timer.fire = on_accept_timer;
    s->drained.run = on_drained;
    list_init(&s->drained.link);
    s->started_ns = clock_now_ns();
    s->engine_poll.on_event = on_engine;
    loop_poll(loop, &s->engine_poll, engine_event_fd(engine), POLLIN);
    *ret_server = s;
    return 0;
}

void server_destroy(struct server *s)
{
    if (!s)
        return;
    s->on_drained = NULL;
    s->is_draining = s->is_ending = true;
    stop_accepting(s);
    list_for_each_safe (c, &s->connections, struct connection, link)
        connection_close(c);
    while (s->n_connections && loop_step(s->loop, -1) >= 0)
        ;
    list_for_each_safe (listener, &s->listeners, struct listener, link) {
        loop_cancel_wait(s->loop, &listener->accept);
        close_listener(listener);
        list_remove(&listener->link);
        free(listener);
    }
    loop_cancel_wait(s->loop, &s->engine_poll);
    loop_timer_clear(s->loop, &s->drain_timer);
    loop_timer_clear(s->loop, &s->accept_timer);
    loop_undefer(&s->drained);
    strbuf_finish(&s->scratch);
    free(s);
}
