/* SPDX-License-Identifier: MIT */
#include "tokenizer/special.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_matched(const struct vocab_token *token, bool with_control)
{
    if (!token->len || token->len > SPECIAL_LEN_LIMIT)
        return false;
    if (token->type == TOKENIZER_TYPE_USER_DEFINED)
        return true;
    return with_control &&
           (token->type == TOKENIZER_TYPE_CONTROL || token->type == TOKENIZER_TYPE_UNKNOWN);
}

/* By text; of equal ones those that always count first, then by id. */
static int compare(const void *a, const void *b, void *context)
{
    const struct vocab *v = context;
    int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    size_t left_len, right_len;
    const char *left_text = vocab_text(v, left, &left_len);
    const char *right_text = vocab_text(v, right, &right_len);
    int order = memcmp(left_text, right_text, left_len < right_len ? left_len : right_len);

    if (order)
        return order;
    if (left_len != right_len)
        return left_len < right_len ? -1 : 1;
    if (v->tokens[left].type != v->tokens[right].type) {
        if (v->tokens[left].type == TOKENIZER_TYPE_USER_DEFINED)
            return -1;
        if (v->tokens[right].type == TOKENIZER_TYPE_USER_DEFINED)
            return 1;
    }
    return left < right ? -1 : 1;
}

static bool is_same_text(const struct vocab *v, int32_t a, int32_t b)
{
    size_t a_len, b_len;
    const char *a_text = vocab_text(v, a, &a_len), *b_text = vocab_text(v, b, &b_len);

    return a_len == b_len && memcmp(a_text, b_text, a_len) == 0;
}

int special_init(struct special *s, const struct vocab *v)
{
    *s = (struct special){0};
    for (uint32_t i = 0; i < v->n_tokens; i++)
        s->n += is_matched(&v->tokens[i], true);
    s->ids = malloc((s->n + 1) * sizeof(*s->ids));
    if (!s->ids)
        return -ENOMEM;
    s->n = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        unsigned char first;

        if (!is_matched(&v->tokens[i], true))
            continue;
        s->ids[s->n++] = (int32_t)i;
        first = (unsigned char)v->blob[v->tokens[i].offset];
        s->starts[1][first] = true;
        if (is_matched(&v->tokens[i], false))
            s->starts[0][first] = true;
    }
    qsort_r(s->ids, s->n, sizeof(*s->ids), compare, (void *)(uintptr_t)v);
    for (uint32_t i = 0, n = (uint32_t)s->n; i < n; i++) {
        if (!i)
            s->n = 0;
        if (!s->n || !is_same_text(v, s->ids[s->n - 1], s->ids[i]))
            s->ids[s->n++] = s->ids[i];
    }
    return 0;
}

void special_finish(struct special *s)
{
    free(s->ids);
    s->ids = NULL;
    s->n = 0;
}

/* Byte `depth` of a token's text, -1 behind its end; texts in a range agree up to depth. */
static int byte_at(const struct vocab *v, int32_t id, size_t depth)
{
    const struct vocab_token *token = &v->tokens[id];

    return depth < token->len ? (unsigned char)v->blob[token->offset + depth] : -1;
}

/* The first index in [low, high) whose byte at depth is at least `byte`. */
static size_t lower_bound(const struct special *s, const struct vocab *v, size_t low, size_t high,
                          size_t depth, int byte)
{
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (byte_at(v, s->ids[mid], depth) < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The longest token that text starts with, or -1. */
static int32_t match_at(const struct special *s, const struct vocab *v, const char *text,
                        size_t len, bool with_control)
{
    size_t low = 0, high = s->n;
    int32_t found = -1;

    for (size_t depth = 0; depth < len; depth++) {
        int byte = (unsigned char)text[depth];

        low = lower_bound(s, v, low, high, depth, byte);
        high = lower_bound(s, v, low, high, depth, byte + 1);
        if (low == high)
            break;
        /* one that ends here stands first */
        if (v->tokens[s->ids[low]].len == depth + 1 &&
            is_matched(&v->tokens[s->ids[low]], with_control))
            found = s->ids[low];
    }
    return found;
}

int32_t special_find(const struct special *s, const struct vocab *v, const char *text, size_t len,
                     size_t from, bool with_control, size_t *ret_start, size_t *ret_end)
{
    const bool *starts = s->starts[with_control];

    for (size_t i = from; s->n && i < len; i++) {
        int32_t id;

        if (!starts[(unsigned char)text[i]])
            continue;
        id = match_at(s, v, text + i, len - i, with_control);
        if (id >= 0) {
            *ret_start = i;
            *ret_end = i + v->tokens[id].len;
            return id;
        }
    }
    return -1;
}
