/* SPDX-License-Identifier: MIT */
#include "engine/device_keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull

void device_losses_add(struct device_losses *l, uint64_t now_ns)
{
    l->at_ns[l->n++ % DEVICE_LOSSES_MOST] = now_ns;
}

uint64_t device_losses_over_ns(const struct device_losses *l, uint64_t now_ns)
{
    /* the oldest that is remembered is the one that will be overwritten next */
    uint64_t over_ns = l->at_ns[l->n % DEVICE_LOSSES_MOST] + DEVICE_LOSSES_WITHIN_NS;

    return l->n >= DEVICE_LOSSES_MOST && now_ns < over_ns ? over_ns : 0;
}

int device_keeper_init(struct device_keeper *k, const char *config, struct error *err)
{
    *k = (struct device_keeper){.config = strdup(config ? config : "auto")};
    if (!k->config)
        return error_set(err, ENOMEM, "out of memory");
    return device_create(k->config, &k->device, err);
}

void device_keeper_finish(struct device_keeper *k)
{
    device_destroy(k->device);
    free(k->config);
    *k = (struct device_keeper){0};
}

static unsigned seconds_until(uint64_t then_ns, uint64_t now_ns)
{
    return (unsigned)((then_ns - now_ns + SECOND_NS - 1) / SECOND_NS);
}

static int tell_none(const struct device_keeper *k, uint64_t now_ns, struct error *err)
{
    return error_set(err, EIO, "%s; the next try is in %u s", k->why.text,
                     seconds_until(k->retry_ns, now_ns));
}

/* There shall be no device until then. */
static int give_up(struct device_keeper *k, uint64_t now_ns, uint64_t retry_ns, struct error *err)
{
    k->retry_ns = retry_ns;
    return tell_none(k, now_ns, err);
}

static int make(struct device_keeper *k, uint64_t now_ns, struct error *err)
{
    struct error e = {0};

    if (device_create(k->config, &k->device, &e) == 0)
        return 0;
    error_set(&k->why, EIO, "the device was lost and cannot be made anew: %.300s", e.text);
    return give_up(k, now_ns, now_ns + DEVICE_RETRY_NS, err);
}

/* Lost too often: the cpu takes over if it may, for as long as the daemon runs. */
static int fall_back(struct device_keeper *k, uint64_t now_ns, uint64_t over_ns, struct error *err)
{
    char cpu[64];

    if (device_config_cpu(k->config, cpu, sizeof(cpu)) == 0 &&
        device_create(cpu, &k->device, NULL) == 0) {
        snprintf(k->fallback, sizeof(k->fallback),
                 "%.30s was lost %u times within a minute: the cpu took over until the next start",
                 k->config, DEVICE_LOSSES_MOST);
        memcpy(k->config, cpu, strlen(cpu) + 1); /* never longer than what it was part of */
        return 0;
    }
    error_set(&k->why, EIO,
              "the device was lost %u times within a minute: see the kernel's log for what resets "
              "the GPU, or allow the cpu instead (device = %s,cpu)",
              DEVICE_LOSSES_MOST, k->config);
    return give_up(k, now_ns, over_ns, err);
}

int device_keeper_renew(struct device_keeper *k, uint64_t now_ns, struct error *err)
{
    uint64_t over_ns;

    device_destroy(k->device);
    k->device = NULL;
    device_losses_add(&k->losses, now_ns);
    over_ns = device_losses_over_ns(&k->losses, now_ns);
    return over_ns ? fall_back(k, now_ns, over_ns, err) : make(k, now_ns, err);
}

int device_keeper_revive(struct device_keeper *k, uint64_t now_ns, struct error *err)
{
    if (k->device)
        return 0;
    return now_ns < k->retry_ns ? tell_none(k, now_ns, err) : make(k, now_ns, err);
}
