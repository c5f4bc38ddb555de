/* SPDX-License-Identifier: MIT */
/*
 * Upper, lower and title case as Python: Unicode's full mappings (one character may become two or
 * three) and the final sigma.
 */
#include "template/str.h"

#include <utf8proc.h>

#include "base/utf8.h"

struct special {
    uint32_t from;
    uint32_t upper[3], title[3];
};

/* Unicode SpecialCasing.txt, the unconditional mappings to more than one character. */
static const struct special specials[] = {
    {0x00df, {'S', 'S'}, {'S', 's'}},
    {0x0149, {0x02bc, 'N'}, {0x02bc, 'N'}},
    {0x01f0, {'J', 0x030c}, {'J', 0x030c}},
    {0x0390, {0x0399, 0x0308, 0x0301}, {0x0399, 0x0308, 0x0301}},
    {0x03b0, {0x03a5, 0x0308, 0x0301}, {0x03a5, 0x0308, 0x0301}},
    {0x0587, {0x0535, 0x0552}, {0x0535, 0x0582}},
    {0x1e96, {'H', 0x0331}, {'H', 0x0331}},
    {0x1e97, {'T', 0x0308}, {'T', 0x0308}},
    {0x1e98, {'W', 0x030a}, {'W', 0x030a}},
    {0x1e99, {'Y', 0x030a}, {'Y', 0x030a}},
    {0x1e9a, {'A', 0x02be}, {'A', 0x02be}},
    {0xfb00, {'F', 'F'}, {'F', 'f'}},
    {0xfb01, {'F', 'I'}, {'F', 'i'}},
    {0xfb02, {'F', 'L'}, {'F', 'l'}},
    {0xfb03, {'F', 'F', 'I'}, {'F', 'f', 'i'}},
    {0xfb04, {'F', 'F', 'L'}, {'F', 'f', 'l'}},
    {0xfb05, {'S', 'T'}, {'S', 't'}},
    {0xfb06, {'S', 'T'}, {'S', 't'}},
};

static void add(struct run *r, struct text *t, uint32_t cp)
{
    char utf8[4];

    text_add(r, t, utf8, (size_t)utf8_encode(cp, utf8));
}

static bool add_special(struct run *r, struct text *t, uint32_t cp, bool title)
{
    if (cp < 0xdf)
        return false;
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
        const uint32_t *to = title ? specials[i].title : specials[i].upper;

        if (specials[i].from != cp)
            continue;
        for (int k = 0; k < 3 && to[k]; k++)
            add(r, t, to[k]);
        return true;
    }
    return false;
}

static void add_upper(struct run *r, struct text *t, uint32_t cp)
{
    if (!add_special(r, t, cp, false))
        add(r, t, (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp));
}

static void add_title(struct run *r, struct text *t, uint32_t cp)
{
    if (!add_special(r, t, cp, true))
        add(r, t, (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp));
}

static bool is_cased(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

/* Sigma is final when a letter stands before it and none behind. */
static bool is_final_sigma(const struct str *s, size_t from, size_t next)
{
    size_t before = from;
    uint32_t cp;

    if (!from)
        return false;
    do
        before--;
    while (before && ((unsigned char)s->data[before] & 0xc0) == 0x80);
    cp = str_next(s, &before);
    return is_cased(cp) && (next >= s->len || !is_cased(str_next(s, &next)));
}

static void add_lower(struct run *r, struct text *t, const struct str *s, size_t from, size_t next,
                      uint32_t cp)
{
    if (cp == 0x0130) {
        add(r, t, 'i');
        add(r, t, 0x0307);
    } else if (cp == 0x03a3) {
        add(r, t, is_final_sigma(s, from, next) ? 0x03c2 : 0x03c3);
    } else {
        add(r, t, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
    }
}

struct str *str_upper(struct run *r, const struct str *s)
{
    struct text t = {0};

    for (size_t pos = 0; pos < s->len;)
        add_upper(r, &t, str_next(s, &pos));
    return text_finish(r, &t);
}

struct str *str_lower(struct run *r, const struct str *s)
{
    struct text t = {0};

    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        uint32_t cp = str_next(s, &pos);

        add_lower(r, &t, s, from, pos, cp);
    }
    return text_finish(r, &t);
}

struct str *str_title(struct run *r, const struct str *s)
{
    struct text t = {0};
    bool in_word = false;

    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        uint32_t cp = str_next(s, &pos);

        if (in_word)
            add_lower(r, &t, s, from, pos, cp);
        else
            add_title(r, &t, cp);
        in_word = is_cased(cp);
    }
    return text_finish(r, &t);
}

struct str *str_capitalize(struct run *r, const struct str *s)
{
    struct text t = {0};

    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        uint32_t cp = str_next(s, &pos);

        if (from)
            add_lower(r, &t, s, from, pos, cp);
        else
            add_title(r, &t, cp);
    }
    return text_finish(r, &t);
}

struct str *str_swapcase(struct run *r, const struct str *s)
{
    struct text t = {0};

    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        uint32_t cp = str_next(s, &pos);

        if (utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LU)
            add_lower(r, &t, s, from, pos, cp);
        else
            add_upper(r, &t, cp);
    }
    return text_finish(r, &t);
}

struct str *str_casefold(struct run *r, const struct str *s)
{
    struct text t = {0};

    for (size_t pos = 0; pos < s->len;) {
        utf8proc_int32_t cp = (utf8proc_int32_t)str_next(s, &pos), to[8];
        int boundary = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char(cp, to, 8, UTF8PROC_CASEFOLD, &boundary);

        for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
            add(r, &t, (uint32_t)to[i]);
    }
    return text_finish(r, &t);
}
