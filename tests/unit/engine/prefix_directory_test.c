/* SPDX-License-Identifier: MIT */
/* The directory of shared blocks: what a later process finds, and that memory in any state brings
 * neither a wrong block nor a crash. */
#include "harness.h"

#include "engine/prefix_directory.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 16, ALICE = 1000, BOB = 1001, HEADER_BYTES = 4096, RECORD_BYTES = 160 };

static const char layout[64] = "one layout";

/* Memory that outlives what opens it. */
struct house {
    uint8_t *memory;
    struct prefix_cache *cache;
    struct prefix_directory directory;
    int n_found;
};

/* A process comes, with a limit to what it enters. */
static void come(struct house *h, uint32_t most_entered)
{
    assert_int_equal(prefix_cache_create(BLOCKS, most_entered, 42, &h->cache), 0);
    h->n_found = prefix_directory_open(&h->directory, h->memory, BLOCKS, layout, h->cache, NULL);
    assert_int_equal(prefix_cache_n_entered(h->cache), h->n_found);
    assert_int_equal(prefix_cache_n_idle(h->cache), h->n_found);
}

static void house_init(struct house *h)
{
    h->memory = aligned_alloc(4096, prefix_directory_bytes(BLOCKS));
    memset(h->memory, 0, prefix_directory_bytes(BLOCKS));
    come(h, BLOCKS);
    assert_int_equal(h->n_found, 0);
}

/* The process ends without a word and another comes. */
static void restart(struct house *h)
{
    prefix_cache_destroy(h->cache);
    come(h, BLOCKS);
}

static void house_finish(struct house *h)
{
    prefix_cache_destroy(h->cache);
    free(h->memory);
}

static uint8_t *record(const struct house *h, uint32_t block)
{
    return h->memory + HEADER_BYTES + (size_t)block * RECORD_BYTES;
}

static const uint32_t *words(uint32_t name)
{
    static uint32_t tokens[KV_BLOCK_TOKENS];

    for (uint32_t i = 0; i < KV_BLOCK_TOKENS; i++)
        tokens[i] = name + i;
    return tokens;
}

/* Records blocks first..first + n - 1 as a chain of names. */
static void set_chain(struct house *h, uid_t uid, uint32_t first, uint32_t n, uint32_t name)
{
    for (uint32_t i = 0; i < n; i++)
        prefix_directory_set(&h->directory, uid, i ? first + i - 1 : PREFIX_ROOT, words(name + i),
                             first + i);
}

static bool finds(const struct house *h, uid_t uid, uint32_t parent, uint32_t name, uint32_t want)
{
    uint32_t block;

    return prefix_cache_find(h->cache, uid, parent, words(name), &block) && block == want;
}

static void assert_evicts(struct house *h, uint32_t want)
{
    uint32_t block = UINT32_MAX;

    assert_true(prefix_cache_evict(h->cache, &block));
    assert_int_equal(block, want);
}

static void a_later_process_finds_what_was_recorded(void **state)
{
    struct house h;

    house_init(&h);
    set_chain(&h, ALICE, 3, 3, 100);
    set_chain(&h, BOB, 9, 1, 100);
    restart(&h);
    assert_int_equal(h.n_found, 4);
    assert_true(finds(&h, ALICE, PREFIX_ROOT, 100, 3));
    assert_true(finds(&h, ALICE, 3, 101, 4));
    assert_true(finds(&h, ALICE, 4, 102, 5));
    assert_true(finds(&h, BOB, PREFIX_ROOT, 100, 9));
    assert_false(finds(&h, BOB, 9, 101, 4));
    restart(&h); /* the one that found it ends as well */
    assert_int_equal(h.n_found, 4);
    house_finish(&h);
}

static void users_blocks_may_follow_what_is_common_and_no_other_users(void **state)
{
    struct house h;

    house_init(&h);
    set_chain(&h, PREFIX_COMMON, 0, 2, 100);
    prefix_directory_set(&h.directory, ALICE, 1, words(200), 2);
    prefix_directory_set(&h.directory, BOB, 2, words(300), 3); /* after Alice's: never */
    prefix_directory_set(&h.directory, PREFIX_COMMON, 2, words(400), 4);
    restart(&h);
    assert_int_equal(h.n_found, 3);
    assert_true(finds(&h, PREFIX_COMMON, 0, 101, 1));
    assert_true(finds(&h, ALICE, 1, 200, 2));
    assert_false(finds(&h, BOB, 2, 300, 3));
    house_finish(&h);
}

