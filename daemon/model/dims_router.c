/* SPDX-License-Identifier: MIT */
#include "model/dims_parts.h"

#include "kernels/args.h"

#include <errno.h>
#include <math.h>

/* expert_gating_func as GGUF numbers it; 0 stands for what the architecture does. */
static int read_gate(const struct gguf *g, const struct arch *arch, struct router_params *p,
                     struct error *err)
{
    static const uint32_t gates[] = {0, GATE_SOFTMAX, GATE_SIGMOID, GATE_CHOSEN};
    uint32_t number;
    int r = dims_get_u32_or(g, arch, "expert_gating_func", 0, &number, err);

    if (r < 0)
        return r;
    if (number >= sizeof(gates) / sizeof(*gates))
        return error_set(err, ENOTSUP,
                         "%s.expert_gating_func is %u: this version knows 1 (softmax), 2 (sigmoid) "
                         "and 3 (softmax of the chosen)",
                         arch->name, number);
    p->gate = number ? gates[number] : arch->router.gate;
    return 0;
}

static int check_experts(const struct arch *arch, const struct dims *d, struct error *err)
{
    const struct router_params *p = &d->router;
    uint32_t n = d->dim[DIM_EXPERTS], used = d->dim[DIM_EXPERTS_USED];

    if (n > EXPERTS_MAX)
        return error_set(err, ENOTSUP, "%s.expert_count is %u: this version takes up to %u",
                         arch->name, n, EXPERTS_MAX);
    if (used > n)
        return error_set(err, EINVAL, "%s.expert_used_count is %u but there are only %u experts",
                         arch->name, used, n);
    if (arch->weighs_inputs && used != 1)
        return error_set(err, ENOTSUP,
                         "%s.expert_used_count is %u: this version weighs the input of one expert "
                         "for each token, not of several",
                         arch->name, used);
    if (n % p->n_groups || !p->n_groups_used || p->n_groups_used > p->n_groups ||
        used > n / p->n_groups * p->n_groups_used)
        return error_set(err, EINVAL,
                         "%s.expert_group_used_count is %u, of %u groups: %u of %u experts cannot "
                         "be chosen so",
                         arch->name, p->n_groups_used, p->n_groups, used, n);
    return 0;
}

int dims_read_router(const struct gguf *g, const struct arch *arch, struct dims *d,
                     struct error *err)
{
    struct router_params *p = &d->router;
    char key[128];
    int r = read_gate(g, arch, p, err);

    p->normalises = arch->router.normalises;
    p->scale = 1.0f;
    dims_key(key, sizeof(key), arch, "expert_weights_norm");
    if (r == 0 && gguf_find(g, key))
        r = gguf_get_bool(g, key, &p->normalises, err);
    dims_key(key, sizeof(key), arch, "expert_weights_scale");
    if (r == 0 && gguf_find(g, key))
        r = gguf_get_f32(g, key, &p->scale, err);
    if (r == 0)
        r = dims_get_u32_or(g, arch, "expert_group_count", 1, &p->n_groups, err);
    if (r == 0)
        r = dims_get_u32_or(g, arch, "expert_group_used_count", 1, &p->n_groups_used, err);
    if (r < 0)
        return r;
    if (!isfinite(p->scale) || p->scale < 0.0f)
        return error_set(err, EINVAL, "%s is %g: no model has that", key, (double)p->scale);
    if (p->scale == 0.0f) /* so converters write that there is none */
        p->scale = 1.0f;
    if (p->n_groups <= 1)
        p->n_groups = p->n_groups_used = 1;
    return check_experts(arch, d, err);
}
