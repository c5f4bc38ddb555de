/* SPDX-License-Identifier: MIT */
#include "base/strbuf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_init(struct strbuf *s, size_t limit)
{
    *s = (struct strbuf){.limit = limit};
}

void strbuf_finish(struct strbuf *s)
{
    free(s->data);
    *s = (struct strbuf){.limit = s->limit};
}

void strbuf_reset(struct strbuf *s)
{
    s->len = 0;
    s->failed = false;
    if (s->data)
        s->data[0] = 0;
}

char *strbuf_reserve(struct strbuf *s, size_t more)
{
    size_t need, cap;
    char *data;

    if (s->failed)
        return NULL;
    if (__builtin_add_overflow(s->len, more, &need) || need == (size_t)-1 ||
        (s->limit && need > s->limit))
        goto fail;
    if (need < s->cap)
        return s->data + s->len;
    cap = s->cap < 64 ? 64 : s->cap;
    while (cap <= need)
        if (__builtin_mul_overflow(cap, (size_t)2, &cap))
            goto fail;
    data = realloc(s->data, cap);
    if (!data)
        goto fail;
    s->data = data;
    s->cap = cap;
    return s->data + s->len;
fail:
    s->failed = true;
    return NULL;
}

void strbuf_add(struct strbuf *s, const void *data, size_t len)
{
    char *to = strbuf_reserve(s, len);

    if (!to)
        return;
    if (len)
        memcpy(to, data, len);
    s->len += len;
    s->data[s->len] = 0;
}

void strbuf_add_str(struct strbuf *s, const char *str)
{
    strbuf_add(s, str, strlen(str));
}

void strbuf_add_char(struct strbuf *s, char c)
{
    strbuf_add(s, &c, 1);
}

void strbuf_printf(struct strbuf *s, const char *fmt, ...)
{
    va_list args;
    int n;
    char *to;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        s->failed = true;
        return;
    }
    to = strbuf_reserve(s, (size_t)n);
    if (!to)
        return;
    va_start(args, fmt);
    vsnprintf(to, (size_t)n + 1, fmt, args);
    va_end(args);
    s->len += (size_t)n;
}

void strbuf_consume(struct strbuf *s, size_t n)
{
    if (n > s->len)
        n = s->len;
    if (!n)
        return;
    memmove(s->data, s->data + n, s->len - n + 1);
    s->len -= n;
}

char *strbuf_steal(struct strbuf *s)
{
    char *data;

    if (!s->data)
        strbuf_add(s, "", 0);
    if (s->failed)
        return NULL;
    data = s->data;
    *s = (struct strbuf){.limit = s->limit};
    return data;
}
