/* SPDX-License-Identifier: MIT */
/* The filters: `value|name(args)`. Each family has its own file and table. */
#ifndef HEARTH_TEMPLATE_FILTERS_H
#define HEARTH_TEMPLATE_FILTERS_H

#include "template/run.h"

/* NULL when there is no such filter. */
const struct function *filters_find(const struct str *name);
struct val filters_apply(struct run *r, const struct function *f, struct val input,
                         const struct arg_list *args);

/* Tables end with a NULL name. */
extern const struct function filters_text[], filters_number[], filters_list[], filters_pick[];

/* `attribute` as filters take it: "a.b.0" or a number, looked up step by step. */
struct val filters_attribute(struct run *r, struct val item, struct val path, struct val fallback);
/* What sort, unique and their like compare: strings in lower case unless case_sensitive. */
struct val filters_key(struct run *r, struct val v, bool case_sensitive);

#endif
