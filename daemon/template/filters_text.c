/* SPDX-License-Identifier: MIT */
/* Filters on strings; what is no string is printed first. Markup stays markup. */
#include <errno.h>

#include <utf8proc.h>

#include "template/args.h"
#include "template/eval.h"
#include "template/filters.h"
#include "template/number.h"
#include "template/repr.h"
#include "template/str.h"

static struct val like(struct run *r, const struct str *model, struct str *s)
{
    return val_str(model->is_markup ? str_as_markup(r, s) : s);
}

static struct val filter_upper(struct run *r, struct val v, const struct arg_list *args)
{
    struct str *s = repr_str(r, v);

    args_bind(r, "upper", args, "", 0, NULL);
    return like(r, s, str_upper(r, s));
}

static struct val filter_lower(struct run *r, struct val v, const struct arg_list *args)
{
    struct str *s = repr_str(r, v);

    args_bind(r, "lower", args, "", 0, NULL);
    return like(r, s, str_lower(r, s));
}

/* Unlike str.title(), words start only behind white space and some opening characters. */
static struct val filter_title(struct run *r, struct val v, const struct arg_list *args)
{
    struct str *s = repr_str(r, v);
    struct text t = {0};
    size_t from = 0;

    args_bind(r, "title", args, "", 0, NULL);
    for (size_t pos = 0; pos < s->len;) {
        uint32_t cp = str_next(s, &pos);

        if (!str_is_space(cp) && !(cp < 128 && cp && strchr("-({[<", (int)cp)) && pos < s->len)
            continue;
        text_add_str(r, &t, str_capitalize(r, str_sub(r, s, from, pos)));
        from = pos;
    }
    return like(r, s, text_finish(r, &t));
}

static struct val filter_capitalize(struct run *r, struct val v, const struct arg_list *args)
{
    struct str *s = repr_str(r, v);

    args_bind(r, "capitalize", args, "", 0, NULL);
    return like(r, s, str_capitalize(r, s));
}

static struct val filter_trim(struct run *r, struct val v, const struct arg_list *args)
{
    struct str *s = repr_str(r, v);
    struct val chars;

    args_bind(r, "trim", args, "chars", 0, &chars);
    return like(r, s, str_strip(r, s, args_str(r, chars), true, true));
}

static struct val filter_replace(struct run *r, struct val v, const struct arg_list *args)
{
    struct val a[3];
    int64_t count;

    args_bind(r, "replace", args, "old new count", 2, a);
    count = a[2].type == VAL_NONE ? -1 : args_int(r, a[2], -1);
    return val_str(str_as_plain(
        r, str_replace(r, repr_str(r, v), repr_str(r, a[0]), repr_str(r, a[1]), count)));
}

static struct val filter_string(struct run *r, struct val v, const struct arg_list *args)
{
    args_bind(r, "string", args, "", 0, NULL);
    return val_str(repr_str(r, v));
}

static struct val filter_safe(struct run *r, struct val v, const struct arg_list *args)
{
    args_bind(r, "safe", args, "", 0, NULL);
    return val_str(str_as_markup(r, repr_str(r, v)));
}

static struct val filter_escape(struct run *r, struct val v, const struct arg_list *args)
{
    args_bind(r, "escape", args, "", 0, NULL);
    return val_str(str_escape(r, repr_str(r, v)));
}

static struct val filter_force_escape(struct run *r, struct val v, const struct arg_list *args)
{
    args_bind(r, "forceescape", args, "", 0, NULL);
    return val_str(str_escape(r, str_as_plain(r, repr_str(r, v))));
}

static struct val filter_center(struct run *r, struct val v, const struct arg_list *args)
{
    struct number_spec spec = {.precision = -1};
    struct str *s = repr_str(r, v);
    struct val width;

    args_bind(r, "center", args, "width", 0, &width);
    spec.width = args_int(r, width, 80);
    return like(r, s, number_pad(r, s, &spec, '|'));
}

static struct str *indent_by(struct run *r, struct val width)
{
    struct text t = {0};
    int64_t n;

    if (width.type == VAL_STR)
        return width.str;
    n = args_int(r, width, 4);
    text_fill(r, &t, " ", 1, n > 0 ? (size_t)n : 0);
    return text_finish(r, &t);
}

static struct val filter_indent(struct run *r, struct val v, const struct arg_list *args)
{
    struct val a[3];
    struct str *by, *s;
    struct seq *lines;
    struct text t = {0};
    bool first, blank;

    args_bind(r, "indent", args, "width first blank", 0, a);
    first = args_bool(r, a[1], false);
    blank = args_bool(r, a[2], false);
    by = indent_by(r, a[0]);
    s = args_str(r, v);
    if (!s)
        run_fail(r, EINVAL, "indent needs a string, not '%s'", val_type_name(v));
    lines = str_lines(r, str_concat(r, s, str_literal(r, "\n")), false);
    for (size_t i = 0; i < lines->len; i++) {
        struct str *line = lines->items[i].str;

        if (i)
            text_puts(r, &t, "\n");
        if (i ? (blank || line->len) : first)
            text_add_str(r, &t, by);
        text_add_str(r, &t, line);
    }
    return like(r, s, text_finish(r, &t));
}

static struct val filter_truncate(struct run *r, struct val v, const struct arg_list *args)
{
    struct val a[4];
    struct str *s, *end, *cut;
    int64_t length, leeway;

