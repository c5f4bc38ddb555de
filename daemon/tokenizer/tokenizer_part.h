/* SPDX-License-Identifier: MIT */
/* What the files of the tokenizer share and nobody else sees. */
#ifndef HEARTH_TOKENIZER_TOKENIZER_PART_H
#define HEARTH_TOKENIZER_TOKENIZER_PART_H

#include "base/strbuf.h"
#include "tokenizer/merge.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/special.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"
#include "tokenizer/wordcache.h"

/* One call of tokenizer_encode: output and scratch memory. */
struct run {
    const struct tokenizer *tokenizer;
    const char *whole; /* the text of the call */
    size_t first;      /* tokens that were in the output before */
    struct token_array *out;
    struct error *err;
    struct merge merge;
    struct wordcache cache;
    uint8_t *classes; /* BPE: cap_classes */
    size_t cap_classes;
    struct unigram_end *ends; /* unigram: cap_ends */
    size_t cap_ends;
    struct strbuf text; /* SentencePiece, unigram and WordPiece: normalised text so far */
};

/* A kind of vocabulary. */
struct model {
    const char *name; /* tokenizer.ggml.model */
    enum vocab_alphabet alphabet;
    bool has_pre, adds_bos, adds_eos, adds_sep, adds_space;
    /* Fills t->state from the description; the vocabulary is loaded. */
    int (*create)(struct tokenizer *t, const struct tokenizer_desc *desc, struct error *err);
    void (*destroy)(void *state);
    /* Appends the tokens of a piece of text without special tokens in it. */
    int (*encode)(struct run *run, const char *text, size_t len, bool after_special);
};
extern const struct model bpe_model, bpe_lines_model, spm_model, unigram_model, wpm_model;

struct tokenizer {
    const struct model *model;
    const struct pretokenizer_spec *pre; /* where model->has_pre */
    struct vocab vocab;
    struct special special;
    void *state; /* of the model */
    int32_t ids[TOKENIZER_N_SPECIAL];
    bool adds_bos, adds_eos, adds_sep, adds_space, lowercases, strips_accents;
};

bool tokenizer_adds_space(const struct tokenizer *t);

/* 0 or -ENOMEM with a sentence. */
int run_add(struct run *run, int32_t id);
/* Tokens of bytes that no token covers: byte tokens, else one unknown token; -EINVAL. */
int run_add_bytes(struct run *run, const char *text, size_t len);
/* The unknown token for some text, -EINVAL when there is none. */
int run_add_unknown(struct run *run, const char *text, size_t len);
/* Takes a word's tokens from an earlier occurrence. True: done (*ret set); false: the caller
 * encodes it, then calls run_remember with the same *ret_slot. */
bool run_recall(struct run *run, const char *text, size_t word, size_t len,
                struct wordcache_entry **ret_slot, int *ret);
void run_remember(struct run *run, struct wordcache_entry *slot, size_t word, size_t len,
                  size_t first);
int run_no_memory(struct run *run);

#endif
