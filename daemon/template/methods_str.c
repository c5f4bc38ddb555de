/* SPDX-License-Identifier: MIT */
/* The methods of strings. Those of markup return markup and escape what they take in. */
#include <errno.h>

#include <utf8proc.h>

#include "template/args.h"
#include "template/eval.h"
#include "template/format.h"
#include "template/number.h"
#include "template/repr.h"
#include "template/str.h"

static struct val like(struct run *r, struct val self, struct str *s)
{
    return val_str(self.str->is_markup ? str_as_markup(r, s) : s);
}

static struct val like_all(struct run *r, struct val self, struct seq *s, enum val_type type)
{
    for (size_t i = 0; self.str->is_markup && i < s->len; i++)
        s->items[i].str = str_as_markup(r, s->items[i].str);
    return seq_val(type, s);
}

static struct str *need_str(struct run *r, struct val self, struct val v)
{
    struct str *s = args_str(r, v);

    if (!s)
        run_fail(r, EINVAL, "a string is needed, not '%s'", val_type_name(v));
    return self.str->is_markup ? str_escape(r, s) : s;
}

/* None and missing are NULL. */
static struct str *maybe_str(struct run *r, struct val self, struct val v)
{
    return v.type == VAL_NONE || args_is_missing(v) ? NULL : need_str(r, self, v);
}

static struct val method_upper(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "upper", args, "", 0, NULL);
    return like(r, self, str_upper(r, self.str));
}

static struct val method_lower(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "lower", args, "", 0, NULL);
    return like(r, self, str_lower(r, self.str));
}

static struct val method_casefold(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "casefold", args, "", 0, NULL);
    return like(r, self, str_casefold(r, self.str));
}

static struct val method_title(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "title", args, "", 0, NULL);
    return like(r, self, str_title(r, self.str));
}

static struct val method_capitalize(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "capitalize", args, "", 0, NULL);
    return like(r, self, str_capitalize(r, self.str));
}

static struct val method_swapcase(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "swapcase", args, "", 0, NULL);
    return like(r, self, str_swapcase(r, self.str));
}

static struct val strip(struct run *r, struct val self, const struct arg_list *args, bool left,
                        bool right)
{
    struct val chars;

    args_bind(r, "strip", args, "chars", 0, &chars);
    return like(r, self, str_strip(r, self.str, maybe_str(r, self, chars), left, right));
}

static struct val method_strip(struct run *r, struct val self, const struct arg_list *args)
{
    return strip(r, self, args, true, true);
}

static struct val method_lstrip(struct run *r, struct val self, const struct arg_list *args)
{
    return strip(r, self, args, true, false);
}

static struct val method_rstrip(struct run *r, struct val self, const struct arg_list *args)
{
    return strip(r, self, args, false, true);
}

static struct val method_split(struct run *r, struct val self, const struct arg_list *args)
{
    struct val a[2];

    args_bind(r, "split", args, "sep maxsplit", 0, a);
    return like_all(r, self, str_split(r, self.str, args_str(r, a[0]), args_int(r, a[1], -1)),
                    VAL_LIST);
}

static struct val method_rsplit(struct run *r, struct val self, const struct arg_list *args)
{
    struct val a[2];

    args_bind(r, "rsplit", args, "sep maxsplit", 0, a);
    return like_all(r, self, str_rsplit(r, self.str, args_str(r, a[0]), args_int(r, a[1], -1)),
                    VAL_LIST);
}

static struct val method_splitlines(struct run *r, struct val self, const struct arg_list *args)
{
    struct val keep;

    args_bind(r, "splitlines", args, "keepends", 0, &keep);
    return like_all(r, self, str_lines(r, self.str, args_bool(r, keep, false)), VAL_LIST);
}

static struct val partition(struct run *r, struct val self, const struct arg_list *args,
                            bool from_right)
{
    struct seq *parts = seq_create(r, 3);
    struct str *s = self.str, *empty = str_literal(r, ""), *sep;
    struct val v;
    int64_t at;

    args_bind(r, "partition", args, "sep", 1, &v);
    sep = need_str(r, self, v);
    if (!sep->len)
        run_fail(r, EINVAL, "partition() with an empty separator");
    at = from_right ? str_rfind(r, s, sep, s->len) : str_find(r, s, sep, 0);
    if (at >= 0) {
        seq_push(r, parts, val_str(str_sub(r, s, 0, (size_t)at)));
        seq_push(r, parts, val_str(sep));
        seq_push(r, parts, val_str(str_sub(r, s, (size_t)at + sep->len, s->len)));
    } else {
        seq_push(r, parts, val_str(from_right ? empty : s));
        seq_push(r, parts, val_str(empty));
        seq_push(r, parts, val_str(from_right ? s : empty));
    }
    return like_all(r, self, parts, VAL_TUPLE);
}

