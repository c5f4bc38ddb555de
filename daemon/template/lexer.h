/* SPDX-License-Identifier: MIT */
/* Template source to tokens, with the white-space rules of trimmed and left-stripped blocks. */
#ifndef HEARTH_TEMPLATE_LEXER_H
#define HEARTH_TEMPLATE_LEXER_H

#include "template/run.h"
#include "template/template.h"

enum token_type {
    TOKEN_DATA,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_PRINT_BEGIN,
    TOKEN_PRINT_END,
    TOKEN_NAME,
    TOKEN_STRING, /* text is already unescaped */
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_OP, /* op: one character, or two put together */
    TOKEN_END,
};

#define TOKEN_OP2(a, b) ((a) | (b) << 8)

struct token {
    enum token_type type;
    int line;
    int op;
    size_t len;
    const char *text;
};

/* Tokens in the run's arena, the last one TOKEN_END. Fails the run on malformed source. */
struct token *lexer_run(struct run *r, const char *source, size_t len,
                        struct template_spacing flags, size_t *ret_n);

/* Replaces the escapes in a literal; returns s itself when there are none. */
const char *lexer_unescape(struct run *r, const char *s, size_t *len);

#endif
