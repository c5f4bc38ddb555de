/* SPDX-License-Identifier: MIT */
/*
 * From a dispatch to what a command buffer records: which shader, with which constants, on what
 * grid. Pure functions of the dispatch and of what the GPU can do; any thread.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_DISPATCH_H
#define HEARTH_DEVICE_VULKAN_VK_DISPATCH_H

#include "kernels/kernels.h"

/* What of a GPU decides how kernels run on it. Capabilities, never names or vendor ids. */
struct vk_caps {
    uint32_t subgroup_min, subgroup_max; /* sizes to take */
    bool can_choose_subgroup;            /* a pipeline can ask for its size */
    uint32_t subgroup_default;           /* what the driver would take */
    uint32_t workgroup_max;              /* invocations */
    uint32_t shared_bytes;
    uint32_t groups_max; /* workgroups in the first dimension */
    bool has_fast_dot8;  /* integer dot products of four bytes are one instruction */
};

enum { VK_CONSTANTS_MOST = 7 };

/* Of push constants: what every Vulkan device has. */
#define VK_PUSH_BYTES 128u

struct vk_launch {
    char shader[32];         /* a name that shader_find() knows */
    uint32_t subgroup_size;  /* constant 0 */
    uint32_t workgroup_size; /* constant 1; a multiple of it */
    uint32_t n_constants;
    uint32_t constants[VK_CONSTANTS_MOST]; /* constants 2, 3, ... */
    uint32_t groups[3];                    /* each at least 1, the first at most groups_max */

    /* Of a dispatch that can take too long for one submission: the groups of the first dimension
     * that make a part, and the rows that the part is for; 0 for one that is not cut. */
    uint32_t part_groups, part_rows;
    /* Where the time hangs on positions: nanoseconds for each position that each row sees, at most,
     * on the slowest GPU that is worth it; else 0. */
    float position_ns;
};

/* Most that a part may take by position_ns, whatever the context. */
#define VK_PART_NS 100000000u

void vk_launch_for(const struct vk_caps *caps, const struct dispatch *d,
                   struct vk_launch *ret_launch);
/* Whether two launches run the same pipeline: all but their grids and times. */
bool vk_launch_is_same_pipeline(const struct vk_launch *a, const struct vk_launch *b);
/* Bytes of the dispatch's struct in args.h: what the push constants hold after their first 8. */
size_t vk_args_bytes(enum kernel_op op);

/* How a matmul wants its activations; as device_activation_for. */
int vk_activation_for(const struct vk_caps *caps, enum gguf_type type, uint32_t n_cols,
                      uint32_t max_rows);

/* As device_attention_splits. */
uint32_t vk_attention_splits(const struct vk_caps *caps, const struct args_attention *a,
                             uint32_t max_rows);

/* ---- by family; *launch comes with the defaults of vk_launch_for ---- */

void vk_launch_embed(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l);
void vk_launch_quantize(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l);
void vk_launch_matmul(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l);
void vk_launch_matmul_experts(const struct vk_caps *caps, const struct dispatch *d,
                              struct vk_launch *l);
void vk_launch_rope(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l);
void vk_launch_kv_store(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l);
void vk_launch_attention(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l);
void vk_launch_index_scores(const struct vk_caps *caps, const struct dispatch *d,
                            struct vk_launch *l);
void vk_launch_sample(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l);

/* "matvec_" + the type's name in lower case. */
void vk_launch_name_typed(struct vk_launch *l, const char *prefix, enum gguf_type type);

/* Workgroups for n_items of work, `per_group` of them in each; never 0, at most groups_max. */
uint32_t vk_groups(const struct vk_caps *caps, uint64_t n_items, uint64_t per_group);

#endif
