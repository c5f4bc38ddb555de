/* SPDX-License-Identifier: MIT */
/* SentencePiece's BPE: characters joined by the scores of the tokens they make, byte tokens for
 * what the vocabulary lacks, a space before the first word. */
#include "base/utf8.h"
#include "tokenizer/tokenizer_part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct spm {
    const struct vocab *vocab;
    bool cuts_at_space; /* no token has a space behind another character: words are independent */
};

/* Order-preserving: the higher the score, the smaller the number. */
static uint32_t priority_of(float score)
{
    uint32_t bits;

    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, 4);
    return bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
}

static bool join(const void *context, const char *text, const struct merge_pair *pair,
                 uint32_t *ret_priority, int32_t *ret_id)
{
    const struct vocab *v = context;

    *ret_id = vocab_find(v, text + pair->start, pair->end - pair->start);
    if (*ret_id < 0)
        return false;
    *ret_priority = priority_of(v->tokens[*ret_id].score);
    return true;
}

static bool has_inner_space(const struct vocab *v, const struct vocab_token *token)
{
    const char *text = v->blob + token->offset;

    for (uint32_t i = 1; i < token->len; i++)
        if (text[i] == ' ' && text[i - 1] != ' ')
            return true;
    return false;
}

static int spm_create(struct tokenizer *t, const struct tokenizer_desc *desc, struct error *err)
{
    const struct vocab *v = &t->vocab;
    struct spm *spm = t->state = malloc(sizeof(*spm));

    if (!spm)
        return error_set(err, ENOMEM, "no memory for the tokenizer");
    *spm = (struct spm){v, true};
    for (uint32_t i = 0; i < v->n_tokens && spm->cuts_at_space; i++)
        if (vocab_find(v, v->blob + v->tokens[i].offset, v->tokens[i].len) >= 0)
            spm->cuts_at_space = !has_inner_space(v, &v->tokens[i]);
    return 0;
}

/* Appends text with U+2581 as a space. */
static void add_normal(struct strbuf *out, const char *text, size_t len)
{
    const char *mark;

    while ((mark = memmem(text, len, "\xe2\x96\x81", 3))) {
        strbuf_add(out, text, (size_t)(mark - text));
        strbuf_add_char(out, ' ');
        len -= (size_t)(mark - text) + 3;
        text = mark + 3;
    }
    strbuf_add(out, text, len);
}

static int encode_word(struct run *run, const char *word, size_t len)
{
    const struct vocab *v = &run->tokenizer->vocab;
    size_t n = 0;
    int64_t n_left;

    if (merge_reserve(&run->merge, len) < 0)
        return run_no_memory(run);
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        int used = utf8_decode(word + i, len - i, &cp);
        size_t step = used > 0 ? (size_t)used : 1;

        run->merge.symbols[n++] = (struct merge_symbol){(uint32_t)i, vocab_find(v, word + i, step)};
        i += step;
    }
    n_left = merge_run(&run->merge, n, word, (uint32_t)len, join, v);
    if (n_left < 0)
        return run_no_memory(run);
    for (int64_t i = 0; i < n_left; i++) {
        const struct merge_symbol *s = &run->merge.symbols[i];
        size_t end = i + 1 < n_left ? s[1].start : len;
        int ret =
            s->id >= 0 ? run_add(run, s->id) : run_add_bytes(run, word + s->start, end - s->start);

        if (ret < 0)
            return ret;
    }
    return 0;
}

static size_t word_end(const char *text, size_t start, size_t end)
{
    size_t i = start;

    while (i < end && text[i] == ' ')
        i++;
    while (i < end && text[i] != ' ')
        i++;
    return i;
}

static int spm_encode(struct run *run, const char *text, size_t len, bool after_special)
{
    const struct spm *spm = run->tokenizer->state;
    size_t i = run->text.len, end;

    if (after_special && run->tokenizer->adds_space)
        strbuf_add_char(&run->text, ' ');
    add_normal(&run->text, text, len);
    if (run->text.failed)
        return run_no_memory(run);
    end = run->text.len;
    for (size_t next; i < end; i = next) {
        struct wordcache_entry *slot;
        size_t first = run->out->n;
        int ret;

        next = spm->cuts_at_space ? word_end(run->text.data, i, end) : end;
        if (run_recall(run, run->text.data, i, next - i, &slot, &ret)) {
            if (ret < 0)
                return ret;
            continue;
        }
        ret = encode_word(run, run->text.data + i, next - i);
        if (ret < 0)
            return ret;
        run_remember(run, slot, i, next - i, first);
    }
    return 0;
}

const struct model spm_model = {
    .name = "llama",
    .alphabet = VOCAB_SPACE_MARK,
    .adds_bos = true,
    .adds_space = true,
    .create = spm_create,
    .destroy = free,
    .encode = spm_encode,
};
