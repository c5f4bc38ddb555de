/* SPDX-License-Identifier: MIT */
/*
 * The cpu device's kernels. Each operation is split into items that may run in any order on any
 * worker. One table of kernels is compiled per level of the instruction set; the best one this CPU
 * can run is taken at start.
 */
#ifndef HEARTH_DEVICE_CPU_CPU_H
#define HEARTH_DEVICE_CPU_CPU_H

#include "kernels/kernels.h"
#include "kernels/step.h"

/* Working memory of each worker, 64-byte aligned. */
#define CPU_SCRATCH_BYTES (512u << 10)

struct cpu_kernel {
    /* How many items the dispatch has in this step. Work too small to share is one item. */
    uint32_t (*n_items)(const struct dispatch *d);
    void (*run)(const struct dispatch *d, uint32_t item, void *scratch);
};

struct cpu_kernels {
    const char *name; /* as in "cpu:4:avx2" */
    const char *long_name;
    bool (*is_supported)(void);
    struct cpu_kernel ops[KERNEL_OP_COUNT]; /* run NULL: the plain form, as one item */
};

/* Best first, NULL at the end. */
extern const struct cpu_kernels *const cpu_levels[];

#endif
