/* SPDX-License-Identifier: MIT */
/* What a user may have: rules, the bucket of tokens, and when it makes sense to ask again. */
#include "harness.h"

#include "engine/account.h"

#include <errno.h>
#include <string.h>

#define SECOND 1000000000ull

enum { ALICE = 1000, BOB = 1001, CAROL = 1002 };

static void init(struct accounts *a, const struct engine_user_rule *rules, size_t n)
{
    assert_int_equal(accounts_init(a, rules, n, 50, NULL), 0);
}

static void a_rule_completes_itself_from_that_of_all_others(void **state)
{
    static const struct engine_user_rule rules[] = {
        {.uid = ALICE, .weight = 4, .class = ENGINE_INTERACTIVE, .has_class = true},
        {.is_of_others = true, .streams = 2, .class = ENGINE_BACKGROUND, .has_class = true},
        {.uid = BOB, .streams = 9, .requests = 7},
    };
    const struct engine_user_rule *l;
    struct accounts a;

    init(&a, rules, 3);
    l = &accounts_need(&a, ALICE, SECOND)->limits;
    assert_int_equal(l->weight, 4);
    assert_int_equal(l->streams, 2);
    assert_int_equal(l->requests, 50);
    assert_int_equal(l->class, ENGINE_INTERACTIVE);
    l = &accounts_need(&a, BOB, SECOND)->limits;
    assert_int_equal(l->weight, 1);
    assert_int_equal(l->streams, 9);
    assert_int_equal(l->requests, 7);
    assert_int_equal(l->class, ENGINE_BACKGROUND);
    l = &accounts_need(&a, 0, SECOND)->limits; /* whom an unset uid of the rule must not name */
    assert_int_equal(l->weight, 1);
    assert_int_equal(l->streams, 2);
    accounts_finish(&a);
}

static void spent_tokens_come_back_when_it_was_said(void **state)
{
    static const struct engine_user_rule rule = {.uid = ALICE, .tokens_per_minute = 60};
    struct accounts a;
    struct account *c;
    struct error err;

    init(&a, &rule, 1);
    c = accounts_need(&a, ALICE, SECOND);
    assert_int_equal(account_check(c, 1, SECOND, &err), 0);
    account_charge(c, 50, 9, SECOND);
    assert_int_equal(account_check(c, 1, SECOND, &err), 0); /* one is left */
    account_charge(c, 0, 31, SECOND);
    assert_int_equal(account_check(c, 1, SECOND, &err), -EDQUOT); /* 30 in debt, 31 to a token */
    assert_non_null(strstr(err.text, "in 31 s"));
    assert_int_equal(account_retry_seconds(c, -EDQUOT, SECOND), 31);
    assert_int_equal(account_check(c, 1, 31 * SECOND, &err), -EDQUOT);
    assert_int_equal(account_check(c, 1, 32 * SECOND, &err), 0);
    assert_int_equal(account_check(c, 1, 3600 * SECOND, &err), 0);
    assert_true(c->tokens <= 60); /* an hour fills it no higher than a minute */
    assert_int_equal(c->stats.refused_total, 2);
    assert_int_equal(c->stats.prompt_tokens_total, 50);
    assert_int_equal(c->stats.completion_tokens_total, 40);
    accounts_finish(&a);
}

static void requests_and_those_that_wait_are_bounded_apart(void **state)
{
    static const struct engine_user_rule rule = {.uid = ALICE, .requests = 3, .waiting = 1};
    struct accounts a;
    struct account *c;

    init(&a, &rule, 1);
    c = accounts_need(&a, ALICE, SECOND);
    c->n_asking = 2;
    assert_int_equal(account_check(c, 1, SECOND, NULL), 0);
    assert_int_equal(account_check(c, 2, SECOND, NULL), -EUSERS);
    assert_int_equal(account_check(c, 4, SECOND, NULL), -EINVAL); /* that will never be */
    c->n_waiting = 1;
    assert_int_equal(account_check(c, 1, SECOND, NULL), -EUSERS);
    c->n_waiting = 0;
    c->n_asking = 3;
    assert_int_equal(account_check(c, 1, SECOND, NULL), -EUSERS);
    accounts_finish(&a);
}

