/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_pipelines.h"

#include "device/vulkan/vk_cache_file.h"
#include "kernels/shaders.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_OWN_CONSTANT = 2,
    UNUSED_SECONDS = 90 * 86400, /* after which another driver's file is thrown away */
};

struct entry {
    struct vk_launch key; /* its groups do not count */
    VkPipeline pipeline;
};

struct vk_pipelines {
    VkDevice device;
    const struct vk_gpu *gpu;
    VkPipelineLayout layout;
    VkPipelineCache cache;
    struct entry *entries;
    size_t n_entries;
    uint32_t n_unsaved;  /* since the file was written: compiled anew, or maybe */
    uint32_t n_compiled; /* not found in the file, if the driver tells that */
    bool tells_compiled;
    uint64_t shaders;      /* their digest */
    uint64_t saved_digest; /* of the driver's data in the file; 0: none */
    char path[PATH_MAX];   /* of the file; "" when there is no place for one */
    char note[256];
};

/* FNV-1a, 64 bits, going on from h. */
static uint64_t digest(uint64_t h, const void *data, size_t n)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

#define DIGEST_FIRST 0xcbf29ce484222325u

/* Of all shaders of this build: code compiled from others would only grow the file. */
static uint64_t shaders_digest(void)
{
    uint64_t h = DIGEST_FIRST;

    for (size_t i = 0; shader_at(i); i++) {
        h = digest(h, shader_at(i)->name, strlen(shader_at(i)->name));
        h = digest(h, shader_at(i)->words, shader_at(i)->bytes);
    }
    return h;
}

/* One file for each driver and device: the driver's own identifier is in its name. */
static void choose_path(struct vk_pipelines *p)
{
    struct error err = {0};
    char name[96];
    int n =
        snprintf(name, sizeof(name), "pipelines-%04x-%04x-", p->gpu->vendor_id, p->gpu->device_id);

    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        n += snprintf(name + n, sizeof(name) - (size_t)n, "%02x", p->gpu->cache_uuid[i]);
    if (vk_cache_file_path(name, p->path, sizeof(p->path)) < 0)
        snprintf(p->note, sizeof(p->note),
                 "compiled shaders are not kept: there is no cache directory (HOME is not set)");
    else if (vk_cache_file_check(p->path, &err) < 0)
        snprintf(p->note, sizeof(p->note), "compiled shaders are not kept: %.160s", err.text);
    if (p->note[0])
        p->path[0] = '\0';
}

static int create_cache(struct vk_pipelines *p, struct error *err)
{
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    void *data = NULL;
    size_t bytes = 0;
    VkResult r;

    if (p->path[0] && vk_cache_file_read(p->path, &data, &bytes) == 0 && bytes > sizeof(uint64_t) &&
        *(uint64_t *)data == p->shaders) {
        info.pInitialData = (char *)data + sizeof(uint64_t);
        info.initialDataSize = bytes - sizeof(uint64_t);
        p->saved_digest = digest(DIGEST_FIRST, info.pInitialData, info.initialDataSize);
    }
    r = vkCreatePipelineCache(p->device, &info, NULL, &p->cache);
    free(data);
    return r == VK_SUCCESS ? 0 : vk_fail(err, r, "a pipeline cache cannot be made");
}

int vk_pipelines_create(VkDevice device, const struct vk_gpu *gpu,
                        struct vk_pipelines **ret_pipelines, struct error *err)
{
    const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, VK_PUSH_BYTES};
    const VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    struct vk_pipelines *p = calloc(1, sizeof(*p));
    VkResult r;
    int e;

    if (!p)
        return error_set(err, ENOMEM, "out of memory");
    p->device = device;
    p->gpu = gpu;
    p->shaders = shaders_digest();
    choose_path(p);
    e = create_cache(p, err);
    if (e < 0)
        goto fail;
    r = vkCreatePipelineLayout(device, &info, NULL, &p->layout);
    if (r != VK_SUCCESS) {
        e = vk_fail(err, r, "a pipeline layout cannot be made");
        goto fail;
    }
    *ret_pipelines = p;
    return 0;
fail:
    vk_pipelines_destroy(p);
    return e;
}

