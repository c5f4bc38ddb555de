/* SPDX-License-Identifier: MIT */
#include "template/repr.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <utf8proc.h>

#include "template/str.h"

/* digits: significant digits without a dot; the value is 0.d1d2d3... x 10^point */
static void layout(char *out, const char *digits, int n, int point)
{
    if (point > 16 || point < -3) {
        out += sprintf(out, "%c", digits[0]);
        if (n > 1)
            out += sprintf(out, ".%s", digits + 1);
        sprintf(out, "e%c%02d", point - 1 < 0 ? '-' : '+', abs(point - 1));
    } else if (point <= 0) {
        sprintf(out, "0.%.*s%s", -point, "000", digits);
    } else if (point >= n) {
        sprintf(out, "%s%.*s.0", digits, point - n, "0000000000000000");
    } else {
        sprintf(out, "%.*s.%s", point, digits, digits + point);
    }
}

void repr_float(double f, char out[32])
{
    char sci[40], digits[20];
    int n = 0, precision;

    if (isnan(f) || isinf(f)) {
        strcpy(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    for (precision = 0; precision < 17; precision++) {
        snprintf(sci, sizeof(sci), "%.*e", precision, f);
        if (strtod(sci, NULL) == f)
            break;
    }
    if (signbit(f))
        *out++ = '-';
    for (const char *c = sci; *c != 'e'; c++) {
        if (*c >= '0' && *c <= '9')
            digits[n++] = *c;
    }
    digits[n] = 0;
    layout(out, digits, n, f == 0 ? 1 : atoi(strchr(sci, 'e') + 1) + 1);
}

static bool is_printable(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return cp == ' ';
    default:
        return true;
    }
}

static void add_escape(struct run *r, struct text *t, uint32_t cp)
{
    char out[16];

    if (cp == '\n' || cp == '\r' || cp == '\t')
        snprintf(out, sizeof(out), "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else
        snprintf(out, sizeof(out),
                 cp < 0x100     ? "\\x%02x"
                 : cp < 0x10000 ? "\\u%04x"
                                : "\\U%08x",
                 cp);
    text_puts(r, t, out);
}

static void add_quoted(struct run *r, struct text *t, const struct str *s)
{
    const bool has_single = s->len && memchr(s->data, '\'', s->len);
    const bool has_double = s->len && memchr(s->data, '"', s->len);
    const char quote = has_single && !has_double ? '"' : '\'';

    text_add(r, t, &quote, 1);
    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        uint32_t cp = str_next(s, &pos);

        if (cp == (unsigned char)quote || cp == '\\')
            text_add(r, t, "\\", 1);
        if (cp < 0x7f ? cp >= 0x20 : is_printable(cp))
            text_add(r, t, s->data + from, pos - from);
        else
            add_escape(r, t, cp);
    }
    text_add(r, t, &quote, 1);
}

static void add_items(struct run *r, struct text *t, const struct seq *s, const char *open,
                      const char *close)
{
    text_puts(r, t, open);
    for (size_t i = 0; i < s->len; i++) {
        if (i)
            text_puts(r, t, ", ");
        repr_add(r, t, s->items[i]);
    }
    text_puts(r, t, close);
}

static void add_dict(struct run *r, struct text *t, const struct dict *d)
{
    const struct dict_entry *e;
    size_t pos = 0;

    text_puts(r, t, "{");
    while ((e = dict_next(d, &pos))) {
        if (pos > 1)
            text_puts(r, t, ", ");
        repr_add(r, t, e->key);
        text_puts(r, t, ": ");
        repr_add(r, t, e->value);
    }
    text_puts(r, t, "}");
}

static void add_range(struct run *r, struct text *t, const struct range *g)
{
    char out[80];

    if (g->step == 1)
        snprintf(out, sizeof(out), "range(%" PRId64 ", %" PRId64 ")", g->start, g->stop);
    else
        snprintf(out, sizeof(out), "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")", g->start,
                 g->stop, g->step);
    text_puts(r, t, out);
}

static void add_loop(struct run *r, struct text *t, const struct loop *l)
{
    char out[80];

    snprintf(out, sizeof(out), "<LoopContext %zu/%zu>", l->index + 1, l->len);
    text_puts(r, t, out);
}

/* Things that Python prints with an address: the address is left out. */
static void add_object(struct run *r, struct text *t, struct val v)
{
    if (v.type == VAL_MACRO) {
        text_puts(r, t, "<Macro ");
        add_quoted(r, t, v.macro->name);
    } else if (v.type == VAL_METHOD || v.type == VAL_FUNCTION) {
        text_puts(r, t, v.type == VAL_METHOD ? "<built-in method " : "<function ");
        text_puts(r, t, v.type == VAL_METHOD ? v.method->function->name : v.function->name);
    } else {
        text_puts(r, t, "<");
        text_puts(r, t, val_type_name(v));
        text_puts(r, t, " object");
    }
    text_puts(r, t, ">");
}

static void add_container(struct run *r, struct text *t, struct val v)
{
    switch (v.type) {
    case VAL_LIST:
        add_items(r, t, v.seq, "[", "]");
        break;
    case VAL_TUPLE:
        add_items(r, t, v.seq, "(", v.seq->len == 1 ? ",)" : ")");
        break;
    case VAL_VIEW:
        text_puts(r, t, v.seq->name);
        add_items(r, t, v.seq, "([", "])");
        break;
    case VAL_DICT:
        add_dict(r, t, v.dict);
        break;
    default:
        text_puts(r, t, "<Namespace ");
        add_dict(r, t, v.ns);
        text_puts(r, t, ">");
    }
}

void repr_add(struct run *r, struct text *t, struct val v)
{
    char out[32];

    run_step(r, 1);
    switch (v.type) {
    case VAL_UNDEFINED:
        text_puts(r, t, "Undefined");
        break;
    case VAL_NONE:
        text_puts(r, t, "None");
        break;
    case VAL_BOOL:
        text_puts(r, t, v.b ? "True" : "False");
        break;
    case VAL_INT:
        snprintf(out, sizeof(out), "%" PRId64, v.i);
        text_puts(r, t, out);
        break;
    case VAL_FLOAT:
        repr_float(v.f, out);
        text_puts(r, t, out);
        break;
    case VAL_STR:
        if (v.str->is_markup)
            text_puts(r, t, "Markup(");
        add_quoted(r, t, v.str);
        if (v.str->is_markup)
            text_puts(r, t, ")");
        break;
    case VAL_RANGE:
        add_range(r, t, v.range);
        break;
    case VAL_LOOP:
        add_loop(r, t, v.loop);
        break;
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_VIEW:
    case VAL_DICT:
    case VAL_NAMESPACE:
        run_enter(r);
        add_container(r, t, v);
        run_leave(r);
        break;
    default:
        add_object(r, t, v);
    }
}

void repr_add_str(struct run *r, struct text *t, struct val v)
{
    if (v.type == VAL_STR)
        text_add_str(r, t, v.str);
    else if (v.type != VAL_UNDEFINED)
        repr_add(r, t, v);
}

struct str *repr_str(struct run *r, struct val v)
{
    struct text t = {0};

    if (v.type == VAL_STR)
        return v.str;
    repr_add_str(r, &t, v);
    return text_finish(r, &t);
}
