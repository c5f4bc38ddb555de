// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list of pools that may be evicted, and eviction.
 */
#include "shrink.h"

#include <linux/list.h>
#include <linux/mmzone.h>
#include <linux/oom.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>

#include "limits.h"
#include "pool.h"
#include "trace.h"

/* A pool is dear to load again: reclaim must ask for this much before one goes. */
#define BATCH_PAGES (SZ_64M >> PAGE_SHIFT)
/* Beside which the page cache, which is cheap to read again, goes first. */
#define SEEKS (4 * DEFAULT_SEEKS)

static DEFINE_SPINLOCK(lock);
/* Pools that may be evicted now, the longest unused first. Holds no references. */
static LIST_HEAD(evictable);
static u64 evictable_bytes;
static atomic64_t evicted_bytes;
static atomic64_t evicted_pools;
static struct shrinker *shrinker;

/* What may be evicted counts as reclaimable with the kernel, and so as available memory. */
static void count_reclaimable(const struct hearth_pool *pool, long sign)
{
	const unsigned long *node_pages = pool->pages.node_pages;
	unsigned int node;

	for (node = 0; node < nr_node_ids; node++)
		if (node_pages[node])
			mod_node_page_state(NODE_DATA(node), NR_KERNEL_MISC_RECLAIMABLE,
					    sign * (long)node_pages[node]);
}

static void lru_add(struct hearth_pool *pool)
{
	list_add_tail(&pool->lru, &evictable);
	evictable_bytes += pool->size_bytes;
	count_reclaimable(pool, 1);
}

static void lru_remove(struct hearth_pool *pool)
{
	if (list_empty(&pool->lru))
		return;
	count_reclaimable(pool, -1);
	evictable_bytes -= pool->size_bytes;
	list_del_init(&pool->lru);
}

/**
 * hearth_shrink_update() - put a pool where it belongs after a change: last in the list, or out
 * @pool: the pool, its lock held
 */
void hearth_shrink_update(struct hearth_pool *pool)
{
	spin_lock(&lock);
	lru_remove(pool);
	if (hearth_pool_is_evictable(pool))
		lru_add(pool);
	spin_unlock(&lock);
}

/* The pool is going: nobody else refers to it. */
void hearth_shrink_remove(struct hearth_pool *pool)
{
	spin_lock(&lock);
	lru_remove(pool);
	spin_unlock(&lock);
}

/* Locks are taken against their order, so only by trying. */
static bool try_detach(struct hearth_pool *pool, struct hearth_pages *ret_pages)
{
	bool is_ours = false;

	if (!spin_trylock(&pool->lock))
		return false;
	if (kref_get_unless_zero(&pool->refs)) {
		lru_remove(pool);
		*ret_pages = pool->pages;
		pool->pages = (struct hearth_pages){};
		pool->state = HEARTH_STATE_EVICTED;
		is_ours = true;
	}
	spin_unlock(&pool->lock);
	return is_ours;
}

/* Takes the memory from the first pool in the list that nobody is just busy with. */
static struct hearth_pool *detach_first(kuid_t uid, struct hearth_pages *ret_pages)
{
	struct hearth_pool *pool, *found = NULL;

	spin_lock(&lock);
	list_for_each_entry(pool, &evictable, lru)
		if ((!uid_valid(uid) || uid_eq(uid, pool->uid)) && try_detach(pool, ret_pages)) {
			found = pool;
			break;
		}
	spin_unlock(&lock);
	return found;
}

/**
 * hearth_shrink_evict_one() - take the memory of the longest idle pool back
 * @uid: of this owner alone, or INVALID_UID for any
 *
 * Return: pages freed, 0 if there is no such pool.
 */
unsigned long hearth_shrink_evict_one(kuid_t uid)
{
	struct hearth_pages pages;
	struct hearth_pool *pool = detach_first(uid, &pages);
	unsigned long nr;

	if (!pool)
		return 0;

	nr = pool->size_bytes >> PAGE_SHIFT;
	trace_hearth_evict(pool);
	hearth_pages_free(&pages);
	hearth_limits_uncharge_bytes(&pool->charge);
	atomic64_add(pool->size_bytes, &evicted_bytes);
	atomic64_inc(&evicted_pools);
	wake_up_all(&pool->wait);
	hearth_pool_put(pool);
	return nr;
}

static unsigned long shrink_count(struct shrinker *self, struct shrink_control *sc)
{
	unsigned long nr = READ_ONCE(evictable_bytes) >> PAGE_SHIFT;

	return nr ?: SHRINK_EMPTY;
}

static unsigned long shrink_scan(struct shrinker *self, struct shrink_control *sc)
{
	unsigned long nr = hearth_shrink_evict_one(INVALID_UID);

	if (!nr)
		return SHRINK_STOP;
	sc->nr_scanned = nr;
	return nr;
}

/* Before the kernel kills for memory every idle pool goes, one per call. */
static int evict_before_oom(struct notifier_block *nb, unsigned long unused, void *freed)
{
	*(unsigned long *)freed += hearth_shrink_evict_one(INVALID_UID);
	return NOTIFY_OK;
}

static struct notifier_block oom_notifier = {
	.notifier_call = evict_before_oom,
};

int hearth_shrink_init(void)
{
	int err;

	shrinker = shrinker_alloc(0, "hearth");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker->batch = BATCH_PAGES;
	shrinker->seeks = SEEKS;
	err = register_oom_notifier(&oom_notifier);
	if (err) {
		shrinker_free(shrinker);
		return err;
	}
	shrinker_register(shrinker);
	return 0;
}

void hearth_shrink_exit(void)
{
	unregister_oom_notifier(&oom_notifier);
	shrinker_free(shrinker);
}

u64 hearth_shrink_idle_bytes(void)
{
	u64 bytes;

	spin_lock(&lock);
	bytes = evictable_bytes;
	spin_unlock(&lock);
	return bytes;
}

u64 hearth_shrink_evicted_bytes(void)
{
	return atomic64_read(&evicted_bytes);
}

u64 hearth_shrink_evicted_pools(void)
{
	return atomic64_read(&evicted_pools);
}
