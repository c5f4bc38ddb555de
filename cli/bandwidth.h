/* SPDX-License-Identifier: MIT */
#ifndef HEARTH_CLI_BANDWIDTH_H
#define HEARTH_CLI_BANDWIDTH_H

#include <stdint.h>

/* Bytes per second at which n_threads can read so much memory over and over (best of a few passes;
 * of more than 512 MiB, which no cache holds, only these); 0 when it cannot be measured. What fits
 * a cache is read from there, as the weights of so small a model are. Takes about a second. */
double bandwidth_measure(unsigned n_threads, uint64_t bytes);

#endif
