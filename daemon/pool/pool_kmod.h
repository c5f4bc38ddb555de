/* SPDX-License-Identifier: MIT */
/* What the kernel module offers. Any thread. */
#ifndef HEARTH_POOL_POOL_KMOD_H
#define HEARTH_POOL_POOL_KMOD_H

#include "base/error.h"
#include "uapi/hearth.h"

#define POOL_KMOD_DEVICE "/dev/hearth"

/* Its limits and their use; fails with a sentence that says how to get the module to work. */
int pool_kmod_query(struct hearth_query *ret, struct error *err);

#endif
