/* SPDX-License-Identifier: MIT */
#include "device/cpu/cpu.h"

static bool always(void)
{
    return true;
}

static const struct cpu_kernels plain = {
    .name = "plain",
    .long_name = "plain C",
    .is_supported = always,
};

const struct cpu_kernels *const cpu_levels[] = {&plain, NULL};
