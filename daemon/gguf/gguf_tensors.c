/* SPDX-License-Identifier: MIT */
#include "gguf/gguf_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSOR_NAME_LIMIT_BYTES = 63 };

static bool take_shape(struct gguf_walk *w, struct gguf_tensor *t)
{
    if (!gguf_walk_take_u32(w, &t->n_dims))
        return false;
    if (t->n_dims > 4)
        return gguf_walk_fail(w, "%s has %u dimensions, more than 4: the file is damaged", w->what,
                              t->n_dims);
    t->elements = 1;
    for (uint32_t i = 0; i < 4; i++) {
        t->shape[i] = 1;
        if (i >= t->n_dims)
            continue;
        if (!gguf_walk_take_u64(w, &t->shape[i]))
            return false;
        if (t->shape[i] == 0)
            return gguf_walk_fail(w, "%s has no elements (dimension %u is 0)", w->what, i);
        if (__builtin_mul_overflow(t->elements, t->shape[i], &t->elements) ||
            t->elements > INT64_MAX)
            return gguf_walk_fail(
                w, "%s has more elements than 63 bits can count: the file is damaged", w->what);
    }
    return true;
}

/* Bytes of a tensor of known type and shape. */
static bool measure(struct gguf_walk *w, uint32_t type, struct gguf_tensor *t)
{
    const struct gguf_type_info *info = gguf_type_get_info(type);

    if (!info)
        return gguf_walk_fail(w,
                              "%s has type %u, which is not known here: the file is damaged or "
                              "newer than this version of hearth",
                              w->what, type);
    if (info->is_withdrawn)
        return gguf_walk_fail(
            w, "%s has type %s, which was withdrawn from GGUF: quantise the model again", w->what,
            info->name);
    t->type = (enum gguf_type)type;
    if (t->shape[0] % info->block_elements)
        return gguf_walk_fail(w,
                              "%s has rows of %llu elements, but %s comes in blocks of %u: the "
                              "file is damaged or made by a faulty converter",
                              w->what, gguf_ull(t->shape[0]), info->name, info->block_elements);
    if (__builtin_mul_overflow(t->elements / info->block_elements, (uint64_t)info->block_bytes,
                               &t->bytes) ||
        t->bytes > INT64_MAX)
        return gguf_walk_fail(w,
                              "%s has %llu elements of type %s, more bytes than 63 bits can count: "
                              "the file is damaged",
                              w->what, gguf_ull(t->elements), info->name);
    return true;
}

static bool take_tensor(struct gguf_walk *w, uint64_t index, uint64_t n, struct gguf_tensor *ret)
{
    uint32_t type;

    snprintf(w->what, sizeof(w->what), "tensor %llu of %llu", gguf_ull(index + 1), gguf_ull(n));
    if (!gguf_walk_take_name(w, TENSOR_NAME_LIMIT_BYTES, &ret->name))
        return false;
    snprintf(w->what, sizeof(w->what), "tensor %s", ret->name);
    if (!take_shape(w, ret))
        return false;
    if (!gguf_walk_take_u32(w, &type))
        return false;
    if (!measure(w, type, ret))
        return false;
    /* from the start of the data, until all are known */
    if (!gguf_walk_take_u64(w, &ret->offset))
        return false;
    if (ret->offset % w->part->file.alignment)
        return gguf_walk_fail(w,
                              "%s lies at data offset %llu, which the alignment of %u does not "
                              "divide: the file is damaged or made by a faulty converter",
                              w->what, gguf_ull(ret->offset), w->part->file.alignment);
    return true;
}

bool gguf_walk_tensors(struct gguf_walk *w, uint64_t n)
{
    struct gguf_part *part = w->part;
    size_t cap = 0;

    for (uint64_t i = 0; i < n; i++) {
        struct gguf_tensor t = {0};
        void *array = part->tensors;

        if (!take_tensor(w, i, n, &t))
            return false;
        if (!gguf_walk_grow(&array, part->n_tensors, &cap, sizeof(t)))
            return gguf_walk_no_memory(w);
        part->tensors = array;
        part->tensors[part->n_tensors++] = t;
    }
    return true;
}

static int compare_offsets(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;

    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

static bool refuse_overlap(struct gguf_walk *w)
{
    const struct gguf_part *part = w->part;
    const struct gguf_tensor **sorted = calloc(part->n_tensors + 1, sizeof(*sorted));
    bool ok = true;

    if (!sorted)
        return gguf_walk_no_memory(w);
    for (size_t i = 0; i < part->n_tensors; i++)
        sorted[i] = &part->tensors[i];
    qsort(sorted, part->n_tensors, sizeof(*sorted), compare_offsets);
    for (size_t i = 1; i < part->n_tensors && ok; i++) {
        const struct gguf_tensor *a = sorted[i - 1], *b = sorted[i];
        if (a->offset + a->bytes > b->offset)
            ok = gguf_walk_fail(w,
                                "tensors %s and %s overlap: the first ends at offset %llu, the "
                                "second begins at %llu: the file is damaged",
                                a->name, b->name, gguf_ull(a->offset + a->bytes),
                                gguf_ull(b->offset));
    }
    free(sorted);
    return ok;
}

/* Turns offsets into offsets from the start of the file and checks that the data is there. */
bool gguf_walk_place_tensors(struct gguf_walk *w)
{
    struct gguf_file *file = &w->part->file;
    uint64_t mask = (uint64_t)file->alignment - 1, end;

    file->header_bytes = (size_t)w->at;
    file->data_offset = (w->at + mask) & ~mask; /* both small: no overflow */
    for (size_t i = 0; i < w->part->n_tensors; i++) {
        struct gguf_tensor *t = &w->part->tensors[i];

        if (__builtin_add_overflow(t->offset, file->data_offset, &t->offset) ||
            __builtin_add_overflow(t->offset, t->bytes, &end))
            return gguf_walk_fail(
                w,
                "tensor %s lies at offset %llu, more than 64 bits can count: the file is damaged",
                t->name, gguf_ull(t->offset));
        if (end > file->size_bytes)
            return gguf_walk_fail(w,
                                  "tensor %s needs %llu bytes at offset %llu but the file ends at "
                                  "%llu: the download is incomplete",
                                  t->name, gguf_ull(t->bytes), gguf_ull(t->offset),
                                  gguf_ull(file->size_bytes));
    }
    return refuse_overlap(w);
}