static void what_was_cleared_is_gone_with_all_that_follows_it(void **state)
{
    struct house h;

    house_init(&h);
    set_chain(&h, ALICE, 0, 4, 100);
    prefix_directory_clear(&h.directory, 2);
    restart(&h);
    assert_int_equal(h.n_found, 2);
    assert_true(finds(&h, ALICE, 0, 101, 1));
    assert_false(prefix_cache_has(h.cache, 3));
    prefix_directory_set(&h.directory, ALICE, 1, words(102), 2); /* the orphan is no heir */
    restart(&h);
    assert_int_equal(h.n_found, 3);
    house_finish(&h);
}

static void the_oldest_still_go_first_and_leaves_before_their_parents(void **state)
{
    struct house h;

    house_init(&h);
    set_chain(&h, ALICE, 4, 2, 100);
    set_chain(&h, BOB, 8, 2, 100);
    prefix_directory_set(&h.directory, ALICE, 4, words(50), 0); /* younger, on an old block */
    restart(&h);
    assert_int_equal(h.n_found, 5);
    assert_evicts(&h, 5);
    assert_evicts(&h, 9);
    assert_evicts(&h, 8);
    assert_evicts(&h, 0);
    assert_evicts(&h, 4);
    house_finish(&h);
}

static void serials_go_on_after_those_found(void **state)
{
    struct house h;

    house_init(&h);
    set_chain(&h, ALICE, 0, 2, 100);
    restart(&h);
    prefix_directory_set(&h.directory, ALICE, 1, words(102), 2);
    restart(&h);
    assert_int_equal(h.n_found, 3);
    assert_evicts(&h, 2);
    house_finish(&h);
}

static void another_layout_is_not_taken(void **state)
{
    static const size_t offsets[] = {0, 8, 12, 16, 79}; /* magic, version, blocks, layout */
    struct house h;

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        house_init(&h);
        set_chain(&h, ALICE, 0, 3, 100);
        h.memory[offsets[i]] ^= 1;
        restart(&h);
        assert_int_equal(h.n_found, 0);
        set_chain(&h, ALICE, 0, 2, 100); /* and is ours from now on */
        restart(&h);
        assert_int_equal(h.n_found, 2);
        house_finish(&h);
    }
}

static void a_record_with_any_bit_turned_is_dropped(void **state)
{
    struct house h;

    house_init(&h);
    for (uint32_t bit = 0; bit < RECORD_BYTES * 8; bit++) {
        set_chain(&h, ALICE, 0, 4, 100);
        set_chain(&h, BOB, 8, 2, 100);
        record(&h, 2)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        record(&h, 8)[bit / 8] ^= (uint8_t)(1u << bit % 8); /* with which the next goes as well */
        restart(&h);
        if (h.n_found != 2 || !prefix_cache_has(h.cache, 1))
            fail_msg("bit %u: %d blocks found", bit, h.n_found);
    }
    house_finish(&h);
}

static void a_record_torn_anywhere_is_dropped(void **state)
{
    uint64_t before[RECORD_BYTES / 8], after[RECORD_BYTES / 8];
    struct house h;

    house_init(&h);
    prefix_directory_set(&h.directory, ALICE, PREFIX_ROOT, words(100), 5);
    memcpy(before, record(&h, 5), RECORD_BYTES);
    prefix_directory_set(&h.directory, BOB, PREFIX_ROOT, words(7), 5);
    memcpy(after, record(&h, 5), RECORD_BYTES);
    for (size_t cut = 1; cut < RECORD_BYTES / 8 - 1; cut++) /* the last word is 0 in both */
        for (int is_new_first = 0; is_new_first < 2; is_new_first++) {
            memcpy(record(&h, 5), is_new_first ? after : before, cut * 8);
            memcpy(record(&h, 5) + cut * 8, (is_new_first ? before : after) + cut,
                   RECORD_BYTES - cut * 8);
            restart(&h);
            if (h.n_found)
                fail_msg("cut at word %zu", cut);
        }
    memcpy(record(&h, 5), after, RECORD_BYTES);
    restart(&h);
    assert_int_equal(h.n_found, 1);
    memcpy(record(&h, 6), after, RECORD_BYTES); /* right, but of another block */
    memset(record(&h, 5), 0, RECORD_BYTES);
    restart(&h);
    assert_int_equal(h.n_found, 0);
    house_finish(&h);
}

