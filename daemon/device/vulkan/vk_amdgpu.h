/* SPDX-License-Identifier: MIT */
/*
 * The memory of AMD's GPUs as their kernel driver counts it, over all processes: libdrm's figures.
 * Knows nothing of Vulkan. Any thread.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_AMDGPU_H
#define HEARTH_DEVICE_VULKAN_VK_AMDGPU_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct vk_amdgpu_memory {
    uint64_t vram_bytes, vram_used_bytes; /* its own, or what firmware has set aside for it */
    uint64_t gtt_bytes, gtt_used_bytes;   /* what it may map of the machine's */
};

/* node: the device number of the GPU's render node. -ENOTSUP, without a sentence: another driver's.
 * Any other failure has a sentence with the node's path in it. */
int vk_amdgpu_query(dev_t node, struct vk_amdgpu_memory *ret_memory, struct error *err);

#endif
