/* SPDX-License-Identifier: MIT */
/*
 * Pipelines by shader and constants, each made once; and the driver's compiled code on disk from
 * one start to the next. Belongs to the device's thread.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_PIPELINES_H
#define HEARTH_DEVICE_VULKAN_VK_PIPELINES_H

#include "device/vulkan/vk_gpu.h"

struct vk_pipelines;

/* The device must outlive it. */
int vk_pipelines_create(VkDevice device, const struct vk_gpu *gpu,
                        struct vk_pipelines **ret_pipelines, struct error *err);
/* Writes what was compiled to disk; NULL is fine. */
void vk_pipelines_destroy(struct vk_pipelines *p);

/* The pipeline of a launch, compiled now if it is new. It stays the table's. */
int vk_pipelines_get(struct vk_pipelines *p, const struct vk_launch *launch,
                     VkPipeline *ret_pipeline, struct error *err);
VkPipelineLayout vk_pipelines_layout(const struct vk_pipelines *p);
/* How many were compiled in this run, and how many of them the driver had to compile anew rather
 * than take from the cache. */
void vk_pipelines_counts(const struct vk_pipelines *p, uint32_t *ret_made, uint32_t *ret_compiled);
/* Why the cache on disk is not used, a sentence; "" when it is. */
const char *vk_pipelines_note(const struct vk_pipelines *p);

#endif
