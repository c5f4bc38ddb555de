/* SPDX-License-Identifier: MIT */
/* The functions a template finds without defining them. */
#include <errno.h>
#include <time.h>

#include "template/args.h"
#include "template/eval.h"
#include "template/str.h"

enum { RANGE_MAX = 100000 };

static struct val global_range(struct run *r, struct val self, const struct arg_list *args)
{
    struct range *g = run_new(r, struct range);
    struct val v[3];

    args_bind(r, "range", args, "start stop step", 1, v);
    if (args->n_named)
        run_fail(r, EINVAL, "range() takes no named arguments");
    g->start = args_is_missing(v[1]) ? 0 : args_int(r, v[0], 0);
    g->stop = args_int(r, args_is_missing(v[1]) ? v[0] : v[1], 0);
    g->step = args_int(r, v[2], 1);
    if (!g->step || g->step == INT64_MIN)
        run_fail(r, EINVAL, "range() needs a step other than zero");
    if (range_length(g) > RANGE_MAX)
        run_fail(r, EINVAL, "range() is limited to %d numbers", RANGE_MAX);
    return (struct val){.type = VAL_RANGE, .range = g};
}

/* As dict(mapping or pairs, name=value). */
static struct dict *dict_from(struct run *r, const char *name, const struct arg_list *args)
{
    struct dict *d = dict_create(r);

    if (args->n > 1)
        run_fail(r, EINVAL, "%s() takes at most one argument without a name", name);
    if (args->n && args->items[0].type == VAL_DICT) {
        const struct dict_entry *e;
        size_t pos = 0;

        while ((e = dict_next(args->items[0].dict, &pos)))
            dict_set(r, d, e->key, e->value);
    } else if (args->n) {
        size_t n, n_pair;
        const struct val *items = seq_of(r, args->items[0], &n);

        for (size_t i = 0; i < n; i++) {
            const struct val *pair = seq_of(r, items[i], &n_pair);

            if (n_pair != 2)
                run_fail(r, EINVAL, "%s() needs pairs of a key and a value", name);
            dict_set(r, d, pair[0], pair[1]);
        }
    }
    for (size_t i = 0; i < args->n_named; i++)
        dict_set(r, d, val_str(args->names[i]), args->named[i]);
    return d;
}

static struct val global_dict(struct run *r, struct val self, const struct arg_list *args)
{
    return val_dict(dict_from(r, "dict", args));
}

static struct val global_namespace(struct run *r, struct val self, const struct arg_list *args)
{
    return (struct val){.type = VAL_NAMESPACE, .ns = dict_from(r, "namespace", args)};
}

static struct val global_cycler(struct run *r, struct val self, const struct arg_list *args)
{
    struct cycler *c = run_new(r, struct cycler);

    if (!args->n || args->n_named)
        run_fail(r, EINVAL, "cycler() needs at least one item");
    c->items = args->items;
    c->n = args->n;
    return (struct val){.type = VAL_CYCLER, .cycler = c};
}

static struct val global_joiner(struct run *r, struct val self, const struct arg_list *args)
{
    struct cycler *j = run_new(r, struct cycler);
    struct val v;

    args_bind(r, "joiner", args, "sep", 0, &v);
    j->separator = args_str(r, v);
    if (!j->separator)
        j->separator = str_literal(r, ", ");
    return (struct val){.type = VAL_JOINER, .cycler = j};
}

static struct val global_raise_exception(struct run *r, struct val self,
                                         const struct arg_list *args)
{
    struct val v;

    args_bind(r, "raise_exception", args, "message", 1, &v);
    if (v.type == VAL_STR)
        run_fail_text(r, v.str);
    run_fail(r, EINVAL, "the template refuses this conversation");
}

/* One directive of strftime; the time zone is the one `now` was given in, which has no name. */
static void add_time(struct run *r, struct text *t, char directive, const struct tm *tm)
{
    const char format[] = {' ', '%', directive, 0};
    char out[128];
    size_t n;

    if (!directive)
        return;
    if (directive == 'f') {
        text_puts(r, t, "000000");
    } else if (strchr("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY%", directive)) {
        n = strftime(out, sizeof(out), format, tm);
        text_add(r, t, out + 1, n ? n - 1 : 0);
    } else if (directive != 'z' && directive != 'Z') {
        text_add(r, t, format + 1, 2);
    }
}

static struct val global_strftime_now(struct run *r, struct val self, const struct arg_list *args)
{
    const time_t now = (time_t)r->now;
    struct text t = {0};
    struct str *format;
    struct tm tm;
    struct val v;

    args_bind(r, "strftime_now", args, "format", 1, &v);
    format = args_str(r, v);
    if (!format || !gmtime_r(&now, &tm))
        run_fail(r, EINVAL, "strftime_now() needs a format");
    for (size_t i = 0; i < format->len; i++) {
        char c = format->data[i];

        if (c != '%' || i + 1 == format->len) {
            text_add(r, &t, &c, 1);
            continue;
        }
        c = format->data[++i];
        if (c == '-' && i + 1 < format->len && strchr("dmHIMSjy", format->data[i + 1])) {
            struct text padded = {0};
            struct str *s;

            add_time(r, &padded, format->data[++i], &tm);
            s = str_strip(r, text_finish(r, &padded), str_literal(r, "0"), true, false);
            text_add_str(r, &t, s->len ? s : str_literal(r, "0"));
        } else {
            add_time(r, &t, c, &tm);
        }
    }
    return val_str(text_finish(r, &t));
}

const struct function *globals_find(const struct str *name)
{
    static const struct function table[] = {
        {"range", global_range},
        {"dict", global_dict},
        {"namespace", global_namespace},
        {"cycler", global_cycler},
        {"joiner", global_joiner},
        {"raise_exception", global_raise_exception},
        {"strftime_now", global_strftime_now},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (str_is(name, table[i].name))
            return &table[i];
    }
    return NULL;
}
