/* SPDX-License-Identifier: MIT */
/* Filters on whole sequences. */
#include <errno.h>

#include "template/args.h"
#include "template/eval.h"
#include "template/filters.h"
#include "template/repr.h"
#include "template/str.h"

static struct val nothing(struct run *r, const char *what)
{
    struct undefined *u = run_new(r, struct undefined);

    u->hint = what;
    return (struct val){.type = VAL_UNDEFINED, .undefined = u};
}

static struct seq *copy_of(struct run *r, struct val v)
{
    size_t n;
    const struct val *items = seq_of(r, v, &n);
    struct seq *s = seq_create(r, n);

    for (size_t i = 0; i < n; i++)
        seq_push(r, s, items[i]);
    return s;
}

static struct val filter_length(struct run *r, struct val v, const struct arg_list *args)
{
    int64_t n = val_length(r, v);

    args_bind(r, "length", args, "", 0, NULL);
    if (n < 0)
        run_fail(r, EINVAL, "a value of type '%s' has no length", val_type_name(v));
    return val_int(n);
}

static struct val filter_list(struct run *r, struct val v, const struct arg_list *args)
{
    args_bind(r, "list", args, "", 0, NULL);
    return seq_val(VAL_LIST, copy_of(r, v));
}

static struct val filter_first(struct run *r, struct val v, const struct arg_list *args)
{
    const struct val *items;
    size_t n, taken = v.type == VAL_GENERATOR ? v.seq->taken : 0;

    args_bind(r, "first", args, "", 0, NULL);
    items = seq_of(r, v, &n);
    if (v.type == VAL_GENERATOR && n)
        v.seq->taken = taken + 1;
    return n ? items[0] : nothing(r, "there is no first item, the sequence is empty");
}

static struct val filter_last(struct run *r, struct val v, const struct arg_list *args)
{
    const struct val *items;
    size_t n;

    args_bind(r, "last", args, "", 0, NULL);
    if (v.type == VAL_GENERATOR)
        run_fail(r, EINVAL, "a generator has no last item; make it a list");
    items = seq_of(r, v, &n);
    return n ? items[n - 1] : nothing(r, "there is no last item, the sequence is empty");
}

static struct val filter_join(struct run *r, struct val v, const struct arg_list *args)
{
    struct text t = {0};
    const struct val *items;
    struct val a[2];
    struct str *separator;
    size_t n;

    args_bind(r, "join", args, "d attribute", 0, a);
    separator = args_is_missing(a[0]) ? str_literal(r, "") : repr_str(r, a[0]);
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++) {
        struct val item = items[i];

        if (!args_is_missing(a[1]))
            item = filters_attribute(r, item, a[1], val_none());
        if (i)
            text_add_str(r, &t, separator);
        repr_add_str(r, &t, item);
    }
    return val_str(text_finish(r, &t));
}

static struct val filter_reverse(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq *s;
    size_t n;
    const struct val *items;

    args_bind(r, "reverse", args, "", 0, NULL);
    items = seq_of(r, v, &n);
    if (v.type == VAL_STR) {
        struct text t = {0};

        for (size_t i = n; i; i--)
            text_add_str(r, &t, items[i - 1].str);
        return val_str(text_finish(r, &t));
    }
    s = seq_create(r, n);
    for (size_t i = n; i; i--)
        seq_push(r, s, items[i - 1]);
    return v.type == VAL_GENERATOR ? seq_val(VAL_LIST, s) : seq_generator(s);
}

/* The values that sort compares: several when the attribute lists some with commas. */
static struct val sort_key(struct run *r, struct val item, struct val attribute,
                           bool case_sensitive)
{
    struct seq *paths, *keys;

    if (args_is_missing(attribute) || attribute.type == VAL_NONE)
        return filters_key(r, item, case_sensitive);
    if (attribute.type != VAL_STR)
        return filters_key(r, filters_attribute(r, item, attribute, val_none()), case_sensitive);
    paths = str_split(r, attribute.str, str_literal(r, ","), -1);
    keys = seq_create(r, paths->len);
    for (size_t i = 0; i < paths->len; i++)
        seq_push(r, keys,
                 filters_key(r, filters_attribute(r, item, paths->items[i], val_none()),
                             case_sensitive));
    return seq_val(VAL_LIST, keys);
}

