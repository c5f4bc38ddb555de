/* SPDX-License-Identifier: MIT */
/*
 * Pipelines by shader and constants, each made once; and the driver's compiled code on disk from
 * one start to the next. Belongs to the device's thread.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_PIPELINES_H
#define HEARTH_DEVICE_VULKAN_VK_PIPELINES_H

#include "device/device.h"
#include "device/vulkan/vk_gpu.h"

struct vk_pipelines;

/* The device must outlive it. */
int vk_pipelines_create(VkDevice device, const struct vk_gpu *gpu,
                        struct vk_pipelines **ret_pipelines, struct error *err);
void vk_pipelines_destroy(struct vk_pipelines *p); /* NULL is fine */

/* Writes to disk what was compiled since the last time; nothing when the driver's data did not
 * change. The file is for this driver and for these shaders: with others it counts as damaged. */
void vk_pipelines_save(struct vk_pipelines *p);

/* The pipeline of a launch, compiled now if it is new. It stays the table's. */
int vk_pipelines_get(struct vk_pipelines *p, const struct vk_launch *launch,
                     VkPipeline *ret_pipeline, struct error *err);
void vk_pipelines_count(const struct vk_pipelines *p, struct device_pipelines *ret_pipelines);
VkPipelineLayout vk_pipelines_layout(const struct vk_pipelines *p);
/* Why compiled code is not kept on disk, a sentence; "" when it is. */
const char *vk_pipelines_note(const struct vk_pipelines *p);

#endif
