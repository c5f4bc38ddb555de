/* SPDX-License-Identifier: MIT */
#include "server/completion.h"

#include "server/api.h"
#include "server/choice.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct completion {
    struct choice_frame frame;
    char *model;
    json_t *tools; /* a reference, for replies; NULL: none */
    bool has_begun, has_opened, wants_logprobs, is_congested, is_expired;
    /* The first is asked for at once, the others when its prompt is computed. */
    struct choice *choices; /* [n_choices] */
    unsigned n_choices, n_asked, n_done;
    struct engine_result first; /* of the first answer, once it is done */
    uint64_t completion_tokens; /* of all that are */
    struct timer deadline, quiet;
};

/* Answers that are still being made are forgotten. */
static void completion_destroy(struct completion *a)
{
    if (!a)
        return;
    loop_timer_clear(a->frame.x->server->loop, &a->deadline);
    loop_timer_clear(a->frame.x->server->loop, &a->quiet);
    for (unsigned i = 0; a->choices && i < a->n_choices; i++) {
        if (a->choices[i].request)
            engine_cancel(a->choices[i].request, true);
        choice_finish(&a->choices[i]);
    }
    free(a->choices);
    json_decref(a->tools);
    strbuf_finish(&a->frame.opening);
    free(a->model);
    free(a);
}

static void write_opening(struct completion *a)
{
    struct choice_frame *f = &a->frame;
    uint64_t random[2] = {f->x->server->next_id++, f->x->started_ns};

    if (getrandom(random, sizeof(random), GRND_NONBLOCK) < 0)
        random[0] ^= (uint64_t)time(NULL) << 32; /* early boot: still unlike the others */
    strbuf_printf(&f->opening, "{\"id\":\"%s-%016llx%08x\",\"object\":\"%s\",\"created\":%lld",
                  f->is_chat ? "chatcmpl" : "cmpl", (unsigned long long)random[0],
                  (unsigned)random[1],
                  !f->is_chat    ? "text_completion"
                  : f->is_stream ? "chat.completion.chunk"
                                 : "chat.completion",
                  (long long)time(NULL));
    jsonout_key_string(&f->opening, "model", a->model);
    strbuf_add_str(&f->opening, ",\"choices\":[");
}

/* The prompt counts once, however many answers it has. */
static void write_usage(const struct completion *a, struct strbuf *out)
{
    const struct engine_result *r = &a->first;

    strbuf_printf(
        out,
        "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
        "\"prompt_tokens_details\":{\"cached_tokens\":%u}}",
        r->prompt_tokens, (unsigned long long)a->completion_tokens,
        (unsigned long long)r->prompt_tokens + a->completion_tokens, r->cached_tokens);
}

static void begin_stream(struct completion *a)
{
    if (!a->has_begun)
        exchange_begin(a->frame.x, "text/event-stream");
    a->has_begun = true;
}

/* There is something to tell. */
static void begin(struct completion *a)
{
    if (a->has_opened || !a->frame.is_stream)
        return;
    a->has_opened = true;
    begin_stream(a);
    for (unsigned i = 0; i < a->n_choices; i++)
        choice_open(&a->choices[i]);
}

/* ---- while there is nothing to tell ---- */

static void write_load(const struct engine_model_info *m, struct strbuf *out)
{
    double rate = m->load_seconds > 0 ? (double)m->loaded_bytes / m->load_seconds : 0;

    strbuf_printf(out, ": loading the model: %.1f of %.1f GB", (double)m->loaded_bytes / 1e9,
                  (double)m->file_bytes / 1e9);
    if (rate > 0 && m->file_bytes > m->loaded_bytes)
        strbuf_printf(out, ", %.2f GB/s, %.0f s left", rate / 1e9,
                      (double)(m->file_bytes - m->loaded_bytes) / rate);
}

static void wait_quietly(struct completion *a)
{
    struct server *s = a->frame.x->server;

    if (a->frame.is_stream && s->config.quiet_seconds > 0)
        loop_timer_set(s->loop, &a->quiet,
                       loop_now_ns(s->loop) + (uint64_t)(s->config.quiet_seconds * 1e9));
}

/* A comment, which clients skip: it tells a person what the stream waits for, and proxies and
 * clients that give up on silence that there is somebody. */
