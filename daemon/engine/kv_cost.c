/* SPDX-License-Identifier: MIT */
#include "engine/kv_cost.h"

#define SECOND_NS     1e9
#define DRIVE_KEEP_NS 60000000000ull /* what is known of it holds so long */

uint64_t kv_cost_learn_token_ns(uint64_t token_ns, uint32_t n_tokens, uint32_t full_tokens,
                                uint64_t ns)
{
    uint64_t parts = 4ull * (n_tokens > full_tokens ? n_tokens : full_tokens);

    return token_ns ? (token_ns * (parts - n_tokens) + ns) / parts : ns / n_tokens;
}

void kv_drive_note(struct kv_drive *d, uint64_t bytes, uint64_t ns, uint64_t now_ns)
{
    double speed = (double)bytes * SECOND_NS / (double)(ns ? ns : 1);
    double before = (double)kv_drive_speed(d, now_ns), most = 2 * before;

    if (before > 0)
        speed = (3 * before + (speed < most ? speed : most)) / 4;
    d->bytes_per_second = speed < 1 ? 1 : (uint64_t)speed;
    d->read_ns = now_ns;
}

uint64_t kv_drive_speed(const struct kv_drive *d, uint64_t now_ns)
{
    return now_ns - d->read_ns < DRIVE_KEEP_NS ? d->bytes_per_second : 0;
}

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

uint64_t kv_cost_return_ns(const struct kv_speeds *s, const struct kv_loss *l)
{
    uint64_t of_prompt = l->disk_tokens < l->prompt_tokens ? l->disk_tokens : l->prompt_tokens;
    const struct kv_loss rest = {
        .prompt_tokens = l->prompt_tokens - of_prompt,
        .generated_tokens = l->generated_tokens - (l->disk_tokens - of_prompt),
    };
    uint64_t compute_ns = kv_cost_compute_ns(s, l), read_ns;

    if (!l->disk_bytes || !s->bytes_per_second)
        return compute_ns;
    read_ns = kv_cost_read_ns(s, l) + kv_cost_compute_ns(s, &rest);
    return read_ns < compute_ns ? read_ns : compute_ns;
}

bool kv_cost_prefers_reading(const struct kv_speeds *s, const struct kv_loss *l)
{
    uint64_t compute_ns = kv_cost_compute_ns(s, l);

    return l->disk_bytes && (!compute_ns || kv_cost_read_ns(s, l) < compute_ns);
}
