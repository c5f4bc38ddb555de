/* SPDX-License-Identifier: MIT */
/* Methods of lists, dictionaries and the engine's own objects; those of strings are apart. */
#include <errno.h>

#include "template/args.h"
#include "template/eval.h"
#include "template/str.h"

static struct val dict_get(struct run *r, struct val self, const struct arg_list *args)
{
    struct val a[2], *found;

    args_bind(r, "get", args, "key default", 1, a);
    found = dict_find(r, self.dict, a[0]);
    if (found)
        return *found;
    return args_is_missing(a[1]) ? val_none() : a[1];
}

static struct val dict_keys(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "keys", args, "", 0, NULL);
    return dict_view(r, self.dict, "dict_keys");
}

static struct val dict_values(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "values", args, "", 0, NULL);
    return dict_view(r, self.dict, "dict_values");
}

static struct val dict_items(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "items", args, "", 0, NULL);
    return dict_view(r, self.dict, "dict_items");
}

static struct val dict_copy(struct run *r, struct val self, const struct arg_list *args)
{
    struct dict *copy = dict_create(r);
    const struct dict_entry *e;
    size_t pos = 0;

    args_bind(r, "copy", args, "", 0, NULL);
    while ((e = dict_next(self.dict, &pos)))
        dict_set(r, copy, e->key, e->value);
    return val_dict(copy);
}

static struct val list_pop(struct run *r, struct val self, const struct arg_list *args)
{
    struct seq *s = self.seq;
    struct val index;
    int64_t i;

    args_bind(r, "pop", args, "index", 0, &index);
    i = args_int(r, index, -1);
    if (i < 0)
        i += (int64_t)s->len;
    if (i < 0 || (uint64_t)i >= s->len)
        run_fail(r, EINVAL, "pop() outside of the list");
    run_step(r, s->len / 16);
    return seq_remove(s, (size_t)i);
}

static struct val list_clear(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "clear", args, "", 0, NULL);
    self.seq->len = 0;
    return val_none();
}

static struct val list_copy(struct run *r, struct val self, const struct arg_list *args)
{
    struct seq *copy = seq_create(r, self.seq->len);

    args_bind(r, "copy", args, "", 0, NULL);
    for (size_t i = 0; i < self.seq->len; i++)
        seq_push(r, copy, self.seq->items[i]);
    return seq_val(VAL_LIST, copy);
}

static struct val list_count(struct run *r, struct val self, const struct arg_list *args)
{
    struct val wanted;
    const struct val *items;
    int64_t count = 0;
    size_t n;

    args_bind(r, "count", args, "value", 1, &wanted);
    items = seq_of(r, self, &n);
    for (size_t i = 0; i < n; i++)
        count += val_equal(r, items[i], wanted);
    return val_int(count);
}

static struct val list_index(struct run *r, struct val self, const struct arg_list *args)
{
    struct val a[3];
    const struct val *items;
    int64_t from, to;
    size_t n;

    args_bind(r, "index", args, "value start stop", 1, a);
    items = seq_of(r, self, &n);
    from = args_int(r, a[1], 0);
    to = args_int(r, a[2], (int64_t)n);
    from = from < 0 ? (from + (int64_t)n < 0 ? 0 : from + (int64_t)n) : from;
    to = to < 0 ? to + (int64_t)n : to < (int64_t)n ? to : (int64_t)n;
    for (int64_t i = from; i < to; i++) {
        if (val_equal(r, items[i], a[0]))
            return val_int(i);
    }
    run_fail(r, EINVAL, "index() of a value that is not in the list");
}

static struct val loop_cycle(struct run *r, struct val self, const struct arg_list *args)
{
    if (!args->n || args->n_named)
        run_fail(r, EINVAL, "loop.cycle() needs at least one item");
    return args->items[self.loop->index % args->n];
}

static struct val loop_changed(struct run *r, struct val self, const struct arg_list *args)
{
    struct seq *now = seq_create(r, args->n);
    struct loop *l = self.loop;
    struct val v;

    if (args->n_named)
        run_fail(r, EINVAL, "loop.changed() takes no named arguments");
    for (size_t i = 0; i < args->n; i++)
        seq_push(r, now, args->items[i]);
    v = seq_val(VAL_TUPLE, now);
    if (l->has_changed && val_equal(r, l->last_changed, v))
        return val_bool(false);
    l->has_changed = true;
    l->last_changed = v;
    return val_bool(true);
}

static struct val cycler_next(struct run *r, struct val self, const struct arg_list *args)
{
    struct cycler *c = self.cycler;
    struct val v = c->items[c->pos];

    args_bind(r, "next", args, "", 0, NULL);
    c->pos = (c->pos + 1) % c->n;
    return v;
}

static struct val cycler_reset(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "reset", args, "", 0, NULL);
    self.cycler->pos = 0;
    return val_none();
}

static struct val float_is_integer(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "is_integer", args, "", 0, NULL);
    return val_bool(self.f >= -0x1p63 && self.f < 0x1p63 ? (double)(int64_t)self.f == self.f
                                                         : self.f - self.f == 0);
}

static const struct function dict_methods[] = {
    {"get", dict_get},     {"keys", dict_keys}, {"values", dict_values},
    {"items", dict_items}, {"copy", dict_copy}, {NULL, NULL},
};
static const struct function list_methods[] = {
    {"pop", list_pop},     {"clear", list_clear}, {"copy", list_copy},
    {"count", list_count}, {"index", list_index}, {NULL, NULL},
};
static const struct function tuple_methods[] = {
    {"count", list_count},
    {"index", list_index},
    {NULL, NULL},
};
static const struct function loop_methods[] = {
    {"cycle", loop_cycle},
    {"changed", loop_changed},
    {NULL, NULL},
};
static const struct function cycler_methods[] = {
    {"next", cycler_next},
    {"reset", cycler_reset},
    {NULL, NULL},
};
static const struct function float_methods[] = {{"is_integer", float_is_integer}, {NULL, NULL}};
static const struct function no_methods[] = {{NULL, NULL}};

/* They change their object, which the sandbox forbids. */
static const char *const dict_unsafe[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
static const char *const list_unsafe[] = {"append", "reverse", "insert", "sort",
                                          "extend", "remove",  NULL};
static const char *const none_unsafe[] = {NULL};

const struct function *methods_find(struct val object, const struct str *name, bool *is_unsafe)
{
    const struct function *table = no_methods;
    const char *const *forbidden = none_unsafe;

    switch (object.type) {
    case VAL_STR:
        return methods_find_str(name);
    case VAL_DICT:
        table = dict_methods;
        forbidden = dict_unsafe;
        break;
    case VAL_LIST:
        table = list_methods;
        forbidden = list_unsafe;
        break;
    case VAL_TUPLE:
    case VAL_RANGE:
        table = tuple_methods;
        break;
    case VAL_LOOP:
        table = loop_methods;
        break;
    case VAL_CYCLER:
        table = cycler_methods;
        break;
    case VAL_FLOAT:
        table = float_methods;
        break;
    default:
        break;
    }
    for (; *forbidden; forbidden++)
        *is_unsafe |= str_is(name, *forbidden);
    for (; table->name; table++) {
        if (str_is(name, table->name))
            return table;
    }
    return NULL;
}
