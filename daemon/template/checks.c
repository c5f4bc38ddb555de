/* SPDX-License-Identifier: MIT */
#include "template/checks.h"

#include <errno.h>

#include "template/eval.h"
#include "template/filters.h"
#include "template/repr.h"
#include "template/str.h"

struct check {
    const char *name;
    bool (*test)(struct run *r, struct val v, struct val arg);
    size_t n_args;
};

static bool is_defined(struct run *r, struct val v, struct val arg)
{
    return v.type != VAL_UNDEFINED;
}

static bool is_undefined(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_UNDEFINED;
}

static bool is_none(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_NONE;
}

static bool is_true(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_BOOL && v.b;
}

static bool is_false(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_BOOL && !v.b;
}

static bool is_boolean(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_BOOL;
}

static bool is_integer(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_INT;
}

static bool is_float(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_FLOAT;
}

static bool is_number(struct run *r, struct val v, struct val arg)
{
    return val_is_number(v);
}

static bool is_string(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_STR;
}

static bool is_mapping(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_DICT;
}

static bool is_iterable(struct run *r, struct val v, struct val arg)
{
    return seq_can_iterate(v);
}

/* Has a length and can be indexed, which holds for undefined values too. */
static bool is_sequence(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_STR || v.type == VAL_DICT || v.type == VAL_RANGE ||
           v.type == VAL_UNDEFINED || val_is_list_like(v);
}

static bool is_callable(struct run *r, struct val v, struct val arg)
{
    switch (v.type) {
    case VAL_UNDEFINED:
    case VAL_FUNCTION:
    case VAL_METHOD:
    case VAL_MACRO:
    case VAL_JOINER:
    case VAL_LOOP:
        return true;
    default:
        return false;
    }
}

static bool is_odd(struct run *r, struct val v, struct val arg)
{
    return val_equal(r, op_binary(r, OP_MOD, v, val_int(2)), val_int(1));
}

static bool is_even(struct run *r, struct val v, struct val arg)
{
    return val_equal(r, op_binary(r, OP_MOD, v, val_int(2)), val_int(0));
}

static bool is_divisible_by(struct run *r, struct val v, struct val arg)
{
    struct val rest = op_binary(r, OP_MOD, v, arg);

    return val_is_number(rest) && val_to_double(rest) == 0;
}

static bool is_lower(struct run *r, struct val v, struct val arg)
{
    struct str *s = repr_str(r, v);

    return str_equal(s, str_lower(r, s)) && !str_equal(s, str_upper(r, s));
}

static bool is_upper(struct run *r, struct val v, struct val arg)
{
    struct str *s = repr_str(r, v);

    return str_equal(s, str_upper(r, s)) && !str_equal(s, str_lower(r, s));
}

static bool is_same(struct run *r, struct val v, struct val arg)
{
    return v.type == arg.type && (v.type == VAL_NONE || val_equal(r, v, arg)) &&
           (!val_is_list_like(v) || v.seq == arg.seq) && (v.type != VAL_DICT || v.dict == arg.dict);
}

static bool is_escaped(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_STR && v.str->is_markup;
}

static bool is_in(struct run *r, struct val v, struct val arg)
{
    return val_contains(r, arg, v);
}

static bool is_filter(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_STR && filters_find(v.str);
}

static bool is_test(struct run *r, struct val v, struct val arg)
{
    return v.type == VAL_STR && checks_find(v.str);
}

static bool is_equal(struct run *r, struct val v, struct val arg)
{
    return op_compare(r, CMP_EQ, v, arg);
}

static bool is_not_equal(struct run *r, struct val v, struct val arg)
{
    return op_compare(r, CMP_NE, v, arg);
}

static bool is_less(struct run *r, struct val v, struct val arg)
{
    return op_compare(r, CMP_LT, v, arg);
}

static bool is_at_most(struct run *r, struct val v, struct val arg)
{
    return op_compare(r, CMP_LE, v, arg);
}

static bool is_greater(struct run *r, struct val v, struct val arg)
{
    return op_compare(r, CMP_GT, v, arg);
}

static bool is_at_least(struct run *r, struct val v, struct val arg)
{
    return op_compare(r, CMP_GE, v, arg);
}

const struct check *checks_find(const struct str *name)
{
    static const struct check table[] = {
        {"defined", is_defined, 0},
        {"undefined", is_undefined, 0},
        {"none", is_none, 0},
        {"true", is_true, 0},
        {"false", is_false, 0},
        {"boolean", is_boolean, 0},
        {"integer", is_integer, 0},
        {"float", is_float, 0},
        {"number", is_number, 0},
        {"string", is_string, 0},
        {"mapping", is_mapping, 0},
        {"iterable", is_iterable, 0},
        {"sequence", is_sequence, 0},
        {"callable", is_callable, 0},
        {"odd", is_odd, 0},
        {"even", is_even, 0},
        {"divisibleby", is_divisible_by, 1},
        {"lower", is_lower, 0},
        {"upper", is_upper, 0},
        {"sameas", is_same, 1},
        {"escaped", is_escaped, 0},
        {"in", is_in, 1},
        {"filter", is_filter, 0},
        {"test", is_test, 0},
        {"eq", is_equal, 1},
        {"equalto", is_equal, 1},
        {"==", is_equal, 1},
        {"ne", is_not_equal, 1},
        {"!=", is_not_equal, 1},
        {"lt", is_less, 1},
        {"lessthan", is_less, 1},
        {"<", is_less, 1},
        {"le", is_at_most, 1},
        {"<=", is_at_most, 1},
        {"gt", is_greater, 1},
        {"greaterthan", is_greater, 1},
        {">", is_greater, 1},
        {"ge", is_at_least, 1},
        {">=", is_at_least, 1},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (str_is(name, table[i].name))
            return &table[i];
    }
    return NULL;
}

bool checks_apply(struct run *r, const struct check *c, struct val v, const struct arg_list *args)
{
    if (args->n != c->n_args || args->n_named)
        run_fail(r, EINVAL, "the test '%s' takes %zu argument(s), not %zu", c->name, c->n_args,
                 args->n + args->n_named);
    run_step(r, 1);
    return c->test(r, v, args->n ? args->items[0] : val_none());
}
