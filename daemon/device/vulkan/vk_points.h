/* SPDX-License-Identifier: MIT */
/*
 * Where the device keeps the grids of points that some types of weights choose from: one buffer,
 * made for the first program that needs it, there until the device goes. The thread of the device.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_POINTS_H
#define HEARTH_DEVICE_VULKAN_VK_POINTS_H

#include "device/vulkan/vk_device.h"

/* The address of the grid that the dispatch's weights need, 0 for none. */
int vk_points_address(struct vk_device *vk, const struct dispatch *d, uint64_t *ret_address,
                      struct error *err);

#endif
