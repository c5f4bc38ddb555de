/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A pool: who owns it, where it is in its life, who uses it now; and the registry of all pools.
 * Knows nothing of how pages are got or mapped.
 *
 * Locks, outermost first: pool->seal_lock, the registry's, pool->lock, the LRU's, the limits'.
 * All but the first are spinlocks that nothing sleeps under. The shrinker takes them the other
 * way round, by trylock.
 */
#ifndef _HEARTH_POOL_H
#define _HEARTH_POOL_H

#include <linux/cred.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <uapi/hearth.h>

#include "pages.h"

struct file;

/* Bytes and pools that count against limits; see limits.h. */
struct hearth_charge {
	kuid_t uid;
	u64 bytes;
	bool counted;
};

/**
 * struct hearth_pool - a pool of pages with an owner
 * @refs: one each for its name, every file, dma-buf and whoever looks at it just now
 * @registry: link in the table of names; under the registry's lock
 * @is_named: can be opened by its key; under the registry's lock
 * @id: its number
 * @size_bytes: its size; with all down to @created_ns fixed at creation
 * @flags: HEARTH_CREATE_*
 * @mode: permission bits
 * @node: NUMA node or HEARTH_NODE_ANY
 * @min_order: least order of a page
 * @uid: owner
 * @gid: group
 * @key: its name
 * @created_ns: when it was made
 * @memfd: the hugetlb file an adopted pool stands on, else NULL
 * @charge: what it counts against limits
 * @wait: woken when @state changes, and when a slot of @pages can be claimed again
 * @seal_lock: one attempt to seal at a time
 * @lock: guards what follows
 * @pages: its memory
 * @state: enum hearth_state
 * @is_idle: may be evicted when nobody uses it
 * @is_sealing: an attempt to seal is under way: no new writers
 * @files: descriptors open
 * @mappings: areas that map it
 * @writable_mappings: those of them that are or can be made writable
 * @dmabufs: dma-bufs of it
 * @writable_dmabufs: those of them that the CPU may map for writing
 * @holds: uses of its pages within the kernel that forbid eviction meanwhile
 * @used_ns: last time it was used
 * @lru: link in the list of pools that may be evicted now; under the LRU's lock
 */
struct hearth_pool {
	struct kref refs;
	struct hlist_node registry;
	bool is_named;

	u32 id;
	u64 size_bytes;
	u32 flags;
	u32 mode;
	int node;
	unsigned int min_order;
	kuid_t uid;
	kgid_t gid;
	u8 key[HEARTH_KEY_BYTES];
	u64 created_ns;
	struct file *memfd;
	struct hearth_charge charge;

	wait_queue_head_t wait;
	struct mutex seal_lock; /* one attempt to seal at a time */

	spinlock_t lock; /* guards what follows */
	struct hearth_pages pages;
	enum hearth_state state;
	bool is_idle;
	bool is_sealing;
	u32 files;
	u32 mappings;
	u32 writable_mappings;
	u32 dmabufs;
	u32 writable_dmabufs;
	u32 holds;
	u64 used_ns;
	struct list_head lru;
};

struct hearth_pool *hearth_pool_create(const struct hearth_create *args, struct file *memfd);
int hearth_pool_add(struct hearth_pool *pool);
void hearth_pool_get(struct hearth_pool *pool);
void hearth_pool_put(struct hearth_pool *pool);
void hearth_pool_init(void);
void hearth_pool_exit(void);

struct hearth_pool *hearth_pool_find(const u8 *key, u32 uid, int mask);
struct hearth_pool *hearth_pool_next(u64 *cursor);
bool hearth_pool_is_visible(const struct hearth_pool *pool);
int hearth_pool_destroy(const struct hearth_destroy *args);
bool hearth_pool_forget_evicted(kuid_t uid);
unsigned long hearth_pool_count(void);

void hearth_pool_complete(struct hearth_pool *pool);
enum hearth_state hearth_pool_hold(struct hearth_pool *pool, enum hearth_state state);
void hearth_pool_release(struct hearth_pool *pool);
int hearth_pool_set_idle(struct hearth_pool *pool, bool is_idle);
void hearth_pool_open_file(struct hearth_pool *pool);
void hearth_pool_close_file(struct hearth_pool *pool);
void hearth_pool_settle(struct hearth_pool *pool);
bool hearth_pool_is_evictable(const struct hearth_pool *pool);
void hearth_pool_info(struct hearth_pool *pool, struct hearth_info *info);
const char *hearth_pool_state_name(enum hearth_state state);

#endif /* _HEARTH_POOL_H */
