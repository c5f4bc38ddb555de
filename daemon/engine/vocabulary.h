/* SPDX-License-Identifier: MIT */
/* A tokenizer from the tokenizer.* keys of a GGUF directory: the tokenizer itself knows only
 * arrays. */
#ifndef HEARTH_ENGINE_VOCABULARY_H
#define HEARTH_ENGINE_VOCABULARY_H

#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"

/* n_vocab: rows of the embedding table, which the vocabulary must not exceed (it may be shorter:
 * some tables are padded); 0: not checked. Any thread; the directory is not needed afterwards. */
int vocabulary_open(const struct gguf *g, uint32_t n_vocab, struct tokenizer **ret_tokenizer,
                    struct error *err);

#endif
