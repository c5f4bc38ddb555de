/* SPDX-License-Identifier: MIT */
#include "server/embedding.h"

#include "server/api.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As many as a step of the device takes; more would only fill the user's queue. */
enum { AT_ONCE = ENGINE_BATCH_MOST };

struct embedding;

/* One input and its vector. */
struct piece {
    struct embedding *whole;
    struct engine_request *request; /* while it runs */
    float *vector;                  /* [embedding.width], once it is there */
};

struct embedding {
    struct exchange *x;
    char *model;
    struct embedding_order order;
    struct piece *pieces; /* [order.n] */
    size_t n_begun, n_running, n_done;
    size_t width; /* of the vectors told */
    uint64_t prompt_tokens;
    struct timer deadline;
};

void embedding_order_finish(struct embedding_order *order)
{
    for (size_t i = 0; order->inputs && i < order->n; i++)
        free(order->inputs[i].ids);
    free(order->inputs);
    order->inputs = NULL;
    json_decref(order->object);
    order->object = NULL;
}

/* Requests that still run are forgotten. */
static void embedding_destroy(struct embedding *m)
{
    loop_timer_clear(m->x->server->loop, &m->deadline);
    for (size_t i = 0; m->pieces && i < m->order.n; i++) {
        if (m->pieces[i].request)
            engine_cancel(m->pieces[i].request, true);
        free(m->pieces[i].vector);
    }
    free(m->pieces);
    embedding_order_finish(&m->order);
    free(m->model);
    free(m);
}

static void fail(struct embedding *m, const struct api_error *err)
{
    exchange_fail(m->x, err);
    embedding_destroy(m);
}

/* ---- the vectors ---- */

/* The first dimensions of a vector, brought to length 1 again. */
static int keep_vector(struct embedding *m, struct piece *p, const struct engine_result *r,
                       struct api_error *err)
{
    double squares = 0;

    m->width = m->order.dimensions ? m->order.dimensions : r->n_vector;
    if (m->width > r->n_vector)
        return fields_fail(err, 400, "dimensions", "invalid_value",
                           "'dimensions' is %zu, but the model's vectors have %zu", m->width,
                           r->n_vector);
    p->vector = malloc(m->width * sizeof(*p->vector));
    if (!p->vector)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    for (size_t i = 0; i < m->width; i++)
        squares += (double)r->vector[i] * (double)r->vector[i];
    for (size_t i = 0; i < m->width; i++)
        p->vector[i] = m->width == r->n_vector || squares == 0
                           ? r->vector[i]
                           : (float)((double)r->vector[i] / sqrt(squares));
    return 0;
}

static void write_floats(struct strbuf *out, const float *vector, size_t n)
{
    for (size_t i = 0; i < n; i++)
        strbuf_printf(out, i ? ",%.9g" : "[%.9g", (double)vector[i]);
    strbuf_add_char(out, ']');
}

/* The floats' bytes, little-endian, in RFC 4648's alphabet. */
static void write_base64(struct strbuf *out, const float *vector, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n_bytes = n * sizeof(*vector);
    const unsigned char *bytes = (const void *)vector;

    strbuf_add_char(out, '"');
    for (size_t i = 0; i < n_bytes; i += 3) {
        size_t left = n_bytes - i;
        uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);

        strbuf_add_char(out, digits[group >> 18]);
        strbuf_add_char(out, digits[group >> 12 & 63]);
        strbuf_add_char(out, left > 1 ? digits[group >> 6 & 63] : '=');
        strbuf_add_char(out, left > 2 ? digits[group & 63] : '=');
    }
    strbuf_add_char(out, '"');
}

static void tell_all(struct embedding *m)
{
    struct strbuf *out = exchange_scratch(m->x);

    strbuf_add_str(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < m->order.n; i++) {
        jsonout_element(out);
        strbuf_printf(out, "{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i);
        if (m->order.is_base64)
            write_base64(out, m->pieces[i].vector, m->width);
        else
            write_floats(out, m->pieces[i].vector, m->width);
        strbuf_add_char(out, '}');
    }
    strbuf_add_char(out, ']');
    jsonout_key_string(out, "model", m->model);
    strbuf_printf(out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}\n",
                  (unsigned long long)m->prompt_tokens, (unsigned long long)m->prompt_tokens);
    exchange_reply_json(m->x, out);
    embedding_destroy(m);
}

