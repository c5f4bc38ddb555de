/* SPDX-License-Identifier: MIT */
#include "model/model_size.h"

/* How the steps use what plays a role. */
enum { USE_LOOKUP = 1 << 0, USE_WHOLE = 1 << 1, USE_EXPERTS = 1 << 2 };

struct uses {
    unsigned of[WEIGHT_COUNT];
};

static bool is_of_experts(const struct arch *arch, enum weight role)
{
    for (const struct arch_weight *row = arch->weights; row->pattern; row++)
        if (row->role == role)
            return row->planes == DIM_EXPERTS;
    return false;
}

static void add_steps(struct uses *uses, const struct arch *arch, const struct arch_step *step)
{
    for (; step && step->op != STEP_END; step++) {
        unsigned use = step->op == STEP_EMBED ? USE_LOOKUP : USE_WHOLE;

        if (step->op == STEP_EXPERTS && is_of_experts(arch, step->weight))
            use = USE_EXPERTS;
        uses->of[step->weight] |= use;
        uses->of[step->bias] |= use;
    }
}

static void find_uses(const struct arch *arch, struct uses *ret_uses)
{
    *ret_uses = (struct uses){0};
    add_steps(ret_uses, arch, arch->before);
    for (size_t i = 0; i < ARCH_KINDS_MOST; i++)
        add_steps(ret_uses, arch, arch->kinds[i].steps);
    add_steps(ret_uses, arch, arch->after);
}

/* 0: no layer that is computed has it. */
static unsigned use_of(const struct model *m, const struct uses *uses, const struct gguf_tensor *t)
{
    unsigned use = 0;

    for (uint32_t layer = 0; layer <= m->dims.dim[DIM_LAYERS]; layer++) {
        const struct weight_ref *slots = &m->weights[(size_t)layer * WEIGHT_COUNT];

        for (const struct arch_weight *row = m->arch->weights; row->pattern; row++) {
            if (slots[row->role].tensor == t || slots[row->role].scale == t)
                use |= uses->of[row->role] ? uses->of[row->role] : USE_WHOLE;
            else if (row->fallback && !slots[row->role].tensor && slots[row->fallback].tensor == t)
                use |= uses->of[row->role];
        }
    }
    return use;
}

static uint64_t share(uint64_t n, uint64_t part, uint64_t of)
{
    return n / of * part + n % of * part / of;
}

static void add_tensor(const struct model *m, const struct uses *uses, const struct gguf_tensor *t,
                       struct model_size *size)
{
    unsigned use = use_of(m, uses, t);
    uint64_t parameters = t->elements, bytes = t->bytes;

    size->types[t->type].n_tensors++;
    size->types[t->type].parameters += t->elements;
    size->types[t->type].bytes += t->bytes;
    if (!use)
        return;
    if (use == USE_EXPERTS) {
        uint64_t used = m->dims.dim[DIM_EXPERTS_USED], n = m->dims.dim[DIM_EXPERTS];
        parameters = share(parameters, used, n);
        bytes = share(bytes, used, n);
    } else if (use == USE_LOOKUP) {
        bytes /= t->elements / t->shape[0];
    }
    size->active_parameters += parameters;
    size->token_bytes += bytes;
}

bool model_size_is_looked_up(const struct model *m, const struct gguf_tensor *tensor)
{
    struct uses uses;

    find_uses(m->arch, &uses);
    return use_of(m, &uses, tensor) == USE_LOOKUP;
}

void model_size_get(const struct model *m, struct model_size *ret_size)
{
    struct uses uses;

    find_uses(m->arch, &uses);
    *ret_size = (struct model_size){0};
    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++)
        add_tensor(m, &uses, gguf_tensor(m->gguf, i), ret_size);
}
