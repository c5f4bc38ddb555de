/* SPDX-License-Identifier: MIT */
/* Bodies of API requests through everything that reads them, and answers through what takes them
 * apart.
 */
#include "server/chat.h"
#include "server/fields.h"
#include "server/jsonout.h"
#include "server/params.h"
#include "server/reply.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* params.c takes its defaults from the engine, which is not here. */
void engine_sampling_defaults(struct engine_sampling *s)
{
    *s = (struct engine_sampling){.temperature = 0.8f};
}

static void add_text(void *user, const char *text, size_t len)
{
    strbuf_add(user, text, len);
}

static void add_call(void *user, const char *name, const char *arguments)
{
    strbuf_printf(user, "[%s|%s]", name, arguments);
}

static const char *const templates[] = {
    NULL,
    "<think></think>",
    "<|channel|><|message|>",
    "[TOOL_CALLS][THINK][/THINK]",
    "<｜tool▁calls▁begin｜><｜tool▁sep｜><think></think>",
    "<function=<parameter=",
    "<seed:tool_call><function=<seed:think></seed:think>",
    "<minimax:tool_call><invoke name=",
    "<arg_key><arg_value>",
    "<|tool_call><tool_call|><|channel>thought<channel|>",
};
enum { N_TEMPLATES = sizeof(templates) / sizeof(templates[0]) };

static void reply(const char *chat_template, json_t *tools, const char *text, size_t len,
                  size_t piece, struct strbuf *out)
{
    struct reply r = {
        .on_text = add_text, .on_reasoning = add_text, .on_call = add_call, .user = out};

    reply_init(&r, chat_template, "", tools);
    for (size_t at = 0; at < len; at += piece)
        reply_feed(&r, text + at, len - at < piece ? len - at : piece);
    reply_end(&r);
    reply_finish(&r);
}

/* However an answer is split, the same comes of it. */
static void check_reply(const char *chat_template, const char *text, size_t len)
{
    struct strbuf whole, pieces;
    json_t *tools = json_array();

    strbuf_init(&whole, 0);
    strbuf_init(&pieces, 0);
    reply(chat_template, tools, text, len, len + 1, &whole);
    reply(chat_template, tools, text, len, 1, &pieces);
    if (whole.len != pieces.len || (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0))
        abort();
    strbuf_finish(&whole);
    strbuf_finish(&pieces);
    json_decref(tools);
}

static void check_error(const struct api_error *err)
{
    if (err->status < 400 || !err->message[0] || !err->type)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct api_error err;
    struct strbuf out;
    json_t *json, *chat, *back;

    for (size_t i = 0; i < N_TEMPLATES; i++)
        check_reply(templates[i], text, size);
    strbuf_init(&out, 0);
    strbuf_add_char(&out, '"');
    jsonout_text(&out, text, size);
    strbuf_add_char(&out, '"');
    back = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!back)
        abort();
    json_decref(back);
    strbuf_finish(&out);
    if (fields_parse_object(text, size, &json, &err) < 0) {
        check_error(&err);
        return 0;
    }
    for (int is_chat = 0; is_chat < 2; is_chat++) {
        struct params p;

        if (params_init(&p, json, is_chat, &err) == 0)
            params_finish(&p);
        else
            check_error(&err);
    }
    if (chat_build(json, &chat, &err) == 0)
        json_decref(chat);
    else
        check_error(&err);
    json_decref(json);
    return 0;
}
