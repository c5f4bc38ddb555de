/* SPDX-License-Identifier: MIT */
/* What it would cost each request to have again what it holds of the cache. */
#include "engine/running_private.h"

void running_get_speeds(const struct running_model *m, struct kv_speeds *ret)
{
    struct kv_disk_stats disk = {0};

    if (m->config.disk)
        kv_disk_get_stats(m->config.disk, &disk);
    *ret = (struct kv_speeds){
        .prompt_token_ns = m->prompt_token_ns,
        /* fed again as many at a time as come out as they did */
        .generated_token_ns = m->generate_ns / (m->exact_rows ? m->exact_rows : 1),
        .bytes_per_second = disk.bytes_per_second,
    };
}

static void note_cost(struct running_model *m, struct engine_request *r,
                      const struct kv_speeds *speeds)
{
    const struct session *s = r->session;
    struct kv_spill *spill = runner_spill(m->runner);
    uint32_t of_prompt = s->n_past < r->n_prompt ? s->n_past : r->n_prompt;
    struct kv_loss loss = {
        .prompt_tokens = of_prompt,
        .generated_tokens = s->n_past - of_prompt,
    };

    if (spill)
        loss.disk_tokens =
            (uint64_t)KV_BLOCK_TOKENS *
            kv_spill_n_on_disk(spill, s->table.blocks, s->n_shared, &loss.disk_bytes);
    r->sched.n_freed = session_n_own_blocks(s);
    r->sched.return_ns = kv_cost_return_ns(speeds, &loss);
}

void running_note_costs(struct running_model *m)
{
    struct kv_speeds speeds;

    running_get_speeds(m, &speeds);
    list_for_each (r, &m->requests, struct engine_request, link)
        if (r->session)
            note_cost(m, r, &speeds);
}
