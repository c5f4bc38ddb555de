/* SPDX-License-Identifier: MIT */
/* Lists and everything that can be walked like one. */
#include <errno.h>

#include "template/run.h"
#include "template/str.h"

struct seq *seq_create(struct run *r, size_t cap)
{
    struct seq *s = run_new(r, struct seq);

    if (cap) {
        s->items = run_alloc(r, cap, sizeof(*s->items));
        s->cap = cap;
    }
    return s;
}

void seq_push(struct run *r, struct seq *s, struct val v)
{
    run_step(r, 1);
    if (s->len == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        struct val *items = run_alloc(r, cap, sizeof(*items));

        if (s->len)
            memcpy(items, s->items, s->len * sizeof(*items));
        s->items = items;
        s->cap = cap;
    }
    s->items[s->len++] = v;
}

struct val seq_val(enum val_type type, struct seq *s)
{
    return (struct val){.type = type, .seq = s};
}

struct val seq_generator(struct seq *s)
{
    s->name = "generator";
    return seq_val(VAL_GENERATOR, s);
}

struct val seq_remove(struct seq *s, size_t index)
{
    struct val v = s->items[index];

    memmove(s->items + index, s->items + index + 1, (s->len - index - 1) * sizeof(*s->items));
    s->len--;
    return v;
}

uint64_t range_length(const struct range *g)
{
    if (g->step > 0 && g->start < g->stop)
        return ((uint64_t)g->stop - (uint64_t)g->start - 1) / (uint64_t)g->step + 1;
    if (g->step < 0 && g->start > g->stop)
        return ((uint64_t)g->start - (uint64_t)g->stop - 1) / (0 - (uint64_t)g->step) + 1;
    return 0;
}

struct val range_at(const struct range *g, uint64_t index)
{
    return val_int((int64_t)((uint64_t)g->start + index * (uint64_t)g->step));
}

bool seq_can_iterate(struct val v)
{
    switch (v.type) {
    case VAL_UNDEFINED:
    case VAL_STR:
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_DICT:
    case VAL_RANGE:
    case VAL_VIEW:
    case VAL_GENERATOR:
        return true;
    default:
        return false;
    }
}

static struct seq *seq_of_chars(struct run *r, const struct str *s)
{
    struct seq *chars = seq_create(r, s->chars);

    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        struct str *c;

        str_next(s, &pos);
        c = str_sub(r, s, from, pos);
        c->is_markup = s->is_markup;
        seq_push(r, chars, val_str(c));
    }
    return chars;
}

static struct seq *seq_of_keys(struct run *r, const struct dict *d)
{
    struct seq *keys = seq_create(r, d->len);
    const struct dict_entry *e;
    size_t pos = 0;

    while ((e = dict_next(d, &pos)))
        seq_push(r, keys, e->key);
    return keys;
}

static struct seq *seq_of_range(struct run *r, const struct range *g)
{
    uint64_t n = range_length(g);
    struct seq *s = seq_create(r, n);

    for (uint64_t i = 0; i < n; i++)
        seq_push(r, s, range_at(g, i));
    return s;
}

const struct val *seq_of(struct run *r, struct val v, size_t *ret_len)
{
    const struct seq *s = NULL;
    size_t from = 0;

    switch (v.type) {
    case VAL_UNDEFINED:
        *ret_len = 0;
        return NULL;
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_VIEW:
        s = v.seq;
        break;
    case VAL_GENERATOR:
        s = v.seq;
        from = s->taken;
        v.seq->taken = s->len;
        break;
    case VAL_STR:
        s = seq_of_chars(r, v.str);
        break;
    case VAL_DICT:
        s = seq_of_keys(r, v.dict);
        break;
    case VAL_RANGE:
        s = seq_of_range(r, v.range);
        break;
    default:
        run_fail(r, EINVAL, "a value of type '%s' cannot be iterated", val_type_name(v));
    }
    run_step(r, 1);
    *ret_len = s->len - from;
    return s->items ? s->items + from : NULL;
}

static void merge(struct run *r, const struct seq_sorted *from, struct seq_sorted *to, size_t left,
                  size_t right, size_t end, bool reverse)
{
    size_t i = left, j = right;

    for (size_t k = left; k < end; k++) {
        bool take_right = i == right;

        if (i < right && j < end) {
            int order = val_compare(r, from[j].key, from[i].key, "<");

            take_right = reverse ? order > 0 : order < 0;
        }
        to[k] = take_right ? from[j++] : from[i++];
    }
}

void seq_sort(struct run *r, struct seq_sorted *items, size_t n, bool reverse)
{
    struct seq_sorted *from = items, *to = run_alloc(r, n, sizeof(*to));

    for (size_t width = 1; width < n; width *= 2) {
        struct seq_sorted *swap = from;

        run_step(r, n);
        for (size_t left = 0; left < n; left += 2 * width) {
            size_t right = left + width < n ? left + width : n;
            size_t end = left + 2 * width < n ? left + 2 * width : n;

            merge(r, from, to, left, right, end, reverse);
        }
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, n * sizeof(*items));
}
