/* SPDX-License-Identifier: MIT */
/*
 * Tokens to text as they come: gives out whole characters only, so every piece of output is valid
 * UTF-8 by itself, and the pieces together are the same wherever they were cut. Memory of the
 * caller's; one thread at a time.
 */
#ifndef HEARTH_TOKENIZER_DETOKENIZER_H
#define HEARTH_TOKENIZER_DETOKENIZER_H

#include "base/strbuf.h"
#include "tokenizer/tokenizer.h"

struct detokenizer {
    const struct tokenizer *tokenizer; /* the caller's, must outlive this */
    bool shows_control;
    bool at_start; /* a space that encoding would add comes off the next piece */
    uint8_t n_pending;
    char pending[4]; /* start of a character, n_pending bytes */
};

/*
 * previous: the token before the first one (the last of the prompt), -1 at the start of a text.
 * shows_control: control tokens appear by name instead of not at all, as markup always does.
 */
void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, int32_t previous,
                      bool shows_control);
/* Appends the characters that this token completes, maybe none; bytes that can be no character
 * become U+FFFD. An id out of range is ignored. Memory: see out->failed. */
void detokenizer_add(struct detokenizer *d, int32_t id, struct strbuf *out);
/* The end: an unfinished character becomes U+FFFD. */
void detokenizer_flush(struct detokenizer *d, struct strbuf *out);

#endif
