/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PUSH_HEADER_BYTES = 8 };

_Static_assert(PUSH_HEADER_BYTES + sizeof(union kernel_args) <= VK_PUSH_BYTES, "push constants");
/* of the structs that points may follow: 8-byte aligned behind them, as in the shader, and room */
_Static_assert(sizeof(struct args_embed) % 8 == 0 && sizeof(struct args_matmul) % 8 == 0 &&
                   sizeof(struct args_matmul_experts) % 8 == 0 &&
                   PUSH_HEADER_BYTES + sizeof(struct args_matmul_experts) + 8 <= VK_PUSH_BYTES,
               "points");

/* Of an attention: what its cache or its window holds; of scores: what they have room for. */
static uint32_t most_positions(const struct dispatch *d)
{
    const struct args_attention *a = &d->args.attention;
    uint64_t n = (uint64_t)a->kv.n_blocks * KV_BLOCK_TOKENS;
    uint32_t window = a->window & ~ATTENTION_CHUNKS;

    if (d->op == KERNEL_INDEX_SCORES)
        return d->args.index_scores.n_positions;
    if (d->op != KERNEL_ATTENTION)
        return 0;
    if (window && window < n)
        n = window;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

int vk_calls_add(struct vk_calls *calls, const struct dispatch *d, const struct vk_launch *launch,
                 VkPipeline pipeline, uint64_t points)
{
    uint32_t part = launch->part_groups ? launch->part_groups : launch->groups[0];
    uint32_t n = (launch->groups[0] - 1) / part + 1;
    size_t bytes = vk_args_bytes(d->op);
    struct vk_call *list = realloc(calls->list, (calls->n + n) * sizeof(*list));

    if (!list)
        return -ENOMEM;
    calls->list = list;
    for (uint32_t i = 0; i < n; i++) {
        struct vk_call *c = &list[calls->n++];

        *c = (struct vk_call){
            .pipeline = pipeline,
            .first_group = i * part,
            .groups = {part, launch->groups[1], launch->groups[2]},
            .push_bytes = (uint32_t)(PUSH_HEADER_BYTES + bytes + (points ? sizeof(points) : 0)),
            .barrier = d->barrier && !i,
            .push = {d->max_rows, launch->groups[0]},
            .first_row = i * launch->part_rows,
            .n_rows = launch->part_groups ? launch->part_rows : d->max_rows,
            .most_positions = most_positions(d),
            .position_ns = launch->position_ns,
        };
        if (i == n - 1)
            c->groups[0] = launch->groups[0] - c->first_group;
        memcpy((char *)c->push + PUSH_HEADER_BYTES, &d->args, bytes);
        if (points)
            memcpy((char *)c->push + PUSH_HEADER_BYTES + bytes, &points, sizeof(points));
    }
    return 0;
}

void vk_calls_finish(struct vk_calls *calls)
{
    free(calls->list);
    *calls = (struct vk_calls){0};
}

uint64_t vk_call_bound_ns(const struct vk_call *c, uint32_t n_tokens, uint32_t n_positions)
{
    uint32_t rows = n_tokens > c->first_row ? n_tokens - c->first_row : 0;

    if (!n_positions || n_positions > c->most_positions)
        n_positions = c->most_positions;
    if (rows > c->n_rows)
        rows = c->n_rows;
    return (uint64_t)((double)c->position_ns * rows * n_positions);
}
