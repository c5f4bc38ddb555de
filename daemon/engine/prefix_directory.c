/* SPDX-License-Identifier: MIT */
#include "engine/prefix_directory.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* As bytes in the pool: "HearthKV", then the version of what follows. */
#define MAGIC   0x564b687472616548u
#define VERSION 2u

enum { PAGE_BYTES = 4096, LAYOUT_BYTES = 64 };

struct directory_header {
    uint64_t magic;
    uint32_t version, n_blocks;
    char layout[LAYOUT_BYTES];
};

struct prefix_record {
    _Atomic uint64_t checksum; /* of all below and the block's number; 0: void */
    uint64_t serial;           /* rises from record to record, so a parent's is the lower one */
    uint32_t uid, parent;
    uint32_t tokens[KV_BLOCK_TOKENS];
    uint32_t window;   /* the block of windowed layers, or WINDOW_NONE */
    uint32_t reserved; /* 0 */
};

static_assert(sizeof(struct prefix_record) == 160, "part of the format");

/* A valid record while the tree is built again. */
struct found {
    struct prefix_record record;
    uint32_t block, depth;
    uint64_t last; /* serial of the last record below it: when it was last of use */
    bool is_entered;
};

uint64_t prefix_directory_bytes(uint32_t n_blocks)
{
    uint64_t bytes = PAGE_BYTES + (uint64_t)n_blocks * sizeof(struct prefix_record);

    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

/* FNV-1a over words, with a fold that brings high bits down. Finds torn and stale records; whoever
 * writes the pool could make any record. */
static uint64_t checksum_of(const struct prefix_record *r, uint32_t block)
{
    const uint32_t head[] = {block,  (uint32_t)r->serial, (uint32_t)(r->serial >> 32),
                             r->uid, r->parent,           r->window};
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
        h = (h ^ head[i]) * 0x100000001b3u;
    for (size_t i = 0; i < KV_BLOCK_TOKENS; i++)
        h = (h ^ (h >> 29) ^ r->tokens[i]) * 0x100000001b3u;
    h ^= h >> 32;
    return h ? h : 1;
}

/* A copy first: whatever else writes the memory, what was checked is what is used. */
static bool read_record(const struct prefix_directory *d, uint32_t block, struct prefix_record *ret)
{
    memcpy(ret, &d->records[block], sizeof(*ret));
    return ret->checksum && ret->checksum == checksum_of(ret, block) && ret->serial &&
           ret->serial < UINT64_MAX / 2 && !ret->reserved &&
           (ret->parent == PREFIX_ROOT || ret->parent < d->n_blocks);
}

static int by_serial(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return (x->record.serial > y->record.serial) - (x->record.serial < y->record.serial);
}

/* The order of release: who was of use longest ago first, and what follows a block before it. */
static int by_use(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->last != y->last)
        return (x->last > y->last) - (x->last < y->last);
    return (x->depth < y->depth) - (x->depth > y->depth);
}

/* Enters the records in the order of their serials, each after its parent; place[block] is its
 * index among them. */
static uint32_t enter_all(struct found *list, uint32_t n, uint32_t *place, struct prefix_cache *p)
{
    uint32_t n_entered = 0, other;

    for (uint32_t i = 0; i < n; i++) {
        struct found *f = &list[i];
        const struct prefix_record *r = &f->record;

        if (r->parent != PREFIX_ROOT) {
            const struct found *parent = place[r->parent] < i ? &list[place[r->parent]] : NULL;
            if (!parent || !parent->is_entered ||
                (parent->record.uid != r->uid && parent->record.uid != PREFIX_COMMON))
                continue;
            f->depth = parent->depth + 1;
        }
        if (prefix_cache_find(p, r->uid, r->parent, r->tokens, &other) ||
            prefix_cache_enter(p, r->uid, r->parent, r->tokens, f->block) < 0)
            continue;
        f->is_entered = true;
        f->last = r->serial;
        n_entered++;
    }
    return n_entered;
}

/* The blocks of windowed layers that belong to what was entered. */
static void restore_windows(struct prefix_directory *d, const struct found *list, uint32_t n,
                            struct window_blocks *windows)
{
    for (uint32_t i = 0; i < n; i++)
        if (list[i].is_entered && list[i].record.window != WINDOW_NONE &&
            (!windows || !window_blocks_restore(windows, list[i].block, list[i].record.window)))
            prefix_directory_set_window(d, list[i].block, WINDOW_NONE);
}

