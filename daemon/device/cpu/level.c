/* SPDX-License-Identifier: MIT */
/* The table of one level. */
#include "device/cpu/level.h"

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)

/* The CPU must have all the build let the compiler use, and the system must save its registers
 * (which the compiler's test includes). */
static bool is_supported(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
#elif defined(__AVX2__)
    /* Every CPU with these two has F16C, which not every compiler can ask for. */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return true;
#endif
}

#define KERNEL(op)                                                                                 \
    {                                                                                              \
        IN_LEVEL(op##_items), IN_LEVEL(op)                                                         \
    }

extern const struct cpu_kernels IN_LEVEL(kernels);
const struct cpu_kernels IN_LEVEL(kernels) = {
    .name = TEXT(LEVEL),
    .long_name = LEVEL_NAME,
    .is_supported = is_supported,
    .ops =
        {
            [KERNEL_EMBED] = KERNEL(embed),
            [KERNEL_RMS_NORM] = KERNEL(rms_norm),
            [KERNEL_LAYER_NORM] = KERNEL(layer_norm),
            [KERNEL_QUANTIZE] = KERNEL(quantize),
            [KERNEL_MATMUL] = KERNEL(matmul),
            [KERNEL_ROPE] = KERNEL(rope),
            [KERNEL_KV_STORE] = KERNEL(kv_store),
            [KERNEL_ATTENTION] = KERNEL(attention),
            [KERNEL_GLU] = KERNEL(glu),
            [KERNEL_ADD] = KERNEL(add),
            [KERNEL_SOFTCAP] = KERNEL(softcap),
            [KERNEL_ROUTE] = KERNEL(route),
            [KERNEL_MATMUL_EXPERTS] = KERNEL(matmul_experts),
            [KERNEL_EXPERT_SUM] = KERNEL(expert_sum),
            [KERNEL_SHORT_CONV] = KERNEL(short_conv),
            [KERNEL_DELTA_NET] = KERNEL(delta_net),
            [KERNEL_COPY] = KERNEL(copy),
            [KERNEL_GATHER] = KERNEL(gather),
            [KERNEL_SAMPLE] = KERNEL(sample),
        },
};
