/* SPDX-License-Identifier: MIT */
/* Calls: evaluating arguments, and running macros. */
#include <errno.h>

#include "template/eval.h"
#include "template/repr.h"
#include "template/str.h"

static void add_star(struct run *r, struct val star, struct seq *positional)
{
    const struct val *items;
    size_t n;

    op_need_defined(r, star);
    items = seq_of(r, star, &n);
    for (size_t i = 0; i < n; i++)
        seq_push(r, positional, items[i]);
}

static void add_star_star(struct run *r, struct val v, struct dict *named)
{
    const struct dict_entry *e;
    size_t pos = 0;

    if (v.type != VAL_DICT)
        run_fail(r, EINVAL, "** needs a dictionary, not a value of type '%s'", val_type_name(v));
    while ((e = dict_next(v.dict, &pos))) {
        if (e->key.type != VAL_STR)
            run_fail(r, EINVAL, "the keys of a ** argument must be strings");
        if (dict_find(r, named, e->key))
            run_fail(r, EINVAL, "a ** argument repeats the name '%.*s'",
                     (int)(e->key.str->len < 80 ? e->key.str->len : 80), e->key.str->data);
        dict_set(r, named, e->key, e->value);
    }
}

void call_eval_args(struct run *r, struct scope *s, const struct call_args *from,
                    struct arg_list *to)
{
    struct seq *positional = seq_create(r, from->positional.n);
    struct dict *named;

    for (size_t i = 0; i < from->positional.n; i++)
        seq_push(r, positional, expr_eval(r, s, from->positional.items[i]));
    if (from->star)
        add_star(r, expr_eval(r, s, from->star), positional);
    to->items = positional->items;
    to->n = positional->len;
    if (!from->n_named && !from->star_star)
        return;
    named = dict_create(r);
    for (size_t i = 0; i < from->n_named; i++)
        dict_set(r, named, val_str(from->named[i].name), expr_eval(r, s, from->named[i].value));
    if (from->star_star)
        add_star_star(r, expr_eval(r, s, from->star_star), named);
    to->names = run_alloc(r, named->len + 1, sizeof(*to->names));
    to->named = run_alloc(r, named->len + 1, sizeof(*to->named));
    for (size_t i = 0; i < named->len; i++) {
        to->names[i] = named->entries[i].key.str;
        to->named[i] = named->entries[i].value;
    }
    to->n_named = named->len;
}

/* The named argument for a parameter, marked as used. */
static const struct val *take_named(const struct arg_list *args, bool *used, const struct str *name)
{
    for (size_t i = 0; i < args->n_named; i++) {
        if (!used[i] && str_equal(args->names[i], name)) {
            used[i] = true;
            return &args->named[i];
        }
    }
    return NULL;
}

static void bind_params(struct run *r, const struct macro *m, const struct arg_list *args,
                        struct scope *s, bool *used)
{
    const struct node *n = m->node;

    for (size_t i = 0; i < n->macro.n_params; i++) {
        const struct param *p = &n->macro.params[i];
        const struct val *v = i < args->n ? &args->items[i] : take_named(args, used, p->name);

        run_step(r, 1 + args->n_named);
        if (v)
            scope_set(r, s, p->name, *v);
        else if (str_is(p->name, "caller") && args->caller.type == VAL_MACRO)
            scope_set(r, s, p->name, args->caller);
        else if (p->fallback)
            scope_set(r, s, p->name, expr_eval(r, s, p->fallback));
        else
            scope_set(r, s, p->name, expr_undefined(r, p->name));
    }
}

static void bind_varargs(struct run *r, const struct macro *m, const struct arg_list *args,
                         struct scope *s)
{
    const struct node *n = m->node;
    const size_t n_params = n->macro.n_params;
    struct seq *rest;

