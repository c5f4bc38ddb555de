/* SPDX-License-Identifier: MIT */
#include "server/toolcall.h"

#include "server/marks.h"
#include "server/toolcall_format.h"

#include <stdlib.h>
#include <string.h>

enum { START, TEXT, CALL, BARE, AFTER_CALL };
enum { HELD_BYTES = 1 << 20 };

void toolcall_init(struct toolcall *t, const char *chat_template, json_t *tools)
{
    t->format = toolcall_format_of(chat_template);
    t->tools = json_incref(tools);
    strbuf_init(&t->held, HELD_BYTES);
    t->state = START;
    t->n_calls = 0;
}

void toolcall_finish(struct toolcall *t)
{
    json_decref(t->tools);
    t->tools = NULL;
    strbuf_finish(&t->held);
}

static bool is_tool(const struct toolcall *t, const char *name)
{
    json_t *tool;
    size_t i;

    json_array_foreach(t->tools, i, tool)
    {
        const char *this =
            json_string_value(json_object_get(json_object_get(tool, "function"), "name"));

        if (this && strcmp(this, name) == 0)
            return true;
    }
    return !t->tools;
}

static void count_call(void *user, const char *name, const char *arguments)
{
    struct toolcall *t = user;

    t->n_calls++;
    t->on_call(t->user, name, arguments);
}

/* Is this text, from between the marks, calls? Then they are told. */
static bool take_calls(struct toolcall *t, const char *text, size_t len)
{
    return t->format->parse(text, len, t->tools, count_call, t);
}

/* The same of an answer that is nothing but an object: it must name one of the tools; between marks
 * the model's intent is plain. */
static bool take_bare(struct toolcall *t)
{
    json_t *call = json_loadb(t->held.data, t->held.len, JSON_ALLOW_NUL, NULL);
    const char *name = json_string_value(json_object_get(call, "name"));
    bool has_arguments = json_object_get(call, "arguments") || json_object_get(call, "parameters");
    bool is_call = name && has_arguments && is_tool(t, name) &&
                   toolcall_format_parse_object(call, count_call, t);

    json_decref(call);
    return is_call;
}

static void tell(struct toolcall *t, const char *text, size_t len)
{
    if (len)
        t->on_text(t->user, text, len);
}

/* Text up to an opening tag goes out; true when a tag was found and more is to be looked at. White
 * space waits for what follows it: before a call it is layout, not part of the answer. */
static bool step_text(struct toolcall *t)
{
    const char *open = t->format->open;
    char *tag = memmem(t->held.data, t->held.len, open, strlen(open));
    size_t len = tag ? (size_t)(tag - t->held.data)
                     : t->held.len - marks_partial(t->held.data, t->held.len, open);

    while (len && marks_is_blank(t->held.data[len - 1]))
        len--;
    tell(t, t->held.data, len);
    strbuf_consume(&t->held, tag ? (size_t)(tag - t->held.data) + strlen(open) : len);
    if (tag)
        t->state = CALL;
    return tag;
}

static bool step_call(struct toolcall *t)
{
    const char *open = t->format->open, *close = t->format->close ? t->format->close : open;
    char *tag = memmem(t->held.data, t->held.len, close, strlen(close));
    size_t len, close_len = t->format->close ? strlen(close) : 0;

    if (!tag)
        return false;
    len = (size_t)(tag - t->held.data);
    t->state = AFTER_CALL;
    if (!take_calls(t, t->held.data, len)) {
        t->state = TEXT;
        tell(t, open, strlen(open));
        tell(t, t->held.data, len + close_len);
    }
    strbuf_consume(&t->held, len + close_len);
    return true;
}

/* Leading white space waits for what follows it. */
static bool step_start(struct toolcall *t)
{
    size_t blank = marks_blank_prefix(t->held.data, t->held.len);

    if (blank == t->held.len)
        return false;
    if (t->state == AFTER_CALL)
        strbuf_consume(&t->held, blank);
    else if (t->held.data[blank] == '{') {
        t->state = BARE;
        return false;
    }
    t->state = TEXT;
    return true;
}

void toolcall_feed(struct toolcall *t, const char *text, size_t len)
{
    bool more = true;

    strbuf_add(&t->held, text, len);
    if (t->held.failed) { /* far too long for a call: plain text from here on */
        t->held.failed = false;
        if (t->state == CALL)
            tell(t, t->format->open, strlen(t->format->open));
        tell(t, t->held.data, t->held.len);
        tell(t, text, len);
        strbuf_reset(&t->held);
        t->state = TEXT;
        return;
    }
    while (more && t->held.len) {
        switch (t->state) {
        case START:
        case AFTER_CALL:
            more = step_start(t);
            break;
        case TEXT:
            more = step_text(t);
            break;
        case CALL:
            more = step_call(t);
            break;
        default:
            more = false;
        }
    }
}

void toolcall_end(struct toolcall *t)
{
    /* some models stop before they close the tag */
    if (t->state == CALL && take_calls(t, t->held.data ? t->held.data : "", t->held.len))
        strbuf_reset(&t->held);
    else if (t->state == CALL)
        tell(t, t->format->open, strlen(t->format->open));
    if (t->state == BARE && take_bare(t))
        strbuf_reset(&t->held);
    if (t->state != AFTER_CALL && t->held.len)
        tell(t, t->held.data, t->held.len);
    strbuf_reset(&t->held);
    t->state = TEXT;
}
