/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Windows of pools as dma-bufs.
 */
#ifndef _HEARTH_EXPORT_H
#define _HEARTH_EXPORT_H

#include <linux/types.h>

struct hearth_export;
struct hearth_pool;

int hearth_export_open(struct hearth_pool *pool, const struct hearth_export *args);

#endif /* _HEARTH_EXPORT_H */
