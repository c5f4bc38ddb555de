/* SPDX-License-Identifier: MIT */
/* str.format() and the % operator. */
#include "template/format.h"

#include <errno.h>

#include "template/eval.h"
#include "template/number.h"
#include "template/repr.h"
#include "template/str.h"

struct formatter {
    struct run *r;
    struct text out;
    const struct str *s;
    size_t pos;
    const struct arg_list *args; /* of format() */
    struct val value;            /* of % */
    size_t next;                 /* the next argument without a name */
    bool is_markup;
};

noreturn static void malformed(struct formatter *f)
{
    run_fail(f->r, EINVAL, "a format string is malformed at its byte %zu", f->pos);
}

static char peek(const struct formatter *f)
{
    return f->pos < f->s->len ? f->s->data[f->pos] : 0;
}

static int64_t read_number(struct formatter *f)
{
    int64_t n = -1;

    while (peek(f) >= '0' && peek(f) <= '9') {
        n = (n < 0 ? 0 : n * 10) + (peek(f) - '0');
        f->pos++;
        if (n > INT32_MAX)
            malformed(f);
    }
    return n;
}

static void add_value(struct formatter *f, struct str *s)
{
    text_add_str(f->r, &f->out, f->is_markup ? str_escape(f->r, s) : s);
}

/* [[fill]align][sign][#][0][width][,][.precision][type] over the whole of text. */
static struct number_spec parse_spec(struct run *r, const struct str *text)
{
    struct number_spec spec = {.width = -1, .precision = -1};
    struct formatter f = {.r = r, .s = text};
    size_t behind = 0;
    uint32_t first = text->len ? str_next(text, &behind) : 0;
    char align = behind < text->len ? text->data[behind] : 0;

    if (align && strchr("<>=^", align)) {
        spec.fill = first;
        spec.align = align;
        f.pos = behind + 1;
    } else if (first && first < 128 && strchr("<>=^", (int)first)) {
        spec.align = (char)first;
        f.pos = 1;
    }
    if (peek(&f) && strchr("+- ", peek(&f)))
        spec.sign = text->data[f.pos++];
    if (peek(&f) == '#') {
        spec.is_alternate = true;
        f.pos++;
    }
    if (peek(&f) == '0' && !spec.align) {
        spec.fill = '0';
        spec.align = '=';
    }
    spec.width = read_number(&f);
    if (peek(&f) == ',' || peek(&f) == '_')
        spec.grouping = text->data[f.pos++];
    if (peek(&f) == '.') {
        f.pos++;
        spec.precision = read_number(&f);
        if (spec.precision < 0)
            malformed(&f);
    }
    if (f.pos < text->len)
        spec.type = text->data[f.pos++];
    if (f.pos != text->len)
        malformed(&f);
    return spec;
}

static struct str *format_str(struct run *r, struct str *s, struct number_spec *spec)
{
    if ((spec->type && spec->type != 's') || spec->align == '=' || spec->sign || spec->grouping ||
        spec->is_alternate)
        run_fail(r, EINVAL, "a format for numbers is used on a string");
    if (spec->precision >= 0 && (uint64_t)spec->precision < s->chars)
        s = str_sub(r, s, 0, str_offset(r, s, (size_t)spec->precision));
    return number_pad(r, s, spec, spec->align ? spec->align : '<');
}

struct str *format_value(struct run *r, struct val v, const struct str *text)
{
    struct number_spec spec;

    if (!text->len)
        return repr_str(r, v);
    spec = parse_spec(r, text);
    if (val_is_number(v))
        return number_format(r, v, &spec);
    if (v.type != VAL_STR)
        run_fail(r, EINVAL, "a value of type '%s' takes no format", val_type_name(v));
    return format_str(r, v.str, &spec);
}

static struct val named_arg(struct formatter *f, const struct str *name)
{
    for (size_t i = 0; i < f->args->n_named; i++) {
        run_step(f->r, 1);
        if (str_equal(f->args->names[i], name))
            return f->args->named[i];
    }
    run_fail(f->r, EINVAL, "format() lacks the argument '%.*s'",
             (int)(name->len < 80 ? name->len : 80), name->data);
}

