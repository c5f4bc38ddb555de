/* SPDX-License-Identifier: MIT */
/*
 * Two things that strangers write: the text to encode (with vocabularies made here), and the
 * vocabulary itself. The first byte of the input chooses which.
 */
#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"

#include "base/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TOKENS = 400 };

struct table {
    struct tokenizer_desc desc;
    struct tokenizer_text texts[MAX_TOKENS], merges[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    float scores[MAX_TOKENS];
    char names[256][8];
};

static void add(struct table *t, const char *text, int32_t type)
{
    size_t i = t->desc.n_tokens++;

    t->texts[i] = (struct tokenizer_text){text, strlen(text)};
    t->types[i] = type;
    t->scores[i] = -(float)(i % 7);
}

static void start(struct table *t)
{
    memset(t, 0, sizeof(*t));
    tokenizer_desc_init(&t->desc);
    t->desc.texts = t->texts;
    t->desc.merges = t->merges;
    t->desc.types = t->types;
    t->desc.scores = t->scores;
}

static void make_bpe(struct table *t)
{
    static const char *const merges[] = {"a b",  "b a", "ab ab", "\u0120 a",     "\u0120 \u0120",
                                         "ab a", "x y", "xy z",  "\u00c3 \u00a9"};
    uint32_t next = 0x100;

    start(t);
    t->desc.model = "gpt2";
    for (uint32_t b = 0; b < 256; b++) {
        bool is_printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);

        t->names[b][utf8_encode(is_printable ? b : next++, t->names[b])] = 0;
        add(t, t->names[b], 1);
    }
    add(t, "ab", 1);
    add(t, "ba", 1);
    add(t, "abab", 1);
    add(t, "\u0120a", 1);
    add(t, "\u0120\u0120", 1);
    add(t, "aba", 1);
    add(t, "\u00c3\u00a9", 1);
    add(t, "<|im_end|>", 3);
    add(t, "<u>", 4);
    add(t, "<u><u>", 4);
    for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++)
        t->merges[t->desc.n_merges++] = (struct tokenizer_text){merges[i], strlen(merges[i])};
}

static void make_spm(struct table *t)
{
    static const char *const words[] = {
        "\u2581", "a", "b", "ab", "ba", "abab", "\u2581a", "\u2581\u2581", "\u00e9", "aa", "aaaa"};

    start(t);
    t->desc.model = "llama";
    t->desc.architecture = "phi3";
    add(t, "<unk>", 2);
    add(t, "<s>", 3);
    add(t, "</s>", 3);
    for (int b = 0; b < 256; b++) {
        snprintf(t->names[b], sizeof(t->names[b]), "<0x%02X>", b);
        add(t, t->names[b], 6);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        add(t, words[i], 1);
    add(t, "<u>", 4);
}

static void add_merges(struct table *t)
{
    static const char *const merges[] = {"a b",  "b a", "ab ab", "\u2581 a", "\u2581 \u2581",
                                         "ab a", "x y", "a a",   "aa aa",    "\u00e9 \u00e9"};

    for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++)
        t->merges[t->desc.n_merges++] = (struct tokenizer_text){merges[i], strlen(merges[i])};
}

static void check_detokenizer(const struct tokenizer *t, const struct token_array *ids)
{
    struct strbuf out;
    struct detokenizer d;

    strbuf_init(&out, 0);
    detokenizer_init(&d, t, -1, true);
    for (size_t i = 0; i < ids->n; i++) {
        detokenizer_add(&d, ids->ids[i], &out);
        if (!utf8_is_valid(out.data, out.len))
            abort();
    }
    detokenizer_flush(&d, &out);
    if (!utf8_is_valid(out.data, out.len))
        abort();
    strbuf_finish(&out);
}

static void encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                   bool is_lossless)
{
    struct token_array ids = {0};
    struct error err = {0};
    size_t total = 0;
    int ret = tokenizer_encode(t, text, len, flags, &ids, &err);

    if (ret < 0 && (ids.n || err.code != ret || !err.text[0]))
        abort();
    if (ret < 0 && is_lossless && (flags & TOKENIZE_ANY_BYTES))
        abort();
    for (size_t i = 0; i < ids.n; i++) {
        size_t piece_len;
        const char *piece = tokenizer_piece(t, ids.ids[i], &piece_len);

        if (!piece)
            abort();
        if (ret == 0 && is_lossless &&
            (piece_len > len - total || memcmp(piece, text + total, piece_len) != 0))
            abort();
        total += piece_len;
        tokenizer_is_end(t, ids.ids[i]);
    }
    if (ret == 0 && is_lossless && total != len)
        abort();
    check_detokenizer(t, &ids);
    token_array_finish(&ids);
}

