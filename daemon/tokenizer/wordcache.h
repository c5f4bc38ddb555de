/* SPDX-License-Identifier: MIT */
/*
 * Words seen earlier in one text, and where their tokens stand in the output. Holds no copies: a
 * hit compares with the earlier place in the text. Of one call of tokenizer_encode.
 */
#ifndef HEARTH_TOKENIZER_WORDCACHE_H
#define HEARTH_TOKENIZER_WORDCACHE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct wordcache_entry {
    uint32_t word, len; /* in the text; len 0: empty */
    uint32_t first, n;  /* its tokens in the output */
};

struct wordcache {
    struct wordcache_entry *entries; /* NULL: no cache, every word is a stranger */
    size_t mask;
};

enum { WORDCACHE_WORD_LIMIT = 128 };

/* For a text of about len bytes; without memory there is simply no cache. */
static inline void wordcache_init(struct wordcache *c, size_t len)
{
    size_t n = 64;

    *c = (struct wordcache){0};
    if (len < 256)
        return;
    while (n < len / 8 && n < 16384)
        n *= 2;
    c->entries = calloc(n, sizeof(*c->entries));
    c->mask = n - 1;
}

static inline void wordcache_finish(struct wordcache *c)
{
    free(c->entries);
    c->entries = NULL;
}

/* The place for a word, whoever holds it now; NULL when it is not to be kept. */
static inline struct wordcache_entry *wordcache_slot(struct wordcache *c, uint64_t hash, size_t len)
{
    return c->entries && len <= WORDCACHE_WORD_LIMIT ? &c->entries[hash & c->mask] : NULL;
}

static inline bool wordcache_holds(const struct wordcache_entry *e, const char *text, size_t word,
                                   size_t len)
{
    return e->len == len && memcmp(text + e->word, text + word, len) == 0;
}

#endif
