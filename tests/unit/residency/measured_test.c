/* SPDX-License-Identifier: MIT */
/* A device that other programs use, too. */
#include "harness.h"

#include "device/device.h"
#include "engine_fixture.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_ullong left_bytes;

uint64_t __wrap_device_free_bytes(struct device *dev);
uint64_t __wrap_device_free_bytes(struct device *dev)
{
    return left_bytes;
}

static struct engine *engine(void)
{
    struct engine_config config = {
        .device = "cpu:2", .context_tokens = 64, .kv_bytes = 1, .numa_node = -1};

    return fixture_engine_with(&config);
}

static void room_that_others_gave_back_is_seen_by_a_load(void **state)
{
    struct engine *e;
    struct error err = {0};

    left_bytes = 1 << 20;
    e = engine();
    assert_int_equal(fixture_load(e, fixture_model(), &err), -ENOMEM);
    assert_non_null(strstr(err.text, "of GPU memory are needed"));
    left_bytes = 1ull << 40;
    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    engine_destroy(e);
}

static void nobody_makes_room_where_others_have_made_it(void **state)
{
    struct engine *e;
    char other[64];

    left_bytes = 1ull << 40;
    e = engine();
    fixture_copy_model(other);
    left_bytes = 1 << 20; /* as of the last look, when the first model came */
    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    left_bytes = 1ull << 40;
    assert_int_equal(fixture_load(e, other, NULL), 0);
    assert_false(fixture_info(e, fixture_model())->is_idle);
    assert_int_equal(fixture_info(e, fixture_model())->state, ENGINE_MODEL_READY);
    engine_destroy(e);
    unlink(other);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(room_that_others_gave_back_is_seen_by_a_load),
    cmocka_unit_test(nobody_makes_room_where_others_have_made_it),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
