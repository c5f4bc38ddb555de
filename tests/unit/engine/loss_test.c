/* SPDX-License-Identifier: MIT */
/* What becomes of requests and models when the device is lost. */
#include "harness.h"

#include "engine/device_keeper.h"
#include "engine_fixture.h"
#include "losing_device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SECOND_NS 1000000000ull

static const char prompt[] = "Once upon a time, there was a little engine that lost its device. It";

static struct engine *engine_on(const char *device)
{
    struct engine_config config = {.device = device, .context_tokens = 256, .numa_node = -1};

    losing_reset();
    return fixture_engine_with(&config);
}

/* ---- answers go on ---- */

/* An answer that depends on all that a request has on the device: draws, history, biases. */
static void ask_sampled(struct ask *a, struct engine *e)
{
    static const struct engine_bias bias[] = {{300, 1.5f}, {301, -4.0f}};

    ask_init(a, e, prompt);
    a->params.max_tokens = 40;
    a->params.bias = bias;
    a->params.n_bias = 2;
    a->params.top_logprobs = 3;
    a->params.sampling = (struct engine_sampling){
        .temperature = 1.4f,
        .top_p = 1.0f,
        .repeat_penalty = 1.1f,
        .repeat_last_n = 32,
        .seed = 77,
        .has_seed = true,
    };
}

static void ask_greedy(struct ask *a, struct engine *e)
{
    ask_init(a, e, prompt);
    a->params.max_tokens = 40;
}

static void assert_same_answer(const struct ask *a, const struct ask *b)
{
    assert_int_equal(a->result.finish, b->result.finish);
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, b->n_ids * sizeof(b->ids[0]));
    assert_memory_equal(a->logprobs, b->logprobs, b->n_ids * sizeof(b->logprobs[0]));
    assert_string_equal(a->text.data, b->text.data);
}

/* Asks the same with the device lost at one operation after the other. */
static void lose_everywhere(void (*ask)(struct ask *, struct engine *))
{
    struct engine *e = engine_on("losing");
    struct ask whole, broken;
    unsigned n_calls;

    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    ask(&whole, e);
    ask_run(&whole);
    losing.n_calls = 0;
    ask(&broken, e);
    ask_run(&broken);
    n_calls = losing.n_calls;
    assert_same_answer(&broken, &whole);
    ask_finish(&broken);
    assert_true(n_calls > 80);
    for (unsigned at = 1; at <= n_calls; at += 1 + at / 8) {
        /* the last minute's losses are those of another engine */
        engine_destroy(e);
        e = engine_on("losing");
        assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
        losing.lose_in = at;
        ask(&broken, e);
        ask_run(&broken);
        assert_int_equal(losing.n_lost, 1);
        assert_int_equal(losing.n_created, 2);
        assert_same_answer(&broken, &whole);
        ask_finish(&broken);
    }
    ask_finish(&whole);
    engine_destroy(e);
}

static void greedy_answers_go_on_after_a_loss(void **state)
{
    lose_everywhere(ask_greedy);
}

static void sampled_answers_go_on_after_a_loss(void **state)
{
    lose_everywhere(ask_sampled);
}

static void a_loss_while_recovering_is_one_more_loss(void **state)
{
    struct engine *e = engine_on("losing");
    struct engine_stats stats;
    struct ask whole, broken;

    ask_greedy(&whole, e);
    ask_run(&whole);
    losing.lose_in = 40;
    losing.lose_each = 3; /* while the model is put back */
    losing.n_most = 2;
    ask_greedy(&broken, e);
    ask_run(&broken);
    assert_int_equal(losing.n_lost, 2);
    assert_same_answer(&broken, &whole);
    engine_get_stats(e, &stats);
    assert_int_equal(stats.device_losses_total, 2);
    ask_finish(&whole);
    ask_finish(&broken);
    engine_destroy(e);
}

static void all_who_wait_go_on_after_a_loss(void **state)
{
    enum { N = 4 };
    struct engine *e = engine_on("losing");
    struct ask whole, broken[N];

    ask_sampled(&whole, e);
    ask_run(&whole);
    losing.lose_in = 60;
    for (int i = 0; i < N; i++) {
        ask_sampled(&broken[i], e);
        ask_begin(&broken[i]);
    }
    for (int i = 0; i < N; i++) {
        ask_wait(&broken[i]);
        assert_same_answer(&broken[i], &whole);
        ask_finish(&broken[i]);
    }
    assert_int_equal(losing.n_lost, 1);
    ask_finish(&whole);
    engine_destroy(e);
}

static void a_model_attaches_though_the_device_is_lost_meanwhile(void **state)
{
    struct engine *e = engine_on("losing");
    struct ask a;

    losing.lose_in = 2;
    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    assert_int_equal(losing.n_lost, 1);
    ask_greedy(&a, e);
    ask_run(&a);
    assert_int_equal(a.n_ids, 40);
    ask_finish(&a);
    engine_destroy(e);
}

/* ---- losses without end ---- */

static void a_device_lost_again_and_again_ends_requests_and_not_the_daemon(void **state)
{
    struct engine *e = engine_on("losing");
    struct ask a, b;

    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    losing.lose_in = losing.lose_each = 10;
    ask_greedy(&a, e);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(a.error.code, -EIO);
    assert_non_null(strstr(a.error.text, "3 times within a minute"));
    assert_non_null(strstr(a.error.text, "device = losing,cpu"));
    assert_int_equal(losing.n_lost, 3);
    assert_int_equal(losing.n_created, 3);
    /* the next one is told so at once, without another try */
    ask_greedy(&b, e);
    ask_run(&b);
    assert_int_equal(b.result.finish, ENGINE_FINISH_ERROR);
    assert_non_null(strstr(b.error.text, "the next try is in"));
    assert_int_equal(losing.n_created, 3);
    ask_finish(&a);
    ask_finish(&b);
    engine_destroy(e);
}

