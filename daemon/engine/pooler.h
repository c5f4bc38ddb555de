/* SPDX-License-Identifier: MIT */
/*
 * Makes one vector of a text out of the normed rows of its tokens, as they come from the device
 * step by step. Knows neither device nor session.
 */
#ifndef HEARTH_ENGINE_POOLER_H
#define HEARTH_ENGINE_POOLER_H

#include "model/dims.h"

struct pooler {
    enum pooling pooling;
    uint32_t width;    /* of a row */
    uint32_t n_tokens; /* of the text */
    double *sum;       /* [width], of the rows so far */
    float *vector;     /* [width], from pooler_end on */
};

struct pooler_rows {
    uint32_t first, n;
};

/* pooling: not POOLING_NONE. -ENOMEM. */
int pooler_init(struct pooler *p, enum pooling pooling, uint32_t width);
void pooler_finish(struct pooler *p); /* fine on zeros */

/* A text of so many tokens, from its beginning; what was added before is forgotten. */
void pooler_begin(struct pooler *p, uint32_t n_tokens);
/* Which rows count of those of the tokens at [position, position + n_tokens). */
struct pooler_rows pooler_rows(const struct pooler *p, uint32_t position, uint32_t n_tokens);
/* These, f32[n][width]. */
void pooler_add(struct pooler *p, const float *rows, uint32_t n);
/* All were added: vector is what they come to, of length 1 (zeros stay zeros). */
void pooler_end(struct pooler *p);

#endif
