/* SPDX-License-Identifier: MIT */
/* Loading and unloading through the engine's header, and ends in the middle of things. */
#include "harness.h"

#include "engine/engine_private.h"
#include "engine_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prompt[] = "Once upon a time, there was a little";

static int make_engine(void **state)
{
    *state = fixture_model() ? fixture_engine(0) : NULL;
    return 0;
}

static int drop_engine(void **state)
{
    engine_destroy(*state);
    return 0;
}

static struct engine *engine(void **state)
{
    if (!*state)
        SKIP("no model: neither in the tree nor in the shared data");
    return *state;
}

/* A file below /tmp with the first n bytes of the model (or, n 0, with something else). */
static void write_damaged(char path[64], size_t n)
{
    size_t len;
    char *data = harness_read_file(fixture_model(), &len);
    int fd;

    strcpy(path, "/tmp/hearth-damaged-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(n <= len);
    if (n)
        assert_int_equal(write(fd, data, n), n);
    else
        assert_int_equal(write(fd, "a letter to a friend", 20), 20);
    close(fd);
    free(data);
}

static void assert_answers(struct engine *e)
{
    struct ask a;

    ask_init(&a, e, prompt);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
}

/* ---- loads ---- */

static void a_load_tells_what_was_loaded(void **state)
{
    const struct engine_model_info *info = NULL;
    struct load_wait w = {0};
    struct engine *e = engine(state);
    const struct engine_model_info *list;
    size_t n;

    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &w, NULL, NULL), 0);
    assert_int_equal(engine_find_model(e, fixture_model(), &info, NULL), 0);
    assert_int_equal(info->state, ENGINE_MODEL_LOADING);
    fixture_wait(e, &w.is_done);
    assert_int_equal(w.error.code, 0);
    assert_int_equal(engine_find_model(e, fixture_model(), &info, NULL), 0);
    assert_int_equal(info->state, ENGINE_MODEL_READY);
    assert_string_equal(info->architecture, "llama");
    assert_string_equal(info->type_name, "Q8_0");
    assert_int_equal(info->loaded_bytes, info->file_bytes);
    assert_true(info->pool_bytes >= info->file_bytes);
    assert_true(info->parameters > 100000);
    assert_true(info->context_tokens > 0 && info->context_tokens <= info->context_trained_tokens);
    assert_true(info->kv_bytes > 0);
    assert_int_equal(info->kv_used_bytes, 0);
    assert_true(info->pool_kind[0] && info->read_note[0]);
    assert_int_equal(engine_models(e, &list, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(w.n_done, 1);
}

static void two_who_ask_for_a_load_are_both_told(void **state)
{
    struct load_wait first = {0}, second = {0}, third = {0}, forgotten = {0};
    struct engine_load *load = NULL;
    struct engine *e = engine(state);

    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &first, NULL, NULL), 0);
    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &forgotten, &load, NULL),
                     0);
    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &second, NULL, NULL), 0);
    assert_int_equal(engine_load(e, fixture_model(), NULL, NULL, NULL, NULL), 0);
    engine_load_forget(load);
    fixture_wait(e, &first.is_done);
    fixture_wait(e, &second.is_done);
    assert_false(forgotten.is_done);
    /* and one who asks for what is ready already */
    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &third, NULL, NULL), 0);
    assert_false(third.is_done);
    fixture_wait(e, &third.is_done);
    fixture_idle(e, 20);
    assert_int_equal(first.n_done + second.n_done + third.n_done, 3);
}

static void a_load_is_urgent_when_an_interactive_request_waits(void **state)
{
    struct engine *e = engine(state);
    struct model_entry *entry;
    struct ask background, interactive;

    ask_init(&background, e, prompt);
    ask_init(&interactive, e, prompt);
    background.params.class = ENGINE_BACKGROUND;
    ask_begin(&background);
    assert_int_equal(catalogue_find(&e->catalogue, fixture_model(), &entry, NULL), 0);
    assert_int_equal(entry->is_urgent, false);
    ask_begin(&interactive);
    assert_int_equal(entry->is_urgent, true);
    ask_wait(&background);
    ask_wait(&interactive);
    ask_finish(&background);
    ask_finish(&interactive);
}

