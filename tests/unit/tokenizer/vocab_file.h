/* SPDX-License-Identifier: MIT */
/* Tokenizers for tests: from vocabulary files of the shared data, and small ones built in code. */
#ifndef HEARTH_TESTS_TOKENIZER_VOCAB_FILE_H
#define HEARTH_TESTS_TOKENIZER_VOCAB_FILE_H

#include "tokenizer/tokenizer.h"

/* ggml-vocab-NAME.gguf, of the shared data (data/tokenizers) or else of the directory that
 * HEARTH_VOCABULARIES names, for those that are not to be had there: gemma-2, gemma-4, t5,
 * xlm-roberta. NULL when it is in neither. A file that is there but makes
 * no tokenizer fails the test. */
struct tokenizer *vocab_file_load(const char *name);
/* The same with another pre-tokenizer than the file names. */
struct tokenizer *vocab_file_load_as(const char *name, const char *pre);
/* Only the first tokens, and the merges that give these: of BPE whose merges are in their order. */
struct tokenizer *vocab_file_load_first(const char *name, size_t n_tokens);

#endif
