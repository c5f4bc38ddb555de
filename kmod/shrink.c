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
#include <linux/wait.h>

#include "limits.h"
#include "pool.h"
#include "trace.h"

/*
 * Of what may be evicted, reclaim asks for half of the share that it looks through of the page
 * cache, which is cheaper to read again.
 */
#define SEEKS (4 * DEFAULT_SEEKS)

static DEFINE_SPINLOCK(lock);
/* Pools that may be evicted now, the longest unused first. Holds no references. */
static LIST_HEAD(evictable);
static u64 evictable_bytes;
/* What the machine would get of that. */
static u64 reclaimable_bytes;
/* Of pools that have left the list and are just being freed. */
static u64 going_bytes;
/* What reclaim has asked for since it last got a pool. */
static atomic_long_t asked_pages;
static DECLARE_WAIT_QUEUE_HEAD(gone);
static atomic64_t evicted_bytes;
static atomic64_t evicted_pools;
/* NULL once the module goes: pools that idle leave the list after it. */
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

/*
 * The kernel calls the shrinker for no less than a batch, and forgets most of what it asked for
 * without a call. So a batch is the least that it asks for: at first a 4096th of what the weight
 * SEEKS leaves.
 */
static void update_batch(void)
{
	u64 least_pages = reclaimable_bytes >> (PAGE_SHIFT + 12);

	if (!shrinker)
		return;
	WRITE_ONCE(shrinker->batch, max_t(long, least_pages * 4 / SEEKS, 1));
}

static void lru_add(struct hearth_pool *pool)
{
	list_add_tail(&pool->lru, &evictable);
	evictable_bytes += pool->size_bytes;
	reclaimable_bytes += pool->pages.machine_bytes;
	count_reclaimable(pool, 1);
	update_batch();
}

