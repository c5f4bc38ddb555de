/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pools in address spaces: mapping, page faults, sealing.
 */
#ifndef _HEARTH_MAPPING_H
#define _HEARTH_MAPPING_H

#include <linux/types.h>

struct file;
struct hearth_pool;
struct vm_area_struct;

int hearth_mapping_add(struct hearth_pool *pool, struct vm_area_struct *vma, bool may_write);
int hearth_mapping_seal(struct hearth_pool *pool);
struct file *hearth_mapping_open(struct hearth_pool *pool);

#endif /* _HEARTH_MAPPING_H */
