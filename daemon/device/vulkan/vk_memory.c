/* SPDX-License-Identifier: MIT */
/* Buffers: memory of the GPU's, memory of others mapped by it, copies where it cannot map them. */
#include "device/vulkan/vk_amdgpu.h"
#include "device/vulkan/vk_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ADDRESS_ALIGN 4096u
#define STAGING_BYTES (16u << 20)

/* buffer.backend: what a buffer is made of. */
struct vk_memory {
    VkBuffer buffer;
    VkDeviceMemory memory;
};

/* ---- choosing where memory lies ---- */

/* The first memory type of the allowed ones that has all of `want`; -1 when none has. */
static int find_type(const struct vk_gpu *gpu, uint32_t allowed, VkMemoryPropertyFlags want)
{
    for (uint32_t i = 0; i < gpu->memory.memoryTypeCount; i++)
        if ((allowed >> i & 1) && (gpu->memory.memoryTypes[i].propertyFlags & want) == want)
            return (int)i;
    return -1;
}

enum { N_WISHES = 3 };

/* What memory should be, best first. On a unified machine all of it is near the GPU, and cached
 * memory near the CPU as well; the last wish is whatever there is. */
static const VkMemoryPropertyFlags *wishes_for(const struct vk_gpu *gpu, unsigned usage)
{
#define HOST (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
    static const VkMemoryPropertyFlags unified_host[N_WISHES] = {
        HOST | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, HOST | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
        HOST};
    static const VkMemoryPropertyFlags discrete_host[N_WISHES] = {
        HOST | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, HOST | VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
        HOST};
    static const VkMemoryPropertyFlags discrete_read[N_WISHES] = {
        HOST | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, HOST, HOST};
    static const VkMemoryPropertyFlags unified[N_WISHES] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0,
                                                            0};
    /* what the GPU would read over a bus at every step is an error, not a way out */
    static const VkMemoryPropertyFlags discrete[N_WISHES] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                                             VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                                             VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT};
#undef HOST

    if (usage & BUFFER_HOST)
        return gpu->is_unified ? unified_host : usage & BUFFER_READ ? discrete_read : discrete_host;
    return gpu->is_unified ? unified : discrete;
}

/* The driver's own figures of a heap, which count every process; false where it has none. */
static bool heap_figures(const struct vk_gpu *gpu, uint32_t heap, uint64_t *ret_used,
                         uint64_t *ret_most)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 p = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};

    if (!gpu->can_tell_budget)
        return false;
    vkGetPhysicalDeviceMemoryProperties2(gpu->handle, &p);
    *ret_used = budget.heapUsage[heap];
    *ret_most = budget.heapBudget[heap];
    return true;
}

/* Whether the heap of a memory type has room. */
static int check_budget(struct vk_device *vk, uint32_t type, uint64_t bytes, struct error *err)
{
    uint64_t used, most;

    if (!heap_figures(&vk->gpu, vk->gpu.memory.memoryTypes[type].heapIndex, &used, &most) ||
        (used <= most && bytes <= most - used))
        return 0;
    return error_set(err, ENOMEM,
                     "%llu MiB of GPU memory are needed but %llu of %llu MiB are in use: unload a "
                     "model or choose a smaller context",
                     (unsigned long long)(bytes >> 20), (unsigned long long)(used >> 20),
                     (unsigned long long)(most >> 20));
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* Of a GPU with memory of its own: that. Of one that shares the machine's: what its driver still
 * lets it map, if it has a limit for that; weights and caches that are mapped all count there, and
 * never in what firmware has set aside. */
uint64_t vk_free_bytes(struct device *dev)
{
    const struct vk_gpu *gpu = &vk_device_of(dev)->gpu;
    int heap = vk_gpu_own_heap(gpu);
    struct vk_amdgpu_memory amd;
    uint64_t used, most;

    if (gpu->node && vk_amdgpu_query(gpu->node, &amd, NULL) == 0)
        return gpu->is_unified ? minus(amd.gtt_bytes, amd.gtt_used_bytes)
                               : minus(amd.vram_bytes, amd.vram_used_bytes);
    if (gpu->is_unified || heap < 0 || !heap_figures(gpu, (uint32_t)heap, &used, &most))
        return UINT64_MAX;
    return minus(most, used);
}

/* ---- making buffers ---- */

static VkResult make_buffer(struct vk_device *vk, uint64_t bytes,
                            VkExternalMemoryHandleTypeFlags external, VkBuffer *ret)
{
    const VkExternalMemoryBufferCreateInfo foreign = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
        .handleTypes = external,
    };
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .pNext = external ? &foreign : NULL,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };

    return vkCreateBuffer(vk->handle, &info, NULL, ret);
}

