/* SPDX-License-Identifier: MIT */
#include "tiny_vocab.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

int32_t tiny_vocab_add(struct tiny_vocab *v, const char *text, int32_t type, float score)
{
    size_t i = v->desc.n_tokens++;

    v->texts[i] = (struct tokenizer_text){text, strlen(text)};
    v->types[i] = type;
    v->scores[i] = score;
    return (int32_t)i;
}

void tiny_vocab_add_merge(struct tiny_vocab *v, const char *merge)
{
    v->merges[v->desc.n_merges++] = (struct tokenizer_text){merge, strlen(merge)};
}

static void start(struct tiny_vocab *v, const char *model)
{
    memset(v, 0, sizeof(*v));
    tokenizer_desc_init(&v->desc);
    v->desc.model = model;
    v->desc.texts = v->texts;
    v->desc.merges = v->merges;
    v->desc.types = v->types;
}

/* Latin-1's printable characters stand for themselves, the rest for U+0100 and on. */
static void add_alphabet(struct tiny_vocab *v)
{
    uint32_t next = 0x100;

    for (uint32_t b = 0; b < 256; b++) {
        bool is_printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        int len = utf8_encode(is_printable ? b : next++, v->byte_names[b]);

        v->byte_names[b][len] = 0;
        tiny_vocab_add(v, v->byte_names[b], TOKENIZER_TYPE_NORMAL, 0);
    }
}

void tiny_vocab_bpe(struct tiny_vocab *v)
{
    static const char *const words[] = {"he", "ll", "hell", "hello", "\u0120w", "aa", "aaaa"};
    static const char *const merges[] = {"h e",      "l l", "he ll", "hell o",
                                         "\u0120 w", "a a", "aa aa"};

    start(v, "gpt2");
    v->desc.pre = "gpt-2";
    add_alphabet(v);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        tiny_vocab_add(v, words[i], TOKENIZER_TYPE_NORMAL, 0);
    for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++)
        tiny_vocab_add_merge(v, merges[i]);
    v->desc.bos = tiny_vocab_add(v, "<|im_start|>", TOKENIZER_TYPE_CONTROL, 0);
    v->desc.eos = tiny_vocab_add(v, "<|im_end|>", TOKENIZER_TYPE_CONTROL, 0);
    tiny_vocab_add(v, "<tool>", TOKENIZER_TYPE_USER_DEFINED, 0);
    tiny_vocab_add(v, "<tool><tool>", TOKENIZER_TYPE_USER_DEFINED, 0);
}

void tiny_vocab_spm(struct tiny_vocab *v)
{
    static const char *const words[] = {
        "\u2581",       "h",      "e", "l", "o", "he", "ll", "lo", "hell", "hello", "\u2581hello",
        "\u2581\u2581", "\u00e9",
    };

    start(v, "llama");
    v->desc.scores = v->scores;
    v->desc.unk = tiny_vocab_add(v, "<unk>", TOKENIZER_TYPE_UNKNOWN, 0);
    v->desc.bos = tiny_vocab_add(v, "<s>", TOKENIZER_TYPE_CONTROL, 0);
    v->desc.eos = tiny_vocab_add(v, "</s>", TOKENIZER_TYPE_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        snprintf(v->byte_names[b], sizeof(v->byte_names[b]), "<0x%02X>", b);
        tiny_vocab_add(v, v->byte_names[b], TOKENIZER_TYPE_BYTE, 0);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        tiny_vocab_add(v, words[i], TOKENIZER_TYPE_NORMAL, -(float)i);
    tiny_vocab_add(v, "<|user|>", TOKENIZER_TYPE_CONTROL, 0);
}

void tiny_vocab_lines(struct tiny_vocab *v)
{
    static const char *const words[] = {"\u2581",
                                        "h",
                                        "e",
                                        "l",
                                        "o",
                                        "w",
                                        "a",
                                        "b",
                                        "c",
                                        "x",
                                        "y",
                                        "q",
                                        "z",
                                        "r",
                                        "d",
                                        "\n",
                                        "\u00e9",
                                        "he",
                                        "ll",
                                        "hell",
                                        "hello",
                                        "\u2581hello",
                                        "\u2581\u2581",
                                        "\u2581w",
                                        "\n\n",
                                        "\n\n\n",
                                        "ab",
                                        "abc",
                                        "aa",
                                        "aaaa",
                                        "xy"};
    static const char *const merges[] = {
        "h e",     "l l", "he ll", "hell o", "\u2581 hello", "\u2581 \u2581", "\u2581 w", "\n \n",
        "\n\n \n", "a b", "ab c",  "a a",    "aa aa",        "q z",           "x y",      "xy z"};

    start(v, "gemma4");
    v->desc.unk = tiny_vocab_add(v, "<unk>", TOKENIZER_TYPE_UNKNOWN, 0);
    v->desc.bos = tiny_vocab_add(v, "<bos>", TOKENIZER_TYPE_CONTROL, 0);
    v->desc.eos = tiny_vocab_add(v, "<eos>", TOKENIZER_TYPE_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        snprintf(v->byte_names[b], sizeof(v->byte_names[b]), "<0x%02X>", b);
        tiny_vocab_add(v, v->byte_names[b], TOKENIZER_TYPE_BYTE, 0);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        tiny_vocab_add(v, words[i], TOKENIZER_TYPE_NORMAL, 0);
    for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++)
        tiny_vocab_add_merge(v, merges[i]);
    tiny_vocab_add(v, "<|tool_call>", TOKENIZER_TYPE_CONTROL, 0);
}
