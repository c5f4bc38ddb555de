/* SPDX-License-Identifier: MIT */
/* Loads beside models that are on their way out, and loads that come to nothing. */
#include "harness.h"

#include "engine_fixture.h"
#include "losing_device.h"
#include "narrow_memory.h"

#include <unistd.h>

#define MIB (1ull << 20)

static const char prompt[] = "Once upon a time, there was a little";

static struct engine *engine(void)
{
    struct engine_config config = {
        .device = "losing", .context_tokens = 128, .batch_tokens = 64, .numa_node = -1};

    losing_reset();
    narrow_memory_bytes = 0;
    return fixture_engine_with(&config);
}

static void make_large_model(char ret_path[64])
{
    fixture_copy_model(ret_path);
    assert_int_equal(truncate(ret_path, 64 * MIB), 0);
}

static void a_load_that_fails_without_a_device_leaves_no_memory(void **state)
{
    struct engine *e = engine();
    char other[64];
    struct ask a;
    unsigned long long before;

    fixture_copy_model(other);
    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    losing.n_refused = 1000;
    losing.lose_in = 5;
    ask_init(&a, e, prompt);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
    before = narrow_memory_used;
    assert_true(fixture_load(e, other, NULL) < 0);
    assert_int_equal(narrow_memory_used, before);
    ask_finish(&a);
    engine_destroy(e);
    assert_int_equal(narrow_memory_used, 0);
    unlink(other);
}

/* Two models, with memory for these, and a device thread that is slow to let go of anything. */
struct full_house {
    struct engine *engine;
    char one[64], two[64];
    struct ask busy;
};

static void fill(struct full_house *h)
{
    h->engine = engine();
    make_large_model(h->one);
    make_large_model(h->two);
    assert_int_equal(fixture_load(h->engine, fixture_model(), NULL), 0);
    assert_int_equal(fixture_load(h->engine, h->one, NULL), 0);
    narrow_memory_bytes = narrow_memory_used + 16 * MIB;
    losing.delay_us = 200000;
    ask_init(&h->busy, h->engine, prompt);
    h->busy.params.max_tokens = 20;
    ask_begin(&h->busy);
    for (int i = 0; i < 30000 && !h->busy.n_ids; i++)
        fixture_idle(h->engine, 1);
}

static void leave(struct full_house *h)
{
    losing.delay_us = 0;
    ask_wait(&h->busy);
    ask_finish(&h->busy);
    engine_destroy(h->engine);
    narrow_memory_bytes = 0;
    unlink(h->one);
    unlink(h->two);
}

static void a_load_waits_for_what_is_being_unloaded(void **state)
{
    struct full_house h;
    struct error err = {0};

    fill(&h);
    assert_int_equal(engine_unload(h.engine, h.one, NULL), 0);
    if (fixture_load(h.engine, h.two, &err) < 0)
        fail_msg("%s", err.text);
    leave(&h);
}

/* Room for one of two that come while the model that goes for the first is still going. */
static void a_second_load_waits_for_what_goes_for_the_first(void **state)
{
    struct full_house h;
    struct load_wait first = {0}, second = {0};
    char three[64];

    fill(&h);
    fixture_copy_model(three);
    assert_int_equal(engine_load(h.engine, h.two, &fixture_load_events, &first, NULL, NULL), 0);
    for (int i = 0; i < 30000; i++) {
        if (fixture_info(h.engine, h.one)->state == ENGINE_MODEL_UNLOADING)
            break;
        fixture_idle(h.engine, 1);
    }
    narrow_memory_bytes -= 15 * MIB; /* room for the second comes with it, too, and not before */
    assert_int_equal(truncate(three, 2 * MIB), 0);
    assert_int_equal(engine_load(h.engine, three, &fixture_load_events, &second, NULL, NULL), 0);
    fixture_idle(h.engine, 50);
    assert_false(second.is_done);
    narrow_memory_bytes += 15 * MIB;
    fixture_wait(h.engine, &first.is_done);
    fixture_wait(h.engine, &second.is_done);
    assert_string_equal(first.error.text, "");
    assert_string_equal(second.error.text, "");
    leave(&h);
    unlink(three);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_load_that_fails_without_a_device_leaves_no_memory),
    cmocka_unit_test(a_load_waits_for_what_is_being_unloaded),
    cmocka_unit_test(a_second_load_waits_for_what_goes_for_the_first),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
