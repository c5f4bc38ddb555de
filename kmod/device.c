// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device: checks what callers ask for, and makes, finds and lists pools.
 */
#include "device.h"

#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/nodemask.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "adopt.h"
#include "file.h"
#include "ioctl.h"
#include "limits.h"
#include "pool.h"
#include "reserve.h"
#include "shrink.h"
#include "stats.h"
#include "trace.h"

#define CREATE_FLAGS                                                          \
	(HEARTH_CREATE_KEYED | HEARTH_CREATE_DEFER | HEARTH_CREATE_FALLBACK | \
	 HEARTH_CREATE_STRICT_NODE | HEARTH_CREATE_IDLE_ON_CLOSE)
#define MODE_BITS 0666

static long run_query(struct file *file, union hearth_ioctl_arg *arg)
{
	arg->query = (struct hearth_query){
		.abi_version = HEARTH_ABI_VERSION,
		.large_page_bytes = HEARTH_LARGE_BYTES,
		.idle_bytes = hearth_shrink_idle_bytes(),
		.reserve_bytes = hearth_reserve_bytes(),
		.reserve_free_bytes = hearth_reserve_free_bytes(),
	};
	hearth_limits_query(&arg->query);
	return 0;
}

/* A key is given if and only if it is said to be. */
static bool is_name_valid(u32 flags, u32 mode, const u8 *key)
{
	return !(mode & ~MODE_BITS) &&
	       ((flags & HEARTH_CREATE_KEYED) || !memchr_inv(key, 0, HEARTH_KEY_BYTES));
}

static bool is_node_valid(const struct hearth_create *args)
{
	if (args->node == HEARTH_NODE_ANY)
		return !(args->flags & HEARTH_CREATE_STRICT_NODE);
	return args->node >= 0 && args->node < MAX_NUMNODES && node_state(args->node, N_MEMORY);
}

static bool is_create_valid(const struct hearth_create *args)
{
	u32 max_order = args->flags & HEARTH_CREATE_FALLBACK ? HEARTH_LARGE_ORDER : 0;

	return !(args->flags & ~CREATE_FLAGS) && args->size_bytes && args->size_bytes <= S64_MAX &&
	       IS_ALIGNED(args->size_bytes, HEARTH_LARGE_BYTES) && args->min_order <= max_order &&
	       is_node_valid(args) && is_name_valid(args->flags, args->mode, args->key);
}

/* Gives a new pool number and name, then its memory, and last its caller a descriptor. */
static long pool_publish(struct hearth_pool *pool, int (*get_memory)(struct hearth_pool *pool))
{
	struct file *file;
	int fd, err;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = hearth_file_open(pool, O_RDWR);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto err_fd;
	}
	err = hearth_pool_add(pool);
	if (err)
		goto err_file;
	trace_hearth_create(pool);
	err = get_memory ? get_memory(pool) : 0;
	if (err)
		goto err_file;
	fd_install(fd, file);
	return fd;

err_file:
	fput(file);
err_fd:
	put_unused_fd(fd);
	return err;
}

static long run_create(struct file *file, union hearth_ioctl_arg *arg)
{
	const struct hearth_create *args = &arg->create;
	bool is_deferred = args->flags & HEARTH_CREATE_DEFER;
	struct hearth_pool *pool;
	long fd;

	if (!is_create_valid(args))
		return -EINVAL;
	pool = hearth_pool_create(args, NULL);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	fd = pool_publish(pool, is_deferred ? NULL : hearth_pages_allocate);
	hearth_pool_put(pool);
	return fd;
}

static int adopt_memory(struct hearth_pool *pool)
{
	int err = hearth_adopt_pin(pool);

	if (!err)
		hearth_pool_complete(pool);
	return err;
}