static struct val method_partition(struct run *r, struct val self, const struct arg_list *args)
{
    return partition(r, self, args, false);
}

static struct val method_rpartition(struct run *r, struct val self, const struct arg_list *args)
{
    return partition(r, self, args, true);
}

/* A part of self, given by code points from start to stop as in a slice. */
static void window(struct run *r, struct val self, struct val start, struct val stop,
                   size_t *ret_from, size_t *ret_to)
{
    const int64_t n = (int64_t)self.str->chars;
    int64_t from = start.type == VAL_NONE ? 0 : args_int(r, start, 0);
    int64_t to = stop.type == VAL_NONE ? n : args_int(r, stop, n);

    from = from < 0 ? (from < -n ? 0 : from + n) : from;
    to = to < 0 ? (to < -n ? 0 : to + n) : to > n ? n : to;
    *ret_from = from > n ? self.str->len + 1 : str_offset(r, self.str, (size_t)from);
    *ret_to = str_offset(r, self.str, (size_t)to);
}

static bool has_affix(struct run *r, struct val self, struct val affix, size_t from, size_t to,
                      bool at_end)
{
    struct str *s = args_str(r, affix);

    if (!s)
        run_fail(r, EINVAL, "startswith() and endswith() need a string or a tuple of strings");
    if (from > to || s->len > to - from)
        return false;
    run_step_bytes(r, s->len);
    return !s->len || !memcmp(self.str->data + (at_end ? to - s->len : from), s->data, s->len);
}

static struct val affixed(struct run *r, struct val self, const struct arg_list *args, bool at_end)
{
    struct val a[3];
    size_t from, to;

    args_bind(r, at_end ? "endswith" : "startswith", args, "prefix start end", 1, a);
    window(r, self, a[1], a[2], &from, &to);
    if (a[0].type != VAL_TUPLE)
        return val_bool(has_affix(r, self, a[0], from, to, at_end));
    for (size_t i = 0; i < a[0].seq->len; i++) {
        if (has_affix(r, self, a[0].seq->items[i], from, to, at_end))
            return val_bool(true);
    }
    return val_bool(false);
}

static struct val method_startswith(struct run *r, struct val self, const struct arg_list *args)
{
    return affixed(r, self, args, false);
}

static struct val method_endswith(struct run *r, struct val self, const struct arg_list *args)
{
    return affixed(r, self, args, true);
}

/* The code point index of the first or last hit, or -1. */
static int64_t find(struct run *r, struct val self, const struct arg_list *args, bool last)
{
    struct val a[3];
    struct str *part;
    size_t from, to;
    int64_t at;

    args_bind(r, "find", args, "sub start end", 1, a);
    part = args_str(r, a[0]);
    if (!part)
        run_fail(r, EINVAL, "find() needs a string");
    window(r, self, a[1], a[2], &from, &to);
    if (from > to)
        return -1;
    at = last ? str_rfind(r, self.str, part, to) : str_find(r, self.str, part, from);
    if (at < (int64_t)from || (size_t)at + part->len > to)
        return -1;
    return (int64_t)str_count_chars(self.str->data, (size_t)at);
}

static struct val method_find(struct run *r, struct val self, const struct arg_list *args)
{
    return val_int(find(r, self, args, false));
}

static struct val method_rfind(struct run *r, struct val self, const struct arg_list *args)
{
    return val_int(find(r, self, args, true));
}

static struct val must_find(struct run *r, struct val self, const struct arg_list *args, bool last)
{
    int64_t at = find(r, self, args, last);

    if (at < 0)
        run_fail(r, EINVAL, "index() of a text that is not there");
    return val_int(at);
}

static struct val method_index(struct run *r, struct val self, const struct arg_list *args)
{
    return must_find(r, self, args, false);
}

static struct val method_rindex(struct run *r, struct val self, const struct arg_list *args)
{
    return must_find(r, self, args, true);
}

static struct val method_count(struct run *r, struct val self, const struct arg_list *args)
{
    struct val a[3];
    struct str *part;
    size_t from, to;
    int64_t count = 0, at;

    args_bind(r, "count", args, "sub start end", 1, a);
    part = args_str(r, a[0]);
    window(r, self, a[1], a[2], &from, &to);
    if (!part)
        run_fail(r, EINVAL, "count() needs a string");
    if (from > to)
        return val_int(0);
    if (!part->len)
        return val_int((int64_t)str_count_chars(self.str->data + from, to - from) + 1);
    while ((at = str_find(r, self.str, part, from)) >= 0 && (size_t)at + part->len <= to) {
        count++;
        from = (size_t)at + part->len;
    }
    return val_int(count);
}

