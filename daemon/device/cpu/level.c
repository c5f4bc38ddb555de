/* SPDX-License-Identifier: MIT */
/* The table of one level. */
#include "device/cpu/level.h"

#if defined(__AMX_BF16__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)

#if defined(__AMX_BF16__)
/* The tiles' registers are large, so the system gives them only to processes that ask. */
static bool has_tiles(void)
{
    enum {
        REQUEST_PERMISSION =
            0x1023, /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA: see arch_prctl(2) */
        TILE_DATA = 18,
        AMX_BF16 = 1 << 22 /* of EDX of leaf 7 */
    };
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_BF16) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

/* The CPU must have all the build let the compiler use, and the system must save its registers
 * (which the compiler's test includes). */
static bool is_supported(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni")
#if defined(__AMX_BF16__)
           && has_tiles()
#endif
        ;
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
            [KERNEL_INDEX_SCORES] = KERNEL(index_scores),
            [KERNEL_INDEX_CHOOSE] = KERNEL(index_choose),
            [KERNEL_GLU] = KERNEL(glu),
            [KERNEL_ADD] = KERNEL(add),
            [KERNEL_SOFTCAP] = KERNEL(softcap),
            [KERNEL_ROUTE] = KERNEL(route),
            [KERNEL_MATMUL_EXPERTS] = KERNEL(matmul_experts),
            [KERNEL_SCALE] = KERNEL(scale),
            [KERNEL_EXPERT_SUM] = KERNEL(expert_sum),
            [KERNEL_SHORT_CONV] = KERNEL(short_conv),
            [KERNEL_DELTA_NET] = KERNEL(delta_net),
            [KERNEL_COPY] = KERNEL(copy),
            [KERNEL_GATHER] = KERNEL(gather),
            [KERNEL_SAMPLE] = KERNEL(sample),
        },
};
