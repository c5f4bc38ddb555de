/* SPDX-License-Identifier: MIT */
/*
 * The tokens that are looked for in the text before anything else: user-defined ones always,
 * control and unknown ones when asked. The leftmost match counts, and the longest there. Constant
 * after creation.
 */
#ifndef HEARTH_TOKENIZER_SPECIAL_H
#define HEARTH_TOKENIZER_SPECIAL_H

#include "tokenizer/vocab.h"

/* Longer ones are never matched, so that no vocabulary makes looking slow. */
enum { SPECIAL_LEN_LIMIT = 512 };

struct special {
    int32_t *ids; /* owned; sorted by text */
    size_t n;
    bool starts[2][256]; /* by whether control tokens count: first bytes */
};

int special_init(struct special *s, const struct vocab *v); /* 0 or -ENOMEM */
void special_finish(struct special *s);

/* The first match at or after offset `from`: its id and place, or -1. */
int32_t special_find(const struct special *s, const struct vocab *v, const char *text, size_t len,
                     size_t from, bool with_control, size_t *ret_start, size_t *ret_end);

#endif