    if (!n->macro.varargs) {
        if (args->n > n_params)
            run_fail(r, EINVAL, "macro '%.*s' takes at most %zu arguments", (int)m->name->len,
                     m->name->data, n_params);
        return;
    }
    rest = seq_create(r, 0);
    for (size_t i = n_params; i < args->n; i++)
        seq_push(r, rest, args->items[i]);
    scope_set(r, s, n->macro.varargs, seq_val(VAL_TUPLE, rest));
}

static void bind_kwargs(struct run *r, const struct macro *m, const struct arg_list *args,
                        struct scope *s, const bool *used)
{
    struct dict *rest = dict_create(r);

    for (size_t i = 0; i < args->n_named; i++) {
        if (used[i])
            continue;
        if (!m->node->macro.kwargs)
            run_fail(r, EINVAL, "macro '%.*s' takes no argument '%.*s'",
                     (int)(m->name->len < 80 ? m->name->len : 80), m->name->data,
                     (int)(args->names[i]->len < 80 ? args->names[i]->len : 80),
                     args->names[i]->data);
        dict_set(r, rest, val_str(args->names[i]), args->named[i]);
    }
    if (m->node->macro.kwargs)
        scope_set(r, s, m->node->macro.kwargs, val_dict(rest));
}

static bool is_param(const struct node *n, const struct str *name)
{
    for (size_t i = 0; i < n->macro.n_params; i++) {
        if (n->macro.params[i].name == name)
            return true;
    }
    return false;
}

static void bind_caller(struct run *r, const struct macro *m, const struct arg_list *args,
                        struct scope *s, bool *used)
{
    const struct str *name = m->node->macro.caller;
    const struct val *given;

    if (!name && args->caller.type == VAL_MACRO)
        run_fail(r, EINVAL, "macro '%.*s' does not use its caller",
                 (int)(m->name->len < 80 ? m->name->len : 80), m->name->data);
    if (!name || is_param(m->node, name))
        return;
    given = take_named(args, used, name);
    if (given)
        scope_set(r, s, name, *given);
    else if (args->caller.type == VAL_MACRO)
        scope_set(r, s, name, args->caller);
    else
        scope_set(r, s, name, expr_undefined(r, name));
}

struct val call_macro(struct run *r, const struct macro *m, const struct arg_list *args)
{
    struct scope *s = scope_create(r, m->scope);
    bool *used = run_alloc(r, args->n_named + 1, sizeof(*used));
    struct val result;

    run_enter(r);
    bind_params(r, m, args, s, used);
    bind_varargs(r, m, args, s);
    bind_caller(r, m, args, s, used);
    bind_kwargs(r, m, args, s, used);
    result = val_str(exec_capture(r, s, &m->node->macro.body));
    run_leave(r);
    return result;
}

/* loop(items) inside a recursive loop. */
static struct val call_loop(struct run *r, const struct loop *l, const struct arg_list *args)
{
    struct text captured = {0}, *outer = r->out;

    if (!l->node->loop.is_recursive)
        run_fail(r, EINVAL, "loop() is called but the loop is not marked recursive");
    if (args->n != 1 || args->n_named)
        run_fail(r, EINVAL, "loop() takes one argument");
    r->out = &captured;
    exec_loop(r, l->scope, l->node, args->items[0], l->depth + 1);
    r->out = outer;
    return val_str(text_finish(r, &captured));
}

static struct val call_joiner(struct run *r, struct cycler *j)
{
    if (j->pos++)
        return val_str(j->separator);
    return val_str(str_literal(r, ""));
}

struct val call_value(struct run *r, struct val callee, const struct arg_list *args)
{
    switch (callee.type) {
    case VAL_FUNCTION:
        return callee.function->call(r, val_none(), args);
    case VAL_METHOD:
        return callee.method->function->call(r, callee.method->self, args);
    case VAL_MACRO:
        return call_macro(r, callee.macro, args);
    case VAL_LOOP:
        return call_loop(r, callee.loop, args);
    case VAL_JOINER:
        return call_joiner(r, callee.cycler);
    default:
        op_need_defined(r, callee);
        run_fail(r, EINVAL, "a value of type '%s' cannot be called", val_type_name(callee));
    }
}
