/* SPDX-License-Identifier: MIT */
/* The machine's monotonic clock, put forward by as much as a test says. A program linked with
 * --wrap=clock_gettime reads it; what waits in the kernel does not, and is to be woken. */
#ifndef HEARTH_TESTS_MOVED_CLOCK_H
#define HEARTH_TESTS_MOVED_CLOCK_H

void moved_clock_add(unsigned seconds);

#endif