static void on_quiet(struct timer *t)
{
    struct completion *a = container_of(t, struct completion, quiet);
    struct strbuf *out = exchange_scratch(a->frame.x);
    const struct engine_model_info *info = NULL;

    engine_find_model(a->frame.x->server->engine, a->model, &info, NULL);
    if (info && info->state == ENGINE_MODEL_LOADING)
        write_load(info, out);
    else
        strbuf_add_str(out, a->has_opened ? ": reading the prompt" : ": waiting for others");
    strbuf_add_str(out, "\n\n");
    begin_stream(a);
    wait_quietly(a);
    exchange_write(a->frame.x, out->data, out->len);
}

/* ---- ends ---- */

/* As the answer, or the end of a stream that has begun. */
static void fail(struct completion *a, const struct api_error *err)
{
    struct exchange *x = a->frame.x;
    struct strbuf *out;

    if (!a->has_begun) {
        exchange_fail(x, err);
    } else {
        out = exchange_scratch(x);
        strbuf_add_str(out, "data: ");
        exchange_error_json(out, err);
        strbuf_add_str(out, "\n\n");
        exchange_write(x, out->data, out->len);
        exchange_end(x);
    }
    completion_destroy(a);
}

static void end_stream(struct completion *a)
{
    struct exchange *x = a->frame.x;
    struct strbuf *out;

    if (a->frame.includes_usage) {
        out = exchange_scratch(x);
        strbuf_add_str(out, "data: ");
        strbuf_add(out, a->frame.opening.data, a->frame.opening.len);
        strbuf_add_str(out, "],");
        write_usage(a, out);
        strbuf_add_str(out, "}\n\n");
        exchange_write(x, out->data, out->len);
    }
    exchange_write(x, "data: [DONE]\n\n", 14);
    exchange_end(x);
}

static void end_whole(struct completion *a)
{
    struct strbuf *out = exchange_scratch(a->frame.x);

    strbuf_add(out, a->frame.opening.data, a->frame.opening.len);
    for (unsigned i = 0; i < a->n_choices; i++) {
        jsonout_element(out);
        choice_write(&a->choices[i], out);
    }
    strbuf_add_str(out, "],");
    write_usage(a, out);
    choice_write_timings(out, &a->first);
    strbuf_add_str(out, "}\n");
    exchange_reply_json(a->frame.x, out);
}

static void fail_by_engine(struct completion *a, const struct engine_result *r)
{
    static const struct error stopped = {
        .code = -ECANCELED,
        .text = "the model was unloaded or the server is shutting down",
    };
    const struct error *why = r->error ? r->error : &stopped;
    struct api_error err;

    api_engine_error(a->frame.x, why, a->frame.is_chat ? "messages" : "prompt", &err);
    fail(a, &err);
}

/* Its time was up before there was anything to tell. */
static void fail_late(struct completion *a)
{
    struct api_error err;

    fields_fail(&err, 504, NULL, "timeout",
                "the time of the request was up before its first token: allow more, or try when "
                "less is to do");
    fail(a, &err);
}

/* ---- what the engine tells ---- */

static const struct engine_events events;

/* Asks for the other answers: their prompt is computed by now, and shared with them as what a user
 * has asked before is. False: they were refused, and the completion is gone. */
static bool ask_others(struct completion *a, struct engine_request *first)
{
    struct api_error err;
    struct error why;

    while (a->n_asked < a->n_choices) {
        struct choice *c = &a->choices[a->n_asked++];

        if (engine_fork(first, c->index, &events, c, &c->request, &why) == 0) {
            engine_pause(c->request, a->is_congested);
            if (a->is_expired) /* in the step that brought the first token */
                engine_expire(c->request);
            continue;
        }
        api_engine_error(a->frame.x, &why, "n", &err);
        fail(a, &err);
        return false;
    }
    return true;
}

/* The model is loaded by now, and its template tells how to read what it writes. */
static void on_start(void *user, uint32_t prompt_tokens)
{
    struct choice *c = user;
    struct completion *a = c->user;
    const struct engine_model_info *info = NULL;

    a->frame.x->prompt_tokens = prompt_tokens;
    engine_find_model(a->frame.x->server->engine, a->model, &info, NULL);
    choice_begin_reply(c, info ? info->chat_template : NULL, a->tools);
    begin(a);
}

static void on_token(void *user, const struct engine_token *token)
{
    struct choice *c = user;
    struct completion *a = c->user;
    struct server *s = a->frame.x->server;
    uint64_t now = loop_now_ns(s->loop);

    if (!ask_others(a, c->request))
        return;
    begin(a);
    loop_timer_clear(s->loop, &a->quiet);
    if (c->last_token_ns)
        server_observe(&s->figures.token_seconds, (double)(now - c->last_token_ns) / 1e9);
    c->last_token_ns = now;
    if (token->id >= 0)
        a->frame.x->completion_tokens++;
    if (a->wants_logprobs && token->id >= 0)
        logprobs_add(&c->logprobs, s->engine, a->model, token);
    if (token->text_len)
        choice_add_text(c, token->text, token->text_len);
}

