/* SPDX-License-Identifier: MIT */
/* The tree of shared blocks: what is found, what goes first, and a long random life compared with a
 * model that keeps lists and searches them. */
#include "harness.h"

#include "engine/prefix_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ALICE = 1000, BOB = 1001 };

/* The tokens of a block named by a number. */
static const uint32_t *words(uint32_t name)
{
    static uint32_t tokens[KV_BLOCK_TOKENS];

    for (uint32_t i = 0; i < KV_BLOCK_TOKENS; i++)
        tokens[i] = i == KV_BLOCK_TOKENS - 1 ? name : 7;
    return tokens;
}

static struct prefix_cache *cache(uint32_t n_blocks, uint32_t most_entered)
{
    struct prefix_cache *p = NULL;

    assert_int_equal(prefix_cache_create(n_blocks, most_entered, 42, &p), 0);
    return p;
}

/* Enters blocks first..first + n - 1 as one chain of the names 0..n - 1, in use. */
static void enter_chain(struct prefix_cache *p, uid_t uid, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(
            prefix_cache_enter(p, uid, i ? first + i - 1 : PREFIX_ROOT, words(i), first + i), 0);
}

static void release_chain(struct prefix_cache *p, uint32_t first, uint32_t n)
{
    while (n--)
        prefix_cache_release(p, first + n);
}

static void assert_evicts(struct prefix_cache *p, uint32_t want)
{
    uint32_t block = UINT32_MAX;

    assert_true(prefix_cache_evict(p, &block));
    assert_int_equal(block, want);
    assert_false(prefix_cache_has(p, block));
}

static void a_block_is_found_by_all_that_comes_before_it(void **state)
{
    struct prefix_cache *p = cache(8, 8);
    uint32_t block = UINT32_MAX;

    enter_chain(p, ALICE, 2, 2);
    assert_true(prefix_cache_find(p, ALICE, PREFIX_ROOT, words(0), &block));
    assert_int_equal(block, 2);
    assert_true(prefix_cache_find(p, ALICE, 2, words(1), &block));
    assert_int_equal(block, 3);
    assert_false(prefix_cache_find(p, ALICE, PREFIX_ROOT, words(1), &block));
    assert_false(prefix_cache_find(p, ALICE, 3, words(1), &block));
    assert_false(prefix_cache_find(p, ALICE, 2, words(0), &block));
    assert_int_equal(block, 3); /* untouched by a miss */
    prefix_cache_destroy(p);
}

static void nothing_of_one_user_is_found_by_another(void **state)
{
    struct prefix_cache *p = cache(8, 8);
    uint32_t block;

    enter_chain(p, ALICE, 0, 2);
    assert_false(prefix_cache_find(p, BOB, PREFIX_ROOT, words(0), &block));
    assert_false(prefix_cache_find(p, BOB, 0, words(1), &block));
    enter_chain(p, BOB, 4, 1);
    assert_true(prefix_cache_find(p, BOB, PREFIX_ROOT, words(0), &block));
    assert_int_equal(block, 4);
    prefix_cache_destroy(p);
}

static void the_least_recently_used_leaf_goes_first(void **state)
{
    struct prefix_cache *p = cache(8, 8);
    uint32_t block;

    enter_chain(p, ALICE, 0, 3);
    enter_chain(p, BOB, 4, 2);
    assert_false(prefix_cache_evict(p, &block)); /* all in use */
    release_chain(p, 0, 3);
    release_chain(p, 4, 2);
    assert_int_equal(prefix_cache_n_idle(p), 5);
    /* Alice comes back for two of her three blocks: those are now younger than Bob's */
    prefix_cache_hold(p, 0);
    prefix_cache_hold(p, 1);
    assert_int_equal(prefix_cache_n_idle(p), 3);
    release_chain(p, 0, 2);
    assert_evicts(p, 2);
    assert_evicts(p, 5);
    assert_evicts(p, 4);
    assert_evicts(p, 1);
    assert_evicts(p, 0);
    assert_false(prefix_cache_evict(p, &block));
    assert_int_equal(prefix_cache_n_entered(p), 0);
    prefix_cache_destroy(p);
}

