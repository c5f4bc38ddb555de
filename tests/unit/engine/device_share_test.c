/* SPDX-License-Identifier: MIT */
/* Models that share a device: simulated steps of made-up lengths. */
#include "harness.h"

#include "engine/device_share.h"

enum { MODELS = 3 };

struct sim {
    struct device_share shares[MODELS];
    uint64_t step_ns[MODELS], weights[MODELS];
    bool has_work[MODELS];
};

/* As the worker does: one round over all models; how long it took. */
static uint64_t round_of(struct sim *s)
{
    uint64_t least_ns = UINT64_MAX, took_ns = 0;

    for (int i = 0; i < MODELS; i++)
        least_ns = device_share_least(least_ns, &s->shares[i]);
    for (int i = 0; i < MODELS; i++) {
        if (!device_share_may_step(&s->shares[i], least_ns))
            continue;
        device_share_note(&s->shares[i], s->has_work[i], s->step_ns[i], s->weights[i], least_ns);
        took_ns += s->has_work[i] ? s->step_ns[i] : 0;
    }
    return took_ns;
}

static void run_for(struct sim *s, uint64_t ns)
{
    for (uint64_t done_ns = 0; done_ns < ns;)
        done_ns += round_of(s);
}

static void models_share_the_device_by_time_not_by_steps(void **state)
{
    struct sim s = {.step_ns = {100000, 1000, 7000}, .has_work = {true, true, true}};

    run_for(&s, 30000000);
    for (int i = 0; i < MODELS; i++)
        assert_in_range(s.shares[i].used_ns, 9700000, 10300000);
}

static void weights_divide_the_time(void **state)
{
    struct sim s = {
        .step_ns = {5000, 9000, 1000}, .weights = {1, 2, 5}, .has_work = {true, true, true}};

    run_for(&s, 80000000);
    for (int i = 0; i < MODELS; i++)
        assert_in_range(s.shares[i].used_ns, s.weights[i] * 9800000, s.weights[i] * 10200000);
}

static void who_was_idle_has_saved_nothing_up(void **state)
{
    struct sim s = {.step_ns = {1000, 1000}, .has_work = {true, false}};

    run_for(&s, 50000000);
    s.has_work[1] = true;
    run_for(&s, 2000000);
    assert_in_range(s.shares[1].used_ns, 990000, 1010000);
}

static void who_has_no_work_stands_in_nobodys_way(void **state)
{
    struct sim s = {.step_ns = {1000, 1000}, .has_work = {true, true}};

    run_for(&s, 10000);
    s.has_work[1] = false; /* it is the one that is behind, or will be */
    for (int i = 0; i < 4; i++)
        round_of(&s);
    assert_true(s.shares[0].used_ns >= 7000);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(models_share_the_device_by_time_not_by_steps),
    cmocka_unit_test(weights_divide_the_time),
    cmocka_unit_test(who_was_idle_has_saved_nothing_up),
    cmocka_unit_test(who_has_no_work_stands_in_nobodys_way),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