/* ---- the requests ---- */

/* The engine's error about input i as the API tells it. */
static int engine_failed(struct embedding *m, size_t i, const struct error *why,
                         struct api_error *err)
{
    struct error named = *why;

    if (m->order.n > 1)
        error_prefix(&named, "input %zu", i);
    return api_engine_error(m->x, &named, "input", err);
}

static int late(struct api_error *err)
{
    return fields_fail(err, 504, NULL, "timeout",
                       "the time of the request was up before all vectors were there: allow more, "
                       "or send fewer texts at once");
}

static int take_result(struct embedding *m, struct piece *p, const struct engine_result *r,
                       struct api_error *err)
{
    static const struct error stopped = {
        .code = -ECANCELED,
        .text = "the model was unloaded or the server is shutting down",
    };

    if (r->finish == ENGINE_FINISH_EXPIRED)
        return late(err);
    if (r->finish != ENGINE_FINISH_STOP || !r->vector)
        return engine_failed(m, (size_t)(p - m->pieces), r->error ? r->error : &stopped, err);
    server_observe(&m->x->server->figures.queue_seconds, (double)r->queue_ns / 1e9);
    m->prompt_tokens += r->prompt_tokens;
    m->x->prompt_tokens = (uint32_t)m->prompt_tokens;
    m->n_done++;
    return keep_vector(m, p, r, err);
}

static int go_on(struct embedding *m, struct api_error *err);

static void on_done(void *user, const struct engine_result *r)
{
    struct piece *p = user;
    struct embedding *m = p->whole;
    struct api_error err;
    int rc;

    p->request = NULL;
    m->n_running--;
    rc = take_result(m, p, r, &err);
    if (rc == 0)
        rc = go_on(m, &err);
    if (rc < 0)
        fail(m, &err);
    else if (m->n_done == m->order.n)
        tell_all(m);
}

static const struct engine_events events = {.on_done = on_done};

static int begin(struct embedding *m, size_t i, struct error *why)
{
    const struct engine_caller caller = {.uid = m->x->peer->uid, .pid = m->x->peer->pid};
    const struct embedding_input *input = &m->order.inputs[i];
    const struct engine_prompt prompt = {
        .text = input->text,
        .text_len = input->text_len,
        .ids = input->ids,
        .n_ids = input->n_ids,
        .add_special = true,
    };

    return engine_embed(m->x->server->engine, m->model, &prompt, m->order.class, &caller, &events,
                        &m->pieces[i], &m->pieces[i].request, why);
}

/* Begins as many as may run at a time. Where the queue or the user's share of it is full, the rest
 * waits for those of this answer that run. */
static int go_on(struct embedding *m, struct api_error *err)
{
    struct error why;

    while (m->n_begun < m->order.n && m->n_running < AT_ONCE) {
        int r = begin(m, m->n_begun, &why);

        if ((r == -EAGAIN || r == -EUSERS) && m->n_running)
            return 0;
        if (r < 0)
            return engine_failed(m, m->n_begun, &why, err);
        m->n_begun++;
        m->n_running++;
    }
    return 0;
}

static void on_deadline(struct timer *t)
{
    struct api_error err;

    late(&err);
    fail(container_of(t, struct embedding, deadline), &err);
}

static void on_gone(struct exchange *x)
{
    embedding_destroy(x->user);
}

static const struct exchange_ops embedding_ops = {.on_gone = on_gone};

int embedding_start(struct exchange *x, const char *model, struct embedding_order *order,
                    struct api_error *err)
{
    struct embedding *m = calloc(1, sizeof(*m));

    if (!m) {
        embedding_order_finish(order);
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    }
    m->x = x;
    m->order = *order;
    *order = (struct embedding_order){0};
    m->deadline.fire = on_deadline;
    m->model = strdup(model);
    m->pieces = calloc(m->order.n, sizeof(*m->pieces));
    if (!m->model || !m->pieces) {
        embedding_destroy(m);
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    }
    for (size_t i = 0; i < m->order.n; i++)
        m->pieces[i].whole = m;
    if (go_on(m, err) < 0) {
        embedding_destroy(m);
        return -1;
    }
    api_set_deadline(x, &m->deadline, m->order.timeout_seconds);
    x->ops = &embedding_ops;
    x->user = m;
    return 0;
}
