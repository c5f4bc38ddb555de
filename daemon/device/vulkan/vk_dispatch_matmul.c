/* SPDX-License-Identifier: MIT */
/* Launches of the kernels that read weights, and of the one that makes their activations. */
#include "device/vulkan/vk_dispatch.h"

int vk_activation_for(const struct vk_caps *caps, enum gguf_type type, uint32_t n_cols,
                      uint32_t max_rows)
{
    return ACT_F32;
}

void vk_launch_embed(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    vk_launch_name_typed(l, "embed", d->weight_type);
    l->groups[0] = vk_groups(caps, d->max_rows, 1);
}

void vk_launch_quantize(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    uint32_t block = (uint32_t)activation_block(d->activation);

    l->groups[0] = vk_groups(caps, (uint64_t)d->max_rows * (d->args.quantize.n_cols / block), 1);
}

void vk_launch_matmul(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    vk_launch_name_typed(l, "matvec", d->weight_type);
    l->groups[0] = vk_groups(caps, d->args.matmul.n_rows, 1);
}
