/* SPDX-License-Identifier: MIT */
/* Models in pools of the kernel module: what of them stays, what counts, what may be taken back. */
#include "harness.h"

#include "engine_fixture.h"
#include "fake_hearth.h"
#include "losing_device.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static const char prompt[] = "Once upon a time, there was a little";

static struct engine *engine(void)
{
    struct engine_config config = {.device = "losing",
                                   .context_tokens = 64,
                                   .batch_tokens = 64,
                                   .kv_bytes = 1,
                                   .numa_node = -1};

    losing_reset();
    return fixture_engine_with(&config);
}

static int setup(void **state)
{
    fake_hearth_reset();
    return 0;
}

static void make_large_model(char ret_path[64])
{
    fixture_copy_model(ret_path);
    assert_int_equal(truncate(ret_path, 256 * MIB), 0);
}

static void load_slowly(struct engine *e, const char *path, struct load_wait *w)
{
    unsigned n = fake_hearth_n_pools();

    fake_hearth.step_us = 2000;
    assert_int_equal(engine_load(e, path, &fixture_load_events, w, NULL, NULL), 0);
    for (int i = 0; i < 30000 && fake_hearth_n_pools() == n; i++)
        fixture_idle(e, 1);
    assert_int_equal(fake_hearth_n_pools(), n + 1);
}

/* Though the device thread is still busy compiling for it. */
static void a_cancelled_load_leaves_no_pool_and_no_name(void **state)
{
    struct engine *e = engine();
    struct load_wait w = {0};
    char path[64];

    make_large_model(path);
    losing.prepare_us = 700000;
    load_slowly(e, path, &w);
    for (int i = 0; i < 30000 && !losing.n_prepared; i++)
        fixture_idle(e, 1);
    assert_int_equal(engine_unload(e, path, NULL), 0);
    fixture_wait(e, &w.is_done);
    assert_int_equal(fake_hearth_n_pools(), 0);
    fake_hearth.step_us = 0;
    losing.prepare_us = 0;
    assert_int_equal(fixture_load(e, path, NULL), 0);
    engine_destroy(e);
    e = engine();
    assert_int_equal(fixture_load(e, path, NULL), 0);
    assert_string_equal(fixture_info(e, path)->read_note, "resident, nothing read");
    engine_destroy(e);
    unlink(path);
}

/* The module counts all of a pool from its creation on, so what is not filled yet is not to be
 * taken off what it has left once more. */
static void loads_that_fit_together_are_both_admitted(void **state)
{
    struct engine *e = engine();
    struct load_wait a = {0}, b = {0};
    char one[64], two[64];

    make_large_model(one);
    make_large_model(two);
    fake_hearth.limit_bytes = 700 * MIB; /* twice the weights, and caches */
    load_slowly(e, one, &a);
    load_slowly(e, two, &b);
    fake_hearth.step_us = 0;
    fixture_wait(e, &a.is_done);
    fixture_wait(e, &b.is_done);
    assert_string_equal(a.error.text, "");
    assert_string_equal(b.error.text, "");
    engine_destroy(e);
    unlink(one);
    unlink(two);
}

/* Memory for one of them, which has it all from its creation on. */
static void loads_that_do_not_fit_together_are_told(void **state)
{
    struct engine *e = engine();
    struct load_wait a = {0}, b = {0};
    char one[64], two[64];

    make_large_model(one);
    make_large_model(two);
    fake_hearth.limit_bytes = 400 * MIB;
    load_slowly(e, one, &a);
    assert_int_equal(engine_load(e, two, &fixture_load_events, &b, NULL, NULL), 0);
    fixture_wait(e, &b.is_done);
    assert_int_equal(b.error.code, -ENOMEM);
    assert_non_null(strstr(b.error.text, "could be taken from models that nobody uses"));
    fake_hearth.step_us = 0;
    fixture_wait(e, &a.is_done);
    assert_int_equal(a.error.code, 0);
    engine_destroy(e);
    unlink(one);
    unlink(two);
}

