/* SPDX-License-Identifier: MIT */
/* What a dispatch touches, worked out anew from its arguments alone. */
#ifndef HEARTH_TESTS_ACCESSES_H
#define HEARTH_TESTS_ACCESSES_H

#include "kernels/kernels.h"

/* Whether one of them touches what the other writes. max_tokens: of the plan, for what a gather may
 * read. Weights and steps do not count: nobody writes them. */
bool accesses_depend(const struct dispatch *d, const struct dispatch *e, uint32_t max_tokens);

#endif
