/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_segments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int vk_segments_init(struct vk_segments *s, size_t n_calls, uint64_t call_ns)
{
    uint64_t fit = call_ns ? VK_SEGMENT_TARGET_NS / call_ns : VK_SEGMENT_FIRST_CALLS;
    size_t most = fit > VK_SEGMENT_FIRST_CALLS ? VK_SEGMENT_FIRST_CALLS : fit ? (size_t)fit : 1;

    *s = (struct vk_segments){
        .n_calls = n_calls,
        .ends = calloc(n_calls, sizeof(*s->ends)),
        .measured = calloc(n_calls, sizeof(*s->measured)),
        .call_ns = calloc(n_calls, sizeof(*s->call_ns)),
    };
    if (!s->ends || !s->measured || !s->call_ns)
        return -ENOMEM;
    for (size_t at = 0; at < n_calls;) {
        at += n_calls - at < most ? n_calls - at : most;
        s->ends[s->n++] = at;
    }
    return 0;
}

void vk_segments_finish(struct vk_segments *s)
{
    free(s->ends);
    free(s->measured);
    free(s->call_ns);
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

static bool is_one_too_long(const struct vk_segments *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->measured[i] > VK_SEGMENT_LIMIT_NS / 2 && s->ends[i] - vk_segments_first(s, i) > 1)
            return true;
    return false;
}

/* Segments that greedy packing up to the target makes; ends may be NULL to count only. */
static size_t pack(const struct vk_segments *s, size_t *ends)
{
    size_t n = 0, in_segment = 0;
    uint64_t sum = 0;

    for (size_t k = 0; k < s->n_calls; k++) {
        if (in_segment && sum + s->call_ns[k] > VK_SEGMENT_TARGET_NS) {
            if (ends)
                ends[n] = k;
            n++;
            sum = 0;
            in_segment = 0;
        }
        sum += s->call_ns[k];
        in_segment++;
    }
    if (ends)
        ends[n] = s->n_calls;
    return n + 1;
}

bool vk_segments_recut(struct vk_segments *s)
{
    size_t n;

    for (size_t i = 0; i < s->n; i++)
        if (!s->measured[i])
            return false;
    n = pack(s, NULL);
    if (!is_one_too_long(s) && 2 * n > s->n)
        return false;
    s->n = pack(s, s->ends);
    memset(s->measured, 0, s->n * sizeof(*s->measured));
    return true;
}
