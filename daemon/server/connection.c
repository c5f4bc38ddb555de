/* SPDX-License-Identifier: MIT */
#include "server/connection.h"

#include "base/log.h"
#include "server/router.h"
#include "server/server_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAITING_BYTES = 65536, LINGER_SECONDS = 2 };

struct connection *connection_of(struct exchange *x)
{
    return container_of(x, struct connection, exchange);
}

struct strbuf *connection_output(struct connection *c)
{
    return &c->out;
}

static size_t unsent(const struct connection *c)
{
    return c->out.len + c->sending.len - c->sent;
}

static uint64_t after(const struct connection *c, double seconds)
{
    return loop_now_ns(c->server->loop) + (uint64_t)(seconds * 1e9);
}

/* A limit that n_bytes of progress put off: each by what it may take at the least rate, and never
 * to further away than the whole time-out. So a peer that sends or reads a byte now and then ends
 * as one that stopped. deadline_ns 0: the limit begins now. */
static uint64_t put_off(const struct connection *c, uint64_t deadline_ns, size_t n_bytes,
                        double timeout)
{
    uint64_t latest_ns = after(c, timeout);
    double earned_ns = (double)n_bytes * 1e9 / c->server->config.least_bytes_per_second;

    if (!deadline_ns || earned_ns >= timeout * 1e9)
        return latest_ns;
    deadline_ns += (uint64_t)earned_ns;
    return deadline_ns < latest_ns ? deadline_ns : latest_ns;
}

static void arm_timer(struct connection *c)
{
    uint64_t at = c->read_deadline_ns;

    if (c->write_deadline_ns && (!at || c->write_deadline_ns < at))
        at = c->write_deadline_ns;
    /* a timer that is due earlier looks again when it fires: most deadlines only move away */
    if (at && (!c->timer.is_set || c->timer.deadline_ns > at))
        loop_timer_set(c->server->loop, &c->timer, at);
}

static void count_body(struct connection *c)
{
    c->server->bodies_bytes += c->parser.request.body.cap - c->counted_body;
    c->counted_body = c->parser.request.body.cap;
}

void exchange_drop_body(struct exchange *x)
{
    struct connection *c = connection_of(x);

    strbuf_finish(&c->parser.request.body);
    count_body(c);
}

/* ---- requests ---- */

static void start_exchange(struct connection *c)
{
    c->exchange = (struct exchange){
        .server = c->server,
        .request = &c->parser.request,
        .peer = &c->peer,
        .started_ns = loop_now_ns(c->server->loop),
        .is_active = true,
    };
    c->had_request = true;
    c->read_deadline_ns = 0;
    c->timed_body = 0;
}

/* Answers a request that cannot be read on; what follows it on the wire is lost. */
static void refuse(struct connection *c, const struct api_error *err)
{
    start_exchange(c);
    c->exchange.must_close = true;
    if (!c->parser.request.method_name) {
        c->parser.request.method_name = "-";
        c->parser.request.path = NULL;
        c->parser.request.minor = 1;
    }
    exchange_fail(&c->exchange, err);
}

static void on_head(struct connection *c)
{
    const struct http_request *r = &c->parser.request;
    struct api_error err;
    bool has_body = r->is_chunked || r->content_length;

    start_exchange(c);
    if (!router_admits(&c->exchange, &err)) {
        c->exchange.must_close |= has_body;
        exchange_fail(&c->exchange, &err);
        return;
    }
    c->exchange.is_active = false;
    if (r->expects_continue && has_body) {
        strbuf_add_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        connection_flush(c);
    }
}

static void tell_failure(const struct http_parser *p, struct api_error *err)
{
    if (p->status == 413)
        fields_fail(err, 413, NULL, NULL,
                    "the body is larger than the %llu bytes a request may have",
                    (unsigned long long)p->limits->body_bytes);
    else
        fields_fail(err, p->status, NULL, NULL, "%s", p->reason);
}