static void records_that_make_no_tree_are_dropped(void **state)
{
    struct house h;

    house_init(&h);
    /* a ring */
    prefix_directory_set(&h.directory, ALICE, 1, words(0), 0);
    prefix_directory_set(&h.directory, ALICE, 0, words(1), 1);
    /* its own parent; a parent out of range, a parent that is none */
    prefix_directory_set(&h.directory, ALICE, 2, words(2), 2);
    prefix_directory_set(&h.directory, ALICE, BLOCKS, words(3), 3);
    prefix_directory_set(&h.directory, ALICE, 15, words(4), 4);
    prefix_directory_set(&h.directory, ALICE, PREFIX_ROOT - 1, words(11), 11);
    /* the child of another user's block; one older than its parent */
    prefix_directory_set(&h.directory, ALICE, PREFIX_ROOT, words(5), 5);
    prefix_directory_set(&h.directory, BOB, 5, words(6), 6);
    prefix_directory_set(&h.directory, ALICE, 8, words(7), 7);
    prefix_directory_set(&h.directory, ALICE, PREFIX_ROOT, words(8), 8);
    /* twice the same */
    prefix_directory_set(&h.directory, ALICE, 5, words(9), 9);
    prefix_directory_set(&h.directory, ALICE, 5, words(9), 10);
    restart(&h);
    assert_int_equal(h.n_found, 3);
    assert_true(finds(&h, ALICE, PREFIX_ROOT, 5, 5));
    assert_true(finds(&h, ALICE, PREFIX_ROOT, 8, 8));
    assert_true(finds(&h, ALICE, 5, 9, 9));
    restart(&h); /* the others were wiped, not only passed over */
    assert_int_equal(h.n_found, 3);
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (!prefix_cache_has(h.cache, i))
            assert_memory_equal(record(&h, i), &(uint64_t){0}, sizeof(uint64_t));
    house_finish(&h);
}

static void no_more_are_found_than_may_be_entered(void **state)
{
    struct house h;

    house_init(&h);
    set_chain(&h, ALICE, 0, 6, 100);
    prefix_cache_destroy(h.cache);
    come(&h, 4);
    assert_int_equal(h.n_found, 4);
    assert_evicts(&h, 3);
    house_finish(&h);
}

static void noise_is_no_directory(void **state)
{
    struct house h;

    house_init(&h);
    srandom(1);
    for (size_t i = HEADER_BYTES; i < prefix_directory_bytes(BLOCKS); i++)
        h.memory[i] = (uint8_t)random();
    restart(&h);
    assert_int_equal(h.n_found, 0);
    house_finish(&h);
}

static void what_is_a_users_can_be_taken_out_of_memory_that_nobody_has_open(void **state)
{
    uint64_t bytes = prefix_directory_bytes(BLOCKS);
    uint8_t other[HEADER_BYTES], *before = malloc(bytes);
    struct house h;

    house_init(&h);
    set_chain(&h, ALICE, 0, 3, 100);
    set_chain(&h, BOB, 3, 3, 200);
    memcpy(before, h.memory, bytes);
    /* part of a directory is none, and neither is what begins otherwise */
    prefix_directory_forget(h.memory, bytes - 1, ALICE);
    prefix_directory_forget(h.memory, 100, ALICE);
    memset(other, 1, sizeof(other));
    prefix_directory_forget(other, sizeof(other), ALICE);
    for (size_t at = 0; at < 12; at += 8) { /* what it is, and its version */
        h.memory[at] ^= 1;
        prefix_directory_forget(h.memory, bytes, ALICE);
        h.memory[at] ^= 1;
    }
    assert_memory_equal(h.memory, before, bytes);
    prefix_directory_forget(h.memory, bytes, ALICE);
    restart(&h);
    assert_int_equal(h.n_found, 3);
    assert_false(finds(&h, ALICE, PREFIX_ROOT, 100, 0));
    assert_true(finds(&h, BOB, PREFIX_ROOT, 200, 3));
    house_finish(&h);
    free(before);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_later_process_finds_what_was_recorded),
    cmocka_unit_test(users_blocks_may_follow_what_is_common_and_no_other_users),
    cmocka_unit_test(what_was_cleared_is_gone_with_all_that_follows_it),
    cmocka_unit_test(the_oldest_still_go_first_and_leaves_before_their_parents),
    cmocka_unit_test(serials_go_on_after_those_found),
    cmocka_unit_test(another_layout_is_not_taken),
    cmocka_unit_test(a_record_with_any_bit_turned_is_dropped),
    cmocka_unit_test(a_record_torn_anywhere_is_dropped),
    cmocka_unit_test(records_that_make_no_tree_are_dropped),
    cmocka_unit_test(no_more_are_found_than_may_be_entered),
    cmocka_unit_test(noise_is_no_directory),
    cmocka_unit_test(what_is_a_users_can_be_taken_out_of_memory_that_nobody_has_open),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