/* Nor are they told that there is room while neither has its pool. */
static void loads_that_come_together_are_counted_together(void **state)
{
    struct engine *e = engine();
    struct load_wait waits[2] = {{0}};
    char paths[2][64];

    fake_hearth.limit_bytes = 400 * MIB;
    fake_hearth.is_held = true;
    for (int i = 0; i < 2; i++) {
        make_large_model(paths[i]);
        assert_int_equal(engine_load(e, paths[i], &fixture_load_events, &waits[i], NULL, NULL), 0);
    }
    for (int i = 0; i < 3000 && !waits[0].is_done && !waits[1].is_done; i++)
        fixture_idle(e, 1);
    fake_hearth.is_held = false;
    assert_int_equal(waits[0].is_done + waits[1].is_done, 1);
    for (int i = 0; i < 2; i++)
        fixture_wait(e, &waits[i].is_done);
    assert_int_equal(waits[0].error.code + waits[1].error.code, -ENOMEM);
    engine_destroy(e);
    for (int i = 0; i < 2; i++)
        unlink(paths[i]);
}

/* Loses the device while one model answers and `other` has nothing to do. */
static struct engine *engine_after_loss(const char *other)
{
    struct engine *e = engine();
    struct ask a;

    assert_int_equal(fixture_load(e, other, NULL), 0);
    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    losing.lose_in = 20;
    ask_init(&a, e, prompt);
    ask_run(&a);
    assert_int_equal(losing.n_lost, 1);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
    return e;
}

static void after_a_loss_the_kernel_may_take_who_has_no_request(void **state)
{
    char other[64];
    struct engine *e;
    unsigned n = 0;

    fixture_copy_model(other);
    e = engine_after_loss(other);
    for (int i = 0; i < 2000 && !n; i++) {
        fixture_idle(e, 1);
        n = fake_hearth_evict_idle();
    }
    assert_int_equal(n, 1); /* its weights: what answered is on the device again */
    assert_true(fixture_info(e, other)->is_idle);
    engine_destroy(e);
    unlink(other);
}

static void after_a_loss_who_has_no_request_makes_room(void **state)
{
    char other[64], third[64];
    struct error err = {0};
    struct engine *e;

    make_large_model(other);
    make_large_model(third);
    e = engine_after_loss(other);
    fake_hearth.limit_bytes = 400 * MIB; /* for one of them */
    if (fixture_load(e, third, &err) < 0)
        fail_msg("%s", err.text);
    engine_destroy(e);
    unlink(other);
    unlink(third);
}

/* While the device refuses what is to be imported, nothing of it is in use. */
static void after_a_failed_wake_the_kernel_may_take_it(void **state)
{
    struct engine *e = engine();
    struct ask a;
    unsigned n = 0;

    ask_init(&a, e, prompt);
    ask_run(&a);
    ask_finish(&a);
    losing.lose_in = 1;
    losing.room_bytes = 1; /* of the next device */
    ask_init(&a, e, prompt);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
    for (int i = 0; i < 2000 && !n; i++) {
        fixture_idle(e, 1);
        n = fake_hearth_evict_idle();
    }
    assert_true(n > 0);
    ask_finish(&a);
    engine_destroy(e);
}

#define WITH_MODULE(name) cmocka_unit_test_setup(name, setup)

static const struct CMUnitTest tests[] = {
    WITH_MODULE(a_cancelled_load_leaves_no_pool_and_no_name),
    WITH_MODULE(loads_that_fit_together_are_both_admitted),
    WITH_MODULE(loads_that_do_not_fit_together_are_told),
    WITH_MODULE(loads_that_come_together_are_counted_together),
    WITH_MODULE(after_a_loss_the_kernel_may_take_who_has_no_request),
    WITH_MODULE(after_a_loss_who_has_no_request_makes_room),
    WITH_MODULE(after_a_failed_wake_the_kernel_may_take_it),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