static void fuzz_text(uint8_t choice, const char *text, size_t len)
{
    static const char *const pres[] = {
        "gpt-2",        "default",     "llama-bpe",      "qwen2",  "qwen35", "gpt-4o",    "tekken",
        "deepseek-llm", "deepseek-v3", "deepseek-coder", "falcon", "smollm", "seed-coder"};
    enum { N_PRES = sizeof(pres) / sizeof(pres[0]) };
    static struct tokenizer *made[N_PRES + 4];
    size_t which = (choice >> 3) % (N_PRES + 4);

    if (!made[which]) {
        static struct table table;

        if (which < N_PRES)
            make_bpe(&table);
        else
            make_spm(&table);
        table.desc.pre = which < N_PRES ? pres[which] : NULL;
        if (which > N_PRES) {
            static const char *const models[] = {"bert", "gemma4", "t5"};

            table.desc.model = models[which - N_PRES - 1];
            table.desc.architecture = NULL;
        }
        if (which == N_PRES + 2)
            add_merges(&table);
        if (tokenizer_create(&table.desc, &made[which], NULL) < 0)
            abort();
    }
    encode(made[which], text, len, choice & 7, which < N_PRES && !(choice & TOKENIZE_ADD_SPECIAL));
}

/* Takes bytes off the front of the input. */
struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct input *in)
{
    if (!in->size)
        return 0;
    in->size--;
    return *in->data++;
}

static struct tokenizer_text take_text(struct input *in)
{
    struct tokenizer_text text = {(const char *)in->data, take(in) % 24};

    text.data = (const char *)in->data;
    if (text.len > in->size)
        text.len = in->size;
    in->data += text.len;
    in->size -= text.len;
    return text;
}

static int32_t take_id(struct input *in)
{
    static const int32_t odd[] = {-1, INT32_MAX, INT32_MIN, -2, 65536};
    uint8_t b = take(in);

    return b < 200 ? b : odd[b % 5];
}

/* A map of the input's units and texts, its length mostly true. */
static void take_charsmap(struct input *in, struct tokenizer_desc *desc, uint8_t *room)
{
    uint32_t n_units = take(in), n_texts = take(in) % 32, units_len = n_units * 4;
    size_t n;

    if (take(in) % 8 == 0)
        units_len = (uint32_t)take(in) << (take(in) % 32);
    memcpy(room, &units_len, 4);
    for (n = 4; n < 4 + n_units * 4 + n_texts; n++)
        room[n] = take(in);
    if (n_texts && take(in) % 8)
        room[n - 1] = 0;
    desc->charsmap = room;
    desc->charsmap_len = n - take(in) % 2;
}

static void fuzz_vocabulary(struct input in)
{
    static uint8_t map[4 + 255 * 4 + 32];
    static const char *const kinds[] = {"gpt2", "llama", "bert", "t5", ""};
    static const char *const pres[] = {"gpt-2", "llama-bpe", "deepseek-llm", "tekken", "?"};
    static struct table t;
    struct tokenizer *made = NULL;
    struct error err = {0};
    size_t n_tokens, n_merges;

    start(&t);
    t.desc.model = kinds[take(&in) % 5];
    t.desc.pre = pres[take(&in) % 5];
    t.desc.architecture = take(&in) & 1 ? "phi3" : NULL;
    n_tokens = take(&in);
    n_merges = take(&in);
    int32_t *ids[] = {&t.desc.bos, &t.desc.eos, &t.desc.eot, &t.desc.unk, &t.desc.sep};
    for (size_t i = 0; i < 5; i++)
        *ids[i] = take_id(&in);
    t.desc.add_bos = take(&in) % 3 - 1;
    t.desc.add_eos = take(&in) % 3 - 1;
    t.desc.add_space_prefix = take(&in) % 3 - 1;
    t.desc.remove_extra_whitespaces = take(&in) % 3 - 1;
    if (take(&in) & 1)
        take_charsmap(&in, &t.desc, map);
    for (size_t i = 0; i < n_tokens; i++) {
        float scores[] = {0, -1, 1, __builtin_nanf(""), __builtin_inff(), -0.0f, -3, 1e30f};
        uint8_t b = take(&in);

        t.types[i] = b % 9 - 1;
        t.scores[i] = scores[b / 9 % 8];
        t.texts[t.desc.n_tokens++] = take_text(&in);
    }
    for (size_t i = 0; i < n_merges; i++)
        t.merges[t.desc.n_merges++] = take_text(&in);
    if (tokenizer_create(&t.desc, &made, &err) < 0) {
        if (made || err.code >= 0 || !err.text[0])
            abort();
        return;
    }
    for (unsigned flags = 0; flags < 8; flags++)
        encode(made, (const char *)in.data, in.size, flags, false);
    tokenizer_destroy(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[0] & 1)
        fuzz_vocabulary((struct input){data + 1, size - 1});
    else
        fuzz_text(data[1], (const char *)data + 2, size - 2);
    return 0;
}
