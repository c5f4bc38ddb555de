/* SPDX-License-Identifier: MIT */
#include "gguf/gguf_walk.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool gguf_walk_fail(struct gguf_walk *w, const char *fmt, ...)
{
    char text[sizeof(w->err->text)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error_set(w->err, EINVAL, "%s", text);
    return false;
}

bool gguf_walk_no_memory(struct gguf_walk *w)
{
    error_set(w->err, ENOMEM, "not enough memory for %s", w->what);
    return false;
}

const uint8_t *gguf_walk_take(struct gguf_walk *w, uint64_t n)
{
    const uint64_t size = w->part->file.size_bytes;
    const uint8_t *p;

    if (n > size - w->at) {
        gguf_walk_fail(w,
                       "%s needs %llu bytes at offset %llu but the file ends at %llu: the download "
                       "is incomplete or the file is damaged, fetch it again",
                       w->what, gguf_ull(n), gguf_ull(w->at), gguf_ull(size));
        return NULL;
    }
    if (w->at + n > GGUF_HEADER_LIMIT_BYTES) {
        gguf_walk_fail(w,
                       "%s needs %llu bytes at offset %llu, beyond the %llu MiB that a header may "
                       "have: the file is damaged",
                       w->what, gguf_ull(n), gguf_ull(w->at),
                       gguf_ull(GGUF_HEADER_LIMIT_BYTES >> 20));
        return NULL;
    }
    if (w->at + n > w->part->data_bytes && gguf_part_fetch(w->part, w->at + n, w->err) < 0)
        return NULL;
    p = w->part->data + w->at;
    w->at += n;
    return p;
}

bool gguf_walk_take_u32(struct gguf_walk *w, uint32_t *ret)
{
    const uint8_t *p = gguf_walk_take(w, 4);

    if (p)
        memcpy(ret, p, 4);
    return p;
}

bool gguf_walk_take_u64(struct gguf_walk *w, uint64_t *ret)
{
    const uint8_t *p = gguf_walk_take(w, 8);

    if (p)
        memcpy(ret, p, 8);
    return p;
}

bool gguf_walk_take_str(struct gguf_walk *w, struct gguf_str *ret)
{
    const uint8_t *p;
    uint64_t len;

    if (!gguf_walk_take_u64(w, &len))
        return false;
    p = gguf_walk_take(w, len);
    if (!p)
        return false;
    *ret = (struct gguf_str){.data = (const char *)p, .len = (size_t)len};
    return true;
}

bool gguf_walk_take_name(struct gguf_walk *w, size_t limit, const char **ret)
{
    uint64_t start = w->at;
    struct gguf_str s;
    uint32_t cp;

    if (!gguf_walk_take_str(w, &s))
        return false;
    if (s.len == 0)
        return gguf_walk_fail(w, "%s at offset %llu has an empty name: the file is damaged",
                              w->what, gguf_ull(start));
    if (s.len > limit)
        return gguf_walk_fail(w,
                              "%s at offset %llu has a name of %zu bytes, more than the %zu "
                              "allowed: the file is damaged or made by a faulty converter",
                              w->what, gguf_ull(start), s.len, limit);
    for (size_t i = 0; i < s.len;) {
        int n = utf8_decode(s.data + i, s.len - i, &cp);
        if (n <= 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
            return gguf_walk_fail(w,
                                  "%s at offset %llu has a name that is not printable UTF-8 (byte "
                                  "0x%02x at position %zu): the file is damaged",
                                  w->what, gguf_ull(start), (unsigned char)s.data[i], i);
        i += (size_t)n;
    }
    *ret = arena_strndup(&w->part->arena, s.data, s.len);
    return *ret ? true : gguf_walk_no_memory(w);
}

bool gguf_walk_grow(void **array, size_t n, size_t *cap, size_t size)
{
    void *more;

    if (n < *cap)
        return true;
    more = reallocarray(*array, *cap ? *cap * 2 : 64, size);
    if (!more)
        return false;
    *array = more;
    *cap = *cap ? *cap * 2 : 64;
    return true;
}
