/* SPDX-License-Identifier: MIT */
/* Launches of the kernels around the KV cache, and of the sampler. */
#include "device/vulkan/vk_dispatch.h"

void vk_launch_rope(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    l->groups[0] = vk_groups(caps, (uint64_t)d->max_rows * d->args.rope.n_heads, 1);
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