static struct val numbered_arg(struct formatter *f, size_t index)
{
    if (index >= f->args->n)
        run_fail(f->r, EINVAL, "format() lacks its argument %zu", index);
    return f->args->items[index];
}

/* name or number, then .attribute and [item] */
static struct val read_field(struct formatter *f)
{
    size_t from = f->pos;
    int64_t index = read_number(f);
    struct val v;

    while (peek(f) && !strchr(".[!:{}", peek(f)))
        f->pos++;
    if (f->pos == from)
        v = numbered_arg(f, f->next++);
    else if (index >= 0)
        v = numbered_arg(f, (size_t)index);
    else
        v = named_arg(f, str_sub(f->r, f->s, from, f->pos));
    while (peek(f) == '.' || peek(f) == '[') {
        const bool is_item = peek(f) == '[';
        struct str *part;

        from = ++f->pos;
        while (peek(f) && !strchr(is_item ? "]" : ".[!:{}", peek(f)))
            f->pos++;
        part = str_sub(f->r, f->s, from, f->pos);
        if (is_item && peek(f) != ']')
            malformed(f);
        f->pos += is_item;
        if (is_item && number_read_int(f->r, part, 10, &index))
            v = expr_item(f->r, v, val_int(index));
        else
            v = is_item ? expr_item(f->r, v, val_str(part)) : expr_attribute(f->r, v, part);
    }
    return v;
}

static struct val convert(struct formatter *f, struct val v)
{
    struct text t = {0};

    if (peek(f) != '!')
        return v;
    f->pos += 2;
    switch (f->pos <= f->s->len ? f->s->data[f->pos - 1] : 0) {
    case 's':
        return val_str(repr_str(f->r, v));
    case 'r':
    case 'a':
        repr_add(f->r, &t, v);
        return val_str(text_finish(f->r, &t));
    default:
        malformed(f);
    }
}

/* The format behind ':', in which {} stands for an argument too. */
static struct str *read_spec(struct formatter *f)
{
    struct text t = {0};

    if (peek(f) != ':')
        return str_literal(f->r, "");
    f->pos++;
    while (peek(f) && peek(f) != '}') {
        if (peek(f) == '{') {
            f->pos++;
            text_add_str(f->r, &t, repr_str(f->r, read_field(f)));
            if (peek(f) != '}')
                malformed(f);
        } else {
            text_add(f->r, &t, f->s->data + f->pos, 1);
        }
        f->pos++;
    }
    return text_finish(f->r, &t);
}

struct val format_call(struct run *r, struct str *s, const struct arg_list *args)
{
    struct formatter f = {.r = r, .s = s, .args = args, .is_markup = s->is_markup};
    struct str *all;

    while (f.pos < s->len) {
        const char c = s->data[f.pos];
        struct val v;

        if (c != '{' && c != '}') {
            text_add(r, &f.out, &c, 1);
            f.pos++;
            continue;
        }
        f.pos++;
        if (peek(&f) == c) {
            text_add(r, &f.out, &c, 1);
            f.pos++;
            continue;
        }
        if (c == '}')
            malformed(&f);
        v = read_field(&f);
        v = convert(&f, v);
        add_value(&f, format_value(r, v, read_spec(&f)));
        if (peek(&f) != '}')
            malformed(&f);
        f.pos++;
    }
    all = text_finish(r, &f.out);
    all->is_markup = s->is_markup;
    return val_str(all);
}

static struct val next_value(struct formatter *f)
{
    if (f->value.type != VAL_TUPLE) {
        if (f->next++)
            run_fail(f->r, EINVAL, "not enough arguments for the format string");
        return f->value;
    }
    if (f->next >= f->value.seq->len)
        run_fail(f->r, EINVAL, "not enough arguments for the format string");
    return f->value.seq->items[f->next++];
}

static struct val keyed_value(struct formatter *f)
{
    size_t from = ++f->pos;
    struct val *v;

    while (peek(f) && peek(f) != ')')
        f->pos++;
    if (peek(f) != ')')
        malformed(f);
    if (f->value.type != VAL_DICT)
        run_fail(f->r, EINVAL, "the format string needs a dictionary");
    v = dict_find(f->r, f->value.dict, val_str(str_sub(f->r, f->s, from, f->pos)));
    if (!v)
        run_fail(f->r, EINVAL, "the format string names a key that is missing");
    f->pos++;
    return *v;
}

