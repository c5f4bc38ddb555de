/* SPDX-License-Identifier: MIT */
/* Models that nobody uses leave the device, and come back. */
#include "harness.h"

#include "engine_fixture.h"
#include "losing_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prompt[] = "Once upon a time, there was a little";

static struct engine *engine_with(uint64_t idle_after_ns)
{
    struct engine_config config = {
        .device = "losing",
        .context_tokens = 128,
        .idle_after_ns = idle_after_ns,
        .numa_node = -1,
    };

    losing_reset();
    return fixture_engine_with(&config);
}

static void an_unused_model_leaves_the_device_and_comes_back(void **state)
{
    struct engine *e = engine_with(1000000);
    unsigned n_imports;
    struct ask first;

    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    n_imports = losing.n_imports;
    assert_true(n_imports > 0);
    fixture_wait_idle(e, fixture_model());
    assert_int_equal(losing.imported_bytes, 0);
    assert_int_equal(fixture_info(e, fixture_model())->kv_bytes, 0);
    assert_true(fixture_info(e, fixture_model())->pool_bytes > 0);
    ask_init(&first, e, prompt);
    ask_run(&first);
    /* once more what the first time took, and no more */
    assert_int_equal(losing.n_imports, 2 * n_imports);
    fixture_wait_idle(e, fixture_model());
    assert_answers_as(e, fixture_model(), prompt, &first);
    assert_int_equal(losing.n_imports, 3 * n_imports);
    ask_finish(&first);
    engine_destroy(e);
}

static void without_a_time_nobody_is_made_idle(void **state)
{
    struct engine *e = engine_with(0);
    struct ask a;

    ask_init(&a, e, prompt);
    ask_run(&a);
    fixture_idle(e, 50);
    assert_false(fixture_info(e, fixture_model())->is_idle);
    ask_finish(&a);
    engine_destroy(e);
}

/* Paused, so that time passes while it has a request. */
static void pause_at_third(struct ask *a)
{
    if (a->n_ids == 3)
        engine_pause(a->request, true);
}

static void a_model_with_a_request_is_not_made_idle(void **state)
{
    struct engine *e = engine_with(1000000);
    struct ask a;

    ask_init(&a, e, prompt);
    a.hook = pause_at_third;
    losing.delay_us = 2000; /* it does not end before it is paused */
    a.params.max_tokens = 100;
    ask_begin(&a);
    while (a.n_ids < 3)
        fixture_idle(e, 1);
    fixture_idle(e, 50);
    assert_false(fixture_info(e, fixture_model())->is_idle);
    engine_pause(a.request, false);
    ask_wait(&a);
    ask_finish(&a);
    engine_destroy(e);
}

static void a_full_device_takes_turns(void **state)
{
    struct engine *e = engine_with(0);
    char other[64];
    struct ask first;

    fixture_copy_model(other);
    ask_init(&first, e, prompt);
    ask_run(&first);
    losing.room_bytes = losing.imported_bytes + losing.imported_bytes / 2;
    for (int turn = 0; turn < 2; turn++) {
        assert_answers_as(e, other, prompt, &first);
        assert_true(fixture_info(e, fixture_model())->is_idle);
        assert_answers_as(e, fixture_model(), prompt, &first);
        assert_true(fixture_info(e, other)->is_idle);
    }
    ask_finish(&first);
    engine_destroy(e);
    unlink(other);
}

static void a_device_too_small_for_one_model_says_so(void **state)
{
    struct engine *e = engine_with(1000000);
    struct ask a;

    ask_init(&a, e, prompt);
    ask_run(&a);
    ask_finish(&a);
    fixture_wait_idle(e, fixture_model());
    losing.room_bytes = 4096;
    ask_init(&a, e, prompt);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(a.error.code, -ENOMEM);
    assert_non_null(strstr(a.error.text, "the device is full"));
    ask_finish(&a);
    losing.room_bytes = 0;
    ask_init(&a, e, prompt);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
    engine_destroy(e);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_unused_model_leaves_the_device_and_comes_back),
    cmocka_unit_test(without_a_time_nobody_is_made_idle),
    cmocka_unit_test(a_model_with_a_request_is_not_made_idle),
    cmocka_unit_test(a_full_device_takes_turns),
    cmocka_unit_test(a_device_too_small_for_one_model_says_so),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
