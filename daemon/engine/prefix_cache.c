/* SPDX-License-Identifier: MIT */
#include "engine/prefix_cache.h"

#include "engine/index_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = INDEX_NONE };

/* What is known of a block; blocks and nodes have the same numbers. */
struct node {
    uint32_t tokens[KV_BLOCK_TOKENS];
    uint32_t parent;
    uid_t uid;
    uint32_t bucket, next_in_bucket;
    bool is_entered;
};

struct prefix_cache {
    struct node *nodes; /* [n_blocks] */
    uint32_t *buckets;  /* [n_buckets], a power of two: first node or NONE */
    uint32_t n_blocks, n_buckets;
    uint32_t n_entered, most_entered;
    struct index_link *links; /* [n_blocks] */
    /*
     * The idle ones. Users hold whole chains and release them from the end, so every idle block
     * comes after the blocks that follow it: the oldest is always a leaf.
     */
    struct index_list idle;
    uint64_t seed;
};

int prefix_cache_create(uint32_t n_blocks, uint32_t most_entered, uint64_t seed,
                        struct prefix_cache **ret_cache)
{
    struct prefix_cache *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->n_blocks = n_blocks;
    p->most_entered = most_entered;
    p->seed = seed;
    p->n_buckets = 1;
    while (p->n_buckets < n_blocks && p->n_buckets < 1u << 31)
        p->n_buckets *= 2;
    p->nodes = calloc(n_blocks, sizeof(*p->nodes));
    p->links = calloc(n_blocks, sizeof(*p->links));
    p->buckets = calloc(p->n_buckets, sizeof(*p->buckets));
    if (!p->nodes || !p->links || !p->buckets) {
        prefix_cache_destroy(p);
        return -ENOMEM;
    }
    index_list_init(&p->idle, p->links);
    for (uint32_t i = 0; i < p->n_buckets; i++)
        p->buckets[i] = NONE;
    *ret_cache = p;
    return 0;
}

void prefix_cache_destroy(struct prefix_cache *p)
{
    if (!p)
        return;
    free(p->nodes);
    free(p->links);
    free(p->buckets);
    free(p);
}

/* The finalizer of MurmurHash3. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
    return x ^ (x >> 33);
}

static uint32_t bucket_of(const struct prefix_cache *p, uid_t uid, uint32_t parent,
                          const uint32_t *tokens)
{
    uint64_t h = mix(p->seed ^ uid ^ (uint64_t)parent << 32);

    for (uint32_t i = 0; i < KV_BLOCK_TOKENS; i++)
        h = mix(h ^ tokens[i]);
    return (uint32_t)h & (p->n_buckets - 1);
}

bool prefix_cache_find(const struct prefix_cache *p, uid_t uid, uint32_t parent,
                       const uint32_t *tokens, uint32_t *ret_block)
{
    uint32_t i = p->buckets[bucket_of(p, uid, parent, tokens)];

    for (; i != NONE; i = p->nodes[i].next_in_bucket) {
        const struct node *n = &p->nodes[i];
        if (n->uid == uid && n->parent == parent &&
            memcmp(n->tokens, tokens, sizeof(n->tokens)) == 0) {
            *ret_block = i;
            return true;
        }
    }
    return false;
}

int prefix_cache_enter(struct prefix_cache *p, uid_t uid, uint32_t parent, const uint32_t *tokens,
                       uint32_t block)
{
    struct node *n = &p->nodes[block];

    if (p->n_entered >= p->most_entered)
        return -ENOSPC;
    *n = (struct node){
        .parent = parent,
        .uid = uid,
        .bucket = bucket_of(p, uid, parent, tokens),
        .is_entered = true,
    };
    memcpy(n->tokens, tokens, sizeof(n->tokens));
    n->next_in_bucket = p->buckets[n->bucket];
    p->buckets[n->bucket] = block;
    p->n_entered++;
    return 0;
}

bool prefix_cache_has(const struct prefix_cache *p, uint32_t block)
{
    return p->nodes[block].is_entered;
}

const uint32_t *prefix_cache_get(const struct prefix_cache *p, uint32_t block, uid_t *ret_uid,
                                 uint32_t *ret_parent)
{
    const struct node *n = &p->nodes[block];

    *ret_uid = n->uid;
    *ret_parent = n->parent;
    return n->tokens;
}

void prefix_cache_hold(struct prefix_cache *p, uint32_t block)
{
    index_list_remove(&p->idle, block);
}

void prefix_cache_release(struct prefix_cache *p, uint32_t block)
{
    index_list_push(&p->idle, block);
}

static void leave_bucket(struct prefix_cache *p, uint32_t block)
{
    uint32_t *link = &p->buckets[p->nodes[block].bucket];

    while (*link != block)
        link = &p->nodes[*link].next_in_bucket;
    *link = p->nodes[block].next_in_bucket;
}

void prefix_cache_remove(struct prefix_cache *p, uint32_t block)
{
    prefix_cache_hold(p, block);
    leave_bucket(p, block);
    p->nodes[block].is_entered = false;
    p->n_entered--;
}

bool prefix_cache_next_idle(const struct prefix_cache *p, uid_t uid, uint32_t last,
                            uint32_t *ret_block)
{
    uint32_t block = last == PREFIX_ROOT ? p->idle.first : p->links[last].after;

    while (block != NONE && p->nodes[block].uid != uid)
        block = p->links[block].after;
    if (block == NONE)
        return false;
    *ret_block = block;
    return true;
}

bool prefix_cache_evict(struct prefix_cache *p, uint32_t *ret_block)
{
    if (p->idle.first == NONE)
        return false;
    *ret_block = p->idle.first;
    prefix_cache_remove(p, *ret_block);
    return true;
}

uint32_t prefix_cache_n_entered(const struct prefix_cache *p)
{
    return p->n_entered;
}

uint32_t prefix_cache_n_idle(const struct prefix_cache *p)
{
    return p->idle.n;
}
