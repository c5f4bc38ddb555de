/* SPDX-License-Identifier: MIT */
#include "server/logprobs.h"

#include "server/jsonout.h"

#include <math.h>
#include <stdlib.h>

void logprobs_init(struct logprobs *l, bool is_chat)
{
    *l = (struct logprobs){.is_chat = is_chat};
    for (int i = 0; i < 4; i++)
        strbuf_init(&l->parts[i], 0);
}

void logprobs_finish(struct logprobs *l)
{
    for (int i = 0; i < 4; i++)
        strbuf_finish(&l->parts[i]);
}

static struct strbuf *item(struct logprobs *l, int part)
{
    if (l->parts[part].len)
        strbuf_add_char(&l->parts[part], ',');
    return &l->parts[part];
}

static void add_number(struct strbuf *out, double value)
{
    /* JSON has no infinity: a token that cannot come */
    strbuf_printf(out, "%.7g", isfinite(value) ? value : -9999.0);
}

static void add_quoted(struct strbuf *out, const char *text, size_t len)
{
    strbuf_add_char(out, '"');
    jsonout_text(out, text, len);
    strbuf_add_char(out, '"');
}

/* "token":...,"logprob":...,"bytes":[...] */
static void add_entry(struct strbuf *out, const char *text, size_t len, float logprob)
{
    strbuf_add_str(out, "\"token\":");
    add_quoted(out, text, len);
    strbuf_add_str(out, ",\"logprob\":");
    add_number(out, (double)logprob);
    strbuf_add_str(out, ",\"bytes\":[");
    for (size_t i = 0; i < len; i++)
        strbuf_printf(out, "%s%u", i ? "," : "", (unsigned char)text[i]);
    strbuf_add_char(out, ']');
}

static void add_top(struct logprobs *l, struct engine *engine, const char *model,
                    const struct engine_token *token)
{
    struct strbuf *out = l->is_chat ? &l->parts[0] : &l->parts[2];

    for (size_t i = 0; i < token->n_top; i++) {
        const char *text = "";
        size_t len = 0;

        if (engine_token_bytes(engine, model, token->top[i].token, &text, &len, NULL) < 0)
            len = 0;
        if (i)
            strbuf_add_char(out, ',');
        if (l->is_chat) {
            strbuf_add_char(out, '{');
            add_entry(out, text, len, token->top[i].logprob);
            strbuf_add_char(out, '}');
        } else {
            add_quoted(out, text, len);
            strbuf_add_char(out, ':');
            add_number(out, (double)token->top[i].logprob);
        }
    }
}

void logprobs_add(struct logprobs *l, struct engine *engine, const char *model,
                  const struct engine_token *token)
{
    const char *text = "";
    size_t len = 0;

    if (engine_token_bytes(engine, model, token->id, &text, &len, NULL) < 0)
        len = 0;
    if (l->is_chat) {
        strbuf_add_char(item(l, 0), '{');
        add_entry(&l->parts[0], text, len, token->logprob);
        strbuf_add_str(&l->parts[0], ",\"top_logprobs\":[");
        add_top(l, engine, model, token);
        strbuf_add_str(&l->parts[0], "]}");
    } else {
        add_quoted(item(l, 0), text, len);
        add_number(item(l, 1), (double)token->logprob);
        strbuf_add_char(item(l, 2), '{');
        add_top(l, engine, model, token);
        strbuf_add_char(&l->parts[2], '}');
        strbuf_printf(item(l, 3), "%zu", l->text_offset);
    }
    l->text_offset += len;
}

void logprobs_write(struct logprobs *l, struct strbuf *out)
{
    static const char *const names[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};

    if (!l->parts[0].len) {
        strbuf_add_str(out, "null");
        return;
    }
    strbuf_add_char(out, '{');
    for (int i = 0; i < (l->is_chat ? 1 : 4); i++) {
        jsonout_key(out, l->is_chat ? "content" : names[i]);
        strbuf_add_char(out, '[');
        strbuf_add(out, l->parts[i].data, l->parts[i].len);
        strbuf_add_char(out, ']');
        strbuf_reset(&l->parts[i]);
    }
    strbuf_add_char(out, '}');
}
