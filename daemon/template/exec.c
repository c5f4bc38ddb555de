/* SPDX-License-Identifier: MIT */
/* Statements. */
#include <errno.h>

#include "template/eval.h"
#include "template/repr.h"
#include "template/str.h"

static void assign_tuple(struct run *r, struct scope *s, const struct node *target, struct val v)
{
    const struct val *items;
    size_t n;

    op_need_defined(r, v);
    items = seq_of(r, v, &n);
    if (n != target->items.n)
        run_fail(r, EINVAL, "%zu values cannot be assigned to %zu names", n, target->items.n);
    for (size_t i = 0; i < n; i++)
        exec_assign(r, s, target->items.items[i], items[i]);
}

void exec_assign(struct run *r, struct scope *s, const struct node *target, struct val v)
{
    const struct val *ns;

    switch (target->type) {
    case NODE_NAME:
        scope_set(r, s, target->name, v);
        break;
    case NODE_NAMESPACE_REF:
        ns = scope_find(r, s, target->ref.object);
        if (!ns || ns->type != VAL_NAMESPACE)
            run_fail(r, EINVAL, "only a namespace's attributes can be set");
        dict_set(r, ns->ns, val_str(target->ref.name), v);
        break;
    default:
        run_enter(r);
        assign_tuple(r, s, target, v);
        run_leave(r);
    }
}

static enum exec_flow exec_if(struct run *r, struct scope *s, const struct node *n)
{
    for (size_t i = 0; i < n->branch.tests.n; i++) {
        if (val_truth(r, expr_eval(r, s, n->branch.tests.items[i])))
            return exec_body(r, s, &n->branch.bodies[i]);
    }
    return exec_body(r, s, &n->branch.otherwise);
}

/* The items that the loop's `if` lets through. */
static struct seq *filtered(struct run *r, struct scope *s, const struct node *n,
                            const struct val *items, size_t len)
{
    struct seq *kept = seq_create(r, 0);

    for (size_t i = 0; i < len; i++) {
        struct scope *inner = scope_create(r, s);

        exec_assign(r, inner, n->loop.target, items[i]);
        if (val_truth(r, expr_eval(r, inner, n->loop.test)))
            seq_push(r, kept, items[i]);
    }
    return kept;
}

static struct loop *make_loop(struct run *r, struct scope *s, const struct node *n,
                              struct val iterable, size_t depth)
{
    struct loop *l = run_new(r, struct loop);
    const struct val *items = seq_of(r, iterable, &l->len);

    l->node = n;
    l->scope = s;
    l->depth = depth;
    if (n->loop.test) {
        struct seq *kept = filtered(r, s, n, items, l->len);

        l->items = kept->items;
        l->len = kept->len;
    } else {
        /* a copy: the body may take items out of the list */
        l->items = run_alloc(r, l->len ? l->len : 1, sizeof(*l->items));
        if (l->len)
            memcpy(l->items, items, l->len * sizeof(*l->items));
        run_step(r, l->len / 8);
    }
    return l;
}

void exec_loop(struct run *r, struct scope *s, const struct node *n, struct val iterable,
               size_t depth)
{
    struct loop *l = make_loop(r, s, n, iterable, depth);
    bool is_completed = false;
    enum exec_flow flow;

    for (l->index = 0; l->index < l->len; l->index++) {
        struct scope *inner = scope_create(r, s);

        run_step(r, 1);
        scope_set(r, inner, n->loop.loop_name, (struct val){.type = VAL_LOOP, .loop = l});
        exec_assign(r, inner, n->loop.target, l->items[l->index]);
        flow = exec_body(r, inner, &n->loop.body);
        is_completed |= flow == EXEC_NEXT;
        if (flow == EXEC_BREAK)
            break;
    }
    /* Jinja's else runs when no turn came to its end, so also when each was left early */
    if (!is_completed)
        exec_body(r, scope_create(r, s), &n->loop.otherwise);
}

struct str *exec_capture(struct run *r, struct scope *s, const struct nodes *body)
{
    struct text captured = {0}, *outer = r->out;

