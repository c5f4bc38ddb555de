// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pools and their registry.
 */
#include "pool.h"

#include <linux/capability.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>
#include <linux/xarray.h>

#include "adopt.h"
#include "limits.h"
#include "shrink.h"
#include "trace.h"

#define NAME_BITS 10

/* All pools by number; its lock is the registry's and guards the table of names too. */
static DEFINE_XARRAY_ALLOC1(pools);
static u32 next_id;
static atomic_long_t pool_count;

static DEFINE_HASHTABLE(names, NAME_BITS);
static siphash_aligned_key_t name_seed;

static u32 name_hash(const u8 *key, kuid_t uid)
{
	return siphash(key, HEARTH_KEY_BYTES, &name_seed) ^ __kuid_val(uid);
}

static struct hearth_pool *name_lookup(const u8 *key, kuid_t uid)
{
	struct hearth_pool *pool;

	hash_for_each_possible(names, pool, registry, name_hash(key, uid))
		if (uid_eq(pool->uid, uid) && !memcmp(pool->key, key, HEARTH_KEY_BYTES))
			return pool;
	return NULL;
}

/* The name's reference passes to the caller. */
static void name_remove(struct hearth_pool *pool)
{
	hash_del(&pool->registry);
	pool->is_named = false;
}

/**
 * hearth_pool_create() - make a pool without memory, known to nobody
 * @args: what is asked for, already validated but for limits
 * @memfd: file to adopt, or NULL; the pool takes a reference of its own
 *
 * Return: the pool with one reference, -EDQUOT or -ENOMEM.
 */
struct hearth_pool *hearth_pool_create(const struct hearth_create *args, struct file *memfd)
{
	struct hearth_pool *pool = kzalloc(sizeof(*pool), HEARTH_GFP);
	int err;

	if (!pool)
		return ERR_PTR(-ENOMEM);

	kref_init(&pool->refs);
	init_waitqueue_head(&pool->wait);
	mutex_init(&pool->seal_lock);
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->lru);
	INIT_HLIST_NODE(&pool->registry);
	pool->size_bytes = args->size_bytes;
	pool->flags = args->flags;
	pool->mode = args->mode;
	pool->node = args->node;
	pool->min_order = args->min_order;
	pool->uid = current_fsuid();
	pool->gid = current_fsgid();
	memcpy(pool->key, args->key, HEARTH_KEY_BYTES);
	pool->created_ns = ktime_get_boottime_ns();
	pool->used_ns = pool->created_ns;
	if (memfd)
		pool->memfd = get_file(memfd);

	err = hearth_limits_charge(&pool->charge, pool->uid, memfd ? 0 : pool->size_bytes);
	if (!err)
		err = hearth_pages_init(&pool->pages, pool->size_bytes, hearth_adopt_order(memfd));
	if (err) {
		hearth_pool_put(pool);
		return ERR_PTR(err);
	}
	return pool;
}

/* Takes the name away if the pool still has it. */
static void forget_name(struct hearth_pool *pool)
{
	bool was_named;

	xa_lock(&pools);
	was_named = pool->is_named;
	if (was_named)
		name_remove(pool);
	xa_unlock(&pools);
	if (was_named)
		hearth_pool_put(pool);
}

/**
 * hearth_pool_add() - give a new pool its number, and its name if it has a key
 * @pool: the pool
 *
 * A name that an evicted pool left is taken over.
 *
 * Return: 0, -EEXIST or -ENOMEM.
 */
int hearth_pool_add(struct hearth_pool *pool)
{
	struct hearth_pool *old = NULL;
	int err = 0;

	if (pool->flags & HEARTH_CREATE_KEYED) {
		xa_lock(&pools);
		old = name_lookup(pool->key, pool->uid);
		if (old && READ_ONCE(old->state) != HEARTH_STATE_EVICTED) {
			old = NULL;
			err = -EEXIST;
		} else {
			if (old)
				name_remove(old);
			kref_get(&pool->refs);
			pool->is_named = true;
			hash_add(names, &pool->registry, name_hash(pool->key, pool->uid));
		}
		xa_unlock(&pools);
		if (old)
			hearth_pool_put(old);
		if (err)
			return err;
	}

	atomic_long_inc(&pool_count);
	err = xa_alloc_cyclic(&pools, &pool->id, pool, XA_LIMIT(1, U32_MAX), &next_id, GFP_KERNEL);
	if (err < 0) {
		atomic_long_dec(&pool_count);
		pool->id = 0;
		forget_name(pool);
		return err;
	}
	return 0;
}

static void pool_free(struct kref *refs)
{
	struct hearth_pool *pool = container_of(refs, struct hearth_pool, refs);

	if (pool->id) {
		xa_erase(&pools, pool->id);
		atomic_long_dec(&pool_count);
		trace_hearth_free(pool);
	}
	hearth_shrink_remove(pool);
	if (pool->memfd)
		hearth_adopt_release(pool);
	hearth_pages_free(&pool->pages);
	hearth_limits_uncharge(&pool->charge);
	mutex_destroy(&pool->seal_lock);
	kfree(pool);
}

