/* SPDX-License-Identifier: MIT */
#include "template/args.h"

#include <errno.h>

#include "template/eval.h"
#include "template/str.h"

/* The index of name in the list, or -1. */
static int find_name(const char *names, const struct str *name)
{
    for (int i = 0; *names; i++) {
        size_t len = strcspn(names, " ");

        if (len == name->len && !memcmp(names, name->data, len))
            return i;
        names += len;
        names += *names == ' ';
    }
    return -1;
}

static size_t count_names(const char *names)
{
    size_t n = *names != 0;

    for (; *names; names++)
        n += *names == ' ';
    return n;
}

void args_bind(struct run *r, const char *function, const struct arg_list *args, const char *names,
               size_t required, struct val *ret)
{
    const size_t n = count_names(names);

    if (args->n > n)
        run_fail(r, EINVAL, "%s() takes at most %zu arguments but %zu were given", function, n,
                 args->n);
    for (size_t i = 0; i < n; i++)
        ret[i] = i < args->n ? args->items[i] : (struct val){0};
    for (size_t i = 0; i < args->n_named; i++) {
        int at = find_name(names, args->names[i]);

        if (at < 0 || !args_is_missing(ret[at]))
            run_fail(r, EINVAL, "%s() got %s argument '%.*s'", function,
                     at < 0 ? "an unexpected" : "two values for the",
                     (int)(args->names[i]->len < 80 ? args->names[i]->len : 80),
                     args->names[i]->data);
        ret[at] = args->named[i];
    }
    for (size_t i = 0; i < required; i++) {
        if (args_is_missing(ret[i]))
            run_fail(r, EINVAL, "%s() lacks its argument %zu", function, i + 1);
    }
}

int64_t args_int(struct run *r, struct val v, int64_t fallback)
{
    if (args_is_missing(v))
        return fallback;
    op_need_defined(r, v);
    if (!val_is_int(v))
        run_fail(r, EINVAL, "an integer is needed, not a value of type '%s'", val_type_name(v));
    return val_to_int(v);
}

bool args_bool(struct run *r, struct val v, bool fallback)
{
    return args_is_missing(v) ? fallback : val_truth(r, v);
}

struct str *args_str(struct run *r, struct val v)
{
    if (args_is_missing(v) || v.type == VAL_NONE)
        return NULL;
    op_need_defined(r, v);
    if (v.type != VAL_STR)
        run_fail(r, EINVAL, "a string is needed, not a value of type '%s'", val_type_name(v));
    return v.str;
}