static void what_was_evicted_is_not_found_and_may_be_entered_anew(void **state)
{
    struct prefix_cache *p = cache(4, 4);
    uint32_t block;

    enter_chain(p, ALICE, 0, 2);
    release_chain(p, 0, 2);
    assert_evicts(p, 1);
    assert_false(prefix_cache_find(p, ALICE, 0, words(1), &block));
    assert_true(prefix_cache_find(p, ALICE, PREFIX_ROOT, words(0), &block));
    prefix_cache_hold(p, 0);
    assert_int_equal(prefix_cache_enter(p, ALICE, 0, words(1), 3), 0);
    assert_true(prefix_cache_find(p, ALICE, 0, words(1), &block));
    assert_int_equal(block, 3);
    prefix_cache_destroy(p);
}

static void no_more_are_entered_than_the_limit(void **state)
{
    struct prefix_cache *p = cache(8, 2);
    uint32_t block;

    enter_chain(p, ALICE, 0, 2);
    assert_int_equal(prefix_cache_enter(p, ALICE, 1, words(2), 2), -ENOSPC);
    assert_false(prefix_cache_has(p, 2));
    release_chain(p, 0, 2);
    assert_evicts(p, 1);
    prefix_cache_hold(p, 0);
    assert_int_equal(prefix_cache_enter(p, ALICE, 0, words(2), 2), 0);
    assert_true(prefix_cache_find(p, ALICE, 0, words(2), &block));
    prefix_cache_destroy(p);
    p = cache(8, 0);
    assert_int_equal(prefix_cache_enter(p, ALICE, PREFIX_ROOT, words(0), 0), -ENOSPC);
    prefix_cache_destroy(p);
}

/* ---- a random life ---- */

enum { BLOCKS = 40, MOST = 30, SESSIONS = 6, DEPTH = 8, USERS = 3, NAMES = 3, OPERATIONS = 100000 };

/* A block as the model knows it: its whole path from the root. */
struct plain_block {
    bool is_entered;
    uint32_t n_users, stamp, depth;
    uid_t uid;
    uint8_t path[DEPTH];
};

/* Someone who holds a chain of entered blocks and may go on with it. */
struct holder {
    bool is_live;
    uid_t uid;
    uint32_t depth;
    uint8_t path[DEPTH];
    uint32_t blocks[DEPTH];
};

struct life {
    struct prefix_cache *cache;
    struct plain_block blocks[BLOCKS];
    struct holder holders[SESSIONS];
    uint32_t clock;
    uint64_t random;
};

static uint32_t draw(struct life *l, uint32_t below)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return (uint32_t)(l->random >> 32) % below;
}

static bool is_at(const struct plain_block *b, uid_t uid, const uint8_t *path, uint32_t depth)
{
    return b->is_entered && b->uid == uid && b->depth == depth && !memcmp(b->path, path, depth);
}

static uint32_t plain_find(const struct life *l, uid_t uid, const uint8_t *path, uint32_t depth)
{
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (is_at(&l->blocks[i], uid, path, depth))
            return i;
    return UINT32_MAX;
}

static bool has_child(const struct life *l, const struct plain_block *b)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const struct plain_block *c = &l->blocks[i];
        if (c->is_entered && c->uid == b->uid && c->depth == b->depth + 1 &&
            !memcmp(c->path, b->path, b->depth))
            return true;
    }
    return false;
}

/* The idle leaf with the oldest stamp. */
static uint32_t plain_victim(const struct life *l)
{
    uint32_t best = UINT32_MAX;

    for (uint32_t i = 0; i < BLOCKS; i++) {
        const struct plain_block *b = &l->blocks[i];
        if (b->is_entered && !b->n_users && !has_child(l, b) &&
            (best == UINT32_MAX || b->stamp < l->blocks[best].stamp))
            best = i;
    }
    return best;
}

static uint32_t count(const struct life *l, bool only_idle)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < BLOCKS; i++)
        n += l->blocks[i].is_entered && !(only_idle && l->blocks[i].n_users);
    return n;
}

static void evict(struct life *l)
{
    uint32_t want = plain_victim(l), block = UINT32_MAX;

    assert_int_equal(prefix_cache_evict(l->cache, &block), want != UINT32_MAX);
    if (want == UINT32_MAX)
        return;
    assert_int_equal(block, want);
    l->blocks[block].is_entered = false;
}

