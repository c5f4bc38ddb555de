/* SPDX-License-Identifier: MIT */
/* One call of tokenizer_encode: checks the text, sets special tokens apart, hands the rest to the
 * model's kind. */
#include "base/utf8.h"
#include "tokenizer/tokenizer_part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int run_no_memory(struct run *run)
{
    return error_set(run->err, ENOMEM, "no memory to tokenize the text");
}

static int make_room(struct run *run, size_t n)
{
    struct token_array *a = run->out;
    size_t cap = a->cap + a->cap / 2 + n + 64;
    int32_t *more;

    if (n <= a->cap - a->n)
        return 0;
    more = reallocarray(a->ids, cap, sizeof(*more));
    if (!more)
        return run_no_memory(run);
    a->ids = more;
    a->cap = cap;
    return 0;
}

int run_add(struct run *run, int32_t id)
{
    if (run->out->n == run->out->cap && make_room(run, 1) < 0)
        return -ENOMEM;
    run->out->ids[run->out->n++] = id;
    return 0;
}

int run_add_unknown(struct run *run, const char *text, size_t len)
{
    int32_t unk = run->tokenizer->ids[TOKENIZER_UNK];
    char shown[5] = {0};

    if (unk >= 0)
        return run_add(run, unk);
    if (len <= 4 && utf8_is_valid(text, len)) {
        memcpy(shown, text, len);
        return error_set(run->err, EINVAL, "the model's vocabulary has no token for \"%s\"", shown);
    }
    return error_set(run->err, EINVAL, "the model's vocabulary has no token for byte 0x%02x",
                     (unsigned char)*text);
}

int run_add_bytes(struct run *run, const char *text, size_t len)
{
    const struct vocab *v = &run->tokenizer->vocab;

    for (size_t i = 0; i < len; i++)
        if (v->byte_ids[(unsigned char)text[i]] < 0)
            return run_add_unknown(run, text, len);
    for (size_t i = 0; i < len; i++)
        if (run_add(run, v->byte_ids[(unsigned char)text[i]]) < 0)
            return -ENOMEM;
    return 0;
}

bool run_recall(struct run *run, const char *text, size_t word, size_t len,
                struct wordcache_entry **ret_slot, int *ret)
{
    struct wordcache_entry *slot = NULL;

    if (run->cache.entries && len <= WORDCACHE_WORD_LIMIT)
        slot = wordcache_slot(&run->cache, vocab_hash(run->tokenizer->vocab.seed, text + word, len),
                              len);
    *ret_slot = slot;
    if (!slot || !wordcache_holds(slot, text, word, len))
        return false;
    *ret = make_room(run, slot->n);
    if (*ret == 0) {
        memcpy(run->out->ids + run->out->n, run->out->ids + run->first + slot->first,
               slot->n * sizeof(int32_t));
        run->out->n += slot->n;
    }
    return true;
}

void run_remember(struct run *run, struct wordcache_entry *slot, size_t word, size_t len,
                  size_t first)
{
    if (slot)
        *slot =
            (struct wordcache_entry){(uint32_t)word, (uint32_t)len, (uint32_t)(first - run->first),
                                     (uint32_t)(run->out->n - first)};
}

static int check_utf8(const char *text, size_t len, struct error *err)
{
    size_t i = 0;

    while (i < len) {
        uint64_t word;
        uint32_t cp;
        int n;

        if (len - i >= 8) {
            memcpy(&word, text + i, 8);
            if (!(word & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        n = utf8_decode(text + i, len - i, &cp);
        if (n <= 0)
            return error_set(err, EILSEQ, "the text is not valid UTF-8 at byte %zu", i);
        i += (size_t)n;
    }
    return 0;
}

static size_t skip_white(const char *text, size_t i, size_t len)
{
    while (i < len && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r')))
        i++;
    return i;
}

static int encode_all(struct run *run, const char *text, size_t len, bool with_control)
{
    const struct tokenizer *t = run->tokenizer;
    bool after_special = true;
    size_t i = 0;
    int ret = 0;

    while (i < len && ret == 0) {
        size_t start = len, end = len;
        int32_t id = special_find(&t->special, &t->vocab, text, len, i, with_control, &start, &end);

        if (start > i)
            ret = t->model->encode(run, text + i, start - i, after_special);
        after_special = id >= 0;
        if (ret == 0 && id >= 0) {
            ret = run_add(run, id);
            if (t->vocab.tokens[id].strips_right)
                end = skip_white(text, end, len);
        }
        i = end;
    }
    return ret;
}

static int add_special(struct run *run, bool is_wanted, enum tokenizer_special which)
{
    int32_t id = run->tokenizer->ids[which];

    return is_wanted && id >= 0 ? run_add(run, id) : 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     struct token_array *out, struct error *err)
{
    struct run run = {.tokenizer = t, .out = out, .err = err, .whole = text, .first = out->n};
    bool adds_special = flags & TOKENIZE_ADD_SPECIAL;
    int ret;

    if (len > TOKENIZER_TEXT_LIMIT)
        return error_set(err, E2BIG, "the text is %zu MiB long, at most %d are tokenized at once",
                         len >> 20, TOKENIZER_TEXT_LIMIT >> 20);
    if (!(flags & TOKENIZE_ANY_BYTES)) {
        ret = check_utf8(text, len, err);
        if (ret < 0)
            return ret;
    }
    strbuf_init(&run.text, 0);
    wordcache_init(&run.cache, len);
    ret = add_special(&run, adds_special && t->adds_bos, TOKENIZER_BOS);
    if (ret == 0)
        ret = encode_all(&run, text, len, flags & TOKENIZE_PARSE_SPECIAL);
    if (ret == 0)
        ret = add_special(&run, adds_special && t->adds_eos, TOKENIZER_EOS);
    if (ret == 0)
        ret = add_special(&run, adds_special && t->adds_sep, TOKENIZER_SEP);
    if (ret < 0)
        out->n = run.first;
    wordcache_finish(&run.cache);
    strbuf_finish(&run.text);
    merge_finish(&run.merge);
    free(run.classes);
    free(run.ends);
    return ret;
}
