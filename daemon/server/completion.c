/* SPDX-License-Identifier: MIT */
#include "server/completion.h"

#include "server/api.h"
#include "server/jsonout.h"
#include "server/logprobs.h"
#include "server/reply.h"
#include "server/server_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct completion {
    struct exchange *x;
    struct engine_request *request;
    char *model;
    bool is_chat, is_stream, includes_usage, has_begun, has_reply, wants_logprobs;
    struct strbuf opening; /* of every object: {"id":...,"object":...,"created":...,"model":... */
    struct strbuf text;    /* not streaming: the answer so far */
    struct strbuf reasoning;
    struct strbuf calls; /* not streaming: items of tool_calls */
    json_t *tools;       /* a reference, until there is a reply; NULL: none */
    struct reply reply;  /* of a chat, once it has begun */
    struct logprobs logprobs;
    uint64_t last_token_ns;
    struct timer deadline;
};

static void completion_destroy(struct completion *a)
{
    if (!a)
        return;
    loop_timer_clear(a->x->server->loop, &a->deadline);
    reply_finish(&a->reply);
    json_decref(a->tools);
    logprobs_finish(&a->logprobs);
    strbuf_finish(&a->opening);
    strbuf_finish(&a->text);
    strbuf_finish(&a->reasoning);
    strbuf_finish(&a->calls);
    free(a->model);
    free(a);
}

static void write_opening(struct completion *a)
{
    uint64_t random[2] = {a->x->server->next_id++, a->x->started_ns};

    if (getrandom(random, sizeof(random), GRND_NONBLOCK) < 0)
        random[0] ^= (uint64_t)time(NULL) << 32; /* early boot: still unlike the others */
    strbuf_printf(&a->opening, "{\"id\":\"%s-%016llx%08x\",\"object\":\"%s\",\"created\":%lld",
                  a->is_chat ? "chatcmpl" : "cmpl", (unsigned long long)random[0],
                  (unsigned)random[1],
                  !a->is_chat    ? "text_completion"
                  : a->is_stream ? "chat.completion.chunk"
                                 : "chat.completion",
                  (long long)time(NULL));
    jsonout_key_string(&a->opening, "model", a->model);
    strbuf_add_str(&a->opening, ",\"choices\":[");
}

/* ---- chunks of a stream ---- */

static struct strbuf *chunk_open(struct completion *a)
{
    struct strbuf *out = exchange_scratch(a->x);

    strbuf_add_str(out, "data: ");
    strbuf_add(out, a->opening.data, a->opening.len);
    strbuf_add_str(out, a->is_chat ? "{\"index\":0,\"delta\":{" : "{\"index\":0,\"text\":\"");
    return out;
}

static void write_tail(struct completion *a, struct strbuf *out, const char *finish)
{
    strbuf_add_str(out, ",\"logprobs\":");
    logprobs_write(&a->logprobs, out);
    jsonout_key_string(out, "finish_reason", finish);
    strbuf_add_str(out, "}]");
}

static void write_figures(struct strbuf *out, const struct engine_result *r)
{
    strbuf_printf(out,
                  "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":%u}}",
                  r->prompt_tokens, r->completion_tokens,
                  (unsigned long long)r->prompt_tokens + r->completion_tokens, r->cached_tokens);
}

static void write_timings(struct strbuf *out, const struct engine_result *r)
{
    strbuf_printf(out,
                  ",\"timings\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,"
                  "\"first_token_ms\":%.3f,\"seed\":%llu}",
                  api_milliseconds(r->queue_ns), api_milliseconds(r->prefill_ns),
                  api_milliseconds(r->decode_ns), api_milliseconds(r->first_token_ns),
                  (unsigned long long)r->seed);
}

/* result: for the chunk that ends the answer, else NULL. */
static void chunk_close(struct completion *a, struct strbuf *out, const char *finish,
                        const struct engine_result *result)
{
    strbuf_add_char(out, a->is_chat ? '}' : '"');
    write_tail(a, out, finish);
    if (a->includes_usage)
        strbuf_add_str(out, ",\"usage\":null");
    if (result)
        write_timings(out, result);
    strbuf_add_str(out, "}\n\n");
    exchange_write(a->x, out->data, out->len);
}

static void begin(struct completion *a)
{
    struct strbuf *out;

    if (a->has_begun || !a->is_stream)
        return;
    a->has_begun = true;
    exchange_begin(a->x, "text/event-stream");
    if (!a->is_chat)
        return;
    out = chunk_open(a);
    strbuf_add_str(out, "\"role\":\"assistant\",\"content\":\"\"");
    chunk_close(a, out, NULL, NULL);
}

/* ---- pieces of the answer ---- */

/* A piece of what a chat's delta calls `key`. */
static void stream_piece(struct completion *a, const char *key, const char *text, size_t len)
{
    struct strbuf *out = chunk_open(a);

    if (a->is_chat)
        strbuf_printf(out, "\"%s\":\"", key);
    jsonout_text(out, text, len);
    if (a->is_chat)
        strbuf_add_char(out, '"');
    chunk_close(a, out, NULL, NULL);
}