/* Parses and handles what it can; returns how many bytes it took. */
static size_t parse(struct connection *c, const char *data, size_t len)
{
    const struct server_config *config = &c->server->config;
    size_t done = 0, used;
    struct api_error err;

    c->is_feeding = true;
    while ((done < len || c->parser.state == HTTP_STATE_DONE) && !c->exchange.is_active &&
           !c->ends_after_flush && unsent(c) <= config->output_high_bytes) {
        enum http_result result = http_feed(&c->parser, data + done, len - done, &used);

        done += used;
        count_body(c);
        if (result == HTTP_MORE && c->server->bodies_bytes > config->bodies_bytes) {
            fields_fail(&err, 503, NULL, NULL,
                        "too many large requests are being received: try again");
            refuse(c, &err);
        } else if (result == HTTP_HEAD_DONE) {
            on_head(c);
        } else if (result == HTTP_DONE) {
            start_exchange(c);
            router_handle(&c->exchange);
        } else if (result == HTTP_FAIL) {
            tell_failure(&c->parser, &err);
            refuse(c, &err);
        }
    }
    c->is_feeding = false;
    return done;
}

static void set_read_deadline(struct connection *c)
{
    const struct server_config *config = &c->server->config;
    enum http_state state = c->parser.state;

    if (c->is_lingering)
        return;
    if (c->exchange.is_active || c->ends_after_flush)
        c->read_deadline_ns = 0;
    else if (state == HTTP_STATE_IDLE)
        c->read_deadline_ns =
            after(c, c->server->is_draining ? LINGER_SECONDS : config->idle_timeout);
    else if (state != HTTP_STATE_HEAD) {
        size_t len = c->parser.request.body.len;

        c->read_deadline_ns =
            put_off(c, c->read_deadline_ns, len - c->timed_body, config->body_timeout);
        c->timed_body = len;
    } else if (!c->read_deadline_ns) /* the head came behind a request that is answered now */
        c->read_deadline_ns = after(c, config->head_timeout);
    arm_timer(c);
}

static void take_bytes(struct connection *c, const char *data, size_t len)
{
    bool was_idle = c->parser.state == HTTP_STATE_IDLE;
    size_t used = 0;

    c->server->figures.bytes_in += len;
    if (c->is_closing || c->is_lingering || c->ends_after_flush)
        return;
    if (!c->waiting.len)
        used = parse(c, data, len);
    strbuf_add(&c->waiting, data + used, len - used);
    if (c->waiting.failed)
        c->wants_drop = true;
    if (c->waiting.len > WAITING_BYTES)
        loop_cancel(c->server->loop, &c->recv);
    if (was_idle && c->parser.state == HTTP_STATE_HEAD)
        c->read_deadline_ns = after(c, c->server->config.head_timeout);
    set_read_deadline(c);
    if (c->waiting.len || c->wants_drop)
        loop_defer(c->server->loop, &c->update);
}

static const char *finish_name(const struct exchange *x)
{
    return x->is_active ? " gone" : "";
}

/* A path fit for a log: one word, whatever was in it. */
static void add_quoted(struct strbuf *s, const char *path)
{
    for (; *path && s->len < 200; path++) {
        unsigned char byte = (unsigned char)*path;

        if (byte <= ' ' || byte >= 0x7f || byte == '%')
            strbuf_printf(s, "%%%02X", byte);
        else
            strbuf_add_char(s, *path);
    }
}

static void log_request(const struct connection *c, double seconds)
{
    const struct exchange *x = &c->exchange;
    const struct http_request *r = x->request;
    struct strbuf path;

    strbuf_init(&path, 0);
    add_quoted(&path, r->path ? r->path : "-");
    log_info("uid=%d pid=%d %s %s %d%s %lluB %.1fms %u+%u tokens", (int)c->peer.uid,
             (int)c->peer.pid, r->method_name, path.data ? path.data : "-", x->status,
             finish_name(x), (unsigned long long)x->bytes_sent, seconds * 1e3, x->prompt_tokens,
             x->completion_tokens);
    strbuf_finish(&path);
}

static void log_exchange(const struct connection *c)
{
    const struct exchange *x = &c->exchange;
    struct server_figures *f = &c->server->figures;
    double seconds = (double)(loop_now_ns(c->server->loop) - x->started_ns) / 1e9;

    f->requests_by_class[x->status / 100 % 6]++;
    server_observe(&f->request_seconds, seconds);
    if (c->server->config.logs_access)
        log_request(c, seconds);
}

void connection_exchange_over(struct connection *c)
{
    c->exchange.is_active = false;
    log_exchange(c);
    c->ends_after_flush |= c->exchange.must_close;
    http_reset(&c->parser);
    count_body(c);
    c->is_congested = false;
    loop_defer(c->server->loop, &c->update);
}

