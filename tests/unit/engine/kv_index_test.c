/* SPDX-License-Identifier: MIT */
/* What the disk tier knows of its files: what is found, and who goes when there is too much. */
#include "harness.h"

#include "engine/kv_index.h"

enum { ALICE = 1000, BOB = 1001, MANY = 1000 };

static struct pool_key key(unsigned number)
{
    struct pool_key k;

    pool_key_derive(&(struct pool_key){""}, "test", &number, sizeof(number), &k);
    return k;
}

static struct kv_index_entry *add_after(struct kv_index *x, uid_t uid, unsigned number,
                                        uint64_t bytes, int64_t used, struct kv_index_entry *parent)
{
    struct pool_key k = key(number);
    struct kv_index_entry *e = NULL;

    assert_int_equal(kv_index_add(x, uid, &k, bytes, used, parent, &e), 0);
    return e;
}

static struct kv_index_entry *add(struct kv_index *x, uid_t uid, unsigned number, uint64_t bytes,
                                  int64_t used)
{
    return add_after(x, uid, number, bytes, used, NULL);
}

static bool has(const struct kv_index *x, unsigned number)
{
    struct pool_key k = key(number);

    return kv_index_find(x, &k) != NULL;
}

static void each_of_many_is_found_until_it_is_removed(void **state)
{
    struct kv_index x;

    kv_index_init(&x);
    assert_false(has(&x, 1));
    for (unsigned i = 0; i < MANY; i++)
        add(&x, ALICE + i % 3, i, 10, 5);
    assert_int_equal(x.n, MANY);
    assert_int_equal(x.bytes, 10 * MANY);
    for (unsigned i = 0; i < MANY; i += 2) {
        struct pool_key k = key(i);

        kv_index_remove(&x, kv_index_find(&x, &k));
    }
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(has(&x, i), i % 2);
    assert_int_equal(x.bytes, 5 * MANY);
    kv_index_finish(&x);
    assert_int_equal(x.n, 0);
}

static void the_least_recently_used_goes_first(void **state)
{
    struct kv_index x;
    struct kv_index_entry *first;

    kv_index_init(&x);
    first = add(&x, ALICE, 1, 10, 5);
    add(&x, ALICE, 2, 10, 6);
    kv_index_use(first, 7);
    assert_int_equal(first->used_unix, 7);
    assert_string_equal(kv_index_victim(&x)->key.hex, key(2).hex);
    kv_index_finish(&x);
}

static void the_end_of_a_chain_goes_before_its_beginning(void **state)
{
    struct kv_index x;
    struct kv_index_entry *root, *next;

    kv_index_init(&x);
    root = add(&x, ALICE, 1, 10, 5);
    next = add_after(&x, ALICE, 2, 10, 5, root);
    add_after(&x, ALICE, 3, 10, 5, next);
    for (unsigned i = 3; i > 0; i--) {
        struct kv_index_entry *e = kv_index_victim(&x);

        assert_string_equal(e->key.hex, key(i).hex);
        kv_index_remove(&x, e);
    }
    assert_null(kv_index_victim(&x));
    kv_index_finish(&x);
}

/* Whoever fills the disk displaces its own, not what a user has who has less. */
static void what_is_in_excess_is_taken_of_who_has_most(void **state)
{
    struct kv_index x;

    kv_index_init(&x);
    add(&x, BOB, 1, 30, 1);
    for (unsigned i = 2; i < 12; i++)
        add(&x, ALICE, i, 10, 100);
    while (x.bytes > 60)
        kv_index_remove(&x, kv_index_victim(&x));
    assert_true(has(&x, 1));
    assert_int_equal(kv_index_user_of(&x, BOB)->bytes, 30);
    assert_int_equal(kv_index_user_of(&x, ALICE)->bytes, 30);
    assert_true(has(&x, 11));
    kv_index_finish(&x);
}

static void what_is_older_is_told(void **state)
{
    struct kv_index x;

    kv_index_init(&x);
    add(&x, ALICE, 1, 10, 50);
    add(&x, BOB, 2, 10, 40);
    assert_null(kv_index_older(&x, 40));
    assert_string_equal(kv_index_older(&x, 41)->key.hex, key(2).hex);
    kv_index_finish(&x);
}

static void a_key_that_is_there_is_replaced(void **state)
{
    struct kv_index x;

    kv_index_init(&x);
    add(&x, ALICE, 1, 10, 5);
    add(&x, ALICE, 1, 25, 6);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.bytes, 25);
    assert_int_equal(kv_index_user_of(&x, ALICE)->bytes, 25);
    kv_index_finish(&x);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_of_many_is_found_until_it_is_removed),
    cmocka_unit_test(the_least_recently_used_goes_first),
    cmocka_unit_test(the_end_of_a_chain_goes_before_its_beginning),
    cmocka_unit_test(what_is_in_excess_is_taken_of_who_has_most),
    cmocka_unit_test(what_is_older_is_told),
    cmocka_unit_test(a_key_that_is_there_is_replaced),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
