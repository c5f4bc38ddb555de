/* SPDX-License-Identifier: MIT */
/*
 * The directory of a GGUF model: metadata and where each tensor lies. Owns the header bytes and one
 * read-only descriptor per file; never reads tensor data, and does not know what keys or tensors
 * mean. GGUF versions 2 and 3, little-endian, single files and split ones.
 *
 * A struct gguf never changes after it is made: any thread may read it, one closes it. Everything
 * returned points into it and lives as long as it does.
 *
 * What a caller may rely on, whatever the file says: names are valid UTF-8 without control
 * characters and unique; every tensor has a usable type, 1-4 dimensions of at least 1, rows of
 * whole blocks, and bytes that lie inside its file, aligned, overlapping no other tensor; all
 * products of shapes fit in 63 bits.
 */
#ifndef HEARTH_GGUF_GGUF_H
#define HEARTH_GGUF_GGUF_H

#include "base/error.h"
#include "gguf/gguf_type.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

enum gguf_value_type {
    GGUF_VALUE_U8 = 0,
    GGUF_VALUE_I8 = 1,
    GGUF_VALUE_U16 = 2,
    GGUF_VALUE_I16 = 3,
    GGUF_VALUE_U32 = 4,
    GGUF_VALUE_I32 = 5,
    GGUF_VALUE_F32 = 6,
    GGUF_VALUE_BOOL = 7,
    GGUF_VALUE_STR = 8,
    GGUF_VALUE_ARRAY = 9,
    GGUF_VALUE_U64 = 10,
    GGUF_VALUE_I64 = 11,
    GGUF_VALUE_F64 = 12,
};

/* Bytes as they stand in the file: not checked to be UTF-8, may hold NULs. */
struct gguf_str {
    const char *data;
    size_t len;
};

struct gguf_array {
    enum gguf_value_type type; /* of the elements */
    size_t n;
    union {
        const void *data;            /* numbers and bools (one byte, 0 or 1): n values, aligned */
        const struct gguf_str *strs; /* GGUF_VALUE_STR; without a NUL behind each */
        const struct gguf_array *arrays; /* GGUF_VALUE_ARRAY */
    };
};

struct gguf_kv {
    const char *key;
    enum gguf_value_type type;
    union {
        uint64_t u64; /* U8 U16 U32 U64 */
        int64_t i64;  /* I8 I16 I32 I64 */
        double f64;   /* F32 F64 */
        bool b;
        struct gguf_str str; /* a NUL follows */
        struct gguf_array array;
    };
};

struct gguf_tensor {
    const char *name;
    enum gguf_type type;
    uint32_t n_dims;
    uint64_t shape[4]; /* innermost (contiguous) first; 1 beyond n_dims */
    uint64_t elements; /* product of shape */
    uint32_t file;     /* index for gguf_file() */
    uint64_t offset;   /* of its first byte, from the start of that file */
    uint64_t bytes;
};

struct gguf_file {
    const char *path; /* NULL for gguf_parse() */
    int fd;           /* O_RDONLY, still the file whose header was read; -1 for gguf_parse() */
    uint64_t size_bytes;
    const void *header; /* everything before the tensor data */
    size_t header_bytes;
    uint64_t data_offset; /* where tensor data starts: header_bytes rounded up to the alignment */
    uint32_t alignment;   /* power of two */
    uint32_t version;     /* 2 or 3 */
};

/*
 * Opens a model by the path of its file, or of any part of a split one; the other parts are looked
 * for beside it. Reads the headers only. Fails with the errno of the file system, -EINVAL for a
 * damaged or unsupported file, -ENOMEM.
 */
int gguf_open(const char *path, struct gguf **ret, struct error *err);

/*
 * The same from memory: `data` holds the first len bytes (all of the header, or more) of a file of
 * file_size bytes. Copies what it needs. A split model is refused: one part is not the model.
 */
int gguf_parse(const void *data, size_t len, uint64_t file_size, struct gguf **ret,
               struct error *err);

void gguf_close(struct gguf *g); /* NULL is allowed */

size_t gguf_n_files(const struct gguf *g); /* at least 1 */
const struct gguf_file *gguf_file(const struct gguf *g, size_t i);

/* Metadata, in file order; of a split model that of the first part. NULL when there is no such key.
 */
size_t gguf_n_kv(const struct gguf *g);
const struct gguf_kv *gguf_kv(const struct gguf *g, size_t i);
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const char *gguf_value_type_name(enum gguf_value_type type); /* "u32", "str" */

/*
 * The value of a key. -ENOENT: no such key; -EINVAL: another type, or an integer that does not fit
 * (integers of any width and sign are accepted where the value fits, f32 and f64 for each other).
 * The sentence names the key. *ret is untouched on failure.
 */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *ret, struct error *err);
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret, struct error *err);
int gguf_get_i32(const struct gguf *g, const char *key, int32_t *ret, struct error *err);
int gguf_get_f32(const struct gguf *g, const char *key, float *ret, struct error *err);
int gguf_get_bool(const struct gguf *g, const char *key, bool *ret, struct error *err);
int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *ret, struct error *err);
/* Array of exactly this element type. */
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_value_type type,
                   const struct gguf_array **ret, struct error *err);

/*
 * Element i of an array of integers or bools of any width; false when the array holds something
 * else, is shorter, or the value does not fit. For keys that files write with different types.
 */
bool gguf_array_get_u32(const struct gguf_array *a, size_t i, uint32_t *ret);

/* Tensors of all parts, in file order. NULL when there is no such name. */
size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

#endif
