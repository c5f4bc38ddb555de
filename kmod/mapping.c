// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings of pools.
 *
 * The fault handler returns a page of a large folio and the kernel maps the folio whole where
 * address and offset allow. The pages are ordinary ones to get_user_pages(): no VM_IO,
 * VM_PFNMAP or VM_MIXEDMAP, and no page_mkwrite, which would rule out long-term pins.
 *
 * The pool counts its mappings. While there is one it cannot be evicted, and while there is one
 * that is or can be made writable it cannot be sealed, so a fault never meets a change of either.
 */
#include "mapping.h"

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "pool.h"
#include "shrink.h"
#include "trace.h"

/* Waits for pins before sealing fails double from 5 ms: 155 ms in all. */
#define SEAL_WAITS 5

static bool is_writable(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_MAYWRITE;
}

static void mapping_open(struct vm_area_struct *vma)
{
	struct hearth_pool *pool = vma->vm_private_data;

	spin_lock(&pool->lock);
	pool->mappings++;
	if (is_writable(vma))
		pool->writable_mappings++;
	hearth_pool_settle(pool);
	spin_unlock(&pool->lock);
}

static void mapping_close(struct vm_area_struct *vma)
{
	struct hearth_pool *pool = vma->vm_private_data;

	spin_lock(&pool->lock);
	pool->mappings--;
	if (is_writable(vma))
		pool->writable_mappings--;
	hearth_pool_settle(pool);
	spin_unlock(&pool->lock);
}

static vm_fault_t mapping_fault(struct vm_fault *vmf)
{
	struct hearth_pool *pool = vmf->vma->vm_private_data;
	struct folio *folio;
	struct page *page;

	if (vmf->pgoff >= pool->size_bytes >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	page = hearth_pages_at(&pool->pages, vmf->pgoff, NULL);
	if (!page)
		return VM_FAULT_SIGBUS;

	folio = page_folio(page);
	folio_get(folio);
	folio_lock(folio);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}

static const struct vm_operations_struct mapping_ops = {
	.open = mapping_open,
	.close = mapping_close,
	.fault = mapping_fault,
};

static bool is_within(const struct hearth_pool *pool, struct vm_area_struct *vma)
{
	pgoff_t end;

	return !check_add_overflow(vma->vm_pgoff, vma_pages(vma), &end) &&
	       end <= pool->size_bytes >> PAGE_SHIFT;
}

/**
 * hearth_mapping_add() - make a new memory area one of a pool
 * @pool: the pool, which the area's file keeps
 * @vma: the area, its offset counted from the start of the pool
 * @may_write: false if what is mapped forbids CPU writes
 *
 * Return: 0 or what mmap() is to fail with.
 */
int hearth_mapping_add(struct hearth_pool *pool, struct vm_area_struct *vma, bool may_write)
{
	int err = 0;

	if (!(vma->vm_flags & VM_MAYSHARE) || !is_within(pool, vma))
		return -EINVAL;
	if (pool->memfd)
		return -ENODEV;

	spin_lock(&pool->lock);
	if (pool->state == HEARTH_STATE_SEALED || pool->is_sealing)
		may_write = false;
	if (pool->state == HEARTH_STATE_EVICTED) {
		err = -ESTALE;
	} else if (!may_write && (vma->vm_flags & VM_WRITE)) {
		err = -EPERM;
	} else {
		if (!may_write)
			vm_flags_clear(vma, VM_MAYWRITE);
		pool->mappings++;
		if (is_writable(vma))
			pool->writable_mappings++;
		hearth_pool_settle(pool);
	}
	spin_unlock(&pool->lock);
	if (err)
		return err;

	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = pool;
	vma->vm_ops = &mapping_ops;
	return 0;
}

/* Direct I/O may still write through an area that is gone: wait for it a little. */
static int wait_for_pins(struct hearth_pool *pool)
{
	unsigned int i;

	for (i = 0; hearth_pages_are_pinned(&pool->pages); i++) {
		if (i == SEAL_WAITS)
			return -EBUSY;
		schedule_timeout_interruptible(msecs_to_jiffies(5 << i));
		if (signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static int seal_begin(struct hearth_pool *pool)
{
	int err = 0;

	spin_lock(&pool->lock);
	if (pool->state == HEARTH_STATE_EVICTED) {
		err = -ESTALE;
	} else if (pool->state == HEARTH_STATE_SEALED) {
		err = -EALREADY;
	} else if (pool->state == HEARTH_STATE_ALLOCATING || pool->writable_mappings ||
		   pool->writable_dmabufs) {
		err = -EBUSY;
	} else {
		pool->is_sealing = true;
		pool->holds++;
		hearth_shrink_update(pool);
	}
	spin_unlock(&pool->lock);
	return err;
}

static void seal_end(struct hearth_pool *pool, bool is_sealed)
{
	spin_lock(&pool->lock);
	pool->is_sealing = false;
	pool->holds--;
	if (is_sealed)
		pool->state = HEARTH_STATE_SEALED;
	hearth_pool_settle(pool);
	spin_unlock(&pool->lock);
}

/**
 * hearth_mapping_seal() - end CPU writing for good
 * @pool: the pool
 *
 * Return: 0, also if that was so already; -EBUSY, -ESTALE or -EINTR.
 */
int hearth_mapping_seal(struct hearth_pool *pool)
{
	int err = mutex_lock_interruptible(&pool->seal_lock);

	if (err)
		return -EINTR;
	err = seal_begin(pool);
	if (!err) {
		err = wait_for_pins(pool);
		seal_end(pool, !err);
		if (!err) {
			trace_hearth_seal(pool);
			wake_up_all(&pool->wait);
		}
	}
	mutex_unlock(&pool->seal_lock);
	return err == -EALREADY ? 0 : err;
}

static int window_release(struct inode *inode, struct file *file)
{
	hearth_pool_put(file->private_data);
	return 0;
}

static const struct file_operations window_fops = {
	.owner = THIS_MODULE,
	.release = window_release,
};

/**
 * hearth_mapping_open() - a file for areas that are mapped through something else than the pool
 * @pool: the pool; the file takes a reference
 *
 * The page fault code maps whole folios only where the file's size covers them, and the inode of
 * a dma-buf has none.
 *
 * Return: the file, which no descriptor ever names, or an error.
 */
struct file *hearth_mapping_open(struct hearth_pool *pool)
{
	struct file *file =
		anon_inode_create_getfile("[hearth-window]", &window_fops, pool, O_RDWR, NULL);

	if (!IS_ERR(file)) {
		hearth_pool_get(pool);
		i_size_write(file_inode(file), pool->size_bytes);
	}
	return file;
}