static void use(struct life *l, struct holder *h, uint32_t block)
{
    h->blocks[h->depth++] = block;
    if (l->blocks[block].n_users++ == 0)
        prefix_cache_hold(l->cache, block);
}

/* Takes what there is of a random path. */
static void begin(struct life *l, struct holder *h)
{
    uint32_t block, n = draw(l, DEPTH) + 1;

    *h = (struct holder){.is_live = true, .uid = draw(l, USERS)};
    for (uint32_t i = 0; i < DEPTH; i++)
        h->path[i] = (uint8_t)draw(l, NAMES);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t want = plain_find(l, h->uid, h->path, i + 1);
        uint32_t parent = i ? h->blocks[i - 1] : PREFIX_ROOT;
        bool found = prefix_cache_find(l->cache, h->uid, parent, words(h->path[i]), &block);
        assert_int_equal(found, want != UINT32_MAX);
        if (!found)
            break;
        assert_int_equal(block, want);
        use(l, h, block);
    }
}

/* Enters one more block, in the place of one not entered. */
static void grow(struct life *l, struct holder *h)
{
    uint32_t free_block = draw(l, BLOCKS), parent, other;
    struct plain_block *b;
    int r;

    if (h->depth == DEPTH)
        return;
    parent = h->depth ? h->blocks[h->depth - 1] : PREFIX_ROOT;
    if (prefix_cache_find(l->cache, h->uid, parent, words(h->path[h->depth]), &other)) {
        use(l, h, other);
        return;
    }
    while (l->blocks[free_block].is_entered)
        free_block = (free_block + 1) % BLOCKS;
    r = prefix_cache_enter(l->cache, h->uid, parent, words(h->path[h->depth]), free_block);
    assert_int_equal(r, count(l, false) < MOST ? 0 : -ENOSPC);
    if (r < 0) {
        evict(l);
        return;
    }
    b = &l->blocks[free_block];
    *b = (struct plain_block){
        .is_entered = true, .n_users = 1, .depth = h->depth + 1, .uid = h->uid};
    memcpy(b->path, h->path, b->depth);
    h->blocks[h->depth++] = free_block;
}

/* Lets go of the last blocks down to a depth. */
static void shrink(struct life *l, struct holder *h, uint32_t depth)
{
    while (h->depth > depth) {
        uint32_t block = h->blocks[--h->depth];
        if (--l->blocks[block].n_users)
            continue;
        l->blocks[block].stamp = ++l->clock;
        prefix_cache_release(l->cache, block);
    }
    h->is_live = depth > 0;
}

static void a_long_random_life_is_that_of_the_plain_model(void **state)
{
    struct life l = {.cache = cache(BLOCKS, MOST), .random = 0x9e3779b97f4a7c15u};
    uint32_t n_idle_most = 0, n_full = 0;

    for (uint32_t i = 0; i < OPERATIONS; i++) {
        struct holder *h = &l.holders[draw(&l, SESSIONS)];
        uint32_t what = draw(&l, 8);
        if (!h->is_live)
            begin(&l, h);
        else if (what < 5)
            grow(&l, h);
        else if (what < 7)
            shrink(&l, h, draw(&l, h->depth + 1));
        else
            evict(&l);
        assert_int_equal(prefix_cache_n_entered(l.cache), count(&l, false));
        assert_int_equal(prefix_cache_n_idle(l.cache), count(&l, true));
        n_full += count(&l, false) == MOST;
        n_idle_most =
            prefix_cache_n_idle(l.cache) > n_idle_most ? prefix_cache_n_idle(l.cache) : n_idle_most;
    }
    /* the life saw a full tree and an idle one */
    assert_true(n_full > 1000);
    assert_true(n_idle_most > MOST / 2);
    prefix_cache_destroy(l.cache);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_block_is_found_by_all_that_comes_before_it),
    cmocka_unit_test(nothing_of_one_user_is_found_by_another),
    cmocka_unit_test(the_least_recently_used_leaf_goes_first),
    cmocka_unit_test(what_was_evicted_is_not_found_and_may_be_entered_anew),
    cmocka_unit_test(no_more_are_entered_than_the_limit),
    cmocka_unit_test(a_long_random_life_is_that_of_the_plain_model),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
