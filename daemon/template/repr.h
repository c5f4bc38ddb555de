/* SPDX-License-Identifier: MIT */
/* How Python prints values: str(), repr() and json.dumps(). */
#ifndef HEARTH_TEMPLATE_REPR_H
#define HEARTH_TEMPLATE_REPR_H

#include "template/run.h"

struct str *repr_str(struct run *r, struct val v); /* str(v); strings as they are */
void repr_add_str(struct run *r, struct text *t, struct val v);
void repr_add(struct run *r, struct text *t, struct val v); /* repr(v) */

/* The shortest decimal that reads back as f, in Python's layout; at most 32 bytes with the NUL. */
void repr_float(double f, char out[32]);

struct repr_json {
    bool ensure_ascii, sort_keys;
    const struct str *indent;         /* per level; NULL: one line */
    const struct str *item, *key_sep; /* separators; NULL: Python's defaults */
};
struct str *repr_as_json(struct run *r, struct val v, const struct repr_json *how);

#endif
