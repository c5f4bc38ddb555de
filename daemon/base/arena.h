/* SPDX-License-Identifier: MIT */
/*
 * Many small allocations with one lifetime. Memory is zeroed. Not thread-safe: one owner at a time.
 */
#ifndef HEARTH_BASE_ARENA_H
#define HEARTH_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used_bytes;          /* handed out, for limits */
    size_t limit_bytes;         /* 0: none */
};

void arena_init(struct arena *a, size_t limit_bytes);
void arena_finish(struct arena *a); /* frees everything; the arena can be used again */

/* Zeroed, aligned for any type. NULL when out of memory or over the limit. */
void *arena_alloc(struct arena *a, size_t bytes);
/* As arena_alloc(n * size), NULL also when the product overflows. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* Copies, adding a NUL. */
char *arena_strndup(struct arena *a, const char *s, size_t len);

#endif
