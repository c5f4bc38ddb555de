/* SPDX-License-Identifier: MIT */
#include "template/template.h"

#include <errno.h>
#include <stdlib.h>

#include "template/eval.h"
#include "template/lexer.h"
#include "template/parser.h"
#include "template/str.h"

enum {
    SOURCE_BYTES_MAX = 4 << 20,
    PARSE_MEMORY_MAX = 256 << 20,
    PARSE_STEPS_MAX = 50000000,
    PARSE_DEPTH_MAX = 600,
    STEPS_DEFAULT = 50000000,
    OUTPUT_DEFAULT = 32 << 20,
    MEMORY_DEFAULT = 256 << 20,
};

struct template
{
    struct arena arena;
    struct nodes *body;
};

struct parse_job {
    const char *source;
    size_t len;
    struct template_spacing spacing;
    struct template *t;
};

struct render_job {
    const struct template *t;
    const json_t *vars;
    struct text out;
    size_t output_bytes;
};

static void parse(struct run *r, void *arg)
{
    struct parse_job *job = arg;
    size_t n;

    job->t->body = parser_run(r, lexer_run(r, job->source, job->len, job->spacing, &n));
}

int template_create(const char *source, size_t len, struct template **ret, struct error *err)
{
    const struct template_spacing spacing = {.trim_blocks = true, .lstrip_blocks = true};

    return template_create_spaced(source, len, spacing, ret, err);
}

int template_create_spaced(const char *source, size_t len, struct template_spacing spacing,
                           struct template **ret, struct error *err)
{
    struct parse_job job = {.source = source, .len = len, .spacing = spacing};
    struct run r = {.steps_left = PARSE_STEPS_MAX, .depth_left = PARSE_DEPTH_MAX, .err = err};
    int rc;

    if (len > SOURCE_BYTES_MAX)
        return error_set(err, E2BIG, "the chat template has %zu bytes; at most %d are read", len,
                         SOURCE_BYTES_MAX);
    job.t = calloc(1, sizeof(*job.t));
    if (!job.t)
        return error_set(err, ENOMEM, "the chat template: out of memory");
    arena_init(&job.t->arena, PARSE_MEMORY_MAX);
    r.arena = &job.t->arena;
    rc = run_guard(&r, parse, &job);
    if (rc) {
        template_destroy(job.t);
        return rc;
    }
    *ret = job.t;
    return 0;
}

void template_destroy(struct template *t)
{
    if (!t)
        return;
    arena_finish(&t->arena);
    free(t);
}

static struct val from_json(struct run *r, const json_t *json);

static struct val from_array(struct run *r, const json_t *json)
{
    const size_t n = json_array_size(json);
    struct seq *s = seq_create(r, n);

    for (size_t i = 0; i < n; i++)
        seq_push(r, s, from_json(r, json_array_get(json, i)));
    return seq_val(VAL_LIST, s);
}

static struct val from_object(struct run *r, const json_t *json)
{
    /* jansson's iterators want a mutable object but do not change it */
    json_t *object = (json_t *)(uintptr_t)json;
    struct dict *d = dict_create(r);

    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);

        dict_set(r, d, val_str(str_borrow(r, key, strlen(key))),
                 from_json(r, json_object_iter_value(it)));
    }
    return val_dict(d);
}

/* Strings stay where they are: vars outlives the run. */
static struct val from_json(struct run *r, const json_t *json)
{
    struct val v = val_none();

    run_step(r, 1);
    run_enter(r);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        v = from_object(r, json);
        break;
    case JSON_ARRAY:
        v = from_array(r, json);
        break;
    case JSON_STRING:
        v = val_str(str_borrow(r, json_string_value(json), json_string_length(json)));
        break;
    case JSON_INTEGER:
        v = val_int(json_integer_value(json));
        break;
    case JSON_REAL:
        v = val_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = val_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    run_leave(r);
    return v;
}

static void render(struct run *r, void *arg)
{
    struct render_job *job = arg;

    r->vars = from_json(r, job->vars).dict;
    r->out = &job->out;
    exec_body(r, scope_create(r, NULL), job->t->body);
    if (job->out.len > job->output_bytes)
        run_fail(r, E2BIG, "the rendered text has more than %zu bytes", job->output_bytes);
}

static size_t or_default(size_t given, size_t fallback)
{
    return given ? given : fallback;
}

int template_render(const struct template *t, const json_t *vars, int64_t now,
                    const struct template_limits *limits, struct strbuf *out, struct error *err)
{
    const struct template_limits l = limits ? *limits : (struct template_limits){0};
    struct render_job job = {.t = t, .vars = vars};
    struct run r = {.now = now, .err = err};
    struct arena arena;
    int rc;

    if (!json_is_object(vars))
        return error_set(err, EINVAL, "the variables of a chat template must be a JSON object");
    arena_init(&arena, or_default(l.memory_bytes, MEMORY_DEFAULT));
    r.arena = &arena;
    r.steps_left = or_default(l.steps, STEPS_DEFAULT);
    r.depth_left = l.depth && l.depth < RUN_DEPTH_MAX ? l.depth : RUN_DEPTH_MAX;
    job.output_bytes = or_default(l.output_bytes, OUTPUT_DEFAULT);
    rc = run_guard(&r, render, &job);
    if (!rc && !strbuf_reserve(out, job.out.len))
        rc = error_set(err, out->limit ? E2BIG : ENOMEM, "no room for the rendered chat template");
    if (!rc)
        strbuf_add(out, job.out.data, job.out.len);
    arena_finish(&arena);
    return rc;
}
