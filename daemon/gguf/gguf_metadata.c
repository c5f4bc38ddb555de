/* SPDX-License-Identifier: MIT */
#include "gguf/gguf_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_LIMIT_BYTES = 65535,
    ARRAY_DEPTH_LIMIT = 4,
    ALIGNMENT_DEFAULT = 32,
};

static size_t value_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {
        [GGUF_VALUE_U8] = 1,  [GGUF_VALUE_I8] = 1,  [GGUF_VALUE_U16] = 2, [GGUF_VALUE_I16] = 2,
        [GGUF_VALUE_U32] = 4, [GGUF_VALUE_I32] = 4, [GGUF_VALUE_F32] = 4, [GGUF_VALUE_BOOL] = 1,
        [GGUF_VALUE_U64] = 8, [GGUF_VALUE_I64] = 8, [GGUF_VALUE_F64] = 8,
    };

    return type < sizeof(bytes) ? bytes[type] : 0;
}

static bool check_bools(struct gguf_walk *w, const uint8_t *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return gguf_walk_fail(w,
                                  "%s at offset %llu is a bool of value %u, not 0 or 1: the file "
                                  "is damaged or made by a faulty converter",
                                  w->what, gguf_ull((uint64_t)(p - w->part->data) + i), p[i]);
    return true;
}

static bool take_array(struct gguf_walk *w, unsigned depth, struct gguf_array *ret);

static bool take_array_strs(struct gguf_walk *w, uint64_t n, struct gguf_array *a)
{
    struct gguf_str *strs = arena_array(&w->part->arena, (size_t)n, sizeof(*strs));

    if (!strs)
        return gguf_walk_no_memory(w);
    for (uint64_t i = 0; i < n; i++) {
        if (!gguf_walk_take_str(w, &strs[i]))
            return false;
    }
    a->strs = strs;
    return true;
}

static bool take_array_arrays(struct gguf_walk *w, uint64_t n, unsigned depth, struct gguf_array *a)
{
    struct gguf_array *arrays;

    if (depth + 1 > ARRAY_DEPTH_LIMIT)
        return gguf_walk_fail(w, "%s at offset %llu nests arrays deeper than %d levels", w->what,
                              gguf_ull(w->at), ARRAY_DEPTH_LIMIT);
    arrays = arena_array(&w->part->arena, (size_t)n, sizeof(*arrays));
    if (!arrays)
        return gguf_walk_no_memory(w);
    for (uint64_t i = 0; i < n; i++) {
        if (!take_array(w, depth + 1, &arrays[i]))
            return false;
    }
    a->arrays = arrays;
    return true;
}

static bool take_array_numbers(struct gguf_walk *w, uint64_t n, struct gguf_array *a)
{
    uint64_t bytes = n * value_bytes(a->type);
    const uint8_t *p = gguf_walk_take(w, bytes);
    void *copy;

    if (!p)
        return false;
    /* Copied because numbers in the file lie on any byte. */
    copy = arena_alloc(&w->part->arena, (size_t)bytes);
    if (!copy)
        return gguf_walk_no_memory(w);
    memcpy(copy, p, (size_t)bytes);
    a->data = copy;
    return a->type == GGUF_VALUE_BOOL ? check_bools(w, p, n) : true;
}

static bool take_array(struct gguf_walk *w, unsigned depth, struct gguf_array *ret)
{
    const uint64_t start = w->at;
    size_t least; /* bytes an element takes at least */
    uint64_t n, room;
    uint32_t type;

    if (!gguf_walk_take_u32(w, &type))
        return false;
    if (!gguf_walk_take_u64(w, &n))
        return false;
    if (type == GGUF_VALUE_STR)
        least = 8;
    else if (type == GGUF_VALUE_ARRAY)
        least = 12;
    else
        least = value_bytes(type);
    if (!least)
        return gguf_walk_fail(w,
                              "%s at offset %llu is an array of value type %u, which GGUF does not "
                              "have: the file is damaged",
                              w->what, gguf_ull(start), type);
    room = w->part->file.size_bytes;
    if (room > GGUF_HEADER_LIMIT_BYTES)
        room = GGUF_HEADER_LIMIT_BYTES;
    room = room > w->at ? room - w->at : 0;
    if (n > room / least)
        return gguf_walk_fail(
            w,
            "%s at offset %llu claims %llu elements of at least %zu bytes but only %llu bytes "
            "remain: the download is incomplete or the file is damaged, fetch it again",
            w->what, gguf_ull(start), gguf_ull(n), least, gguf_ull(room));
    ret->type = (enum gguf_value_type)type;
    ret->n = (size_t)n;
    if (type == GGUF_VALUE_STR)
        return take_array_strs(w, n, ret);
    if (type == GGUF_VALUE_ARRAY)
        return take_array_arrays(w, n, depth, ret);
    return take_array_numbers(w, n, ret);
}

