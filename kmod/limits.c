// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits and who uses how much of them.
 */
#include "limits.h"

#include <linux/atomic.h>
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>

#include "pages.h"
#include "pool.h"
#include "reserve.h"
#include "shrink.h"

/* This part of all memory stays out of pools' reach when they allocate: others need it to live. */
#define MARGIN_SHIFT 6

static int percent_set(const char *value, const struct kernel_param *param)
{
	return param_set_uint_minmax(value, param, 1, 95);
}

static int uid_percent_set(const char *value, const struct kernel_param *param)
{
	return param_set_uint_minmax(value, param, 1, 100);
}

static const struct kernel_param_ops percent_ops = {
	.set = percent_set,
	.get = param_get_uint,
};

static const struct kernel_param_ops uid_percent_ops = {
	.set = uid_percent_set,
	.get = param_get_uint,
};

static uint limit_percent = 85;
module_param_cb(limit_percent, &percent_ops, &limit_percent, 0644);
__MODULE_PARM_TYPE(limit_percent, "uint");
MODULE_PARM_DESC(limit_percent, "most memory of all pools, in percent of RAM (1-95, default 85)");

static uint uid_limit_percent = 100;
module_param_cb(uid_limit_percent, &uid_percent_ops, &uid_limit_percent, 0644);
__MODULE_PARM_TYPE(uid_limit_percent, "uint");
MODULE_PARM_DESC(uid_limit_percent,
		 "most memory of one user's pools, in percent of RAM (1-100, default 100)");

static uint uid_limit_pools = 1024;
module_param(uid_limit_pools, uint, 0644);
MODULE_PARM_DESC(uid_limit_pools, "most pools of one user (default 1024)");

/* What one user has; exists while that user has a pool. */
struct owner {
	struct hlist_node link;
	kuid_t uid;
	u64 bytes;
	u32 pools;
};

static DEFINE_SPINLOCK(lock);
static DEFINE_HASHTABLE(owners, 6);
static u64 used_bytes;

static u64 percent_bytes(uint percent)
{
	u64 large_pages = div_u64((u64)totalram_pages() * percent, 100) >> HEARTH_LARGE_ORDER;

	return large_pages * HEARTH_LARGE_BYTES;
}

u64 hearth_limits_bytes(void)
{
	return percent_bytes(READ_ONCE(limit_percent));
}

u64 hearth_limits_used_bytes(void)
{
	u64 bytes;

	spin_lock(&lock);
	bytes = used_bytes;
	spin_unlock(&lock);
	return bytes;
}

static struct owner *owner_find(kuid_t uid)
{
	struct owner *owner;

	hash_for_each_possible(owners, owner, link, __kuid_val(uid))
		if (uid_eq(owner->uid, uid))
			return owner;
	return NULL;
}

/* Room that allocations under way have been told of and not yet used up or given up. */
static atomic64_t claimed_bytes;

static long low_watermark_pages(void)
{
	long pages = 0;
	int node, i;

	for_each_online_node(node)
		for (i = 0; i < MAX_NR_ZONES; i++)
			pages += low_wmark_pages(&NODE_DATA(node)->node_zones[i]);
	return pages;
}

/*
 * What is available when @idle_pages of idle pools, which count as reclaimable with the kernel, do
 * not: si_mem_available() holds back a part of all that is reclaimable, at most the low watermark.
 */
static long available_without(long idle_pages)
{
	long low = low_watermark_pages();
	long all = global_node_page_state_pages(NR_SLAB_RECLAIMABLE_B) +
		   global_node_page_state(NR_KERNEL_MISC_RECLAIMABLE);
	long rest = max(all - idle_pages, 0L);

	return si_mem_available() - idle_pages + min(all / 2, low) - min(rest / 2, low);
}

/* Is there room now? Is there any if all idle pools go? */
struct room {
	bool is_there;
	bool can_be_made;
};

static struct room room_for(u64 bytes)
{
	u64 needed_bytes = bytes + (u64)atomic64_read(&claimed_bytes);
	long needed_pages = (needed_bytes >> PAGE_SHIFT) + (totalram_pages() >> MARGIN_SHIFT);
	long idle_pages = hearth_shrink_reclaimable_bytes() >> PAGE_SHIFT;
	long going_pages = hearth_shrink_going_bytes() >> PAGE_SHIFT;
	long pages = available_without(idle_pages);

	return (struct room){
		.is_there = pages >= needed_pages,
		.can_be_made = pages + idle_pages + going_pages >= needed_pages,
	};
}

/* What stands in the way of @bytes more for @owner. */
enum obstacle { NONE, OWNER_POOLS, OWNER_BYTES, ALL_BYTES };

static enum obstacle find_obstacle(const struct owner *owner, u64 bytes)
{
	u64 uid_limit = percent_bytes(READ_ONCE(uid_limit_percent));
	u64 limit = hearth_limits_bytes();

	if (owner->pools >= READ_ONCE(uid_limit_pools))
		return OWNER_POOLS;
	if (bytes > uid_limit || owner->bytes > uid_limit - bytes)
		return OWNER_BYTES;
	if (bytes > limit || used_bytes > limit - bytes)
		return ALL_BYTES;
	return NONE;
}

/* Counts the charge if nothing stands in its way. Takes *fresh where the owner is new. */
static enum obstacle try_charge(struct hearth_charge *charge, struct owner **fresh)
{
	enum obstacle obstacle;
	struct owner *owner;

