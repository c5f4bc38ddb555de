/* SPDX-License-Identifier: MIT */
#include "server/reply.h"

#include "server/marks.h"

#include <stdlib.h>
#include <string.h>

/* Marks around reasoning: of the first row that a template names, both. */
struct reply_marks {
    const char *open, *close;
};
static const struct reply_marks all_marks[] = {
    {"<think>", "</think>"},
    {"[THINK]", "[/THINK]"},
    {"<seed:think>", "</seed:think>"},
    {"<|channel>thought", "<channel|>"},
};

enum {
    PLAIN, /* all that comes is the answer */
    BEGIN, /* nothing but white space yet */
    REASONING_BEGIN,
    REASONING, /* until the closing mark */
    CONTENT_BEGIN,
    /* harmony: messages, each <|channel|>NAME to=RECIPIENT<|message|>BODY */
    HEADER,
    BODY_ANSWER,
    BODY_REASONING,
    BODY_CALL,
};
enum { HEADER_BYTES = 512, CALL_BYTES = 1 << 20 };

static const char channel_mark[] = "<|channel|>", message_mark[] = "<|message|>";
/* The first N_HEADER_MARKS begin the next header. */
static const char *const body_ends[] = {"<|start|>", "<|channel|>", "<|end|>", "<|call|>",
                                        "<|return|>"};
enum { N_HEADER_MARKS = 2, N_BODY_ENDS = sizeof(body_ends) / sizeof(body_ends[0]) };

static void tell_text(void *user, const char *text, size_t len)
{
    struct reply *r = user;

    if (len)
        r->on_text(r->user, text, len);
}

static void tell_call(void *user, const char *name, const char *arguments)
{
    struct reply *r = user;

    r->n_calls++;
    r->on_call(r->user, name, arguments);
}

static void tell_reasoning(struct reply *r, const char *text, size_t len)
{
    if (len)
        r->on_reasoning(r->user, text, len);
}

/* The answer itself, in which calls may be. */
static void tell_answer(struct reply *r, const char *text, size_t len)
{
    if (r->parses_tools)
        toolcall_feed(&r->toolcall, text, len);
    else
        tell_text(r, text, len);
}

static const struct reply_marks *find_marks(const char *chat_template)
{
    for (size_t i = 0; chat_template && i < sizeof(all_marks) / sizeof(all_marks[0]); i++)
        if (strstr(chat_template, all_marks[i].open) && strstr(chat_template, all_marks[i].close))
            return &all_marks[i];
    return NULL;
}

/* Whether the prompt, but for white space, ends with the mark. */
static bool ends_with_mark(const char *prompt_end, const char *mark)
{
    size_t len = strlen(prompt_end), n = strlen(mark);

    while (len && marks_is_blank(prompt_end[len - 1]))
        len--;
    return len >= n && memcmp(prompt_end + len - n, mark, n) == 0;
}

void reply_init(struct reply *r, const char *chat_template, const char *prompt_end, json_t *tools)
{
    bool is_harmony =
        chat_template && strstr(chat_template, channel_mark) && strstr(chat_template, message_mark);

    r->marks = is_harmony ? NULL : find_marks(chat_template);
    r->parses_tools = tools;
    r->n_calls = 0;
    r->recipient[0] = 0;
    strbuf_init(&r->held, CALL_BYTES);
    r->toolcall = (struct toolcall){.on_text = tell_text, .on_call = tell_call, .user = r};
    toolcall_init(&r->toolcall, chat_template, tools);
    r->state = is_harmony ? HEADER : r->marks ? BEGIN : PLAIN;
    if (r->marks && prompt_end && ends_with_mark(prompt_end, r->marks->open))
        r->state = REASONING_BEGIN;
}

void reply_finish(struct reply *r)
{
    toolcall_finish(&r->toolcall);
    strbuf_finish(&r->held);
}

/* ---- marks around reasoning ---- */

/* White space first waits for what follows it. */
static bool step_begin(struct reply *r)
{
    const char *open = r->marks->open;
    size_t blank = marks_blank_prefix(r->held.data, r->held.len), n = strlen(open);
    size_t len = r->held.len - blank, same = len < n ? len : n;

    if (!len || memcmp(r->held.data + blank, open, same)) {
        if (!len)
            return false;
        r->state = PLAIN;
        return true;
    }
    if (len < n)
        return false;
    strbuf_consume(&r->held, blank + n);
    r->state = REASONING_BEGIN;
    return true;
}

static bool step_reasoning(struct reply *r)
{
    const char *close = r->marks->close;
    const char *at = memmem(r->held.data, r->held.len, close, strlen(close));
    size_t len = at ? (size_t)(at - r->held.data)
                    : r->held.len - marks_partial(r->held.data, r->held.len, close);
    size_t end = len;

    while (len && marks_is_blank(r->held.data[len - 1]))
        len--;
    tell_reasoning(r, r->held.data, len);
    strbuf_consume(&r->held, at ? end + strlen(close) : len);
    if (at)
        r->state = CONTENT_BEGIN;
    return at;
}

/* White space behind a mark is layout. */
static bool step_blank(struct reply *r, int next)
{
    strbuf_consume(&r->held, marks_blank_prefix(r->held.data, r->held.len));
    if (r->held.len)
        r->state = next;
    return r->held.len;
}

/* ---- harmony ---- */

/* Whether what is held can still be a header: begins as one does. */
static bool may_be_header(const struct reply *r)
{
    static const char *const begins[] = {"<|channel|>", "<|message|>", "<|start|>", " to="};

    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        size_t n = strlen(begins[i]);

        if (memcmp(r->held.data, begins[i], n < r->held.len ? n : r->held.len) == 0)
            return r->held.len <= HEADER_BYTES;
    }
    return false;
}

