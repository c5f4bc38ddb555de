/* SPDX-License-Identifier: MIT */
/*
 * Inside gguf only: reading a header front to back. Every function that returns bool sets the error
 * and returns false on failure; values are then undefined.
 */
#ifndef HEARTH_GGUF_GGUF_WALK_H
#define HEARTH_GGUF_GGUF_WALK_H

#include "gguf/gguf_part.h"

struct gguf_walk {
    struct gguf_part *part;
    uint64_t at;       /* next byte */
    char what[160];    /* what is being read, for sentences */
    struct error *err; /* never NULL */
};

#define gguf_ull(x) ((unsigned long long)(x))

bool gguf_walk_fail(struct gguf_walk *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool gguf_walk_no_memory(struct gguf_walk *w);

/* The next n bytes, which stay where they are; NULL when the file or the limit ends before. */
const uint8_t *gguf_walk_take(struct gguf_walk *w, uint64_t n);
bool gguf_walk_take_u32(struct gguf_walk *w, uint32_t *ret);
bool gguf_walk_take_u64(struct gguf_walk *w, uint64_t *ret);
bool gguf_walk_take_str(struct gguf_walk *w, struct gguf_str *ret);
/* A key or tensor name, copied with a NUL. Refuses what could not be shown or looked up. */
bool gguf_walk_take_name(struct gguf_walk *w, size_t limit, const char **ret);

/* Makes room for element n; arrays grow with what was really found, not with what is claimed. */
bool gguf_walk_grow(void **array, size_t n, size_t *cap, size_t size);

/* gguf_metadata.c: the n metadata entries, then what they say about alignment. */
bool gguf_walk_kvs(struct gguf_walk *w, uint64_t n);
bool gguf_walk_alignment(struct gguf_walk *w);
/* gguf_tensors.c: the n tensor entries; then, at the end of the header, where their data lies. */
bool gguf_walk_tensors(struct gguf_walk *w, uint64_t n);
bool gguf_walk_place_tensors(struct gguf_walk *w);

#endif
