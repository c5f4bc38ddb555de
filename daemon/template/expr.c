/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "template/checks.h"
#include "template/eval.h"
#include "template/filters.h"
#include "template/repr.h"
#include "template/str.h"

static struct val undefined_with_hint(struct run *r, const char *hint)
{
    struct undefined *u = run_new(r, struct undefined);

    u->hint = hint;
    return (struct val){.type = VAL_UNDEFINED, .undefined = u};
}

struct val expr_undefined(struct run *r, const struct str *name)
{
    struct undefined *u = run_new(r, struct undefined);
    struct str *copy = run_new(r, struct str);

    *copy = *name;
    u->name = val_str(copy);
    return (struct val){.type = VAL_UNDEFINED, .undefined = u};
}

static struct val missing(struct run *r, struct val object, struct val name)
{
    struct undefined *u = run_new(r, struct undefined);

    u->object = object;
    u->name = name;
    u->has_object = true;
    return (struct val){.type = VAL_UNDEFINED, .undefined = u};
}

static struct val loop_attribute(struct run *r, struct loop *l, struct str *name, bool *ret_found)
{
    *ret_found = true;
    if (str_is(name, "index"))
        return val_int((int64_t)l->index + 1);
    if (str_is(name, "index0"))
        return val_int((int64_t)l->index);
    if (str_is(name, "first"))
        return val_bool(l->index == 0);
    if (str_is(name, "last"))
        return val_bool(l->index + 1 == l->len);
    if (str_is(name, "length"))
        return val_int((int64_t)l->len);
    if (str_is(name, "revindex"))
        return val_int((int64_t)(l->len - l->index));
    if (str_is(name, "revindex0"))
        return val_int((int64_t)(l->len - l->index) - 1);
    if (str_is(name, "depth"))
        return val_int((int64_t)l->depth + 1);
    if (str_is(name, "depth0"))
        return val_int((int64_t)l->depth);
    if (str_is(name, "previtem"))
        return l->index ? l->items[l->index - 1]
                        : undefined_with_hint(r, "there is no previous item");
    if (str_is(name, "nextitem"))
        return l->index + 1 < l->len ? l->items[l->index + 1]
                                     : undefined_with_hint(r, "there is no next item");
    *ret_found = false;
    return val_none();
}

/* What Python's getattr() would find; *ret_found says whether. */
static struct val native_attribute(struct run *r, struct val object, struct str *name,
                                   bool *ret_found)
{
    const struct function *f;
    bool is_unsafe = false;
    struct val *v, result;

    *ret_found = true;
    if (object.type == VAL_NAMESPACE) {
        v = dict_find(r, object.ns, val_str(name));
        *ret_found = v != NULL;
        return v ? *v : val_none();
    }
    if (object.type == VAL_LOOP) {
        result = loop_attribute(r, object.loop, name, ret_found);
        if (*ret_found)
            return result;
    }
    if (object.type == VAL_MACRO && str_is(name, "name"))
        return val_str(object.macro->name);
    if (object.type == VAL_CYCLER && str_is(name, "current"))
        return object.cycler->items[object.cycler->pos];
    if (object.type == VAL_TUPLE && object.seq->name && str_is(name, "grouper"))
        return object.seq->items[0];
    if (object.type == VAL_TUPLE && object.seq->name && str_is(name, "list"))
        return object.seq->items[1];
    if (object.type == VAL_RANGE && str_is(name, "start"))
        return val_int(object.range->start);
    if (object.type == VAL_RANGE && str_is(name, "stop"))
        return val_int(object.range->stop);
    if (object.type == VAL_RANGE && str_is(name, "step"))
        return val_int(object.range->step);
    f = methods_find(object, name, &is_unsafe);
    *ret_found = f || is_unsafe;
    if (is_unsafe) {
        result = missing(r, object, val_str(name));
        result.undefined->is_unsafe = true;
        return result;
    }
    result = (struct val){.type = VAL_METHOD, .method = run_new(r, struct method)};
    *result.method = (struct method){.self = object, .function = f};
    return result;
}

static bool can_hash(struct run *r, struct val v)
{
    bool can = v.type != VAL_LIST && v.type != VAL_DICT && v.type != VAL_VIEW;

    if (v.type == VAL_TUPLE) {
        run_enter(r);
        for (size_t i = 0; can && i < v.seq->len; i++)
            can = can_hash(r, v.seq->items[i]);
        run_leave(r);
    }
    return can;
}

