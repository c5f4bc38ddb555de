/* SPDX-License-Identifier: MIT */
/* Looking for marks in text that arrives in pieces. */
#ifndef HEARTH_SERVER_MARKS_H
#define HEARTH_SERVER_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool marks_is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* How many bytes of white space s begins with. */
static inline size_t marks_blank_prefix(const char *s, size_t len)
{
    size_t n = 0;

    while (n < len && marks_is_blank(s[n]))
        n++;
    return n;
}

/* How many bytes at the end of s are a proper start of mark. */
static inline size_t marks_partial(const char *s, size_t len, const char *mark)
{
    size_t n = strlen(mark) - 1;

    for (n = n < len ? n : len; n; n--)
        if (memcmp(s + len - n, mark, n) == 0)
            return n;
    return 0;
}

#endif