static struct seq *sorted(struct run *r, struct val v, struct val attribute, bool case_sensitive,
                          bool reverse)
{
    size_t n;
    const struct val *items = seq_of(r, v, &n);
    struct seq_sorted *order = run_alloc(r, n + 1, sizeof(*order));
    struct seq *s = seq_create(r, n);

    for (size_t i = 0; i < n; i++)
        order[i] = (struct seq_sorted){sort_key(r, items[i], attribute, case_sensitive), items[i]};
    seq_sort(r, order, n, reverse);
    for (size_t i = 0; i < n; i++)
        seq_push(r, s, order[i].value);
    return s;
}

static struct val filter_sort(struct run *r, struct val v, const struct arg_list *args)
{
    struct val a[3];

    args_bind(r, "sort", args, "reverse case_sensitive attribute", 0, a);
    return seq_val(VAL_LIST,
                   sorted(r, v, a[2], args_bool(r, a[1], false), args_bool(r, a[0], false)));
}

static struct val filter_unique(struct run *r, struct val v, const struct arg_list *args)
{
    struct dict *seen = dict_create(r);
    struct seq *s = seq_create(r, 0);
    const struct val *items;
    struct val a[2];
    size_t n;

    args_bind(r, "unique", args, "case_sensitive attribute", 0, a);
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++) {
        struct val key = items[i];

        if (!args_is_missing(a[1]))
            key = filters_attribute(r, key, a[1], val_none());
        key = filters_key(r, key, args_bool(r, a[0], false));
        if (dict_find(r, seen, key))
            continue;
        dict_set(r, seen, key, val_none());
        seq_push(r, s, items[i]);
    }
    return seq_generator(s);
}

static struct val extreme(struct run *r, struct val v, const struct arg_list *args, int wanted)
{
    const struct val *items;
    struct val a[2], best_key = {0};
    size_t n, best = 0;

    args_bind(r, wanted < 0 ? "min" : "max", args, "case_sensitive attribute", 0, a);
    items = seq_of(r, v, &n);
    if (!n)
        return nothing(r, "an empty sequence has no smallest or largest item");
    for (size_t i = 0; i < n; i++) {
        struct val key = items[i];

        if (!args_is_missing(a[1]))
            key = filters_attribute(r, key, a[1], val_none());
        key = filters_key(r, key, args_bool(r, a[0], false));
        if (!i || val_compare(r, key, best_key, "<") * wanted > 0) {
            best = i;
            best_key = key;
        }
    }
    return items[best];
}

static struct val filter_min(struct run *r, struct val v, const struct arg_list *args)
{
    return extreme(r, v, args, -1);
}

static struct val filter_max(struct run *r, struct val v, const struct arg_list *args)
{
    return extreme(r, v, args, 1);
}

static struct val filter_sum(struct run *r, struct val v, const struct arg_list *args)
{
    const struct val *items;
    struct val a[2], total;
    size_t n;

    args_bind(r, "sum", args, "attribute start", 0, a);
    total = args_is_missing(a[1]) ? val_int(0) : a[1];
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++) {
        struct val item = items[i];

        if (!args_is_missing(a[0]))
            item = filters_attribute(r, item, a[0], val_none());
        total = op_binary(r, OP_ADD, total, item);
    }
    return total;
}

static struct val filter_items(struct run *r, struct val v, const struct arg_list *args)
{
    args_bind(r, "items", args, "", 0, NULL);
    if (v.type == VAL_UNDEFINED)
        return seq_generator(seq_create(r, 0));
    if (v.type != VAL_DICT)
        run_fail(r, EINVAL, "items needs a mapping, not a value of type '%s'", val_type_name(v));
    return seq_generator(dict_view(r, v.dict, "dict_items").seq);
}

static struct val filter_dictsort(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq_sorted *order;
    struct seq *s;
    struct val a[3];
    struct str *by;
    size_t part;

    args_bind(r, "dictsort", args, "case_sensitive by reverse", 0, a);
    by = args_str(r, a[1]);
    part = by && str_is(by, "value");
    if (by && !part && !str_is(by, "key"))
        run_fail(r, EINVAL, "dictsort sorts by 'key' or by 'value'");
    op_need_defined(r, v);
    if (v.type != VAL_DICT)
        run_fail(r, EINVAL, "dictsort needs a mapping, not a value of type '%s'", val_type_name(v));
    s = dict_view(r, v.dict, "dict_items").seq;
    order = run_alloc(r, s->len + 1, sizeof(*order));
    for (size_t i = 0; i < s->len; i++) {
        struct val key = s->items[i].seq->items[part];

        order[i].key = filters_key(r, key, args_bool(r, a[0], false));
        order[i].value = s->items[i];
    }
    seq_sort(r, order, s->len, args_bool(r, a[2], false));
    for (size_t i = 0; i < s->len; i++)
        s->items[i] = order[i].value;
    return seq_val(VAL_LIST, s);
}

