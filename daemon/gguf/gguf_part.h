/* SPDX-License-Identifier: MIT */
/* Inside gguf only: one file's header, read and checked. */
#ifndef HEARTH_GGUF_GGUF_PART_H
#define HEARTH_GGUF_GGUF_PART_H

#include "base/arena.h"
#include "gguf/gguf.h"

/* No header is larger: real ones stay below 32 MiB, and this bounds what a crafted file can cost.
 */
#define GGUF_HEADER_LIMIT_BYTES ((uint64_t)256 << 20)

struct gguf_part {
    struct gguf_file file; /* file.path and file.fd are owned */
    uint8_t *data;         /* the first data_bytes bytes of the file, owned; file.header */
    size_t data_bytes;
    size_t mapped_bytes; /* length of the mapping at data; 0: data is malloc'd */
    struct arena arena;  /* names, strings, arrays */
    struct gguf_kv *kvs; /* in file order */
    size_t n_kv;
    const struct gguf_kv **kvs_by_key; /* sorted */
    struct gguf_tensor *tensors;       /* in file order, file index 0 */
    size_t n_tensors;
};

/* Reads the header of an open regular file; takes over fd in every case. */
int gguf_part_open(struct gguf_part *part, int fd, const char *path, struct error *err);
/* Parses a copy of the bytes. */
int gguf_part_parse(struct gguf_part *part, const void *data, size_t len, uint64_t file_size,
                    struct error *err);
void gguf_part_finish(struct gguf_part *part);

const struct gguf_kv *gguf_part_find(const struct gguf_part *part, const char *key);

/* Walks the bytes of a part whose data is in place; grows them by reading file.fd if that is >= 0.
 */
int gguf_header_parse(struct gguf_part *part, struct error *err);
/* Makes the first `end` bytes of the file readable at part->data. `end` is within file and limit.
 */
int gguf_part_fetch(struct gguf_part *part, uint64_t end, struct error *err);

#endif
