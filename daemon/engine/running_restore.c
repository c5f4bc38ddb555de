/* SPDX-License-Identifier: MIT */
/* Requests whose beginning lies on the disk tier: they wait while it is read back, and others run.
 */
#include "engine/running_private.h"

enum {
    WRITES_BETWEEN_STEPS = 1, /* each is a copy of a block, which a step waits for */
    WRITES_IDLE = 2,
};

bool running_restore_begin(struct running_model *m, struct engine_request *r)
{
    struct kv_spill *spill = runner_spill(m->runner);
    struct kv_chain chain = {.tokens = r->tokens, .uid = r->caller.uid};
    struct kv_speeds speeds;

    if (!spill || r->has_looked_on_disk)
        return false;
    r->has_looked_on_disk = true;
    session_set_common(r->session, r->n_common);
    chain.n_blocks = session_most_prefix(r->session, r->caller.uid, r->n_tokens, &chain.n_common);
    running_get_speeds(m, &speeds);
    r->sched.is_reading = kv_restore_begin(spill, &chain, &speeds, &r->restore);
    return r->sched.is_reading;
}

void running_restore_end(struct engine_request *r)
{
    kv_restore_end(r->restore);
    r->restore = NULL;
    r->sched.is_reading = false;
}

bool running_restore_step(struct running_model *m)
{
    struct kv_spill *spill = m->runner ? runner_spill(m->runner) : NULL;
    bool is_idle = list_empty(&m->requests), has_more;

    if (!spill)
        return false;
    kv_restore_note_pace(spill, m->prompt_token_ns);
    has_more = kv_spill_step(spill, is_idle ? WRITES_IDLE : WRITES_BETWEEN_STEPS);
    list_for_each (r, &m->requests, struct engine_request, link)
        if (r->restore && kv_restore_is_over(r->restore)) {
            if (!r->has_started)
                r->n_restored = kv_restore_n_read(r->restore) * KV_BLOCK_TOKENS;
            running_restore_end(r);
        }
    return has_more;
}

bool running_restore_give_up(struct running_model *m)
{
    bool has_any = false;

    list_for_each (r, &m->requests, struct engine_request, link) {
        has_any |= r->restore != NULL;
        running_restore_end(r);
    }
    return has_any;
}