/* Memory for m->buffer of a type that it takes; `next` says where foreign memory comes from. */
static VkResult allocate(struct vk_device *vk, struct vk_memory *m, uint64_t bytes, uint32_t type,
                         const void *next)
{
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .pNext = next,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = &flags,
        .allocationSize = bytes,
        .memoryTypeIndex = type,
    };
    VkResult r = vkAllocateMemory(vk->handle, &info, NULL, &m->memory);

    return r == VK_SUCCESS ? vkBindBufferMemory(vk->handle, m->buffer, m->memory, 0) : r;
}

static uint64_t address_of(struct vk_device *vk, VkBuffer buffer)
{
    const VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                            .buffer = buffer};

    return vkGetBufferDeviceAddress(vk->handle, &info);
}

static void release(struct vk_device *vk, struct vk_memory *m)
{
    vkDestroyBuffer(vk->handle, m->buffer, NULL);
    vkFreeMemory(vk->handle, m->memory, NULL); /* unmaps it too */
    *m = (struct vk_memory){0};
}

static int too_large(const struct vk_device *vk, uint64_t bytes, struct error *err)
{
    return error_set(err, ENOMEM, "one buffer of %llu MiB is more than the %llu MiB %s takes",
                     (unsigned long long)(bytes >> 20),
                     (unsigned long long)(vk->gpu.allocation_max_bytes >> 20), vk->gpu.name);
}

/* Memory for m->buffer from the first type that has what is wished and room for it. */
static int allocate_best(struct vk_device *vk, struct vk_memory *m,
                         const VkMemoryRequirements *need, unsigned usage, uint32_t *ret_type,
                         struct error *err)
{
    const VkMemoryPropertyFlags *wishes = wishes_for(&vk->gpu, usage);
    uint32_t tried = 0;
    int e = error_set(err, ENOTSUP, "%s has no memory of the kind that is needed", vk->gpu.name);

    for (int i = 0; i < N_WISHES; i++) {
        int type;

        while ((type = find_type(&vk->gpu, need->memoryTypeBits & ~tried, wishes[i])) >= 0) {
            VkResult r;

            tried |= 1u << type;
            e = check_budget(vk, (uint32_t)type, need->size, err);
            if (e < 0)
                continue;
            r = allocate(vk, m, need->size, (uint32_t)type, NULL);
            *ret_type = (uint32_t)type;
            if (r == VK_SUCCESS)
                return 0;
            e = vk_device_fail(vk, r, err, "GPU memory cannot be had");
            if (m->memory || vk_device_check(vk, NULL) < 0)
                return e;
        }
    }
    return e;
}

/* Own memory of at least `bytes`; *ret_type is the memory type it got. */
static int make_own(struct vk_device *vk, struct vk_memory *m, uint64_t bytes, unsigned usage,
                    uint32_t *ret_type, struct error *err)
{
    VkMemoryRequirements need;
    VkResult r;

    if (bytes > vk->gpu.allocation_max_bytes)
        return too_large(vk, bytes, err);
    r = make_buffer(vk, bytes, 0, &m->buffer);
    if (r != VK_SUCCESS)
        return vk_device_fail(vk, r, err, "a buffer cannot be made");
    vkGetBufferMemoryRequirements(vk->handle, m->buffer, &need);
    return allocate_best(vk, m, &need, usage, ret_type, err);
}

/* ---- transfers ---- */

