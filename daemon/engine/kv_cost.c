/* SPDX-License-Identifier: MIT */
#include "engine/kv_cost.h"

#define SECOND_NS 1e9

uint64_t kv_cost_compute_ns(const struct kv_speeds *s, const struct kv_loss *l)
{
    return l->prompt_tokens * s->prompt_token_ns + l->generated_tokens * s->generated_token_ns;
}

uint64_t kv_cost_read_ns(const struct kv_speeds *s, const struct kv_loss *l)
{
    return s->bytes_per_second
               ? (uint64_t)((double)l->disk_bytes * SECOND_NS / (double)s->bytes_per_second)
               : 0;
}

bool kv_cost_prefers_reading(const struct kv_speeds *s, const struct kv_loss *l)
{
    uint64_t compute_ns = kv_cost_compute_ns(s, l);

    return l->disk_bytes && (!compute_ns || kv_cost_read_ns(s, l) < compute_ns);
}
