/* SPDX-License-Identifier: MIT */
#include "template/val.h"

#include <errno.h>

#include "template/run.h"
#include "template/str.h"

const char *val_type_name(struct val v)
{
    static const char *const names[] = {
        [VAL_UNDEFINED] = "Undefined",
        [VAL_NONE] = "NoneType",
        [VAL_BOOL] = "bool",
        [VAL_INT] = "int",
        [VAL_FLOAT] = "float",
        [VAL_STR] = "str",
        [VAL_LIST] = "list",
        [VAL_TUPLE] = "tuple",
        [VAL_DICT] = "dict",
        [VAL_RANGE] = "range",
        [VAL_NAMESPACE] = "Namespace",
        [VAL_LOOP] = "LoopContext",
        [VAL_MACRO] = "Macro",
        [VAL_FUNCTION] = "function",
        [VAL_METHOD] = "builtin_function_or_method",
        [VAL_CYCLER] = "Cycler",
        [VAL_JOINER] = "Joiner",
    };

    if (v.type == VAL_VIEW || v.type == VAL_GENERATOR)
        return v.seq->name;
    return names[v.type];
}

bool val_truth(struct run *r, struct val v)
{
    switch (v.type) {
    case VAL_UNDEFINED:
    case VAL_NONE:
        return false;
    case VAL_BOOL:
        return v.b;
    case VAL_INT:
        return v.i != 0;
    case VAL_FLOAT:
        return v.f != 0;
    case VAL_STR:
        return v.str->len > 0;
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_VIEW:
        return v.seq->len > 0;
    case VAL_DICT:
        return v.dict->len > 0;
    case VAL_RANGE:
        return range_length(v.range) > 0;
    default:
        return true;
    }
}

static bool seq_equal(struct run *r, const struct seq *a, const struct seq *b)
{
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++) {
        if (!val_equal(r, a->items[i], b->items[i]))
            return false;
    }
    return true;
}

static bool dict_equal(struct run *r, const struct dict *a, const struct dict *b)
{
    const struct dict_entry *e;
    size_t pos = 0;

    if (a->len != b->len)
        return false;
    while ((e = dict_next(a, &pos))) {
        const struct val *other = dict_find(r, b, e->key);

        if (!other || !val_equal(r, e->value, *other))
            return false;
    }
    return true;
}

static bool number_equal(struct val a, struct val b)
{
    double f;

    if (val_is_int(a) && val_is_int(b))
        return val_to_int(a) == val_to_int(b);
    if (a.type == VAL_FLOAT && b.type == VAL_FLOAT)
        return a.f == b.f;
    f = a.type == VAL_FLOAT ? a.f : b.f;
    /* exact, as in Python: beyond 2^53 neighbouring integers share a double */
    return f >= -0x1p63 && f < 0x1p63 && (double)(int64_t)f == f &&
           (int64_t)f == val_to_int(a.type == VAL_FLOAT ? b : a);
}

static bool range_equal(const struct range *a, const struct range *b)
{
    uint64_t n = range_length(a);

    return n == range_length(b) &&
           (n == 0 || (a->start == b->start && (n == 1 || a->step == b->step)));
}

bool val_equal(struct run *r, struct val a, struct val b)
{
    bool is_equal;

    run_step(r, 1);
    if (val_is_number(a) && val_is_number(b))
        return number_equal(a, b);
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case VAL_UNDEFINED:
    case VAL_NONE:
        return true;
    case VAL_STR:
        run_step_bytes(r, a.str->len);
        return str_equal(a.str, b.str);
    case VAL_LIST:
    case VAL_TUPLE:
        run_enter(r);
        is_equal = seq_equal(r, a.seq, b.seq);
        run_leave(r);
        return is_equal;
    case VAL_DICT:
        run_enter(r);
        is_equal = dict_equal(r, a.dict, b.dict);
        run_leave(r);
        return is_equal;
    case VAL_RANGE:
        return range_equal(a.range, b.range);
    case VAL_METHOD:
        return a.method->function == b.method->function &&
               a.method->self.type == b.method->self.type &&
               a.method->self.seq == b.method->self.seq;
    default:
        return a.seq == b.seq;
    }
}

static int number_compare(struct val a, struct val b)
{
    if (val_is_int(a) && val_is_int(b)) {
        int64_t x = val_to_int(a), y = val_to_int(b);
        return x < y ? -1 : x > y;
    }
    return val_to_double(a) < val_to_double(b) ? -1 : val_to_double(a) > val_to_double(b);
}

static int seq_compare(struct run *r, const struct seq *a, const struct seq *b, const char *op)
{
    size_t n = a->len < b->len ? a->len : b->len;

    for (size_t i = 0; i < n; i++) {
        if (!val_equal(r, a->items[i], b->items[i]))
            return val_compare(r, a->items[i], b->items[i], op);
    }
    return a->len < b->len ? -1 : a->len > b->len;
}

int val_compare(struct run *r, struct val a, struct val b, const char *op)
{
    int order;

    run_step(r, 1);
    if (val_is_number(a) && val_is_number(b))
        return number_compare(a, b);
    if (a.type == VAL_STR && b.type == VAL_STR) {
        run_step_bytes(r, a.str->len);
        return str_compare(a.str, b.str);
    }
    if (a.type != b.type || !val_is_list_like(a))
        run_fail(r, EINVAL, "'%s' not supported between '%s' and '%s'", op, val_type_name(a),
                 val_type_name(b));
    run_enter(r);
    order = seq_compare(r, a.seq, b.seq, op);
    run_leave(r);
    return order;
}

int64_t val_length(struct run *r, struct val v)
{
    switch (v.type) {
    case VAL_UNDEFINED:
        return 0;
    case VAL_STR:
        return (int64_t)v.str->chars;
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_VIEW:
        return (int64_t)v.seq->len;
    case VAL_DICT:
        return (int64_t)v.dict->len;
    case VAL_RANGE:
        return (int64_t)range_length(v.range);
    case VAL_LOOP:
        return (int64_t)v.loop->len;
    default:
        return -1;
    }
}

bool val_contains(struct run *r, struct val container, struct val item)
{
    const struct val *items;
    size_t n;

    if (container.type == VAL_STR) {
        if (item.type != VAL_STR)
            run_fail(r, EINVAL, "'in <string>' requires a string on its left, not %s",
                     val_type_name(item));
        return str_find(r, container.str, item.str, 0) >= 0;
    }
    if (container.type == VAL_DICT)
        return dict_find(r, container.dict, item) != NULL;
    if (!seq_can_iterate(container))
        run_fail(r, EINVAL, "a value of type '%s' cannot contain anything",
                 val_type_name(container));
    items = seq_of(r, container, &n);
    for (size_t i = 0; i < n; i++) {
        if (val_equal(r, items[i], item))
            return true;
    }
    return false;
}