static void the_cpu_takes_over_where_it_may(void **state)
{
    struct engine *e = engine_on("losing,cpu:2");
    struct engine_stats stats;
    struct ask whole, broken;

    ask_sampled(&whole, e);
    ask_run(&whole);
    losing.lose_in = losing.lose_each = 20;
    ask_sampled(&broken, e);
    ask_run(&broken);
    assert_int_equal(losing.n_lost, 3);
    assert_same_answer(&broken, &whole);
    engine_get_stats(e, &stats);
    assert_non_null(strstr(stats.device_note, "the cpu took over"));
    ask_finish(&whole);
    ask_finish(&broken);
    engine_destroy(e);
}

static void a_device_that_does_not_come_back_ends_requests_with_the_reason(void **state)
{
    struct engine *e = engine_on("losing");
    struct engine_stats stats;
    struct ask a;

    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    losing.n_refused = 1;
    losing.lose_in = 30;
    ask_greedy(&a, e);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
    assert_non_null(strstr(a.error.text, "there is no such device any more"));
    engine_get_stats(e, &stats);
    assert_non_null(strstr(stats.device_note, "there is no such device any more"));
    ask_finish(&a);
    engine_destroy(e);
}

/* ---- the keeper ---- */

static void three_losses_within_a_minute_are_too_many(void **state)
{
    struct device_losses l = {0};
    uint64_t now_ns = 1000 * SECOND_NS;

    device_losses_add(&l, now_ns);
    device_losses_add(&l, now_ns + 30 * SECOND_NS);
    assert_int_equal(device_losses_over_ns(&l, now_ns + 30 * SECOND_NS), 0);
    device_losses_add(&l, now_ns + 59 * SECOND_NS);
    assert_int_equal(device_losses_over_ns(&l, now_ns + 59 * SECOND_NS), now_ns + 60 * SECOND_NS);
    assert_int_equal(device_losses_over_ns(&l, now_ns + 60 * SECOND_NS), 0);
    device_losses_add(&l, now_ns + 61 * SECOND_NS);
    assert_int_equal(device_losses_over_ns(&l, now_ns + 61 * SECOND_NS), now_ns + 90 * SECOND_NS);
}

static void losses_far_apart_go_on_for_ever(void **state)
{
    struct device_losses l = {0};

    for (uint64_t i = 1; i < 50; i++) {
        device_losses_add(&l, i * 31 * SECOND_NS);
        assert_int_equal(device_losses_over_ns(&l, i * 31 * SECOND_NS), 0);
    }
}

static void a_device_is_tried_again_after_a_while(void **state)
{
    struct device_keeper k;
    struct error err = {0};
    uint64_t now_ns = SECOND_NS;

    losing_reset();
    assert_int_equal(device_keeper_init(&k, "losing", &err), 0);
    losing.n_refused = 2;
    assert_int_equal(device_keeper_renew(&k, now_ns, &err), -EIO);
    assert_null(k.device);
    assert_int_equal(losing.n_refused, 1);
    /* too early */
    assert_int_equal(device_keeper_revive(&k, now_ns + DEVICE_RETRY_NS - 1, &err), -EIO);
    assert_int_equal(losing.n_refused, 1);
    assert_int_equal(device_keeper_revive(&k, now_ns + DEVICE_RETRY_NS, &err), -EIO);
    assert_int_equal(losing.n_refused, 0);
    assert_int_equal(device_keeper_revive(&k, now_ns + 2 * DEVICE_RETRY_NS, &err), 0);
    assert_non_null(k.device);
    assert_int_equal(losing.n_created, 2);
    device_keeper_finish(&k);
}

static void a_device_given_up_comes_back_when_the_minute_is_over(void **state)
{
    struct device_keeper k;
    struct error err = {0};
    uint64_t now_ns = SECOND_NS;

    losing_reset();
    assert_int_equal(device_keeper_init(&k, "losing", &err), 0);
    assert_int_equal(device_keeper_renew(&k, now_ns, &err), 0);
    assert_int_equal(device_keeper_renew(&k, now_ns + 1, &err), 0);
    assert_int_equal(device_keeper_renew(&k, now_ns + 2, &err), -EIO);
    assert_non_null(strstr(err.text, "the next try is in 60 s"));
    assert_int_equal(device_keeper_revive(&k, now_ns + 59 * SECOND_NS, &err), -EIO);
    assert_non_null(strstr(err.text, "the next try is in 1 s"));
    assert_int_equal(device_keeper_revive(&k, now_ns + 60 * SECOND_NS, &err), 0);
    assert_int_equal(losing.n_created, 4);
    device_keeper_finish(&k);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(greedy_answers_go_on_after_a_loss),
    cmocka_unit_test(sampled_answers_go_on_after_a_loss),
    cmocka_unit_test(a_loss_while_recovering_is_one_more_loss),
    cmocka_unit_test(all_who_wait_go_on_after_a_loss),
    cmocka_unit_test(a_model_attaches_though_the_device_is_lost_meanwhile),
    cmocka_unit_test(a_device_lost_again_and_again_ends_requests_and_not_the_daemon),
    cmocka_unit_test(the_cpu_takes_over_where_it_may),
    cmocka_unit_test(a_device_that_does_not_come_back_ends_requests_with_the_reason),
    cmocka_unit_test(three_losses_within_a_minute_are_too_many),
    cmocka_unit_test(losses_far_apart_go_on_for_ever),
    cmocka_unit_test(a_device_is_tried_again_after_a_while),
    cmocka_unit_test(a_device_given_up_comes_back_when_the_minute_is_over),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
