/* SPDX-License-Identifier: MIT */
/*
 * Where a program's list of calls is cut into submissions. Pure arithmetic over times; knows no
 * Vulkan.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_SEGMENTS_H
#define HEARTH_DEVICE_VULKAN_VK_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VK_SEGMENT_LIMIT_NS  200000000u /* no submission may take longer */
#define VK_SEGMENT_TARGET_NS 60000000u  /* what is aimed at: room for a GPU that slows down */
/* Calls of a segment while nothing is known of them: at most about a layer of a model. */
#define VK_SEGMENT_FIRST_CALLS 16u

struct vk_segments {
    size_t n_calls, n;
    size_t *ends;       /* [n]: the call after the last of each */
    uint64_t *measured; /* [n]: nanoseconds, 0 unknown */
    uint64_t *call_ns;  /* [n_calls]: estimates, from the segment a call was measured in */
    uint32_t *rows;     /* [n_calls]: of the step that call_ns is of; 0: it is only a guess */
    /* [n_calls]: what a call whose time hangs on the step takes at most in the next one; else 0.
     * The caller's: a step can do a hundred times what the one that was measured did. */
    uint64_t *bound_ns;
};

/* Before anything of these calls was measured; call_ns: what the longest may take, 0 unknown.
 * -ENOMEM. */
int vk_segments_init(struct vk_segments *s, size_t n_calls, uint64_t call_ns);
void vk_segments_finish(struct vk_segments *s);

static inline size_t vk_segments_first(const struct vk_segments *s, size_t i)
{
    return i ? s->ends[i - 1] : 0;
}

static inline size_t vk_segments_end(const struct vk_segments *s, size_t i)
{
    return s->ends[i];
}

/* What a segment took in a step of `rows` rows. That of fewer rows than what is known is of counts
 * only where it took longer nonetheless. */
void vk_segments_measured(struct vk_segments *s, size_t i, uint64_t ns, uint32_t rows);

/* The longest call: exact where it is alone in its segment, else at most twice its share; and the
 * rows of the step that is of. */
uint64_t vk_segments_longest_call(const struct vk_segments *s, uint32_t *ret_rows);

/* Cuts anew for a step of `rows` rows, by what was measured and by the bounds; true when the cuts
 * moved. Until it is measured, a step of more rows than before is taken to be longer in proportion,
 * as a bucket's fullest may be four times as long as its emptiest. They move when the
 * bounds of a segment of several calls pass the limit's half, or its time did, or when fewer than
 * half as many segments would do. What is measured and what is bound is added up on its own: calls
 * whose time does not hang on the step have no bound, and take the target's time at most. */
bool vk_segments_recut(struct vk_segments *s, uint32_t rows);

#endif
