/* SPDX-License-Identifier: MIT */
/* Ids in the order of their texts, so that those which begin like some text are a range, narrowed
 * byte by byte. */
#ifndef HEARTH_TOKENIZER_PREFIXES_H
#define HEARTH_TOKENIZER_PREFIXES_H

#include "tokenizer/vocab.h"

#include <string.h>

/* Below, equal to or above 0, as memcmp has it; what is a start of the other comes first. */
static inline int prefixes_compare(const struct vocab *v, int32_t left, int32_t right)
{
    size_t left_len, right_len;
    const char *left_text = vocab_text(v, left, &left_len);
    const char *right_text = vocab_text(v, right, &right_len);
    int order = memcmp(left_text, right_text, left_len < right_len ? left_len : right_len);

    return order ? order : (left_len > right_len) - (left_len < right_len);
}

/* Byte `depth` of a token's text, -1 behind its end. */
static inline int prefixes_byte(const struct vocab *v, int32_t id, size_t depth)
{
    const struct vocab_token *token = &v->tokens[id];

    return depth < token->len ? (unsigned char)v->blob[token->offset + depth] : -1;
}

/* The first index in [low, high) whose byte at depth is at least `byte`; the texts of the range
 * agree up to depth. */
static inline size_t prefixes_bound(const struct vocab *v, const int32_t *ids, size_t low,
                                    size_t high, size_t depth, int byte)
{
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (prefixes_byte(v, ids[mid], depth) < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Leaves of [*low, *high) those that go on with this byte. */
static inline void prefixes_narrow(const struct vocab *v, const int32_t *ids, size_t *low,
                                   size_t *high, size_t depth, int byte)
{
    *low = prefixes_bound(v, ids, *low, *high, depth, byte);
    *high = prefixes_bound(v, ids, *low, *high, depth, byte + 1);
}

#endif