static struct val filter_batch(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq *all = seq_create(r, 0), *batch = NULL;
    const struct val *items;
    struct val a[2];
    int64_t size;
    size_t n;

    args_bind(r, "batch", args, "linecount fill_with", 1, a);
    size = args_int(r, a[0], 1);
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++) {
        if (!batch || (int64_t)batch->len == size) {
            batch = seq_create(r, 0);
            seq_push(r, all, seq_val(VAL_LIST, batch));
        }
        seq_push(r, batch, items[i]);
    }
    if (batch && !args_is_missing(a[1]) && a[1].type != VAL_NONE) {
        while ((int64_t)batch->len < size)
            seq_push(r, batch, a[1]);
    }
    return seq_generator(all);
}

static struct val filter_slice(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq *all = seq_create(r, 0);
    const struct val *items;
    struct val a[2];
    int64_t slices;
    size_t n, at = 0;

    args_bind(r, "slice", args, "slices fill_with", 1, a);
    slices = args_int(r, a[0], 1);
    if (slices < 1)
        run_fail(r, EINVAL, "slice needs at least one slice");
    items = seq_of(r, v, &n);
    for (int64_t k = 0; k < slices; k++) {
        const size_t extra = (uint64_t)k < n % (size_t)slices;
        const size_t size = n / (size_t)slices + extra;
        struct seq *slice = seq_create(r, size + 1);

        for (size_t i = 0; i < size; i++)
            seq_push(r, slice, items[at++]);
        if (!extra && n % (size_t)slices && !args_is_missing(a[1]) && a[1].type != VAL_NONE)
            seq_push(r, slice, a[1]);
        seq_push(r, all, seq_val(VAL_LIST, slice));
    }
    return seq_generator(all);
}

static void close_group(struct run *r, struct seq *groups, struct val key, struct seq *members)
{
    struct seq *group = seq_create(r, 2);

    group->name = "group";
    seq_push(r, group, key);
    seq_push(r, group, seq_val(VAL_LIST, members));
    seq_push(r, groups, seq_val(VAL_TUPLE, group));
}

static struct val filter_groupby(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq *groups = seq_create(r, 0), *members = NULL;
    struct seq_sorted *order;
    const struct val *items;
    struct val a[3], key = {0}, first = {0};
    bool case_sensitive;
    size_t n;

    args_bind(r, "groupby", args, "attribute default case_sensitive", 1, a);
    case_sensitive = args_bool(r, a[2], false);
    items = seq_of(r, v, &n);
    order = run_alloc(r, n + 1, sizeof(*order));
    for (size_t i = 0; i < n; i++) {
        struct val attribute = filters_attribute(r, items[i], a[0], a[1]);

        order[i] = (struct seq_sorted){filters_key(r, attribute, case_sensitive), items[i]};
    }
    seq_sort(r, order, n, false);
    for (size_t i = 0; i < n; i++) {
        if (!members || !val_equal(r, key, order[i].key)) {
            if (members)
                close_group(r, groups, first, members);
            members = seq_create(r, 0);
            key = order[i].key;
            first = filters_attribute(r, order[i].value, a[0], a[1]);
        }
        seq_push(r, members, order[i].value);
    }
    if (members)
        close_group(r, groups, first, members);
    return seq_val(VAL_LIST, groups);
}

const struct function filters_list[] = {
    {"length", filter_length},   {"count", filter_length},      {"list", filter_list},
    {"first", filter_first},     {"last", filter_last},         {"join", filter_join},
    {"reverse", filter_reverse}, {"sort", filter_sort},         {"unique", filter_unique},
    {"min", filter_min},         {"max", filter_max},           {"sum", filter_sum},
    {"items", filter_items},     {"dictsort", filter_dictsort}, {"batch", filter_batch},
    {"slice", filter_slice},     {"groupby", filter_groupby},   {NULL, NULL},
};
