/* SPDX-License-Identifier: MIT */
/*
 * Fault injection into this thread's allocations, one at a time: the sweep lets the first, then
 * the second, ... allocation of an operation fail until the operation has no more of them.
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

/* True if the armed fault was injected; disarms it otherwise. */
bool fault_was_injected(void);

#endif