void hearth_pool_get(struct hearth_pool *pool)
{
	kref_get(&pool->refs);
}

void hearth_pool_put(struct hearth_pool *pool)
{
	kref_put(&pool->refs, pool_free);
}

void hearth_pool_init(void)
{
	get_random_bytes(&name_seed, sizeof(name_seed));
}

/* At module exit names alone keep pools: files and dma-bufs would have kept the module. */
void hearth_pool_exit(void)
{
	struct hearth_pool *pool;
	struct hlist_node *next;
	unsigned int bucket;

	hash_for_each_safe(names, bucket, next, pool, registry) {
		name_remove(pool);
		hearth_pool_put(pool);
	}
	WARN_ON(!xa_empty(&pools));
	xa_destroy(&pools);
}

static bool mode_allows(const struct hearth_pool *pool, int mask)
{
	u32 bits = pool->mode;

	if (uid_eq(current_fsuid(), pool->uid))
		bits >>= 6;
	else if (in_group_p(pool->gid))
		bits >>= 3;
	return (bits & mask) == mask;
}

static bool may(const struct hearth_pool *pool, int mask)
{
	return mode_allows(pool, mask) || ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN);
}

/**
 * hearth_pool_is_visible() - see whether the caller may know of a pool
 * @pool: the pool
 *
 * Return: true to its owner and to who may read it.
 */
bool hearth_pool_is_visible(const struct hearth_pool *pool)
{
	return uid_eq(current_fsuid(), pool->uid) || may(pool, MAY_READ);
}

static kuid_t caller_kuid(u32 uid)
{
	return uid == HEARTH_UID_SELF ? current_fsuid() : make_kuid(current_user_ns(), uid);
}

/**
 * hearth_pool_find() - look a pool up by name
 * @key: its key
 * @uid: its owner in the caller's numbers, or HEARTH_UID_SELF
 * @mask: what the caller wants to do with its memory: MAY_READ, MAY_WRITE, 0 for nothing
 *
 * Return: the pool with a reference, -ENOENT or -EACCES.
 */
struct hearth_pool *hearth_pool_find(const u8 *key, u32 uid, int mask)
{
	struct hearth_pool *pool;
	kuid_t owner = caller_kuid(uid);
	int err = 0;

	if (!uid_valid(owner))
		return ERR_PTR(-ENOENT);

	xa_lock(&pools);
	pool = name_lookup(key, owner);
	if (pool)
		kref_get(&pool->refs);
	xa_unlock(&pools);

	if (!pool)
		return ERR_PTR(-ENOENT);
	if (!hearth_pool_is_visible(pool))
		err = -ENOENT;
	else if (!may(pool, mask))
		err = -EACCES;
	if (!err)
		return pool;
	hearth_pool_put(pool);
	return ERR_PTR(err);
}

/**
 * hearth_pool_next() - walk over all pools
 * @cursor: number after which to go on; set to that of the pool returned
 *
 * Return: a pool with a reference, NULL at the end.
 */
struct hearth_pool *hearth_pool_next(u64 *cursor)
{
	struct hearth_pool *pool = NULL;
	unsigned long index = *cursor;

	if (*cursor >= U32_MAX)
		return NULL;

	xa_lock(&pools);
	while ((pool = xa_find_after(&pools, &index, U32_MAX, XA_PRESENT)))
		if (kref_get_unless_zero(&pool->refs))
			break;
	xa_unlock(&pools);
	if (pool)
		*cursor = index;
	return pool;
}

int hearth_pool_destroy(const struct hearth_destroy *args)
{
	struct hearth_pool *pool = hearth_pool_find(args->key, args->uid, 0);
	int err = 0;

	if (IS_ERR(pool))
		return PTR_ERR(pool);

	if (uid_eq(current_fsuid(), pool->uid) || capable(CAP_SYS_ADMIN)) {
		trace_hearth_destroy(pool);
		forget_name(pool);
	} else {
		err = -EPERM;
	}
	hearth_pool_put(pool);
	return err;
}

/**
 * hearth_pool_forget_evicted() - drop the name of an owner's longest evicted pool
 * @uid: the owner
 *
 * Return: whether there was one; then its owner has one pool less, or soon will.
 */
bool hearth_pool_forget_evicted(kuid_t uid)
{
	struct hearth_pool *pool, *oldest = NULL;
	unsigned int bucket;

	xa_lock(&pools);
	hash_for_each(names, bucket, pool, registry)
		if (uid_eq(pool->uid, uid) && READ_ONCE(pool->state) == HEARTH_STATE_EVICTED &&
		    (!oldest || pool->used_ns < oldest->used_ns))
			oldest = pool;
	if (oldest)
		name_remove(oldest);
	xa_unlock(&pools);
	if (oldest)
		hearth_pool_put(oldest);
	return oldest;
}

unsigned long hearth_pool_count(void)
{
	return atomic_long_read(&pool_count);
}

/* Whether the shrinker may take it now; pool->lock is held. */
bool hearth_pool_is_evictable(const struct hearth_pool *pool)
{
	return pool->is_idle && !pool->memfd && !pool->mappings && !pool->dmabufs && !pool->holds &&
	       (pool->state == HEARTH_STATE_WRITABLE || pool->state == HEARTH_STATE_SEALED);
}

