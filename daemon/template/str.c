/* SPDX-License-Identifier: MIT */
#include "template/str.h"

#include <errno.h>

#include "base/utf8.h"

size_t str_count_chars(const char *data, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)data[i] & 0xc0) != 0x80;
    return n;
}

struct str *str_borrow(struct run *r, const char *data, size_t len)
{
    struct str *s = run_new(r, struct str);

    *s = (struct str){.data = data, .len = len, .chars = str_count_chars(data, len)};
    return s;
}

struct str *str_copy(struct run *r, const char *data, size_t len)
{
    char *copy = run_alloc(r, len ? len : 1, 1);

    run_step_bytes(r, len);
    if (len)
        memcpy(copy, data, len);
    return str_borrow(r, copy, len);
}

struct str *str_literal(struct run *r, const char *literal)
{
    return str_borrow(r, literal, strlen(literal));
}

static bool has_room(const struct str *a, size_t more)
{
    const struct str_room *room = a->room;

    return room && a->data + a->len == room->data + room->used && room->cap - room->used >= more;
}

/*
 * Templates build long texts by `text = text + piece`. A string that was concatenated before gets
 * room to grow, and the piece goes right behind it: the shorter string stays what it was.
 */
struct str *str_concat(struct run *r, struct str *a, struct str *b)
{
    struct str *s = run_new(r, struct str);
    size_t len;

    if (__builtin_add_overflow(a->len, b->len, &len) || len > (size_t)-1 / 4)
        run_fail(r, E2BIG, "a string grew too long");
    run_step_bytes(r, b->len);
    *s = (struct str){.data = a->data, .len = len, .chars = a->chars + b->chars, .room = a->room};
    if (!has_room(a, b->len)) {
        struct str_room *room = run_new(r, struct str_room);

        run_step_bytes(r, a->len);
        room->cap = a->room ? len * 2 : len;
        room->data = run_alloc(r, room->cap ? room->cap : 1, 1);
        room->used = a->len;
        if (a->len)
            memcpy(room->data, a->data, a->len);
        s->data = room->data;
        s->room = room;
    }
    if (b->len)
        memcpy(s->room->data + s->room->used, b->data, b->len);
    s->room->used += b->len;
    return s;
}

struct str *str_sub(struct run *r, const struct str *s, size_t from, size_t to)
{
    struct str *sub = run_new(r, struct str);

    run_step_bytes(r, to - from);
    *sub = (struct str){.data = s->data + from, .len = to - from};
    sub->chars = str_is_ascii(s) ? sub->len : str_count_chars(sub->data, sub->len);
    return sub;
}

static struct str *with_markup(struct run *r, struct str *s, bool is_markup)
{
    struct str *copy;

    if (s->is_markup == is_markup)
        return s;
    copy = run_new(r, struct str);
    *copy = *s;
    copy->is_markup = is_markup;
    return copy;
}

struct str *str_as_markup(struct run *r, struct str *s)
{
    return with_markup(r, s, true);
}

struct str *str_as_plain(struct run *r, struct str *s)
{
    return with_markup(r, s, false);
}

struct str *str_escape(struct run *r, struct str *s)
{
    struct text t = {0};

    if (s->is_markup)
        return s;
    for (size_t i = 0; i < s->len; i++) {
        switch (s->data[i]) {
        case '&':
            text_puts(r, &t, "&amp;");
            break;
        case '<':
            text_puts(r, &t, "&lt;");
            break;
        case '>':
            text_puts(r, &t, "&gt;");
            break;
        case '\'':
            text_puts(r, &t, "&#39;");
            break;
        case '"':
            text_puts(r, &t, "&#34;");
            break;
        default:
            text_add(r, &t, s->data + i, 1);
        }
    }
    return str_as_markup(r, text_finish(r, &t));
}

uint32_t str_next(const struct str *s, size_t *pos)
{
    uint32_t cp = (unsigned char)s->data[*pos];
    int n;

    if (cp < 0x80) {
        (*pos)++;
        return cp;
    }
    n = utf8_decode(s->data + *pos, s->len - *pos, &cp);
    *pos += n > 0 ? (size_t)n : 1;
    return n > 0 ? cp : 0xfffd;
}

