/* SPDX-License-Identifier: MIT */
#ifndef HEARTH_TESTS_POOL_POOL_FIXTURE_H
#define HEARTH_TESTS_POOL_POOL_FIXTURE_H

#include "pool/pool.h"

/* Fails the test when it cannot be made. */
struct pool *make(const struct pool_config *config, uint64_t bytes);
/* Whether the kernel can read a byte there. */
bool is_readable(const void *at);

#endif