/* The word behind `key`, up to white space or the next mark. */
static size_t word_after(const char *header, const char *key, const char **ret_word)
{
    const char *at = strstr(header, key);

    if (!at)
        return 0;
    *ret_word = at + strlen(key);
    return strcspn(*ret_word, " \n\r\t<");
}

/* header: NUL-terminated. */
static int body_of(struct reply *r, const char *header)
{
    static const char functions[] = "functions.";
    const char *channel = "", *to = "";
    size_t channel_len = word_after(header, channel_mark, &channel);
    size_t to_len = word_after(header, "to=", &to);

    if (to_len > sizeof(functions) - 1 && strncmp(to, functions, sizeof(functions) - 1) == 0) {
        to += sizeof(functions) - 1;
        to_len -= sizeof(functions) - 1;
    }
    r->recipient[0] = 0;
    if (to_len && to_len < sizeof(r->recipient)) {
        memcpy(r->recipient, to, to_len);
        r->recipient[to_len] = 0;
    }
    if (to_len) /* what nobody asked for is no answer either, nor what a tool would say */
        return r->parses_tools && r->recipient[0] && strcmp(r->recipient, "assistant")
                   ? BODY_CALL
                   : BODY_REASONING;
    return channel_len == 8 && memcmp(channel, "analysis", 8) == 0 ? BODY_REASONING : BODY_ANSWER;
}

static bool step_header(struct reply *r)
{
    char *at = memmem(r->held.data, r->held.len, message_mark, sizeof(message_mark) - 1);
    size_t len;

    if (!may_be_header(r)) {
        /* one that never ends must not be taken for one again */
        if (r->held.len > HEADER_BYTES) {
            tell_answer(r, r->held.data, 1);
            strbuf_consume(&r->held, 1);
        }
        r->state = BODY_ANSWER;
        return true;
    }
    if (!at)
        return false;
    len = (size_t)(at - r->held.data);
    *at = 0;
    r->state = body_of(r, r->held.data);
    strbuf_consume(&r->held, len + sizeof(message_mark) - 1);
    return true;
}

/* A call's body that is no JSON object is shown as it is: the caller knows best what to make of it.
 */
static void take_call(struct reply *r, size_t len)
{
    json_t *arguments = json_loadb(r->held.data ? r->held.data : "", len, JSON_ALLOW_NUL, NULL);
    char *dump = json_is_object(arguments) ? json_dumps(arguments, JSON_COMPACT)
                                           : strndup(r->held.data ? r->held.data : "", len);

    if (dump)
        tell_call(r, r->recipient, dump);
    free(dump);
    json_decref(arguments);
}

/* The first mark that ends a body; *ret_partial: bytes at the end that may begin one. */
static char *find_body_end(const struct reply *r, size_t *ret_mark_len, size_t *ret_partial)
{
    char *first = NULL;

    *ret_partial = 0;
    for (size_t i = 0; i < N_BODY_ENDS; i++) {
        size_t n = strlen(body_ends[i]), part;
        char *at = memmem(r->held.data, r->held.len, body_ends[i], n);

        part = marks_partial(r->held.data, r->held.len, body_ends[i]);
        *ret_partial = part > *ret_partial ? part : *ret_partial;
        if (!at || (first && first < at))
            continue;
        first = at;
        /* what begins the next header stays */
        *ret_mark_len = i < N_HEADER_MARKS ? 0 : n;
    }
    return first;
}

static bool step_body(struct reply *r)
{
    size_t mark_len = 0, partial;
    char *end = find_body_end(r, &mark_len, &partial);
    size_t len = end ? (size_t)(end - r->held.data) : r->held.len - partial;

    if (r->state == BODY_CALL && !end)
        return false;
    if (r->state == BODY_CALL)
        take_call(r, len);
    else if (r->state == BODY_REASONING)
        tell_reasoning(r, r->held.data, len);
    else
        tell_answer(r, r->held.data, len);
    strbuf_consume(&r->held, len + mark_len);
    if (end)
        r->state = HEADER;
    return end;
}

/* ---- */

static bool step(struct reply *r)
{
    switch (r->state) {
    case BEGIN:
        return step_begin(r);
    case REASONING:
        return step_reasoning(r);
    case REASONING_BEGIN:
        return step_blank(r, REASONING);
    case CONTENT_BEGIN:
        return step_blank(r, PLAIN);
    case HEADER:
        return step_header(r);
    case PLAIN:
        tell_answer(r, r->held.data, r->held.len);
        strbuf_reset(&r->held);
        return false;
    default:
        return step_body(r);
    }
}

void reply_feed(struct reply *r, const char *text, size_t len)
{
    strbuf_add(&r->held, text, len);
    if (r->held.failed) { /* far too long for a call: plain text from here on */
        r->held.failed = false;
        tell_answer(r, r->held.data, r->held.len);
        tell_answer(r, text, len);
        strbuf_reset(&r->held);
        r->state = r->marks ? PLAIN : BODY_ANSWER;
        return;
    }
    while (r->held.len && step(r))
        continue;
}

void reply_end(struct reply *r)
{
    if (r->state == BODY_CALL) {
        take_call(r, r->held.len);
        strbuf_reset(&r->held);
    } else if (r->held.len && (r->state == REASONING || r->state == BODY_REASONING)) {
        tell_reasoning(r, r->held.data, r->held.len);
    } else if (r->held.len && r->state != CONTENT_BEGIN &&
               !(r->state == HEADER && may_be_header(r))) {
        tell_answer(r, r->held.data, r->held.len);
    }
    strbuf_reset(&r->held);
    if (r->parses_tools)
        toolcall_end(&r->toolcall);
}
