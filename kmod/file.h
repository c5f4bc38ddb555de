/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The descriptor of a pool.
 */
#ifndef _HEARTH_FILE_H
#define _HEARTH_FILE_H

struct file;
struct hearth_pool;

struct file *hearth_file_open(struct hearth_pool *pool, int flags);

#endif /* _HEARTH_FILE_H */
