/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece's unigram model (T5, XLM-RoBERTa): the text is normalised, and of all ways to cut
 * it into tokens the one with the greatest sum of scores counts (Viterbi; Kudo 2018, "Subword
 * Regularization"). A character without a token costs ten more than the worst token.
 */
#include "base/utf8.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/prefixes.h"
#include "tokenizer/tokenizer_part.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double unknown_penalty = 10;

struct unigram {
    const struct vocab *vocab;
    struct charsmap charsmap;
    int32_t *ids;       /* owned; the tokens that text can become, by their texts */
    size_t starts[257]; /* in ids: where those with each first byte begin */
    double unknown;     /* score of a character without a token */
    bool cuts_at_space; /* words are independent: no token has a space behind another character */
    bool has_all_bytes; /* characters without a token become byte tokens */
    bool adds_space;    /* before the first word of a text */
    bool merges_spaces; /* to one between words, none at the ends */
};

/* The best way to end a token at this offset of a word. */
struct unigram_end {
    double score;   /* of everything up to here */
    uint32_t start; /* of the last token */
    uint32_t next;  /* where the token behind it ends, once the best way is known */
    int32_t id;     /* -1: a character without a token */
};

static int compare(const void *a, const void *b, void *context)
{
    return prefixes_compare(context, *(const int32_t *)a, *(const int32_t *)b);
}

static bool is_inner_space(const char *text, size_t i)
{
    return i && text[i] == ' ' && text[i - 1] != ' ';
}

/* Counts a token that text can become. */
static void add_token(struct unigram *u, int32_t id, size_t *n)
{
    const struct vocab_token *token = &u->vocab->tokens[id];
    const char *text = u->vocab->blob + token->offset;

    u->ids[(*n)++] = id;
    u->starts[(unsigned char)text[0] + 1]++;
    for (uint32_t i = 0; i < token->len; i++)
        if (is_inner_space(text, i))
            u->cuts_at_space = false;
}

static int load_tokens(struct unigram *u)
{
    const struct vocab *v = u->vocab;
    double least = INFINITY;
    size_t n = 0;

    u->ids = malloc(v->n_tokens * sizeof(*u->ids));
    if (!u->ids)
        return -ENOMEM;
    /* without a token for the space itself, one unknown token could span words */
    u->cuts_at_space = vocab_find(v, " ", 1) >= 0;
    u->has_all_bytes = true;
    for (int b = 0; b < 256; b++)
        u->has_all_bytes &= v->byte_ids[b] >= 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const struct vocab_token *token = &v->tokens[i];

        if (token->type == TOKENIZER_TYPE_NORMAL && token->score < least && isfinite(token->score))
            least = token->score;
        /* of two with the same text the first; one that can never be chosen is none */
        if (vocab_find(v, v->blob + token->offset, token->len) == (int32_t)i &&
            isfinite(token->score))
            add_token(u, (int32_t)i, &n);
    }
    for (int b = 0; b < 256; b++)
        u->starts[b + 1] += u->starts[b];
    qsort_r(u->ids, n, sizeof(*u->ids), compare, (void *)(uintptr_t)v);
    u->unknown = (isfinite(least) ? least : 0) - unknown_penalty;
    return 0;
}

static void unigram_destroy(void *state)
{
    struct unigram *u = state;

    if (!u)
        return;
    charsmap_finish(&u->charsmap);
    free(u->ids);
    free(u);
}

static int unigram_create(struct tokenizer *t, const struct tokenizer_desc *desc, struct error *err)
{
    struct unigram *u = t->state = calloc(1, sizeof(*u));

    if (!u)
        return error_set(err, ENOMEM, "no memory for the tokenizer");
    u->vocab = &t->vocab;
    u->adds_space = desc->add_space_prefix > 0;
    u->merges_spaces = desc->remove_extra_whitespaces > 0;
    if (load_tokens(u) < 0)
        return error_set(err, ENOMEM, "no memory for the tokenizer");
    return charsmap_init(&u->charsmap, desc->charsmap, desc->charsmap_len, err);
}

/* Normalised text as it is made. */
struct normalizer {
    const struct unigram *unigram;
    struct strbuf *out;
    bool is_in_word, has_begun;
};

static void add_byte(struct normalizer *n, char c)
{
    const struct unigram *u = n->unigram;

    if (c == ' ') {
        n->is_in_word = false;
        if (!u->merges_spaces)
            strbuf_add_char(n->out, ' ');
        return;
    }
    if (!n->is_in_word && (u->merges_spaces || (u->adds_space && !n->has_begun)))
        strbuf_add_char(n->out, ' ');
    n->is_in_word = n->has_begun = true;
    strbuf_add_char(n->out, c);
}

/* U+2581 that stands in the text itself is a character of a word, though the same as a space. */
static void add_normal(struct normalizer *n, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t before = n->out->len;

        add_byte(n, text[i]);
        if (before >= 2 && n->out->len == before + 1 && !n->out->failed &&
            memcmp(n->out->data + before - 2, "\xe2\x96\x81", 3) == 0) {
            n->out->len -= 3;
            strbuf_add_char(n->out, ' ');
        }
    }
}

