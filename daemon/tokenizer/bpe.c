/* SPDX-License-Identifier: MIT */
/* BPE, joining by the ranks of the merge list: of bytes within the pre-tokenizer's words, or, as
 * Gemma 4 has it, of characters within lines. */
#include "base/utf8.h"
#include "tokenizer/charclass.h"
#include "tokenizer/tokenizer_part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct merge_rule {
    int32_t left, right; /* left -1: free slot */
    uint32_t rank;
    int32_t joined;
};

struct bpe {
    struct pretokenizer *pre;
    struct merge_rule *rules; /* owned, open addressing over (left, right) */
    size_t mask;
    uint64_t seed;
    int32_t byte_symbols[256];
};

static struct merge_rule *find_rule(const struct bpe *bpe, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ bpe->seed;
    unsigned __int128 product = (unsigned __int128)key * 0x9e3779b97f4a7c15u;
    size_t at = ((uint64_t)product ^ (uint64_t)(product >> 64)) & bpe->mask;

    for (;; at = (at + 1) & bpe->mask) {
        struct merge_rule *rule = &bpe->rules[at];

        if (rule->left < 0 || (rule->left == left && rule->right == right))
            return rule;
    }
}

static bool join(const void *context, const char *text, const struct merge_pair *pair,
                 uint32_t *ret_priority, int32_t *ret_id)
{
    const struct merge_rule *rule = find_rule(context, pair->left, pair->right);

    *ret_priority = rule->rank;
    *ret_id = rule->joined;
    return rule->left >= 0;
}

/* "left right": the space is never the first character. False: it names no pair. */
static bool split_merge(const struct tokenizer_text *merge, size_t *ret_space)
{
    const char *space = merge->len > 2 ? memchr(merge->data + 1, ' ', merge->len - 2) : NULL;

    if (space)
        *ret_space = (size_t)(space - merge->data);
    return space;
}

static int load_merge(struct bpe *bpe, struct vocab *v, const struct tokenizer_text *merge,
                      uint32_t rank, char *scratch)
{
    size_t space, left_len, len;
    int32_t left, right, joined;
    struct merge_rule *rule;

    if (!split_merge(merge, &space))
        return 0;
    left_len = vocab_decode(v->alphabet, merge->data, space, scratch);
    len = left_len + vocab_decode(v->alphabet, merge->data + space + 1, merge->len - space - 1,
                                  scratch + left_len);
    left = vocab_find_or_add(v, scratch, left_len);
    right = vocab_find_or_add(v, scratch + left_len, len - left_len);
    joined = vocab_find_or_add(v, scratch, len);
    if (left < 0 || right < 0 || joined < 0)
        return left < 0 ? left : right < 0 ? right : joined;
    rule = find_rule(bpe, left, right);
    if (rule->left < 0)
        *rule = (struct merge_rule){left, right, rank, joined};
    return 0;
}

static int load_merges(struct bpe *bpe, struct vocab *v, const struct tokenizer_desc *desc)
{
    size_t longest = 1, n_slots = 64;
    char *scratch;
    int ret = 0;

    if (desc->n_merges >= UINT32_MAX / 4)
        return -E2BIG;
    while (n_slots < desc->n_merges + desc->n_merges / 2)
        n_slots *= 2;
    bpe->rules = malloc(n_slots * sizeof(*bpe->rules));
    for (size_t i = 0; i < desc->n_merges; i++)
        if (desc->merges[i].len > longest)
            longest = desc->merges[i].len;
    scratch = malloc(longest);
    if (!bpe->rules || !scratch) {
        free(scratch);
        return -ENOMEM;
    }
    bpe->mask = n_slots - 1;
    for (size_t i = 0; i < n_slots; i++)
        bpe->rules[i] = (struct merge_rule){.left = -1};
    for (size_t i = 0; i < desc->n_merges && ret == 0; i++)
        ret = load_merge(bpe, v, &desc->merges[i], (uint32_t)i, scratch);
    for (int b = 0; b < 256 && ret == 0 && v->alphabet == VOCAB_BYTE_LEVEL; b++) {
        scratch[0] = (char)b;
        bpe->byte_symbols[b] = vocab_find_or_add(v, scratch, 1);
        if (bpe->byte_symbols[b] < 0)
            ret = bpe->byte_symbols[b];
    }
    free(scratch);
    return ret;
}

static int bpe_create(struct tokenizer *t, const struct tokenizer_desc *desc, struct error *err)
{
    struct bpe *bpe = t->state = calloc(1, sizeof(*bpe));
    int ret;

    if (!bpe)
        return error_set(err, ENOMEM, "no memory for the tokenizer");
    bpe->seed = t->vocab.seed;
    bpe->pre = t->pre ? pretokenizer_create(t->pre) : NULL;
    ret = bpe->pre || !t->pre ? load_merges(bpe, &t->vocab, desc) : -ENOMEM;
    if (ret < 0)
        return error_set(err, ret, "no memory for %zu merges", desc->n_merges);
    return 0;
}

