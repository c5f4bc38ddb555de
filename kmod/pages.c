// SPDX-License-Identifier: GPL-2.0-only
/*
 * Getting a pool's memory, finding a page of it, giving it back.
 *
 * Large pages are tried for gently, then hard, which may reclaim and compact at length. Once a hard
 * try has failed the next are far between, so that a fragmented machine is not kept busy.
 *
 * Nothing here ever wakes the OOM killer: __GFP_RETRY_MAYFAIL and __GFP_NORETRY fail instead, for
 * the machine as for the memory cgroup; nor does it leave the machine so little that others do.
 */
#include "pages.h"

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "adopt.h"
#include "limits.h"
#include "pool.h"
#include "reserve.h"
#include "shrink.h"

/* Slots that get a large page only if one is free after a hard try has failed. */
#define SLOTS_BETWEEN_HARD_TRIES 64

/* One thread's work on one pool. */
struct allocation {
	struct hearth_pool *pool;
	unsigned int slots_to_hard_try;
};

/**
 * hearth_pages_init() - set up empty slots
 * @pages: the memory, all zero
 * @size_bytes: a multiple of a slot
 * @order: page order of a slot
 *
 * Return: 0 or -ENOMEM.
 */
int hearth_pages_init(struct hearth_pages *pages, u64 size_bytes, unsigned int order)
{
	pages->order = order;
	pages->nr_slots = size_bytes >> (order + PAGE_SHIFT);
	pages->node_pages = kcalloc(nr_node_ids, sizeof(*pages->node_pages), HEARTH_GFP);
	pages->slots = kvcalloc(pages->nr_slots, sizeof(*pages->slots), HEARTH_GFP);
	return pages->slots && pages->node_pages ? 0 : -ENOMEM;
}

static unsigned int slot_parts(const struct hearth_pages *pages, const struct hearth_slot *slot)
{
	return 1U << (pages->order - slot->order);
}

static struct folio *slot_folio(const struct hearth_pages *pages, const struct hearth_slot *slot,
				unsigned int part)
{
	return slot->order == pages->order ? slot->folio : slot->parts[part];
}

static void slot_free(const struct hearth_pages *pages, struct hearth_slot *slot)
{
	unsigned int i;

	if (slot->is_reserve) {
		hearth_reserve_give(slot->folio);
		return;
	}
	for (i = 0; i < slot_parts(pages, slot); i++)
		folio_put(slot_folio(pages, slot, i));
	if (slot->order != pages->order)
		kfree(slot->parts);
}

/**
 * hearth_pages_free() - give all memory up
 * @pages: the memory, which nobody else uses; may be empty or partly filled
 */
void hearth_pages_free(struct hearth_pages *pages)
{
	unsigned long i;

	for (i = 0; pages->slots && i < pages->nr_slots; i++) {
		if (pages->slots[i].state == HEARTH_SLOT_FILLED)
			slot_free(pages, &pages->slots[i]);
		cond_resched();
	}
	kvfree(pages->slots);
	kfree(pages->node_pages);
	*pages = (struct hearth_pages){};
}

/* What a page may cost: nothing, one round of reclaim and compaction, or all but an OOM kill. */
enum effort { TAKE_FREE, TRY_GENTLY, TRY_HARD };

static struct folio *folio_get_new(const struct hearth_pool *pool, unsigned int order,
				   enum effort effort)
{
	gfp_t gfp = GFP_HIGHUSER | __GFP_ZERO | __GFP_ACCOUNT | __GFP_NOWARN;

	gfp |= effort == TRY_HARD ? __GFP_RETRY_MAYFAIL : __GFP_NORETRY;
	if (effort == TAKE_FREE)
		gfp &= ~__GFP_DIRECT_RECLAIM;
	if (pool->node == HEARTH_NODE_ANY)
		return folio_alloc(gfp, order);
	if (pool->flags & HEARTH_CREATE_STRICT_NODE)
		gfp |= __GFP_THISNODE;
	return __folio_alloc_node(gfp, order, pool->node);
}

static struct folio *large_get_new(struct allocation *work)
{
	struct folio *folio;

	if (work->slots_to_hard_try) {
		work->slots_to_hard_try--;
		return folio_get_new(work->pool, HEARTH_LARGE_ORDER, TAKE_FREE);
	}
	folio = folio_get_new(work->pool, HEARTH_LARGE_ORDER, TRY_GENTLY);
	if (!folio)
		folio = folio_get_new(work->pool, HEARTH_LARGE_ORDER, TRY_HARD);
	if (!folio)
		work->slots_to_hard_try = SLOTS_BETWEEN_HARD_TRIES;
	return folio;
}

/*
 * Fills a slot with folios of one lesser order, of which it gets all or none. Only the least order
 * is worth an effort: the others are taken if they are there.
 */
