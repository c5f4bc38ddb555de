/* SPDX-License-Identifier: MIT */
/* Vocabularies of a few hundred tokens, made in code. */
#ifndef HEARTH_TESTS_TOKENIZER_TINY_VOCAB_H
#define HEARTH_TESTS_TOKENIZER_TINY_VOCAB_H

#include "tokenizer/tokenizer.h"

struct tiny_vocab {
    struct tokenizer_desc desc;
    struct tokenizer_text texts[512];
    struct tokenizer_text merges[64];
    int32_t types[512];
    float scores[512];
    char byte_names[256][8];
};

/* Byte-level BPE: byte b is token b; then "he" "ll" "hell" "hello" " w" "aa" "aaaa" and the special
 * tokens "<|im_start|>" "<|im_end|>" (control), "<tool>" "<tool><tool>" (user-defined). */
void tiny_vocab_bpe(struct tiny_vocab *v);
/* SentencePiece: <unk> <s> </s>, byte tokens from 3 on, then words; <|user|> is control. */
void tiny_vocab_spm(struct tiny_vocab *v);

/* Gemma 4's BPE of lines: <unk> <bos> <eos>, byte tokens from 3 on, then characters and words, of
 * which "qz" and "xyz" can be merged to but are no tokens; <|tool_call> is control. */
void tiny_vocab_lines(struct tiny_vocab *v);

/* Appends a token to the description; returns its id. */
int32_t tiny_vocab_add(struct tiny_vocab *v, const char *text, int32_t type, float score);
void tiny_vocab_add_merge(struct tiny_vocab *v, const char *merge);

#endif
