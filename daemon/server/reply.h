/* SPDX-License-Identifier: MIT */
/*
 * What a model writes, taken apart as its chat template has it: reasoning (<think>, [THINK],
 * harmony's analysis channel), the answer itself, tool calls. Text arrives in pieces of whole
 * characters and leaves as soon as it is known what it is; at most a call is held back.
 */
#ifndef HEARTH_SERVER_REPLY_H
#define HEARTH_SERVER_REPLY_H

#include "server/toolcall.h"

struct reply {
    void (*on_text)(void *user, const char *text, size_t len);
    void (*on_reasoning)(void *user, const char *text, size_t len);
    /* arguments: JSON text */
    void (*on_call)(void *user, const char *name, const char *arguments);
    void *user;
    unsigned n_calls; /* told so far */
    /* its own */
    const struct reply_marks *marks; /* around reasoning; NULL: the template knows none */
    bool parses_tools;
    struct toolcall toolcall;
    struct strbuf held; /* what may be the start of a mark, a header or a call */
    char recipient[128];
    int state;
};

/* chat_template: its source, or NULL. prompt_end: the last bytes of the prompt, where a template
 * may have begun the reasoning. tools: the request's array, of which a reference is taken; NULL:
 * calls are text. Callbacks and user are set by the caller. */
void reply_init(struct reply *r, const char *chat_template, const char *prompt_end, json_t *tools);
void reply_finish(struct reply *r); /* also of one that is all zeros */
void reply_feed(struct reply *r, const char *text, size_t len);
/* The answer is over: what is held is decided. */
void reply_end(struct reply *r);

#endif