static void bpe_destroy(void *state)
{
    struct bpe *bpe = state;

    if (!bpe)
        return;
    pretokenizer_destroy(bpe->pre);
    free(bpe->rules);
    free(bpe);
}

struct fragment {
    struct run *run;
    const char *text; /* of the whole call, so that the cache sees all of it */
    size_t offset;    /* of the fragment in it */
};

/* Joins the first n symbols of run->merge, which cover the word, and adds what comes of it. */
static int join_symbols(struct run *run, size_t n_symbols, const char *word, size_t len)
{
    const struct tokenizer *t = run->tokenizer;
    int64_t n = merge_run(&run->merge, n_symbols, word, (uint32_t)len, join, t->state);

    if (n < 0)
        return run_no_memory(run);
    for (int64_t i = 0; i < n; i++) {
        const struct merge_symbol *s = &run->merge.symbols[i];
        size_t end = i + 1 < n ? s[1].start : len;
        int ret = s->id >= 0 && s->id < (int32_t)t->vocab.n_tokens
                      ? run_add(run, s->id)
                      : run_add_bytes(run, word + s->start, end - s->start);

        if (ret < 0)
            return ret;
    }
    return 0;
}

static int encode_word(struct run *run, const char *word, size_t len)
{
    const struct tokenizer *t = run->tokenizer;
    const struct bpe *bpe = t->state;
    int32_t id;

    if (len == 1 && bpe->byte_symbols[(unsigned char)*word] < (int32_t)t->vocab.n_tokens)
        return run_add(run, bpe->byte_symbols[(unsigned char)*word]);
    if (t->pre->takes_whole_words) {
        id = vocab_find(&t->vocab, word, len);
        if (id >= 0 && id < (int32_t)t->vocab.n_tokens)
            return run_add(run, id);
    }
    if (merge_reserve(&run->merge, len) < 0)
        return run_no_memory(run);
    for (uint32_t i = 0; i < len; i++)
        run->merge.symbols[i] = (struct merge_symbol){i, bpe->byte_symbols[(unsigned char)word[i]]};
    return join_symbols(run, len, word, len);
}

static int emit(void *context, size_t start, size_t end)
{
    const struct fragment *f = context;
    struct run *run = f->run;
    struct wordcache_entry *slot;
    size_t first = run->out->n, word = f->offset + start, len = end - start;
    int ret;

    if (run_recall(run, f->text, word, len, &slot, &ret))
        return ret;
    ret = encode_word(run, f->text + word, len);
    if (ret == 0)
        run_remember(run, slot, word, len, first);
    return ret;
}

static int bpe_encode(struct run *run, const char *text, size_t len, bool after_special)
{
    const struct bpe *bpe = run->tokenizer->state;
    struct fragment f = {run, run->whole, (size_t)(text - run->whole)};

    if (len > run->cap_classes) {
        free(run->classes);
        run->cap_classes = len;
        run->classes = malloc(len);
        if (!run->classes) {
            run->cap_classes = 0;
            return run_no_memory(run);
        }
    }
    charclass_fill(charclass_get(), text, len, run->classes);
    return pretokenizer_split(bpe->pre, text, run->classes, len, emit, &f);
}

const struct model bpe_model = {
    .name = "gpt2",
    .alphabet = VOCAB_BYTE_LEVEL,
    .has_pre = true,
    .create = bpe_create,
    .destroy = bpe_destroy,
    .encode = bpe_encode,
};

/* Characters that neither a token nor a merge knows stay what they are: id -1. */
static int encode_line(struct run *run, const char *text, size_t len)
{
    const struct vocab *v = &run->tokenizer->vocab;
    size_t n = 0;

    if (merge_reserve(&run->merge, len) < 0)
        return run_no_memory(run);
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int size = utf8_decode(text + at, len - at, &cp);
        bool is_space = size > 0 && cp == 0x2581;

        size = size > 0 ? size : 1;
        run->merge.symbols[n++] =
            (struct merge_symbol){(uint32_t)at, is_space ? vocab_find(v, " ", 1)
                                                         : vocab_find(v, text + at, (size_t)size)};
        at += (size_t)size;
    }
    return join_symbols(run, n, text, len);
}

/* Runs of line breaks, and what stands between them. Tokens have spaces for U+2581, so that in
 * text there is nothing to replace. */
static int lines_encode(struct run *run, const char *text, size_t len, bool after_special)
{
    int ret = 0;

    for (size_t at = 0, n; at < len && ret == 0; at += n) {
        bool is_break = text[at] == '\n';

        for (n = 1; at + n < len && (text[at + n] == '\n') == is_break; n++)
            continue;
        ret = encode_line(run, text + at, n);
    }
    return ret;
}

const struct model bpe_lines_model = {
    .name = "gemma4",
    .alphabet = VOCAB_SPACE_MARK,
    .adds_bos = true,
    .create = bpe_create,
    .destroy = bpe_destroy,
    .encode = lines_encode,
};
