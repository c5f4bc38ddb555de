/* SPDX-License-Identifier: MIT */
/* The blocks of layers that look back only so far: who holds them, what stays, what goes first, and
 * a long random life compared with a model that searches lists. */
#include "harness.h"

#include "engine/window_blocks.h"

#include <errno.h>

enum { BLOCKS = 12, WHOLE = 20, OPERATIONS = 100000 };

static struct window_blocks *make(uint32_t n_blocks)
{
    struct window_blocks *w = NULL;

    assert_int_equal(window_blocks_create(n_blocks, WHOLE, &w), 0);
    return w;
}

static uint32_t take(struct window_blocks *w)
{
    uint32_t block, left;

    assert_int_equal(window_blocks_take(w, &block, &left), 0);
    assert_int_equal(left, WINDOW_NONE);
    return block;
}

static void a_block_stays_with_the_shared_one_it_belongs_to(void **state)
{
    struct window_blocks *w = make(2);
    uint32_t a = take(w);

    assert_int_equal(window_blocks_of(w, 7), WINDOW_NONE);
    assert_true(window_blocks_join(w, 7, &a));
    window_blocks_unref(w, a);
    assert_int_equal(window_blocks_of(w, 7), a);
    assert_int_equal(window_blocks_n_idle(w), 1);
    window_blocks_hold(w, 7);
    assert_int_equal(window_blocks_n_held(w), 1);
    assert_int_equal(window_blocks_n_idle(w), 0);
    window_blocks_destroy(w);
}

static void what_stayed_for_longest_goes_when_none_is_free(void **state)
{
    struct window_blocks *w = make(2);
    uint32_t a = take(w), b = take(w), block, left;

    window_blocks_join(w, 3, &a);
    window_blocks_join(w, 4, &b);
    assert_int_equal(window_blocks_take(w, &block, &left), -ENOSPC);
    window_blocks_unref(w, b);
    window_blocks_unref(w, a);
    assert_int_equal(window_blocks_take(w, &block, &left), 0);
    assert_int_equal(block, b);
    assert_int_equal(left, 4);
    assert_int_equal(window_blocks_of(w, 4), WINDOW_NONE);
    assert_int_equal(window_blocks_of(w, 3), a);
    window_blocks_destroy(w);
}

static void the_second_of_the_same_tokens_is_given_up(void **state)
{
    struct window_blocks *w = make(2);
    uint32_t a = take(w), b = take(w);

    assert_true(window_blocks_join(w, 5, &a));
    assert_false(window_blocks_join(w, 5, &b));
    assert_int_equal(b, a);
    assert_int_equal(window_blocks_n_held(w), 1);
    window_blocks_unref(w, a);
    assert_int_equal(window_blocks_n_held(w), 1); /* the second's reference */
    window_blocks_unref(w, b);
    assert_int_equal(window_blocks_n_held(w), 0);
    window_blocks_destroy(w);
}

static void parting_frees_what_nobody_holds(void **state)
{
    struct window_blocks *w = make(2);
    uint32_t a = take(w), b = take(w);

    window_blocks_join(w, 1, &a);
    window_blocks_join(w, 2, &b);
    window_blocks_unref(w, a);
    window_blocks_part(w, 1);
    window_blocks_part(w, 2); /* held: it stays its holder's */
    window_blocks_part(w, 9); /* has none */
    assert_int_equal(window_blocks_n_idle(w), 0);
    assert_int_equal(window_blocks_n_held(w), 1);
    assert_int_equal(take(w), a);
    window_blocks_unref(w, b);
    assert_int_equal(take(w), b);
    window_blocks_destroy(w);
}

static void only_a_free_block_is_restored(void **state)
{
    struct window_blocks *w = make(3);
    uint32_t held = take(w);

    assert_false(window_blocks_restore(w, 1, held));
    assert_false(window_blocks_restore(w, 1, 3));
    assert_false(window_blocks_restore(w, WHOLE, 2));
    assert_true(window_blocks_restore(w, 1, 2));
    assert_false(window_blocks_restore(w, 4, 2)); /* belongs to another */
    assert_false(window_blocks_restore(w, 1, 1)); /* has one */
    assert_int_equal(window_blocks_of(w, 1), 2);
    assert_int_equal(window_blocks_n_idle(w), 1);
    window_blocks_destroy(w);
}

/* ---- a random life ---- */

struct plain {
    uint32_t n_refs[BLOCKS], whole[BLOCKS], stamp[BLOCKS];
    uint32_t clock;
};

