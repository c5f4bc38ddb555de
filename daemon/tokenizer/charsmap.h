/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece's compiled normaliser: which sequences of bytes become which others, longest match
 * first. It is a double array (darts-clone: child = node ^ offset ^ byte) of 32-bit units, its
 * length in bytes before it, and behind it the replacements, each ended by a NUL. Made by whoever
 * made the model file: nothing in it is trusted. Constant after creation.
 */
#ifndef HEARTH_TOKENIZER_CHARSMAP_H
#define HEARTH_TOKENIZER_CHARSMAP_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct charsmap {
    uint32_t *units; /* owned; NULL: an empty map */
    size_t n_units;
    const char *texts; /* behind the units, its last byte a NUL */
    size_t texts_len;
};

/* Copies the map; len 0 makes an empty one. -EINVAL, -ENOMEM with a sentence. */
int charsmap_init(struct charsmap *m, const void *data, size_t len, struct error *err);
void charsmap_finish(struct charsmap *m);

/* The longest start of text that the map knows: its length, the replacement (maybe of no bytes;
 * lives as long as m) in ret_*. 0: none; -EINVAL: the map points outside itself. */
int64_t charsmap_find(const struct charsmap *m, const char *text, size_t len, const char **ret_text,
                      size_t *ret_len);

#endif
