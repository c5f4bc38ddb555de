/* SPDX-License-Identifier: MIT */
/* Loads beside models that are on their way out, and loads that come to nothing. */
#include "harness.h"

#include "engine/engine_private.h"
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

/* Two models, with memory for these, and a device thread that lets go of nothing: it waits for a
 * step. */
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
    losing.is_held = true;
    ask_init(&h->busy, h->engine, prompt);
    ask_begin(&h->busy);
    for (int i = 0; i < 30000 && !losing.is_waiting; i++)
        fixture_idle(h->engine, 1);
    assert_true(losing.is_waiting);
}

static void leave(struct full_house *h)
{
    losing.is_held = false;
    ask_wait(&h->busy);
    ask_finish(&h->busy);
    engine_destroy(h->engine);
    narrow_memory_bytes = 0;
    unlink(h->one);
    unlink(h->two);
}

/* Begins to load it, and returns when it waits for room. */
static const struct model_entry *begin_load(struct full_house *h, const char *path,
                                            struct load_wait *ret_wait)
{
    const struct model_entry *entry;

    assert_int_equal(engine_load(h->engine, path, &fixture_load_events, ret_wait, NULL, NULL), 0);
    entry = catalogue_find_path(&h->engine->catalogue, path);
    for (int i = 0; i < 30000 && !entry->waits_for_room && !ret_wait->is_done; i++)
        fixture_idle(h->engine, 1);
    assert_string_equal(ret_wait->error.text, "");
    assert_true(entry->waits_for_room);
    return entry;
}

static void a_load_waits_for_what_is_being_unloaded(void **state)
{
    struct full_house h;
    struct load_wait wait = {0};

    fill(&h);
    assert_int_equal(engine_unload(h.engine, h.one, NULL), 0);
    begin_load(&h, h.two, &wait);
    losing.is_held = false;
    fixture_wait(h.engine, &wait.is_done);
    assert_string_equal(wait.error.text, "");
    leave(&h);
}

/* Room for one of two that come while the model that goes for the first is still going. */
static void a_second_load_waits_for_what_goes_for_the_first(void **state)
{
    struct full_house h;
    struct load_wait first = {0}, second = {0};
    const struct model_entry *last;
    char three[64];

    fill(&h);
    fixture_copy_model(three);
    assert_int_equal(truncate(three, 2 * MIB), 0);
    begin_load(&h, h.two, &first);
    assert_int_equal(fixture_info(h.engine, h.one)->state, ENGINE_MODEL_UNLOADING);
    narrow_memory_bytes -= 15 * MIB; /* room for the second comes with it, too, and not before */
    last = begin_load(&h, three, &second);
    narrow_memory_bytes += 15 * MIB;
    narrow_memory_is_held = true; /* counts a pool whole at once, not as it is filled */
    losing.is_held = false;
    for (int i = 0; i < 30000 && !second.is_done && last->waits_for_room; i++)
        fixture_idle(h.engine, 1);
    narrow_memory_is_held = false;
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
