/* SPDX-License-Identifier: MIT */
/* A device that computes nothing and keeps the last program that was recorded. Products of Q8_0
 * take activations of 8 bits, and attention of few rows is in five ranges. */
#ifndef HEARTH_TESTS_MODEL_SPY_H
#define HEARTH_TESTS_MODEL_SPY_H

#include "device/device_backend.h"

struct spy {
    struct device device; /* first */
    struct dispatch *list;
    size_t n;
    struct program program;
};

/* Never NULL; device_destroy() ends it. */
struct spy *spy_create(void);

#endif