static void asking_again_is_advised_by_how_often_requests_end(void **state)
{
    struct rhythm r = {0};

    assert_int_equal(rhythm_seconds(&r), 1);
    rhythm_begin(&r, 100 * SECOND);
    rhythm_begin(&r, 101 * SECOND); /* busy already */
    rhythm_end(&r, true, 108 * SECOND);
    assert_int_equal(rhythm_seconds(&r), 8);
    rhythm_end(&r, false, 112 * SECOND); /* (3 * 8 + 4) / 4 */
    assert_int_equal(rhythm_seconds(&r), 7);
    rhythm_begin(&r, 1000 * SECOND); /* the pause does not count */
    rhythm_end(&r, false, 1007 * SECOND);
    assert_int_equal(rhythm_seconds(&r), 7);
    rhythm_begin(&r, 2000 * SECOND);
    rhythm_end(&r, false, 99999 * SECOND);
    assert_int_equal(rhythm_seconds(&r), 600);
}

static void accounts_of_the_idle_are_forgotten_but_no_debts(void **state)
{
    static const struct engine_user_rule rule = {.is_of_others = true, .tokens_per_minute = 60};
    struct accounts a;
    struct account *busy, *debtor;

    init(&a, &rule, 1);
    busy = accounts_need(&a, BOB, SECOND);
    busy->n_requests = 1;
    debtor = accounts_need(&a, CAROL, SECOND);
    account_charge(debtor, 1000, 0, SECOND);
    for (uid_t uid = 5000; uid < 8000; uid++)
        assert_non_null(accounts_need(&a, uid, SECOND));
    assert_true(a.n <= 1024);
    assert_ptr_equal(accounts_find(&a, BOB), busy);
    assert_ptr_equal(accounts_find(&a, CAROL), debtor);
    assert_null(accounts_find(&a, 5000));
    assert_non_null(accounts_find(&a, 7999));
    accounts_finish(&a);
}

static void other_rules_change_what_accounts_may_have_but_no_debt(void **state)
{
    static const struct engine_user_rule before[] = {
        {.uid = ALICE, .tokens_per_minute = 600, .weight = 2},
        {.uid = BOB, .tokens_per_minute = 60},
    };
    static const struct engine_user_rule after[] = {
        {.uid = ALICE, .tokens_per_minute = 60, .streams = 1},
        {.uid = BOB, .tokens_per_minute = 600},
        {.is_of_others = true, .tokens_per_minute = 120, .requests = 3},
    };
    struct account *alice, *bob, *carol;
    struct accounts a;

    init(&a, before, 2);
    alice = accounts_need(&a, ALICE, SECOND);
    bob = accounts_need(&a, BOB, SECOND);
    carol = accounts_need(&a, CAROL, SECOND);
    account_charge(bob, 160, 0, SECOND);
    assert_int_equal(accounts_set_rules(&a, after, 3, 11 * SECOND, NULL), 0);
    assert_int_equal(alice->limits.weight, 1);
    assert_int_equal(alice->limits.streams, 1);
    assert_int_equal(alice->limits.requests, 3);
    assert_float_equal(alice->tokens, 60, 1e-6);
    /* ten seconds of one token each, then ten a second */
    assert_float_equal(bob->tokens, -90, 1e-6);
    assert_int_equal(account_retry_seconds(bob, -EDQUOT, 11 * SECOND), 10);
    assert_float_equal(carol->tokens, 120, 1e-6); /* had no limit: begins with a full minute */
    assert_int_equal(accounts_set_rules(&a, NULL, 0, 12 * SECOND, NULL), 0);
    assert_int_equal(bob->limits.requests, 50);
    assert_int_equal(account_check(bob, 1, 12 * SECOND, NULL), 0);
    assert_float_equal(bob->tokens, 0, 1e-6); /* nothing is owed where nothing is counted */
    accounts_finish(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_rule_completes_itself_from_that_of_all_others),
    cmocka_unit_test(spent_tokens_come_back_when_it_was_said),
    cmocka_unit_test(requests_and_those_that_wait_are_bounded_apart),
    cmocka_unit_test(asking_again_is_advised_by_how_often_requests_end),
    cmocka_unit_test(accounts_of_the_idle_are_forgotten_but_no_debts),
    cmocka_unit_test(other_rules_change_what_accounts_may_have_but_no_debt),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