static int slot_fill_parts(struct allocation *work, struct hearth_slot *slot, unsigned int order)
{
	unsigned int nr = 1U << (HEARTH_LARGE_ORDER - order);
	enum effort effort = order > work->pool->min_order ? TAKE_FREE : TRY_HARD;
	struct folio **parts = kmalloc_array(nr, sizeof(*parts), HEARTH_GFP);
	unsigned int i;

	if (!parts)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		parts[i] = folio_get_new(work->pool, order, effort);
		if (!parts[i])
			goto err_put;
	}
	slot->parts = parts;
	slot->order = order;
	return 0;

err_put:
	while (i--)
		folio_put(parts[i]);
	kfree(parts);
	return -ENOMEM;
}

/* Claimed slots are missing yet. */
static u64 missing_bytes(struct hearth_pool *pool)
{
	struct hearth_pages *pages = &pool->pages;
	unsigned long nr;

	spin_lock(&pool->lock);
	nr = pages->nr_slots - pages->nr_filled;
	spin_unlock(&pool->lock);
	return nr * HEARTH_LARGE_BYTES;
}

/* From the page allocator: a large folio, or smaller ones where the pool allows them. */
static int slot_fill_new(struct allocation *work, struct hearth_slot *slot)
{
	struct hearth_pool *pool = work->pool;
	unsigned int order;

	slot->folio = large_get_new(work);
	if (slot->folio)
		return 0;
	if (!(pool->flags & HEARTH_CREATE_FALLBACK))
		return -ENOMEM;
	for (order = HEARTH_LARGE_ORDER; order-- > pool->min_order;) {
		if (signal_pending(current))
			return -EINTR;
		if (!slot_fill_parts(work, slot, order))
			return 0;
	}
	return -ENOMEM;
}

static int slot_fill(struct allocation *work, struct hearth_slot *slot)
{
	struct hearth_pool *pool = work->pool;
	int err;

	*slot = (struct hearth_slot){ .order = HEARTH_LARGE_ORDER };
	slot->folio = hearth_reserve_take(pool->node, pool->flags & HEARTH_CREATE_STRICT_NODE);
	if (slot->folio) {
		slot->is_reserve = true;
		return 0;
	}

	err = hearth_limits_claim_room(HEARTH_LARGE_BYTES);
	if (err)
		return err;
	err = slot_fill_new(work, slot);
	hearth_limits_release_room(HEARTH_LARGE_BYTES);
	return err;
}

/* The offset in the pool tells the page fault handler where a folio ends in the file. */
static void slot_set_index(const struct hearth_pages *pages, const struct hearth_slot *slot,
			   pgoff_t first)
{
	unsigned int i;

	for (i = 0; i < slot_parts(pages, slot); i++)
		slot_folio(pages, slot, i)->index = first + ((pgoff_t)i << slot->order);
}

static void slot_count(struct hearth_pages *pages, const struct hearth_slot *slot)
{
	unsigned int i;

	for (i = 0; i < slot_parts(pages, slot) && !slot->is_reserve; i++)
		pages->node_pages[folio_nid(slot_folio(pages, slot, i))] += 1UL << slot->order;
	if (!slot->is_reserve)
		pages->machine_bytes += (u64)PAGE_SIZE << pages->order;
	pages->order_bytes[slot->order] += (u64)PAGE_SIZE << pages->order;
	pages->nr_filled++;
}

/**
 * hearth_pages_fill() - put what was got into a claimed slot, for all to see
 * @pool: the pool
 * @index: number of the slot
 * @slot: its content; the state does not matter
 */
void hearth_pages_fill(struct hearth_pool *pool, unsigned long index, struct hearth_slot slot)
{
	struct hearth_pages *pages = &pool->pages;
	struct hearth_slot *dst = &pages->slots[index];

	if (!pool->memfd)
		slot_set_index(pages, &slot, (pgoff_t)index << pages->order);

	spin_lock(&pool->lock);
	dst->folio = slot.folio;
	dst->order = slot.order;
	dst->is_reserve = slot.is_reserve;
	smp_store_release(&dst->state, HEARTH_SLOT_FILLED); /* pairs with hearth_pages_at() */
	slot_count(pages, &slot);
	while (pages->nr_prefix < pages->nr_slots &&
	       pages->slots[pages->nr_prefix].state == HEARTH_SLOT_FILLED)
		pages->nr_prefix++;
	spin_unlock(&pool->lock);
}

/* Finds the first empty slot from @hint on and claims it; nr_slots if there is none. */
static unsigned long slot_claim(struct hearth_pool *pool, unsigned long hint)
{
	struct hearth_pages *pages = &pool->pages;
	unsigned long i;

	spin_lock(&pool->lock);
	for (i = max(hint, pages->nr_prefix); i < pages->nr_slots; i++)
		if (pages->slots[i].state == HEARTH_SLOT_EMPTY) {
			WRITE_ONCE(pages->slots[i].state, HEARTH_SLOT_CLAIMED);
			break;
		}
	spin_unlock(&pool->lock);
	return i;
}

static void slot_unclaim(struct hearth_pool *pool, unsigned long index)
{
	spin_lock(&pool->lock);
	WRITE_ONCE(pool->pages.slots[index].state, HEARTH_SLOT_EMPTY);
	spin_unlock(&pool->lock);
	wake_up_all(&pool->wait);
}

