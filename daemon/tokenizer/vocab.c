/* SPDX-License-Identifier: MIT */
#include "tokenizer/vocab.h"

#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* tag: other bits of the hash, so that most strangers are told apart without their text */
struct vocab_slot {
    uint32_t tag;
    uint32_t id_plus_1; /* 0: free */
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t vocab_hash(uint64_t seed, const char *data, size_t len)
{
    uint64_t h = seed ^ (len * 0x9e3779b97f4a7c15u), word;

    for (; len >= 8; data += 8, len -= 8) {
        memcpy(&word, data, 8);
        h = mix(h ^ word, 0xd6e8feb86659fd93u);
    }
    if (len) {
        word = 0;
        memcpy(&word, data, len);
        h = mix(h ^ word, 0xd6e8feb86659fd93u);
    }
    return mix(h ^ seed, 0xa0761d6478bd642fu);
}

int vocab_init(struct vocab *v, enum vocab_alphabet alphabet, size_t n_tokens)
{
    *v = (struct vocab){.alphabet = alphabet, .n_slots = 1024};
    for (int i = 0; i < 256; i++)
        v->byte_ids[i] = -1;
    if (getrandom(&v->seed, sizeof(v->seed), GRND_NONBLOCK) != sizeof(v->seed))
        v->seed = (uintptr_t)v ^ 0x2545f4914f6cdd1du;
    while (v->n_slots < n_tokens * 2)
        v->n_slots *= 2;
    v->slots = calloc(v->n_slots, sizeof(*v->slots));
    v->blob_cap = 4096;
    v->blob = malloc(v->blob_cap);
    return v->slots && v->blob ? 0 : -ENOMEM;
}

void vocab_finish(struct vocab *v)
{
    free(v->tokens);
    free(v->blob);
    free(v->slots);
    *v = (struct vocab){0};
}

/* The byte that a character of the byte-level alphabet stands for; -1: it is not of it. Printable
 * Latin-1 characters stand for themselves, the other bytes in order for U+0100 and on. */
static int alphabet_byte(uint32_t cp)
{
    if ((cp >= '!' && cp <= '~') || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
        return (int)cp;
    if (cp < 0x100 || cp > 0x143)
        return -1;
    cp -= 0x100;
    if (cp < 0x21)
        return (int)cp;
    cp -= 0x21;
    if (cp < 0x22)
        return (int)cp + 0x7f;
    return 0xad;
}

size_t vocab_decode(enum vocab_alphabet alphabet, const char *text, size_t len, char *out)
{
    size_t n = 0, i = 0;

    while (i < len) {
        uint32_t cp;
        int used = utf8_decode(text + i, len - i, &cp);
        int byte = used > 0 && alphabet == VOCAB_BYTE_LEVEL ? alphabet_byte(cp) : -1;

        if (used <= 0)
            used = 1;
        if (byte >= 0) {
            out[n++] = (char)byte;
        } else if (used == 3 && alphabet == VOCAB_SPACE_MARK && cp == 0x2581) {
            out[n++] = ' ';
        } else {
            memcpy(out + n, text + i, (size_t)used);
            n += (size_t)used;
        }
        i += (size_t)used;
    }
    return n;
}

/* The slot of a text, or the free one where it belongs. */
static struct vocab_slot *find_slot(const struct vocab *v, const char *text, size_t len,
                                    uint64_t hash)
{
    size_t at = hash & (v->n_slots - 1);

    for (;; at = (at + 1) & (v->n_slots - 1)) {
        struct vocab_slot *slot = &v->slots[at];

        if (!slot->id_plus_1)
            return slot;
        if (slot->tag == (uint32_t)(hash >> 32)) {
            const struct vocab_token *token = &v->tokens[slot->id_plus_1 - 1];

            if (token->len == len && memcmp(v->blob + token->offset, text, len) == 0)
                return slot;
        }
    }
}

int32_t vocab_find(const struct vocab *v, const char *text, size_t len)
{
    if (len > v->max_len || !len)
        return -1;
    return (int32_t)find_slot(v, text, len, vocab_hash(v->seed, text, len))->id_plus_1 - 1;
}

static int grow_slots(struct vocab *v)
{
    struct vocab bigger = *v;

    bigger.n_slots *= 2;
    bigger.slots = calloc(bigger.n_slots, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < v->n_slots; i++) {
        uint32_t id = v->slots[i].id_plus_1 - 1;

        if (v->slots[i].id_plus_1) {
            const char *text = v->blob + v->tokens[id].offset;
            uint64_t hash = vocab_hash(v->seed, text, v->tokens[id].len);

            *find_slot(&bigger, text, v->tokens[id].len, hash) = v->slots[i];
        }
    }
    free(v->slots);
    *v = bigger;
    return 0;
}

/* Makes a token findable; of two with the same text the first stays. */
static int add_to_map(struct vocab *v, uint32_t id)
{
    const struct vocab_token *token = &v->tokens[id];
    const char *text = v->blob + token->offset;
    uint64_t hash = vocab_hash(v->seed, text, token->len);
    struct vocab_slot *slot;

    if (!token->len)
        return 0;
    if (v->n_used >= v->n_slots / 2 && grow_slots(v) < 0)
        return -ENOMEM;
    slot = find_slot(v, text, token->len, hash);
    if (slot->id_plus_1)
        return 0;
    *slot = (struct vocab_slot){(uint32_t)(hash >> 32), id + 1};
    v->n_used++;
    if (token->len > v->max_len)
        v->max_len = token->len;
    return 0;
}

/* Appends an entry with these bytes, decoded when asked; not in the map yet. */
static int add_token(struct vocab *v, const char *text, size_t len, bool decode, uint8_t type)
{
    struct vocab_token *token;
    size_t room;

    if (v->n_symbols >= INT32_MAX - 1 || len > INT32_MAX || v->blob_len > INT32_MAX)
        return -E2BIG;
    room = v->blob_len + len;
    if (room > v->blob_cap) {
        size_t cap = room + room / 2 + 4096;
        char *more = realloc(v->blob, cap);

        if (!more)
            return -ENOMEM;
        v->blob = more;
        v->blob_cap = cap;
    }
    if (v->n_symbols == v->cap_tokens) {
        uint32_t cap = v->cap_tokens + v->cap_tokens / 2 + 1024;
        struct vocab_token *more = realloc(v->tokens, cap * sizeof(*more));

        if (!more)
            return -ENOMEM;
        v->tokens = more;
        v->cap_tokens = cap;
    }
    if (decode)
        len = vocab_decode(v->alphabet, text, len, v->blob + v->blob_len);
    else if (len)
        memcpy(v->blob + v->blob_len, text, len);
    token = &v->tokens[v->n_symbols++];
    *token = (struct vocab_token){(uint32_t)v->blob_len, (uint32_t)len, 0, type, false, false};
    v->blob_len += len;
    return 0;
}

int32_t vocab_find_or_add(struct vocab *v, const char *text, size_t len)
{
    int32_t id = vocab_find(v, text, len);
    int ret;

    if (id >= 0)
        return id;
    ret = add_token(v, text, len, false, TOKENIZER_TYPE_UNUSED);
    if (ret == 0)
        ret = add_to_map(v, v->n_symbols - 1);
    return ret < 0 ? ret : (int32_t)v->n_symbols - 1;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "<0x0A>" -> 10; -1 for anything else. */
static int byte_of_name(const struct tokenizer_text *text)
{
    const char *s = text->data;
    int high, low;

    if (text->len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    high = hex_digit(s[3]);
    low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static int load_token(struct vocab *v, const struct tokenizer_desc *desc, size_t i)
{
    const struct tokenizer_text *text = &desc->texts[i];
    int32_t type = desc->types ? desc->types[i] : TOKENIZER_TYPE_NORMAL;
    int byte = type == TOKENIZER_TYPE_BYTE ? byte_of_name(text) : -1;
    char byte_text = (char)byte;
    bool is_literal = type == TOKENIZER_TYPE_CONTROL || type == TOKENIZER_TYPE_UNKNOWN ||
                      type == TOKENIZER_TYPE_USER_DEFINED || byte >= 0;
    int ret;

    if (type < TOKENIZER_TYPE_NORMAL || type > TOKENIZER_TYPE_BYTE)
        type = TOKENIZER_TYPE_NORMAL;
    ret = add_token(v, byte >= 0 ? &byte_text : text->data, byte >= 0 ? 1 : text->len, !is_literal,
                    (uint8_t)type);
    if (ret < 0)
        return ret;
    if (desc->scores)
        v->tokens[i].score = isnan(desc->scores[i]) ? -INFINITY : desc->scores[i];
    if (byte >= 0 && v->byte_ids[byte] < 0)
        v->byte_ids[byte] = (int32_t)i;
    if (byte >= 0 || is_literal)
        return 0;
    return add_to_map(v, (uint32_t)i);
}

int vocab_load(struct vocab *v, const struct tokenizer_desc *desc, struct error *err)
{
    int ret = 0;

    if (!desc->n_tokens || !desc->texts)
        return error_set(err, EINVAL, "the vocabulary has no tokens");
    if (desc->n_tokens >= INT32_MAX / 2)
        return error_set(err, E2BIG, "the vocabulary has %zu tokens, too many", desc->n_tokens);
    for (size_t i = 0; i < desc->n_tokens && ret == 0; i++)
        ret = load_token(v, desc, i);
    v->n_tokens = v->n_symbols;
    /* a user-defined token takes part in merges where no ordinary one has its text */
    for (uint32_t i = 0; i < v->n_tokens && ret == 0; i++)
        if (v->tokens[i].type == TOKENIZER_TYPE_USER_DEFINED)
            ret = add_to_map(v, i);
    if (ret == -E2BIG)
        return error_set(err, E2BIG, "the texts of the vocabulary are over 2 GiB");
    if (ret < 0)
        return error_set(err, ENOMEM, "no memory for a vocabulary of %zu tokens", desc->n_tokens);
    if (v->alphabet == VOCAB_BYTE_LEVEL) {
        for (int b = 0; b < 256; b++) {
            char text = (char)b;

            v->byte_ids[b] = vocab_find(v, &text, 1);
        }
    }
    return 0;
}
