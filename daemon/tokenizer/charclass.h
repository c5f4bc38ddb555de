/* SPDX-License-Identifier: MIT */
/*
 * What pre-tokenizers ask of a character, as one byte per character. A class is a set of traits
 * that occurs together; a pattern's character set becomes a 256-entry table over classes. The
 * table is made at the first call and never changes; any thread.
 */
#ifndef HEARTH_TOKENIZER_CHARCLASS_H
#define HEARTH_TOKENIZER_CHARCLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* general categories of Unicode */
    CHAR_LU = 1 << 0,
    CHAR_LL = 1 << 1,
    CHAR_LT = 1 << 2,
    CHAR_LM = 1 << 3,
    CHAR_LO = 1 << 4,
    CHAR_M = 1 << 5,
    CHAR_N = 1 << 6,
    CHAR_P = 1 << 7,
    CHAR_S = 1 << 8,
    CHAR_L = CHAR_LU | CHAR_LL | CHAR_LT | CHAR_LM | CHAR_LO,
    CHAR_WHITE = 1 << 9, /* property White_Space */
    /* single characters and ranges that patterns name */
    CHAR_CR = 1 << 10,
    CHAR_LF = 1 << 11,
    CHAR_SPACE = 1 << 12,
    CHAR_SLASH = 1 << 13,
    CHAR_BACKTICK = 1 << 14,
    CHAR_MATH = 1 << 15,        /* $ + < = > ^ ~ | */
    CHAR_ASCII_MARK = 1 << 16,  /* ASCII punctuation and symbols */
    CHAR_ASCII_ALPHA = 1 << 17, /* A-Z a-z */
    CHAR_ASCII_DIGIT = 1 << 18,
    CHAR_KANJI_KANA = 1 << 19,  /* U+4E00-9FA5, U+3040-30FF */
    CHAR_EAST = 1 << 20,        /* U+0800-9FA5, U+AC00-D7FF */
    CHAR_CASED = 1 << 21,       /* the letters that deepseek-llm lists */
    CHAR_MARK_RANGES = 1 << 22, /* the punctuation that deepseek-llm lists */
    CHAR_HAN = 1 << 23,         /* WordPiece sets these apart */
};

enum { CHARCLASS_INSIDE = 0 }; /* bytes of a character after its first */

struct charclass {
    uint16_t page[0x1100]; /* code point / 256 -> block */
    uint8_t (*blocks)[256];
    uint32_t
        traits[256]; /* class -> CHAR_*; 0 for CHARCLASS_INSIDE and for what no pattern names */
};

const struct charclass *charclass_get(void);

static inline uint8_t charclass_of(const struct charclass *c, uint32_t cp)
{
    return c->blocks[c->page[cp >> 8]][cp & 0xff];
}

static inline uint32_t charclass_traits(const struct charclass *c, uint32_t cp)
{
    return c->traits[charclass_of(c, cp)];
}

/* One class per byte of text: that of the character on its first byte, CHARCLASS_INSIDE on the
 * others. A byte that is no UTF-8 is a character without traits. */
void charclass_fill(const struct charclass *c, const char *text, size_t len, uint8_t *ret_classes);

#endif