static struct val method_replace(struct run *r, struct val self, const struct arg_list *args)
{
    struct val a[3];

    args_bind(r, "replace", args, "old new count", 2, a);
    return like(r, self,
                str_replace(r, self.str, need_str(r, self, a[0]), need_str(r, self, a[1]),
                            args_int(r, a[2], -1)));
}

static struct val method_join(struct run *r, struct val self, const struct arg_list *args)
{
    struct text t = {0};
    const struct val *items;
    struct val v;
    size_t n;

    args_bind(r, "join", args, "iterable", 1, &v);
    items = seq_of(r, v, &n);
    for (size_t i = 0; i < n; i++) {
        if (i)
            text_add_str(r, &t, self.str);
        text_add_str(r, &t,
                     self.str->is_markup ? str_escape(r, repr_str(r, items[i]))
                                         : need_str(r, self, items[i]));
    }
    return like(r, self, text_finish(r, &t));
}

static struct val method_format(struct run *r, struct val self, const struct arg_list *args)
{
    return format_call(r, self.str, args);
}

static struct val method_removeprefix(struct run *r, struct val self, const struct arg_list *args)
{
    struct str *s = self.str, *prefix;
    struct val v;

    args_bind(r, "removeprefix", args, "prefix", 1, &v);
    prefix = need_str(r, self, v);
    if (prefix->len > s->len || (prefix->len && memcmp(s->data, prefix->data, prefix->len)))
        return self;
    return like(r, self, str_sub(r, s, prefix->len, s->len));
}

static struct val method_removesuffix(struct run *r, struct val self, const struct arg_list *args)
{
    struct str *s = self.str, *suffix;
    struct val v;

    args_bind(r, "removesuffix", args, "suffix", 1, &v);
    suffix = need_str(r, self, v);
    if (suffix->len > s->len ||
        (suffix->len && memcmp(s->data + s->len - suffix->len, suffix->data, suffix->len)))
        return self;
    return like(r, self, str_sub(r, s, 0, s->len - suffix->len));
}

static struct val justify(struct run *r, struct val self, const struct arg_list *args, char align)
{
    struct number_spec spec = {.precision = -1};
    struct val a[2];
    struct str *fill;
    size_t pos = 0;

    args_bind(r, "ljust", args, "width fillchar", 1, a);
    spec.width = args_int(r, a[0], 0);
    fill = maybe_str(r, self, a[1]);
    if (fill && fill->chars != 1)
        run_fail(r, EINVAL, "the fill character must be one character");
    spec.fill = fill ? str_next(fill, &pos) : 0;
    return like(r, self, number_pad(r, self.str, &spec, align));
}

static struct val method_ljust(struct run *r, struct val self, const struct arg_list *args)
{
    return justify(r, self, args, '<');
}

static struct val method_rjust(struct run *r, struct val self, const struct arg_list *args)
{
    return justify(r, self, args, '>');
}

static struct val method_center(struct run *r, struct val self, const struct arg_list *args)
{
    return justify(r, self, args, '|');
}

static struct val method_zfill(struct run *r, struct val self, const struct arg_list *args)
{
    const struct str *s = self.str;
    const bool has_sign = s->len && (s->data[0] == '-' || s->data[0] == '+');
    struct text t = {0};
    struct val v;
    int64_t width;

    args_bind(r, "zfill", args, "width", 1, &v);
    width = args_int(r, v, 0);
    if (width <= (int64_t)s->chars)
        return self;
    text_add(r, &t, s->data, has_sign);
    text_fill(r, &t, "0", 1, (size_t)width - s->chars);
    text_add(r, &t, s->data + has_sign, s->len - has_sign);
    return like(r, self, text_finish(r, &t));
}

static struct val method_expandtabs(struct run *r, struct val self, const struct arg_list *args)
{
    const struct str *s = self.str;
    struct text t = {0};
    size_t column = 0;
    struct val v;
    int64_t size;

    args_bind(r, "expandtabs", args, "tabsize", 0, &v);
    size = args_int(r, v, 8);
    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        uint32_t cp = str_next(s, &pos);

        if (cp == '\t') {
            size_t n = size > 0 ? (size_t)size - column % (size_t)size : 0;

            text_fill(r, &t, " ", 1, n);
            column += n;
        } else {
            text_add(r, &t, s->data + from, pos - from);
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
        }
    }
    return like(r, self, text_finish(r, &t));
}

static bool is_letter(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

static bool is_decimal(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_ND;
}

/* Superscripts and the like are digits, though not decimal. */
static bool is_digit(uint32_t cp)
{
    return is_decimal(cp) || cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) ||
           (cp >= 0x2460 && cp <= 0x2468);
}

