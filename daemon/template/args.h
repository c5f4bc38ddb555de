/* SPDX-License-Identifier: MIT */
/* Reading the arguments of functions, filters, tests and methods. */
#ifndef HEARTH_TEMPLATE_ARGS_H
#define HEARTH_TEMPLATE_ARGS_H

#include "template/run.h"

/*
 * Binds positional and named arguments to the parameters in `names` ("width first blank"), the
 * first `required` of which must be there. Missing ones get type VAL_UNDEFINED with
 * undefined == NULL. Fails the run on too many or unknown ones.
 */
void args_bind(struct run *r, const char *function, const struct arg_list *args, const char *names,
               size_t required, struct val *ret);

static inline bool args_is_missing(struct val v)
{
    return v.type == VAL_UNDEFINED && !v.undefined;
}

int64_t args_int(struct run *r, struct val v, int64_t fallback);
bool args_bool(struct run *r, struct val v, bool fallback);
/* NULL when missing or None. */
struct str *args_str(struct run *r, struct val v);

#endif
