/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_dispatch.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Values an invocation of an elementwise kernel takes before the grid grows no further. */
#define VALUES_PER_INVOCATION 4u

uint32_t vk_groups(const struct vk_caps *caps, uint64_t n_items, uint64_t per_group)
{
    uint64_t n = (n_items + per_group - 1) / per_group;

    return n > caps->groups_max ? caps->groups_max : n ? (uint32_t)n : 1;
}

void vk_launch_name_typed(struct vk_launch *l, const char *prefix, enum gguf_type type)
{
    snprintf(l->shader, sizeof(l->shader), "%s_%s", prefix, gguf_type_get_info(type)->name);
    for (char *p = l->shader; *p; p++)
        *p = (char)tolower((unsigned char)*p);
}

static uint32_t elementwise_groups(const struct vk_caps *caps, const struct vk_launch *l,
                                   const struct dispatch *d, uint64_t n_cols)
{
    return vk_groups(caps, d->max_rows * n_cols,
                     (uint64_t)l->workgroup_size * VALUES_PER_INVOCATION);
}

/* Sequences of a step whose state is worked on side by side. */
static uint32_t state_groups(const struct dispatch *d)
{
    return d->max_rows < 16 ? d->max_rows : 16;
}

void vk_launch_for(const struct vk_caps *caps, const struct dispatch *d,
                   struct vk_launch *ret_launch)
{
    struct vk_launch l = {
        .subgroup_size = caps->subgroup_default,
        .workgroup_size = caps->subgroup_default > 128 ? caps->subgroup_default : 128,
        .groups = {1, 1, 1},
    };

    snprintf(l.shader, sizeof(l.shader), "%s", kernel_op_name(d->op));
    switch (d->op) {
    case KERNEL_EMBED:
        vk_launch_embed(caps, d, &l);
        break;
    case KERNEL_RMS_NORM:
        l.groups[0] = vk_groups(caps, (uint64_t)d->max_rows * d->args.rms_norm.n_groups, 1);
        break;
    case KERNEL_LAYER_NORM:
        l.groups[0] = vk_groups(caps, d->max_rows, 1);
        break;
    case KERNEL_QUANTIZE:
        vk_launch_quantize(caps, d, &l);
        break;
    case KERNEL_MATMUL:
        vk_launch_matmul(caps, d, &l);
        break;
    case KERNEL_ROPE:
        vk_launch_rope(caps, d, &l);
        break;
    case KERNEL_KV_STORE:
        vk_launch_kv_store(caps, d, &l);
        break;
    case KERNEL_ATTENTION:
        vk_launch_attention(caps, d, &l);
        break;
    case KERNEL_ATTENTION_COMBINE:
        l.groups[0] = vk_groups(caps, (uint64_t)d->max_rows * d->args.attention_combine.n_heads, 1);
        break;
    case KERNEL_INDEX_SCORES:
        vk_launch_index_scores(caps, d, &l);
        break;
    case KERNEL_INDEX_CHOOSE:
        l.groups[0] = vk_groups(caps, d->max_rows, 1);
        break;
    case KERNEL_GLU:
        l.groups[0] = elementwise_groups(caps, &l, d, d->args.glu.n_cols);
        break;
    case KERNEL_ADD:
        l.groups[0] = elementwise_groups(caps, &l, d, d->args.add.n_cols);
        break;
    case KERNEL_SOFTCAP:
        l.groups[0] = elementwise_groups(caps, &l, d, d->args.softcap.n_cols);
        break;
    case KERNEL_ROUTE: /* a subgroup for each token */
        l.workgroup_size = l.subgroup_size;
        l.groups[0] = vk_groups(caps, d->max_rows, 1);
        break;
    case KERNEL_EXPERT_ROWS: /* and for each expert */
        l.workgroup_size = l.subgroup_size;
        l.groups[0] = vk_groups(caps, d->args.expert_rows.n_experts, 1);
        break;
    case KERNEL_MATMUL_EXPERTS:
        vk_launch_matmul_experts(caps, d, &l);
        break;
    case KERNEL_SCALE:
        l.groups[0] = vk_groups(caps, (uint64_t)d->args.scale.n_used * d->args.scale.n_cols,
                                l.workgroup_size);
        l.groups[1] = d->max_rows;
        break;
    case KERNEL_EXPERT_SUM:
        l.groups[0] = vk_groups(caps, d->args.expert_sum.n_cols, l.workgroup_size);
        l.groups[1] = d->max_rows;
        break;
    case KERNEL_SHORT_CONV: /* of each sequence, channels */
        l.groups[0] = vk_groups(caps, d->args.short_conv.n_cols, l.workgroup_size);
        l.groups[1] = state_groups(d);
        break;
    case KERNEL_DELTA_NET: /* of each sequence, columns of heads' states */
        l.groups[0] = vk_groups(
            caps,
            (uint64_t)d->args.delta_net.n_heads_v *
                ((d->args.delta_net.n_channels_v + l.workgroup_size - 1) / l.workgroup_size),
            1);
        l.groups[1] = state_groups(d);
        break;
    case KERNEL_COPY:
        l.groups[0] =
            vk_groups(caps, (uint64_t)d->args.copy.n_groups * d->args.copy.n, l.workgroup_size);
        l.groups[1] = d->max_rows;
        break;
    case KERNEL_GATHER:
        l.groups[0] = vk_groups(caps, d->max_rows, 1);
        break;
    case KERNEL_SAMPLE:
        vk_launch_sample(caps, d, &l);
        break;
    case KERNEL_OP_COUNT:
        break;
    }
    *ret_launch = l;
}

