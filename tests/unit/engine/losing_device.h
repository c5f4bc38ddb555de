/* SPDX-License-Identifier: MIT */
/*
 * A device that gets lost, or full, when a test says so: the cpu's, behind operations that count. A
 * program linked with -Wl,--wrap=device_create gets one for the configuration "losing"; all others
 * are as ever.
 */
#ifndef HEARTH_TESTS_ENGINE_LOSING_DEVICE_H
#define HEARTH_TESTS_ENGINE_LOSING_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>

/* Set by tests, counted down by whatever thread has the device. */
struct losing {
    atomic_uint n_calls;   /* of operations that can fail, so far */
    atomic_uint lose_in;   /* the operation that loses the device, counted from now; 0: none */
    atomic_uint lose_each; /* what lose_in becomes when a device was lost, */
    atomic_uint n_most;    /* until so many were; 0: for ever */
    atomic_uint n_lost, n_created;
    atomic_uint n_refused;    /* creations that shall fail */
    atomic_uint delay_us;     /* of every wait */
    atomic_uint prepare_us;   /* what compiling for a plan takes */
    atomic_uint n_prepared;   /* plans that something was compiled for, so far */
    atomic_uint n_imports;    /* so far */
    atomic_ullong room_bytes; /* for imports; 0: without limit */
    atomic_ullong imported_bytes;
    atomic_bool is_held;    /* no wait ends while it is */
    atomic_bool is_waiting; /* whoever has the device waits for the end of that */
};
extern struct losing losing;

void losing_reset(void);

#endif
