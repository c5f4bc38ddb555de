/* SPDX-License-Identifier: MIT */
#include "template/number.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "template/repr.h"
#include "template/str.h"

enum { DIGITS_MAX = 400, PRECISION_MAX = 300 };

/* The text without white space around and with single underscores between digits removed. */
static bool clean(struct run *r, const struct str *s, char out[DIGITS_MAX])
{
    struct str copy = *s;
    const struct str *t = str_strip(r, &copy, NULL, true, true);
    size_t n = 0;

    if (!t->len || t->len >= DIGITS_MAX)
        return false;
    for (size_t i = 0; i < t->len; i++) {
        if (t->data[i] == '_') {
            if (!i || i + 1 == t->len || t->data[i - 1] == '_' || t->data[i + 1] == '_')
                return false;
        } else {
            out[n++] = t->data[i];
        }
    }
    out[n] = 0;
    return strlen(out) == n;
}

static int prefix_base(const char *s)
{
    const char c = (char)(s[0] == '0' ? s[1] | 0x20 : 0);

    return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
}

bool number_read_int(struct run *r, const struct str *s, int base, int64_t *ret)
{
    char digits[DIGITS_MAX], *end;
    const char *at = digits;
    bool negative;
    uint64_t i;

    if (base != 0 && (base < 2 || base > 36))
        run_fail(r, EINVAL, "int() base must be 0 or 2 to 36");
    if (!clean(r, s, digits))
        return false;
    negative = *at == '-';
    at += *at == '-' || *at == '+';
    if (prefix_base(at) && (base == 0 || base == prefix_base(at))) {
        base = prefix_base(at);
        at += 2;
    } else if (base == 0) {
        if (at[0] == '0' && strspn(at, "0") != strlen(at))
            return false;
        base = 10;
    }
    if (*at == '-' || *at == '+' || str_is_space((unsigned char)*at) || prefix_base(at) == base)
        return false;
    errno = 0;
    i = strtoull(at, &end, base);
    if (end == at || *end)
        return false;
    if (errno || i > (uint64_t)INT64_MAX + negative)
        run_fail(r, EINVAL, "the integer %.40s does not fit into 64 bits", digits);
    *ret = negative ? (int64_t)(0 - i) : (int64_t)i;
    return true;
}

bool number_read_float(struct run *r, const struct str *s, double *ret)
{
    char digits[DIGITS_MAX], *end;

    if (!clean(r, s, digits) || strpbrk(digits, "xXpP()") || str_is_space((unsigned char)digits[0]))
        return false;
    *ret = strtod(digits, &end);
    return end != digits && !*end;
}

int64_t number_truncate(struct run *r, double f)
{
    if (!(f >= -0x1p63 && f < 0x1p63))
        run_fail(r, EINVAL, "a number does not fit into a 64-bit integer");
    return (int64_t)f;
}

struct str *number_pad(struct run *r, struct str *s, const struct number_spec *spec, char align)
{
    size_t missing, left, fill_len = 1;
    char fill[4] = {' '};
    struct text t = {0};

    if (spec->width < 0 || (uint64_t)spec->width <= s->chars)
        return s;
    missing = (size_t)spec->width - s->chars;
    left = align == '<' ? 0 : align == '^' || align == '|' ? missing / 2 : missing;
    if (align == '|')
        left += missing & (size_t)spec->width & 1;
    if (spec->fill)
        fill_len = (size_t)utf8_encode(spec->fill, fill);
    text_fill(r, &t, fill, fill_len, left);
    text_add_str(r, &t, s);
    text_fill(r, &t, fill, fill_len, missing - left);
    return text_finish(r, &t);
}

static void digits_of(uint64_t i, unsigned base, bool upper, char out[72])
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[72];
    int n = 0;

    do {
        reversed[n++] = digits[i % base];
        i /= base;
    } while (i);
    for (int k = 0; k < n; k++)
        out[k] = reversed[n - 1 - k];
    out[n] = 0;
}

