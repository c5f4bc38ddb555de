/* SPDX-License-Identifier: MIT */
/* json.dumps() with the options that chat templates pass to `tojson`. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "template/repr.h"
#include "template/str.h"

struct writer {
    struct run *r;
    struct text text;
    const struct repr_json *how;
    size_t level;
};

static void put(struct writer *w, const char *s)
{
    text_puts(w->r, &w->text, s);
}

static void add_unicode(struct writer *w, uint32_t cp)
{
    char out[16];

    if (cp >= 0x10000)
        snprintf(out, sizeof(out), "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                 0xdc00 + ((cp - 0x10000) & 0x3ff));
    else
        snprintf(out, sizeof(out), "\\u%04x", cp);
    put(w, out);
}

static void add_string(struct writer *w, const struct str *s)
{
    static const char escapes[128] = {['"'] = '"',  ['\\'] = '\\', ['\n'] = 'n', ['\r'] = 'r',
                                      ['\t'] = 't', ['\b'] = 'b',  ['\f'] = 'f'};

    put(w, "\"");
    for (size_t pos = 0, from = 0; pos < s->len; from = pos) {
        uint32_t cp = str_next(s, &pos);

        if (cp < 128 && escapes[cp])
            text_add(w->r, &w->text, (char[]){'\\', escapes[cp]}, 2);
        else if (cp < 0x20 || (w->how->ensure_ascii && cp > 0x7e))
            add_unicode(w, cp);
        else
            text_add(w->r, &w->text, s->data + from, pos - from);
    }
    put(w, "\"");
}

static void new_line(struct writer *w)
{
    const struct str *indent = w->how->indent;

    if (!indent)
        return;
    put(w, "\n");
    text_fill(w->r, &w->text, indent->data, indent->len, w->level);
}

static void add_separator(struct writer *w)
{
    if (w->how->item)
        text_add_str(w->r, &w->text, w->how->item);
    else
        put(w, w->how->indent ? "," : ", ");
    new_line(w);
}

static void add_scalar(struct writer *w, struct val v)
{
    char out[32];

    switch (v.type) {
    case VAL_NONE:
        put(w, "null");
        break;
    case VAL_BOOL:
        put(w, v.b ? "true" : "false");
        break;
    case VAL_INT:
        snprintf(out, sizeof(out), "%" PRId64, v.i);
        put(w, out);
        break;
    case VAL_FLOAT:
        repr_float(v.f, out);
        put(w, isnan(v.f) ? "NaN" : isinf(v.f) ? (v.f < 0 ? "-Infinity" : "Infinity") : out);
        break;
    default:
        run_fail(w->r, EINVAL, "an object of type %s cannot be written as JSON", val_type_name(v));
    }
}

static void add_value(struct writer *w, struct val v);

static void add_list(struct writer *w, const struct seq *s)
{
    if (!s->len) {
        put(w, "[]");
        return;
    }
    put(w, "[");
    w->level++;
    new_line(w);
    for (size_t i = 0; i < s->len; i++) {
        if (i)
            add_separator(w);
        add_value(w, s->items[i]);
    }
    w->level--;
    new_line(w);
    put(w, "]");
}

static void add_key(struct writer *w, struct val key)
{
    if (key.type == VAL_STR) {
        add_string(w, key.str);
    } else if (val_is_number(key) || key.type == VAL_NONE) {
        put(w, "\"");
        add_scalar(w, key);
        put(w, "\"");
    } else {
        run_fail(w->r, EINVAL, "a %s cannot be a key in JSON", val_type_name(key));
    }
    if (w->how->key_sep)
        text_add_str(w->r, &w->text, w->how->key_sep);
    else
        put(w, ": ");
}

static void add_dict(struct writer *w, const struct dict *d)
{
    const struct dict_entry *e;
    struct seq_sorted *order;
    size_t pos = 0, n = 0;

    if (!d->len) {
        put(w, "{}");
        return;
    }
    order = run_alloc(w->r, d->len, sizeof(*order));
    while ((e = dict_next(d, &pos)))
        order[n++] = (struct seq_sorted){.key = e->key, .value = e->value};
    if (w->how->sort_keys)
        seq_sort(w->r, order, n, false);
    put(w, "{");
    w->level++;
    new_line(w);
    for (size_t i = 0; i < n; i++) {
        if (i)
            add_separator(w);
        add_key(w, order[i].key);
        add_value(w, order[i].value);
    }
    w->level--;
    new_line(w);
    put(w, "}");
}

static void add_value(struct writer *w, struct val v)
{
    run_step(w->r, 1);
    run_enter(w->r);
    switch (v.type) {
    case VAL_STR:
        add_string(w, v.str);
        break;
    case VAL_LIST:
    case VAL_TUPLE:
        add_list(w, v.seq);
        break;
    case VAL_DICT:
        add_dict(w, v.dict);
        break;
    default:
        add_scalar(w, v);
    }
    run_leave(w->r);
}

struct str *repr_as_json(struct run *r, struct val v, const struct repr_json *how)
{
    struct writer w = {.r = r, .how = how};

    add_value(&w, v);
    return text_finish(r, &w.text);
}
