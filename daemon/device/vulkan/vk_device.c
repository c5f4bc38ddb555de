/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_device.h"

#include "device/vulkan/vk_amdgpu.h"
#include "device/vulkan/vk_fault.h"
#include "device/vulkan/vk_pipelines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS 4096u

int vk_device_fail(struct vk_device *vk, VkResult result, struct error *err, const char *what)
{
    if (result == VK_ERROR_DEVICE_LOST)
        atomic_store(&vk->device.is_lost, true);
    return vk_fail(err, result, "%s: %s", vk->gpu.name, what);
}

int vk_device_check(const struct vk_device *vk, struct error *err)
{
    return device_is_lost(&vk->device)
               ? error_set(err, EIO, "%s is lost: the GPU was reset or hung", vk->gpu.name)
               : 0;
}

static void vk_destroy(struct device *dev)
{
    struct vk_device *vk = vk_device_of(dev);

    if (vk->handle) {
        vkDeviceWaitIdle(vk->handle);
        buffer_destroy(vk->points);
        vk_pipelines_destroy(vk->pipelines);
        vkDestroyCommandPool(vk->handle, vk->transfer_pool, NULL);
        vkDestroySemaphore(vk->handle, vk->timeline, NULL);
        vkDestroyDevice(vk->handle, NULL);
    }
    if (vk->instance)
        vkDestroyInstance(vk->instance, NULL);
    free(vk);
}

static int vk_activation(const struct device *dev, enum gguf_type type, uint32_t n_cols,
                         uint32_t max_rows)
{
    const struct vk_device *vk = (const struct vk_device *)(const void *)dev;

    return vk_activation_for(&vk->gpu.caps, type, n_cols, max_rows);
}

static uint32_t vk_splits(const struct device *dev, const struct args_attention *a,
                          uint32_t max_rows)
{
    const struct vk_device *vk = (const struct vk_device *)(const void *)dev;

    return vk_attention_splits(&vk->gpu.caps, a, max_rows);
}

static void vk_get_pipelines(const struct device *dev, struct device_pipelines *ret_pipelines)
{
    const struct vk_device *vk = (const struct vk_device *)(const void *)dev;

    vk_pipelines_count(vk->pipelines, ret_pipelines);
}

static const struct device_ops vk_ops = {
    .destroy = vk_destroy,
    .activation_for = vk_activation,
    .attention_splits = vk_splits,
    .buffer_create = vk_buffer_create,
    .buffer_import = vk_buffer_import,
    .buffer_destroy = vk_buffer_destroy,
    .program_create = vk_program_create,
    .program_destroy = vk_program_destroy,
    .prepare = vk_prepare,
    .get_pipelines = vk_get_pipelines,
    .free_bytes = vk_free_bytes,
    .submit = vk_submit,
    .program_show_step = vk_program_show_step,
    .program_busy_ns = vk_program_busy_ns,
    .wait = vk_wait,
};

/* ---- choosing ---- */

/* "[N][:SUBGROUP]": *ret_index is -1 where no device was named. */
static int parse_options(const char *options, long *ret_index, unsigned long *ret_subgroup,
                         struct error *err)
{
    const char *p = options;
    char *end;

    *ret_index = -1;
    *ret_subgroup = 0;
    if (*p && *p != ':') {
        *ret_index = strtol(p, &end, 10);
        if (*p < '0' || *p > '9' || *ret_index > 15 || (*end && *end != ':'))
            goto bad;
        p = end;
    }
    if (*p == ':') {
        *ret_subgroup = strtoul(p + 1, &end, 10);
        if (p[1] < '0' || p[1] > '9' || *end || *ret_subgroup > 128)
            goto bad;
    }
    return 0;
bad:
    return error_set(err, EINVAL,
                     "vulkan:%s: write vulkan, vulkan:N (a number that `hearth devices` lists) or "
                     "vulkan:N:SUBGROUP",
                     options);
}