/* The digits of the absolute value, and the prefix before them. */
static void int_digits(struct run *r, int64_t i, const struct number_spec *spec, char *out,
                       const char **ret_prefix)
{
    const uint64_t abs = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;

    *ret_prefix = "";
    switch (spec->type) {
    case 'b':
        *ret_prefix = "0b";
        digits_of(abs, 2, false, out);
        break;
    case 'o':
        *ret_prefix = "0o";
        digits_of(abs, 8, false, out);
        break;
    case 'x':
        *ret_prefix = "0x";
        digits_of(abs, 16, false, out);
        break;
    case 'X':
        *ret_prefix = "0X";
        digits_of(abs, 16, true, out);
        break;
    default:
        digits_of(abs, 10, false, out);
    }
    if (!spec->is_alternate)
        *ret_prefix = "";
}

static void float_digits(struct run *r, double f, const struct number_spec *spec, char *out,
                         size_t cap)
{
    const int precision = (int)(spec->precision < 0 ? 6 : spec->precision);
    char format[] = "%.*f";

    f = fabs(f);
    if (!spec->type && spec->precision < 0) {
        repr_float(f, out);
        return;
    }
    if (isnan(f) || isinf(f)) {
        strcpy(out, isnan(f) ? "nan" : "inf");
        return;
    }
    format[3] = spec->type == '%' ? 'f' : spec->type ? spec->type : 'g';
    if (spec->type == '%')
        f *= 100;
    snprintf(out, cap - 4, format, precision, f);
    if (!spec->type && !strpbrk(out, ".e"))
        strcat(out, ".0");
    if (spec->type == '%')
        strcat(out, "%");
}

/* Separators between groups of the whole part: 3 digits, or 4 of a base that is a power of 2. */
static struct str *group(struct run *r, const char *digits, const struct number_spec *spec)
{
    const size_t whole = strspn(digits, "0123456789abcdefABCDEF");
    const size_t size = spec->type && strchr("boxX", spec->type) ? 4 : 3;
    struct text t = {0};

    for (size_t i = 0; i < whole; i++) {
        if (spec->grouping && i && (whole - i) % size == 0)
            text_add(r, &t, &spec->grouping, 1);
        text_add(r, &t, digits + i, 1);
    }
    text_puts(r, &t, digits + whole);
    return text_finish(r, &t);
}

static void check_type(struct run *r, struct val v, const struct number_spec *spec)
{
    const char *known = v.type == VAL_FLOAT ? "eEfFgG%n" : "bcdoxXneEfFgG%";

    if (spec->type && !strchr(known, spec->type))
        run_fail(r, EINVAL, "the format '%c' does not fit a value of type '%s'", spec->type,
                 val_type_name(v));
    if (spec->precision >= 0 && v.type != VAL_FLOAT &&
        !(spec->type && strchr("eEfFgG%", spec->type)))
        run_fail(r, EINVAL, "a format for integers has no precision");
    if (spec->precision > PRECISION_MAX)
        run_fail(r, EINVAL, "a format's precision may be at most %d", PRECISION_MAX);
}

struct str *number_format(struct run *r, struct val v, const struct number_spec *spec)
{
    const bool as_float = v.type == VAL_FLOAT || (spec->type && strchr("eEfFgG%", spec->type));
    struct number_spec s = *spec;
    const char *prefix = "";
    char digits[700], sign[4] = {0};
    struct text t = {0};
    struct str *body;

    check_type(r, v, spec);
    if (s.type == 'n')
        s.type = v.type == VAL_FLOAT ? 'g' : 'd';
    if (as_float)
        float_digits(r, val_to_double(v), &s, digits, sizeof(digits));
    else
        int_digits(r, val_to_int(v), &s, digits, &prefix);
    if (as_float ? signbit(val_to_double(v)) : val_to_int(v) < 0)
        sign[0] = '-';
    else if (s.sign == '+' || s.sign == ' ')
        sign[0] = s.sign;
    body = group(r, digits, &s);
    text_puts(r, &t, sign);
    text_puts(r, &t, prefix);
    if (s.align == '=') {
        s.width -= (int64_t)t.len;
        text_add_str(r, &t, number_pad(r, body, &s, '>'));
        return text_finish(r, &t);
    }
    text_add_str(r, &t, body);
    return number_pad(r, text_finish(r, &t), &s, s.align ? s.align : '>');
}