static void a_load_is_urgent_while_somebody_listens(void **state)
{
    struct engine_load_events preload = fixture_load_events;
    struct load_wait waits[2] = {{0}};
    struct engine_load *load = NULL;
    struct engine *e = engine(state);
    struct model_entry *entry;

    preload.is_background = true;
    assert_int_equal(engine_load(e, fixture_model(), &preload, &waits[0], NULL, NULL), 0);
    assert_int_equal(catalogue_find(&e->catalogue, fixture_model(), &entry, NULL), 0);
    assert_int_equal(entry->is_urgent, false);
    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &waits[1], &load, NULL),
                     0);
    assert_int_equal(entry->is_urgent, true);
    engine_load_forget(load);
    assert_int_equal(entry->is_urgent, false);
    fixture_wait(e, &waits[0].is_done);
    assert_int_equal(waits[1].is_done, false);
}

static void a_load_is_not_urgent_any_more_when_who_waited_is_gone(void **state)
{
    struct engine *e = engine(state);
    struct model_entry *entry;
    struct ask background, interactive;

    ask_init(&background, e, prompt);
    ask_init(&interactive, e, prompt);
    background.params.class = ENGINE_BACKGROUND;
    ask_begin(&background);
    ask_begin(&interactive);
    assert_int_equal(catalogue_find(&e->catalogue, fixture_model(), &entry, NULL), 0);
    assert_int_equal(entry->is_urgent, true);
    engine_cancel(interactive.request, false);
    assert_int_equal(entry->is_urgent, false);
    ask_wait(&background);
    ask_wait(&interactive);
    ask_finish(&background);
    ask_finish(&interactive);
}

/* Everybody is told at once, whatever the load does meanwhile, and what runs goes on. */
static void who_waits_for_a_load_is_told_when_loading_stops(void **state)
{
    struct engine *e = engine(state);
    struct load_wait w = {0};
    struct ask running, waiting;
    struct error err;
    char other[64];

    fixture_copy_model(other);
    ask_init(&running, e, prompt);
    ask_begin(&running);
    for (int i = 0; i < 30000 && !running.has_started; i++)
        fixture_idle(e, 1);
    ask_init(&waiting, e, prompt);
    waiting.model = other;
    ask_begin(&waiting);
    assert_int_equal(engine_load(e, other, &fixture_load_events, &w, NULL, NULL), 0);
    engine_stop_loading(e);
    assert_int_equal(w.is_done, true);
    assert_int_equal(w.error.code, -ECANCELED);
    assert_string_equal(w.error.text, "the service is stopping");
    ask_wait(&waiting);
    assert_int_equal(waiting.result.finish, ENGINE_FINISH_ERROR);
    assert_string_equal(waiting.error.text, "the service is stopping");
    assert_int_equal(engine_load(e, other, NULL, NULL, NULL, &err), -ECANCELED);
    ask_wait(&running);
    assert_int_equal(running.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&running);
    ask_finish(&waiting);
    unlink(other);
}

/* Waits until it is neither loading nor unloading. */
static enum engine_model_state settled_state(struct engine *e)
{
    for (int i = 0; i < 3000; i++) {
        const struct engine_model_info *info;

        assert_int_equal(engine_find_model(e, fixture_model(), &info, NULL), 0);
        if (info->state == ENGINE_MODEL_AVAILABLE || info->state == ENGINE_MODEL_READY)
            return info->state;
        fixture_idle(e, 10);
    }
    fail_msg("the model does not come to rest");
    return ENGINE_MODEL_LOADING;
}

static void unloading_ends_a_load_under_way(void **state)
{
    struct engine *e = engine(state);

    /* at every stage: while the file is read, while the device takes it, just before it is ready */
    for (int wait_ms = 0; wait_ms < 40; wait_ms++) {
        struct load_wait w = {0};
        const struct engine_model_info *info;
        bool was_ready;
        struct ask a;

        assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &w, NULL, NULL), 0);
        ask_init(&a, e, "hello");
        ask_begin(&a);
        if (wait_ms)
            fixture_idle(e, wait_ms - 1);
        assert_int_equal(engine_find_model(e, fixture_model(), &info, NULL), 0);
        was_ready = info->state == ENGINE_MODEL_READY;
        assert_int_equal(engine_unload(e, fixture_model(), NULL), 0);
        fixture_wait(e, &w.is_done);
        ask_wait(&a);
        if (!was_ready) {
            assert_int_equal(w.error.code, -ECANCELED);
            assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
            assert_int_equal(a.error.code, -ECANCELED);
        }
        assert_int_equal(settled_state(e), ENGINE_MODEL_AVAILABLE);
        assert_int_equal(w.n_done, 1);
        ask_finish(&a);
    }
    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
}

