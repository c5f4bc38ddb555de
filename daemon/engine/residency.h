/* SPDX-License-Identifier: MIT */
/*
 * Which models stay in memory. Pure policy over plain numbers: no clock, no thread, no device, so
 * that it can be simulated. A model is active (the device maps it), idle (nothing of it is on the
 * device, its weights stay) or not there; who asks for memory gets it from those that were used
 * longest ago.
 */
#ifndef HEARTH_ENGINE_RESIDENCY_H
#define HEARTH_ENGINE_RESIDENCY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the machine's memory and of the device's. Where the two are one, weights count in both:
 * they lie in the one and take room in what the other can map. */
struct residency_bytes {
    uint64_t host, device;
};

#define RESIDENCY_UNLIMITED UINT64_MAX

enum residency_fate { RESIDENCY_STAYS, RESIDENCY_IDLES, RESIDENCY_GOES };

struct residency_model {
    const char *name;
    struct residency_bytes held; /* in all: comes free when it goes */
    struct residency_bytes work; /* of these, what comes free when it is made idle; 0: it is idle */
    uint64_t last_used_ns;
    uint32_t n_requests;
    bool is_busy;   /* has requests, or is on its way in or out: nothing is taken from it */
    bool is_pinned; /* is taken from last */
    enum residency_fate fate; /* the answer */
};

/*
 * Chooses what has to make room for `need` where `free` is left: sets every model's fate and
 * returns true, or false when even all that is not busy would not do (all then stay). Idling is
 * preferred to going where it is enough; of equals, who was used longest ago goes first, the pinned
 * ones after all others. Nobody goes in vain.
 */
bool residency_make_room(struct residency_model *models, size_t n, struct residency_bytes need,
                         struct residency_bytes free);

/* The sentence for a load that cannot be: what it needs (weights and cache), what is free, what
 * could be had, and who holds the rest. Returns -ENOMEM. */
int residency_refuse(const struct residency_model *models, size_t n, uint64_t weights_bytes,
                     uint64_t cache_bytes, struct residency_bytes need, struct residency_bytes free,
                     struct error *err);

/* When a model that was last used then shall be made idle; UINT64_MAX: never (idle_after_ns 0). */
uint64_t residency_idle_at_ns(uint64_t last_used_ns, uint64_t idle_after_ns);

#endif
