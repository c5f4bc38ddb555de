/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_gpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* The loader's library is opened once and stays: drivers do not survive being unloaded. */
static VkResult load_result;

static void load(void)
{
    load_result = volkInitialize();
}

int vk_instance_create(VkInstance *ret_instance, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "hearth",
        .pEngineName = "hearth",
        .apiVersion = VK_API_VERSION_1_3,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &app,
    };
    VkResult r;

    pthread_once(&once, load);
    if (load_result != VK_SUCCESS)
        return error_set(err, ENOTSUP,
                         "there is no Vulkan on this machine (no libvulkan.so.1): install "
                         "libvulkan1 and a driver, such as mesa-vulkan-drivers");
    if (volkGetInstanceVersion() < VK_API_VERSION_1_3)
        return error_set(err, ENOTSUP,
                         "the Vulkan loader is of version %u.%u; 1.3 is needed: upgrade libvulkan1",
                         VK_API_VERSION_MAJOR(volkGetInstanceVersion()),
                         VK_API_VERSION_MINOR(volkGetInstanceVersion()));
    r = vkCreateInstance(&info, NULL, ret_instance);
    if (r == VK_ERROR_INCOMPATIBLE_DRIVER)
        return error_set(err, ENOTSUP,
                         "no Vulkan driver is installed: install mesa-vulkan-drivers");
    if (r != VK_SUCCESS)
        return vk_fail(err, r, "Vulkan cannot be started");
    /* device functions through the loader's dispatch: right for any number of devices */
    volkLoadInstance(*ret_instance);
    return 0;
}

/* ---- the baseline ---- */

/* All the structs that tell features, chained. Filled to ask, or to enable. */
struct features {
    VkPhysicalDeviceFeatures2 core;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceVulkan13Features v13;
};

static void features_chain(struct features *f)
{
    memset(f, 0, sizeof(*f));
    f->core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    f->core.pNext = &f->v11;
    f->v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    f->v11.pNext = &f->v12;
    f->v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    f->v12.pNext = &f->v13;
    f->v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
}

static const struct {
    size_t offset;
    const char *name;
} baseline[] = {
#define FEATURE(PLACE, NAME)                                                                       \
    {                                                                                              \
        offsetof(struct features, PLACE.NAME), #NAME                                               \
    }
    FEATURE(core.features, shaderInt16),
    FEATURE(core.features, shaderInt64),
    FEATURE(v11, storageBuffer16BitAccess),
    FEATURE(v12, storageBuffer8BitAccess),
    FEATURE(v12, shaderFloat16),
    FEATURE(v12, shaderInt8),
    FEATURE(v12, scalarBlockLayout),
    FEATURE(v12, timelineSemaphore),
    FEATURE(v12, bufferDeviceAddress),
    FEATURE(v13, subgroupSizeControl),
    FEATURE(v13, computeFullSubgroups),
    FEATURE(v13, synchronization2),
    FEATURE(v13, maintenance4),
    FEATURE(v13, shaderIntegerDotProduct),
#undef FEATURE
};

static VkBool32 *feature(struct features *f, size_t i)
{
    return (VkBool32 *)(void *)((char *)f + baseline[i].offset);
}

/* Adds to the list of what is missing; what no longer fits ends in dots. */
static void miss(struct vk_gpu *gpu, const char *name)
{
    size_t used = strlen(gpu->missing), left = sizeof(gpu->missing) - used;

    if (left < strlen(name) + 8)
        snprintf(gpu->missing + used, left, "%s", used && left > 4 ? " ..." : "");
    else
        snprintf(gpu->missing + used, left, "%s%s", used ? ", " : "", name);
}

static void check_features(struct vk_gpu *gpu)
{
    struct features f;

    features_chain(&f);
    vkGetPhysicalDeviceFeatures2(gpu->handle, &f.core);
    for (size_t i = 0; i < sizeof(baseline) / sizeof(*baseline); i++)
        if (!*feature(&f, i))
            miss(gpu, baseline[i].name);
}

/* ---- properties ---- */

struct properties {
    VkPhysicalDeviceProperties2 core;
    VkPhysicalDeviceVulkan11Properties v11;
    VkPhysicalDeviceVulkan12Properties v12;
    VkPhysicalDeviceVulkan13Properties v13;
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host;
};

