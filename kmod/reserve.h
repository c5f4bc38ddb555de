/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Large pages set aside when the module is loaded, while memory is not fragmented. They belong
 * to the machine: no memory cgroup is charged for them.
 */
#ifndef _HEARTH_RESERVE_H
#define _HEARTH_RESERVE_H

#include <linux/types.h>

struct folio;

void hearth_reserve_init(void);
void hearth_reserve_exit(void);
struct folio *hearth_reserve_take(int node, bool is_strict);
void hearth_reserve_give(struct folio *folio);
u64 hearth_reserve_bytes(void);
u64 hearth_reserve_free_bytes(void);

#endif /* _HEARTH_RESERVE_H */