static long run_adopt(struct file *file, union hearth_ioctl_arg *arg)
{
	const struct hearth_adopt *args = &arg->adopt;
	struct hearth_create create = {
		.flags = args->flags,
		.mode = args->mode,
		.node = HEARTH_NODE_ANY,
	};
	struct hearth_pool *pool;
	struct file *memfd;
	long fd;

	if ((args->flags & ~HEARTH_CREATE_KEYED) || args->pad ||
	    !is_name_valid(args->flags, args->mode, args->key))
		return -EINVAL;
	memfd = hearth_adopt_get_file(args->memfd);
	if (IS_ERR(memfd))
		return PTR_ERR(memfd);

	create.size_bytes = i_size_read(file_inode(memfd));
	memcpy(create.key, args->key, HEARTH_KEY_BYTES);
	pool = hearth_pool_create(&create, memfd);
	fput(memfd);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	fd = pool_publish(pool, adopt_memory);
	hearth_pool_put(pool);
	return fd;
}

static int check_openable(const struct hearth_pool *pool)
{
	switch (READ_ONCE(pool->state)) {
	case HEARTH_STATE_ALLOCATING:
		return -EBUSY;
	case HEARTH_STATE_EVICTED:
		return -ESTALE;
	default:
		return 0;
	}
}

static long run_open(struct file *device, union hearth_ioctl_arg *arg)
{
	const struct hearth_open *args = &arg->open;
	bool may_write = args->flags & HEARTH_OPEN_WRITE;
	struct hearth_pool *pool;
	struct file *file;
	int fd;

	if (args->flags & ~HEARTH_OPEN_WRITE)
		return -EINVAL;
	pool = hearth_pool_find(args->key, args->uid, may_write ? MAY_READ | MAY_WRITE : MAY_READ);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	fd = check_openable(pool);
	if (fd)
		goto out;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto out;

	file = hearth_file_open(pool, may_write ? O_RDWR : O_RDONLY);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
	} else {
		fd_install(fd, file);
	}
out:
	hearth_pool_put(pool);
	return fd;
}

static long run_destroy(struct file *file, union hearth_ioctl_arg *arg)
{
	if (arg->destroy.flags)
		return -EINVAL;
	return hearth_pool_destroy(&arg->destroy);
}

static int copy_entry(u64 address, u32 entry_bytes, const struct hearth_info *info)
{
	void __user *entry = u64_to_user_ptr(address);
	size_t bytes = min_t(size_t, entry_bytes, sizeof(*info));

	if (copy_to_user(entry, info, bytes) || clear_user(entry + bytes, entry_bytes - bytes))
		return -EFAULT;
	return 0;
}

static long run_list(struct file *file, union hearth_ioctl_arg *arg)
{
	struct hearth_list *args = &arg->list;
	u64 end, cursor = args->cursor;
	struct hearth_pool *pool;
	struct hearth_info info;
	u32 nr = 0;
	int err;

	if (!args->count || args->entry_bytes < sizeof(info))
		return -EINVAL;
	end = args->entries + (u64)args->count * args->entry_bytes;
	if (end < args->entries || end > TASK_SIZE_MAX)
		return -EFAULT;

	while (nr < args->count && !(nr && signal_pending(current))) {
		pool = hearth_pool_next(&cursor);
		if (!pool)
			break;
		if (hearth_pool_is_visible(pool)) {
			hearth_pool_info(pool, &info);
			err = copy_entry(args->entries + (u64)nr++ * args->entry_bytes,
					 args->entry_bytes, &info);
		} else {
			err = 0;
		}
		hearth_pool_put(pool);
		if (err)
			return err;
		cond_resched();
	}
	args->cursor = cursor;
	args->count = nr;
	return 0;
}

static const struct hearth_ioctl ioctls[] = {
	{ HEARTH_QUERY, sizeof(struct hearth_query), run_query },
	{ HEARTH_CREATE, sizeof(struct hearth_create), run_create },
	{ HEARTH_OPEN, sizeof(struct hearth_open), run_open },
	{ HEARTH_DESTROY, sizeof(struct hearth_destroy), run_destroy },
	{ HEARTH_LIST, sizeof(struct hearth_list), run_list },
	{ HEARTH_ADOPT, sizeof(struct hearth_adopt), run_adopt },
};

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return hearth_ioctl_run(file, cmd, arg, ioctls, ARRAY_SIZE(ioctls));
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hearth",
	.fops = &device_fops,
	.groups = hearth_stats_groups,
	.mode = 0660,
};

int hearth_device_init(void)
{
	return misc_register(&device);
}

void hearth_device_exit(void)
{
	misc_deregister(&device);
}