size_t str_offset(struct run *r, const struct str *s, size_t index)
{
    size_t at = 0;

    if (str_is_ascii(s) || index == 0)
        return index < s->len ? index : s->len;
    if (index >= s->chars)
        return s->len;
    run_step_bytes(r, s->len);
    while (index && at < s->len) {
        at++;
        while (at < s->len && ((unsigned char)s->data[at] & 0xc0) == 0x80)
            at++;
        index--;
    }
    return at;
}

int64_t str_find(struct run *r, const struct str *s, const struct str *needle, size_t from)
{
    const char *at;

    if (from > s->len || needle->len > s->len - from)
        return -1;
    if (!needle->len)
        return (int64_t)from;
    at = memmem(s->data + from, s->len - from, needle->data, needle->len);
    run_step_bytes(r, at ? (size_t)(at - s->data) - from : s->len - from);
    return at ? at - s->data : -1;
}

int64_t str_rfind(struct run *r, const struct str *s, const struct str *needle, size_t end)
{
    size_t at;

    if (needle->len > end)
        return -1;
    for (at = end - needle->len;; at--) {
        run_step_bytes(r, needle->len);
        if (!memcmp(s->data + at, needle->data, needle->len))
            return (int64_t)at;
        if (!at)
            return -1;
    }
}

int str_compare(const struct str *a, const struct str *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int order = n ? memcmp(a->data, b->data, n) : 0;

    /* the order of UTF-8 bytes is the order of code points */
    return order ? order : a->len < b->len ? -1 : a->len > b->len;
}

bool str_equal(const struct str *a, const struct str *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len));
}

struct str *str_replace(struct run *r, struct str *s, const struct str *from, const struct str *to,
                        int64_t count)
{
    struct text t = {0};
    size_t at = 0;

    if (!from->len) {
        /* between all characters, and at both ends */
        while (count && at < s->len) {
            size_t start = at;

            text_add_str(r, &t, to);
            str_next(s, &at);
            text_add(r, &t, s->data + start, at - start);
            count--;
        }
        if (count)
            text_add_str(r, &t, to);
    }
    while (from->len && count) {
        int64_t hit = str_find(r, s, from, at);

        if (hit < 0)
            break;
        text_add(r, &t, s->data + at, (size_t)hit - at);
        text_add_str(r, &t, to);
        at = (size_t)hit + from->len;
        count--;
    }
    if (!t.len && !at)
        return s;
    text_add(r, &t, s->data + at, s->len - at);
    return text_finish(r, &t);
}

struct str *str_repeat(struct run *r, struct str *s, int64_t times)
{
    struct text t = {0};

    if (times > 0)
        text_fill(r, &t, s->data, s->len, (size_t)times);
    return text_finish(r, &t);
}

bool str_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool str_is_line_end(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

static bool strips(struct run *r, const struct str *chars, uint32_t cp)
{
    if (!chars)
        return str_is_space(cp);
    run_step_bytes(r, chars->len);
    for (size_t pos = 0; pos < chars->len;) {
        if (str_next(chars, &pos) == cp)
            return true;
    }
    return false;
}

struct str *str_strip(struct run *r, struct str *s, const struct str *chars, bool left, bool right)
{
    size_t from = 0, to = s->len;

    while (left && from < to) {
        size_t next = from;

        run_step(r, 1);
        if (!strips(r, chars, str_next(s, &next)))
            break;
        from = next;
    }
    while (right && to > from) {
        size_t start = to - 1, pos;

        run_step(r, 1);
        while (start > from && ((unsigned char)s->data[start] & 0xc0) == 0x80)
            start--;
        pos = start;
        if (!strips(r, chars, str_next(s, &pos)))
            break;
        to = start;
    }
    return from == 0 && to == s->len ? s : str_sub(r, s, from, to);
}