	spin_lock(&lock);
	owner = owner_find(charge->uid) ?: *fresh;
	obstacle = find_obstacle(owner, charge->bytes);
	if (obstacle == NONE) {
		if (owner == *fresh) {
			hash_add(owners, &owner->link, __kuid_val(owner->uid));
			*fresh = NULL;
		}
		owner->pools++;
		owner->bytes += charge->bytes;
		used_bytes += charge->bytes;
		charge->counted = true;
	}
	spin_unlock(&lock);
	return obstacle;
}

static bool would_fit(u64 bytes, u64 limit, u64 used, u64 evictable)
{
	return bytes <= limit && used <= limit - bytes + evictable;
}

/* Whether it would fit, and be had, if every pool went that may: else none has to go. */
static bool could_fit(const struct hearth_charge *charge)
{
	u64 uid_limit = percent_bytes(READ_ONCE(uid_limit_percent));
	u64 reserve = hearth_reserve_free_bytes() + hearth_shrink_idle_bytes() -
		      hearth_shrink_reclaimable_bytes();
	struct owner *owner;
	u64 uid_used, used;

	spin_lock(&lock);
	owner = owner_find(charge->uid);
	uid_used = owner ? owner->bytes : 0;
	used = used_bytes;
	spin_unlock(&lock);
	return would_fit(charge->bytes, uid_limit, uid_used,
			 hearth_shrink_evictable_bytes(charge->uid)) &&
	       would_fit(charge->bytes, hearth_limits_bytes(), used,
			 hearth_shrink_evictable_bytes(INVALID_UID)) &&
	       room_for(charge->bytes - min(reserve, charge->bytes)).can_be_made;
}

/* Whether something went that may have been in the way. */
static bool make_way(enum obstacle obstacle, const struct hearth_charge *charge)
{
	if (!could_fit(charge))
		return false;
	switch (obstacle) {
	case OWNER_POOLS:
		return hearth_pool_forget_evicted(charge->uid);
	case OWNER_BYTES:
		return hearth_shrink_make_way(charge->uid);
	default:
		return hearth_shrink_make_way(INVALID_UID);
	}
}

/**
 * hearth_limits_charge() - count a new pool, evicting idle ones if that makes it fit
 * @charge: where to note it, all zero
 * @uid: its owner
 * @bytes: its size as far as it counts
 *
 * Return: 0; -EDQUOT over a limit of the owner, -ENOMEM over the machine's; then @charge counts
 * nothing.
 */
int hearth_limits_charge(struct hearth_charge *charge, kuid_t uid, u64 bytes)
{
	struct owner *fresh = kzalloc(sizeof(*fresh), HEARTH_GFP);
	enum obstacle obstacle;
	bool is_worth_trying = true;

	if (!fresh)
		return -ENOMEM;
	fresh->uid = uid;
	*charge = (struct hearth_charge){ .uid = uid, .bytes = bytes };

	while ((obstacle = try_charge(charge, &fresh)) != NONE && is_worth_trying)
		is_worth_trying = make_way(obstacle, charge);
	kfree(fresh);
	if (obstacle == NONE)
		return 0;
	charge->bytes = 0;
	return obstacle == ALL_BYTES ? -ENOMEM : -EDQUOT;
}

/* The memory is gone, the pool stays. */
void hearth_limits_uncharge_bytes(struct hearth_charge *charge)
{
	struct owner *owner;

	if (!charge->counted)
		return;
	spin_lock(&lock);
	owner = owner_find(charge->uid);
	owner->bytes -= charge->bytes;
	used_bytes -= charge->bytes;
	charge->bytes = 0;
	spin_unlock(&lock);
}

/* The pool is gone. */
void hearth_limits_uncharge(struct hearth_charge *charge)
{
	struct owner *owner;

	if (!charge->counted)
		return;
	hearth_limits_uncharge_bytes(charge);
	spin_lock(&lock);
	owner = owner_find(charge->uid);
	if (--owner->pools)
		owner = NULL;
	else
		hash_del(&owner->link);
	charge->counted = false;
	spin_unlock(&lock);
	kfree(owner);
}

/**
 * hearth_limits_make_room() - see that the machine can spare memory, evicting idle pools for it
 * @bytes: how much
 *
 * Refusing here keeps a pool from driving the machine to where others get killed or swapped out.
 *
 * Return: 0 or -ENOMEM.
 */
int hearth_limits_make_room(u64 bytes)
{
	struct room room = room_for(bytes);
	bool is_worth_trying = true;

	while (!room.is_there && room.can_be_made && is_worth_trying) {
		is_worth_trying = hearth_shrink_make_room();
		room = room_for(bytes);
	}
	return room.is_there ? 0 : -ENOMEM;
}

/**
 * hearth_limits_claim_room() - the same, and keep others from being told of that memory meanwhile
 * @bytes: how much
 *
 * Return: 0, then hearth_limits_release_room() must follow once it is allocated, or given up;
 * -ENOMEM.
 */
int hearth_limits_claim_room(u64 bytes)
{
	int err;

	atomic64_add(bytes, &claimed_bytes);
	err = hearth_limits_make_room(0);
	if (err)
		hearth_limits_release_room(bytes);
	return err;
}

void hearth_limits_release_room(u64 bytes)
{
	atomic64_sub(bytes, &claimed_bytes);
}

void hearth_limits_query(struct hearth_query *query)
{
	struct owner *owner;

	query->limit_bytes = hearth_limits_bytes();
	query->uid_limit_bytes = percent_bytes(READ_ONCE(uid_limit_percent));
	query->uid_limit_pools = READ_ONCE(uid_limit_pools);

	spin_lock(&lock);
	query->used_bytes = used_bytes;
	owner = owner_find(current_fsuid());
	if (owner) {
		query->uid_used_bytes = owner->bytes;
		query->uid_pools = owner->pools;
	}
	spin_unlock(&lock);
}
