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
    struct engine *e = NULL;
    struct error err = {0};

    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    if (engine_create(&config, &e, &err) < 0)
        fail_msg("%s", err.text);
    return e;
}

static const struct engine_model_info *info_of(struct engine *e, const char *model)
{
    const struct engine_model_info *info = NULL;

    assert_int_equal(engine_find_model(e, model, &info, NULL), 0);
    return info;
}

static void wait_until_idle(struct engine *e, const char *model)
{
    for (int i = 0; i < 60000 && !info_of(e, model)->is_idle; i++)
        fixture_idle(e, 1);
    assert_true(info_of(e, model)->is_idle);
}

/* A second model: a copy of the file. */
static void copy_model(char path[64])
{
    size_t len;
    char *data = harness_read_file(fixture_model(), &len);
    int fd;

    strcpy(path, "/tmp/hearth-copy-XXXXXX.gguf");
    fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
    free(data);
}

static void assert_answers_as(struct engine *e, const char *model, const struct ask *want)
{
    struct ask a;

    ask_init(&a, e, prompt);
    a.model = model;
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(a.n_ids, want->n_ids);
    assert_memory_equal(a.ids, want->ids, want->n_ids * sizeof(want->ids[0]));
    ask_finish(&a);
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
        wait_until_idle(e, fixture_model());
        assert_true(n_rests >= i);
        evicts = true;
        assert_answers_as(e, fixture_model(), &first);
        assert_int_equal(n_evicted, i);
        assert_int_equal(info_of(e, fixture_model())->state, ENGINE_MODEL_READY);
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

    copy_model(other);
    ask_init(&first, e, prompt);
    first.model = other;
    ask_run(&first);
    wait_until_idle(e, other);
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
    assert_answers_as(e, other, &first);
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