/* Runs what `record` puts into a command buffer and waits for it. */
static int run_transfer(struct vk_device *vk, void (*record)(VkCommandBuffer, const void *),
                        const void *what, struct error *err)
{
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = vk->transfer_pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkCommandBuffer commands;
    VkResult r = vkAllocateCommandBuffers(vk->handle, &info, &commands);

    if (r != VK_SUCCESS)
        return vk_device_fail(vk, r, err, "a command buffer cannot be made");
    r = vkBeginCommandBuffer(commands, &begin);
    if (r == VK_SUCCESS) {
        record(commands, what);
        r = vkEndCommandBuffer(commands);
    }
    if (r == VK_SUCCESS) {
        const VkCommandBufferSubmitInfo buffer = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO, .commandBuffer = commands};
        const VkSemaphoreSubmitInfo signal = {
            .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO,
            .semaphore = vk->timeline,
            .value = vk->last_ticket + 1,
            .stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
        };
        const VkSubmitInfo2 submit = {
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
            .commandBufferInfoCount = 1,
            .pCommandBufferInfos = &buffer,
            .signalSemaphoreInfoCount = 1,
            .pSignalSemaphoreInfos = &signal,
        };

        r = vkQueueSubmit2(vk->queue, 1, &submit, VK_NULL_HANDLE);
    }
    if (r == VK_SUCCESS) {
        int e = vk_wait(&vk->device, ++vk->last_ticket, UINT64_MAX, err);

        vkFreeCommandBuffers(vk->handle, vk->transfer_pool, 1, &commands);
        return e;
    }
    vkFreeCommandBuffers(vk->handle, vk->transfer_pool, 1, &commands);
    return vk_device_fail(vk, r, err, "a transfer cannot be submitted");
}

static void record_zero(VkCommandBuffer commands, const void *what)
{
    vkCmdFillBuffer(commands, *(const VkBuffer *)what, 0, VK_WHOLE_SIZE, 0);
}

struct copy {
    VkBuffer from, to;
    uint64_t at, bytes;
};

static void record_copy(VkCommandBuffer commands, const void *what)
{
    const struct copy *c = what;
    const VkBufferCopy region = {0, c->at, c->bytes};

    vkCmdCopyBuffer(commands, c->from, c->to, 1, &region);
}

/* Copies host memory into a buffer the CPU cannot reach, through a smaller one that it can. */
static int upload(struct vk_device *vk, VkBuffer to, const void *from, uint64_t bytes,
                  struct error *err)
{
    struct vk_memory staging = {0};
    void *place = NULL;
    uint32_t type;
    VkResult r;
    int e = make_own(vk, &staging, STAGING_BYTES, BUFFER_HOST, &type, err);

    if (e < 0)
        goto out;
    r = vkMapMemory(vk->handle, staging.memory, 0, VK_WHOLE_SIZE, 0, &place);
    if (r != VK_SUCCESS) {
        e = vk_device_fail(vk, r, err, "a buffer cannot be mapped");
        goto out;
    }
    for (uint64_t at = 0; e == 0 && at < bytes; at += STAGING_BYTES) {
        struct copy c = {staging.buffer, to, at,
                         bytes - at < STAGING_BYTES ? bytes - at : STAGING_BYTES};

        memcpy(place, (const char *)from + at, c.bytes);
        e = run_transfer(vk, record_copy, &c, err);
    }
out:
    release(vk, &staging);
    return e;
}

/* ---- the device's operations ---- */

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + ADDRESS_ALIGN - 1) / ADDRESS_ALIGN * ADDRESS_ALIGN;
}

/* Maps a new buffer if the CPU may see it, zeroes it and tells its address. */
static int finish_own(struct vk_device *vk, struct buffer *buf, struct vk_memory *m, uint32_t type,
                      unsigned usage, uint64_t shift, struct error *err)
{
    const VkMemoryPropertyFlags coherent =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    bool is_host = (vk->gpu.memory.memoryTypes[type].propertyFlags & coherent) == coherent;
    int e;

    if (usage & BUFFER_HOST || is_host) {
        void *host;
        VkResult r = vkMapMemory(vk->handle, m->memory, 0, VK_WHOLE_SIZE, 0, &host);

        if (r != VK_SUCCESS)
            return vk_device_fail(vk, r, err, "a buffer cannot be mapped");
        memset((char *)host + shift, 0, buf->bytes);
        if (usage & BUFFER_HOST)
            buf->host = (char *)host + shift;
    } else {
        e = run_transfer(vk, record_zero, &m->buffer, err);
        if (e < 0)
            return e;
    }
    buf->address = address_of(vk, m->buffer) + shift;
    return 0;
}

