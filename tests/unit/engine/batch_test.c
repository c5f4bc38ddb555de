/* SPDX-License-Identifier: MIT */
/* Many requests side by side on one model: they share steps, users take turns, nobody is lost. */
#include "harness.h"

#include "engine_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 24 };

static const char prompt[] = "Once upon a time, there was a little";

static struct engine *made(void **state, uint32_t context_tokens)
{
    if (!*state)
        *state = fixture_engine_sharing(context_tokens, 0);
    return *state;
}

static int drop_engine(void **state)
{
    engine_destroy(*state);
    return 0;
}

/* Asks all at once and waits for all; the requests are heap, they are large. */
static struct ask *ask_many(struct engine *e, int n, uint32_t max_tokens, uid_t first_uid)
{
    struct ask *list = calloc((size_t)n, sizeof(*list));

    for (int i = 0; i < n; i++) {
        ask_init(&list[i], e, prompt);
        list[i].params.max_tokens = max_tokens;
        list[i].uid = first_uid + (uid_t)(i % 3);
        ask_begin(&list[i]);
    }
    for (int i = 0; i < n; i++)
        ask_wait(&list[i]);
    return list;
}

static void drop_many(struct ask *list, int n)
{
    for (int i = 0; i < n; i++)
        ask_finish(&list[i]);
    free(list);
}

static void more_requests_than_a_step_or_the_cache_holds_are_all_answered(void **state)
{
    struct engine *e = made(state, 64); /* the cache holds a few of them at a time */
    struct ask *list = ask_many(e, MANY, 24, 1000);

    for (int i = 0; i < MANY; i++) {
        assert_int_equal(list[i].n_done, 1);
        assert_int_equal(list[i].result.finish, ENGINE_FINISH_LENGTH);
        assert_int_equal(list[i].n_ids, 24);
    }
    drop_many(list, MANY);
}

/* An engine of which the cache holds one context, and shares and spills what is left in it. */
static struct engine *narrow(const char *kv_disk)
{
    const struct engine_config config = {.device = "cpu:2",
                                         .context_tokens = 256,
                                         .kv_bytes = 1,
                                         .prefix_percent = 100,
                                         .kv_disk = kv_disk,
                                         .numa_node = -1};

    return fixture_engine_with(&config);
}

static void ask_tale(struct ask *a, struct engine *e, int i)
{
    static const char *const names[] = {"fox", "bird", "king", "girl", "ship"};
    static char text[200];

    snprintf(text, sizeof(text), "Once upon a time there was a %s. The %s was very happy. The %s",
             names[i], names[i], names[i]);
    ask_init(a, e, text);
    a->params.max_tokens = 100;
    a->uid = 1000 + (uid_t)(i % 2);
}

enum { TALES = 5 };

/* Each needs half of the cache: they lose their blocks to one another, and go on later. */
static void who_gave_way_answers_as_if_it_had_been_alone(void **state)
{
    struct ask *list = calloc(TALES, sizeof(*list)), *alone = calloc(1, sizeof(*alone));
    char dir[] = "/tmp/hearth-batch-XXXXXX", command[64];

    assert_non_null(mkdtemp(dir));
    for (int with_disk = 0; with_disk < 2; with_disk++) {
        struct engine *e = narrow(with_disk ? dir : NULL);

        *state = e;
        for (int i = 0; i < TALES; i++) {
            ask_tale(&list[i], e, i);
            ask_begin(&list[i]);
        }
        for (int i = 0; i < TALES; i++)
            ask_wait(&list[i]);
        engine_destroy(e);
        for (int i = 0; i < TALES; i++) {
            e = narrow(NULL);
            *state = e;
            ask_tale(alone, e, i);
            ask_run(alone);
            assert_int_equal(list[i].result.finish, alone->result.finish);
            assert_int_equal(list[i].n_ids, alone->n_ids);
            assert_memory_equal(list[i].ids, alone->ids, alone->n_ids * sizeof(int32_t));
            ask_finish(alone);
            ask_finish(&list[i]);
            engine_destroy(e);
        }
        *state = NULL;
    }
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    free(list);
    free(alone);
}