static bool is_numeric(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

static bool is_alnum(uint32_t cp)
{
    return is_letter(cp) || is_numeric(cp);
}

static bool is_ascii(uint32_t cp)
{
    return cp < 128;
}

static struct val all_are(struct run *r, struct val self, const struct arg_list *args,
                          bool (*is)(uint32_t cp), bool of_nothing)
{
    args_bind(r, "is...", args, "", 0, NULL);
    run_step(r, self.str->len / 8);
    for (size_t pos = 0; pos < self.str->len;) {
        if (!is(str_next(self.str, &pos)))
            return val_bool(false);
    }
    return val_bool(self.str->len || of_nothing);
}

static struct val method_isalpha(struct run *r, struct val self, const struct arg_list *args)
{
    return all_are(r, self, args, is_letter, false);
}

static struct val method_isdigit(struct run *r, struct val self, const struct arg_list *args)
{
    return all_are(r, self, args, is_digit, false);
}

static struct val method_isdecimal(struct run *r, struct val self, const struct arg_list *args)
{
    return all_are(r, self, args, is_decimal, false);
}

static struct val method_isnumeric(struct run *r, struct val self, const struct arg_list *args)
{
    return all_are(r, self, args, is_numeric, false);
}

static struct val method_isalnum(struct run *r, struct val self, const struct arg_list *args)
{
    return all_are(r, self, args, is_alnum, false);
}

static struct val method_isspace(struct run *r, struct val self, const struct arg_list *args)
{
    return all_are(r, self, args, str_is_space, false);
}

static struct val method_isascii(struct run *r, struct val self, const struct arg_list *args)
{
    return all_are(r, self, args, is_ascii, true);
}

/* Has letters with case, all of the one `convert` leaves alone. */
static struct val has_case(struct run *r, struct val self, struct str *same, struct str *other)
{
    return val_bool(str_equal(self.str, same) && !str_equal(self.str, other));
}

static struct val method_islower(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "islower", args, "", 0, NULL);
    return has_case(r, self, str_lower(r, self.str), str_upper(r, self.str));
}

static struct val method_isupper(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "isupper", args, "", 0, NULL);
    return has_case(r, self, str_upper(r, self.str), str_lower(r, self.str));
}

static struct val method_istitle(struct run *r, struct val self, const struct arg_list *args)
{
    args_bind(r, "istitle", args, "", 0, NULL);
    return has_case(r, self, str_title(r, self.str), str_swapcase(r, self.str));
}

/* Methods that exist, so `s.encode is defined` holds, but that a chat template has no use for. */
static struct val method_unsupported(struct run *r, struct val self, const struct arg_list *args)
{
    run_fail(r, EINVAL, "this method of strings is not supported in chat templates");
}

const struct function *methods_find_str(const struct str *name)
{
    static const struct function table[] = {
        {"upper", method_upper},
        {"lower", method_lower},
        {"casefold", method_casefold},
        {"title", method_title},
        {"capitalize", method_capitalize},
        {"swapcase", method_swapcase},
        {"strip", method_strip},
        {"lstrip", method_lstrip},
        {"rstrip", method_rstrip},
        {"split", method_split},
        {"rsplit", method_rsplit},
        {"splitlines", method_splitlines},
        {"partition", method_partition},
        {"rpartition", method_rpartition},
        {"startswith", method_startswith},
        {"endswith", method_endswith},
        {"find", method_find},
        {"rfind", method_rfind},
        {"index", method_index},
        {"rindex", method_rindex},
        {"count", method_count},
        {"replace", method_replace},
        {"join", method_join},
        {"format", method_format},
        {"removeprefix", method_removeprefix},
        {"removesuffix", method_removesuffix},
        {"ljust", method_ljust},
        {"rjust", method_rjust},
        {"center", method_center},
        {"zfill", method_zfill},
        {"expandtabs", method_expandtabs},
        {"isalpha", method_isalpha},
        {"isdigit", method_isdigit},
        {"isdecimal", method_isdecimal},
        {"isnumeric", method_isnumeric},
        {"isalnum", method_isalnum},
        {"isspace", method_isspace},
        {"isascii", method_isascii},
        {"islower", method_islower},
        {"isupper", method_isupper},
        {"istitle", method_istitle},
        {"encode", method_unsupported},
        {"format_map", method_unsupported},
        {"isidentifier", method_unsupported},
        {"isprintable", method_unsupported},
        {"maketrans", method_unsupported},
        {"translate", method_unsupported},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (str_is(name, table[i].name))
            return &table[i];
    }
    return NULL;
}
