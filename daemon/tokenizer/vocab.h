/* SPDX-License-Identifier: MIT */
/*
 * The token table of a tokenizer: bytes, kind and score of each token, found by id or by bytes.
 * Texts are kept as the bytes they stand for: byte-level BPE's alphabet is undone and
 * SentencePiece's U+2581 is a space. Built by one thread, constant afterwards.
 */
#ifndef HEARTH_TOKENIZER_VOCAB_H
#define HEARTH_TOKENIZER_VOCAB_H

#include "tokenizer/tokenizer.h"

enum vocab_alphabet {
    VOCAB_BYTE_LEVEL, /* each byte written as one printable character */
    VOCAB_SPACE_MARK, /* U+2581 for a space */
};

struct vocab_token {
    uint32_t offset, len; /* in blob */
    float score;
    uint8_t type; /* enum tokenizer_type */
    bool is_end;
    bool is_markup;    /* a control token that is part of an answer's text */
    bool strips_right; /* as a special token it takes the white space behind it along */
};

struct vocab {
    enum vocab_alphabet alphabet;
    uint32_t n_tokens;          /* ids below are the model's */
    uint32_t n_symbols;         /* ids up to here name bytes that only merges know */
    struct vocab_token *tokens; /* owned, n_symbols */
    char *blob;                 /* owned */
    size_t blob_len, blob_cap;  /* blob_cap bytes allocated */
    uint32_t cap_tokens;        /* tokens allocated */
    uint32_t max_len;           /* longest text that vocab_find can find */
    uint64_t seed;              /* of the hash: no file can know which texts collide */
    struct vocab_slot *slots;   /* owned, n_slots (a power of two) */
    size_t n_slots, n_used;
    int32_t byte_ids[256]; /* -1: no token for this byte */
};

/* Empty, to be filled; vocab_finish also after failure. */
int vocab_init(struct vocab *v, enum vocab_alphabet alphabet, size_t n_tokens);
void vocab_finish(struct vocab *v);

/* Adds the tokens of a description, in order. -EINVAL, -E2BIG or -ENOMEM with a sentence. */
int vocab_load(struct vocab *v, const struct tokenizer_desc *desc, struct error *err);

/* The token (or symbol) that stands for these bytes in text; -1: none. Control, unknown and
 * SentencePiece byte tokens are never found. */
int32_t vocab_find(const struct vocab *v, const char *text, size_t len);
/* As vocab_find, adding a symbol when there is none; -ENOMEM, -E2BIG. */
int32_t vocab_find_or_add(struct vocab *v, const char *text, size_t len);

/* Undoes the alphabet: at most len bytes go to out. Returns how many. */
size_t vocab_decode(enum vocab_alphabet alphabet, const char *text, size_t len, char *out);

static inline const char *vocab_text(const struct vocab *v, int32_t id, size_t *ret_len)
{
    *ret_len = v->tokens[id].len;
    return v->blob + v->tokens[id].offset;
}

/* A hash of bytes that depends on seed. */
uint64_t vocab_hash(uint64_t seed, const char *data, size_t len);

#endif