    r->out = &captured;
    exec_body(r, s, body);
    r->out = outer;
    return text_finish(r, &captured);
}

static void exec_macro(struct run *r, struct scope *s, const struct node *n)
{
    struct macro *m = run_new(r, struct macro);

    m->node = n;
    m->scope = s;
    m->name = str_borrow(r, n->macro.name->data, n->macro.name->len);
    scope_set(r, s, n->macro.name, (struct val){.type = VAL_MACRO, .macro = m});
}

static void exec_call_block(struct run *r, struct scope *s, const struct node *n)
{
    struct arg_list args = {0};
    struct macro *body = run_new(r, struct macro);
    struct val callee = expr_eval(r, s, n->macro.call->call.object);

    body->node = n;
    body->scope = s;
    body->name = str_literal(r, "caller");
    call_eval_args(r, s, &n->macro.call->call.args, &args);
    args.caller = (struct val){.type = VAL_MACRO, .macro = body};
    repr_add_str(r, r->out, call_value(r, callee, &args));
}

static enum exec_flow exec_with(struct run *r, struct scope *s, const struct node *n)
{
    struct scope *inner = scope_create(r, s);

    for (size_t i = 0; i < n->with.targets.n; i++)
        exec_assign(r, inner, n->with.targets.items[i], expr_eval(r, s, n->with.values.items[i]));
    return exec_body(r, inner, &n->with.body);
}

static void exec_set_block(struct run *r, struct scope *s, const struct node *n)
{
    struct val v = val_str(exec_capture(r, scope_create(r, s), &n->set.body));

    exec_assign(r, s, n->set.target, expr_filter_chain(r, s, n->set.filter, v));
}

static void exec_filter_block(struct run *r, struct scope *s, const struct node *n)
{
    struct val v = val_str(exec_capture(r, scope_create(r, s), &n->filter_block.body));

    repr_add_str(r, r->out, expr_filter_chain(r, s, n->filter_block.filter, v));
}

static enum exec_flow exec_one(struct run *r, struct scope *s, const struct node *n)
{
    switch (n->type) {
    case NODE_DATA:
        text_add_str(r, r->out, n->data);
        break;
    case NODE_PRINT:
        repr_add_str(r, r->out, expr_eval(r, s, n->binary.left));
        break;
    case NODE_IF:
        return exec_if(r, s, n);
    case NODE_FOR:
        exec_loop(r, s, n, expr_eval(r, s, n->loop.iter), 0);
        break;
    case NODE_SET:
        exec_assign(r, s, n->set.target, expr_eval(r, s, n->set.value));
        break;
    case NODE_SET_BLOCK:
        exec_set_block(r, s, n);
        break;
    case NODE_MACRO:
        exec_macro(r, s, n);
        break;
    case NODE_CALL_BLOCK:
        exec_call_block(r, s, n);
        break;
    case NODE_FILTER_BLOCK:
        exec_filter_block(r, s, n);
        break;
    case NODE_WITH:
        return exec_with(r, s, n);
    case NODE_BLOCK:
        /* a block sees the template's own variables but not those of loops around it */
        while (s->parent)
            s = s->parent;
        return exec_body(r, scope_create(r, s), &n->items);
    case NODE_SCOPE:
        return exec_body(r, scope_create(r, s), &n->items);
    case NODE_BREAK:
        return EXEC_BREAK;
    case NODE_CONTINUE:
        return EXEC_CONTINUE;
    default:
        run_fail(r, EINVAL, "this is no statement");
    }
    return EXEC_NEXT;
}

enum exec_flow exec_body(struct run *r, struct scope *s, const struct nodes *body)
{
    enum exec_flow flow = EXEC_NEXT;

    run_enter(r);
    for (size_t i = 0; i < body->n && flow == EXEC_NEXT; i++) {
        run_step(r, 1);
        r->line = body->items[i]->line;
        flow = exec_one(r, s, body->items[i]);
    }
    run_leave(r);
    return flow;
}