/* Who asks for the model after a load of it was cancelled, and while that still ends, gets it. */
static void who_comes_after_a_cancelled_load_has_it_loaded_anew(void **state)
{
    struct engine *e = engine(state);

    for (int wait_ms = 0; wait_ms < 20; wait_ms++) {
        struct load_wait before = {0}, after = {0};
        struct ask a;

        assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &before, NULL, NULL),
                         0);
        if (wait_ms)
            fixture_idle(e, wait_ms - 1);
        assert_int_equal(engine_unload(e, fixture_model(), NULL), 0);
        assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &after, NULL, NULL),
                         0);
        ask_init(&a, e, "hello");
        ask_begin(&a);
        fixture_wait(e, &before.is_done);
        fixture_wait(e, &after.is_done);
        ask_wait(&a);
        assert_int_equal(after.error.code, 0);
        assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
        assert_int_equal(before.n_done, 1);
        assert_int_equal(after.n_done, 1);
        ask_finish(&a);
        assert_int_equal(engine_unload(e, fixture_model(), NULL), 0);
        assert_int_equal(settled_state(e), ENGINE_MODEL_AVAILABLE);
    }
}

static void damaged_files_are_refused_and_the_engine_goes_on(void **state)
{
    static const size_t lengths[] = {0, 10, 3000, 150000};
    struct engine *e = engine(state);
    struct error err = {0};
    char path[64];

    assert_true(fixture_load(e, "/nonexistent/model.gguf", &err) == -ENOENT);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        const struct engine_model_info *list;
        size_t n;
        write_damaged(path, lengths[i]);
        assert_true(fixture_load(e, path, &err) < 0);
        assert_non_null(strstr(err.text, path));
        assert_int_equal(engine_models(e, &list, &n), 0);
        assert_int_equal(n, 0); /* its entry went with it */
        unlink(path);
    }
    assert_true(fixture_load(e, "/tmp", &err) == -EINVAL);
    assert_answers(e);
}

static void a_request_for_a_damaged_file_ends_with_its_error(void **state)
{
    static const struct engine_events none = {0};
    struct engine *e = engine(state);
    struct engine_caller caller = {0};
    struct engine_stats stats;
    struct ask a;
    char path[64];

    write_damaged(path, 3000);
    ask_init(&a, e, prompt);
    assert_int_equal(
        engine_generate(e, path, &a.prompt, &a.params, &caller, &none, NULL, NULL, NULL), 0);
    assert_int_equal(
        engine_generate(e, path, &a.prompt, &a.params, &caller, &none, NULL, NULL, NULL), 0);
    do {
        fixture_idle(e, 10);
        engine_get_stats(e, &stats);
    } while (stats.n_waiting);
    assert_int_equal(stats.requests_failed, 2);
    ask_finish(&a);
    assert_answers(e);
    unlink(path);
}

static void unloading_what_is_not_loaded_is_an_error(void **state)
{
    struct engine *e = engine(state);
    struct error err = {0};
    int32_t *ids = NULL;
    size_t n;

    assert_int_equal(engine_unload(e, fixture_model(), &err), -ENOENT);
    assert_non_null(strstr(err.text, "not loaded"));
    assert_int_equal(engine_unload(e, "unknown", &err), -ENOENT);
    assert_int_equal(engine_tokenize(e, fixture_model(), "a", 1, false, false, &ids, &n, &err),
                     -EBUSY);
}

static void unload_after_three(struct ask *a)
{
    if (a->n_ids == 3)
        assert_int_equal(engine_unload(a->engine, fixture_model(), NULL), 0);
}

static void unloading_cancels_what_runs_and_frees_the_model(void **state)
{
    const struct engine_model_info *list;
    struct engine *e = engine(state);
    struct ask running, beside;
    size_t n = 1;

    ask_init(&running, e, prompt);
    ask_init(&beside, e, prompt);
    running.params.max_tokens = beside.params.max_tokens = 0;
    running.hook = unload_after_three;
    ask_begin(&running);
    ask_begin(&beside);
    ask_wait(&running);
    ask_wait(&beside);
    assert_int_equal(running.result.finish, ENGINE_FINISH_CANCEL);
    assert_int_equal(beside.result.finish, ENGINE_FINISH_CANCEL);
    for (int i = 0; n && i < 500; i++) {
        fixture_idle(e, 10);
        assert_int_equal(engine_models(e, &list, &n), 0);
    }
    assert_int_equal(n, 0);
    ask_finish(&running);
    ask_finish(&beside);
    assert_answers(e); /* loads it again */
}

