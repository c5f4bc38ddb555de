// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dma-buf exporter.
 *
 * A window exists as long as its dma-buf, and counts in the pool as one that forbids eviction.
 */
#include "export.h"

#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "compat.h"
#include "mapping.h"
#include "pool.h"
#include "shrink.h"
#include "trace.h"

HEARTH_IMPORT_NS(DMA_BUF);

/* The length of a scatterlist entry has 32 bits. */
#define MAX_SEGMENT_BYTES (SZ_4G - HEARTH_LARGE_BYTES)

/**
 * struct window - what a dma-buf shows
 * @pool: the pool, a reference
 * @file: stands for the pool in areas that are mapped through the dma-buf
 * @offset: start in the pool, in bytes
 * @length: in bytes
 * @is_writable: the CPU may write through it
 * @lock: taken within the reservation lock of the dma-buf
 * @maps: every struct map that a device has now
 */
struct window {
	struct hearth_pool *pool;
	struct file *file;
	u64 offset;
	u64 length;
	bool is_writable;
	struct mutex lock; /* guards maps */
	struct list_head maps;
};

/* A device's view of a window. */
struct map {
	struct sg_table table;
	struct device *device;
	struct list_head link;
};

/* A run of pages that are neighbours in memory. */
struct run {
	struct page *page;
	u64 bytes;
};

/* The longest run at @offset, within @end and @max_bytes. */
static struct run run_at(const struct hearth_pages *pages, u64 offset, u64 end, u64 max_bytes)
{
	unsigned long nr;
	struct run run = {
		.page = hearth_pages_at(pages, offset >> PAGE_SHIFT, &nr),
	};
	struct page *next = run.page;

	while (next == run.page + (run.bytes >> PAGE_SHIFT)) {
		run.bytes += (u64)nr << PAGE_SHIFT;
		if (run.bytes >= max_bytes || offset + run.bytes >= end)
			break;
		next = hearth_pages_at(pages, (offset + run.bytes) >> PAGE_SHIFT, &nr);
	}
	run.bytes = min3(run.bytes, max_bytes, end - offset);
	return run;
}

static u64 max_segment_bytes(struct device *device)
{
	u64 bytes = min3((u64)MAX_SEGMENT_BYTES, (u64)dma_get_max_seg_size(device),
			 (u64)dma_max_mapping_size(device));

	return max_t(u64, round_down(bytes, PAGE_SIZE), PAGE_SIZE);
}

static int table_init(struct sg_table *table, const struct window *window, u64 max_bytes)
{
	const struct hearth_pages *pages = &window->pool->pages;
	u64 offset, end = window->offset + window->length;
	struct scatterlist *sg;
	unsigned int nr = 0;
	struct run run;
	int err;

	for (offset = window->offset; offset < end; offset += run.bytes, nr++)
		run = run_at(pages, offset, end, max_bytes);
	err = sg_alloc_table(table, nr, GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (err)
		return err;

	offset = window->offset;
	for (sg = table->sgl; sg; sg = sg_next(sg)) {
		run = run_at(pages, offset, end, max_bytes);
		sg_set_page(sg, run.page, run.bytes, 0);
		offset += run.bytes;
	}
	return 0;
}

static int window_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment)
{
	struct window *window = dmabuf->priv;

	trace_hearth_attach(window->pool, dev_name(attachment->dev));
	return 0;
}

static struct sg_table *window_map(struct dma_buf_attachment *attachment,
				   enum dma_data_direction direction)
{
	struct window *window = attachment->dmabuf->priv;
	struct map *map = kzalloc(sizeof(*map), GFP_KERNEL);
	int err;

	if (!map)
		return ERR_PTR(-ENOMEM);
	map->device = attachment->dev;
	err = table_init(&map->table, window, max_segment_bytes(map->device));
	if (err)
		goto err_free;
	err = dma_map_sgtable(map->device, &map->table, direction, 0);
	if (err)
		goto err_table;

	mutex_lock(&window->lock);
	list_add(&map->link, &window->maps);
	mutex_unlock(&window->lock);
	return &map->table;

err_table:
	sg_free_table(&map->table);
err_free:
	kfree(map);
	return ERR_PTR(err);
}

static void window_unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
			 enum dma_data_direction direction)
{
	struct window *window = attachment->dmabuf->priv;
	struct map *map = container_of(table, struct map, table);

	mutex_lock(&window->lock);
	list_del(&map->link);
	mutex_unlock(&window->lock);
	dma_unmap_sgtable(map->device, table, direction, 0);
	sg_free_table(table);
	kfree(map);
}

