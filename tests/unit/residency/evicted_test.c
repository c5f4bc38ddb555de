/* SPDX-License-Identifier: MIT */
/* Idle models whose memory the kernel took back. */
#include "harness.h"

#include "engine_fixture.h"
#include "pool/pool.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prompt[] = "Once upon a time, there was a little";

static struct engine *engine_with(uint64_t idle_after_ns)
{
    struct engine_config config = {
        .device = "cpu:2",
        .context_tokens = 128,
        .idle_after_ns = idle_after_ns,
        .numa_node = -1,
    };

    return fixture_engine_with(&config);
}

static atomic_uint n_rests, n_evicted;
static atomic_bool evicts;

int __real_pool_set_idle(struct pool *pool, bool is_idle, struct error *err);
int __wrap_pool_set_idle(struct pool *pool, bool is_idle, struct error *err);

int __wrap_pool_set_idle(struct pool *pool, bool is_idle, struct error *err)
{
    int r = __real_pool_set_idle(pool, is_idle, err);

    n_rests += is_idle;
    if (is_idle || !evicts)
        return r;
    evicts = false;
    n_evicted++;
    return error_set(err, ESTALE, "the kernel took its memory back");
}

static void what_the_kernel_took_back_is_read_again(void **state)
{
    struct engine *e = engine_with(1000000);
    struct ask first;

    n_rests = n_evicted = 0;
    ask_init(&first, e, prompt);
    ask_run(&first);
    for (unsigned i = 1; i <= 3; i++) {
        fixture_wait_idle(e, fixture_model());
        assert_true(n_rests >= i);
        evicts = true;
        assert_answers_as(e, fixture_model(), prompt, &first);
        assert_int_equal(n_evicted, i);
        assert_int_equal(fixture_info(e, fixture_model())->state, ENGINE_MODEL_READY);
    }
    ask_finish(&first);
    engine_destroy(e);
}

static void a_file_that_changed_meanwhile_is_not_mixed_in(void **state)
{
    struct engine *e = engine_with(1000000);
    char other[64];
    struct ask first, late;
    FILE *f;

    fixture_copy_model(other);
    ask_init(&first, e, prompt);
    first.model = other;
    ask_run(&first);
    fixture_wait_idle(e, other);
    f = fopen(other, "a");
    fputc(0, f);
    fclose(f);
    evicts = true;
    ask_init(&late, e, prompt);
    late.model = other;
    ask_run(&late);
    assert_int_equal(late.result.finish, ENGINE_FINISH_ERROR);
    assert_non_null(strstr(late.error.text, "change"));
    /* whoever asks next has the file as it is now */
    assert_answers_as(e, other, prompt, &first);
    ask_finish(&first);
    ask_finish(&late);
    engine_destroy(e);
    unlink(other);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_the_kernel_took_back_is_read_again),
    cmocka_unit_test(a_file_that_changed_meanwhile_is_not_mixed_in),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
