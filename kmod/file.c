// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations on a pool descriptor.
 */
#include "file.h"

#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/poll.h>

#include "export.h"
#include "ioctl.h"
#include "mapping.h"
#include "pool.h"
#include "stats.h"

/* What all ioctls that change a pool and take no more than flags begin with. */
static int check_change(struct file *file, const struct hearth_pool_flags *args)
{
	if (args->flags || args->pad)
		return -EINVAL;
	return file->f_mode & FMODE_WRITE ? 0 : -EACCES;
}

static long file_info(struct file *file, union hearth_ioctl_arg *arg)
{
	hearth_pool_info(file->private_data, &arg->info);
	return 0;
}

static long file_allocate(struct file *file, union hearth_ioctl_arg *arg)
{
	return check_change(file, &arg->flags) ?: hearth_pages_allocate(file->private_data);
}

static long file_seal(struct file *file, union hearth_ioctl_arg *arg)
{
	return check_change(file, &arg->flags) ?: hearth_mapping_seal(file->private_data);
}

static long file_idle(struct file *file, union hearth_ioctl_arg *arg)
{
	return check_change(file, &arg->flags) ?: hearth_pool_set_idle(file->private_data, true);
}

static long file_activate(struct file *file, union hearth_ioctl_arg *arg)
{
	return check_change(file, &arg->flags) ?: hearth_pool_set_idle(file->private_data, false);
}

static long file_export(struct file *file, union hearth_ioctl_arg *arg)
{
	if ((arg->export.flags & HEARTH_EXPORT_WRITE) && !(file->f_mode & FMODE_WRITE))
		return -EACCES;
	return hearth_export_open(file->private_data, &arg->export);
}

static long file_memfd(struct file *file, union hearth_ioctl_arg *arg)
{
	struct hearth_pool *pool = file->private_data;
	int fd;

	if (arg->flags.flags || arg->flags.pad)
		return -EINVAL;
	if (!pool->memfd)
		return -EOPNOTSUPP;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd >= 0)
		fd_install(fd, get_file(pool->memfd));
	return fd;
}

static const struct hearth_ioctl ioctls[] = {
	{ HEARTH_POOL_INFO, sizeof(struct hearth_info), file_info },
	{ HEARTH_POOL_ALLOCATE, sizeof(struct hearth_pool_flags), file_allocate },
	{ HEARTH_POOL_SEAL, sizeof(struct hearth_pool_flags), file_seal },
	{ HEARTH_POOL_EXPORT, sizeof(struct hearth_export), file_export },
	{ HEARTH_POOL_IDLE, sizeof(struct hearth_pool_flags), file_idle },
	{ HEARTH_POOL_ACTIVATE, sizeof(struct hearth_pool_flags), file_activate },
	{ HEARTH_POOL_MEMFD, sizeof(struct hearth_pool_flags), file_memfd },
};

static long file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return hearth_ioctl_run(file, cmd, arg, ioctls, ARRAY_SIZE(ioctls));
}

static int file_mmap(struct file *file, struct vm_area_struct *vma)
{
	return hearth_mapping_add(file->private_data, vma, true);
}

static __poll_t file_poll(struct file *file, struct poll_table_struct *table)
{
	struct hearth_pool *pool = file->private_data;

	poll_wait(file, &pool->wait, table);
	switch (READ_ONCE(pool->state)) {
	case HEARTH_STATE_WRITABLE:
		return EPOLLOUT | EPOLLWRNORM;
	case HEARTH_STATE_SEALED:
		return EPOLLIN | EPOLLRDNORM;
	case HEARTH_STATE_EVICTED:
		return EPOLLHUP;
	default:
		return 0;
	}
}

static int file_release(struct inode *inode, struct file *file)
{
	struct hearth_pool *pool = file->private_data;

	hearth_pool_close_file(pool);
	hearth_pool_put(pool);
	return 0;
}

static const struct file_operations file_fops = {
	.owner = THIS_MODULE,
	.release = file_release,
	.unlocked_ioctl = file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = file_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.poll = file_poll,
	.show_fdinfo = hearth_stats_show_fdinfo,
};

/**
 * hearth_file_open() - a new file of a pool
 * @pool: the pool; the file takes a reference
 * @flags: O_RDONLY or O_RDWR
 *
 * Its inode is its own and has the size of the pool, without which pages would be mapped one by
 * one.
 *
 * Return: the file or an error.
 */
struct file *hearth_file_open(struct hearth_pool *pool, int flags)
{
	struct file *file = anon_inode_create_getfile("[hearth]", &file_fops, pool, flags, NULL);

	if (IS_ERR(file))
		return file;
	hearth_pool_get(pool);
	hearth_pool_open_file(pool);
	i_size_write(file_inode(file), pool->size_bytes);
	return file;
}
