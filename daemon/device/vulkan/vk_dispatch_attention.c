/* SPDX-License-Identifier: MIT */
/* Launches of the kernels around the KV cache, and of the sampler. */
#include "device/vulkan/vk_dispatch.h"

enum {
    ROPE_FEW_ROWS = 16,
    ROPE_PAIRS = 4, /* that an invocation turns, of few rows */
    ROPE_ROWS = 4,  /* that a workgroup turns, of many */
};

void vk_launch_rope(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    const struct args_rope *a = &d->args.rope;
    uint64_t pairs = (uint64_t)a->n_heads * (a->n_rot / 2);

    /* Few rows: several workgroups share a row. Many: each keeps its pairs' constants for more. */
    if (d->max_rows <= ROPE_FEW_ROWS) {
        l->groups[0] = vk_groups(caps, d->max_rows, 1);
        l->groups[1] = vk_groups(caps, pairs, (uint64_t)l->workgroup_size * ROPE_PAIRS);
    } else {
        l->groups[0] = vk_groups(caps, d->max_rows, ROPE_ROWS);
    }
}

void vk_launch_kv_store(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    l->groups[0] = vk_groups(caps, (uint64_t)d->max_rows * d->args.kv_store.kv.n_kv_heads, 1);
}

void vk_launch_attention(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    l->groups[0] = vk_groups(caps, (uint64_t)d->max_rows * d->args.attention.n_heads, 1);
}

void vk_launch_sample(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    l->groups[0] = vk_groups(caps, d->max_rows, 1);
}
