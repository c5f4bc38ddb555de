/* SPDX-License-Identifier: MIT */
/* The tokens that end an answer. Files often mark only one of them, so the others are known by
 * name. */
#ifndef HEARTH_TOKENIZER_ENDING_H
#define HEARTH_TOKENIZER_ENDING_H

#include "tokenizer/vocab.h"

/*
 * types: a copy of the description's (n_tokens), in which tokens with a known role are corrected:
 * end tokens are control tokens, gpt-oss's channel marks are text.
 */
void ending_fix_types(const struct tokenizer_desc *desc, int32_t *types);
/* Sets is_end in the loaded vocabulary. */
void ending_mark(struct vocab *v, const struct tokenizer_desc *desc);

#endif
