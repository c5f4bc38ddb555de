/* SPDX-License-Identifier: MIT */
/*
 * How much of the machine's memory a GPU can still map, where its driver has a limit for that of
 * its own: amdgpu's GTT. It tells so below the device's folder in sysfs, with the figures that
 * libdrm's queries give. Any thread.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_GTT_H
#define HEARTH_DEVICE_VULKAN_VK_GTT_H

#include <stdint.h>

/* device_dir: "/sys/dev/char/226:128/device". -ENOENT where the driver has no such figures, -EINVAL
 * where they are none. */
int vk_gtt_free_bytes(const char *device_dir, uint64_t *ret_bytes);

#endif