static bool take_scalar(struct gguf_walk *w, struct gguf_kv *kv)
{
    const uint8_t *p = gguf_walk_take(w, value_bytes(kv->type));
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        int64_t i64;
        float f32;
    } v;

    if (!p)
        return false;
    memcpy(&v, p, value_bytes(kv->type));
    switch (kv->type) {
    case GGUF_VALUE_U8:
        kv->u64 = v.u8;
        break;
    case GGUF_VALUE_U16:
        kv->u64 = v.u16;
        break;
    case GGUF_VALUE_U32:
        kv->u64 = v.u32;
        break;
    case GGUF_VALUE_I8:
        kv->i64 = v.i8;
        break;
    case GGUF_VALUE_I16:
        kv->i64 = v.i16;
        break;
    case GGUF_VALUE_I32:
        kv->i64 = v.i32;
        break;
    case GGUF_VALUE_F32:
        kv->f64 = (double)v.f32;
        break;
    case GGUF_VALUE_BOOL:
        kv->b = v.u8 == 1;
        return check_bools(w, p, 1);
    default: /* 64 bits of any kind */
        memcpy(&kv->u64, p, 8);
        break;
    }
    return true;
}

static bool take_kv(struct gguf_walk *w, uint64_t index, uint64_t n, struct gguf_kv *ret)
{
    uint64_t start;
    uint32_t type;

    snprintf(w->what, sizeof(w->what), "metadata entry %llu of %llu", gguf_ull(index + 1),
             gguf_ull(n));
    if (!gguf_walk_take_name(w, KEY_LIMIT_BYTES, &ret->key))
        return false;
    snprintf(w->what, sizeof(w->what), "metadata key %.100s", ret->key);
    start = w->at;
    if (!gguf_walk_take_u32(w, &type))
        return false;
    ret->type = (enum gguf_value_type)type;
    if (type == GGUF_VALUE_STR) {
        if (!gguf_walk_take_str(w, &ret->str))
            return false;
        ret->str.data = arena_strndup(&w->part->arena, ret->str.data, ret->str.len);
        return ret->str.data ? true : gguf_walk_no_memory(w);
    }
    if (type == GGUF_VALUE_ARRAY)
        return take_array(w, 1, &ret->array);
    if (!value_bytes(type))
        return gguf_walk_fail(
            w, "%s at offset %llu has value type %u, which GGUF does not have: the file is damaged",
            w->what, gguf_ull(start), type);
    return take_scalar(w, ret);
}

static int compare_keys(const void *a, const void *b)
{
    const struct gguf_kv *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

bool gguf_walk_kvs(struct gguf_walk *w, uint64_t n)
{
    struct gguf_part *part = w->part;
    size_t cap = 0;

    for (uint64_t i = 0; i < n; i++) {
        struct gguf_kv kv = {0};
        void *array = part->kvs;

        if (!take_kv(w, i, n, &kv))
            return false;
        if (!gguf_walk_grow(&array, part->n_kv, &cap, sizeof(kv)))
            return gguf_walk_no_memory(w);
        part->kvs = array;
        part->kvs[part->n_kv++] = kv;
    }
    part->kvs_by_key = calloc(part->n_kv + 1, sizeof(*part->kvs_by_key));
    if (!part->kvs_by_key)
        return gguf_walk_no_memory(w);
    for (size_t i = 0; i < part->n_kv; i++)
        part->kvs_by_key[i] = &part->kvs[i];
    qsort(part->kvs_by_key, part->n_kv, sizeof(*part->kvs_by_key), compare_keys);
    for (size_t i = 1; i < part->n_kv; i++)
        if (!compare_keys(&part->kvs_by_key[i - 1], &part->kvs_by_key[i]))
            return gguf_walk_fail(w,
                                  "metadata key %.100s stands there twice: the file is damaged or "
                                  "made by a faulty converter",
                                  part->kvs_by_key[i]->key);
    return true;
}

bool gguf_walk_alignment(struct gguf_walk *w)
{
    const struct gguf_kv *kv = gguf_part_find(w->part, "general.alignment");

    w->part->file.alignment = ALIGNMENT_DEFAULT;
    if (!kv)
        return true;
    if (kv->type != GGUF_VALUE_U32)
        return gguf_walk_fail(w,
                              "metadata key general.alignment is of type %s, it must be u32: the "
                              "file is made by a faulty converter",
                              gguf_value_type_name(kv->type));
    if (kv->u64 < 8 || (kv->u64 & (kv->u64 - 1)))
        return gguf_walk_fail(w,
                              "metadata key general.alignment is %llu, it must be a power of two "
                              "of at least 8: the file is made by a faulty converter",
                              gguf_ull(kv->u64));
    w->part->file.alignment = (uint32_t)kv->u64;
    return true;
}