bool vk_launch_is_same_pipeline(const struct vk_launch *a, const struct vk_launch *b)
{
    return a->subgroup_size == b->subgroup_size && a->workgroup_size == b->workgroup_size &&
           a->n_constants == b->n_constants && !strcmp(a->shader, b->shader) &&
           !memcmp(a->constants, b->constants, a->n_constants * sizeof(*a->constants));
}

size_t vk_args_bytes(enum kernel_op op)
{
    static const size_t sizes[KERNEL_OP_COUNT] = {
        [KERNEL_EMBED] = sizeof(struct args_embed),
        [KERNEL_RMS_NORM] = sizeof(struct args_rms_norm),
        [KERNEL_LAYER_NORM] = sizeof(struct args_layer_norm),
        [KERNEL_QUANTIZE] = sizeof(struct args_quantize),
        [KERNEL_MATMUL] = sizeof(struct args_matmul),
        [KERNEL_ROPE] = sizeof(struct args_rope),
        [KERNEL_KV_STORE] = sizeof(struct args_kv_store),
        [KERNEL_ATTENTION] = sizeof(struct args_attention),
        [KERNEL_ATTENTION_COMBINE] = sizeof(struct args_attention_combine),
        [KERNEL_INDEX_SCORES] = sizeof(struct args_index_scores),
        [KERNEL_INDEX_CHOOSE] = sizeof(struct args_index_choose),
        [KERNEL_GLU] = sizeof(struct args_glu),
        [KERNEL_ADD] = sizeof(struct args_add),
        [KERNEL_SOFTCAP] = sizeof(struct args_softcap),
        [KERNEL_ROUTE] = sizeof(struct args_route),
        [KERNEL_EXPERT_ROWS] = sizeof(struct args_expert_rows),
        [KERNEL_MATMUL_EXPERTS] = sizeof(struct args_matmul_experts),
        [KERNEL_SCALE] = sizeof(struct args_scale),
        [KERNEL_EXPERT_SUM] = sizeof(struct args_expert_sum),
        [KERNEL_SHORT_CONV] = sizeof(struct args_short_conv),
        [KERNEL_DELTA_NET] = sizeof(struct args_delta_net),
        [KERNEL_COPY] = sizeof(struct args_copy),
        [KERNEL_GATHER] = sizeof(struct args_gather),
        [KERNEL_SAMPLE] = sizeof(struct args_sample),
    };

    return sizes[op];
}
