/* SPDX-License-Identifier: MIT */
#include "device/cpu/cpu.h"

extern const struct cpu_kernels cpu_plain_kernels;
#ifdef HAVE_LEVELS_X86
extern const struct cpu_kernels cpu_avx2_kernels, cpu_avx512_kernels, cpu_amx_kernels;
#endif

const struct cpu_kernels *const cpu_levels[] = {
#ifdef HAVE_LEVELS_X86
    &cpu_amx_kernels,   &cpu_avx512_kernels,
    &cpu_avx2_kernels,
#endif
    &cpu_plain_kernels, NULL,
};
