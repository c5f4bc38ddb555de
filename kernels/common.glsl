/* SPDX-License-Identifier: MIT */
/*
 * What every shader begins with: extensions, the arguments shared with C, views of memory by
 * address, the workgroup.
 *
 * Constants set when a pipeline is made (see daemon/device/vulkan/vk_dispatch.c):
 *   0  SUBGROUP_SIZE     invocations of a subgroup: 4 to 128, a power of two
 *   1  WORKGROUP_SIZE    invocations of a workgroup: a multiple of it, one-dimensional
 *   2.. what the shader itself declares
 * Subgroups are full. Which invocation of the workgroup is which lane is the driver's choice, so what
 * meets in subgroup operations goes by LANE and SUBGROUP, never by gl_LocalInvocationID.
 *
 * A dispatch whose launch has part_groups may be run in parts, each of some of its workgroups: then
 * gl_WorkGroupID is that of the whole, but gl_NumWorkGroups is not, and n_groups must be asked.
 *
 * A shader defines ARGS (the struct of args.h) before it includes this, and finds it as push.a; the
 * rows it was recorded for are push.max_rows. Memory is named by 64-bit address; a view such as
 * F32(address).v[i] has a 32-bit index, so offsets that may pass 4 GiB are added to the address.
 */
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int32 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_control_flow_attributes : enable
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require

/* A field's name in C, a keyword here: read it as out_address. */
#define out out_address
#include "args.h"
#undef out

layout(constant_id = 0) const uint SUBGROUP_SIZE = 32;
layout(constant_id = 1) const uint WORKGROUP_SIZE = 128;
layout(local_size_x_id = 1, local_size_y = 1, local_size_z = 1) in;
const uint N_SUBGROUPS = WORKGROUP_SIZE / SUBGROUP_SIZE;

layout(push_constant, scalar) uniform Push
{
    uint max_rows;
    uint n_groups; /* workgroups of the whole dispatch in the first dimension */
    ARGS a;
#ifdef HAS_POINTS
    uint64_t points; /* u32: ref_grid() of the type of weights; the device adds it */
#endif
}
push;

/* ---- views of memory ---- */

#define VIEW(NAME, TYPE, ALIGN)                                                                    \
    layout(buffer_reference, scalar, buffer_reference_align = ALIGN) buffer NAME { TYPE v[]; }
VIEW(F32, float, 4);
VIEW(F16, float16_t, 2);
VIEW(U32, uint, 4);
VIEW(U16, uint16_t, 2);
VIEW(U8, uint8_t, 1);
VIEW(I8, int8_t, 1);
VIEW(StepHeaders, step_header, 4);
VIEW(StepTokens, step_token, 4);
VIEW(Choices, expert_choice, 4);
VIEW(StepSeqs, step_seq, 8);

/* ---- the step ---- */

/* Rows a dispatch works on in this step; what exceeds the recorded max_rows is not touched. */
uint step_rows(uint64_t step, uint rows)
{
    step_header h = StepHeaders(step).v[0];

    return min(rows == ROWS_OUTPUTS ? h.n_outputs : h.n_tokens, push.max_rows);
}

uint step_n_seqs(uint64_t step)
{
    return StepHeaders(step).v[0].n_seqs;
}

/* ---- the workgroup ---- */

#define LANE     gl_SubgroupInvocationID
#define SUBGROUP gl_SubgroupID
