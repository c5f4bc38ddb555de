/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    VkResult result;
    int code;
    const char *text;
} results[] = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, ENOMEM, "the driver ran out of memory"},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, ENOMEM, "the GPU ran out of memory"},
    {VK_ERROR_INVALID_EXTERNAL_HANDLE, ENOTSUP, "the driver refuses this memory"},
    {VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS, EIO, "the driver has no address for it"},
    {VK_ERROR_INITIALIZATION_FAILED, EIO, "the driver could not start"},
    {VK_ERROR_DEVICE_LOST, EIO, "the GPU was reset or hung (the kernel's log tells more)"},
    {VK_ERROR_EXTENSION_NOT_PRESENT, ENOTSUP, "the driver lacks an extension"},
    {VK_ERROR_FEATURE_NOT_PRESENT, ENOTSUP, "the driver lacks a feature"},
    {VK_ERROR_INCOMPATIBLE_DRIVER, ENOTSUP, "no driver for it is installed"},
    {VK_ERROR_TOO_MANY_OBJECTS, ENOMEM, "the driver takes no more objects of this kind"},
};

int vk_fail(struct error *err, VkResult result, const char *fmt, ...)
{
    char what[256], number[40];
    const char *text = number;
    int code = EIO;
    va_list args;

    snprintf(number, sizeof(number), "Vulkan error %d", (int)result);
    for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++) {
        if (results[i].result == result) {
            code = results[i].code;
            text = results[i].text;
        }
    }
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return error_set(err, code, "%s: %s", what, text);
}