static int create(struct vk_device *vk, struct buffer *buf, unsigned usage, struct error *err)
{
    struct vk_memory *m = buf->backend;
    uint32_t type = 0;
    uint64_t shift;
    int e = make_own(vk, m, whole_pages(buf->bytes), usage, &type, err);

    if (e < 0)
        return e;
    shift = -address_of(vk, m->buffer) % ADDRESS_ALIGN;
    if (shift) { /* a driver that aligns to less: take a page more and begin inside it */
        release(vk, m);
        e = make_own(vk, m, whole_pages(buf->bytes) + ADDRESS_ALIGN, usage, &type, err);
        if (e < 0)
            return e;
        shift = -address_of(vk, m->buffer) % ADDRESS_ALIGN;
    }
    return finish_own(vk, buf, m, type, usage, shift, err);
}

int vk_buffer_create(struct device *dev, struct buffer *buf, unsigned usage, struct error *err)
{
    struct vk_device *vk = vk_device_of(dev);
    int e = vk_device_check(vk, err);

    if (e < 0)
        return e;
    buf->backend = calloc(1, sizeof(struct vk_memory));
    if (!buf->backend)
        return error_set(err, ENOMEM, "out of memory");
    e = create(vk, buf, usage, err);
    if (e < 0)
        vk_buffer_destroy(dev, buf);
    return e;
}

/* Binds foreign memory; types: the memory types it can have. */
static int bind_foreign(struct vk_device *vk, struct buffer *buf, uint32_t types,
                        VkExternalMemoryHandleTypeFlags external, const void *next,
                        struct error *err)
{
    struct vk_memory *m = buf->backend;
    VkMemoryRequirements need;
    VkResult r = make_buffer(vk, buf->bytes, external, &m->buffer);
    int type;

    if (r != VK_SUCCESS)
        return vk_device_fail(vk, r, err, "a buffer for foreign memory cannot be made");
    vkGetBufferMemoryRequirements(vk->handle, m->buffer, &need);
    type = find_type(&vk->gpu, types & need.memoryTypeBits, 0);
    if (type < 0 || need.size > buf->bytes)
        return error_set(err, ENOTSUP, "%s takes no foreign memory of this kind", vk->gpu.name);
    r = allocate(vk, m, buf->bytes, (uint32_t)type, next);
    if (r != VK_SUCCESS)
        return vk_device_fail(vk, r, err, "foreign memory cannot be mapped");
    buf->address = address_of(vk, m->buffer);
    return 0;
}

static int import_host(struct vk_device *vk, struct buffer *buf, const struct memory_import *mem,
                       struct error *err)
{
    const VkExternalMemoryHandleTypeFlagBits kind =
        VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    VkMemoryHostPointerPropertiesEXT p = {.sType =
                                              VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
    const VkImportMemoryHostPointerInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = kind,
        .pHostPointer = mem->host,
    };
    VkResult r;

    if ((uintptr_t)mem->host % vk->gpu.host_import_align || mem->bytes % vk->gpu.host_import_align)
        return error_set(err, ENOTSUP, "%s maps host memory in units of %llu bytes", vk->gpu.name,
                         (unsigned long long)vk->gpu.host_import_align);
    r = vkGetMemoryHostPointerPropertiesEXT(vk->handle, kind, mem->host, &p);
    if (r != VK_SUCCESS)
        return vk_device_fail(vk, r, err, "host memory cannot be mapped");
    return bind_foreign(vk, buf, p.memoryTypeBits, kind, &info, err);
}

/* A driver that computes on the CPU maps whatever it is given, so it is looked at first. */
static int check_dmabuf(const struct memory_import *mem, struct error *err)
{
    struct statfs fs;
    off_t bytes;

    if (fstatfs(mem->dmabuf_fd, &fs) < 0)
        return error_set(err, errno, "descriptor %d, a dma-buf to map, is not open",
                         mem->dmabuf_fd);
    if (fs.f_type != DMA_BUF_MAGIC)
        return error_set(err, EINVAL, "descriptor %d, which is to be mapped, is no dma-buf",
                         mem->dmabuf_fd);
    bytes = lseek(mem->dmabuf_fd, 0, SEEK_END);
    if (bytes < 0)
        return error_set_errno(err, errno, "the size of a dma-buf cannot be had");
    if ((uint64_t)bytes < mem->bytes)
        return error_set(err, EINVAL, "a dma-buf has %lld bytes, fewer than the %llu to map",
                         (long long)bytes, (unsigned long long)mem->bytes);
    return 0;
}

