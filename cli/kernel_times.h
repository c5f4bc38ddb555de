/* SPDX-License-Identifier: MIT */
#ifndef HEARTH_CLI_KERNEL_TIMES_H
#define HEARTH_CLI_KERNEL_TIMES_H

#include "device/device.h"

/*
 * Runs every call of a recorded step alone, in its order, a few times over, and prints a table of
 * what the kinds of calls take: by the device's own clock where it has one. Alone each pays for its
 * start and end, which calls without a barrier between them share, so the sum is above the time of
 * a step. The step's results are no longer what they were.
 */
int kernel_times_print(struct device *dev, const struct dispatch *list, size_t n,
                       const struct step_header *header, struct error *err);

#endif
