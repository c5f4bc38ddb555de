/* SPDX-License-Identifier: MIT */
/* Tokenizers for tests: from vocabulary files of the shared data, and small ones built in code. */
#ifndef HEARTH_TESTS_TOKENIZER_VOCAB_FILE_H
#define HEARTH_TESTS_TOKENIZER_VOCAB_FILE_H

#include "tokenizer/tokenizer.h"

/* data/tokenizers/ggml-vocab-NAME.gguf; NULL when it is not there. A file that is there but makes
 * no tokenizer fails the test. */
struct tokenizer *vocab_file_load(const char *name);
/* The same with another pre-tokenizer than the file names. */
struct tokenizer *vocab_file_load_as(const char *name, const char *pre);

#endif
