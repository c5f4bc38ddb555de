/* SPDX-License-Identifier: MIT */
/* split, rsplit and splitlines. */
#include "template/str.h"

#include <errno.h>

static void push_sub(struct run *r, struct seq *parts, const struct str *s, size_t from, size_t to)
{
    seq_push(r, parts, val_str(str_sub(r, s, from, to)));
}

static void reverse(struct seq *s)
{
    for (size_t i = 0; i < s->len / 2; i++) {
        struct val v = s->items[i];

        s->items[i] = s->items[s->len - 1 - i];
        s->items[s->len - 1 - i] = v;
    }
}

struct seq *str_lines(struct run *r, const struct str *s, bool keep_ends)
{
    struct seq *lines = seq_create(r, 0);
    size_t from = 0, pos = 0;

    run_step(r, s->len / 8);
    while (pos < s->len) {
        size_t end = pos;

        if (!str_is_line_end(str_next(s, &pos)))
            continue;
        if (s->data[end] == '\r' && pos < s->len && s->data[pos] == '\n')
            pos++;
        push_sub(r, lines, s, from, keep_ends ? pos : end);
        from = pos;
    }
    if (from < s->len)
        push_sub(r, lines, s, from, s->len);
    return lines;
}

static size_t skip_space(const struct str *s, size_t pos, bool is_space)
{
    while (pos < s->len) {
        size_t next = pos;

        if (str_is_space(str_next(s, &next)) != is_space)
            break;
        pos = next;
    }
    return pos;
}

static struct seq *split_space(struct run *r, const struct str *s, int64_t max)
{
    struct seq *parts = seq_create(r, 0);
    size_t pos = skip_space(s, 0, true);

    run_step(r, s->len / 8);
    while (pos < s->len) {
        size_t end;

        if (max >= 0 && (int64_t)parts->len == max) {
            struct str *rest = str_strip(r, str_sub(r, s, pos, s->len), NULL, false, true);

            seq_push(r, parts, val_str(rest));
            break;
        }
        end = skip_space(s, pos, false);
        push_sub(r, parts, s, pos, end);
        pos = skip_space(s, end, true);
    }
    return parts;
}

struct seq *str_split(struct run *r, struct str *s, const struct str *sep, int64_t max)
{
    struct seq *parts;
    size_t from = 0;

    if (!sep)
        return split_space(r, s, max);
    if (!sep->len)
        run_fail(r, EINVAL, "split() with an empty separator");
    parts = seq_create(r, 0);
    while (max < 0 || (int64_t)parts->len < max) {
        int64_t at = str_find(r, s, sep, from);

        if (at < 0)
            break;
        push_sub(r, parts, s, from, (size_t)at);
        from = (size_t)at + sep->len;
    }
    push_sub(r, parts, s, from, s->len);
    return parts;
}

static size_t space_before(const struct str *s, size_t end, bool is_space)
{
    while (end) {
        size_t start = end - 1, pos;

        while (start && ((unsigned char)s->data[start] & 0xc0) == 0x80)
            start--;
        pos = start;
        if (str_is_space(str_next(s, &pos)) != is_space)
            break;
        end = start;
    }
    return end;
}

static struct seq *rsplit_space(struct run *r, struct str *s, int64_t max)
{
    struct seq *parts = seq_create(r, 0);
    size_t end = space_before(s, s->len, true);

    run_step(r, s->len / 8);
    while (end) {
        size_t start;

        if (max >= 0 && (int64_t)parts->len == max) {
            struct str *rest = str_strip(r, str_sub(r, s, 0, end), NULL, true, false);

            seq_push(r, parts, val_str(rest));
            break;
        }
        start = space_before(s, end, false);
        push_sub(r, parts, s, start, end);
        end = space_before(s, start, true);
    }
    reverse(parts);
    return parts;
}

struct seq *str_rsplit(struct run *r, struct str *s, const struct str *sep, int64_t max)
{
    struct seq *parts;
    size_t end = s->len;

    if (!sep)
        return rsplit_space(r, s, max);
    if (!sep->len)
        run_fail(r, EINVAL, "rsplit() with an empty separator");
    parts = seq_create(r, 0);
    while (max < 0 || (int64_t)parts->len < max) {
        int64_t at = str_rfind(r, s, sep, end);

        if (at < 0)
            break;
        push_sub(r, parts, s, (size_t)at + sep->len, end);
        end = (size_t)at;
    }
    push_sub(r, parts, s, 0, end);
    reverse(parts);
    return parts;
}
