/* SPDX-License-Identifier: MIT */
#include "gguf/gguf.h"

#include <errno.h>
#include <string.h>

const char *gguf_value_type_name(enum gguf_value_type type)
{
    static const char *const names[] = {
        [GGUF_VALUE_U8] = "u8",       [GGUF_VALUE_I8] = "i8",     [GGUF_VALUE_U16] = "u16",
        [GGUF_VALUE_I16] = "i16",     [GGUF_VALUE_U32] = "u32",   [GGUF_VALUE_I32] = "i32",
        [GGUF_VALUE_F32] = "f32",     [GGUF_VALUE_BOOL] = "bool", [GGUF_VALUE_STR] = "str",
        [GGUF_VALUE_ARRAY] = "array", [GGUF_VALUE_U64] = "u64",   [GGUF_VALUE_I64] = "i64",
        [GGUF_VALUE_F64] = "f64",
    };

    return (unsigned)type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

static int find(const struct gguf *g, const char *key, const struct gguf_kv **ret,
                struct error *err)
{
    *ret = gguf_find(g, key);
    if (!*ret)
        return error_set(err, ENOENT, "metadata key %s is missing", key);
    return 0;
}

static int wrong_type(const struct gguf_kv *kv, const char *wanted, struct error *err)
{
    return error_set(err, EINVAL, "metadata key %s is of type %s, it must be %s", kv->key,
                     gguf_value_type_name(kv->type), wanted);
}

static bool is_unsigned(enum gguf_value_type type)
{
    return type == GGUF_VALUE_U8 || type == GGUF_VALUE_U16 || type == GGUF_VALUE_U32 ||
           type == GGUF_VALUE_U64;
}

static bool is_signed(enum gguf_value_type type)
{
    return type == GGUF_VALUE_I8 || type == GGUF_VALUE_I16 || type == GGUF_VALUE_I32 ||
           type == GGUF_VALUE_I64;
}

/* An integer of any type as 0..most. */
static int get_unsigned(const struct gguf *g, const char *key, uint64_t most, const char *wanted,
                        uint64_t *ret, struct error *err)
{
    const struct gguf_kv *kv;
    int r = find(g, key, &kv, err);

    if (r < 0)
        return r;
    if (is_signed(kv->type) && kv->i64 < 0)
        return error_set(err, EINVAL, "metadata key %s is %lld, it must not be negative", key,
                         (long long)kv->i64);
    if (!is_signed(kv->type) && !is_unsigned(kv->type))
        return wrong_type(kv, wanted, err);
    if (kv->u64 > most) /* a signed value that is not negative reads the same */
        return error_set(err, EINVAL, "metadata key %s is %llu, too large for %s", key,
                         (unsigned long long)kv->u64, wanted);
    *ret = kv->u64;
    return 0;
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *ret, struct error *err)
{
    uint64_t v = 0;
    int r = get_unsigned(g, key, UINT32_MAX, "u32", &v, err);

    if (r == 0)
        *ret = (uint32_t)v;
    return r;
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret, struct error *err)
{
    return get_unsigned(g, key, UINT64_MAX, "u64", ret, err);
}

int gguf_get_i32(const struct gguf *g, const char *key, int32_t *ret, struct error *err)
{
    const struct gguf_kv *kv;
    int r = find(g, key, &kv, err);

    if (r < 0)
        return r;
    if (!is_signed(kv->type) && !is_unsigned(kv->type))
        return wrong_type(kv, "i32", err);
    if ((is_unsigned(kv->type) && kv->u64 > INT32_MAX) ||
        (is_signed(kv->type) && (kv->i64 > INT32_MAX || kv->i64 < INT32_MIN)))
        return error_set(err, EINVAL, "metadata key %s does not fit into i32", key);
    *ret = (int32_t)kv->i64;
    return 0;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *ret, struct error *err)
{
    const struct gguf_kv *kv;
    int r = find(g, key, &kv, err);

    if (r < 0)
        return r;
    if (kv->type != GGUF_VALUE_F32 && kv->type != GGUF_VALUE_F64)
        return wrong_type(kv, "f32", err);
    *ret = (float)kv->f64;
    return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *ret, struct error *err)
{
    const struct gguf_kv *kv;
    int r = find(g, key, &kv, err);

    if (r < 0)
        return r;
    if (kv->type != GGUF_VALUE_BOOL)
        return wrong_type(kv, "bool", err);
    *ret = kv->b;
    return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *ret, struct error *err)
{
    const struct gguf_kv *kv;
    int r = find(g, key, &kv, err);

    if (r < 0)
        return r;
    if (kv->type != GGUF_VALUE_STR)
        return wrong_type(kv, "str", err);
    *ret = kv->str;
    return 0;
}

int gguf_get_array(const struct gguf *g, const char *key, enum gguf_value_type type,
                   const struct gguf_array **ret, struct error *err)
{
    const struct gguf_kv *kv;
    int r = find(g, key, &kv, err);

    if (r < 0)
        return r;
    if (kv->type != GGUF_VALUE_ARRAY)
        return wrong_type(kv, "array", err);
    if (kv->array.type != type)
        return error_set(err, EINVAL, "metadata key %s is an array of %s, it must be one of %s",
                         key, gguf_value_type_name(kv->array.type), gguf_value_type_name(type));
    *ret = &kv->array;
    return 0;
}

bool gguf_array_get_u32(const struct gguf_array *a, size_t i, uint32_t *ret)
{
    int64_t v = -1;

    if (i >= a->n)
        return false;
    switch (a->type) {
    case GGUF_VALUE_U8:
    case GGUF_VALUE_BOOL:
        v = ((const uint8_t *)a->data)[i];
        break;
    case GGUF_VALUE_I8:
        v = ((const int8_t *)a->data)[i];
        break;
    case GGUF_VALUE_U16:
        v = ((const uint16_t *)a->data)[i];
        break;
    case GGUF_VALUE_I16:
        v = ((const int16_t *)a->data)[i];
        break;
    case GGUF_VALUE_U32:
        v = ((const uint32_t *)a->data)[i];
        break;
    case GGUF_VALUE_I32:
        v = ((const int32_t *)a->data)[i];
        break;
    case GGUF_VALUE_U64: /* beyond 63 bits it turns negative and is refused below */
    case GGUF_VALUE_I64:
        v = ((const int64_t *)a->data)[i];
        break;
    default:
        break;
    }
    if (v < 0 || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}