/**
 * hearth_pool_settle() - draw the consequences of a change of counts or state
 * @pool: the pool, its lock held
 */
void hearth_pool_settle(struct hearth_pool *pool)
{
	lockdep_assert_held(&pool->lock);

	if ((pool->flags & HEARTH_CREATE_IDLE_ON_CLOSE) && !pool->files && !pool->mappings &&
	    !pool->dmabufs && pool->state != HEARTH_STATE_ALLOCATING)
		pool->is_idle = true;
	pool->used_ns = ktime_get_boottime_ns();
	hearth_shrink_update(pool);
}

/* All memory is there: the pool becomes a whole one. */
void hearth_pool_complete(struct hearth_pool *pool)
{
	bool is_first;

	spin_lock(&pool->lock);
	is_first = pool->state == HEARTH_STATE_ALLOCATING;
	if (is_first)
		pool->state = pool->memfd ? HEARTH_STATE_SEALED : HEARTH_STATE_WRITABLE;
	spin_unlock(&pool->lock);
	if (is_first) {
		trace_hearth_fill(pool);
		wake_up_all(&pool->wait);
	}
}

/**
 * hearth_pool_hold() - keep a pool's pages from eviction if it is in some state
 * @pool: the pool
 * @state: the state
 *
 * Return: the state it is in; if that is @state, hearth_pool_release() must follow.
 */
enum hearth_state hearth_pool_hold(struct hearth_pool *pool, enum hearth_state state)
{
	enum hearth_state found;

	spin_lock(&pool->lock);
	found = pool->state;
	if (found == state) {
		pool->holds++;
		hearth_shrink_update(pool);
	}
	spin_unlock(&pool->lock);
	return found;
}

void hearth_pool_release(struct hearth_pool *pool)
{
	spin_lock(&pool->lock);
	pool->holds--;
	hearth_pool_settle(pool);
	spin_unlock(&pool->lock);
}

int hearth_pool_set_idle(struct hearth_pool *pool, bool is_idle)
{
	int err = 0;

	if (pool->memfd && is_idle)
		return -EOPNOTSUPP;

	spin_lock(&pool->lock);
	if (pool->state == HEARTH_STATE_EVICTED) {
		err = -ESTALE;
	} else if (pool->state == HEARTH_STATE_ALLOCATING) {
		err = -EBUSY;
	} else {
		pool->is_idle = is_idle;
		hearth_pool_settle(pool);
	}
	spin_unlock(&pool->lock);
	return err;
}

void hearth_pool_open_file(struct hearth_pool *pool)
{
	spin_lock(&pool->lock);
	pool->files++;
	hearth_pool_settle(pool);
	spin_unlock(&pool->lock);
}

/* A pool that nobody can complete any more goes, with its name. */
void hearth_pool_close_file(struct hearth_pool *pool)
{
	bool is_abandoned;

	spin_lock(&pool->lock);
	if (pool->files)
		pool->files--;
	is_abandoned = !pool->files && pool->state == HEARTH_STATE_ALLOCATING;
	hearth_pool_settle(pool);
	spin_unlock(&pool->lock);
	if (is_abandoned)
		forget_name(pool);
}

const char *hearth_pool_state_name(enum hearth_state state)
{
	static const char *const state_names[] = {
		[HEARTH_STATE_ALLOCATING] = "allocating",
		[HEARTH_STATE_WRITABLE] = "writable",
		[HEARTH_STATE_SEALED] = "sealed",
		[HEARTH_STATE_EVICTED] = "evicted",
	};

	return state_names[state];
}

void hearth_pool_info(struct hearth_pool *pool, struct hearth_info *info)
{
	struct user_namespace *ns = current_user_ns();

	*info = (struct hearth_info){
		.id = pool->id,
		.size_bytes = pool->size_bytes,
		.created_ns = pool->created_ns,
		.flags = pool->flags,
		.mode = pool->mode,
		.uid = from_kuid_munged(ns, pool->uid),
		.gid = from_kgid_munged(ns, pool->gid),
		.node = pool->node,
	};
	memcpy(info->key, pool->key, HEARTH_KEY_BYTES);

	spin_lock(&pool->lock);
	info->state = pool->state;
	info->used_ns = pool->used_ns;
	info->files = pool->files;
	info->mappings = pool->mappings;
	info->writable_mappings = pool->writable_mappings;
	info->dmabufs = pool->dmabufs;
	info->writable_dmabufs = pool->writable_dmabufs;
	info->status = (READ_ONCE(pool->is_named) ? HEARTH_STATUS_NAMED : 0) |
		       (pool->is_idle ? HEARTH_STATUS_IDLE : 0) |
		       (pool->memfd ? HEARTH_STATUS_ADOPTED : 0);
	info->allocated_bytes = hearth_pages_prefix_bytes(&pool->pages);
	memcpy(info->order_bytes, pool->pages.order_bytes, sizeof(info->order_bytes));
	spin_unlock(&pool->lock);
}
