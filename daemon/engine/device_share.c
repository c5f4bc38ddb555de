/* SPDX-License-Identifier: MIT */
#include "engine/device_share.h"

uint64_t device_share_least(const struct device_share *const *shares, uint64_t n)
{
    uint64_t least_ns = UINT64_MAX;

    for (uint64_t i = 0; i < n; i++)
        if (shares[i]->is_busy && shares[i]->clock_ns < least_ns)
            least_ns = shares[i]->clock_ns;
    return least_ns;
}

bool device_share_may_step(const struct device_share *s, uint64_t least_ns)
{
    return !s->is_busy || s->clock_ns <= least_ns;
}

void device_share_note(struct device_share *s, bool did_step, uint64_t ns, uint64_t weight,
                       uint64_t least_ns)
{
    if (did_step && !s->is_busy && least_ns != UINT64_MAX && s->clock_ns < least_ns)
        s->clock_ns = least_ns; /* nobody saves up time by being idle */
    s->is_busy = did_step;
    if (!did_step)
        return;
    s->used_ns += ns;
    s->clock_ns += ns / (weight ? weight : 1);
}
