/* SPDX-License-Identifier: MIT */
#include "rank_vocab.h"

#include "base/arena.h"
#include "base/utf8.h"
#include "harness.h"
#include "tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    struct arena arena;
    struct vocab ranks; /* raw bytes -> rank */
    struct tokenizer_desc desc;
    struct tokenizer_text *texts, *merges;
    int32_t *types;
};

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Decodes a word in place. */
static size_t decode_base64(char *word, size_t len)
{
    uint32_t bits = 0;
    size_t n = 0;
    int n_bits = 0;

    for (size_t i = 0; i < len && word[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)base64_digit(word[i]);
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            word[n++] = (char)(bits >> n_bits);
        }
    }
    return n;
}

static struct tokenizer_text encode_bytes(struct builder *b, const char *bytes, size_t len,
                                          const char *more, size_t more_len)
{
    static char names[256][4];
    char *out = arena_alloc(&b->arena, 2 * (len + more_len) + 2);
    size_t n = 0;

    if (!names['a'][0]) {
        uint32_t next = 0x100;

        for (uint32_t i = 0; i < 256; i++) {
            bool is_printable = (i > 0x20 && i < 0x7f) || (i > 0xa0 && i != 0xad);

            utf8_encode(is_printable ? i : next++, names[i]);
        }
    }
    assert_non_null(out);
    for (size_t i = 0; i < len + more_len; i++) {
        unsigned char byte = (unsigned char)(i < len ? bytes[i] : more[i - len]);

        if (i == len)
            out[n++] = ' ';
        memcpy(out + n, names[byte], strlen(names[byte]));
        n += strlen(names[byte]);
    }
    return (struct tokenizer_text){out, n};
}

/* Where the last two parts of a token meet; 0 when it does not come down to two. */
static size_t find_split(const struct builder *b, const char *bytes, size_t len, int32_t rank)
{
    size_t starts[1025], n = len;

    if (len > 1024)
        return 0;
    for (size_t i = 0; i <= len; i++)
        starts[i] = i;
    while (n > 2) {
        int32_t best = rank;
        size_t at = 0;

        for (size_t i = 0; i + 1 < n; i++) {
            int32_t r = vocab_find(&b->ranks, bytes + starts[i], starts[i + 2] - starts[i]);

            if (r >= 0 && r < best) {
                best = r;
                at = i;
            }
        }
        if (best == rank)
            return 0;
        memmove(&starts[at + 1], &starts[at + 2], (n - at - 1) * sizeof(*starts));
        n--;
    }
    return n == 2 ? starts[1] : 0;
}

static void add_control(struct builder *b, const char *given)
{
    char name[32];
    int len = given ? snprintf(name, sizeof(name), "%s", given)
                    : snprintf(name, sizeof(name), "<CONTROL_%zu>", b->desc.n_tokens);

    b->types[b->desc.n_tokens] = TOKENIZER_TYPE_CONTROL;
    b->texts[b->desc.n_tokens++] =
        (struct tokenizer_text){arena_strndup(&b->arena, name, (size_t)len), (size_t)len};
}

static void add_rank(struct builder *b, const struct rank_file *file, char *word, size_t len)
{
    int32_t rank = (int32_t)(b->desc.n_tokens - file->first_id);
    char raw[1024];
    size_t split;

    len = decode_base64(word, len);
    assert_true(len < sizeof(raw));
    if (file->is_encoded)
        len = vocab_decode(VOCAB_BYTE_LEVEL, word, len, raw);
    else
        memcpy(raw, word, len);
    assert_int_equal(vocab_find_or_add(&b->ranks, raw, len), rank);
    if ((size_t)rank < file->n_control) {
        add_control(b, NULL);
        return;
    }
    b->types[b->desc.n_tokens] = TOKENIZER_TYPE_NORMAL;
    b->texts[b->desc.n_tokens++] = encode_bytes(b, raw, len, NULL, 0);
    split = find_split(b, raw, len, rank);
    if (split)
        b->merges[b->desc.n_merges++] = encode_bytes(b, raw, split, raw + split, len - split);
}

static void read_ranks(struct builder *b, const struct rank_file *file, char *data)
{
    char *start = strstr(data, "\"! 0 "), *save = NULL, *word;
    bool is_list = start;

    /* either "WORD RANK" lines or one string of words in order of rank */
    for (word = strtok_r(is_list ? start + 5 : data, " \n\"}", &save);
         word && b->desc.n_tokens < file->first_id + file->n_ranks;
         word = strtok_r(NULL, " \n\"}", &save)) {
        add_rank(b, file, word, strlen(word));
        if (!is_list)
            strtok_r(NULL, " \n", &save);
    }
}

struct tokenizer *rank_vocab_load(const struct rank_file *file)
{
    char *data = harness_read_file(harness_shared(file->path), NULL);
    size_t room = file->first_id + file->n_ranks + 1 +
                  (file->n_names ? file->names[file->n_names - 1].id : 0);
    struct tokenizer *t = NULL;
    struct error err = {0};
    struct builder b;

    if (!data)
        return NULL;
    arena_init(&b.arena, 0);
    assert_int_equal(vocab_init(&b.ranks, VOCAB_BYTE_LEVEL, room), 0);
    tokenizer_desc_init(&b.desc);
    b.desc.model = "gpt2";
    b.desc.pre = file->pre;
    b.desc.texts = b.texts = calloc(room, sizeof(*b.texts));
    b.desc.merges = b.merges = calloc(room, sizeof(*b.merges));
    b.desc.types = b.types = calloc(room, sizeof(*b.types));
    assert_true(b.texts && b.merges && b.types);
    for (size_t i = 0; i < file->first_id; i++)
        add_control(&b, NULL);
    read_ranks(&b, file, data);
    for (size_t i = 0; i < file->n_names; i++) {
        while (b.desc.n_tokens < file->names[i].id)
            add_control(&b, NULL);
        add_control(&b, file->names[i].name);
    }
    if (tokenizer_create(&b.desc, &t, &err) < 0)
        fail_msg("%s: %s", file->path, err.text);
    free(b.texts);
    free(b.merges);
    free(b.types);
    vocab_finish(&b.ranks);
    arena_finish(&b.arena);
    free(data);
    return t;
}
