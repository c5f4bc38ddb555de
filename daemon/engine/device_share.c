/* SPDX-License-Identifier: MIT */
#include "engine/device_share.h"

uint64_t device_share_least(uint64_t least_ns, const struct device_share *s)
{
    return s->is_busy && s->clock_ns < least_ns ? s->clock_ns : least_ns;
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
