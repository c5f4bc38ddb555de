/* SPDX-License-Identifier: MIT */
/* Adds a row that lies past the end of its buffer, behind the back of the device's own checks: what
 * GPU-assisted validation must report, so that its silence elsewhere means something. The buffer
 * is bound in the middle of a larger piece of memory, so that no neighbour makes the access good.
 */
#include "device/vulkan/vk_device.h"

#include <stdio.h>

enum { MEMORY_BYTES = 1 << 20, BUFFER_AT = 1 << 19, BUFFER_BYTES = 4096 };

struct bound {
    VkBuffer buffer;
    VkDeviceMemory memory;
};

static VkResult bind(struct vk_device *vk, struct bound *b)
{
    const VkBufferCreateInfo buffer = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = BUFFER_BYTES,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryAllocateInfo memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = &flags,
        .allocationSize = MEMORY_BYTES,
    };
    VkResult r = vkCreateBuffer(vk->handle, &buffer, NULL, &b->buffer);

    if (r == VK_SUCCESS)
        r = vkAllocateMemory(vk->handle, &memory, NULL, &b->memory);
    return r == VK_SUCCESS ? vkBindBufferMemory(vk->handle, b->buffer, b->memory, BUFFER_AT) : r;
}

int main(void)
{
    struct device *dev;
    struct buffer *buf;
    struct program *p;
    struct bound b = {0};
    struct error err = {0};
    struct dispatch d = {.op = KERNEL_ADD, .max_rows = 1, .label = "overrun"};
    VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO};
    struct vk_device *vk;
    uint64_t ticket;

    if (device_create("vulkan", &dev, &err) < 0) {
        printf("%s\n", err.text);
        return 77;
    }
    vk = vk_device_of(dev);
    if (bind(vk, &b) != VK_SUCCESS || buffer_create(dev, 4096, BUFFER_HOST, &buf, &err) < 0)
        goto fail;
    info.buffer = b.buffer;
    *(struct step_header *)buf->host = (struct step_header){.n_tokens = 1};
    d.args.add = (struct args_add){
        .step = buf->address,
        .x = buf->address + 1024,
        .y = vkGetBufferDeviceAddress(vk->handle, &info) + BUFFER_BYTES - 32,
        .n_cols = 16,
    };
    if (vk_program_create(dev, &d, 1, &p, &err) < 0 || device_submit(dev, p, &ticket, &err) < 0 ||
        device_wait(dev, ticket, 60000000000u, &err) < 0)
        goto fail;
    vkQueueWaitIdle(vk->queue); /* when the layer looks at what it found */
    program_destroy(p);
    buffer_destroy(buf);
    vkDestroyBuffer(vk->handle, b.buffer, NULL);
    vkFreeMemory(vk->handle, b.memory, NULL);
    device_destroy(dev);
    return 0;
fail:
    printf("the overrun cannot be made: %s\n", err.text);
    return 1;
}
