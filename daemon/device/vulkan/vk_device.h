/* SPDX-License-Identifier: MIT */
/*
 * The Vulkan device as its own files see it: one GPU, one queue, one timeline semaphore whose value
 * is the ticket of the last program that ended. Belongs to one thread, but for vk_wait.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_DEVICE_H
#define HEARTH_DEVICE_VULKAN_VK_DEVICE_H

#include "device/device_backend.h"
#include "device/vulkan/vk_gpu.h"

struct vk_pipelines;
struct vk_program;

/* Rows that programs should have while nothing is known of the GPU's speed. */
#define VK_FIRST_ROWS 64u

struct vk_device {
    struct device device; /* first */
    VkInstance instance;
    struct vk_gpu gpu;
    struct error passed; /* why it is no GPU although there seems to be one; code 0: nothing */
    VkDevice handle;
    VkQueue queue;
    VkSemaphore timeline;
    uint64_t last_ticket;
    VkCommandPool transfer_pool; /* for fills and copies at creation */
    struct vk_pipelines *pipelines;
    struct buffer *points;         /* of vk_points.c; NULL until needed */
    uint64_t call_ns_per_row;      /* of the longest call last timed; 0 unknown */
    struct vk_program *unmeasured; /* submitted, until their times are taken; newest first */
    uint64_t lose_at_ticket;       /* a fault made on purpose (vk_fault.h); 0: none */
};

static inline struct vk_device *vk_device_of(struct device *dev)
{
    return (struct vk_device *)(void *)dev;
}

/* What every call does with a result: remembers a lost device. */
int vk_device_fail(struct vk_device *vk, VkResult result, struct error *err, const char *what);

/* -EIO when the device is lost; 0 while it works. */
int vk_device_check(const struct vk_device *vk, struct error *err);

/* ---- vk_memory.c ---- */

int vk_buffer_create(struct device *dev, struct buffer *buf, unsigned usage, struct error *err);
int vk_buffer_import(struct device *dev, struct buffer *buf, const struct memory_import *mem,
                     struct error *err);
void vk_buffer_destroy(struct device *dev, struct buffer *buf);
uint64_t vk_free_bytes(struct device *dev);

/* ---- vk_program.c ---- */

int vk_program_create(struct device *dev, const struct dispatch *list, size_t n,
                      struct program **ret_program, struct error *err);
void vk_program_destroy(struct program *p);
int vk_prepare(struct device *dev, const struct dispatch *list, size_t n, struct error *err);
void vk_program_show_step(struct program *p, const struct step_header *header);
uint64_t vk_program_busy_ns(const struct program *p);
int vk_submit(struct device *dev, struct program *p, uint64_t *ret_ticket, struct error *err);
int vk_wait(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err);

#endif
