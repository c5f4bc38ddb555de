/* SPDX-License-Identifier: MIT */
/* The tests: `value is name(args)`. */
#ifndef HEARTH_TEMPLATE_CHECKS_H
#define HEARTH_TEMPLATE_CHECKS_H

#include "template/run.h"

struct check;

/* NULL when there is no such test. */
const struct check *checks_find(const struct str *name);
bool checks_apply(struct run *r, const struct check *c, struct val v, const struct arg_list *args);

#endif
