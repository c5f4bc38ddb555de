/* SPDX-License-Identifier: MIT */
#ifndef HEARTH_TEMPLATE_FORMAT_H
#define HEARTH_TEMPLATE_FORMAT_H

#include "template/run.h"

/* s.format(args). The % operator is op_format(). */
struct val format_call(struct run *r, struct str *s, const struct arg_list *args);
/* format(v, text), text being what stands behind the ':' of a field. */
struct str *format_value(struct run *r, struct val v, const struct str *text);

#endif
