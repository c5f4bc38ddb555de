/* SPDX-License-Identifier: MIT */
/*
 * Text to token ids and back, for the vocabularies that model files carry: byte-level BPE ("gpt2"),
 * BPE of characters within lines ("gemma4"), SentencePiece-style BPE by scores ("llama"),
 * SentencePiece's unigram model ("t5") and WordPiece ("bert"). Knows arrays, not files, and nothing
 * of templates or chats.
 *
 * A struct tokenizer never changes after it is made: any number of threads may use it at once.
 * Everything a call needs besides lives in that call. A tokenizer_encode takes time of the order
 * n log n whatever the text.
 */
#ifndef HEARTH_TOKENIZER_TOKENIZER_H
#define HEARTH_TOKENIZER_TOKENIZER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* The numbers that stand in tokenizer.ggml.token_type. */
enum tokenizer_type {
    TOKENIZER_TYPE_NORMAL = 1,
    TOKENIZER_TYPE_UNKNOWN = 2,
    TOKENIZER_TYPE_CONTROL = 3,
    TOKENIZER_TYPE_USER_DEFINED = 4,
    TOKENIZER_TYPE_UNUSED = 5,
    TOKENIZER_TYPE_BYTE = 6,
};

struct tokenizer_text {
    const char *data;
    size_t len;
};

/* What the file says, as it stands there; start from tokenizer_desc_init. Borrowed by
 * tokenizer_create, which copies what it keeps. */
struct tokenizer_desc {
    const char *model;        /* tokenizer.ggml.model */
    const char *pre;          /* tokenizer.ggml.pre; NULL: "default" */
    const char *architecture; /* general.architecture: the special tokens of phi3 swallow the white
                                 space behind them; NULL: not known */
    size_t n_tokens;
    const struct tokenizer_text *texts; /* n_tokens */
    const float *scores;                /* n_tokens; NULL: all 0 */
    const int32_t *types;               /* n_tokens, enum tokenizer_type; NULL: all normal */
    size_t n_merges;
    const struct tokenizer_text *merges;       /* "left right", most frequent first */
    int32_t bos, eos, eot, eom, unk, sep, pad; /* -1: absent. BERT's [CLS] is bos */
    int32_t fim_pad, fim_rep,
        fim_sep; /* fill-in-the-middle tokens that end an answer; -1: absent */
    /* 0 or 1; -1: as the model's kind has it */
    int add_bos, add_eos, add_sep, add_space_prefix;
    int lowercase, strip_accents; /* WordPiece */
    int remove_extra_whitespaces; /* unigram: white space becomes one space between words */
    const void *charsmap;         /* tokenizer.ggml.precompiled_charsmap (unigram) */
    size_t charsmap_len;          /* 0: none */
};
void tokenizer_desc_init(struct tokenizer_desc *desc);

/*
 * -ENOTSUP: a model or pre-tokenizer that is not known, named in the sentence; -EINVAL: arrays that
 * make no vocabulary; -ENOMEM. Ids out of range count as absent, as do merges that name no pair.
 */
int tokenizer_create(const struct tokenizer_desc *desc, struct tokenizer **ret_tokenizer,
                     struct error *err);
void tokenizer_destroy(struct tokenizer *t); /* NULL is allowed */

size_t tokenizer_n_tokens(const struct tokenizer *t);

enum tokenizer_special {
    TOKENIZER_BOS,
    TOKENIZER_EOS,
    TOKENIZER_EOT,
    TOKENIZER_EOM,
    TOKENIZER_UNK,
    TOKENIZER_SEP,
    TOKENIZER_PAD,
    TOKENIZER_N_SPECIAL
};
int32_t tokenizer_special(const struct tokenizer *t, enum tokenizer_special which); /* -1: absent */
bool tokenizer_adds_bos(const struct tokenizer *t); /* what TOKENIZE_ADD_SPECIAL would do */
/* Whether this token ends an answer: eos, eot, eom and the names that chat models use. */
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);
/* A token that stands for no text: control or unknown. False for an id out of range. */
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);
/* A control token in which models write calls of tools or reasoning: part of an answer's text. */
bool tokenizer_is_markup(const struct tokenizer *t, int32_t id);

/*
 * The bytes a token stands for (any bytes: a character may be spread over several tokens); of
 * control tokens their name. A space that only marks the start of a word is part of it. Lives as
 * long as t, no NUL behind; NULL and length 0 for an id out of range.
 */
const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *ret_len);

struct token_array {
    int32_t *ids; /* malloc'd; NULL until the first */
    size_t n, cap;
};
void token_array_finish(struct token_array *a);

enum {
    TOKENIZE_ADD_SPECIAL = 1,   /* bos, eos and sep as the model has them */
    TOKENIZE_PARSE_SPECIAL = 2, /* control tokens written in the text count: only for text that the
                                   house wrote (a rendered template), never for a user's own */
    TOKENIZE_ANY_BYTES = 4,     /* bytes that are no UTF-8 become byte tokens instead of an error */
};
enum { TOKENIZER_TEXT_LIMIT = 64 << 20 };

/*
 * Appends to *out, which is as before on failure. -EILSEQ: invalid UTF-8, the sentence names the
 * byte; -E2BIG: over TOKENIZER_TEXT_LIMIT bytes; -EINVAL: a character for which the vocabulary has
 * no token and no unknown token; -ENOMEM.
 */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     struct token_array *out, struct error *err);

#endif
