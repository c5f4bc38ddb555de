// SPDX-License-Identifier: GPL-2.0-only
/*
 * Totals, lists and per-descriptor lines.
 */
#include "stats.h"

#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

#include "limits.h"
#include "pool.h"
#include "reserve.h"
#include "shrink.h"

static struct dentry *directory;

#define TOTAL(name, value)                                                               \
	static ssize_t name##_show(struct device *device, struct device_attribute *attr, \
				   char *text)                                           \
	{                                                                                \
		return sysfs_emit(text, "%llu\n", (u64)(value));                         \
	}                                                                                \
	static DEVICE_ATTR_RO(name)

TOTAL(limit_bytes, hearth_limits_bytes());
TOTAL(used_bytes, hearth_limits_used_bytes());
TOTAL(idle_bytes, hearth_shrink_idle_bytes());
TOTAL(pools, hearth_pool_count());
TOTAL(reserve_bytes, hearth_reserve_bytes());
TOTAL(reserve_free_bytes, hearth_reserve_free_bytes());
TOTAL(evicted_bytes, hearth_shrink_evicted_bytes());
TOTAL(evicted_pools, hearth_shrink_evicted_pools());

static struct attribute *hearth_stats_attrs[] = {
	&dev_attr_limit_bytes.attr,
	&dev_attr_used_bytes.attr,
	&dev_attr_idle_bytes.attr,
	&dev_attr_pools.attr,
	&dev_attr_reserve_bytes.attr,
	&dev_attr_reserve_free_bytes.attr,
	&dev_attr_evicted_bytes.attr,
	&dev_attr_evicted_pools.attr,
	NULL,
};

static const struct attribute_group hearth_stats_group = {
	.attrs = hearth_stats_attrs,
};

const struct attribute_group *hearth_stats_groups[] = {
	&hearth_stats_group,
	NULL,
};

void hearth_stats_show_fdinfo(struct seq_file *seq, struct file *file)
{
	struct hearth_pool *pool = file->private_data;
	struct hearth_info info;

	hearth_pool_info(pool, &info);
	seq_printf(seq, "hearth-id:\t%llu\n", info.id);
	seq_printf(seq, "hearth-size:\t%llu\n", info.size_bytes);
	seq_printf(seq, "hearth-allocated:\t%llu\n", info.allocated_bytes);
	seq_printf(seq, "hearth-state:\t%s\n", hearth_pool_state_name(info.state));
	seq_printf(seq, "hearth-idle:\t%d\n", !!(info.status & HEARTH_STATUS_IDLE));
	seq_printf(seq, "hearth-mappings:\t%u\n", info.mappings);
	seq_printf(seq, "hearth-dmabufs:\t%u\n", info.dmabufs);
	if (info.flags & HEARTH_CREATE_KEYED)
		seq_printf(seq, "hearth-key:\t%*phN\n", HEARTH_KEY_BYTES, info.key);
}

static void show_pool(struct seq_file *seq, const struct hearth_info *info)
{
	unsigned int order;

	seq_printf(seq, "%llu %u:%u %04o %llu %llu %s%s%s%s files %u maps %u/%u dmabufs %u/%u",
		   info->id, info->uid, info->gid, info->mode, info->size_bytes,
		   info->allocated_bytes, hearth_pool_state_name(info->state),
		   info->status & HEARTH_STATUS_IDLE ? ",idle" : "",
		   info->status & HEARTH_STATUS_NAMED ? ",named" : "",
		   info->status & HEARTH_STATUS_ADOPTED ? ",adopted" : "", info->files,
		   info->writable_mappings, info->mappings, info->writable_dmabufs, info->dmabufs);
	for (order = 0; order < HEARTH_ORDERS; order++)
		if (info->order_bytes[order])
			seq_printf(seq, " order%u %llu", order, info->order_bytes[order]);
	seq_printf(seq, " key %*phN\n", HEARTH_KEY_BYTES, info->key);
}

/* The position is the number of the pool shown: a reader that comes back gets it again. */
static void *list_start(struct seq_file *seq, loff_t *position)
{
	u64 cursor = *position ? *position - 1 : 0;
	struct hearth_pool *pool = hearth_pool_next(&cursor);

	if (pool)
		*position = cursor;
	return pool;
}

static void *list_next(struct seq_file *seq, void *element, loff_t *position)
{
	hearth_pool_put(element);
	++*position;
	return list_start(seq, position);
}

static void list_stop(struct seq_file *seq, void *element)
{
	if (element)
		hearth_pool_put(element);
}

static int list_show(struct seq_file *seq, void *element)
{
	struct hearth_info info;

	hearth_pool_info(element, &info);
	show_pool(seq, &info);
	return 0;
}

static const struct seq_operations list_sops = {
	.start = list_start,
	.next = list_next,
	.stop = list_stop,
	.show = list_show,
};

DEFINE_SEQ_ATTRIBUTE(list);

void hearth_stats_init(void)
{
	directory = debugfs_create_dir("hearth", NULL);
	debugfs_create_file("pools", 0400, directory, NULL, &list_fops);
}

void hearth_stats_exit(void)
{
	debugfs_remove(directory);
}