static void a_short_question_overtakes_a_long_answer(void **state)
{
    struct engine *e = made(state, 512);
    struct ask lengthy, quick;

    ask_init(&lengthy, e, prompt);
    ask_init(&quick, e, prompt);
    lengthy.params.max_tokens = 400;
    lengthy.uid = quick.uid = 5;
    ask_begin(&lengthy);
    ask_begin(&quick);
    ask_wait(&quick);
    assert_false(lengthy.is_done);
    ask_wait(&lengthy);
    assert_int_equal(lengthy.n_ids, 400);
    ask_finish(&lengthy);
    ask_finish(&quick);
}

static void background_lets_others_by(void **state)
{
    struct engine *e = made(state, 512);
    struct ask patient, list[2];

    ask_init(&patient, e, prompt);
    patient.params.max_tokens = 150;
    patient.params.class = ENGINE_BACKGROUND;
    ask_begin(&patient);
    for (int i = 0; i < 2; i++) {
        ask_init(&list[i], e, prompt);
        list[i].params.max_tokens = 100;
        ask_begin(&list[i]);
    }
    ask_wait(&patient);
    for (int i = 0; i < 2; i++) { /* begun later, done before */
        assert_true(list[i].is_done);
        assert_in_range(list[i].n_ids, 100, 100);
        ask_finish(&list[i]);
    }
    assert_int_equal(patient.n_ids, 150);
    ask_finish(&patient);
}

static void one_user_cannot_fill_the_queue(void **state)
{
    struct engine_config config = {.device = "cpu:2",
                                   .context_tokens = 64,
                                   .queue_limit = 8,
                                   .user_limit = 3,
                                   .numa_node = -1};
    struct engine *e = fixture_engine_with(&config);
    struct error err = {0};
    struct ask list[4], other;

    *state = e;
    for (int i = 0; i < 4; i++) {
        ask_init(&list[i], e, prompt);
        list[i].uid = 7;
    }
    for (int i = 0; i < 3; i++)
        ask_begin(&list[i]);
    assert_int_equal(ask_try(&list[3], &err), -EUSERS);
    assert_non_null(strstr(err.text, "3 requests of this user"));
    ask_init(&other, e, prompt);
    other.uid = 8;
    ask_run(&other);
    for (int i = 0; i < 3; i++)
        ask_wait(&list[i]);
    ask_begin(&list[3]); /* they have ended */
    ask_wait(&list[3]);
    assert_int_equal(list[3].n_ids, 8);
    ask_finish(&other);
    for (int i = 0; i < 4; i++)
        ask_finish(&list[i]);
}

/* Of one rule, and contexts of 256. */
static struct engine *engine_with_rule(const struct engine_user_rule *rule)
{
    struct engine_config config = {.device = "cpu:2",
                                   .context_tokens = 256,
                                   .user_rules = rule,
                                   .n_user_rules = 1,
                                   .numa_node = -1};

    return fixture_engine_with(&config);
}

static void a_user_runs_as_many_at_a_time_as_it_may(void **state)
{
    static const struct engine_user_rule rules[] = {{.uid = 7, .streams = 1, .waiting = 2}};
    struct engine *e = engine_with_rule(rules);
    struct ask list[3], gone, late;
    struct engine_user_stats stats;
    struct error err = {0};

    *state = e;
    ask_init(&gone, e, prompt);
    ask_init(&late, e, prompt);
    gone.uid = late.uid = 7;
    for (int i = 0; i < 3; i++) {
        ask_init(&list[i], e, prompt);
        list[i].uid = 7;
        list[i].params.max_tokens = 40;
    }
    ask_begin(&list[0]);
    fixture_wait(e, &list[0].has_started);
    ask_begin(&gone);
    ask_begin(&list[1]);
    assert_int_equal(ask_try(&late, &err), -EUSERS);
    engine_cancel(gone.request, false);
    ask_wait(&gone);
    assert_false(gone.has_started);
    ask_begin(&list[2]);
    assert_true(engine_get_user_stats(e, 7, &stats));
    assert_int_equal(stats.n_running, 1);
    assert_int_equal(stats.n_waiting, 2);
    for (int i = 0; i < 3; i++) { /* one after the other */
        fixture_wait(e, &list[i].has_started);
        for (int k = 0; k < 3; k++)
            assert_int_equal(list[k].has_started, k <= i);
        ask_wait(&list[i]);
        assert_int_equal(list[i].n_ids, 40);
        ask_finish(&list[i]);
    }
    assert_true(engine_get_user_stats(e, 7, &stats));
    assert_int_equal(stats.n_running + stats.n_waiting, 0);
    assert_int_equal(stats.requests_total, 4);
    assert_int_equal(stats.refused_total, 1);
    assert_int_equal(stats.completion_tokens_total, 120);
    ask_finish(&gone);
    ask_finish(&late);
}