static void on_text(void *user, const char *text, size_t len)
{
    struct completion *a = user;

    if (a->is_stream)
        stream_piece(a, "content", text, len);
    else
        strbuf_add(&a->text, text, len);
}

static void on_reasoning(void *user, const char *text, size_t len)
{
    struct completion *a = user;

    if (a->is_stream)
        stream_piece(a, "reasoning_content", text, len);
    else
        strbuf_add(&a->reasoning, text, len);
}

static void on_call(void *user, const char *name, const char *arguments)
{
    struct completion *a = user;
    unsigned index = a->reply.n_calls - 1;
    unsigned long long id = a->x->server->next_id++;
    struct strbuf *out;

    if (!a->is_stream) {
        strbuf_printf(&a->calls, "%s{\"id\":\"call_%llx_%u\",\"type\":\"function\",\"function\":{",
                      index ? "," : "", id, index);
        jsonout_key_string(&a->calls, "name", name);
        jsonout_key_string(&a->calls, "arguments", arguments);
        strbuf_add_str(&a->calls, "}}");
        return;
    }
    out = chunk_open(a);
    strbuf_printf(out,
                  "\"tool_calls\":[{\"index\":%u,\"id\":\"call_%llx_%u\",\"type\":\"function\","
                  "\"function\":{",
                  index, id, index);
    jsonout_key_string(out, "name", name);
    strbuf_add_str(out, ",\"arguments\":\"\"}}]");
    chunk_close(a, out, NULL, NULL);
    out = chunk_open(a);
    strbuf_printf(out, "\"tool_calls\":[{\"index\":%u,\"function\":{", index);
    jsonout_key_string(out, "arguments", arguments);
    strbuf_add_str(out, "}}]");
    chunk_close(a, out, NULL, NULL);
}

/* The model is loaded by now, and its template tells how to read what it writes. */
static void begin_reply(struct completion *a)
{
    const struct engine_model_info *info = NULL;

    if (!a->is_chat || a->has_reply)
        return;
    engine_find_model(a->x->server->engine, a->model, &info, NULL);
    reply_init(&a->reply, info ? info->chat_template : NULL, engine_prompt_end(a->request),
               a->tools);
    a->has_reply = true;
}

static void on_start(void *user, uint32_t prompt_tokens)
{
    struct completion *a = user;

    a->x->prompt_tokens = prompt_tokens;
    begin_reply(a);
    begin(a);
}

static void on_token(void *user, const struct engine_token *token)
{
    struct completion *a = user;
    struct server *s = a->x->server;
    uint64_t now = loop_now_ns(s->loop);

    begin(a);
    if (a->last_token_ns)
        server_observe(&s->figures.token_seconds, (double)(now - a->last_token_ns) / 1e9);
    a->last_token_ns = now;
    if (token->id >= 0)
        a->x->completion_tokens++;
    if (a->wants_logprobs && token->id >= 0)
        logprobs_add(&a->logprobs, s->engine, a->model, token);
    if (!token->text_len)
        return;
    if (a->has_reply)
        reply_feed(&a->reply, token->text, token->text_len);
    else
        on_text(a, token->text, token->text_len);
}

/* ---- the end ---- */

static const char *finish_name(const struct completion *a, const struct engine_result *r)
{
    if (a->reply.n_calls)
        return "tool_calls";
    return r->finish == ENGINE_FINISH_STOP ? "stop" : "length";
}

static void finish_stream(struct completion *a, const struct engine_result *r)
{
    struct strbuf *out;

    begin(a);
    out = chunk_open(a);
    chunk_close(a, out, finish_name(a, r), r);
    if (a->includes_usage) {
        out = exchange_scratch(a->x);
        strbuf_add_str(out, "data: ");
        strbuf_add(out, a->opening.data, a->opening.len);
        strbuf_add_str(out, "],");
        write_figures(out, r);
        strbuf_add_str(out, "}\n\n");
        exchange_write(a->x, out->data, out->len);
    }
    exchange_write(a->x, "data: [DONE]\n\n", 14);
    exchange_end(a->x);
}

