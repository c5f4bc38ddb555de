/* SPDX-License-Identifier: MIT */
#ifndef HEARTH_CLI_BANDWIDTH_H
#define HEARTH_CLI_BANDWIDTH_H

/* Bytes per second that n_threads can read from memory (best of a few passes over 512 MiB); 0 when
 * it cannot be measured. Takes about a second. */
double bandwidth_measure(unsigned n_threads);

#endif
