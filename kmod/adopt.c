// SPDX-License-Identifier: GPL-2.0-only
/*
 * Adopting a hugetlb memfd. Its seals fix size and content before we look at it, so the pool is
 * sealed from the start and its pages stay where they are while they are pinned.
 */
#include "adopt.h"

#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "pool.h"

#define SEALS_NEEDED (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

#ifdef CONFIG_HUGETLBFS

/**
 * hearth_adopt_get_file() - check that a descriptor can be adopted
 * @memfd: the descriptor
 *
 * Return: its file with a reference, or an error as struct hearth_adopt says.
 */
struct file *hearth_adopt_get_file(int memfd)
{
	struct file *file = fget(memfd);
	int err = 0;

	if (!file)
		return ERR_PTR(-EBADF);
	if (!(file->f_mode & FMODE_READ) || !(file->f_mode & FMODE_WRITE))
		err = -EBADF;
	else if (!is_file_hugepages(file) || file_inode(file)->i_sb->s_magic != HUGETLBFS_MAGIC)
		err = -EINVAL;
	else if (~READ_ONCE(HUGETLBFS_I(file_inode(file))->seals) & SEALS_NEEDED)
		err = -EPERM;
	else if (i_size_read(file_inode(file)) <= 0)
		err = -EINVAL;
	if (!err)
		return file;
	fput(file);
	return ERR_PTR(err);
}

/**
 * hearth_adopt_order() - tell the page order of a pool's slots
 * @memfd: the file it adopts, or NULL
 *
 * Return: the order of the file's pages, else that of a large page.
 */
unsigned int hearth_adopt_order(struct file *memfd)
{
	return memfd ? huge_page_order(hstate_file(memfd)) : HEARTH_LARGE_ORDER;
}

/**
 * hearth_adopt_pin() - pin all pages of the memfd and make them the pool's
 * @pool: the pool, nobody else's yet
 *
 * Return: 0, -ENOMEM, or -EINTR to a dying caller. What was pinned goes with the pool.
 */
int hearth_adopt_pin(struct hearth_pool *pool)
{
	struct hearth_pages *pages = &pool->pages;
	u64 slot_bytes = (u64)PAGE_SIZE << pages->order;
	unsigned long i;
	pgoff_t within;
	long nr;

	for (i = 0; i < pages->nr_slots; i++) {
		struct hearth_slot slot = { .order = pages->order };
		u64 start = i * slot_bytes;

		if (fatal_signal_pending(current))
			return -EINTR;
		nr = memfd_pin_folios(pool->memfd, start, start + slot_bytes - 1, &slot.folio, 1,
				      &within);
		if (nr != 1)
			return -ENOMEM;
		hearth_pages_fill(pool, i, slot);
		cond_resched();
	}
	return 0;
}

#else /* !CONFIG_HUGETLBFS */

struct file *hearth_adopt_get_file(int memfd)
{
	return ERR_PTR(-EOPNOTSUPP);
}

unsigned int hearth_adopt_order(struct file *memfd)
{
	return HEARTH_LARGE_ORDER;
}

int hearth_adopt_pin(struct hearth_pool *pool)
{
	return -EOPNOTSUPP;
}

#endif

/**
 * hearth_adopt_release() - let the memfd's pages go
 * @pool: an adopted pool that nobody uses any more
 */
void hearth_adopt_release(struct hearth_pool *pool)
{
	struct hearth_pages *pages = &pool->pages;
	unsigned long i;

	for (i = 0; pages->slots && i < pages->nr_slots; i++)
		if (pages->slots[i].state == HEARTH_SLOT_FILLED) {
			unpin_folio(pages->slots[i].folio);
			pages->slots[i].state = HEARTH_SLOT_EMPTY;
		}
	fput(pool->memfd);
	pool->memfd = NULL;
}
