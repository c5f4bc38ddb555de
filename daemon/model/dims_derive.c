/* SPDX-License-Identifier: MIT */
#include "model/dims_parts.h"

#include "kernels/args.h"

#include <errno.h>

int dims_check_heads(const struct arch *arch, const uint32_t *dim, struct error *err)
{
    uint32_t wider = dim[DIM_HEAD_K] > dim[DIM_HEAD_V] ? dim[DIM_HEAD_K] : dim[DIM_HEAD_V];

    if (dim[DIM_HEADS] % dim[DIM_KV_HEADS])
        return error_set(err, EINVAL,
                         "%s.attention.head_count %u is not a multiple of head_count_kv %u",
                         arch->name, dim[DIM_HEADS], dim[DIM_KV_HEADS]);
    if (dim[DIM_ROPE] % 2 || dim[DIM_ROPE] > dim[DIM_HEAD_K])
        return error_set(err, EINVAL,
                         "%s.rope.dimension_count %u must be even and at most the %u channels of "
                         "a head",
                         arch->name, dim[DIM_ROPE], dim[DIM_HEAD_K]);
    if ((uint64_t)dim[DIM_HEADS] * wider > DIM_LIMIT)
        return error_set(err, EINVAL, "%u heads of %u channels: no model has that", dim[DIM_HEADS],
                         dim[DIM_HEAD_K]);
    return 0;
}

/* Of multi-head latent attention: one head of [rotated part, latent] for all. */
int dims_check_latents(const struct arch *arch, const struct dims *d, struct error *err)
{
    const uint32_t *dim = d->dim;

    if (!dim[DIM_KV_RANK])
        return 0;
    if (dim[DIM_KV_HEADS] != 1 || dim[DIM_HEAD_K] != dim[DIM_KV_RANK] + dim[DIM_ROPE] ||
        dim[DIM_HEAD_V] != dim[DIM_KV_RANK])
        return error_set(err, EINVAL,
                         "%s.attention.key_length %u and value_length %u of %u heads are not those "
                         "of a latent of %u channels (kv_lora_rank) with %u rotated ones",
                         arch->name, dim[DIM_HEAD_K], dim[DIM_HEAD_V], dim[DIM_KV_HEADS],
                         dim[DIM_KV_RANK], dim[DIM_ROPE]);
    if (dim[DIM_INDEXER_HEAD] &&
        (dim[DIM_INDEXER_HEAD] < dim[DIM_ROPE] || dim[DIM_INDEXER_HEAD] > ATTENTION_CHANNELS_MAX))
        return error_set(err, EINVAL,
                         "%s.attention.indexer.key_length %u must be at least the %u rotated "
                         "channels and at most %u",
                         arch->name, dim[DIM_INDEXER_HEAD], dim[DIM_ROPE], ATTENTION_CHANNELS_MAX);
    if (dim[DIM_HEAD_K_MLA] <= dim[DIM_ROPE])
        return error_set(err, EINVAL,
                         "%s.attention.key_length_mla %u is not above the %u channels that are "
                         "rotated",
                         arch->name, dim[DIM_HEAD_K_MLA], dim[DIM_ROPE]);
    return 0;
}

/* Of layers with a delta rule, and of the attention between them. */
int dims_check_delta(const struct arch *arch, const struct dims *d, struct error *err)
{
    const uint32_t *dim = d->dim;
    uint32_t heads_k = dim[DIM_DELTA_HEADS_K], heads_v = dim[DIM_DELTA_HEADS_V];

    if (!dim[DIM_TAPS])
        return 0;
    if (dim[DIM_LAYERS] < dim[DIM_PERIOD])
        return error_set(err, EINVAL,
                         "%s.full_attention_interval is %u of %u layers: none would have attention",
                         arch->name, dim[DIM_PERIOD], dim[DIM_LAYERS]);
    if (heads_v % heads_k || dim[DIM_DELTA_V] % heads_v)
        return error_set(err, EINVAL,
                         "%s.ssm.inner_size %u in %u heads (time_step_rank) for %u heads of keys "
                         "(group_count): the one must be a multiple of the other",
                         arch->name, dim[DIM_DELTA_V], heads_v, heads_k);
    if (dim[DIM_DELTA_HEAD_K] > DELTA_CHANNELS_MAX ||
        dim[DIM_DELTA_V] / heads_v > DELTA_CHANNELS_MAX)
        return error_set(err, ENOTSUP,
                         "%s.ssm.state_size is %u, with %u channels of a value head: this version "
                         "takes up to %u",
                         arch->name, dim[DIM_DELTA_HEAD_K], dim[DIM_DELTA_V] / heads_v,
                         DELTA_CHANNELS_MAX);
    if (dim[DIM_TAPS] < 2 || dim[DIM_TAPS] > CONV_TAPS_MAX)
        return error_set(err, ENOTSUP, "%s.ssm.conv_kernel is %u: this version takes 2 to %u",
                         arch->name, dim[DIM_TAPS], CONV_TAPS_MAX);
    if (dim[DIM_HEAD_K] != dim[DIM_HEAD_V])
        return error_set(err, EINVAL,
                         "%s.attention.key_length %u is not its value_length %u, of which each "
                         "channel has a gate",
                         arch->name, dim[DIM_HEAD_K], dim[DIM_HEAD_V]);
    return 0;
}

/* Of latents, where there are any. */
static void derive_latents(uint32_t *dim)
{
    if (dim[DIM_KV_RANK])
        dim[DIM_NOPE] = dim[DIM_HEAD_K_MLA] - dim[DIM_ROPE];
}