/* What is told of the whole. */
static void count(struct completion *a, const struct choice *c, const struct engine_result *r)
{
    struct server_figures *f = &a->frame.x->server->figures;

    if (!c->index)
        a->first = *r;
    a->completion_tokens += r->completion_tokens;
    a->n_done++;
    a->frame.x->prompt_tokens = r->prompt_tokens;
    server_observe(&f->queue_seconds, (double)r->queue_ns / 1e9);
    if (r->completion_tokens)
        server_observe(&f->first_token_seconds, (double)r->first_token_ns / 1e9);
}

static void on_done(void *user, const struct engine_result *r)
{
    struct choice *c = user;
    struct completion *a = c->user;
    struct engine_request *request = c->request;

    c->request = NULL;
    /* the others exist once the first has told something */
    if (r->finish == ENGINE_FINISH_EXPIRED && !r->completion_tokens && !c->index) {
        fail_late(a);
        return;
    }
    if (r->finish == ENGINE_FINISH_ERROR || r->finish == ENGINE_FINISH_CANCEL) {
        fail_by_engine(a, r);
        return;
    }
    if (!ask_others(a, request))
        return;
    count(a, c, r);
    begin(a);
    choice_end(c, r);
    if (a->n_done < a->n_choices) {
        wait_quietly(a); /* the others may have to wait for a place */
        return;
    }
    a->frame.x->completion_tokens = (uint32_t)a->completion_tokens;
    if (a->frame.is_stream)
        end_stream(a);
    else
        end_whole(a);
    completion_destroy(a);
}

static const struct engine_events events = {on_start, on_token, on_done};

/* ---- what the exchange tells ---- */

static void on_deadline(struct timer *t)
{
    struct completion *a = container_of(t, struct completion, deadline);

    a->is_expired = true;
    for (unsigned i = 0; i < a->n_choices; i++)
        if (a->choices[i].request)
            engine_expire(a->choices[i].request);
}

static void on_gone(struct exchange *x)
{
    completion_destroy(x->user);
}

static void on_congested(struct exchange *x, bool is_congested)
{
    struct completion *a = x->user;

    a->is_congested = is_congested;
    for (unsigned i = 0; i < a->n_choices; i++)
        if (a->choices[i].request)
            engine_pause(a->choices[i].request, is_congested);
}

static const struct exchange_ops completion_ops = {on_gone, on_congested};

static struct completion *completion_create(struct exchange *x, const char *model,
                                            const struct params *params, bool is_chat,
                                            json_t *tools)
{
    struct completion *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->frame = (struct choice_frame){.x = x,
                                     .is_chat = is_chat,
                                     .is_stream = params->is_stream,
                                     .includes_usage = params->includes_usage};
    a->tools = json_incref(tools);
    a->wants_logprobs = params->engine.top_logprobs >= 0;
    strbuf_init(&a->frame.opening, 0);
    a->model = strdup(model);
    a->choices = calloc(params->n_choices, sizeof(*a->choices));
    if (a->model)
        write_opening(a);
    if (!a->model || !a->choices || a->frame.opening.failed) {
        completion_destroy(a);
        return NULL;
    }
    a->n_choices = params->n_choices;
    for (unsigned i = 0; i < a->n_choices; i++)
        choice_init(&a->choices[i], &a->frame, i, a);
    return a;
}

int completion_start(struct exchange *x, const char *model, const struct engine_prompt *prompt,
                     const struct params *params, bool is_chat, json_t *tools,
                     struct api_error *err)
{
    const struct engine_caller caller = {.uid = x->peer->uid, .pid = x->peer->pid};
    struct completion *a = completion_create(x, model, params, is_chat, tools);
    struct error why;

    if (!a)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    a->n_asked = 1;
    if (engine_generate(x->server->engine, a->model, prompt, &params->engine, &caller, &events,
                        &a->choices[0], &a->choices[0].request, &why) < 0) {
        completion_destroy(a);
        return api_engine_error(x, &why, "model", err);
    }
    a->deadline.fire = on_deadline;
    api_set_deadline(x, &a->deadline, params->timeout_seconds);
    a->quiet.fire = on_quiet;
    wait_quietly(a);
    x->ops = &completion_ops;
    x->user = a;
    return 0;
}
