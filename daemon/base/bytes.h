/* SPDX-License-Identifier: MIT */
/* Amounts of memory in sentences. */
#ifndef HEARTH_BASE_BYTES_H
#define HEARTH_BASE_BYTES_H

#include <stdint.h>

static inline double bytes_gib(uint64_t bytes)
{
    return (double)bytes / (1 << 30);
}

#endif
