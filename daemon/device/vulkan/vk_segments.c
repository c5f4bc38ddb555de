/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_segments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whether a call must not stand behind calls of together so many nanoseconds. */
static bool is_full(const struct vk_segments *s, size_t k, uint64_t ns, uint64_t bound_ns)
{
    return ns + s->call_ns[k] > VK_SEGMENT_TARGET_NS ||
           bound_ns + s->bound_ns[k] > VK_SEGMENT_LIMIT_NS / 2;
}

/* Segments that greedy packing makes; ends may be NULL to count only. */
static size_t pack(const struct vk_segments *s, size_t *ends)
{
    uint64_t ns = 0, bound_ns = 0;
    size_t n = 0, first = 0;

    for (size_t k = 0; k < s->n_calls; k++) {
        if (k > first && is_full(s, k, ns, bound_ns)) {
            if (ends)
                ends[n] = k;
            n++;
            first = k;
            ns = bound_ns = 0;
        }
        ns += s->call_ns[k];
        bound_ns += s->bound_ns[k];
    }
    if (ends)
        ends[n] = s->n_calls;
    return n + 1;
}

int vk_segments_init(struct vk_segments *s, size_t n_calls, uint64_t call_ns)
{
    uint64_t least = VK_SEGMENT_TARGET_NS / VK_SEGMENT_FIRST_CALLS;

    *s = (struct vk_segments){
        .n_calls = n_calls,
        .ends = calloc(n_calls, sizeof(*s->ends)),
        .measured = calloc(n_calls, sizeof(*s->measured)),
        .call_ns = calloc(n_calls, sizeof(*s->call_ns)),
        .bound_ns = calloc(n_calls, sizeof(*s->bound_ns)),
    };
    if (!s->ends || !s->measured || !s->call_ns || !s->bound_ns)
        return -ENOMEM;
    for (size_t k = 0; k < n_calls; k++)
        s->call_ns[k] = call_ns > least ? call_ns : least;
    s->n = pack(s, s->ends);
    return 0;
}

void vk_segments_finish(struct vk_segments *s)
{
    free(s->ends);
    free(s->measured);
    free(s->call_ns);
    free(s->bound_ns);
    *s = (struct vk_segments){0};
}

void vk_segments_measured(struct vk_segments *s, size_t i, uint64_t ns)
{
    size_t first = vk_segments_first(s, i), n = s->ends[i] - first;
    uint64_t known = 0;

    s->measured[i] = ns;
    for (size_t k = first; k < first + n; k++)
        known += s->call_ns[k];
    /* What was known of the calls keeps its proportions; else each took the same. */
    for (size_t k = first; k < first + n; k++)
        s->call_ns[k] =
            known ? (uint64_t)((double)s->call_ns[k] * (double)ns / (double)known) : ns / n;
}

uint64_t vk_segments_longest_call(const struct vk_segments *s)
{
    uint64_t longest = 0;

    for (size_t i = 0; i < s->n; i++) {
        size_t first = vk_segments_first(s, i);

        for (size_t k = first; k < s->ends[i]; k++) {
            uint64_t ns = s->ends[i] - first == 1 ? s->call_ns[k] : 2 * s->call_ns[k];

            if (ns > s->measured[i])
                ns = s->measured[i];
            longest = ns > longest ? ns : longest;
        }
    }
    return longest;
}

/* Whether a segment of several calls can take too long in the next step. */
static bool is_one_over_bounds(const struct vk_segments *s)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t first = vk_segments_first(s, i);
        uint64_t sum = 0;

        for (size_t k = first; k < s->ends[i]; k++)
            sum += s->bound_ns[k];
        if (sum > VK_SEGMENT_LIMIT_NS / 2 && s->ends[i] - first > 1)
            return true;
    }
    return false;
}

static bool is_one_too_long(const struct vk_segments *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->measured[i] > VK_SEGMENT_LIMIT_NS / 2 && s->ends[i] - vk_segments_first(s, i) > 1)
            return true;
    return false;
}

static bool is_all_measured(const struct vk_segments *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (!s->measured[i])
            return false;
    return true;
}

bool vk_segments_recut(struct vk_segments *s)
{
    if (!is_one_over_bounds(s) &&
        (!is_all_measured(s) || (!is_one_too_long(s) && 2 * pack(s, NULL) > s->n)))
        return false;
    s->n = pack(s, s->ends);
    memset(s->measured, 0, s->n * sizeof(*s->measured));
    return true;
}
