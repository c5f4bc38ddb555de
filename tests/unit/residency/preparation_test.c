/* SPDX-License-Identifier: MIT */
/* What is compiled for a model, and when. */
#include "harness.h"

#include "engine_fixture.h"
#include "losing_device.h"
#include "narrow_memory.h"

enum { BUCKETS = 4 }; /* steps of up to 1, 4, 16 and 64 tokens */

static struct engine *engine_with_batch(uint32_t batch_tokens)
{
    struct engine_config config = {
        .device = "losing", .context_tokens = 128, .batch_tokens = batch_tokens, .numa_node = -1};

    losing_reset();
    return fixture_engine_with(&config);
}

static void wait_for_prepared(struct engine *e, unsigned n)
{
    for (int i = 0; i < 10000 && losing.n_prepared < n; i++)
        fixture_idle(e, 1);
    assert_int_equal(losing.n_prepared, n);
}

/* No memory is given out yet, so nothing was read. */
static void all_is_compiled_while_the_weights_are_read(void **state)
{
    struct engine *e = engine_with_batch(64);
    struct load_wait wait = {0};

    narrow_memory_is_held = true;
    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &wait, NULL, NULL), 0);
    wait_for_prepared(e, BUCKETS);
    assert_false(wait.is_done);
    narrow_memory_is_held = false;
    fixture_wait(e, &wait.is_done);
    assert_int_equal(wait.error.code, 0);
    assert_int_equal(losing.n_prepared, BUCKETS); /* and not once more */
    engine_destroy(e);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(all_is_compiled_while_the_weights_are_read),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
