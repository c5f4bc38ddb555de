/* SPDX-License-Identifier: MIT */
/*
 * A growing byte string, NUL-terminated for convenience (it may hold NULs itself). Appending never
 * fails half-way: the first failure (no memory, over the limit) sets `failed`, and everything after
 * it is ignored, so a builder checks once at the end.
 */
#ifndef HEARTH_BASE_STRBUF_H
#define HEARTH_BASE_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct strbuf {
    char *data; /* NULL until the first append */
    size_t len, cap;
    size_t limit; /* most bytes it may hold; 0: none */
    bool failed;
};

void strbuf_init(struct strbuf *s, size_t limit);
void strbuf_finish(struct strbuf *s);
void strbuf_reset(struct strbuf *s); /* empties it, keeps the memory, clears `failed` */

void strbuf_add(struct strbuf *s, const void *data, size_t len);
void strbuf_add_str(struct strbuf *s, const char *str);
void strbuf_add_char(struct strbuf *s, char c);
void strbuf_printf(struct strbuf *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for at least `more` bytes beyond len and returns where they go; NULL on failure. */
char *strbuf_reserve(struct strbuf *s, size_t more);
/* Drops the first n bytes. */
void strbuf_consume(struct strbuf *s, size_t n);
/* The string for the caller to free (never NULL unless failed); the strbuf is empty afterwards. */
char *strbuf_steal(struct strbuf *s);

#endif
