/* SPDX-License-Identifier: MIT */
/* Byte-level BPE tokenizers from files that list tokens by rank, without merges. */
#ifndef HEARTH_TESTS_TOKENIZER_RANK_VOCAB_H
#define HEARTH_TESTS_TOKENIZER_RANK_VOCAB_H

#include "tokenizer/tokenizer.h"

struct rank_file {
    const char
        *path; /* below the shared data; base64 words, ranks and comments between are skipped */
    const char *pre;
    size_t first_id;               /* of rank 0; control tokens before it */
    size_t n_control;              /* ranks from 0 on that are control tokens */
    size_t n_ranks;                /* at most so many are used */
    bool is_encoded;               /* the tokens are in byte-level BPE's alphabet, not raw bytes */
    const struct rank_name *names; /* of control tokens behind the ranks, by id; n_names */
    size_t n_names;
};
struct rank_name {
    size_t id;
    const char *name;
};

/* NULL when the file is not there. The merge of each token is found by tokenizing its bytes with
 * the tokens of lower rank: the two parts that remain last. */
struct tokenizer *rank_vocab_load(const struct rank_file *file);

#endif