/* Closes what an import that failed should have left alone. lavapipe closes it nonetheless, and the
 * number may be another thread's by now: then it is another file. */
static void close_duplicate(int fd, int original)
{
    struct stat ours, theirs;

    if (fstat(original, &ours) == 0 && fstat(fd, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
        ours.st_ino == theirs.st_ino)
        close(fd);
}

static int import_dmabuf(struct vk_device *vk, struct buffer *buf, const struct memory_import *mem,
                         struct error *err)
{
    const VkExternalMemoryHandleTypeFlagBits kind = VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT;
    VkMemoryFdPropertiesKHR p = {.sType = VK_STRUCTURE_TYPE_MEMORY_FD_PROPERTIES_KHR};
    VkImportMemoryFdInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR,
        .handleType = kind,
    };
    VkResult r;
    int e;

    if (!vk->gpu.can_import_dmabuf)
        return error_set(err, ENOTSUP, "%s cannot map dma-bufs", vk->gpu.name);
    e = check_dmabuf(mem, err);
    if (e < 0)
        return e;
    r = vkGetMemoryFdPropertiesKHR(vk->handle, kind, mem->dmabuf_fd, &p);
    if (r != VK_SUCCESS)
        return vk_device_fail(vk, r, err, "a dma-buf cannot be mapped");
    info.fd = fcntl(mem->dmabuf_fd, F_DUPFD_CLOEXEC, 3);
    if (info.fd < 0)
        return error_set_errno(err, errno, "a dma-buf cannot be duplicated");
    e = bind_foreign(vk, buf, p.memoryTypeBits, kind, &info, err);
    if (!((struct vk_memory *)buf->backend)->memory) /* else it is the driver's */
        close_duplicate(info.fd, mem->dmabuf_fd);
    return e;
}

/* The GPU's own copy of host memory. */
static int import_copy(struct vk_device *vk, struct buffer *buf, const struct memory_import *mem,
                       struct error *err)
{
    struct vk_memory *m = buf->backend;
    int e = create(vk, buf, BUFFER_DEVICE, err);

    buf->is_imported = false;
    return e < 0 ? e : upload(vk, m->buffer, mem->host, mem->bytes, err);
}

int vk_buffer_import(struct device *dev, struct buffer *buf, const struct memory_import *mem,
                     struct error *err)
{
    struct vk_device *vk = vk_device_of(dev);
    int e = vk_device_check(vk, err);

    if (e < 0)
        return e;
    buf->is_imported = true;
    if (mem->bytes > vk->gpu.allocation_max_bytes)
        return too_large(vk, mem->bytes, err);
    buf->backend = calloc(1, sizeof(struct vk_memory));
    if (!buf->backend)
        return error_set(err, ENOMEM, "out of memory");
    if (!mem->host)
        e = import_dmabuf(vk, buf, mem, err);
    else if (dev->info.is_zero_copy)
        e = import_host(vk, buf, mem, err);
    else
        e = import_copy(vk, buf, mem, err);
    /* what a driver will not map (memory of a file, say) can still be copied, and status tells */
    if (mem->host && dev->info.is_zero_copy && e < 0 && e != -ENOMEM &&
        vk_device_check(vk, NULL) == 0) {
        struct error copying = {0};

        release(vk, buf->backend);
        e = import_copy(vk, buf, mem, &copying);
        if (e < 0 && err)
            *err = copying;
    }
    if (e < 0)
        vk_buffer_destroy(dev, buf);
    return e;
}

void vk_buffer_destroy(struct device *dev, struct buffer *buf)
{
    if (buf->backend)
        release(vk_device_of(dev), buf->backend);
    free(buf->backend);
    buf->backend = NULL;
}
