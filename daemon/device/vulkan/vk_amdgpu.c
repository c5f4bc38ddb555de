/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_amdgpu.h"

#include <amdgpu.h>
#include <amdgpu_drm.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xf86drm.h>

static int is_amdgpu(int fd)
{
    drmVersionPtr version = drmGetVersion(fd);
    int r = !version ? -errno : strcmp(version->name, "amdgpu") != 0 ? -ENOTSUP : 0;

    drmFreeVersion(version);
    return r;
}

/* libdrm shares one device among all who open its node, the Vulkan driver among them. */
static int query_node(int fd, struct vk_amdgpu_memory *ret)
{
    struct amdgpu_heap_info vram, gtt;
    amdgpu_device_handle device;
    uint32_t major, minor;
    int r = amdgpu_device_initialize(fd, &major, &minor, &device);

    if (r < 0)
        return r;
    r = amdgpu_query_heap_info(device, AMDGPU_GEM_DOMAIN_VRAM, 0, &vram);
    if (r == 0)
        r = amdgpu_query_heap_info(device, AMDGPU_GEM_DOMAIN_GTT, 0, &gtt);
    if (r == 0)
        *ret = (struct vk_amdgpu_memory){vram.heap_size, vram.heap_usage, gtt.heap_size,
                                         gtt.heap_usage};
    amdgpu_device_deinitialize(device);
    return r;
}

static int open_and_query(const char *path, struct vk_amdgpu_memory *ret, struct error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC), r;

    if (fd < 0)
        return error_set(err, errno, "%s cannot be opened: %s (is this user in group render?)",
                         path, strerror(errno));
    r = is_amdgpu(fd);
    if (r == 0)
        r = query_node(fd, ret);
    close(fd);
    return r == 0 || r == -ENOTSUP
               ? r
               : error_set(err, -r, "%s does not tell of its memory: %s", path, strerror(-r));
}

int vk_amdgpu_query(dev_t node, struct vk_amdgpu_memory *ret_memory, struct error *err)
{
    drmDevicePtr device;
    int r = drmGetDeviceFromDevId(node, 0, &device);

    if (r < 0 || !(device->available_nodes & 1 << DRM_NODE_RENDER)) {
        if (r == 0)
            drmFreeDevice(&device);
        return error_set(err, ENODEV, "there is no render node %u:%u in /dev/dri", major(node),
                         minor(node));
    }
    r = open_and_query(device->nodes[DRM_NODE_RENDER], ret_memory, err);
    drmFreeDevice(&device);
    return r;
}
