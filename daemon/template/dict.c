/* SPDX-License-Identifier: MIT */
/* Insertion-ordered dictionaries. Probes count as steps, so crafted keys cannot stall a run. */
#include <errno.h>

#include "template/run.h"
#include "template/str.h"

enum { INDEX_FROM = 8 };

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t hash_bytes(const char *data, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)data[i]) * 0x100000001b3u;
    return mix(h);
}

static uint64_t hash_number(struct val v)
{
    double f = v.f;

    if (v.type != VAL_FLOAT)
        return mix((uint64_t)val_to_int(v));
    if (f >= -0x1p63 && f < 0x1p63 && (double)(int64_t)f == f)
        return mix((uint64_t)(int64_t)f);
    memcpy(&v.i, &f, sizeof(f));
    return mix((uint64_t)v.i);
}

static uint64_t hash_of(struct run *r, struct val v)
{
    uint64_t h = 17;

    switch (v.type) {
    case VAL_STR:
        run_step_bytes(r, v.str->len);
        return hash_bytes(v.str->data, v.str->len);
    case VAL_BOOL:
    case VAL_INT:
    case VAL_FLOAT:
        return hash_number(v);
    case VAL_TUPLE:
        run_enter(r);
        for (size_t i = 0; i < v.seq->len; i++)
            h = mix(h * 31 + hash_of(r, v.seq->items[i]));
        run_leave(r);
        return h;
    case VAL_LIST:
    case VAL_DICT:
    case VAL_VIEW:
        run_fail(r, EINVAL, "a value of type '%s' cannot be a key", val_type_name(v));
    default:
        return mix(v.type);
    }
}

struct dict *dict_create(struct run *r)
{
    return run_new(r, struct dict);
}

static size_t dict_locate(struct run *r, const struct dict *d, struct val key, uint64_t hash)
{
    if (!d->index) {
        for (size_t i = 0; i < d->len; i++) {
            if (d->entries[i].hash == hash && val_equal(r, d->entries[i].key, key))
                return i;
        }
        return (size_t)-1;
    }
    for (size_t at = hash & (d->index_size - 1); d->index[at];
         at = (at + 1) & (d->index_size - 1)) {
        size_t i = d->index[at] - 1;

        run_step(r, 1);
        if (d->entries[i].hash == hash && val_equal(r, d->entries[i].key, key))
            return i;
    }
    return (size_t)-1;
}

static void index_add(struct run *r, struct dict *d, size_t entry)
{
    size_t at = d->entries[entry].hash & (d->index_size - 1);

    while (d->index[at]) {
        run_step(r, 1);
        at = (at + 1) & (d->index_size - 1);
    }
    d->index[at] = (uint32_t)(entry + 1);
}

static void dict_grow(struct run *r, struct dict *d)
{
    const size_t cap = d->len ? d->len * 2 : 4;
    struct dict_entry *entries;

    if (cap > UINT32_MAX / 4)
        run_fail(r, E2BIG, "a dictionary grew too large");
    entries = run_alloc(r, cap, sizeof(*entries));
    run_step(r, d->len);
    if (d->len)
        memcpy(entries, d->entries, d->len * sizeof(*entries));
    d->entries = entries;
    d->cap = cap;
    d->index = NULL;
    if (cap > INDEX_FROM) {
        d->index_size = 16;
        while (d->index_size < cap * 2)
            d->index_size *= 2;
        d->index = run_alloc(r, d->index_size, sizeof(*d->index));
        for (size_t i = 0; i < d->len; i++)
            index_add(r, d, i);
    }
}

struct val *dict_find(struct run *r, const struct dict *d, struct val key)
{
    size_t i = dict_locate(r, d, key, hash_of(r, key));

    return i == (size_t)-1 ? NULL : &d->entries[i].value;
}

struct val *dict_find_str(struct run *r, const struct dict *d, const char *key)
{
    struct str s = {.data = key, .len = strlen(key)};

    return dict_find(r, d, val_str(&s));
}

void dict_set(struct run *r, struct dict *d, struct val key, struct val value)
{
    uint64_t hash = hash_of(r, key);
    size_t i = dict_locate(r, d, key, hash);

    run_step(r, 1);
    if (i != (size_t)-1) {
        d->entries[i].value = value;
        return;
    }
    if (d->len == d->cap)
        dict_grow(r, d);
    d->entries[d->len] = (struct dict_entry){.key = key, .value = value, .hash = hash};
    if (d->index)
        index_add(r, d, d->len);
    d->len++;
}

void dict_set_str(struct run *r, struct dict *d, const char *key, struct val value)
{
    dict_set(r, d, val_str(str_literal(r, key)), value);
}

const struct dict_entry *dict_next(const struct dict *d, size_t *pos)
{
    return *pos < d->len ? &d->entries[(*pos)++] : NULL;
}

static struct val pair(struct run *r, struct val a, struct val b)
{
    struct seq *s = seq_create(r, 2);

    seq_push(r, s, a);
    seq_push(r, s, b);
    return seq_val(VAL_TUPLE, s);
}

struct val dict_view(struct run *r, const struct dict *d, const char *name)
{
    struct seq *s = seq_create(r, d->len);
    const struct dict_entry *e;
    size_t pos = 0;

    s->name = name;
    while ((e = dict_next(d, &pos))) {
        if (!strcmp(name, "dict_keys"))
            seq_push(r, s, e->key);
        else if (!strcmp(name, "dict_values"))
            seq_push(r, s, e->value);
        else
            seq_push(r, s, pair(r, e->key, e->value));
    }
    return seq_val(VAL_VIEW, s);
}
