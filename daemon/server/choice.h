/* SPDX-License-Identifier: MIT */
/*
 * One answer of a completion, of which a request may want several: gathers what the engine tells of
 * it and writes it in the words of OpenAI's two APIs, as chunks of a stream or as an item of
 * "choices".
 */
#ifndef HEARTH_SERVER_CHOICE_H
#define HEARTH_SERVER_CHOICE_H

#include "engine/engine.h"
#include "server/exchange.h"
#include "server/logprobs.h"
#include "server/reply.h"

/* What all answers of one request have in common; the completion's. */
struct choice_frame {
    struct exchange *x;
    bool is_chat, is_stream, includes_usage;
    struct strbuf opening; /* of every object: {"id":...,"object":...,"created":...,"model":... */
};

struct choice {
    struct choice_frame *frame;
    void *user; /* the caller's */
    unsigned index;
    struct engine_request *request; /* while it runs */
    bool is_done;
    struct strbuf text; /* not streaming: the answer so far */
    struct strbuf reasoning;
    struct strbuf calls; /* not streaming: items of tool_calls */
    struct reply reply;  /* of a chat, once it has begun */
    bool has_reply;
    struct logprobs logprobs;
    const char *finish; /* why it ended, as clients are told; once it is done */
    uint64_t last_token_ns;
};

void choice_init(struct choice *c, struct choice_frame *frame, unsigned index, void *user);
void choice_finish(struct choice *c); /* also of one that is all zeros */

/* What a chat's text is made of from now on: see reply_init(). */
void choice_begin_reply(struct choice *c, const char *chat_template, json_t *tools);
/* Streaming a chat: the chunk that begins the answer. */
void choice_open(struct choice *c);
void choice_add_text(struct choice *c, const char *text, size_t len);
/* The answer is over: what is held is decided, and when streaming the last chunk written. */
void choice_end(struct choice *c, const struct engine_result *r);
/* Not streaming: the item of "choices". */
void choice_write(struct choice *c, struct strbuf *out);

void choice_write_timings(struct strbuf *out, const struct engine_result *r);

#endif