struct val expr_attribute(struct run *r, struct val object, struct str *name)
{
    struct val v, *found;
    bool is_found;

    op_need_defined(r, object);
    v = native_attribute(r, object, name, &is_found);
    if (is_found)
        return v;
    if (object.type == VAL_DICT && (found = dict_find(r, object.dict, val_str(name))))
        return *found;
    return missing(r, object, val_str(name));
}

/* Python's index, negative from the end; false when it is outside. */
static bool at_index(int64_t index, uint64_t len, uint64_t *ret)
{
    if (index < 0) {
        if ((uint64_t)0 - (uint64_t)index > len)
            return false;
        *ret = len - ((uint64_t)0 - (uint64_t)index);
        return true;
    }
    *ret = (uint64_t)index;
    return (uint64_t)index < len;
}

static bool item_by_number(struct run *r, struct val object, int64_t index, struct val *ret)
{
    uint64_t at;

    switch (object.type) {
    case VAL_LIST:
    case VAL_TUPLE:
        if (!at_index(index, object.seq->len, &at))
            return false;
        *ret = object.seq->items[at];
        return true;
    case VAL_RANGE:
        if (!at_index(index, range_length(object.range), &at))
            return false;
        *ret = range_at(object.range, at);
        return true;
    case VAL_STR: {
        size_t from, to;

        if (!at_index(index, object.str->chars, &at))
            return false;
        from = to = str_offset(r, object.str, at);
        str_next(object.str, &to);
        *ret = val_str(str_sub(r, object.str, from, to));
        ret->str->is_markup = object.str->is_markup;
        return true;
    }
    default:
        return false;
    }
}

struct val expr_item(struct run *r, struct val object, struct val index)
{
    struct val v, *found;
    bool is_found;

    op_need_defined(r, object);
    if (object.type == VAL_DICT) {
        if (can_hash(r, index) && (found = dict_find(r, object.dict, index)))
            return *found;
    } else if (val_is_int(index) && item_by_number(r, object, val_to_int(index), &v)) {
        return v;
    }
    if (index.type == VAL_STR) {
        v = native_attribute(r, object, index.str, &is_found);
        if (is_found)
            return v;
    }
    return missing(r, object, index);
}

/* A slice's bounds as Python clips them. */
static int64_t clip(int64_t i, int64_t len, int64_t step)
{
    if (i < 0) {
        i = i < -len ? -1 : i + len;
        return i < 0 ? (step < 0 ? -1 : 0) : i;
    }
    return i >= len ? (step < 0 ? len - 1 : len) : i;
}

static int64_t slice_bound(struct run *r, struct scope *s, const struct node *n, bool *ret_given)
{
    struct val v = n ? expr_eval(r, s, n) : val_none();

    op_need_defined(r, v);
    *ret_given = v.type != VAL_NONE;
    if (*ret_given && !val_is_int(v))
        run_fail(r, EINVAL, "the bounds of a slice must be integers, not '%s'", val_type_name(v));
    return *ret_given ? val_to_int(v) : 0;
}

static struct val slice_str(struct run *r, const struct str *s, const struct range *g)
{
    uint64_t n = range_length(g);
    struct text t = {0};
    size_t *offsets, pos = 0;

    if (g->step == 1) {
        size_t from = str_offset(r, s, (size_t)g->start);
        size_t to = n ? str_offset(r, s, (size_t)g->stop) : from;

        return val_str(str_sub(r, s, from, to));
    }
    offsets = run_alloc(r, s->chars + 1, sizeof(*offsets));
    for (size_t i = 0; i < s->chars; i++) {
        offsets[i] = pos;
        str_next(s, &pos);
    }
    offsets[s->chars] = s->len;
    run_step(r, s->chars);
    for (uint64_t i = 0; i < n; i++) {
        size_t at = (size_t)range_at(g, i).i;

        text_add(r, &t, s->data + offsets[at], offsets[at + 1] - offsets[at]);
    }
    return val_str(text_finish(r, &t));
}

static struct val slice_seq(struct run *r, struct val object, const struct range *g)
{
    uint64_t n = range_length(g);
    struct seq *to = seq_create(r, n);

