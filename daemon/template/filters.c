/* SPDX-License-Identifier: MIT */
#include "template/filters.h"

#include <stdlib.h>

#include "template/eval.h"
#include "template/str.h"

const struct function *filters_find(const struct str *name)
{
    static const struct function *const tables[] = {filters_text, filters_number, filters_list,
                                                    filters_pick};

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct function *f = tables[i]; f->name; f++) {
            if (str_is(name, f->name))
                return f;
        }
    }
    return NULL;
}

struct val filters_apply(struct run *r, const struct function *f, struct val input,
                         const struct arg_list *args)
{
    struct val v;

    run_step(r, 1);
    run_enter(r);
    v = f->call(r, input, args);
    run_leave(r);
    return v;
}

/* One step of a path: digits are a number. */
static struct val path_step(struct run *r, struct str *part)
{
    int64_t index = 0;

    if (!part->len)
        return val_str(part);
    for (size_t i = 0; i < part->len; i++) {
        if (part->data[i] < '0' || part->data[i] > '9' || index > INT64_MAX / 16)
            return val_str(part);
        index = index * 10 + (part->data[i] - '0');
    }
    return val_int(index);
}

struct val filters_attribute(struct run *r, struct val item, struct val path, struct val fallback)
{
    const bool has_fallback = fallback.type != VAL_UNDEFINED && fallback.type != VAL_NONE;
    struct seq *parts;

    if (path.type == VAL_NONE)
        return item;
    if (path.type == VAL_STR) {
        parts = str_split(r, path.str, str_literal(r, "."), -1);
        for (size_t i = 0; i < parts->len; i++)
            parts->items[i] = path_step(r, parts->items[i].str);
    } else {
        parts = seq_create(r, 1);
        seq_push(r, parts, path);
    }
    for (size_t i = 0; i < parts->len; i++) {
        item = expr_item(r, item, parts->items[i]);
        if (has_fallback && item.type == VAL_UNDEFINED)
            item = fallback;
    }
    return item;
}

struct val filters_key(struct run *r, struct val v, bool case_sensitive)
{
    if (case_sensitive || v.type != VAL_STR)
        return v;
    return val_str(str_lower(r, v.str));
}