/* Of delta rules, likewise. */
static void derive_delta(uint32_t *dim)
{
    if (!dim[DIM_TAPS])
        return;
    dim[DIM_DELTA_HEAD_V] = dim[DIM_DELTA_V] / dim[DIM_DELTA_HEADS_V];
    dim[DIM_DELTA_GROUP] = dim[DIM_DELTA_HEADS_V] / dim[DIM_DELTA_HEADS_K];
    dim[DIM_DELTA_GROUP_V] = dim[DIM_DELTA_V] / dim[DIM_DELTA_HEADS_K];
}

/* dim = times * a * b. Each is a number of values that lie in a row. */
struct product {
    enum dim dim;
    uint32_t times;
    enum dim a, b;
};

static const struct product products[] = {
    {DIM_Q, 1, DIM_HEADS, DIM_HEAD_K},
    {DIM_K, 1, DIM_KV_HEADS, DIM_HEAD_K},
    {DIM_V, 1, DIM_KV_HEADS, DIM_HEAD_V},
    {DIM_ATT, 1, DIM_HEADS, DIM_HEAD_V},
    {DIM_Q_GATED, 2, DIM_HEADS, DIM_HEAD_K},
    {DIM_GATE_UP, 2, DIM_FF, DIM_ONE},
    {DIM_Q_MLA, 1, DIM_HEADS, DIM_HEAD_K_MLA},
    {DIM_Q_NOPE, 1, DIM_HEADS, DIM_NOPE},
    {DIM_Q_LATENT, 1, DIM_HEADS, DIM_KV_RANK},
    {DIM_ATT_MLA, 1, DIM_HEADS, DIM_HEAD_V_MLA},
    {DIM_INDEXER_Q, 1, DIM_INDEXER_HEADS, DIM_INDEXER_HEAD},
    {DIM_DELTA_K, 1, DIM_DELTA_HEADS_K, DIM_DELTA_HEAD_K},
    {DIM_DELTA_QK, 2, DIM_DELTA_HEADS_K, DIM_DELTA_HEAD_K},
    {DIM_DELTA_BETA_ALPHA, 2, DIM_DELTA_HEADS_V, DIM_ONE},
    {DIM_DELTA_PAST_K, 2, DIM_DELTA_HEAD_K, DIM_ONE},
    {DIM_CHOICES, 1, DIM_EXPERTS_USED, DIM_CHOICE},
    {DIM_EXPERTS_FF, 1, DIM_EXPERTS_USED, DIM_FF_EXPERT},
    {DIM_EXPERTS_EMBD, 1, DIM_EXPERTS_USED, DIM_EMBD},
    {DIM_GATE_UP_EXPERT, 2, DIM_FF_EXPERT, DIM_ONE},
    {DIM_GATE_UP_EXPERTS, 2, DIM_EXPERTS_USED, DIM_FF_EXPERT},
    {DIM_PER_LAYERS, 1, DIM_LAYERS, DIM_PER_LAYER},
};

/* Where all tokens go through several experts, their files do not say how wide these are together.
 */
static const struct product shared_experts = {DIM_FF_SHARED, 1, DIM_EXPERTS_SHARED, DIM_FF_EXPERT};

/* Most values of a row: sums of some, and bytes of one, are then far below 32 bits. No key alone
 * makes so many (DIM_LIMIT). */
enum { WIDTH_LIMIT = 1 << 24 };

static const char *key_of(const struct arch *arch, enum dim dim)
{
    for (const struct arch_dim *row = arch->dims; row->key; row++)
        if (row->dim == dim)
            return row->key;
    return "another key";
}

static int multiply(const struct arch *arch, const struct product *p, uint32_t *dim,
                    struct error *err)
{
    uint64_t width = (uint64_t)p->times * dim[p->a] * dim[p->b];

    if (width > WIDTH_LIMIT)
        return error_set(err, EINVAL,
                         "%s.%s %u with %s %u makes rows of %llu values: no model has that",
                         arch->name, key_of(arch, p->a), dim[p->a], key_of(arch, p->b), dim[p->b],
                         (unsigned long long)width);
    dim[p->dim] = (uint32_t)width;
    return 0;
}

int dims_derive(const struct arch *arch, uint32_t *dim, struct error *err)
{
    int r = 0;

    dim[DIM_CHOICE] = sizeof(struct expert_choice) / sizeof(uint32_t);
    dim[DIM_ROPE_PAIRS] = dim[DIM_ROPE] / 2;
    derive_latents(dim);
    derive_delta(dim);
    for (size_t i = 0; r == 0 && i < sizeof(products) / sizeof(products[0]); i++)
        r = multiply(arch, &products[i], dim, err);
    if (r == 0 && dim[DIM_EXPERTS_SHARED])
        r = multiply(arch, &shared_experts, dim, err);
    if (r < 0)
        return r;
    dim[DIM_QK] = dim[DIM_Q] + dim[DIM_K];
    dim[DIM_QKV] = dim[DIM_QK] + dim[DIM_V];
    dim[DIM_DELTA_QKV] = dim[DIM_DELTA_QK] + dim[DIM_DELTA_V];
    dim[DIM_DELTA_QKVZ] = dim[DIM_DELTA_QKV] + dim[DIM_DELTA_V];
    dim[DIM_DELTA_PAST_V] = dim[DIM_DELTA_PAST_K] + dim[DIM_DELTA_GROUP_V];
    return 0;
}