/* ---- output ---- */

static void set_congested(struct connection *c, bool is_congested)
{
    struct exchange *x = &c->exchange;

    if (c->is_congested == is_congested)
        return;
    c->is_congested = is_congested;
    if (x->is_active && x->ops && x->ops->on_congested)
        x->ops->on_congested(x, is_congested);
}

void connection_flush(struct connection *c)
{
    const struct server_config *config = &c->server->config;

    if (c->exchange.is_active && c->exchange.is_stream) {
        if (unsent(c) > config->output_max_bytes)
            c->wants_drop = true;
        else if (unsent(c) > config->output_high_bytes)
            set_congested(c, true);
    }
    if (c->out.failed)
        c->wants_drop = true;
    loop_defer(c->server->loop, &c->update);
}

static void send_more(struct connection *c)
{
    if (c->send.is_pending || c->is_closing)
        return;
    if (c->sent == c->sending.len) {
        struct strbuf empty = c->sending;

        strbuf_reset(&empty);
        c->sending = c->out;
        c->out = empty;
        c->sent = 0;
        if (!c->sending.len) {
            c->write_deadline_ns = 0;
            if (!c->exchange.is_active) { /* an idle connection keeps no buffers */
                strbuf_finish(&c->sending);
                strbuf_finish(&c->out);
            }
            return;
        }
    }
    if (!c->write_deadline_ns)
        c->write_deadline_ns = after(c, c->server->config.send_timeout);
    arm_timer(c);
    loop_send(c->server->loop, &c->send, c->fd, c->sending.data + c->sent,
              c->sending.len - c->sent);
}

static void on_sent(struct loop_op *op, const struct loop_event *event)
{
    struct connection *c = container_of(op, struct connection, send);

    loop_defer(c->server->loop, &c->update);
    if (c->is_closing)
        return;
    if (event->result < 0) {
        connection_close(c);
        return;
    }
    c->sent += (size_t)event->result;
    c->server->figures.bytes_out += (uint64_t)event->result;
    c->write_deadline_ns =
        put_off(c, c->write_deadline_ns, (size_t)event->result, c->server->config.send_timeout);
    send_more(c);
    if (unsent(c) <= c->server->config.output_low_bytes)
        set_congested(c, false);
}

/* ---- life ---- */

