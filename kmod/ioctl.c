// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finding an ioctl by its number, whatever size its caller knows, and moving its argument.
 */
#include "ioctl.h"

#include <linux/fs.h>
#include <linux/uaccess.h>

#define NUMBER_MASK (~(_IOC_SIZEMASK << _IOC_SIZESHIFT))

static const struct hearth_ioctl *table_find(const struct hearth_ioctl *table, size_t nr,
					     unsigned int cmd)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if ((table[i].cmd & NUMBER_MASK) == (cmd & NUMBER_MASK))
			return &table[i];
	return NULL;
}

/* What the caller knows and we do not reads as zero. */
static int copy_out(void __user *user, size_t user_bytes, const void *arg, size_t bytes)
{
	if (copy_to_user(user, arg, min(user_bytes, bytes)))
		return -EFAULT;
	if (user_bytes > bytes && clear_user(user + bytes, user_bytes - bytes))
		return -EFAULT;
	return 0;
}

/**
 * hearth_ioctl_run() - do an ioctl
 * @file: the file it is for
 * @cmd: number
 * @user: address of the argument
 * @table: the ioctls of such files
 * @nr: how many
 *
 * Return: what the ioctl returns.
 */
long hearth_ioctl_run(struct file *file, unsigned int cmd, unsigned long user,
		      const struct hearth_ioctl *table, size_t nr)
{
	const struct hearth_ioctl *ioctl = table_find(table, nr, cmd);
	void __user *address = (void __user *)user;
	size_t user_bytes = _IOC_SIZE(cmd);
	union hearth_ioctl_arg arg = {};
	long ret;

	if (!ioctl)
		return -ENOTTY;
	if (user_bytes < ioctl->first_bytes)
		return -EINVAL;
	if (_IOC_DIR(cmd) & _IOC_WRITE) {
		ret = copy_struct_from_user(&arg, _IOC_SIZE(ioctl->cmd), address, user_bytes);
		if (ret)
			return ret;
	}

	ret = ioctl->run(file, &arg);
	if (!ret && (_IOC_DIR(cmd) & _IOC_READ))
		ret = copy_out(address, user_bytes, &arg, _IOC_SIZE(ioctl->cmd));
	return ret;
}
