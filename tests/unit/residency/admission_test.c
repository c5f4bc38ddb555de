/* SPDX-License-Identifier: MIT */
/* Loads that lack memory: who makes room for them, and what they are told when nobody can. */
#include "harness.h"

#include "engine/engine_private.h"
#include "engine_fixture.h"
#include "narrow_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The weights are one large page, so with half of one free a cache alone is no room for a model. */
enum { MODELS = 3, HALF_PAGE = 1 << 20 };

static const char prompt[] = "Once upon a time, there was a little";

/* An engine that finds three models, copies of one. */
struct house {
    struct engine *engine;
    char dir[32], paths[MODELS][64];
    unsigned long long model_bytes; /* what one takes: weights and cache */
};

static const char *const names[MODELS] = {"one", "two", "three"};

static void copy_model(const char *path)
{
    size_t len;
    char *data = harness_read_file(fixture_model(), &len);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
    free(data);
}

static int setup(void **state)
{
    static struct house h;
    const char *dirs[] = {h.dir, NULL};
    struct engine_config config = {
        .device = "cpu:2", .context_tokens = 64, .model_dirs = dirs, .numa_node = -1};
    struct error err = {0};

    *state = NULL;
    if (!fixture_model())
        return 0;
    strcpy(h.dir, "/tmp/hearth-room-XXXXXX");
    assert_non_null(mkdtemp(h.dir));
    for (int i = 0; i < MODELS; i++) {
        snprintf(h.paths[i], sizeof(h.paths[i]), "%s/%s.gguf", h.dir, names[i]);
        copy_model(h.paths[i]);
    }
    narrow_memory_bytes = 0;
    config.kv_bytes = 1; /* one context, no more */
    if (engine_create(&config, &h.engine, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(fixture_load(h.engine, "one", NULL), 0);
    h.model_bytes = narrow_memory_used;
    assert_true(h.model_bytes > 0);
    *state = &h;
    return 0;
}

static int teardown(void **state)
{
    struct house *h = *state;

    if (!h)
        return 0;
    narrow_memory_bytes = 0;
    engine_destroy(h->engine);
    assert_int_equal(narrow_memory_used, 0);
    for (int i = 0; i < MODELS; i++)
        unlink(h->paths[i]);
    rmdir(h->dir);
    return 0;
}

static struct house *house(void **state)
{
    if (!*state)
        SKIP("no model: neither in the tree nor in the shared data");
    return *state;
}

static enum engine_model_state state_of(struct house *h, const char *name)
{
    const struct engine_model_info *info = NULL;

    assert_int_equal(engine_find_model(h->engine, name, &info, NULL), 0);
    return info->state;
}

static void ask(struct house *h, const char *name, struct ask *a)
{
    ask_init(a, h->engine, prompt);
    a->model = name;
    ask_run(a);
}

static void assert_answers(struct house *h, const char *name)
{
    struct ask a;

    ask(h, name, &a);
    if (a.result.finish == ENGINE_FINISH_ERROR)
        fail_msg("%s", a.error.text);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
}

static void who_was_used_longest_ago_makes_room(void **state)
{
    struct house *h = house(state);

    narrow_memory_bytes = 2 * h->model_bytes + HALF_PAGE;
    assert_answers(h, "two");
    assert_answers(h, "one");
    assert_answers(h, "three");
    assert_int_equal(state_of(h, "one"), ENGINE_MODEL_READY);
    assert_int_equal(state_of(h, "two"), ENGINE_MODEL_AVAILABLE);
    assert_answers(h, "two"); /* it comes back when it is asked for */
    assert_int_equal(state_of(h, "one"), ENGINE_MODEL_AVAILABLE);
    assert_true(narrow_memory_used <= narrow_memory_bytes);
}

static void a_pinned_model_makes_room_last(void **state)
{
    struct house *h = house(state);
    const struct engine_model_info *info;

    narrow_memory_bytes = 2 * h->model_bytes + HALF_PAGE;
    assert_int_equal(engine_pin(h->engine, "one", true, NULL), 0);
    assert_answers(h, "two");
    assert_answers(h, "three");
    assert_int_equal(state_of(h, "one"), ENGINE_MODEL_READY);
    assert_int_equal(state_of(h, "two"), ENGINE_MODEL_AVAILABLE);
    assert_int_equal(engine_find_model(h->engine, "one", &info, NULL), 0);
    assert_true(info->is_pinned);
    /* with room for one alone, it goes all the same */
    narrow_memory_bytes = h->model_bytes + HALF_PAGE;
    assert_answers(h, "two");
    assert_int_equal(state_of(h, "one"), ENGINE_MODEL_AVAILABLE);
}

static void a_model_with_a_request_stays_and_the_sum_is_told(void **state)
{
    struct house *h = house(state);
    struct ask busy, refused;
    struct error err = {0};

    narrow_memory_bytes = h->model_bytes + HALF_PAGE;
    ask_init(&busy, h->engine, prompt);
    busy.model = "one";
    ask_begin(&busy);
    engine_pause(busy.request, true);
    ask(h, "two", &refused);
    assert_int_equal(refused.result.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(refused.error.code, -ENOMEM);
    assert_non_null(strstr(refused.error.text, "of memory are needed (weights"));
    assert_non_null(strstr(refused.error.text, "in use: one "));
    assert_ptr_equal(strstr(refused.error.text, "two: "), refused.error.text);
    assert_non_null(strstr(refused.error.text, "(1 request)"));
    assert_int_equal(fixture_load(h->engine, "two", &err), -ENOMEM);
    assert_string_equal(err.text, refused.error.text);
    assert_int_equal(state_of(h, "two"), ENGINE_MODEL_AVAILABLE);
    engine_pause(busy.request, false);
    ask_wait(&busy);
    assert_int_equal(busy.result.finish, ENGINE_FINISH_LENGTH);
    assert_answers(h, "two");
    ask_finish(&busy);
    ask_finish(&refused);
}

static void several_make_room_for_a_large_one(void **state)
{
    struct house *h = house(state);

    assert_answers(h, "two");
    assert_int_equal(truncate(h->paths[2], (off_t)h->model_bytes + 2 * HALF_PAGE), 0);
    narrow_memory_bytes = 2 * h->model_bytes + HALF_PAGE;
    assert_answers(h, "three");
    assert_int_equal(state_of(h, "one"), ENGINE_MODEL_AVAILABLE);
    assert_int_equal(state_of(h, "two"), ENGINE_MODEL_AVAILABLE);
}

/* Half of what is missing is a cache's: its model leaves the device and stays in memory. */
static void a_cache_makes_room_where_that_is_enough(void **state)
{
    struct house *h = house(state);

    narrow_memory_bytes = h->model_bytes + 2 * HALF_PAGE;
    assert_answers(h, "two");
    assert_int_equal(state_of(h, "one"), ENGINE_MODEL_READY);
    assert_answers(h, "two");
}

/* Memory for two: loads that come together must not both be promised the same. */
static void loads_that_come_together_are_counted_together(void **state)
{
    struct house *h = house(state);
    struct load_wait waits[MODELS] = {{0}};
    int n_done = 0, n_refused = 0;

    assert_int_equal(engine_unload(h->engine, "one", NULL), 0);
    while (state_of(h, "one") != ENGINE_MODEL_AVAILABLE)
        fixture_idle(h->engine, 1);
    narrow_memory_bytes = 2 * h->model_bytes + HALF_PAGE;
    narrow_memory_is_held = true;
    for (int i = 0; i < MODELS; i++)
        assert_int_equal(
            engine_load(h->engine, names[i], &fixture_load_events, &waits[i], NULL, NULL), 0);
    /* none has its memory yet, and still one is told that there is none left */
    for (int i = 0; i < 30000 && !n_done; i++) {
        fixture_idle(h->engine, 1);
        for (int k = 0; k < MODELS; k++)
            n_done += waits[k].is_done;
    }
    narrow_memory_is_held = false;
    assert_int_equal(n_done, 1);
    for (int i = 0; i < MODELS; i++) {
        fixture_wait(h->engine, &waits[i].is_done);
        n_refused += waits[i].error.code == -ENOMEM;
    }
    assert_int_equal(n_refused, 1);
}

/* What one under way has read is taken already, though nobody was told of it since. */
static void a_load_that_just_fits_beside_one_under_way_is_admitted(void **state)
{
    enum { MORE = 32 << 20 };
    struct house *h = house(state);
    struct load_wait waits[2] = {{0}};
    struct model_entry *entry;
    struct stat st;

    assert_int_equal(engine_unload(h->engine, "one", NULL), 0);
    while (state_of(h, "one") != ENGINE_MODEL_AVAILABLE)
        fixture_idle(h->engine, 1);
    narrow_memory_bytes = 2 * (h->model_bytes + MORE) + HALF_PAGE;
    narrow_memory_seals_wait = true;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stat(h->paths[i + 1], &st), 0);
        assert_int_equal(truncate(h->paths[i + 1], st.st_size + MORE), 0);
        assert_int_equal(
            engine_load(h->engine, names[i + 1], &fixture_load_events, &waits[i], NULL, NULL), 0);
        assert_int_equal(catalogue_find(&h->engine->catalogue, names[i + 1], &entry, NULL), 0);
        while (!waits[i].is_done && (!entry->admitted.host ||
                                     atomic_load(&entry->lm->filled_bytes) < entry->lm->file_bytes))
            fixture_idle(h->engine, 1);
    }
    narrow_memory_seals_wait = false;
    for (int i = 0; i < 2; i++) {
        fixture_wait(h->engine, &waits[i].is_done);
        assert_string_equal(waits[i].error.text, "");
    }
}

static void unloading_ends_a_load_that_waits_for_room(void **state)
{
    struct house *h = house(state);
    struct load_wait wait = {0};
    int r;

    narrow_memory_bytes = h->model_bytes + HALF_PAGE;
    assert_int_equal(engine_load(h->engine, "two", &fixture_load_events, &wait, NULL, NULL), 0);
    r = engine_unload(h->engine, "two", NULL);
    assert_int_equal(r, 0);
    fixture_wait(h->engine, &wait.is_done);
    assert_int_equal(wait.error.code, -ECANCELED);
    assert_int_equal(state_of(h, "one"), ENGINE_MODEL_READY);
    assert_int_equal(state_of(h, "two"), ENGINE_MODEL_AVAILABLE);
    assert_answers(h, "one");
}

#define IN_HOUSE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    IN_HOUSE(who_was_used_longest_ago_makes_room),
    IN_HOUSE(a_pinned_model_makes_room_last),
    IN_HOUSE(a_model_with_a_request_stays_and_the_sum_is_told),
    IN_HOUSE(several_make_room_for_a_large_one),
    IN_HOUSE(a_cache_makes_room_where_that_is_enough),
    IN_HOUSE(loads_that_come_together_are_counted_together),
    IN_HOUSE(a_load_that_just_fits_beside_one_under_way_is_admitted),
    IN_HOUSE(unloading_ends_a_load_that_waits_for_room),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
