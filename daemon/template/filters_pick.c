/* SPDX-License-Identifier: MIT */
/* map, select and their like, which apply a filter or test by name to each item. */
#include <errno.h>

#include "template/args.h"
#include "template/checks.h"
#include "template/eval.h"
#include "template/filters.h"
#include "template/str.h"

/* The first argument as a name; the others stay in *ret_rest. */
static struct str *take_name(struct run *r, const struct arg_list *args, const char *what,
                             struct arg_list *ret_rest)
{
    struct str *name = args->n ? args_str(r, args->items[0]) : NULL;

    if (!name)
        run_fail(r, EINVAL, "%s needs the name of a filter or test", what);
    *ret_rest = *args;
    ret_rest->items++;
    ret_rest->n--;
    return name;
}

static struct val map_attribute(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq *s = seq_create(r, 0);
    const struct val *items;
    struct val a[2];
    size_t n;

    args_bind(r, "map", args, "attribute default", 1, a);
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++)
        seq_push(r, s, filters_attribute(r, items[i], a[0], a[1]));
    return seq_generator(s);
}

static struct val filter_map(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq *s = seq_create(r, 0);
    const struct function *f;
    const struct val *items;
    struct arg_list rest;
    struct str *name;
    size_t n;

    if (!val_truth(r, v))
        return seq_generator(s);
    if (!args->n && args->n_named)
        return map_attribute(r, v, args);
    name = take_name(r, args, "map", &rest);
    f = filters_find(name);
    if (!f)
        run_fail(r, EINVAL, "there is no filter named '%.*s'",
                 (int)(name->len < 80 ? name->len : 80), name->data);
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++)
        seq_push(r, s, filters_apply(r, f, items[i], &rest));
    return seq_generator(s);
}

/* Keeps the items (or those whose attribute) passes the test named in args; no test: truth. */
static struct val pick(struct run *r, struct val v, const struct arg_list *args, bool by_attribute,
                       bool wanted)
{
    struct seq *s = seq_create(r, 0);
    const struct check *check = NULL;
    struct arg_list rest = *args;
    struct val path = val_none();
    const struct val *items;
    size_t n;

    if (!val_truth(r, v))
        return seq_generator(s);
    if (by_attribute) {
        if (!args->n)
            run_fail(r, EINVAL, "selectattr and rejectattr need an attribute's name");
        path = args->items[0];
        rest.items++;
        rest.n--;
    }
    if (rest.n) {
        struct str *name = take_name(r, &rest, "select", &rest);

        check = checks_find(name);
        if (!check)
            run_fail(r, EINVAL, "there is no test named '%.*s'",
                     (int)(name->len < 80 ? name->len : 80), name->data);
    }
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++) {
        struct val item = filters_attribute(r, items[i], path, val_none());
        bool passes = check ? checks_apply(r, check, item, &rest) : val_truth(r, item);

        if (passes == wanted)
            seq_push(r, s, items[i]);
    }
    return seq_generator(s);
}

static struct val filter_select(struct run *r, struct val v, const struct arg_list *args)
{
    return pick(r, v, args, false, true);
}

static struct val filter_reject(struct run *r, struct val v, const struct arg_list *args)
{
    return pick(r, v, args, false, false);
}

static struct val filter_selectattr(struct run *r, struct val v, const struct arg_list *args)
{
    return pick(r, v, args, true, true);
}

static struct val filter_rejectattr(struct run *r, struct val v, const struct arg_list *args)
{
    return pick(r, v, args, true, false);
}

/* The attribute itself: unlike value.name, never an item of a mapping. */
static struct val filter_attr(struct run *r, struct val v, const struct arg_list *args)
{
    struct dict empty = {0};
    struct val name;

    args_bind(r, "attr", args, "name", 1, &name);
    op_need_defined(r, v);
    if (!args_str(r, name))
        run_fail(r, EINVAL, "attr needs a name");
    if (v.type == VAL_DICT) {
        struct val found = expr_attribute(r, val_dict(&empty), name.str);

        if (found.type == VAL_METHOD)
            found.method->self = v;
        else if (found.undefined)
            found.undefined->object = v;
        return found;
    }
    return expr_attribute(r, v, name.str);
}

const struct function filters_pick[] = {
    {"map", filter_map},
    {"select", filter_select},
    {"reject", filter_reject},
    {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
    {"attr", filter_attr},
    {NULL, NULL},
};