static void a_request_that_comes_while_unloading_loads_again(void **state)
{
    struct engine *e = engine(state);
    struct ask a;

    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    assert_int_equal(engine_unload(e, fixture_model(), NULL), 0);
    ask_init(&a, e, prompt);
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
}

static void a_request_can_be_cancelled_while_its_model_loads(void **state)
{
    struct engine *e = engine(state);
    struct ask a, forgotten, other;

    ask_init(&a, e, prompt);
    ask_init(&forgotten, e, prompt);
    ask_init(&other, e, prompt);
    ask_begin(&a);
    ask_begin(&forgotten);
    ask_begin(&other);
    engine_cancel(a.request, false);
    engine_cancel(forgotten.request, true);
    assert_false(a.is_done); /* only ever told in engine_dispatch */
    ask_wait(&other);
    assert_true(a.is_done);
    assert_int_equal(a.result.finish, ENGINE_FINISH_CANCEL);
    assert_false(a.has_started);
    assert_false(forgotten.is_done);
    assert_int_equal(other.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
    ask_finish(&forgotten);
    ask_finish(&other);
}

/* ---- limits ---- */

static void a_full_queue_says_try_again(void **state)
{
    static const struct engine_events events = {0};
    struct engine_config config = {
        .device = "cpu:1", .queue_limit = 2, .user_limit = 8, .numa_node = -1};
    struct engine_caller caller = {0};
    struct engine *e = NULL;
    struct error err = {0};
    struct ask a, b, c;

    engine(state);
    assert_int_equal(engine_create(&config, &e, NULL), 0);
    ask_init(&a, e, prompt);
    ask_init(&b, e, prompt);
    ask_init(&c, e, prompt);
    ask_begin(&a);
    ask_begin(&b);
    assert_int_equal(engine_generate(e, fixture_model(), &c.prompt, &c.params, &caller, &events,
                                     NULL, NULL, &err),
                     -EAGAIN);
    assert_non_null(strstr(err.text, "2 requests are waiting"));
    ask_wait(&a);
    ask_run(&c); /* there is room again */
    ask_wait(&b);
    ask_finish(&a);
    ask_finish(&b);
    ask_finish(&c);
    engine_destroy(e);
}

static void models_are_found_in_directories_by_name(void **state)
{
    char dir[] = "/tmp/hearth-models-XXXXXX", path[128];
    const char *dirs[] = {dir, NULL};
    struct engine_config config = {.device = "cpu:1", .model_dirs = dirs, .numa_node = -1};
    struct engine *e = NULL;

    engine(state);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(engine_create(&config, &e, NULL), 0);
    snprintf(path, sizeof(path), "%s/story.gguf", dir);
    assert_int_equal(symlink(fixture_model(), path), 0); /* after the engine began */
    assert_int_equal(fixture_load(e, "story", NULL), 0);
    assert_int_equal(fixture_load(e, "story:latest", NULL), 0);
    assert_int_equal(engine_unload(e, path, NULL), 0);
    engine_destroy(e);
    unlink(path);
    rmdir(dir);
}

static void bad_devices_are_refused(void **state)
{
    struct engine_config config = {.device = "abacus", .numa_node = -1};
    struct engine *e = NULL;
    struct error err = {0};

    assert_int_equal(engine_create(&config, &e, &err), -EINVAL);
    assert_non_null(strstr(err.text, "abacus"));
    assert_null(e);
    engine_destroy(NULL);
}

/* ---- ends in the middle ---- */

static void destroying_during_a_load_tells_everyone(void **state)
{
    struct load_wait w = {0};
    struct engine *e;
    struct ask a, forgotten;

    engine(state);
    e = fixture_engine(0);
    ask_init(&a, e, prompt);
    ask_init(&forgotten, e, prompt);
    assert_int_equal(engine_load(e, fixture_model(), &fixture_load_events, &w, NULL, NULL), 0);
    ask_begin(&a);
    ask_begin(&forgotten);
    engine_cancel(forgotten.request, true);
    engine_destroy(e);
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.error.code, -ECANCELED);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(a.result.finish, ENGINE_FINISH_CANCEL);
    assert_int_equal(forgotten.n_done, 0);
    ask_finish(&a);
    ask_finish(&forgotten);
}

