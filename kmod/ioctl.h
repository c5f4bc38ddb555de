/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ioctls whose structures grow: both files of this module describe theirs in a table.
 */
#ifndef _HEARTH_IOCTL_H
#define _HEARTH_IOCTL_H

#include <linux/types.h>
#include <uapi/hearth.h>

struct file;

/* Room for any argument. */
union hearth_ioctl_arg {
	struct hearth_query query;
	struct hearth_create create;
	struct hearth_open open;
	struct hearth_destroy destroy;
	struct hearth_list list;
	struct hearth_adopt adopt;
	struct hearth_info info;
	struct hearth_pool_flags flags;
	struct hearth_export export;
};

/**
 * struct hearth_ioctl - one ioctl
 * @cmd: its number, with the size that this module knows
 * @first_bytes: size of the first version of its structure
 * @run: does it; returns what the caller gets. The argument is copied out on 0 alone.
 */
struct hearth_ioctl {
	unsigned int cmd;
	unsigned int first_bytes;
	long (*run)(struct file *file, union hearth_ioctl_arg *arg);
};

long hearth_ioctl_run(struct file *file, unsigned int cmd, unsigned long user,
		      const struct hearth_ioctl *table, size_t nr);

#endif /* _HEARTH_IOCTL_H */