void vk_pipelines_save(struct vk_pipelines *p)
{
    struct error err = {0};
    uint64_t now_digest;
    size_t bytes = 0;
    uint64_t *data; /* the shaders' digest, then what the driver gives */

    if (!p->n_unsaved || !p->path[0] || !p->cache ||
        vkGetPipelineCacheData(p->device, p->cache, &bytes, NULL) != VK_SUCCESS || !bytes)
        return;
    p->n_unsaved = 0;
    data = malloc(sizeof(*data) + bytes);
    if (!data || vkGetPipelineCacheData(p->device, p->cache, &bytes, data + 1) != VK_SUCCESS)
        goto out;
    now_digest = digest(DIGEST_FIRST, data + 1, bytes);
    if (now_digest == p->saved_digest)
        goto out;
    p->saved_digest = now_digest;
    *data = p->shaders;
    if (vk_cache_file_write(p->path, data, sizeof(*data) + bytes, &err) < 0)
        p->path[0] = '\0'; /* not again at every program; a later start tries anew and tells */
    else
        vk_cache_file_prune(p->path, UNUSED_SECONDS);
out:
    free(data);
}

void vk_pipelines_destroy(struct vk_pipelines *p)
{
    if (!p)
        return;
    vk_pipelines_save(p);
    for (size_t i = 0; i < p->n_entries; i++)
        vkDestroyPipeline(p->device, p->entries[i].pipeline, NULL);
    vkDestroyPipelineLayout(p->device, p->layout, NULL);
    vkDestroyPipelineCache(p->device, p->cache, NULL);
    free(p->entries);
    free(p);
}

static int compile(struct vk_pipelines *p, const struct vk_launch *l, VkPipeline *ret_pipeline,
                   struct error *err)
{
    const struct shader *shader = shader_find(l->shader);
    const VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = shader ? shader->bytes : 0,
        .pCode = shader ? shader->words : NULL,
    };
    uint32_t values[FIRST_OWN_CONSTANT + VK_CONSTANTS_MOST] = {l->subgroup_size, l->workgroup_size};
    VkSpecializationMapEntry map[FIRST_OWN_CONSTANT + VK_CONSTANTS_MOST];
    const VkSpecializationInfo constants = {FIRST_OWN_CONSTANT + l->n_constants, map,
                                            sizeof(values), values};
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = l->subgroup_size,
    };
    VkPipelineCreationFeedback feedback = {0};
    const VkPipelineCreationFeedbackCreateInfo feedback_info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO,
        .pPipelineCreationFeedback = &feedback,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .pNext = &feedback_info,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT, /* what is run in parts */
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .pName = "main",
                .pSpecializationInfo = &constants,
            },
        .layout = p->layout,
    };
    VkResult r;

    if (!shader)
        return error_set(err, ENOTSUP, "this build has no shader %s", l->shader);
    memcpy(values + FIRST_OWN_CONSTANT, l->constants, sizeof(l->constants));
    for (uint32_t i = 0; i < constants.mapEntryCount; i++)
        map[i] = (VkSpecializationMapEntry){i, i * 4, 4};
    if (p->gpu->caps.can_choose_subgroup)
        info.stage.pNext = &subgroup;
    r = vkCreateShaderModule(p->device, &module, NULL, &info.stage.module);
    if (r != VK_SUCCESS)
        return vk_fail(err, r, "shader %s", l->shader);
    r = vkCreateComputePipelines(p->device, p->cache, 1, &info, NULL, ret_pipeline);
    vkDestroyShaderModule(p->device, info.stage.module, NULL);
    if (r != VK_SUCCESS)
        return vk_fail(err, r, "shader %s cannot be compiled", l->shader);
    if (!(feedback.flags & VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT)) {
        p->n_unsaved++;
    } else if (!(feedback.flags &
                 VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT)) {
        p->n_unsaved++;
        p->n_compiled++;
    }
    p->tells_compiled |= feedback.flags & VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT;
    return 0;
}

int vk_pipelines_get(struct vk_pipelines *p, const struct vk_launch *launch,
                     VkPipeline *ret_pipeline, struct error *err)
{
    struct entry *more;
    int r;

    for (size_t i = 0; i < p->n_entries; i++) {
        if (vk_launch_is_same_pipeline(&p->entries[i].key, launch)) {
            *ret_pipeline = p->entries[i].pipeline;
            return 0;
        }
    }
    more = realloc(p->entries, (p->n_entries + 1) * sizeof(*more));
    if (!more)
        return error_set(err, ENOMEM, "out of memory");
    p->entries = more;
    more[p->n_entries] = (struct entry){.key = *launch};
    r = compile(p, launch, &more[p->n_entries].pipeline, err);
    if (r < 0)
        return r;
    *ret_pipeline = more[p->n_entries++].pipeline;
    return 0;
}

void vk_pipelines_count(const struct vk_pipelines *p, struct device_pipelines *ret_pipelines)
{
    *ret_pipelines =
        (struct device_pipelines){(uint32_t)p->n_entries, p->n_compiled, p->tells_compiled};
}

VkPipelineLayout vk_pipelines_layout(const struct vk_pipelines *p)
{
    return p->layout;
}

const char *vk_pipelines_note(const struct vk_pipelines *p)
{
    return p->note;
}
