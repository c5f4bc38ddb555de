/* SPDX-License-Identifier: MIT */
/* Vulkan as every file here includes it, and what its result codes mean for a user. */
#ifndef HEARTH_DEVICE_VULKAN_VK_H
#define HEARTH_DEVICE_VULKAN_VK_H

#define VK_NO_PROTOTYPES
#include <volk.h>
#include <vulkan/vulkan.h>

#include "base/error.h"

/* Sets the sentence "<fmt>: <what the code means>"; -ENOMEM when memory ran out, -EIO when the
 * device is lost, -ENOTSUP when it cannot, else -EIO. */
int vk_fail(struct error *err, VkResult result, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