static void who_waits_for_a_stream_runs_once_the_rules_allow_it(void **state)
{
    static const struct engine_user_rule one[] = {{.uid = 7, .streams = 1}};
    static const struct engine_user_rule two[] = {{.uid = 7, .streams = 2}};
    struct engine *e = engine_with_rule(one);
    struct ask list[3];

    *state = e;
    for (int i = 0; i < 3; i++) {
        ask_init(&list[i], e, prompt);
        list[i].uid = 7;
        list[i].params.max_tokens = i ? 4 : 0;
        ask_begin(&list[i]);
    }
    fixture_wait(e, &list[0].has_started);
    assert_int_equal(engine_set_user_rules(e, two, 1, NULL), 0);
    for (int i = 1; i < 3; i++) { /* beside the first, one after the other */
        ask_wait(&list[i]);
        assert_false(list[0].is_done);
    }
    assert_int_equal(engine_set_user_rules(e, NULL, 0, NULL), 0);
    engine_cancel(list[0].request, false);
    ask_wait(&list[0]);
    for (int i = 0; i < 3; i++)
        ask_finish(&list[i]);
}

static void a_users_background_requests_hold_up_none_of_its_interactive_ones(void **state)
{
    static const struct engine_user_rule rules[] = {{.uid = 7, .streams = 1}};
    struct engine *e = engine_with_rule(rules);
    struct ask list[4]; /* one that runs, one that waits, both in the background; two that ask */

    *state = e;
    for (int i = 0; i < 4; i++) {
        ask_init(&list[i], e, prompt);
        list[i].uid = 7;
        list[i].params.max_tokens = i ? 4 : 0;
        list[i].params.class = i < 2 ? ENGINE_BACKGROUND : ENGINE_INTERACTIVE;
        ask_begin(&list[i]);
        if (i == 0)
            fixture_wait(e, &list[i].has_started);
    }
    for (int i = 2; i < 4; i++) { /* one after the other */
        fixture_wait(e, &list[i].has_started);
        assert_false(list[0].is_done || list[1].has_started);
        assert_int_equal(list[3].has_started, i == 3);
        ask_wait(&list[i]);
    }
    engine_cancel(list[0].request, false);
    ask_wait(&list[0]);
    ask_wait(&list[1]);
    for (int i = 0; i < 4; i++)
        ask_finish(&list[i]);
}

static void a_user_of_more_weight_has_more_of_each_step(void **state)
{
    enum { EACH = 16, TOKENS = 40 }; /* twice as many streams as a step holds */
    static const struct engine_user_rule rules[] = {{.uid = 7, .weight = 3}};
    struct engine_config config = {.device = "cpu:2",
                                   .context_tokens = 128,
                                   .kv_bytes = 1 << 30,
                                   .user_rules = rules,
                                   .n_user_rules = 1,
                                   .numa_node = -1};
    struct engine *e = fixture_engine_with(&config);
    struct ask *list = calloc((size_t)2 * EACH, sizeof(*list));
    size_t n_light = 0;

    *state = e;
    for (int i = 0; i < 2 * EACH; i++) {
        ask_init(&list[i], e, prompt);
        list[i].uid = i % 2 ? 8 : 7;
        list[i].params.max_tokens = TOKENS;
        ask_begin(&list[i]);
        engine_pause(list[i].request, true);
    }
    for (int i = 0; i < 4 * EACH; i += 2) /* those of more weight first, however long that takes */
        engine_pause(list[i % (2 * EACH) + i / (2 * EACH)].request, false);
    for (int i = 0; i < 2 * EACH; i += 2)
        ask_wait(&list[i]);
    for (int i = 1; i < 2 * EACH; i += 2)
        n_light += list[i].n_ids;
    for (int i = 1; i < 2 * EACH; i += 2)
        ask_wait(&list[i]);
    assert_in_range(n_light, 1, EACH * TOKENS / 2);
    drop_many(list, 2 * EACH);
}