static int choose(struct vk_device *vk, long index, struct error *err)
{
    struct vk_gpu *list = NULL;
    bool is_named = index >= 0;
    size_t n = 0;
    int r = vk_gpus_list(vk->instance, &list, &n, err);

    if (r < 0)
        return r;
    if (!n)
        r = error_set(err, ENODEV,
                      "Vulkan finds no device: is a driver installed (mesa-vulkan-drivers), and "
                      "may this user open /dev/dri/renderD128 (group render)?");
    else if (index >= (long)n)
        r = error_set(err, ENODEV, "there is no Vulkan device %ld: `hearth devices` lists them",
                      index);
    if (r == 0 && index < 0)
        index = vk_gpu_choose(list, n);
    /* asked for by name, any that works will do, also one that computes on the CPU */
    for (size_t i = 0; r == 0 && index < 0 && i < n; i++)
        if (!list[i].missing[0])
            index = (long)i;
    if (r == 0 && index < 0)
        index = 0;
    if (r == 0 && list[index].missing[0])
        r = error_set(err, ENOTSUP, "%s (%s) lacks what the kernels need: %s", list[index].name,
                      list[index].driver, list[index].missing);
    if (r == 0)
        vk->gpu = list[index];
    if (r == 0 && !is_named && vk->gpu.type == VK_PHYSICAL_DEVICE_TYPE_CPU)
        vk_gpus_explain(list, n, device_has_gpu_node(), &vk->passed);
    free(list);
    return r;
}

/* Fixes the subgroup size for every kernel, for tests of one. */
static int force_subgroup(struct vk_gpu *gpu, unsigned long size, struct error *err)
{
    struct vk_caps *caps = &gpu->caps;

    if (!size)
        return 0;
    if (size < caps->subgroup_min || size > caps->subgroup_max || (size & (size - 1)))
        return error_set(err, EINVAL, "%s has subgroups of %u to %u, not of %lu", gpu->name,
                         caps->subgroup_min, caps->subgroup_max, size);
    caps->subgroup_default = caps->subgroup_min = caps->subgroup_max = (uint32_t)size;
    return 0;
}

/* ---- creation ---- */

static int open_gpu(struct vk_device *vk, struct error *err)
{
    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo semaphore = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &type,
    };
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = vk->gpu.queue_family,
    };
    VkResult result;
    int r = vk_gpu_open(&vk->gpu, &vk->handle, err);

    if (r < 0)
        return r;
    vkGetDeviceQueue(vk->handle, vk->gpu.queue_family, 0, &vk->queue);
    result = vkCreateSemaphore(vk->handle, &semaphore, NULL, &vk->timeline);
    if (result == VK_SUCCESS)
        result = vkCreateCommandPool(vk->handle, &pool, NULL, &vk->transfer_pool);
    if (result != VK_SUCCESS)
        return vk_device_fail(vk, result, err, "the device cannot be set up");
    return vk_pipelines_create(vk->handle, &vk->gpu, &vk->pipelines, err);
}

/* Adds a sentence; "" adds none. */
static void add_note(struct device_info *info, const char *text)
{
    size_t n = strlen(info->note);

    if (*text)
        snprintf(info->note + n, sizeof(info->note) - n, "%s%s", n ? "; " : "", text);
}

/* A GPU whose driver counts its memory where this process may not look. */
static void add_memory_note(struct vk_device *vk)
{
    struct vk_amdgpu_memory memory;
    struct error err = {0};

    if (!vk->gpu.node || vk_amdgpu_query(vk->gpu.node, &memory, &err) == 0 || !err.code)
        return;
    error_prefix(&err, "what the GPU has left is not known");
    add_note(&vk->device.info, err.text);
}

static void fill_info(struct vk_device *vk)
{
    const char *cache = vk_pipelines_note(vk->pipelines);
    struct device_info *info = &vk->device.info;

    snprintf(info->name, sizeof(info->name), "vulkan: %.60s (%.55s)", vk->gpu.name, vk->gpu.driver);
    info->backend = "vulkan";
    info->memory_bytes = vk_gpu_memory_bytes(&vk->gpu);
    info->max_rows = MAX_ROWS;
    info->exact_rows = DEVICE_FEW_ROWS;
    vk->device.advised_rows = VK_FIRST_ROWS;
    info->is_zero_copy = vk->gpu.is_unified && vk->gpu.can_import_host;
    info->writes_imports = info->is_zero_copy; /* drivers pin such memory for writing */
    info->maps_dmabufs = vk->gpu.is_unified && vk->gpu.can_import_dmabuf;
    if (vk->passed.code)
        snprintf(info->note, sizeof(info->note), "no GPU is used: %.120s", vk->passed.text);
    else if (!info->is_zero_copy)
        add_note(info, vk->gpu.is_unified
                           ? "the driver cannot map host memory: weights are copied"
                           : "the GPU has memory of its own: weights are copied into it");
    add_note(info, cache);
    add_memory_note(vk);
}