static uint32_t plain_of(const struct plain *p, uint32_t whole)
{
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (p->whole[i] == whole)
            return i;
    return WINDOW_NONE;
}

static void plain_unref(struct plain *p, uint32_t i)
{
    if (--p->n_refs[i] == 0)
        p->stamp[i] = ++p->clock;
}

/* Takes as the structure should, any free one; false: all are held. */
static void check_take(struct window_blocks *w, struct plain *p)
{
    uint32_t block, left, oldest = WINDOW_NONE, n_free = 0;
    int r = window_blocks_take(w, &block, &left);

    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (p->n_refs[i])
            continue;
        if (p->whole[i] == WINDOW_NONE)
            n_free++;
        else if (oldest == WINDOW_NONE || p->stamp[i] < p->stamp[oldest])
            oldest = i;
    }
    if (!n_free && oldest == WINDOW_NONE) {
        assert_int_equal(r, -ENOSPC);
        return;
    }
    assert_int_equal(r, 0);
    assert_int_equal(p->n_refs[block], 0);
    assert_int_equal(left, p->whole[block]);
    if (n_free)
        assert_int_equal(left, WINDOW_NONE);
    else
        assert_int_equal(block, oldest);
    p->n_refs[block] = 1;
    p->whole[block] = WINDOW_NONE;
}

static void check_join(struct window_blocks *w, struct plain *p, uint32_t whole, uint32_t block)
{
    uint32_t there = plain_of(p, whole), got = block;

    assert_int_equal(window_blocks_join(w, whole, &got), there == WINDOW_NONE);
    assert_int_equal(got, there == WINDOW_NONE ? block : there);
    if (there == WINDOW_NONE) {
        p->whole[block] = whole;
    } else if (there != block) {
        p->n_refs[there]++;
        plain_unref(p, block);
    }
}

static void check_counts(const struct window_blocks *w, const struct plain *p)
{
    uint32_t n_held = 0, n_idle = 0, n_shared = 0;

    for (uint32_t i = 0; i < BLOCKS; i++) {
        n_held += p->n_refs[i] != 0;
        n_idle += !p->n_refs[i] && p->whole[i] != WINDOW_NONE;
        n_shared += p->whole[i] != WINDOW_NONE;
    }
    assert_int_equal(window_blocks_n_held(w), n_held);
    assert_int_equal(window_blocks_n_idle(w), n_idle);
    assert_int_equal(window_blocks_n_shared(w), n_shared);
    for (uint32_t i = 0; i < WHOLE; i++)
        assert_int_equal(window_blocks_of(w, i), plain_of(p, i));
}

static void a_long_random_life_agrees_with_a_plain_model(void **state)
{
    struct window_blocks *w = make(BLOCKS);
    struct plain p = {0};
    uint64_t random = 88172645463325252u;

    for (uint32_t i = 0; i < BLOCKS; i++)
        p.whole[i] = WINDOW_NONE;
    for (uint32_t n = 0; n < OPERATIONS; n++) {
        uint32_t block, whole, operation;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        block = (uint32_t)(random >> 8) % BLOCKS;
        whole = (uint32_t)(random >> 24) % WHOLE;
        operation = (uint32_t)(random >> 44) % 8;
        if (operation < 3) {
            check_take(w, &p);
        } else if (operation < 6 && p.n_refs[block]) {
            /* a block belongs to one shared block, for as long as that is shared */
            if (operation == 3 && p.whole[block] == WINDOW_NONE) {
                check_join(w, &p, whole, block);
            } else {
                window_blocks_unref(w, block);
                plain_unref(&p, block);
            }
        } else if (operation == 6 && plain_of(&p, whole) != WINDOW_NONE) {
            window_blocks_hold(w, whole);
            p.n_refs[plain_of(&p, whole)]++;
        } else if (operation == 7) {
            window_blocks_part(w, whole);
            if (plain_of(&p, whole) != WINDOW_NONE)
                p.whole[plain_of(&p, whole)] = WINDOW_NONE;
        }
        check_counts(w, &p);
    }
    window_blocks_destroy(w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_block_stays_with_the_shared_one_it_belongs_to),
    cmocka_unit_test(what_stayed_for_longest_goes_when_none_is_free),
    cmocka_unit_test(the_second_of_the_same_tokens_is_given_up),
    cmocka_unit_test(parting_frees_what_nobody_holds),
    cmocka_unit_test(only_a_free_block_is_restored),
    cmocka_unit_test(a_long_random_life_agrees_with_a_plain_model),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