static int window_begin_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	struct window *window = dmabuf->priv;
	struct map *map;

	mutex_lock(&window->lock);
	list_for_each_entry(map, &window->maps, link)
		dma_sync_sgtable_for_cpu(map->device, &map->table, direction);
	mutex_unlock(&window->lock);
	return 0;
}

static int window_end_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	struct window *window = dmabuf->priv;
	struct map *map;

	mutex_lock(&window->lock);
	list_for_each_entry(map, &window->maps, link)
		dma_sync_sgtable_for_device(map->device, &map->table, direction);
	mutex_unlock(&window->lock);
	return 0;
}

static int window_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct window *window = dmabuf->priv;
	pgoff_t pgoff = vma->vm_pgoff;
	int err;

	vma->vm_pgoff += window->offset >> PAGE_SHIFT;
	err = hearth_mapping_add(window->pool, vma, window->is_writable);
	if (err) {
		vma->vm_pgoff = pgoff;
		return err;
	}
	vma_set_file(vma, window->file);
	return 0;
}

/* Also undoes what there is of a window whose making failed. */
static void window_destroy(struct window *window)
{
	if (!IS_ERR_OR_NULL(window->file))
		fput(window->file);
	hearth_pool_put(window->pool);
	mutex_destroy(&window->lock);
	kfree(window);
}

static void window_uncount(struct window *window)
{
	struct hearth_pool *pool = window->pool;

	spin_lock(&pool->lock);
	pool->dmabufs--;
	if (window->is_writable)
		pool->writable_dmabufs--;
	hearth_pool_settle(pool);
	spin_unlock(&pool->lock);
}

static void window_release(struct dma_buf *dmabuf)
{
	struct window *window = dmabuf->priv;

	window_uncount(window);
	window_destroy(window);
}

static const struct dma_buf_ops window_ops = {
	.attach = window_attach,
	.map_dma_buf = window_map,
	.unmap_dma_buf = window_unmap,
	.begin_cpu_access = window_begin_cpu_access,
	.end_cpu_access = window_end_cpu_access,
	.mmap = window_mmap,
	.release = window_release,
};

static int window_count(struct window *window)
{
	struct hearth_pool *pool = window->pool;
	int err = 0;

	spin_lock(&pool->lock);
	if (pool->state == HEARTH_STATE_EVICTED) {
		err = -ESTALE;
	} else if (pool->state == HEARTH_STATE_ALLOCATING) {
		err = -EBUSY;
	} else if (window->is_writable &&
		   (pool->state == HEARTH_STATE_SEALED || pool->is_sealing)) {
		err = -EPERM;
	} else {
		pool->dmabufs++;
		if (window->is_writable)
			pool->writable_dmabufs++;
		hearth_pool_settle(pool);
	}
	spin_unlock(&pool->lock);
	return err;
}

static struct window *window_create(struct hearth_pool *pool, const struct hearth_export *args)
{
	struct window *window = kzalloc(sizeof(*window), HEARTH_GFP);
	int err;

	if (!window)
		return ERR_PTR(-ENOMEM);
	hearth_pool_get(pool);
	window->pool = pool;
	window->offset = args->offset;
	window->length = args->length;
	window->is_writable = args->flags & HEARTH_EXPORT_WRITE;
	mutex_init(&window->lock);
	INIT_LIST_HEAD(&window->maps);

	window->file = hearth_mapping_open(pool);
	err = PTR_ERR_OR_ZERO(window->file);
	if (!err)
		err = window_count(window);
	if (err) {
		window_destroy(window);
		return ERR_PTR(err);
	}
	return window;
}

static bool is_window(const struct hearth_pool *pool, const struct hearth_export *args)
{
	return args->length && IS_ALIGNED(args->offset | args->length, HEARTH_LARGE_BYTES) &&
	       args->offset <= pool->size_bytes && args->length <= pool->size_bytes - args->offset;
}

/**
 * hearth_export_open() - make a dma-buf of a window
 * @pool: the pool
 * @args: the window
 *
 * Return: a descriptor, or an error as struct hearth_export says.
 */
int hearth_export_open(struct hearth_pool *pool, const struct hearth_export *args)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;
	struct window *window;
	int fd;

	if ((args->flags & ~HEARTH_EXPORT_WRITE) || args->pad || !is_window(pool, args))
		return -EINVAL;

	window = window_create(pool, args);
	if (IS_ERR(window))
		return PTR_ERR(window);

	info.ops = &window_ops;
	info.size = window->length;
	info.flags = window->is_writable ? O_RDWR : O_RDONLY;
	info.priv = window;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		window_uncount(window);
		window_destroy(window);
		return PTR_ERR(dmabuf);
	}

	/* From here dma_buf_put() alone undoes it. */
	trace_hearth_export(pool, args);
	fd = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
}
