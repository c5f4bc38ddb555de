/* SPDX-License-Identifier: MIT */
/*
 * The Vulkan devices of the machine: what each is, what it can do, and which of the features every
 * kernel needs it lacks. Knows nothing of buffers or programs.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_GPU_H
#define HEARTH_DEVICE_VULKAN_VK_GPU_H

#include "device/vulkan/vk.h"
#include "device/vulkan/vk_dispatch.h"

#include <sys/types.h>

struct vk_gpu {
    VkPhysicalDevice handle;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[160];  /* "radv, Mesa 25.0.7" */
    char missing[512]; /* what of the baseline it lacks, separated by commas; "" when usable */
    VkPhysicalDeviceType type;
    uint32_t vendor_id, device_id, driver_version;
    uint8_t cache_uuid[VK_UUID_SIZE];
    struct vk_caps caps;
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t queue_family;
    uint64_t allocation_max_bytes; /* of one buffer */
    uint64_t host_import_align;
    float timestamp_ns;     /* nanoseconds of one tick; 0: no timestamps */
    bool can_import_host;   /* VK_EXT_external_memory_host */
    bool can_import_dmabuf; /* VK_EXT_external_memory_dma_buf */
    bool can_tell_budget;   /* VK_EXT_memory_budget */
    bool has_drm_node;      /* VK_EXT_physical_device_drm */
    dev_t node;             /* its render node; 0 unknown */
    bool has_matrix_cores;  /* VK_KHR_cooperative_matrix */
    bool is_unified;        /* the CPU's memory is the GPU's own */
};

/* An instance of Vulkan 1.3; fails with a sentence that says what to install. */
int vk_instance_create(VkInstance *ret_instance, struct error *err);

/* Every device of the instance, in the loader's order, also those below the baseline. The list is
 * the caller's to free; it may be empty. */
int vk_gpus_list(VkInstance instance, struct vk_gpu **ret_list, size_t *ret_n, struct error *err);

/* "integrated GPU", "discrete GPU", "CPU", ... */
const char *vk_gpu_kind(const struct vk_gpu *gpu);
/* Index of the largest heap of the GPU's own; -1: it has none. */
int vk_gpu_own_heap(const struct vk_gpu *gpu);
/* Bytes of the memory heap that weights would lie in. */
uint64_t vk_gpu_memory_bytes(const struct vk_gpu *gpu);

/* The device that "auto" takes, or -1: the first usable one among discrete GPUs, then integrated,
 * then virtual ones. */
int vk_gpu_choose(const struct vk_gpu *list, size_t n);

/* Why what is chosen is no GPU although there seems to be one, as an error with a sentence; 0 where
 * a GPU is chosen, or none is to be expected. has_node: the kernel shows one. */
int vk_gpus_explain(const struct vk_gpu *list, size_t n, bool has_node, struct error *err);

/* A logical device of the GPU with all features of the baseline on, and its extensions. */
int vk_gpu_open(const struct vk_gpu *gpu, VkDevice *ret_device, struct error *err);

#endif