static void finish_whole(struct completion *a, const struct engine_result *r)
{
    struct strbuf *out = exchange_scratch(a->x);

    strbuf_add(out, a->opening.data, a->opening.len);
    strbuf_add_str(out, a->is_chat ? "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
                                   : "{\"index\":0,\"text\":");
    if (a->calls.len && !a->text.len) {
        strbuf_add_str(out, "null");
    } else {
        strbuf_add_char(out, '"');
        jsonout_text(out, a->text.data, a->text.len);
        strbuf_add_char(out, '"');
    }
    if (a->reasoning.len) {
        strbuf_add_str(out, ",\"reasoning_content\":\"");
        jsonout_text(out, a->reasoning.data, a->reasoning.len);
        strbuf_add_char(out, '"');
    }
    if (a->calls.len) {
        strbuf_add_str(out, ",\"tool_calls\":[");
        strbuf_add(out, a->calls.data, a->calls.len);
        strbuf_add_char(out, ']');
    }
    if (a->is_chat)
        strbuf_add_char(out, '}');
    write_tail(a, out, finish_name(a, r));
    strbuf_add_char(out, ',');
    write_figures(out, r);
    write_timings(out, r);
    strbuf_add_str(out, "}\n");
    out->failed |= a->text.failed | a->reasoning.failed | a->calls.failed;
    exchange_reply_json(a->x, out);
}

/* As the answer, or the end of a stream that has begun. */
static void tell_error(struct completion *a, const struct api_error *err)
{
    struct strbuf *out;

    if (!a->has_begun) {
        exchange_fail(a->x, err);
        return;
    }
    out = exchange_scratch(a->x);
    strbuf_add_str(out, "data: ");
    exchange_error_json(out, err);
    strbuf_add_str(out, "\n\n");
    exchange_write(a->x, out->data, out->len);
    exchange_end(a->x);
}

static void finish_failed(struct completion *a, const struct engine_result *r)
{
    static const struct error stopped = {
        .code = -ECANCELED,
        .text = "the model was unloaded or the server is shutting down",
    };
    const struct error *why = r->error ? r->error : &stopped;
    struct api_error err;

    api_engine_error(a->x, why, a->is_chat ? "messages" : "prompt", &err);
    tell_error(a, &err);
}

/* Its time was up before there was anything to tell. */
static void finish_late(struct completion *a)
{
    struct api_error err;

    fields_fail(&err, 504, NULL, "timeout",
                "the time of the request was up before its first token: allow more, or try when "
                "less is to do");
    tell_error(a, &err);
}

static void on_deadline(struct timer *t)
{
    engine_expire(container_of(t, struct completion, deadline)->request);
}

static void on_done(void *user, const struct engine_result *r)
{
    struct completion *a = user;
    struct server_figures *f = &a->x->server->figures;

    a->x->prompt_tokens = r->prompt_tokens;
    a->x->completion_tokens = r->completion_tokens;
    if (r->finish == ENGINE_FINISH_EXPIRED && !r->completion_tokens) {
        finish_late(a);
    } else if (r->finish == ENGINE_FINISH_ERROR || r->finish == ENGINE_FINISH_CANCEL) {
        finish_failed(a, r);
    } else {
        server_observe(&f->queue_seconds, (double)r->queue_ns / 1e9);
        if (r->completion_tokens)
            server_observe(&f->first_token_seconds, (double)r->first_token_ns / 1e9);
        if (a->has_reply)
            reply_end(&a->reply);
        if (a->is_stream)
            finish_stream(a, r);
        else
            finish_whole(a, r);
    }
    completion_destroy(a);
}

static void on_gone(struct exchange *x)
{
    struct completion *a = x->user;

    engine_cancel(a->request, true);
    completion_destroy(a);
}

static void on_congested(struct exchange *x, bool is_congested)
{
    struct completion *a = x->user;

    engine_pause(a->request, is_congested);
}

static const struct exchange_ops completion_ops = {on_gone, on_congested};
static const struct engine_events events = {on_start, on_token, on_done};

int completion_start(struct exchange *x, const char *model, const struct engine_prompt *prompt,
                     const struct params *params, bool is_chat, json_t *tools,
                     struct api_error *err)
{
    const struct engine_caller caller = {.uid = x->peer->uid, .pid = x->peer->pid};
    struct completion *a = calloc(1, sizeof(*a));
    struct error why;

    if (!a)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    a->x = x;
    a->is_chat = is_chat;
    a->is_stream = params->is_stream;
    a->includes_usage = params->includes_usage;
    a->tools = json_incref(tools);
    a->reply = (struct reply){
        .on_text = on_text, .on_reasoning = on_reasoning, .on_call = on_call, .user = a};
    strbuf_init(&a->opening, 0);
    strbuf_init(&a->text, 0);
    strbuf_init(&a->calls, 0);
    strbuf_init(&a->reasoning, 0);
    logprobs_init(&a->logprobs, is_chat);
    a->wants_logprobs = params->engine.top_logprobs >= 0;
    a->model = strdup(model);
    if (a->model)
        write_opening(a);
    if (!a->model || a->opening.failed) {
        completion_destroy(a);
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    }
    if (engine_generate(x->server->engine, a->model, prompt, &params->engine, &caller, &events, a,
                        &a->request, &why) < 0) {
        completion_destroy(a);
        return api_engine_error(x, &why, "model", err);
    }
    a->deadline.fire = on_deadline;
    api_set_deadline(x, &a->deadline, params->timeout_seconds);
    x->ops = &completion_ops;
    x->user = a;
    return 0;
}
