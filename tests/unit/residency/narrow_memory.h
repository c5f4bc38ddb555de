/* SPDX-License-Identifier: MIT */
/*
 * A machine with as much memory as a test says. A program linked with --wrap of pool_create,
 * pool_destroy, pool_seal and pool_available_bytes asks it instead of the kernel; the pools are
 * real. While it is held, no pool is created: who asks for one waits.
 */
#ifndef HEARTH_TESTS_ENGINE_NARROW_MEMORY_H
#define HEARTH_TESTS_ENGINE_NARROW_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>

extern atomic_ullong narrow_memory_bytes; /* in all; 0: as much as pools want */
extern atomic_ullong narrow_memory_used;  /* by pools */

extern atomic_bool narrow_memory_is_held;
extern atomic_bool narrow_memory_seals_wait; /* what is read whole is not ready yet */

#endif
