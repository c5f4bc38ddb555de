/* SPDX-License-Identifier: MIT */
/*
 * How several models share one device: by the time their steps really took, weighted. A start-time
 * fair queue (Goyal, Vin, Cheng 1996) whose packets are steps: each model has a clock that runs by
 * what its steps took, divided by its weight, and the one that is behind goes next. Pure numbers;
 * the owner measures. Device thread.
 */
#ifndef HEARTH_ENGINE_DEVICE_SHARE_H
#define HEARTH_ENGINE_DEVICE_SHARE_H

#include <stdbool.h>
#include <stdint.h>

struct device_share {
    uint64_t used_ns;  /* of the device, since it was there */
    uint64_t clock_ns; /* what it used, by its weight; never behind when it was idle */
    bool is_busy;      /* its last step did something */
};

/* The clock that is most behind of those that are busy: least_ns so far (UINT64_MAX: none yet), and
 * one more. */
uint64_t device_share_least(uint64_t least_ns, const struct device_share *s);
/* Whether it may do a step now, where that is the least clock of all that are busy. Who was idle
 * may, to find out whether it has something to do. */
bool device_share_may_step(const struct device_share *s, uint64_t least_ns);
/* It did a step that took so long, or had nothing to do. weight: 0 counts as 1. */
void device_share_note(struct device_share *s, bool did_step, uint64_t ns, uint64_t weight,
                       uint64_t least_ns);

#endif
