/* SPDX-License-Identifier: MIT */
/* Numbers as people write them in settings. */
#ifndef HEARTH_BASE_NUMBER_H
#define HEARTH_BASE_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* The whole text is a number up to max; has_units: K, M, G, T may follow, binary multiples.
 * -EINVAL; *ret_n is untouched then. */
int number_parse(const char *text, int base, bool has_units, uint64_t max, uint64_t *ret_n);

#endif
