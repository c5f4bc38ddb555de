/* SPDX-License-Identifier: MIT */
/*
 * From sampled tokens to the text a client may see: whole characters only, and nothing that could
 * still turn out to be the beginning of a stop string. Device thread.
 */
#ifndef HEARTH_ENGINE_ANSWER_H
#define HEARTH_ENGINE_ANSWER_H

#include "base/strbuf.h"
#include "tokenizer/detokenizer.h"

struct answer {
    struct detokenizer detokenizer;
    struct strbuf held;      /* decoded, not given out yet */
    const char *const *stop; /* n_stop non-empty strings; the request's */
    size_t n_stop;
    const char *stop_string; /* the one that matched, or NULL */
};

void answer_init(struct answer *a);
void answer_finish(struct answer *a);

/* previous: the last token of the prompt. t and stop must outlive the answer. */
void answer_start(struct answer *a, const struct tokenizer *t, uint32_t previous,
                  const char *const *stop, size_t n_stop);

/* Adds a token and appends to out what is now decided. true: a stop string is complete (out holds
 * everything before it, and the answer is over). */
bool answer_add(struct answer *a, uint32_t token, struct strbuf *out);
/* The answer ended for another reason: appends what was held back. */
void answer_flush(struct answer *a, struct strbuf *out);

#endif
