/* SPDX-License-Identifier: MIT */
/* Arithmetic and comparison as Python does them; integers have 64 bits and overflow is an error. */
#include <errno.h>
#include <math.h>

#include "template/eval.h"
#include "template/repr.h"
#include "template/str.h"

void op_need_defined(struct run *r, struct val v)
{
    const struct undefined *u;
    struct str *name;

    if (v.type != VAL_UNDEFINED)
        return;
    u = v.undefined;
    if (!u)
        run_fail(r, EINVAL, "a value is undefined");
    if (u->hint)
        run_fail(r, EINVAL, "%s", u->hint);
    name = repr_str(r, u->name);
    if (u->is_unsafe)
        run_fail(r, EINVAL, "templates may not use '%.*s' of '%s'",
                 (int)(name->len < 100 ? name->len : 100), name->data, val_type_name(u->object));
    if (!u->has_object)
        run_fail(r, EINVAL, "'%.*s' is undefined", (int)(name->len < 100 ? name->len : 100),
                 name->data);
    run_fail(r, EINVAL, "%s%s has no %s '%.*s'", val_type_name(u->object),
             u->object.type == VAL_NONE ? "" : " object",
             u->name.type == VAL_STR ? "attribute" : "element",
             (int)(name->len < 100 ? name->len : 100), name->data);
}

static const char *const op_names[] = {
    [OP_ADD] = "+",       [OP_SUB] = "-", [OP_MUL] = "*",  [OP_DIV] = "/",
    [OP_FLOORDIV] = "//", [OP_MOD] = "%", [OP_POW] = "**",
};

noreturn static void refuse(struct run *r, enum op op, struct val a, struct val b)
{
    op_need_defined(r, a);
    op_need_defined(r, b);
    if (op == OP_ADD && a.type == VAL_STR)
        run_fail(r, EINVAL, "can only concatenate a string (not '%s') to a string",
                 val_type_name(b));
    run_fail(r, EINVAL, "'%s' does not work between '%s' and '%s'", op_names[op], val_type_name(a),
             val_type_name(b));
}

static int64_t int_floordiv(int64_t a, int64_t b)
{
    int64_t q = a / b;

    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static struct val int_power(struct run *r, int64_t base, int64_t exp)
{
    int64_t result = 1;

    if (exp < 0) {
        if (!base)
            run_fail(r, EINVAL, "zero cannot be raised to a negative power");
        return val_float(pow((double)base, (double)exp));
    }
    for (; exp; exp >>= 1) {
        if ((exp & 1) && __builtin_mul_overflow(result, base, &result))
            run_fail(r, EINVAL, "an integer does not fit into 64 bits");
        if (exp > 1 && __builtin_mul_overflow(base, base, &base))
            run_fail(r, EINVAL, "an integer does not fit into 64 bits");
    }
    return val_int(result);
}

static struct val int_binary(struct run *r, enum op op, int64_t a, int64_t b)
{
    int64_t result = 0;
    bool overflow = false;

    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && !b)
        run_fail(r, EINVAL, "division by zero");
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case OP_DIV:
        return val_float((double)a / (double)b);
    case OP_FLOORDIV:
    case OP_MOD:
        if (b == -1) {
            overflow = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &result);
            break;
        }
        result = int_floordiv(a, b);
        if (op == OP_MOD)
            result = a - result * b;
        break;
    case OP_POW:
        return int_power(r, a, b);
    }
    if (overflow)
        run_fail(r, EINVAL, "an integer does not fit into 64 bits");
    return val_int(result);
}

static struct val float_binary(struct run *r, enum op op, double a, double b)
{
    double m;

    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        run_fail(r, EINVAL, "division by zero");
    switch (op) {
    case OP_ADD:
        return val_float(a + b);
    case OP_SUB:
        return val_float(a - b);
    case OP_MUL:
        return val_float(a * b);
    case OP_DIV:
        return val_float(a / b);
    case OP_POW:
        m = pow(a, b);
        if ((isnan(m) && !isnan(a) && !isnan(b)) || (isinf(m) && isfinite(a) && isfinite(b)))
            run_fail(r, EINVAL, "%g ** %g has no result that is a real number", a, b);
        return val_float(m);
    default:
        m = fmod(a, b);
        if (m != 0 && (m < 0) != (b < 0))
            m += b;
        else if (m == 0)
            m = copysign(0.0, b);
        return val_float(op == OP_MOD ? m : floor((a - m) / b + 0.5));
    }
}

