/* SPDX-License-Identifier: MIT */
#include "server/choice.h"

#include "server/api.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

#include <string.h>

/* ---- chunks of a stream ---- */

static struct strbuf *chunk_open(const struct choice *c)
{
    struct strbuf *out = exchange_scratch(c->frame->x);

    strbuf_add_str(out, "data: ");
    strbuf_add(out, c->frame->opening.data, c->frame->opening.len);
    strbuf_printf(out, "{\"index\":%u,%s", c->index,
                  c->frame->is_chat ? "\"delta\":{" : "\"text\":\"");
    return out;
}

static void write_tail(struct choice *c, struct strbuf *out, const char *finish)
{
    strbuf_add_str(out, ",\"logprobs\":");
    logprobs_write(&c->logprobs, out);
    jsonout_key_string(out, "finish_reason", finish);
    strbuf_add_char(out, '}');
}

void choice_write_timings(struct strbuf *out, const struct engine_result *r)
{
    strbuf_printf(out,
                  ",\"timings\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,"
                  "\"first_token_ms\":%.3f,\"seed\":%llu}",
                  api_milliseconds(r->queue_ns), api_milliseconds(r->prefill_ns),
                  api_milliseconds(r->decode_ns), api_milliseconds(r->first_token_ns),
                  (unsigned long long)r->seed);
}

/* result: for the chunk that ends the answer, else NULL. */
static void chunk_close(struct choice *c, struct strbuf *out, const char *finish,
                        const struct engine_result *result)
{
    strbuf_add_char(out, c->frame->is_chat ? '}' : '"');
    write_tail(c, out, finish);
    strbuf_add_char(out, ']');
    if (c->frame->includes_usage)
        strbuf_add_str(out, ",\"usage\":null");
    if (result)
        choice_write_timings(out, result);
    strbuf_add_str(out, "}\n\n");
    exchange_write(c->frame->x, out->data, out->len);
}

void choice_open(struct choice *c)
{
    struct strbuf *out;

    if (!c->frame->is_chat || !c->frame->is_stream)
        return;
    out = chunk_open(c);
    strbuf_add_str(out, "\"role\":\"assistant\",\"content\":\"\"");
    chunk_close(c, out, NULL, NULL);
}

/* ---- pieces of the answer ---- */

/* A piece of what a chat's delta calls `key`. */
static void stream_piece(struct choice *c, const char *key, const char *text, size_t len)
{
    struct strbuf *out = chunk_open(c);

    if (c->frame->is_chat)
        strbuf_printf(out, "\"%s\":\"", key);
    jsonout_text(out, text, len);
    if (c->frame->is_chat)
        strbuf_add_char(out, '"');
    chunk_close(c, out, NULL, NULL);
}

static void on_text(void *user, const char *text, size_t len)
{
    struct choice *c = user;

    if (c->frame->is_stream)
        stream_piece(c, "content", text, len);
    else
        strbuf_add(&c->text, text, len);
}

static void on_reasoning(void *user, const char *text, size_t len)
{
    struct choice *c = user;

    if (c->frame->is_stream)
        stream_piece(c, "reasoning_content", text, len);
    else
        strbuf_add(&c->reasoning, text, len);
}

static void on_call(void *user, const char *name, const char *arguments)
{
    struct choice *c = user;
    unsigned index = c->reply.n_calls - 1;
    unsigned long long id = c->frame->x->server->next_id++;
    struct strbuf *out;

    if (!c->frame->is_stream) {
        strbuf_printf(&c->calls, "%s{\"id\":\"call_%llx_%u\",\"type\":\"function\",\"function\":{",
                      index ? "," : "", id, index);
        jsonout_key_string(&c->calls, "name", name);
        jsonout_key_string(&c->calls, "arguments", arguments);
        strbuf_add_str(&c->calls, "}}");
        return;
    }
    out = chunk_open(c);
    strbuf_printf(out,
                  "\"tool_calls\":[{\"index\":%u,\"id\":\"call_%llx_%u\",\"type\":\"function\","
                  "\"function\":{",
                  index, id, index);
    jsonout_key_string(out, "name", name);
    strbuf_add_str(out, ",\"arguments\":\"\"}}]");
    chunk_close(c, out, NULL, NULL);
    out = chunk_open(c);
    strbuf_printf(out, "\"tool_calls\":[{\"index\":%u,\"function\":{", index);
    jsonout_key_string(out, "arguments", arguments);
    strbuf_add_str(out, "}}]");
    chunk_close(c, out, NULL, NULL);
}

void choice_init(struct choice *c, struct choice_frame *frame, unsigned index, void *user)
{
    *c = (struct choice){.frame = frame, .user = user, .index = index};
    c->reply = (struct reply){
        .on_text = on_text, .on_reasoning = on_reasoning, .on_call = on_call, .user = c};
    strbuf_init(&c->text, 0);
    strbuf_init(&c->reasoning, 0);
    strbuf_init(&c->calls, 0);
    logprobs_init(&c->logprobs, frame->is_chat);
}

void choice_finish(struct choice *c)
{
    reply_finish(&c->reply);
    logprobs_finish(&c->logprobs);
    strbuf_finish(&c->text);
    strbuf_finish(&c->reasoning);
    strbuf_finish(&c->calls);
}

void choice_begin_reply(struct choice *c, const char *chat_template, json_t *tools)
{
    if (!c->frame->is_chat || c->has_reply)
        return;
    reply_init(&c->reply, chat_template, engine_prompt_end(c->request), tools);
    c->has_reply = true;
}

void choice_add_text(struct choice *c, const char *text, size_t len)
{
    if (c->has_reply)
        reply_feed(&c->reply, text, len);
    else
        on_text(c, text, len);
}

/* ---- the end ---- */

void choice_end(struct choice *c, const struct engine_result *r)
{
    struct strbuf *out;

    if (c->has_reply)
        reply_end(&c->reply);
    c->is_done = true;
    c->finish = c->reply.n_calls                  ? "tool_calls"
                : r->finish == ENGINE_FINISH_STOP ? "stop"
                                                  : "length";
    if (!c->frame->is_stream)
        return;
    out = chunk_open(c);
    chunk_close(c, out, c->finish, r);
}

static void write_message(struct choice *c, struct strbuf *out)
{
    strbuf_add_str(out, c->frame->is_chat ? "\"message\":{\"role\":\"assistant\",\"content\":"
                                          : "\"text\":");
    if (c->calls.len && !c->text.len) {
        strbuf_add_str(out, "null");
    } else {
        strbuf_add_char(out, '"');
        jsonout_text(out, c->text.data, c->text.len);
        strbuf_add_char(out, '"');
    }
    if (c->reasoning.len) {
        strbuf_add_str(out, ",\"reasoning_content\":\"");
        jsonout_text(out, c->reasoning.data, c->reasoning.len);
        strbuf_add_char(out, '"');
    }
    if (c->calls.len) {
        strbuf_add_str(out, ",\"tool_calls\":[");
        strbuf_add(out, c->calls.data, c->calls.len);
        strbuf_add_char(out, ']');
    }
    if (c->frame->is_chat)
        strbuf_add_char(out, '}');
}

void choice_write(struct choice *c, struct strbuf *out)
{
    strbuf_printf(out, "{\"index\":%u,", c->index);
    write_message(c, out);
    write_tail(c, out, c->finish);
    out->failed |= c->text.failed | c->reasoning.failed | c->calls.failed;
}