/* ---- listing ---- */

static void list_abilities(const struct vk_gpu *gpu, char *to, size_t bytes)
{
    int n = snprintf(to, bytes, "subgroups of %u", gpu->caps.subgroup_min);

    if (gpu->caps.subgroup_max != gpu->caps.subgroup_min)
        n += snprintf(to + n, bytes - (size_t)n, " to %u", gpu->caps.subgroup_max);
    snprintf(to + n, bytes - (size_t)n, "%s%s%s%s%s%s", gpu->is_unified ? ", unified memory" : "",
             gpu->can_import_host ? ", maps host memory" : "",
             gpu->can_import_dmabuf ? ", maps dma-bufs" : "",
             gpu->can_tell_budget ? ", tells its memory budget" : "",
             gpu->caps.has_fast_dot8 ? ", 8-bit dot products" : "",
             gpu->has_matrix_cores ? ", matrix cores" : "");
}

static void list_entry(const struct vk_gpu *gpu, size_t index, bool is_chosen,
                       struct device_entry *e)
{
    *e = (struct device_entry){
        .kind = vk_gpu_kind(gpu), .memory_bytes = vk_gpu_memory_bytes(gpu), .is_auto = is_chosen};
    snprintf(e->config, sizeof(e->config), "vulkan:%zu", index);
    snprintf(e->name, sizeof(e->name), "%s", gpu->name);
    snprintf(e->driver, sizeof(e->driver), "%s", gpu->driver);
    snprintf(e->missing, sizeof(e->missing), "%s", gpu->missing);
    list_abilities(gpu, e->abilities, sizeof(e->abilities));
    snprintf(e->why, sizeof(e->why), "%s",
             is_chosen         ? "the first GPU that has all that is needed"
             : gpu->missing[0] ? "it lacks what the kernels need"
             : gpu->type == VK_PHYSICAL_DEVICE_TYPE_CPU
                 ? "it computes on the CPU, where the cpu device is faster"
             : gpu->type == VK_PHYSICAL_DEVICE_TYPE_OTHER ? "it is of no known kind"
                                                          : "another GPU comes first");
}

int vk_device_list(struct device_entry **list, size_t *n, struct error *err)
{
    VkInstance instance = VK_NULL_HANDLE;
    struct vk_gpu *gpus = NULL;
    struct device_entry *more;
    size_t n_gpus = 0;
    int r = vk_instance_create(&instance, err);

    if (r < 0)
        return r;
    r = vk_gpus_list(instance, &gpus, &n_gpus, err);
    more = r == 0 ? realloc(*list, (*n + n_gpus) * sizeof(*more)) : NULL;
    if (more) {
        int chosen = vk_gpu_choose(gpus, n_gpus);

        *list = more;
        for (size_t i = 0; i < n_gpus; i++)
            list_entry(&gpus[i], i, (int)i == chosen, &more[(*n)++]);
        vk_gpus_explain(gpus, n_gpus, device_has_gpu_node(), err);
        if (!n_gpus)
            error_set(err, ENODEV, "Vulkan finds no device: install mesa-vulkan-drivers");
    } else if (r == 0) {
        r = error_set(err, ENOMEM, "out of memory");
    }
    free(gpus);
    vkDestroyInstance(instance, NULL);
    return r;
}

int vk_device_create(const char *options, struct device **ret_device, struct error *err)
{
    struct vk_device *vk = calloc(1, sizeof(*vk));
    unsigned long subgroup;
    long index;
    int r;

    if (!vk)
        return error_set(err, ENOMEM, "out of memory");
    vk->device.ops = &vk_ops;
    r = parse_options(options, &index, &subgroup, err);
    if (r == 0)
        r = vk_fault_plan(getenv("HEARTH_FAULT"), &vk->lose_at_ticket, err);
    if (r == 0)
        r = vk_instance_create(&vk->instance, err);
    if (r == 0)
        r = choose(vk, index, err);
    if (r == 0)
        r = force_subgroup(&vk->gpu, subgroup, err);
    if (r == 0)
        r = open_gpu(vk, err);
    if (r < 0) {
        vk_destroy(&vk->device);
        return r;
    }
    fill_info(vk);
    *ret_device = &vk->device;
    return 0;
}
