/* SPDX-License-Identifier: MIT */
#include "model/scales.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool has_product(const struct arch_step *step, enum weight role)
{
    for (; step && step->op != STEP_END; step++)
        if (step->weight == role && (step->op == STEP_MATMUL || step->op == STEP_MATMUL_ADD ||
                                     step->op == STEP_EXPERTS || step->op == STEP_HEADS))
            return true;
    return false;
}

static bool is_multiplied(const struct arch *arch, enum weight role)
{
    for (size_t i = 0; i < ARCH_KINDS_MOST; i++)
        if (has_product(arch->kinds[i].steps, role))
            return true;
    return has_product(arch->before, role) || has_product(arch->after, role);
}

/* Length of a name without ".weight"; 0 where it ends otherwise. */
static int stem_of(const char *name)
{
    static const char end[] = ".weight";
    size_t len = strlen(name), n = sizeof(end) - 1;

    return len > n && !strcmp(name + len - n, end) ? (int)(len - n) : 0;
}

/* A tensor of that name may play a role of its own, as in Gemma 4. */
static bool is_in_table(const struct arch *arch, const char *pattern)
{
    for (const struct arch_weight *row = arch->weights; row->pattern; row++)
        if (!strcmp(row->pattern, pattern))
            return true;
    return false;
}

static int bind_one(const struct model *m, const struct arch_weight *row, const char *weight,
                    const char *end, uint32_t n, const struct gguf_tensor **ret_scale,
                    struct error *err)
{
    const struct gguf_tensor *t;
    char name[128];

    snprintf(name, sizeof(name), "%.*s.%s", stem_of(row->pattern), row->pattern, end);
    if (is_in_table(m->arch, name))
        return 0;
    snprintf(name, sizeof(name), "%.*s.%s", stem_of(weight), weight, end);
    t = gguf_find_tensor(m->gguf, name);
    if (!t)
        return 0;
    if (t->elements != n || t->shape[0] != n)
        return error_set(err, EINVAL,
                         "tensor %s has shape [%llu, %llu, %llu] where %s calls for [%u, 1, 1]",
                         t->name, (unsigned long long)t->shape[0], (unsigned long long)t->shape[1],
                         (unsigned long long)t->shape[2], weight, n);
    if (t->type != GGUF_TYPE_F32)
        return error_set(err, ENOTSUP, "tensor %s is %s: scales must be F32", t->name,
                         gguf_type_name(t->type));
    *ret_scale = t;
    return 0;
}

int scales_bind(struct model *m, const struct arch_weight *row, uint32_t layer,
                struct weight_ref *weight, struct error *err)
{
    const char *name = weight->tensor->name;
    uint32_t n = model_dims(m, layer)[row->planes];
    int r;

    if (!stem_of(row->pattern) || !is_multiplied(m->arch, row->role))
        return 0;
    r = bind_one(m, row, name, "scale", n, &weight->scale, err);
    return r < 0 ? r : bind_one(m, row, name, "input_scale", n, &weight->input_scale, err);
}
