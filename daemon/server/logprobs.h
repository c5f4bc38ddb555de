/* SPDX-License-Identifier: MIT */
/* Log probabilities as OpenAI's two APIs print them, gathered until the next piece of the answer.
 */
#ifndef HEARTH_SERVER_LOGPROBS_H
#define HEARTH_SERVER_LOGPROBS_H

#include "base/strbuf.h"
#include "engine/engine.h"

struct logprobs {
    bool is_chat;
    size_t text_offset; /* bytes of text before the next token */
    /* JSON list items. chat: entries in [0]; completions: tokens, token_logprobs, top_logprobs,
     * text_offset */
    struct strbuf parts[4];
};

void logprobs_init(struct logprobs *l, bool is_chat);
void logprobs_finish(struct logprobs *l);
void logprobs_add(struct logprobs *l, struct engine *engine, const char *model,
                  const struct engine_token *token);
/* Appends the value of "logprobs" ("null" when nothing was gathered) and starts anew. */
void logprobs_write(struct logprobs *l, struct strbuf *out);

#endif
