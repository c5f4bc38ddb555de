/* SPDX-License-Identifier: MIT */
/* The header of a model file from anyone: parse it, then read everything that was promised. */
#include "gguf/gguf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void touch(const void *data, size_t n)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < n; i++)
        sink += p[i];
}

static void walk_array(const struct gguf_array *a)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint32_t v;

    if (a->n)
        gguf_array_get_u32(a, a->n - 1, &v);
    for (size_t i = 0; i < a->n; i++) {
        if (a->type == GGUF_VALUE_STR)
            touch(a->strs[i].data, a->strs[i].len);
        else if (a->type == GGUF_VALUE_ARRAY)
            walk_array(&a->arrays[i]);
    }
    touch(a->data, a->n * bytes[a->type]);
}

static void walk_kv(const struct gguf *g, const struct gguf_kv *kv)
{
    struct gguf_str str;
    uint64_t u64;
    uint32_t u32;
    int32_t i32;
    float f32;
    bool b;

    if (gguf_find(g, kv->key) != kv)
        abort();
    gguf_get_u32(g, kv->key, &u32, NULL);
    gguf_get_u64(g, kv->key, &u64, NULL);
    gguf_get_i32(g, kv->key, &i32, NULL);
    gguf_get_f32(g, kv->key, &f32, NULL);
    gguf_get_bool(g, kv->key, &b, NULL);
    if (gguf_get_str(g, kv->key, &str, NULL) == 0) {
        touch(str.data, str.len + 1);
        if (str.data[str.len])
            abort();
    }
    if (kv->type == GGUF_VALUE_ARRAY)
        walk_array(&kv->array);
}

static void check_tensor(const struct gguf *g, const struct gguf_tensor *t)
{
    const struct gguf_file *file = gguf_file(g, t->file);
    uint64_t elements = 1;

    if (gguf_find_tensor(g, t->name) != t || t->n_dims > 4)
        abort();
    for (int i = 0; i < 4; i++)
        elements *= t->shape[i];
    if (!elements || elements != t->elements || !t->bytes ||
        gguf_type_row_bytes(t->type, t->elements) != t->bytes)
        abort();
    if (t->offset < file->data_offset || t->offset % file->alignment ||
        t->bytes > file->size_bytes || t->offset > file->size_bytes - t->bytes)
        abort();
}

static void walk(const uint8_t *data, size_t size, uint64_t file_size)
{
    struct error err = {0};
    struct gguf *g = NULL;

    if (gguf_parse(data, size, file_size, &g, &err) < 0) {
        if (g || err.code >= 0 || !err.text[0])
            abort();
        return;
    }
    touch(gguf_file(g, 0)->header, gguf_file(g, 0)->header_bytes);
    for (size_t i = 0; i < gguf_n_kv(g); i++)
        walk_kv(g, gguf_kv(g, i));
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        check_tensor(g, gguf_tensor(g, i));
    gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    walk(data, size, size);
    walk(data, size, size + ((uint64_t)1 << 40)); /* the header of a large file */
    return 0;
}
