/* SPDX-License-Identifier: MIT */
#include "engine/pooler.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int pooler_init(struct pooler *p, enum pooling pooling, uint32_t width)
{
    *p = (struct pooler){.pooling = pooling, .width = width};
    p->sum = calloc(width, sizeof(*p->sum));
    p->vector = calloc(width, sizeof(*p->vector));
    return p->sum && p->vector ? 0 : -ENOMEM;
}

void pooler_finish(struct pooler *p)
{
    free(p->sum);
    free(p->vector);
    p->sum = NULL;
    p->vector = NULL;
}

void pooler_begin(struct pooler *p, uint32_t n_tokens)
{
    p->n_tokens = n_tokens;
    memset(p->sum, 0, p->width * sizeof(*p->sum));
}

struct pooler_rows pooler_rows(const struct pooler *p, uint32_t position, uint32_t n_tokens)
{
    switch (p->pooling) {
    case POOLING_MEAN:
        return (struct pooler_rows){0, n_tokens};
    case POOLING_CLS:
        return (struct pooler_rows){0, position == 0};
    case POOLING_LAST:
        if (position + n_tokens == p->n_tokens)
            return (struct pooler_rows){n_tokens - 1, 1};
        break;
    case POOLING_NONE:
        break;
    }
    return (struct pooler_rows){0, 0};
}

void pooler_add(struct pooler *p, const float *rows, uint32_t n)
{
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t i = 0; i < p->width; i++)
            p->sum[i] += (double)rows[(size_t)r * p->width + i];
}

/* A mean differs from a sum in its length alone. */
void pooler_end(struct pooler *p)
{
    double squares = 0, scale;

    for (uint32_t i = 0; i < p->width; i++)
        squares += p->sum[i] * p->sum[i];
    scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (uint32_t i = 0; i < p->width; i++)
        p->vector[i] = (float)(p->sum[i] * scale);
}