static struct val add_sequences(struct run *r, struct val a, struct val b)
{
    struct seq *both = seq_create(r, a.seq->len + b.seq->len);

    for (size_t i = 0; i < a.seq->len; i++)
        seq_push(r, both, a.seq->items[i]);
    for (size_t i = 0; i < b.seq->len; i++)
        seq_push(r, both, b.seq->items[i]);
    return seq_val(a.type, both);
}

static struct val add_strings(struct run *r, struct str *a, struct str *b)
{
    if (!a->is_markup && !b->is_markup)
        return val_str(str_concat(r, a, b));
    return val_str(str_as_markup(r, str_concat(r, str_escape(r, a), str_escape(r, b))));
}

static struct val repeat(struct run *r, struct val v, int64_t times)
{
    struct seq *all;

    if (v.type == VAL_STR) {
        struct str *s = str_repeat(r, v.str, times);

        s->is_markup = v.str->is_markup;
        return val_str(s);
    }
    all = seq_create(r, 0);
    for (int64_t k = 0; v.seq->len && k < times; k++) {
        for (size_t i = 0; i < v.seq->len; i++)
            seq_push(r, all, v.seq->items[i]);
    }
    return seq_val(v.type, all);
}

static bool can_repeat(struct val v)
{
    return v.type == VAL_STR || val_is_list_like(v);
}

struct val op_binary(struct run *r, enum op op, struct val a, struct val b)
{
    if (val_is_int(a) && val_is_int(b))
        return int_binary(r, op, val_to_int(a), val_to_int(b));
    if (val_is_number(a) && val_is_number(b))
        return float_binary(r, op, val_to_double(a), val_to_double(b));
    if (op == OP_ADD && a.type == VAL_STR && b.type == VAL_STR)
        return add_strings(r, a.str, b.str);
    if (op == OP_ADD && a.type == b.type && val_is_list_like(a))
        return add_sequences(r, a, b);
    if (op == OP_MUL && can_repeat(a) && val_is_int(b))
        return repeat(r, a, val_to_int(b));
    if (op == OP_MUL && can_repeat(b) && val_is_int(a))
        return repeat(r, b, val_to_int(a));
    if (op == OP_MOD && a.type == VAL_STR)
        return op_format(r, a.str, b);
    refuse(r, op, a, b);
}

struct val op_negative(struct run *r, struct val v)
{
    if (v.type == VAL_FLOAT)
        return val_float(-v.f);
    if (!val_is_int(v)) {
        op_need_defined(r, v);
        run_fail(r, EINVAL, "'-' does not work on '%s'", val_type_name(v));
    }
    return int_binary(r, OP_SUB, 0, val_to_int(v));
}

static bool is_nan(struct val v)
{
    return v.type == VAL_FLOAT && isnan(v.f);
}

bool op_compare(struct run *r, enum cmp op, struct val a, struct val b)
{
    int order;

    switch (op) {
    case CMP_EQ:
        return val_equal(r, a, b);
    case CMP_NE:
        return !val_equal(r, a, b);
    case CMP_IN:
        return val_contains(r, b, a);
    case CMP_NOT_IN:
        return !val_contains(r, b, a);
    default:
        break;
    }
    op_need_defined(r, a);
    op_need_defined(r, b);
    order = val_compare(r, a, b,
                        op == CMP_LT   ? "<"
                        : op == CMP_LE ? "<="
                        : op == CMP_GT ? ">"
                                       : ">=");
    if (is_nan(a) || is_nan(b))
        return false;
    return op == CMP_LT   ? order < 0
           : op == CMP_LE ? order <= 0
           : op == CMP_GT ? order > 0
                          : order >= 0;
}