    for (uint64_t i = 0; i < n; i++)
        seq_push(r, to, object.seq->items[range_at(g, i).i]);
    return seq_val(object.type, to);
}

static struct val slice_range(struct run *r, const struct range *of, const struct range *g)
{
    struct range *part = run_new(r, struct range);
    int64_t from, to;

    if (__builtin_mul_overflow(g->start, of->step, &from) ||
        __builtin_mul_overflow(g->stop, of->step, &to) ||
        __builtin_add_overflow(of->start, from, &part->start) ||
        __builtin_add_overflow(of->start, to, &part->stop) ||
        __builtin_mul_overflow(of->step, g->step, &part->step))
        run_fail(r, EINVAL, "a range's bounds do not fit into 64 bits");
    return (struct val){.type = VAL_RANGE, .range = part};
}

static struct val eval_slice(struct run *r, struct scope *s, struct val object,
                             const struct node *n)
{
    bool has_start, has_stop, has_step;
    struct range g;
    int64_t len;
    struct val v;

    g.start = slice_bound(r, s, n->slice.start, &has_start);
    g.stop = slice_bound(r, s, n->slice.stop, &has_stop);
    g.step = slice_bound(r, s, n->slice.step, &has_step);
    op_need_defined(r, object);
    if (object.type != VAL_STR && object.type != VAL_RANGE && !val_is_list_like(object))
        run_fail(r, EINVAL, "a value of type '%s' cannot be sliced", val_type_name(object));
    if (!has_step)
        g.step = 1;
    if (g.step == 0 || g.step == INT64_MIN)
        run_fail(r, EINVAL, "a slice's step cannot be %s", g.step ? "that small" : "zero");
    len = val_length(r, object);
    g.start = has_start ? clip(g.start, len, g.step) : g.step < 0 ? len - 1 : 0;
    g.stop = has_stop ? clip(g.stop, len, g.step) : g.step < 0 ? -1 : len;
    if (object.type == VAL_STR) {
        v = slice_str(r, object.str, &g);
        v.str->is_markup = object.str->is_markup;
        return v;
    }
    if (object.type == VAL_RANGE)
        return slice_range(r, object.range, &g);
    return slice_seq(r, object, &g);
}

static struct val eval_name(struct run *r, struct scope *s, const struct node *n)
{
    const struct val *v = scope_find(r, s, n->name);
    const struct function *f;

    if (v)
        return *v;
    f = globals_find(n->name);
    if (f)
        return (struct val){.type = VAL_FUNCTION, .function = f};
    return expr_undefined(r, n->name);
}

static struct val eval_items(struct run *r, struct scope *s, const struct node *n,
                             enum val_type type)
{
    struct seq *to = seq_create(r, n->items.n);

    for (size_t i = 0; i < n->items.n; i++)
        seq_push(r, to, expr_eval(r, s, n->items.items[i]));
    return seq_val(type, to);
}

static struct val eval_dict(struct run *r, struct scope *s, const struct node *n)
{
    struct dict *d = dict_create(r);

    for (size_t i = 0; i < n->items.n; i += 2) {
        struct val key = expr_eval(r, s, n->items.items[i]);

        dict_set(r, d, key, expr_eval(r, s, n->items.items[i + 1]));
    }
    return val_dict(d);
}

static struct val eval_compare(struct run *r, struct scope *s, const struct node *n)
{
    struct val left = expr_eval(r, s, n->compare.first);

    for (size_t i = 0; i < n->compare.rest.n; i++) {
        struct val right = expr_eval(r, s, n->compare.rest.items[i]);

        if (!op_compare(r, n->compare.ops[i], left, right))
            return val_bool(false);
        left = right;
    }
    return val_bool(true);
}

static struct val eval_concat(struct run *r, struct scope *s, const struct node *n)
{
    struct str *all = repr_str(r, expr_eval(r, s, n->items.items[0]));

    for (size_t i = 1; i < n->items.n; i++)
        all = str_concat(r, all, repr_str(r, expr_eval(r, s, n->items.items[i])));
    return val_str(all);
}

