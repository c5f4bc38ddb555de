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
        .rows = calloc(n_calls, sizeof(*s->rows)),
        .bound_ns = calloc(n_calls, sizeof(*s->bound_ns)),
    };
    if (!s->ends || !s->measured || !s->call_ns || !s->rows || !s->bound_ns)
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
    free(s->rows);
    free(s->bound_ns);
    *s = (struct vk_segments){0};
}

/* What is known of a segment's calls together, and the least rows that any of it is of. */
static uint64_t known_ns(const struct vk_segments *s, size_t i, uint32_t *ret_rows)
{
    uint64_t ns = 0;

    *ret_rows = UINT32_MAX;
    for (size_t k = vk_segments_first(s, i); k < s->ends[i]; k++) {
        ns += s->call_ns[k];
        *ret_rows = s->rows[k] < *ret_rows ? s->rows[k] : *ret_rows;
    }
    return ns;
}

void vk_segments_measured(struct vk_segments *s, size_t i, uint64_t ns, uint32_t rows)
{
    size_t first = vk_segments_first(s, i), n = s->ends[i] - first;
    uint32_t known_rows;
    uint64_t known = known_ns(s, i, &known_rows);

    /* times waver by less than a quarter */
    if (known && rows < known_rows && ns <= known + known / 4) {
        s->measured[i] = known;
        return;
    }
    s->measured[i] = ns;
    /* What was known of the calls keeps its proportions; else each took the same. */
    for (size_t k = first; k < first + n; k++) {
        s->call_ns[k] =
            known ? (uint64_t)((double)s->call_ns[k] * (double)ns / (double)known) : ns / n;
        s->rows[k] = rows;
    }
}

uint64_t vk_segments_longest_call(const struct vk_segments *s, uint32_t *ret_rows)
{
    uint64_t longest = 0;

    *ret_rows = 0;
    for (size_t i = 0; i < s->n; i++) {
        size_t first = vk_segments_first(s, i);

        for (size_t k = first; k < s->ends[i]; k++) {
            uint64_t ns = s->ends[i] - first == 1 ? s->call_ns[k] : 2 * s->call_ns[k];

            if (ns > s->measured[i])
                ns = s->measured[i];
            if (ns <= longest)
                continue;
            longest = ns;
            *ret_rows = s->rows[k];
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

/* What is known is to be of a step of at least so many rows. */
static void expect_rows(struct vk_segments *s, uint32_t rows)
{
    for (size_t k = 0; k < s->n_calls; k++) {
        if (!s->rows[k] || s->rows[k] >= rows)
            continue;
        s->call_ns[k] = (uint64_t)((double)s->call_ns[k] * rows / s->rows[k]);
        s->rows[k] = rows;
    }
    for (size_t i = 0; i < s->n; i++) {
        uint32_t least;
        uint64_t ns = known_ns(s, i, &least);

        if (s->measured[i] && ns > s->measured[i])
            s->measured[i] = ns;
    }
}

bool vk_segments_recut(struct vk_segments *s, uint32_t rows)
{
    expect_rows(s, rows);
    if (!is_one_over_bounds(s) &&
        (!is_all_measured(s) || (!is_one_too_long(s) && 2 * pack(s, NULL) > s->n)))
        return false;
    s->n = pack(s, s->ends);
    memset(s->measured, 0, s->n * sizeof(*s->measured));
    return true;
}