    args_bind(r, "truncate", args, "length killwords end leeway", 0, a);
    length = args_int(r, a[0], 255);
    leeway = a[3].type == VAL_NONE ? 5 : args_int(r, a[3], 5);
    end = args_str(r, a[2]);
    if (!end)
        end = str_literal(r, "...");
    if (length < (int64_t)end->chars || leeway < 0 || leeway > INT32_MAX || length > INT32_MAX)
        run_fail(r, EINVAL, "truncate needs a length of at least %zu", end->chars);
    if (val_length(r, v) >= 0 && val_length(r, v) <= length + leeway)
        return v;
    s = args_str(r, v);
    if (!s)
        run_fail(r, EINVAL, "truncate needs a string, not '%s'", val_type_name(v));
    cut = str_sub(r, s, 0, str_offset(r, s, (size_t)length - end->chars));
    if (!args_bool(r, a[1], false))
        cut = str_rsplit(r, cut, str_literal(r, " "), 1)->items[0].str;
    return like(r, s, str_concat(r, cut, end));
}

static bool is_word(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    return cp == '_' || (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) ||
           (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
}

static struct val filter_wordcount(struct run *r, struct val v, const struct arg_list *args)
{
    struct str *s = repr_str(r, v);
    bool in_word = false;
    int64_t words = 0;

    args_bind(r, "wordcount", args, "", 0, NULL);
    run_step(r, s->len / 8);
    for (size_t pos = 0; pos < s->len;) {
        bool word = is_word(str_next(s, &pos));

        words += word && !in_word;
        in_word = word;
    }
    return val_int(words);
}

/* In a query, a slash is quoted too and a space is a plus. */
static void add_url_quoted(struct run *r, struct text *t, struct val v, bool in_query)
{
    static const char hex[] = "0123456789ABCDEF";
    const struct str *s = repr_str(r, v);

    for (size_t i = 0; i < s->len; i++) {
        const unsigned char c = (unsigned char)s->data[i];

        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            (c && strchr(in_query ? "_.-~" : "_.-~/", c)))
            text_add(r, t, s->data + i, 1);
        else if (in_query && c == ' ')
            text_puts(r, t, "+");
        else
            text_add(r, t, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

static struct val filter_urlencode(struct run *r, struct val v, const struct arg_list *args)
{
    struct text t = {0};
    const struct val *items, *pair;
    size_t n, n_pair;

    args_bind(r, "urlencode", args, "", 0, NULL);
    if (v.type == VAL_STR || !seq_can_iterate(v)) {
        add_url_quoted(r, &t, v, false);
        return val_str(text_finish(r, &t));
    }
    items = seq_of(r, v.type == VAL_DICT ? dict_view(r, v.dict, "dict_items") : v, &n);
    for (size_t i = 0; i < n; i++) {
        pair = seq_of(r, items[i], &n_pair);
        if (n_pair != 2)
            run_fail(r, EINVAL, "urlencode needs pairs of a name and a value");
        if (i)
            text_puts(r, &t, "&");
        add_url_quoted(r, &t, pair[0], true);
        text_puts(r, &t, "=");
        add_url_quoted(r, &t, pair[1], true);
    }
    return val_str(text_finish(r, &t));
}

static struct val filter_format(struct run *r, struct val v, const struct arg_list *args)
{
    struct seq *positional = seq_create(r, args->n);

    if (args->n && args->n_named)
        run_fail(r, EINVAL, "format takes arguments with names or without, not both");
    if (args->n_named) {
        struct dict *d = dict_create(r);

        for (size_t i = 0; i < args->n_named; i++)
            dict_set(r, d, val_str(args->names[i]), args->named[i]);
        return op_format(r, repr_str(r, v), val_dict(d));
    }
    for (size_t i = 0; i < args->n; i++)
        seq_push(r, positional, args->items[i]);
    return op_format(r, repr_str(r, v), seq_val(VAL_TUPLE, positional));
}

static void read_separators(struct run *r, struct val v, struct repr_json *how)
{
    const struct val *items;
    size_t n;

    if (v.type == VAL_NONE || args_is_missing(v))
        return;
    items = seq_of(r, v, &n);
    if (n != 2)
        run_fail(r, EINVAL, "tojson needs two separators");
    how->item = args_str(r, items[0]);
    how->key_sep = args_str(r, items[1]);
}

static struct val filter_tojson(struct run *r, struct val v, const struct arg_list *args)
{
    struct repr_json how = {0};
    struct val a[4];

    args_bind(r, "tojson", args, "ensure_ascii indent separators sort_keys", 0, a);
    how.ensure_ascii = args_bool(r, a[0], false);
    how.sort_keys = args_bool(r, a[3], false);
    read_separators(r, a[2], &how);
    if (a[1].type != VAL_NONE && !args_is_missing(a[1]))
        how.indent = indent_by(r, a[1]);
    return val_str(repr_as_json(r, v, &how));
}

const struct function filters_text[] = {
    {"upper", filter_upper},
    {"lower", filter_lower},
    {"title", filter_title},
    {"capitalize", filter_capitalize},
    {"trim", filter_trim},
    {"replace", filter_replace},
    {"string", filter_string},
    {"safe", filter_safe},
    {"escape", filter_escape},
    {"e", filter_escape},
    {"forceescape", filter_force_escape},
    {"center", filter_center},
    {"indent", filter_indent},
    {"truncate", filter_truncate},
    {"wordcount", filter_wordcount},
    {"urlencode", filter_urlencode},
    {"format", filter_format},
    {"tojson", filter_tojson},
    {NULL, NULL},
};
