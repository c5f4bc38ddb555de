/* SPDX-License-Identifier: MIT */
/* Filters that make or change numbers, and the few that take anything. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "template/args.h"
#include "template/eval.h"
#include "template/filters.h"
#include "template/number.h"
#include "template/str.h"

static struct val filter_abs(struct run *r, struct val v, const struct arg_list *args)
{
    args_bind(r, "abs", args, "", 0, NULL);
    if (v.type == VAL_FLOAT)
        return val_float(fabs(v.f));
    if (!val_is_int(v) || val_to_int(v) < 0)
        return op_negative(r, v);
    return val_int(val_to_int(v));
}

static struct val filter_int(struct run *r, struct val v, const struct arg_list *args)
{
    struct val a[2];
    int64_t i, base;
    double f;

    args_bind(r, "int", args, "default base", 0, a);
    base = args_int(r, a[1], 10);
    op_need_defined(r, v);
    if (val_is_int(v))
        return val_int(val_to_int(v));
    if (v.type == VAL_FLOAT && !isnan(v.f))
        return val_int(number_truncate(r, v.f));
    if (v.type == VAL_STR) {
        if (number_read_int(r, v.str, base < 0 || base > 36 ? 1 : (int)base, &i))
            return val_int(i);
        if (number_read_float(r, v.str, &f) && !isnan(f))
            return val_int(number_truncate(r, f));
    }
    return args_is_missing(a[0]) ? val_int(0) : a[0];
}

static struct val filter_float(struct run *r, struct val v, const struct arg_list *args)
{
    struct val fallback;
    double f;

    args_bind(r, "float", args, "default", 0, &fallback);
    op_need_defined(r, v);
    if (val_is_number(v))
        return val_float(val_to_double(v));
    if (v.type == VAL_STR && number_read_float(r, v.str, &f))
        return val_float(f);
    return args_is_missing(fallback) ? val_float(0) : fallback;
}

/* To the nearest, ties to even, exactly on the binary value as printf does it. */
static double round_to(double f, int64_t precision)
{
    char out[700];

    if (!isfinite(f) || precision > 300)
        return f;
    if (precision < 0) {
        double unit = pow(10, (double)-precision);

        return isinf(unit) ? 0 : nearbyint(f / unit) * unit;
    }
    snprintf(out, sizeof(out), "%.*f", (int)precision, f);
    return strtod(out, NULL);
}

static struct val filter_round(struct run *r, struct val v, const struct arg_list *args)
{
    struct val a[2];
    struct str *method;
    int64_t precision;
    double unit;

    args_bind(r, "round", args, "precision method", 0, a);
    precision = args_int(r, a[0], 0);
    method = args_str(r, a[1]);
    op_need_defined(r, v);
    if (!val_is_number(v))
        run_fail(r, EINVAL, "round needs a number, not '%s'", val_type_name(v));
    if (!method || str_is(method, "common")) {
        if (val_is_int(v) && precision >= 0)
            return val_int(val_to_int(v));
        if (val_is_int(v))
            return val_int(number_truncate(r, round_to(val_to_double(v), precision)));
        return val_float(round_to(v.f, precision));
    }
    unit = pow(10, (double)precision);
    if (str_is(method, "ceil"))
        return val_float(ceil(val_to_double(v) * unit) / unit);
    if (str_is(method, "floor"))
        return val_float(floor(val_to_double(v) * unit) / unit);
    run_fail(r, EINVAL, "round knows the methods common, ceil and floor");
}

static struct val filter_filesizeformat(struct run *r, struct val v, const struct arg_list *args)
{
    static const char *const decimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char *const binary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    struct val is_binary;
    double bytes = 0, base, unit;
    char out[400];
    int i = 0;

    args_bind(r, "filesizeformat", args, "binary", 0, &is_binary);
    op_need_defined(r, v);
    if (val_is_number(v))
        bytes = val_to_double(v);
    else if (v.type != VAL_STR || !number_read_float(r, v.str, &bytes))
        run_fail(r, EINVAL, "filesizeformat needs a number");
    base = args_bool(r, is_binary, false) ? 1024 : 1000;
    if (bytes == 1) {
        strcpy(out, "1 Byte");
    } else if (bytes < base) {
        snprintf(out, sizeof(out), "%.0f Bytes", trunc(bytes));
    } else {
        for (unit = base * base; i < 7 && bytes >= unit; i++)
            unit *= base;
        snprintf(out, sizeof(out), "%.1f %s", base * bytes / unit,
                 (base == 1024 ? binary : decimal)[i]);
    }
    return val_str(str_copy(r, out, strlen(out)));
}

static struct val filter_default(struct run *r, struct val v, const struct arg_list *args)
{
    struct val a[2];

    args_bind(r, "default", args, "default_value boolean", 0, a);
    if (v.type != VAL_UNDEFINED && !(args_bool(r, a[1], false) && !val_truth(r, v)))
        return v;
    return args_is_missing(a[0]) ? val_str(str_literal(r, "")) : a[0];
}

const struct function filters_number[] = {
    {"abs", filter_abs},
    {"int", filter_int},
    {"float", filter_float},
    {"round", filter_round},
    {"filesizeformat", filter_filesizeformat},
    {"default", filter_default},
    {"d", filter_default},
    {NULL, NULL},
};
