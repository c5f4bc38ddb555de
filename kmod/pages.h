/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of a pool: one slot per large page, filled by one large folio or, where the pool
 * allows it, by several smaller ones of one order. Slots fill in any order, from any number of
 * threads, and never change again until all are given up together.
 */
#ifndef _HEARTH_PAGES_H
#define _HEARTH_PAGES_H

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/types.h>
#include <uapi/hearth.h>

struct folio;
struct hearth_pool;

#define HEARTH_LARGE_ORDER HPAGE_PMD_ORDER
#define HEARTH_LARGE_BYTES ((u64)HPAGE_PMD_SIZE)

/* For what describes a pool: it fails, as the pool's pages do, before anybody is killed for it. */
#define HEARTH_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/**
 * enum hearth_slot_state - whether a slot can be read
 * @HEARTH_SLOT_EMPTY: to be claimed by who allocates
 * @HEARTH_SLOT_CLAIMED: somebody allocates for it
 * @HEARTH_SLOT_FILLED: readable without a lock, after an acquiring load of the state
 */
enum hearth_slot_state {
	HEARTH_SLOT_EMPTY,
	HEARTH_SLOT_CLAIMED,
	HEARTH_SLOT_FILLED,
};

/**
 * struct hearth_slot - one large page, or its pieces
 * @folio: the folio, if @order is that of a slot
 * @parts: else the folios, 1 << (slot order - @order) of them
 * @state: enum hearth_slot_state
 * @order: page order of each folio
 * @is_reserve: @folio came from the boot-time reserve and goes back there
 */
struct hearth_slot {
	union {
		struct folio *folio;
		struct folio **parts;
	};
	u8 state;
	u8 order;
	bool is_reserve;
};

/**
 * struct hearth_pages - the memory of a pool
 * @slots: its slots; NULL once given up
 * @nr_slots: how many
 * @order: order of a slot: that of a large page, or of the hugetlb file adopted
 * @nr_filled: slots filled
 * @nr_prefix: slots filled before the first that is not
 * @order_bytes: bytes in folios of each order
 * @machine_bytes: bytes that go back to the machine with the pool, not to the reserve
 * @node_pages: the same as pages, on each of the nr_node_ids NUMA nodes
 *
 * All but the slots themselves is guarded by the pool's lock.
 */
struct hearth_pages {
	struct hearth_slot *slots;
	unsigned long nr_slots;
	unsigned int order;
	unsigned long nr_filled;
	unsigned long nr_prefix;
	u64 order_bytes[HEARTH_ORDERS];
	u64 machine_bytes;
	unsigned long *node_pages;
};

int hearth_pages_init(struct hearth_pages *pages, u64 size_bytes, unsigned int order);
int hearth_pages_allocate(struct hearth_pool *pool);
void hearth_pages_fill(struct hearth_pool *pool, unsigned long index, struct hearth_slot slot);
void hearth_pages_free(struct hearth_pages *pages);
struct page *hearth_pages_at(const struct hearth_pages *pages, pgoff_t offset,
			     unsigned long *ret_nr);
bool hearth_pages_are_pinned(const struct hearth_pages *pages);

/* Bytes without a gap from the start; the pool's lock is held. */
static inline u64 hearth_pages_prefix_bytes(const struct hearth_pages *pages)
{
	return pages->slots ? (u64)pages->nr_prefix << (pages->order + PAGE_SHIFT) : 0;
}

#endif /* _HEARTH_PAGES_H */