static bool has_arrived(const struct connection *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

static bool peer_hung_up(const struct connection *c)
{
    struct pollfd p = {.fd = c->fd};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

static void on_received(struct loop_op *op, const struct loop_event *event)
{
    struct connection *c = container_of(op, struct connection, recv);

    if (event->result > 0) {
        take_bytes(c, event->data, (size_t)event->result);
    } else if (event->result == 0 || event->result != -ECANCELED) {
        c->has_eof = true;
        /* a client that only shut its sending side still wants its answer */
        if (event->result < 0 || c->is_lingering || peer_hung_up(c))
            connection_close(c);
    }
    if (event->is_last)
        loop_defer(c->server->loop, &c->update);
}

static void on_hangup(struct loop_op *op, const struct loop_event *event)
{
    struct connection *c = container_of(op, struct connection, hangup);

    if (event->result > 0)
        connection_close(c);
    if (event->is_last)
        loop_defer(c->server->loop, &c->update);
}

static void on_timer(struct timer *t)
{
    struct connection *c = container_of(t, struct connection, timer);
    uint64_t now = loop_now_ns(c->server->loop);
    struct api_error err;

    if (c->write_deadline_ns && now >= c->write_deadline_ns) {
        c->server->figures.slow_readers_dropped++;
        connection_close(c);
    } else if (c->read_deadline_ns && now >= c->read_deadline_ns) {
        if (c->is_lingering || c->parser.state == HTTP_STATE_IDLE) {
            connection_close(c);
        } else {
            fields_fail(&err, 408, NULL, NULL, "the request did not arrive in time");
            refuse(c, &err);
        }
    }
    if (!c->is_closing)
        arm_timer(c);
}

/* Says the last word, then reads on a moment: closing over unread bytes would destroy the answer.
 */
static void linger(struct connection *c)
{
    c->is_lingering = true;
    shutdown(c->fd, SHUT_WR);
    c->read_deadline_ns = after(c, LINGER_SECONDS);
    arm_timer(c);
    if (c->has_eof)
        connection_close(c);
}

static void parse_waiting(struct connection *c)
{
    size_t used;

    if (!c->waiting.len || c->exchange.is_active)
        return;
    if (c->parser.state == HTTP_STATE_IDLE)
        c->read_deadline_ns = after(c, c->server->config.head_timeout);
    used = parse(c, c->waiting.data, c->waiting.len);
    strbuf_consume(&c->waiting, used);
    if (!c->waiting.len)
        strbuf_finish(&c->waiting);
}

static void free_if_over(struct connection *c)
{
    struct server *s = c->server;

    if (c->recv.is_pending || c->send.is_pending || c->hangup.is_pending)
        return;
    loop_undefer(&c->update);
    list_remove(&c->link);
    close(c->fd);
    http_finish(&c->parser);
    count_body(c);
    strbuf_finish(&c->waiting);
    strbuf_finish(&c->out);
    strbuf_finish(&c->sending);
    free(c);
    server_connection_over(s);
}

/* Ends it if nothing more is received, else leaves it to be read on. One that lingers ends after
 * that. */
static void end_when_quiet(struct connection *c)
{
    if (c->exchange.is_active || c->waiting.len || unsent(c) || c->is_lingering ||
        c->parser.state != HTTP_STATE_IDLE)
        return;
    /* what the kernel has received already comes before the end of the operation */
    if (c->recv.is_pending)
        loop_cancel(c->server->loop, &c->recv);
    else if (!has_arrived(c))
        connection_close(c);
}

static void on_update(struct loop_task *task)
{
    struct connection *c = container_of(task, struct connection, update);
    struct loop *l = c->server->loop;

    if (!c->is_closing && c->wants_drop) {
        c->server->figures.slow_readers_dropped++;
        connection_close(c);
    }
    if (c->is_closing) {
        free_if_over(c);
        return;
    }
    parse_waiting(c);
    set_read_deadline(c);
    send_more(c);
    if (!c->exchange.is_active && !unsent(c) && !c->is_lingering) {
        if (c->ends_after_flush)
            linger(c);
        else if (c->has_eof)
            connection_close(c);
    }
    if (c->ends_when_quiet)
        end_when_quiet(c);
    if (c->is_closing)
        return;
    if (!c->recv.is_pending && !c->has_eof && c->waiting.len <= WAITING_BYTES / 2)
        loop_recv(l, &c->recv, c->fd);
    else if (!c->recv.is_pending && !c->hangup.is_pending)
        loop_poll(l, &c->hangup, c->fd, 0);
}

struct connection *connection_create(struct server *s, int fd)
{
    struct connection *c = calloc(1, sizeof(*c));

    if (!c || peer_of_socket(fd, &c->peer) < 0) {
        free(c);
        close(fd);
        return NULL;
    }
    c->server = s;
    c->fd = fd;
    c->recv.on_event = on_received;
    c->send.on_event = on_sent;
    c->hangup.on_event = on_hangup;
    c->timer.fire = on_timer;
    c->update.run = on_update;
    list_init(&c->update.link);
    list_init(&c->link);
    http_init(&c->parser, &s->config.http);
    strbuf_init(&c->waiting, 0);
    strbuf_init(&c->out, 0);
    strbuf_init(&c->sending, 0);
    loop_recv(s->loop, &c->recv, fd);
    set_read_deadline(c);
    return c;
}

void connection_close(struct connection *c)
{
    struct exchange *x = &c->exchange;

    if (c->is_closing)
        return;
    c->is_closing = true;
    loop_timer_clear(c->server->loop, &c->timer);
    loop_cancel(c->server->loop, &c->recv);
    loop_cancel(c->server->loop, &c->send);
    loop_cancel(c->server->loop, &c->hangup);
    if (x->is_active) {
        log_exchange(c);
        x->is_active = false;
        if (x->ops)
            x->ops->on_gone(x);
    }
    loop_defer(c->server->loop, &c->update);
}

void connection_close_softly(struct connection *c)
{
    /* also one that is being answered: its client may have the whole answer already, and with it
     * the word that the connection is kept */
    c->ends_when_quiet = c->had_request;
    loop_defer(c->server->loop, &c->update);
}