/* Appends text, normalised, to run->text. */
static int normalize(struct run *run, const char *text, size_t len)
{
    const struct unigram *u = run->tokenizer->state;
    struct normalizer n = {.unigram = u, .out = &run->text};

    for (size_t i = 0; i < len;) {
        const char *other = text + i;
        size_t other_len;
        int64_t used = charsmap_find(&u->charsmap, text + i, len - i, &other, &other_len);
        uint32_t cp;

        if (used < 0)
            return error_set(run->err, EINVAL,
                             "tokenizer.ggml.precompiled_charsmap of the model points outside "
                             "itself: convert the model again");
        if (used == 0) {
            used = utf8_decode(text + i, len - i, &cp);
            other_len = (size_t)used;
        }
        if (used <= 0) {
            used = 1;
            other = "\xef\xbf\xbd";
            other_len = 3;
        }
        add_normal(&n, other, other_len);
        i += (size_t)used;
    }
    return run->text.failed ? run_no_memory(run) : 0;
}

static void challenge(struct unigram_end *end, double score, size_t start, int32_t id)
{
    if (score > end->score)
        *end = (struct unigram_end){score, (uint32_t)start, 0, id};
}

/* Tries every token at offset `at` of a word; whether one of them is its first character. */
static bool try_tokens(const struct unigram *u, struct unigram_end *ends, const char *word,
                       size_t len, size_t at, size_t char_len)
{
    const struct vocab *v = u->vocab;
    size_t low = u->starts[(unsigned char)word[at]];
    size_t high = u->starts[(unsigned char)word[at] + 1];
    bool has_char = false;

    for (size_t depth = 1; low < high; depth++) {
        int32_t id = u->ids[low];

        if (v->tokens[id].len == depth) {
            bool is_given = v->tokens[id].type == TOKENIZER_TYPE_USER_DEFINED;

            has_char |= depth == char_len;
            challenge(&ends[at + depth], ends[at].score + (is_given ? 0 : v->tokens[id].score), at,
                      id);
        }
        if (at + depth == len)
            break;
        prefixes_narrow(v, u->ids, &low, &high, depth, (unsigned char)word[at + depth]);
    }
    return has_char;
}

/* Fills ends[0 .. len] and links the tokens of the best way from ends[0].next on. */
static void find_best(const struct unigram *u, struct unigram_end *ends, const char *word,
                      size_t len)
{
    for (size_t i = 0; i <= len; i++)
        ends[i].score = -INFINITY;
    ends[0].score = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int used = utf8_decode(word + at, len - at, &cp);
        size_t char_len = used > 0 ? (size_t)used : 1;

        if (!try_tokens(u, ends, word, len, at, char_len))
            challenge(&ends[at + char_len], ends[at].score + u->unknown, at, -1);
        at += char_len;
    }
    for (size_t end = len; end; end = ends[end].start)
        ends[ends[end].start].next = (uint32_t)end;
}

static int reserve(struct run *run, size_t n)
{
    struct unigram_end *more;

    if (n <= run->cap_ends)
        return 0;
    more = reallocarray(run->ends, n + n / 2, sizeof(*more));
    if (!more)
        return run_no_memory(run);
    run->ends = more;
    run->cap_ends = n + n / 2;
    return 0;
}

static int encode_word(struct run *run, const char *word, size_t len)
{
    const struct unigram *u = run->tokenizer->state;
    bool after_unknown = false;
    struct unigram_end *ends;

    if (reserve(run, len + 1) < 0)
        return -ENOMEM;
    ends = run->ends;
    find_best(u, ends, word, len);
    for (size_t start = 0; start < len; start = ends[start].next) {
        size_t end = ends[start].next;
        bool is_unknown = ends[end].id < 0;
        int ret = 0;

        if (!is_unknown)
            ret = run_add(run, ends[end].id);
        else if (u->has_all_bytes || !after_unknown)
            ret = run_add_bytes(run, word + start, end - start);
        if (ret < 0)
            return ret;
        after_unknown = is_unknown;
    }
    return 0;
}

static size_t word_end(const char *text, size_t start, size_t end)
{
    size_t i = start + 1;

    while (i < end && !is_inner_space(text, i))
        i++;
    return i;
}

static int unigram_encode(struct run *run, const char *text, size_t len, bool after_special)
{
    const struct unigram *u = run->tokenizer->state;
    size_t i = run->text.len, end;
    int ret = normalize(run, text, len);

    end = run->text.len;
    for (size_t next; ret == 0 && i < end; i = next) {
        struct wordcache_entry *slot;
        size_t first = run->out->n;

        next = u->cuts_at_space ? word_end(run->text.data, i, end) : end;
        if (run_recall(run, run->text.data, i, next - i, &slot, &ret))
            continue;
        ret = encode_word(run, run->text.data + i, next - i);
        if (ret == 0)
            run_remember(run, slot, i, next - i, first);
    }
    return ret;
}

const struct model unigram_model = {
    .name = "t5",
    .alphabet = VOCAB_SPACE_MARK,
    .adds_eos = true,
    .create = unigram_create,
    .destroy = unigram_destroy,
    .encode = unigram_encode,
};
