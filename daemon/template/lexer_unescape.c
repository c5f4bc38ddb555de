/* SPDX-License-Identifier: MIT */
/* The escapes of string literals, as Python's unicode_escape has them. */
#include <errno.h>

#include "base/utf8.h"
#include "template/lexer.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t add_code_point(struct run *r, char *to, uint32_t cp)
{
    char utf8[4];
    int n = utf8_encode(cp, utf8);

    if (!n)
        run_fail(r, EINVAL, "a string literal names U+%04X, which is no character", cp);
    memcpy(to, utf8, (size_t)n);
    return (size_t)n;
}

/* \xHH, \uHHHH, \UHHHHHHHH; at points behind the letter. */
static uint32_t read_hex(struct run *r, const char *at, const char *end, int digits)
{
    uint32_t cp = 0;

    for (int i = 0; i < digits; i++) {
        int v = at + i < end ? hex_value(at[i]) : -1;

        if (v < 0)
            run_fail(r, EINVAL, "a \\x, \\u or \\U escape lacks hexadecimal digits");
        cp = cp << 4 | (uint32_t)v;
    }
    return cp;
}

static size_t read_octal(const char *at, const char *end, uint32_t *ret_cp)
{
    size_t n = 0;

    *ret_cp = 0;
    while (n < 3 && at + n < end && at[n] >= '0' && at[n] <= '7')
        *ret_cp = *ret_cp << 3 | (uint32_t)(at[n++] - '0');
    return n;
}

const char *lexer_unescape(struct run *r, const char *s, size_t *len)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *end = s + *len;
    char *out, *o;

    if (!memchr(s, '\\', *len))
        return s;
    o = out = run_alloc(r, *len + 1, 1); /* no escape is shorter than what it stands for */
    while (s < end) {
        const char c = s + 1 < end ? s[1] : 0;
        const char *simple;
        uint32_t cp;

        if (*s != '\\' || s + 1 >= end) {
            *o++ = *s++;
            continue;
        }
        simple = c ? strchr(from, c) : NULL;
        if (simple) {
            *o++ = to[simple - from];
            s += 2;
        } else if (c == '\n') {
            s += 2;
        } else if (c == 'x' || c == 'u' || c == 'U') {
            int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;

            o += add_code_point(r, o, read_hex(r, s + 2, end, digits));
            s += 2 + digits;
        } else if (c >= '0' && c <= '7') {
            s += 1 + read_octal(s + 1, end, &cp);
            o += add_code_point(r, o, cp);
        } else if (c == 'N') {
            run_fail(r, EINVAL, "\\N{...} escapes are not supported; write the character itself");
        } else {
            *o++ = *s++;
        }
    }
    *len = (size_t)(o - out);
    return out;
}
