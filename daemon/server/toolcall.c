/* SPDX-License-Identifier: MIT */
#include "server/toolcall.h"

#include <stdlib.h>
#include <string.h>

static const char open_tag[] = "<tool_call>", close_tag[] = "</tool_call>";

enum { START, TEXT, CALL, BARE, AFTER_CALL };
enum { HELD_BYTES = 1 << 20 };

void toolcall_init(struct toolcall *t, json_t *tools)
{
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

/* Is this text a call? Then it is told. A bare object must name one of the tools; between tags the
 * model's intent is plain. */
static bool take_call(struct toolcall *t, const char *text, size_t len, bool is_bare)
{
    json_t *call = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    const char *name = json_string_value(json_object_get(call, "name"));
    json_t *arguments = json_object_get(call, "arguments");
    char *dump = NULL;

    if (!arguments)
        arguments = json_object_get(call, "parameters");
    if (name && json_is_string(arguments))
        dump = strndup(json_string_value(arguments), json_string_length(arguments));
    else if (name && (json_is_object(arguments) || (!arguments && !is_bare)))
        dump = arguments ? json_dumps(arguments, JSON_COMPACT) : strdup("{}");
    if (dump && is_bare && !is_tool(t, name)) {
        free(dump);
        dump = NULL;
    }
    if (dump) {
        t->n_calls++;
        t->on_call(t->user, name, dump);
    }
    free(dump);
    json_decref(call);
    return dump;
}

static void tell(struct toolcall *t, const char *text, size_t len)
{
    if (len)
        t->on_text(t->user, text, len);
}

/* How many bytes at the end of s are a proper start of tag? */
static size_t partial(const char *s, size_t len, const char *tag)
{
    size_t n = strlen(tag) - 1;

    for (n = n < len ? n : len; n; n--)
        if (memcmp(s + len - n, tag, n) == 0)
            return n;
    return 0;
}

/* Text up to an opening tag goes out; true when a tag was found and more is to be looked at. White
 * space waits for what follows it: before a call it is layout, not part of the answer. */
static bool step_text(struct toolcall *t)
{
    char *tag = memmem(t->held.data, t->held.len, open_tag, sizeof(open_tag) - 1);
    size_t len = tag ? (size_t)(tag - t->held.data)
                     : t->held.len - partial(t->held.data, t->held.len, open_tag);

    while (len && strchr(" \n\r\t", t->held.data[len - 1]))
        len--;
    tell(t, t->held.data, len);
    strbuf_consume(&t->held, tag ? (size_t)(tag - t->held.data) + sizeof(open_tag) - 1 : len);
    if (tag)
        t->state = CALL;
    return tag;
}

static bool step_call(struct toolcall *t)
{
    char *tag = memmem(t->held.data, t->held.len, close_tag, sizeof(close_tag) - 1);
    size_t len;

    if (!tag)
        return false;
    len = (size_t)(tag - t->held.data);
    t->state = AFTER_CALL;
    if (!take_call(t, t->held.data, len, false)) {
        t->state = TEXT;
        tell(t, open_tag, sizeof(open_tag) - 1);
        tell(t, t->held.data, len + sizeof(close_tag) - 1);
    }
    strbuf_consume(&t->held, len + sizeof(close_tag) - 1);
    return true;
}

/* Leading white space waits for what follows it. */
static bool step_start(struct toolcall *t)
{
    size_t blank = t->held.len ? strspn(t->held.data, " \n\r\t") : 0;

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
            tell(t, open_tag, sizeof(open_tag) - 1);
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
    if (t->state == CALL && take_call(t, t->held.data ? t->held.data : "", t->held.len, false))
        strbuf_reset(&t->held);
    else if (t->state == CALL)
        tell(t, open_tag, sizeof(open_tag) - 1);
    if (t->state == BARE && take_call(t, t->held.data, t->held.len, true))
        strbuf_reset(&t->held);
    if (t->state != AFTER_CALL && t->held.len)
        tell(t, t->held.data, t->held.len);
    strbuf_reset(&t->held);
    t->state = TEXT;
}