static void destroying_during_generation_tells_everyone(void **state)
{
    struct ask a[4];
    struct engine *e;

    engine(state);
    e = fixture_engine(0);
    for (int i = 0; i < 4; i++) {
        ask_init(&a[i], e, prompt);
        a[i].params.max_tokens = 0;
        ask_begin(&a[i]);
    }
    while (a[0].n_ids < 3)
        fixture_idle(e, 5);
    engine_pause(a[2].request, true);
    engine_destroy(e);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a[i].n_done, 1);
        assert_true(a[i].result.finish == ENGINE_FINISH_CANCEL ||
                    (i == 0 && a[i].result.finish == ENGINE_FINISH_CONTEXT));
        ask_finish(&a[i]);
    }
}

/* Two requests of one client: the end of either cancels the other and asks anew. */
struct client {
    struct ask *other;
    struct engine *engine;
    int refusal;
    unsigned n_done;
};

static void on_end(void *user, const struct engine_result *result)
{
    static const struct engine_events none = {0};
    struct client *c = user;
    struct engine_caller caller = {0};
    struct ask again;

    c->n_done++;
    if (!c->other->is_done) {
        engine_pause(c->other->request, false);
        engine_cancel(c->other->request, false);
    }
    ask_init(&again, c->engine, prompt);
    c->refusal = engine_generate(c->engine, fixture_model(), &again.prompt, &again.params, &caller,
                                 &none, NULL, NULL, NULL);
    assert_int_equal(engine_load(c->engine, fixture_model(), NULL, NULL, NULL, NULL), -ECANCELED);
    assert_int_equal(engine_unload(c->engine, fixture_model(), NULL), -ECANCELED);
    ask_finish(&again);
}

static void callbacks_may_call_in_while_the_engine_is_destroyed(void **state)
{
    static const struct engine_events events = {.on_done = on_end};
    struct engine_caller caller = {0};
    struct client c = {0};
    struct ask a, b;

    engine(state);
    c.engine = fixture_engine(0);
    c.other = &b;
    ask_init(&a, c.engine, prompt);
    ask_init(&b, c.engine, prompt);
    assert_int_equal(fixture_load(c.engine, fixture_model(), NULL), 0);
    a.params.max_tokens = b.params.max_tokens = 0;
    assert_int_equal(engine_generate(c.engine, fixture_model(), &a.prompt, &a.params, &caller,
                                     &events, &c, NULL, NULL),
                     0);
    ask_begin(&b);
    engine_destroy(c.engine);
    assert_int_equal(c.n_done, 1);
    assert_int_equal(c.refusal, -ECANCELED);
    assert_int_equal(b.n_done, 1);
    ask_finish(&a);
    ask_finish(&b);
}

#define ON_ENGINE(test) cmocka_unit_test_setup_teardown(test, make_engine, drop_engine)

static const struct CMUnitTest tests[] = {
    ON_ENGINE(a_load_tells_what_was_loaded),
    ON_ENGINE(two_who_ask_for_a_load_are_both_told),
    ON_ENGINE(a_load_is_urgent_when_an_interactive_request_waits),
    ON_ENGINE(a_load_is_urgent_while_somebody_listens),
    ON_ENGINE(a_load_is_not_urgent_any_more_when_who_waited_is_gone),
    ON_ENGINE(who_waits_for_a_load_is_told_when_loading_stops),
    ON_ENGINE(unloading_ends_a_load_under_way),
    ON_ENGINE(who_comes_after_a_cancelled_load_has_it_loaded_anew),
    ON_ENGINE(damaged_files_are_refused_and_the_engine_goes_on),
    ON_ENGINE(a_request_for_a_damaged_file_ends_with_its_error),
    ON_ENGINE(unloading_what_is_not_loaded_is_an_error),
    ON_ENGINE(unloading_cancels_what_runs_and_frees_the_model),
    ON_ENGINE(a_request_that_comes_while_unloading_loads_again),
    ON_ENGINE(a_request_can_be_cancelled_while_its_model_loads),
    ON_ENGINE(a_full_queue_says_try_again),
    ON_ENGINE(models_are_found_in_directories_by_name),
    cmocka_unit_test(bad_devices_are_refused),
    ON_ENGINE(destroying_during_a_load_tells_everyone),
    ON_ENGINE(destroying_during_generation_tells_everyone),
    ON_ENGINE(callbacks_may_call_in_while_the_engine_is_destroyed),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