static void properties_get(VkPhysicalDevice handle, bool has_host_import, struct properties *p)
{
    memset(p, 0, sizeof(*p));
    p->core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    p->core.pNext = &p->v11;
    p->v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
    p->v11.pNext = &p->v12;
    p->v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
    p->v12.pNext = &p->v13;
    p->v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES;
    if (has_host_import) {
        p->v13.pNext = &p->host;
        p->host.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT;
    }
    vkGetPhysicalDeviceProperties2(handle, &p->core);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void take_limits(struct vk_gpu *gpu, const struct properties *p)
{
    const VkPhysicalDeviceLimits *l = &p->core.properties.limits;
    bool can_ask = p->v13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;

    gpu->caps = (struct vk_caps){
        .subgroup_default = p->v11.subgroupSize,
        .subgroup_min = can_ask ? p->v13.minSubgroupSize : p->v11.subgroupSize,
        .subgroup_max = can_ask ? p->v13.maxSubgroupSize : p->v11.subgroupSize,
        .can_choose_subgroup = can_ask,
        .workgroup_max =
            least(least(l->maxComputeWorkGroupInvocations, l->maxComputeWorkGroupSize[0]),
                  can_ask ? p->v13.maxComputeWorkgroupSubgroups * least(p->v11.subgroupSize, 32)
                          : UINT32_MAX),
        .shared_bytes = l->maxComputeSharedMemorySize,
        .groups_max = l->maxComputeWorkGroupCount[0],
        .has_fast_dot8 = p->v13.integerDotProduct4x8BitPackedSignedAccelerated,
    };
    gpu->allocation_max_bytes = p->v13.maxBufferSize < p->v11.maxMemoryAllocationSize
                                    ? p->v13.maxBufferSize
                                    : p->v11.maxMemoryAllocationSize;
    gpu->host_import_align = p->host.minImportedHostPointerAlignment;
    gpu->timestamp_ns = l->timestampPeriod;
    if (p->core.properties.apiVersion < VK_API_VERSION_1_3)
        miss(gpu, "Vulkan 1.3");
    if (l->maxPushConstantsSize < VK_PUSH_BYTES)
        miss(gpu, "128 bytes of push constants");
    if (l->maxComputeSharedMemorySize < 32768)
        miss(gpu, "32 KiB of shared memory");
    if (!can_ask && p->v13.minSubgroupSize != p->v13.maxSubgroupSize)
        miss(gpu, "subgroups of one size, or of one that can be asked for");
    /* what launches take for granted: larger workgroups they size by workgroup_max */
    if (gpu->caps.workgroup_max < 128)
        miss(gpu, "workgroups of 128");
}

static void check_subgroups(struct vk_gpu *gpu, const struct properties *p)
{
    const VkSubgroupFeatureFlags need =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT |
        VK_SUBGROUP_FEATURE_BALLOT_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;

    if ((p->v11.subgroupSupportedOperations & need) != need ||
        !(p->v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
        miss(gpu, "subgroup arithmetic in compute shaders");
    if (gpu->caps.subgroup_default < 4)
        miss(gpu, "subgroups of 4 or more");
}

static void take_queue(struct vk_gpu *gpu)
{
    VkQueueFamilyProperties list[16];
    uint32_t n = 16;
    bool found = false;

    vkGetPhysicalDeviceQueueFamilyProperties(gpu->handle, &n, list);
    for (uint32_t i = 0; i < n; i++) {
        bool is_pure = !(list[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);

        if (!(list[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || (found && !is_pure))
            continue;
        /* one without graphics keeps the desktop's work out of our queue */
        gpu->queue_family = i;
        found = true;
        if (is_pure)
            break;
    }
    if (!found)
        miss(gpu, "a compute queue");
    else if (!list[gpu->queue_family].timestampValidBits)
        gpu->timestamp_ns = 0;
}

static void take_extensions(struct vk_gpu *gpu)
{
    uint32_t n = 0;
    VkExtensionProperties *list;

    if (vkEnumerateDeviceExtensionProperties(gpu->handle, NULL, &n, NULL) != VK_SUCCESS || !n)
        return;
    list = calloc(n, sizeof(*list));
    if (!list)
        return;
    if (vkEnumerateDeviceExtensionProperties(gpu->handle, NULL, &n, list) < 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *name = list[i].extensionName;

        gpu->can_import_host |= !strcmp(name, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
        gpu->can_import_dmabuf |= !strcmp(name, VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME);
        gpu->can_tell_budget |= !strcmp(name, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
        gpu->has_drm_node |= !strcmp(name, VK_EXT_PHYSICAL_DEVICE_DRM_EXTENSION_NAME);
        gpu->has_matrix_cores |= !strcmp(name, "VK_KHR_cooperative_matrix");
    }
    free(list);
}

/* Where the kernel's driver tells of the GPU. */
static void find_node(struct vk_gpu *gpu)
{
    VkPhysicalDeviceDrmPropertiesEXT drm = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRM_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                     .pNext = &drm};

    if (!gpu->has_drm_node)
        return;
    vkGetPhysicalDeviceProperties2(gpu->handle, &p);
    if (drm.hasRender)
        gpu->node = makedev((unsigned)drm.renderMajor, (unsigned)drm.renderMinor);
}

/* Unified: what the CPU writes lies where the GPU reads. The kind of device says so; heaps do not,
 * as an APU may show its share of RAM as no heap of its own. */
static bool is_unified(const struct vk_gpu *gpu)
{
    return gpu->type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ||
           gpu->type == VK_PHYSICAL_DEVICE_TYPE_CPU;
}

static void describe(VkPhysicalDevice handle, struct vk_gpu *gpu)
{
    struct properties p;
    const VkPhysicalDeviceProperties *core = &p.core.properties;

    *gpu = (struct vk_gpu){.handle = handle};
    take_extensions(gpu);
    find_node(gpu);
    properties_get(handle, gpu->can_import_host, &p);
    snprintf(gpu->name, sizeof(gpu->name), "%s", core->deviceName);
    snprintf(gpu->driver, sizeof(gpu->driver), "%.60s, %.90s", p.v12.driverName, p.v12.driverInfo);
    gpu->type = core->deviceType;
    gpu->vendor_id = core->vendorID;
    gpu->device_id = core->deviceID;
    gpu->driver_version = core->driverVersion;
    memcpy(gpu->cache_uuid, core->pipelineCacheUUID, VK_UUID_SIZE);
    vkGetPhysicalDeviceMemoryProperties(handle, &gpu->memory);
    gpu->is_unified = is_unified(gpu);
    take_limits(gpu, &p);
    take_queue(gpu);
    if (core->apiVersion >= VK_API_VERSION_1_3) {
        check_features(gpu);
        check_subgroups(gpu, &p);
    }
}

int vk_gpus_list(VkInstance instance, struct vk_gpu **ret_list, size_t *ret_n, struct error *err)
{
    VkPhysicalDevice handles[16];
    uint32_t n = 16;
    struct vk_gpu *list;
    VkResult r = vkEnumeratePhysicalDevices(instance, &n, handles);

    if (r < 0)
        return vk_fail(err, r, "the Vulkan devices cannot be listed");
    list = calloc(n + 1, sizeof(*list));
    if (!list)
        return error_set(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < n; i++)
        describe(handles[i], &list[i]);
    *ret_list = list;
    *ret_n = n;
    return 0;
}

const char *vk_gpu_kind(const struct vk_gpu *gpu)
{
    switch (gpu->type) {
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return "integrated GPU";
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return "discrete GPU";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return "virtual GPU";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return "CPU";
    default:
        return "other";
    }
}

int vk_gpu_own_heap(const struct vk_gpu *gpu)
{
    const VkMemoryHeap *heaps = gpu->memory.memoryHeaps;
    int best = -1;

    for (uint32_t i = 0; i < gpu->memory.memoryHeapCount; i++)
        if ((heaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            (best < 0 || heaps[i].size > heaps[best].size))
            best = (int)i;
    return best;
}

uint64_t vk_gpu_memory_bytes(const struct vk_gpu *gpu)
{
    int own = vk_gpu_own_heap(gpu);
    uint64_t sum = 0;

    for (uint32_t i = 0; i < gpu->memory.memoryHeapCount; i++)
        sum += gpu->memory.memoryHeaps[i].size;
    /* An APU shows its carve-out and its share of RAM as two heaps; both are the same memory. */
    return gpu->is_unified ? sum : own < 0 ? 0 : gpu->memory.memoryHeaps[own].size;
}

int vk_gpu_choose(const struct vk_gpu *list, size_t n)
{
    static const VkPhysicalDeviceType order[] = {VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
                                                 VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
                                                 VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU};

    for (size_t k = 0; k < sizeof(order) / sizeof(*order); k++)
        for (size_t i = 0; i < n; i++)
            if (list[i].type == order[k] && !list[i].missing[0])
                return (int)i;
    return -1;
}

int vk_gpus_explain(const struct vk_gpu *list, size_t n, bool has_node, struct error *err)
{
    if (vk_gpu_choose(list, n) >= 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (list[i].type != VK_PHYSICAL_DEVICE_TYPE_CPU && list[i].missing[0])
            return error_set(err, ENOTSUP, "%s lacks %s", list[i].name, list[i].missing);
    if (!has_node)
        return 0;
    return error_set(err, ENODEV,
                     "Vulkan shows no GPU though the kernel has one: is its driver installed, and "
                     "is this user in group render?");
}

int vk_gpu_open(const struct vk_gpu *gpu, VkDevice *ret_device, struct error *err)
{
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = gpu->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const char *extensions[4];
    uint32_t n = 0;
    struct features f;
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO};
    VkResult r;

    features_chain(&f);
    for (size_t i = 0; i < sizeof(baseline) / sizeof(*baseline); i++)
        *feature(&f, i) = VK_TRUE;
    if (gpu->can_import_host)
        extensions[n++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
    if (gpu->can_import_dmabuf) {
        extensions[n++] = VK_KHR_EXTERNAL_MEMORY_FD_EXTENSION_NAME;
        extensions[n++] = VK_EXT_EXTERNAL_MEMORY_DMA_BUF_EXTENSION_NAME;
    }
    if (gpu->can_tell_budget)
        extensions[n++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    info.pNext = &f.core;
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    info.enabledExtensionCount = n;
    info.ppEnabledExtensionNames = extensions;
    r = vkCreateDevice(gpu->handle, &info, NULL, ret_device);
    return r == VK_SUCCESS ? 0 : vk_fail(err, r, "%s cannot be opened", gpu->name);
}
