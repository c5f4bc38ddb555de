/* SPDX-License-Identifier: MIT */
/*
 * How byte-level BPE cuts text into words before merging. A pre-tokenizer is a table of patterns;
 * the patterns are those of the models' own tokenizer files. A new one is a table entry in
 * pretokenizer_table.c. Constant after creation.
 */
#ifndef HEARTH_TOKENIZER_PRETOKENIZER_H
#define HEARTH_TOKENIZER_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PRETOKENIZER_MANY = UINT32_MAX, PRETOKENIZER_ITEMS = 3 };

/* min to max characters that have one of the traits (CHAR_*), or none of them */
struct pretokenizer_item {
    uint32_t traits;
    bool is_inverted;
    uint32_t min, max; /* max 0 ends the rule */
};

enum pretokenizer_contraction {
    CONTRACTION_NONE,
    CONTRACTION_LOWER, /* 's 't 're 've 'm 'll 'd */
    CONTRACTION_ANY_CASE,
};
enum pretokenizer_edge {
    EDGE_ANY,
    EDGE_WHITE, /* the next character is white space, or there is none */
    EDGE_END,   /* there is no next character */
};

/* One alternative: items in order, as long as they can be (giving back where the rest needs it). */
struct pretokenizer_rule {
    struct pretokenizer_item items[PRETOKENIZER_ITEMS];
    enum pretokenizer_edge edge;
    enum pretokenizer_contraction contraction; /* alone, or with items an optional ending */
};

/* Rules of a pass are tried in order at each place; what none of them takes stays together. Each
 * pass cuts the words of the one before. */
struct pretokenizer_pass {
    const struct pretokenizer_rule *rules;
    size_t n_rules;
};

struct pretokenizer_spec {
    const char *names; /* separated by spaces */
    struct pretokenizer_pass passes[6];
    bool takes_whole_words; /* a word that is a token is that token, whatever the merges say */
    bool adds_bos, adds_sep;
};

/* NULL when no pre-tokenizer has this name. */
const struct pretokenizer_spec *pretokenizer_find(const char *name);

struct pretokenizer;
/* NULL when out of memory. */
struct pretokenizer *pretokenizer_create(const struct pretokenizer_spec *spec);
void pretokenizer_destroy(struct pretokenizer *p);

/* Called for each word in order, [start, end); a negative return ends the splitting. */
typedef int pretokenizer_emit(void *context, size_t start, size_t end);

/* Cuts text[0, len), whose classes are charclass_fill's. Returns 0 or what emit returned. */
int pretokenizer_split(const struct pretokenizer *p, const char *text, const uint8_t *classes,
                       size_t len, pretokenizer_emit *emit, void *context);

#endif
