/* SPDX-License-Identifier: MIT */
#include "moved_clock.h"

#include <stdatomic.h>
#include <time.h>

static atomic_uint moved_seconds;

void moved_clock_add(unsigned seconds)
{
    moved_seconds += seconds;
}

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    int r = __real_clock_gettime(clock, ret);

    if (r == 0 && clock == CLOCK_MONOTONIC)
        ret->tv_sec += (time_t)moved_seconds;
    return r;
}
