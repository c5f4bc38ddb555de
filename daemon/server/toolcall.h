/* SPDX-License-Identifier: MIT */
/*
 * Tool calls in the text a model writes, in the format that its chat template is written for
 * (toolcall_format.h), else <tool_call>{"name":...,"arguments":{...}}</tool_call>, any number of
 * them, or an answer that is nothing but such a JSON object (with "arguments" or "parameters").
 * Text arrives in pieces; what cannot be a call any more is handed on at once, and what turns out
 * to be none is handed on as it was written.
 */
#ifndef HEARTH_SERVER_TOOLCALL_H
#define HEARTH_SERVER_TOOLCALL_H

#include "base/strbuf.h"

#include <jansson.h>
#include <stdbool.h>

struct toolcall {
    void (*on_text)(void *user, const char *text, size_t len);
    /* arguments: JSON text */
    void (*on_call)(void *user, const char *name, const char *arguments);
    void *user;
    /* its own */
    const struct toolcall_format *format;
    json_t *tools;      /* a reference; NULL: every name is a tool's */
    struct strbuf held; /* the start of a tag, a call's text, or a bare object */
    int state;
    unsigned n_calls;
};

/* chat_template: its source, or NULL. tools: the request's array; a reference is taken. Callbacks
 * and user are set by the caller. */
void toolcall_init(struct toolcall *t, const char *chat_template, json_t *tools);
void toolcall_finish(struct toolcall *t);
void toolcall_feed(struct toolcall *t, const char *text, size_t len);
/* The answer is over: what is held is decided. */
void toolcall_end(struct toolcall *t);

#endif