/* Fills every slot that nobody else has claimed. */
static int fill_unclaimed(struct allocation *work)
{
	struct hearth_pool *pool = work->pool;
	struct hearth_slot slot;
	unsigned long index = 0;
	int err;

	for (;;) {
		index = slot_claim(pool, index);
		if (index == pool->pages.nr_slots)
			return 0;
		do {
			err = signal_pending(current) ? -EINTR : slot_fill(work, &slot);
		} while (err == -ENOMEM && hearth_shrink_make_way(pool->uid));
		if (err) {
			slot_unclaim(pool, index);
			return err;
		}
		hearth_pages_fill(pool, index, slot);
		cond_resched();
	}
}

/* Whether there is no more to wait for: all is there, or something can be claimed again. */
static bool is_settled(struct hearth_pool *pool, bool *ret_is_whole)
{
	struct hearth_pages *pages = &pool->pages;
	unsigned long i;
	bool is_empty = false;

	spin_lock(&pool->lock);
	*ret_is_whole = pages->nr_filled == pages->nr_slots;
	for (i = pages->nr_prefix; i < pages->nr_slots && !is_empty; i++)
		is_empty = pages->slots[i].state == HEARTH_SLOT_EMPTY;
	spin_unlock(&pool->lock);
	return *ret_is_whole || is_empty;
}

static int fill_all(struct hearth_pool *pool)
{
	struct allocation work = { .pool = pool };
	u64 reserve = hearth_reserve_free_bytes();
	u64 missing = missing_bytes(pool);
	bool is_whole;
	int err;

	/* What cannot fit fails before time is spent on it. */
	if (missing > reserve) {
		err = hearth_limits_make_room(missing - reserve);
		if (err)
			return err;
	}

	do {
		err = fill_unclaimed(&work);
		if (err)
			return err;
		if (wait_event_interruptible(pool->wait, is_settled(pool, &is_whole)))
			return -EINTR;
	} while (!is_whole);
	/* Whoever sees it first says so: none returns to its caller before that. */
	hearth_pool_complete(pool);
	return 0;
}

/**
 * hearth_pages_allocate() - get what is missing of a pool's memory
 * @pool: the pool; others may work on it too
 *
 * What is there stays on failure.
 *
 * Return: 0 when the pool is whole, else -ENOMEM, -EINTR, or -ESTALE if it was evicted.
 */
int hearth_pages_allocate(struct hearth_pool *pool)
{
	int err;

	switch (hearth_pool_hold(pool, HEARTH_STATE_ALLOCATING)) {
	case HEARTH_STATE_ALLOCATING:
		err = fill_all(pool);
		hearth_pool_release(pool);
		return err;
	case HEARTH_STATE_EVICTED:
		return -ESTALE;
	default:
		return 0;
	}
}

/**
 * hearth_pages_at() - find a page
 * @pages: the memory, which the caller keeps from eviction
 * @offset: page offset in the pool, within it
 * @ret_nr: pages that follow it in its folio, itself included; may be NULL
 *
 * Return: the page, or NULL if it is not allocated yet.
 */
struct page *hearth_pages_at(const struct hearth_pages *pages, pgoff_t offset,
			     unsigned long *ret_nr)
{
	const struct hearth_slot *slot = &pages->slots[offset >> pages->order];
	unsigned long within = offset & ((1UL << pages->order) - 1);
	unsigned long in_folio;
	struct folio *folio;

	/* Pairs with hearth_pages_fill(). */
	if (smp_load_acquire(&slot->state) != HEARTH_SLOT_FILLED)
		return NULL;
	in_folio = within & ((1UL << slot->order) - 1);
	folio = slot_folio(pages, slot, within >> slot->order);
	if (ret_nr)
		*ret_nr = (1UL << slot->order) - in_folio;
	return folio_page(folio, in_folio);
}

/*
 * A page fault maps a folio under its lock, fork() leaves shared areas to page faults, and
 * unmapping drops the map count before the reference: with the lock held and the references read
 * first, a pin is never overlooked.
 */
static bool folio_is_pinned(struct folio *folio)
{
	int refs, maps;

	folio_lock(folio);
	refs = folio_ref_count(folio);
	smp_rmb(); /* pairs with the atomic drop of the map count, then of the reference */
	maps = folio_mapcount(folio);
	folio_unlock(folio);
	return refs > 1 + maps;
}

/**
 * hearth_pages_are_pinned() - see whether anybody but page tables refers to a page
 * @pages: the memory, whole, which the caller keeps from eviction
 *
 * Return: whether somebody does.
 */
bool hearth_pages_are_pinned(const struct hearth_pages *pages)
{
	unsigned long nr, offset, end = pages->nr_slots << pages->order;

	for (offset = 0; offset < end; offset += nr) {
		if (folio_is_pinned(page_folio(hearth_pages_at(pages, offset, &nr))))
			return true;
		cond_resched();
	}
	return false;
}