static void lru_remove(struct hearth_pool *pool)
{
	if (list_empty(&pool->lru))
		return;
	count_reclaimable(pool, -1);
	reclaimable_bytes -= pool->pages.machine_bytes;
	evictable_bytes -= pool->size_bytes;
	list_del_init(&pool->lru);
	if (list_empty(&evictable))
		atomic_long_set(&asked_pages, 0);
	update_batch();
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

/* Who may lose a pool, and whether that is to give the machine memory. */
struct need {
	kuid_t uid;
	bool is_machine;
};

static bool is_wanted(const struct hearth_pool *pool, const struct need *need)
{
	return (!uid_valid(need->uid) || uid_eq(need->uid, pool->uid)) &&
	       (!need->is_machine || pool->pages.machine_bytes);
}

/* Locks are taken against their order, so only by trying. */
static bool try_detach(struct hearth_pool *pool, struct hearth_pages *ret_pages)
{
	bool is_ours = false;

	if (!spin_trylock(&pool->lock))
		return false;
	if (kref_get_unless_zero(&pool->refs)) {
		lru_remove(pool);
		going_bytes += pool->size_bytes;
		*ret_pages = pool->pages;
		pool->pages = (struct hearth_pages){};
		pool->state = HEARTH_STATE_EVICTED;
		is_ours = true;
	}
	spin_unlock(&pool->lock);
	return is_ours;
}

/* Takes the memory from the first pool in the list that nobody is just busy with. */
static struct hearth_pool *detach_first(const struct need *need, struct hearth_pages *ret_pages)
{
	struct hearth_pool *pool, *found = NULL;

	spin_lock(&lock);
	list_for_each_entry(pool, &evictable, lru)
		if (is_wanted(pool, need) && try_detach(pool, ret_pages)) {
			found = pool;
			break;
		}
	spin_unlock(&lock);
	return found;
}

/* Evicts the longest idle pool that serves the need: bytes freed, 0 if there is none. */
static u64 evict_one(const struct need *need)
{
	struct hearth_pages pages;
	struct hearth_pool *pool = detach_first(need, &pages);
	u64 freed_bytes;

	if (!pool)
		return 0;

	freed_bytes = need->is_machine ? pages.machine_bytes : pool->size_bytes;
	trace_hearth_evict(pool);
	hearth_pages_free(&pages);
	hearth_limits_uncharge_bytes(&pool->charge);
	atomic64_add(pool->size_bytes, &evicted_bytes);
	atomic64_inc(&evicted_pools);
	spin_lock(&lock);
	going_bytes -= pool->size_bytes;
	spin_unlock(&lock);
	wake_up_all(&gone);
	wake_up_all(&pool->wait);
	hearth_pool_put(pool);
	return freed_bytes;
}

static bool evict_or_wait(const struct need *need)
{
	u64 seen = hearth_shrink_evicted_pools();

	if (evict_one(need))
		return true;
	if (!hearth_shrink_going_bytes())
		return false;
	return !wait_event_killable(gone, hearth_shrink_evicted_pools() != seen ||
						  !hearth_shrink_going_bytes());
}

/**
 * hearth_shrink_make_way() - evict the longest idle pool, or wait for one that is just going
 * @uid: of this owner alone, or INVALID_UID for any
 *
 * Return: whether more may fit now into a limit, the reserve or memory.
 */
bool hearth_shrink_make_way(kuid_t uid)
{
	return evict_or_wait(&(struct need){ .uid = uid });
}

/**
 * hearth_shrink_make_room() - the same for who needs memory of the machine
 *
 * Return: whether there may be more now.
 */
bool hearth_shrink_make_room(void)
{
	return evict_or_wait(&(struct need){ .uid = INVALID_UID, .is_machine = true });
}

/* For the kernel's own need, which must not wait: pages freed. */
static unsigned long reclaim_one(void)
{
	return evict_one(&(struct need){ .uid = INVALID_UID, .is_machine = true }) >> PAGE_SHIFT;
}

static unsigned long shrink_count(struct shrinker *self, struct shrink_control *sc)
{
	unsigned long nr = READ_ONCE(reclaimable_bytes) >> PAGE_SHIFT;

	return nr ?: SHRINK_EMPTY;
}

/* What the machine would get of the first pool to go, 0 if there is none. */
static unsigned long first_pages(void)
{
	struct hearth_pool *pool;
	u64 bytes = 0;

	spin_lock(&lock);
	list_for_each_entry(pool, &evictable, lru) {
		bytes = pool->pages.machine_bytes;
		if (bytes)
			break;
	}
	spin_unlock(&lock);
	return bytes >> PAGE_SHIFT;
}

/*
 * A pool goes whole, and is dear to load again: once reclaim has asked, however little at a time,
 * for as much as it holds.
 */
static unsigned long shrink_scan(struct shrinker *self, struct shrink_control *sc)
{
	unsigned long first = first_pages(), nr;

	if (!first)
		return SHRINK_STOP;
	if (atomic_long_add_return(sc->nr_to_scan, &asked_pages) < (long)first)
		return 0;
	/* at once, so that nobody who comes meanwhile takes another for the same */
	atomic_long_sub(first, &asked_pages);
	nr = reclaim_one();
	if (nr)
		return nr;
	atomic_long_add(first, &asked_pages);
	return SHRINK_STOP;
}

/*
 * Before the kernel kills for memory every idle pool goes, one per call. One that another thread is
 * just freeing or just busy with is worth another try of the allocation as well.
 */
static int evict_before_oom(struct notifier_block *nb, unsigned long unused, void *freed)
{
	unsigned long nr = reclaim_one();

	if (!nr && (READ_ONCE(reclaimable_bytes) || hearth_shrink_going_bytes()))
		nr = 1;
	*(unsigned long *)freed += nr;
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
	struct shrinker *old = shrinker;

	unregister_oom_notifier(&oom_notifier);
	spin_lock(&lock);
	shrinker = NULL;
	spin_unlock(&lock);
	shrinker_free(old);
}

/* Bytes of pools that may be evicted now. */
u64 hearth_shrink_idle_bytes(void)
{
	return READ_ONCE(evictable_bytes);
}

/* What the machine would get back of them. */
u64 hearth_shrink_reclaimable_bytes(void)
{
	return READ_ONCE(reclaimable_bytes);
}

/* Bytes of pools that are just being freed. */
u64 hearth_shrink_going_bytes(void)
{
	return READ_ONCE(going_bytes);
}

/* What an owner's, or with INVALID_UID all, limits have yet to get back from eviction. */
u64 hearth_shrink_evictable_bytes(kuid_t uid)
{
	struct hearth_pool *pool;
	u64 bytes;

	spin_lock(&lock);
	bytes = going_bytes;
	if (!uid_valid(uid))
		bytes += evictable_bytes;
	else
		list_for_each_entry(pool, &evictable, lru)
			if (uid_eq(uid, pool->uid))
				bytes += pool->size_bytes;
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