/* All that was entered becomes idle, the least recently used first. */
static void release_all(struct found *list, uint32_t n, const uint32_t *place,
                        struct prefix_cache *p)
{
    for (uint32_t i = n; i-- > 0;) {
        struct found *f = &list[i], *parent;
        if (!f->is_entered || f->record.parent == PREFIX_ROOT)
            continue;
        parent = &list[place[f->record.parent]];
        if (parent->last < f->last)
            parent->last = f->last;
    }
    qsort(list, n, sizeof(*list), by_use);
    for (uint32_t i = 0; i < n; i++)
        if (list[i].is_entered)
            prefix_cache_release(p, list[i].block);
}

static int rebuild(struct prefix_directory *d, struct prefix_cache *p,
                   struct window_blocks *windows)
{
    struct found *list = calloc(d->n_blocks, sizeof(*list));
    uint32_t *place = malloc(d->n_blocks * sizeof(*place)), n = 0, n_entered;

    if (!list || !place) {
        free(list);
        free(place);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < d->n_blocks; i++) {
        if (read_record(d, i, &list[n].record))
            list[n++].block = i;
        place[i] = UINT32_MAX; /* below: no parent of anything */
    }
    qsort(list, n, sizeof(*list), by_serial);
    for (uint32_t i = 0; i < n; i++)
        place[list[i].block] = i;
    n_entered = enter_all(list, n, place, p);
    d->next_serial = n ? list[n - 1].record.serial + 1 : 1;
    release_all(list, n, place, p);
    restore_windows(d, list, n, windows);
    free(list);
    free(place);
    return (int)n_entered;
}

static void format(struct directory_header *h, uint32_t n_blocks, const char *layout)
{
    memset(h, 0, prefix_directory_bytes(n_blocks));
    memcpy(h->layout, layout, LAYOUT_BYTES);
    h->version = VERSION;
    h->n_blocks = n_blocks;
    atomic_thread_fence(memory_order_release);
    h->magic = MAGIC;
}

int prefix_directory_open(struct prefix_directory *d, void *memory, uint32_t n_blocks,
                          const char layout[64], struct prefix_cache *p,
                          struct window_blocks *windows)
{
    struct directory_header *h = memory, seen;
    int n_entered;

    memcpy(&seen, h, sizeof(seen));
    if (seen.magic != MAGIC || seen.version != VERSION || seen.n_blocks != n_blocks ||
        memcmp(seen.layout, layout, LAYOUT_BYTES) != 0)
        format(h, n_blocks, layout);
    d->records = (struct prefix_record *)(void *)((char *)memory + PAGE_BYTES);
    d->n_blocks = n_blocks;
    n_entered = rebuild(d, p, windows);
    for (uint32_t i = 0; n_entered >= 0 && i < n_blocks; i++)
        if (!prefix_cache_has(p, i))
            prefix_directory_clear(d, i);
    return n_entered;
}

uint64_t prefix_directory_forget(void *memory, uint64_t bytes, uid_t uid)
{
    struct prefix_directory d = {
        .records = (struct prefix_record *)(void *)((char *)memory + PAGE_BYTES),
    };
    struct directory_header h;
    uint64_t n = 0;

    if (bytes < PAGE_BYTES)
        return 0;
    memcpy(&h, memory, sizeof(h));
    if (h.magic != MAGIC || h.version != VERSION || !h.n_blocks ||
        prefix_directory_bytes(h.n_blocks) > bytes)
        return 0;
    for (uint32_t i = 0; i < h.n_blocks; i++) {
        struct prefix_record *r = &d.records[i];

        if (r->uid != uid || !r->checksum)
            continue;
        prefix_directory_clear(&d, i);
        n++;
    }
    return n * ((bytes - prefix_directory_bytes(h.n_blocks)) / h.n_blocks);
}

void prefix_directory_set(struct prefix_directory *d, uid_t uid, uint32_t parent,
                          const uint32_t *tokens, uint32_t block)
{
    struct prefix_record *r = &d->records[block];

    prefix_directory_clear(d, block);
    r->serial = d->next_serial++;
    r->uid = uid;
    r->parent = parent;
    r->window = WINDOW_NONE;
    r->reserved = 0;
    memcpy(r->tokens, tokens, sizeof(r->tokens));
    atomic_store_explicit(&r->checksum, checksum_of(r, block), memory_order_release);
}

void prefix_directory_set_window(struct prefix_directory *d, uint32_t block, uint32_t window)
{
    struct prefix_record *r = &d->records[block];

    prefix_directory_clear(d, block);
    r->window = window;
    atomic_store_explicit(&r->checksum, checksum_of(r, block), memory_order_release);
}

void prefix_directory_clear(struct prefix_directory *d, uint32_t block)
{
    atomic_store_explicit(&d->records[block].checksum, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* void before anything that follows */
}