static struct val eval_conditional(struct run *r, struct scope *s, const struct node *n)
{
    if (val_truth(r, expr_eval(r, s, n->conditional.test)))
        return expr_eval(r, s, n->conditional.yes);
    if (n->conditional.no)
        return expr_eval(r, s, n->conditional.no);
    return undefined_with_hint(r, "an if without else gave nothing");
}

static struct val eval_call(struct run *r, struct scope *s, const struct node *n)
{
    struct arg_list args = {0};
    struct val callee = expr_eval(r, s, n->call.object);

    call_eval_args(r, s, &n->call.args, &args);
    r->line = n->line;
    return call_value(r, callee, &args);
}

static struct val apply(struct run *r, struct scope *s, const struct node *n, struct val input)
{
    struct arg_list args = {0};

    if (!n->call.found)
        run_fail(r, EINVAL, "there is no %s named '%.*s'",
                 n->type == NODE_FILTER ? "filter" : "test",
                 (int)(n->call.name->len < 80 ? n->call.name->len : 80), n->call.name->data);
    call_eval_args(r, s, &n->call.args, &args);
    r->line = n->line;
    if (n->type == NODE_FILTER)
        return filters_apply(r, n->call.found, input, &args);
    return val_bool(checks_apply(r, n->call.found, input, &args));
}

struct val expr_filter_chain(struct run *r, struct scope *s, const struct node *n, struct val input)
{
    if (!n)
        return input;
    run_enter(r);
    input = apply(r, s, n, expr_filter_chain(r, s, n->call.object, input));
    run_leave(r);
    return input;
}

static struct val eval_item(struct run *r, struct scope *s, const struct node *n)
{
    struct val object = expr_eval(r, s, n->item.object);

    if (n->item.index->type == NODE_SLICE)
        return eval_slice(r, s, object, n->item.index);
    return expr_item(r, object, expr_eval(r, s, n->item.index));
}

static struct val eval_logic(struct run *r, struct scope *s, const struct node *n)
{
    struct val left = expr_eval(r, s, n->binary.left);

    if (val_truth(r, left) == (n->type == NODE_OR))
        return left;
    return expr_eval(r, s, n->binary.right);
}

static struct val eval_binary(struct run *r, struct scope *s, const struct node *n)
{
    struct val left = expr_eval(r, s, n->binary.left);
    struct val right = expr_eval(r, s, n->binary.right);

    r->line = n->line;
    return op_binary(r, n->binary.op, left, right);
}

static struct val dispatch(struct run *r, struct scope *s, const struct node *n)
{
    switch (n->type) {
    case NODE_CONST:
        return n->value;
    case NODE_NAME:
        return eval_name(r, s, n);
    case NODE_LIST:
        return eval_items(r, s, n, VAL_LIST);
    case NODE_TUPLE:
        return eval_items(r, s, n, VAL_TUPLE);
    case NODE_DICT:
        return eval_dict(r, s, n);
    case NODE_NOT:
        return val_bool(!val_truth(r, expr_eval(r, s, n->binary.left)));
    case NODE_NEGATIVE:
        return op_negative(r, expr_eval(r, s, n->binary.left));
    case NODE_POSITIVE:
        return op_binary(r, OP_ADD, val_int(0), expr_eval(r, s, n->binary.left));
    case NODE_BINARY:
        return eval_binary(r, s, n);
    case NODE_AND:
    case NODE_OR:
        return eval_logic(r, s, n);
    case NODE_COMPARE:
        return eval_compare(r, s, n);
    case NODE_CONCAT:
        return eval_concat(r, s, n);
    case NODE_CONDITIONAL:
        return eval_conditional(r, s, n);
    case NODE_ATTRIBUTE:
        return expr_attribute(r, expr_eval(r, s, n->attribute.object), n->attribute.name);
    case NODE_ITEM:
        return eval_item(r, s, n);
    case NODE_CALL:
        return eval_call(r, s, n);
    case NODE_FILTER:
    case NODE_TEST:
        return apply(r, s, n, expr_eval(r, s, n->call.object));
    default:
        run_fail(r, EINVAL, "this is no expression");
    }
}

struct val expr_eval(struct run *r, struct scope *s, const struct node *n)
{
    struct val v;

    run_step(r, 1);
    run_enter(r);
    r->line = n->line;
    v = dispatch(r, s, n);
    run_leave(r);
    return v;
}