static void requests_held_back_end_with_the_engine(void **state)
{
    static const struct engine_user_rule rules[] = {{.is_of_others = true, .streams = 1}};
    struct engine_config config = {
        .device = "cpu:2", .user_rules = rules, .n_user_rules = 1, .numa_node = -1};
    struct engine *e = fixture_engine_with(&config);
    struct ask list[2];

    for (int i = 0; i < 2; i++) {
        ask_init(&list[i], e, prompt);
        list[i].params.max_tokens = 0;
        ask_begin(&list[i]);
    }
    engine_destroy(e);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(list[i].n_done, 1);
        assert_int_equal(list[i].result.finish, ENGINE_FINISH_CANCEL);
        ask_finish(&list[i]);
    }
}

static void a_user_of_the_background_class_stays_there(void **state)
{
    static const struct engine_user_rule rules[] = {
        {.uid = 7, .class = ENGINE_BACKGROUND, .has_class = true}};
    struct engine *e = engine_with_rule(rules);
    struct ask patient, quick;

    *state = e;
    ask_init(&patient, e, prompt);
    ask_init(&quick, e, prompt);
    patient.uid = 7;
    quick.uid = 8;
    patient.params.max_tokens = quick.params.max_tokens = 100;
    ask_begin(&patient);
    fixture_wait(e, &patient.has_started);
    ask_begin(&quick);
    ask_wait(&patient);
    assert_true(quick.is_done);
    ask_finish(&patient);
    ask_finish(&quick);
}

static void tokens_of_a_minute_are_those_computed(void **state)
{
    static const struct engine_user_rule rules[] = {{.uid = 7, .tokens_per_minute = 10}};
    struct engine_config config = {.device = "cpu:2",
                                   .context_tokens = 256,
                                   .user_rules = rules,
                                   .n_user_rules = 1,
                                   .prefix_percent = 100,
                                   .numa_node = -1};
    struct engine *e = fixture_engine_with(&config);
    struct engine_user_stats stats;
    struct error err = {0};
    struct ask a;

    *state = e;
    ask_init(&a, e, prompt);
    a.uid = 7;
    a.params.max_tokens = 60;
    ask_run(&a);
    assert_true(engine_get_user_stats(e, 7, &stats));
    assert_int_equal(stats.prompt_tokens_total, a.result.prompt_tokens - a.result.cached_tokens);
    assert_int_equal(stats.completion_tokens_total, 60);
    ask_finish(&a);
    ask_init(&a, e, prompt);
    a.uid = 7;
    assert_int_equal(ask_try(&a, &err), -EDQUOT);
    assert_in_range(engine_retry_seconds(e, 7, -EDQUOT), 200, 60 * 60);
    ask_finish(&a);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, NULL, drop_engine)

static const struct CMUnitTest tests[] = {
    CASE(more_requests_than_a_step_or_the_cache_holds_are_all_answered),
    CASE(who_gave_way_answers_as_if_it_had_been_alone),
    CASE(a_short_question_overtakes_a_long_answer),
    CASE(background_lets_others_by),
    CASE(one_user_cannot_fill_the_queue),
    CASE(a_user_runs_as_many_at_a_time_as_it_may),
    CASE(who_waits_for_a_stream_runs_once_the_rules_allow_it),
    CASE(a_users_background_requests_hold_up_none_of_its_interactive_ones),
    CASE(a_user_of_more_weight_has_more_of_each_step),
    cmocka_unit_test(requests_held_back_end_with_the_engine),
    CASE(a_user_of_the_background_class_stays_there),
    CASE(tokens_of_a_minute_are_those_computed),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
