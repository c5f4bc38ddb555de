/* SPDX-License-Identifier: MIT */
/* Compiled normalisers for tests, from rules. */
#ifndef HEARTH_TESTS_TOKENIZER_CHARSMAP_BUILDER_H
#define HEARTH_TESTS_TOKENIZER_CHARSMAP_BUILDER_H

#include <stddef.h>
#include <stdint.h>

enum { CHARSMAP_UNITS = 4096 };

struct charsmap_builder {
    uint32_t units_len; /* in bytes; the map begins here and is len bytes long */
    uint32_t units[CHARSMAP_UNITS];
    char texts[1024];
    size_t len;
};

/* rules: pairs of what is replaced and its replacement, NULL behind the last. */
void charsmap_builder_make(struct charsmap_builder *b, const char *const *rules);

#endif
