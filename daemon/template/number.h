/* SPDX-License-Identifier: MIT */
/* Reading numbers from text as Python's int() and float(), and writing them with a format. */
#ifndef HEARTH_TEMPLATE_NUMBER_H
#define HEARTH_TEMPLATE_NUMBER_H

#include "template/run.h"

/* false when s is no such number. Fails the run when it is one but has more than 64 bits. */
bool number_read_int(struct run *r, const struct str *s, int base, int64_t *ret);
bool number_read_float(struct run *r, const struct str *s, double *ret);
/* Towards zero; fails the run on infinities, NaN and numbers beyond 64 bits. */
int64_t number_truncate(struct run *r, double f);

/* A format: [[fill]align][sign][#][0][width][,][.precision][type]. */
struct number_spec {
    uint32_t fill; /* 0: none given */
    char align;    /* '<', '>', '=', '^', or 0 */
    char sign;     /* '+', ' ', '-' or 0 */
    bool is_alternate;
    char grouping;            /* ',' or '_', or 0 */
    int64_t width, precision; /* -1: none given */
    char type;                /* 0: none given */
};
struct str *number_format(struct run *r, struct val v, const struct number_spec *spec);
/* Puts s into a field of spec's width; '|' centres as str.center(), which rounds unlike '^'. */
struct str *number_pad(struct run *r, struct str *s, const struct number_spec *spec, char align);

#endif
