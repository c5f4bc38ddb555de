/* SPDX-License-Identifier: MIT */
/*
 * Which pipelines of a Vulkan device have run, and how often: where each costs much, as under
 * GPU-assisted validation, a check runs a few dispatches of each, and may have to stop.
 */
#ifndef HEARTH_TESTS_KERNELS_FEW_H
#define HEARTH_TESTS_KERNELS_FEW_H

#include "device/device.h"

enum { FEW_DISPATCHES = 40 };

/* Whether the dispatches are to run: one of their pipelines has not done so FEW_DISPATCHES times,
 * and none of them would be new when there is no time for that. Takes true for done. Of a device
 * that is not Vulkan's: true. */
bool few_is_due(const struct device *dev, const struct dispatch *list, size_t n, bool has_time);
/* Waits until a layer under the device has looked at what it found. */
void few_settle(const struct device *dev);
size_t few_n_run(void);
size_t few_n_left_out(void);

#endif
