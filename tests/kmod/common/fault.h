/* SPDX-License-Identifier: MIT */
/*
 * Fault injection into this thread's allocations and copies from and to user memory, one at a
 * time: the sweep lets the first, then the second, ... of an operation fail until it has no more.
 */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#include <stdbool.h>

/*
 * True where the kernel can (CONFIG_FAULT_INJECTION); sets failslab and fail_page_alloc up. To be
 * called by the thread that will fail.
 */
bool fault_prepare(void);

/* The @nth allocation of this thread from now on fails. 0 or a negative errno. */
int fault_arm(unsigned int nth);

/*
 * Ends what the fault may hit: notes whether it was injected, and disarms it. For an operation
 * that checks or undoes what it did; without it the operation ends at fault_was_injected().
 */
void fault_disarm(void);

/* True if the armed fault was injected. Disarms it. */
bool fault_was_injected(void);

#endif
