/* SPDX-License-Identifier: MIT */
/*
 * Keeps a device at hand: makes it, and makes it anew after it was lost. A device that is lost
 * again and again is given up for a while, or for the cpu where the configuration allows that.
 * Knows nothing of what runs on the device. Belongs to the device thread, but for the losses, which
 * are plain numbers.
 */
#ifndef HEARTH_ENGINE_DEVICE_KEEPER_H
#define HEARTH_ENGINE_DEVICE_KEEPER_H

#include "device/device.h"

/* So many losses within so long are too many. */
#define DEVICE_LOSSES_MOST      3u
#define DEVICE_LOSSES_WITHIN_NS 60000000000ull
/* After a device could not be made anew, the next try. */
#define DEVICE_RETRY_NS 5000000000ull

/* The last losses of a device. */
struct device_losses {
    uint64_t at_ns[DEVICE_LOSSES_MOST]; /* a ring; n of them were written in all */
    uint64_t n;
};

void device_losses_add(struct device_losses *l, uint64_t now_ns);
/* When there are no longer too many: a time after now_ns, or 0 when there are not. */
uint64_t device_losses_over_ns(const struct device_losses *l, uint64_t now_ns);

struct device_keeper {
    char *config;
    struct device *device; /* NULL while none works */
    struct device_losses losses;
    uint64_t retry_ns;  /* while there is none: when to try again */
    struct error why;   /* while there is none: what requests are told */
    char fallback[128]; /* why the cpu took over, a sentence; "" when it did not */
};

/* Makes the first device. config as device_create takes it. */
int device_keeper_init(struct device_keeper *k, const char *config, struct error *err);
void device_keeper_finish(struct device_keeper *k); /* also one that was never made, if zeroed */

/* The device is lost, and nothing is left on it: destroys it and makes another. On failure there is
 * none, and err says why and when the next try is. */
int device_keeper_renew(struct device_keeper *k, uint64_t now_ns, struct error *err);
/* Where there is no device and it is time to try again, tries; fails as device_keeper_renew. */
int device_keeper_revive(struct device_keeper *k, uint64_t now_ns, struct error *err);

#endif
