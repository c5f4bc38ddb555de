// SPDX-License-Identifier: GPL-2.0-only
/*
 * The boot-time reserve of large pages.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "reserve.h"

#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "limits.h"
#include "pages.h"

static ulong reserve_bytes;
module_param(reserve_bytes, ulong, 0444);
MODULE_PARM_DESC(reserve_bytes, "memory to set aside in large pages when the module is loaded");

static DEFINE_SPINLOCK(lock);
/* Free folios, linked by their lru field. */
static LIST_HEAD(free_folios);
static unsigned long nr_free;
/* Free ones and those in pools. */
static unsigned long nr_all;

/*
 * Takes what it can get within the limit of the machine and what that can spare: less than was
 * asked for is told of, not an error.
 */
void hearth_reserve_init(void)
{
	unsigned long wanted = reserve_bytes >> (HEARTH_LARGE_ORDER + PAGE_SHIFT);
	struct folio *folio;

	for (; nr_all < wanted; nr_all++, nr_free++) {
		if ((nr_all + 1) * HEARTH_LARGE_BYTES > hearth_limits_bytes() ||
		    hearth_limits_make_room(HEARTH_LARGE_BYTES))
			break;
		folio = folio_alloc(GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN,
				    HEARTH_LARGE_ORDER);
		if (!folio)
			break;
		list_add_tail(&folio->lru, &free_folios);
		cond_resched();
	}
	if (nr_all < wanted)
		pr_warn("reserve: got %lu of %lu large pages\n", nr_all, wanted);
}

void hearth_reserve_exit(void)
{
	struct folio *folio, *next;

	list_for_each_entry_safe(folio, next, &free_folios, lru) {
		list_del(&folio->lru);
		folio_put(folio);
		cond_resched();
	}
}

/**
 * hearth_reserve_take() - get a zeroed large folio
 * @node: NUMA node preferred, or HEARTH_NODE_ANY
 * @is_strict: take none of another node
 *
 * Return: the folio, NULL if there is none.
 */
struct folio *hearth_reserve_take(int node, bool is_strict)
{
	struct folio *folio, *found = NULL;

	spin_lock(&lock);
	list_for_each_entry(folio, &free_folios, lru) {
		if (!found && !is_strict)
			found = folio;
		if (node == HEARTH_NODE_ANY || folio_nid(folio) == node) {
			found = folio;
			break;
		}
	}
	if (found) {
		list_del(&found->lru);
		nr_free--;
	}
	spin_unlock(&lock);

	if (found)
		folio_zero_range(found, 0, folio_size(found));
	return found;
}

/**
 * hearth_reserve_give() - give a folio of the reserve back
 * @folio: the folio
 *
 * One that somebody else still refers to (I/O in flight) cannot be lent out again: it leaves the
 * reserve and is freed with the last reference.
 */
void hearth_reserve_give(struct folio *folio)
{
	bool is_ours = folio_ref_count(folio) == 1;

	spin_lock(&lock);
	if (is_ours) {
		list_add(&folio->lru, &free_folios);
		nr_free++;
	} else {
		nr_all--;
	}
	spin_unlock(&lock);
	if (!is_ours)
		folio_put(folio);
}

u64 hearth_reserve_bytes(void)
{
	return READ_ONCE(nr_all) * HEARTH_LARGE_BYTES;
}

u64 hearth_reserve_free_bytes(void)
{
	return READ_ONCE(nr_free) * HEARTH_LARGE_BYTES;
}
