/* SPDX-License-Identifier: MIT */
/*
 * The calls of a program: what a command buffer records of each dispatch, which may be several, for
 * parts of it that are short enough. One thread, that of the device.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_CALL_H
#define HEARTH_DEVICE_VULKAN_VK_CALL_H

#include "device/vulkan/vk.h"
#include "device/vulkan/vk_dispatch.h"

struct vk_call {
    VkPipeline pipeline;
    uint32_t first_group; /* in the first dimension */
    uint32_t groups[3];
    uint32_t push_bytes;
    bool barrier;
    uint32_t push[VK_PUSH_BYTES / 4]; /* max_rows, groups of the whole, arguments, points */
    uint32_t first_row, n_rows;       /* of the step, that it is for */
    uint32_t most_positions;          /* that a row can see */
    float position_ns;                /* as in struct vk_launch */
};

/* Growing; to begin with all zero. */
struct vk_calls {
    struct vk_call *list;
    size_t n;
};

/* Adds what the dispatch becomes by its launch. points: the address that a shader with HAS_POINTS
 * finds behind its arguments, or 0. -ENOMEM. */
int vk_calls_add(struct vk_calls *calls, const struct dispatch *d, const struct vk_launch *launch,
                 VkPipeline pipeline, uint64_t points);
void vk_calls_finish(struct vk_calls *calls);

/* The most that the call may take in a step of n_tokens rows that see up to n_positions each (0:
 * unknown), on the slowest GPU; 0 where that does not hang on positions. */
uint64_t vk_call_bound_ns(const struct vk_call *c, uint32_t n_tokens, uint32_t n_positions);

#endif
