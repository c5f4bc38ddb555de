/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pools that stand on the pages of a hugetlb memfd: the one way to pages larger than a large page.
 */
#ifndef _HEARTH_ADOPT_H
#define _HEARTH_ADOPT_H

struct file;
struct hearth_adopt;
struct hearth_pool;

struct file *hearth_adopt_get_file(int memfd);
unsigned int hearth_adopt_order(struct file *memfd);
int hearth_adopt_pin(struct hearth_pool *pool);
void hearth_adopt_release(struct hearth_pool *pool);

#endif /* _HEARTH_ADOPT_H */