static int64_t star_or_number(struct formatter *f)
{
    struct val v;

    if (peek(f) != '*')
        return read_number(f);
    f->pos++;
    v = next_value(f);
    if (!val_is_int(v) || val_to_int(v) < 0 || val_to_int(v) > INT32_MAX)
        run_fail(f->r, EINVAL, "the format string's * needs a small integer");
    return val_to_int(v);
}

static struct str *percent_text(struct formatter *f, struct val v, struct number_spec *spec)
{
    const char type = spec->type;
    struct text t = {0};
    struct str *s;

    if (type == 's')
        s = repr_str(f->r, v);
    else if (type == 'c' && v.type == VAL_STR && v.str->chars == 1)
        s = v.str;
    else {
        repr_add(f->r, &t, v);
        s = text_finish(f->r, &t);
    }
    if (spec->precision >= 0 && (uint64_t)spec->precision < s->chars)
        s = str_sub(f->r, s, 0, str_offset(f->r, s, (size_t)spec->precision));
    if (spec->fill == '0')
        spec->fill = 0;
    return number_pad(f->r, s, spec, spec->align == '<' ? '<' : '>');
}

static struct str *percent_value(struct formatter *f, struct val v, struct number_spec *spec)
{
    if (strchr("srac", spec->type) && !(spec->type == 'c' && val_is_int(v)))
        return percent_text(f, v, spec);
    if (!val_is_number(v))
        run_fail(f->r, EINVAL, "the format %%%c needs a number, not '%s'", spec->type,
                 val_type_name(v));
    if (spec->type == 'i' || spec->type == 'u')
        spec->type = 'd';
    if (spec->type == 'd' && v.type == VAL_FLOAT)
        v = val_int(number_truncate(f->r, v.f));
    if (!strchr("eEfFgG", spec->type))
        spec->precision = -1;
    return number_format(f->r, v, spec);
}

static void percent_item(struct formatter *f)
{
    struct number_spec spec = {.width = -1, .precision = -1};
    bool has_key = peek(f) == '(', is_left = false, is_zero = false;
    struct val v = has_key ? keyed_value(f) : val_none();

    for (; peek(f) && strchr("-+ #0", peek(f)); f->pos++) {
        is_left |= peek(f) == '-';
        is_zero |= peek(f) == '0';
        spec.is_alternate |= peek(f) == '#';
        if (peek(f) == '+' || (peek(f) == ' ' && !spec.sign))
            spec.sign = peek(f);
    }
    spec.align = is_left ? '<' : is_zero ? '=' : 0;
    spec.fill = is_zero && !is_left ? '0' : 0;
    spec.width = star_or_number(f);
    if (peek(f) == '.') {
        f->pos++;
        spec.precision = star_or_number(f);
        if (spec.precision < 0)
            spec.precision = 0;
    }
    spec.type = peek(f);
    if (!spec.type || !strchr("srdiufFeEgGxXoc%a", spec.type))
        malformed(f);
    f->pos++;
    if (spec.type == '%') {
        text_puts(f->r, &f->out, "%");
        return;
    }
    if (!has_key)
        v = next_value(f);
    add_value(f, percent_value(f, v, &spec));
}

struct val op_format(struct run *r, struct str *format, struct val args)
{
    struct formatter f = {.r = r, .s = format, .value = args, .is_markup = format->is_markup};
    struct str *all;

    op_need_defined(r, args);
    while (f.pos < format->len) {
        if (peek(&f) != '%') {
            text_add(r, &f.out, format->data + f.pos++, 1);
            continue;
        }
        f.pos++;
        percent_item(&f);
    }
    if (args.type == VAL_TUPLE
            ? f.next < args.seq->len
            : !f.next && args.type != VAL_DICT && args.type != VAL_LIST && args.type != VAL_RANGE)
        run_fail(r, EINVAL, "not all arguments were used by the format string");
    all = text_finish(r, &f.out);
    all->is_markup = format->is_markup;
    return val_str(all);
}
