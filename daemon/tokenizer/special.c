/* SPDX-License-Identifier: MIT */
#include "tokenizer/special.h"

#include "tokenizer/prefixes.h"

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
    int order = prefixes_compare(v, left, right);

    if (order)
        return order;
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

/* The longest token that text starts with, or -1. */
static int32_t match_at(const struct special *s, const struct vocab *v, const char *text,
                        size_t len, bool with_control)
{
    size_t low = 0, high = s->n;
    int32_t found = -1;

    for (size_t depth = 0; depth < len; depth++) {
        int byte = (unsigned char)text[depth];

        prefixes_narrow(v, s->ids, &low, &high, depth, byte);
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
