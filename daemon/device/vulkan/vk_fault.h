/* SPDX-License-Identifier: MIT */
/*
 * Faults made on purpose, so that what is done about them can be tested on a machine whose GPU does
 * not fail. Chosen by the environment variable HEARTH_FAULT; without it nothing here does anything.
 * Any thread.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_FAULT_H
#define HEARTH_DEVICE_VULKAN_VK_FAULT_H

#include "device/vulkan/vk.h"

#include <stdint.h>

/* For a new device: the ticket at whose wait it shall be lost, 0 for never. The plan reads
 * "device-lost:N" or "device-lost:N:TIMES": the Nth submission of a device loses it, and so it goes
 * with TIMES devices of this process (1 unless given). NULL or "": no plan. -EINVAL with a sentence
 * for anything else. */
int vk_fault_plan(const char *plan, uint64_t *ret_ticket, struct error *err);

/* Counts the loss and gives what Vulkan would have said of it. */
VkResult vk_fault_lose(void);

#endif
