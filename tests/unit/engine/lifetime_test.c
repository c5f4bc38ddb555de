/* SPDX-License-Identifier: MIT */
/*
 * Requests, loads and models that end in unusual orders: callbacks that call the engine again, an
 * engine destroyed in every state, models that go while they are used, a cache too small for all.
 */
#include "harness.h"

#include "base/clock.h"
#include "engine/catalogue.h"
#include "engine/engine.h"

#include <errno.h>
#include <limits.h>
#include <numa.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MOST = 4096, WAIT_S = 240 };

/* One request and what came of it. */
struct answer {
    struct engine *engine;
    struct engine_request *request; /* NULL once it is done */
    struct answer *sibling;         /* meddled with from inside callbacks */
    char text[TEXT_MOST];
    size_t text_len;
    unsigned n_tokens, n_done;
    bool pauses_at_first, meddles;
    enum engine_finish finish;
    int error_code;
    uint32_t prompt_tokens, completion_tokens;
    int generate_code; /* what engine_generate said from inside on_done */
};

static char directory[] = "/tmp/hearth-lifetime-XXXXXX";
static char damaged[64]; /* a file that is no model */

static void on_token(void *user, const struct engine_token *token)
{
    struct answer *a = user;

    assert_true(a->text_len + token->text_len < TEXT_MOST);
    memcpy(a->text + a->text_len, token->text, token->text_len);
    a->text_len += token->text_len;
    a->text[a->text_len] = 0;
    a->n_tokens += token->id >= 0;
    if (a->pauses_at_first && a->n_tokens == 1)
        engine_pause(a->request, true);
}

static const struct engine_events events;

/* The device may have finished before anyone could pause it. */
static void set_paused(struct answer *a, bool is_paused)
{
    if (a->request)
        engine_pause(a->request, is_paused);
}

static int ask(struct engine *e, const char *model, uint32_t max_tokens, struct answer *a)
{
    static const int32_t prompt[] = {1, 403, 407, 261, 378};
    static const struct engine_caller caller = {.uid = 1, .pid = 1};
    struct engine_params params = {
        .max_tokens = max_tokens, .top_logprobs = -1, .ignore_eos = true};

    engine_sampling_defaults(&params.sampling);
    params.sampling.temperature = 0;
    a->engine = e;
    return engine_generate(e, model, &(struct engine_prompt){.ids = prompt, .n_ids = 5}, &params,
                           &caller, &events, a, &a->request, NULL);
}

/* Everything a server might do while it is told that an answer is over. */
static void meddle(struct answer *a)
{
    const struct engine_model_info *list;
    struct engine_stats stats;
    struct answer another = {0};
    size_t n;

    engine_get_stats(a->engine, &stats);
    assert_int_equal(engine_models(a->engine, &list, &n), 0);
    engine_unload(a->engine, damaged, NULL);
    if (a->sibling && a->sibling->request) {
        engine_pause(a->sibling->request, true);
        engine_cancel(a->sibling->request, false);
    }
    a->generate_code = ask(a->engine, "there-is-none", 1, &another);
}

static void on_done(void *user, const struct engine_result *result)
{
    struct answer *a = user;

    a->n_done++;
    a->request = NULL;
    a->finish = result->finish;
    a->error_code = result->error ? result->error->code : 0;
    a->prompt_tokens = result->prompt_tokens;
    a->completion_tokens = result->completion_tokens;
    if (a->meddles)
        meddle(a);
}

static const struct engine_events events = {.on_token = on_token, .on_done = on_done};

static struct engine *start(uint32_t context_tokens)
{
    static const char *const none[] = {NULL};
    struct engine_config config = {
        .device = "cpu:1", .model_dirs = none, .context_tokens = context_tokens, .numa_node = -1};
    struct engine *e;

    assert_int_equal(engine_create(&config, &e, NULL), 0);
    return e;
}

/* Dispatches until *counter reaches n. */
static void wait_for(struct engine *e, const unsigned *counter, unsigned n)
{
    uint64_t until_ns = clock_now_ns() + WAIT_S * 1000000000ull;

    while (*counter < n) {
        struct pollfd p = {.fd = engine_event_fd(e), .events = POLLIN};
        assert_true(clock_now_ns() < until_ns);
        poll(&p, 1, 1000);
        engine_dispatch(e);
    }
}

static const char *small_model(void)
{
    static char path[PATH_MAX];
    const char *found = harness_shared("data/weights/stories260K/stories260K-F32.gguf");

    return found ? realpath(found, path) : NULL;
}

#define NEED_MODEL(name)                                                                           \
    const char *name = small_model();                                                              \
    if (!name)                                                                                     \
    SKIP("the shared test data with stories260K is not there")

/* ---- callbacks that come back ---- */

static void callback_of_a_failed_request_may_list_models(void **state)
{
    struct engine *e = start(64);
    struct answer a = {.meddles = true};

    assert_int_equal(ask(e, damaged, 4, &a), 0);
    wait_for(e, &a.n_done, 1);
    assert_int_equal(a.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(a.generate_code, -ENOENT);
    engine_destroy(e);
    assert_int_equal(a.n_done, 1);
}

struct load {
    struct engine *engine;
    unsigned n_done;
    int code;
};

static void on_loaded(void *user, const struct error *err)
{
    struct load *l = user;
    const struct engine_model_info *list;
    size_t n;

    l->n_done++;
    l->code = err->code;
    assert_int_equal(engine_models(l->engine, &list, &n), 0);
}

static const struct engine_load_events load_events = {.on_done = on_loaded};

static void callback_of_a_failed_load_may_list_models(void **state)
{
    struct engine *e = start(64);
    struct load l = {.engine = e};

    assert_int_equal(engine_load(e, damaged, &load_events, &l, NULL, NULL), 0);
    wait_for(e, &l.n_done, 1);
    assert_true(l.code < 0);
    engine_destroy(e);
}

static void callbacks_of_destroy_may_call_anything(void **state)
{
    struct engine *e = start(64);
    struct answer a = {.meddles = true}, b = {.meddles = true, .sibling = &a};
    struct load l = {.engine = e};

    a.sibling = &b;
    assert_int_equal(ask(e, damaged, 4, &a), 0);
    assert_int_equal(ask(e, damaged, 4, &b), 0);
    assert_int_equal(engine_load(e, damaged, &load_events, &l, NULL, NULL), 0);
    engine_destroy(e);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(b.n_done, 1);
    assert_int_equal(a.finish, ENGINE_FINISH_CANCEL);
    assert_int_equal(a.generate_code, -ECANCELED);
    assert_int_equal(l.n_done, 1);
    assert_int_equal(l.code, -ECANCELED);
}

static void destroy_ends_running_paused_and_queued_requests(void **state)
{
    NEED_MODEL(model);
    struct engine *e = start(64);
    struct answer a = {.pauses_at_first = true, .meddles = true}, b = {.meddles = true},
                  c = {.meddles = true, .sibling = &a};

    assert_int_equal(ask(e, model, 50, &a), 0);
    wait_for(e, &a.n_tokens, 1);
    assert_int_equal(ask(e, model, 50, &b), 0);
    wait_for(e, &b.n_tokens, 1);
    assert_int_equal(ask(e, model, 50, &c), 0);
    engine_destroy(e);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(b.n_done, 1);
    assert_int_equal(c.n_done, 1);
}

/* ---- what is told ---- */

static void cancelled_before_it_ran_it_has_no_answer(void **state)
{
    struct engine *e = start(64);
    struct answer a = {0};

    assert_int_equal(ask(e, damaged, 4, &a), 0);
    engine_cancel(a.request, false);
    engine_cancel(a.request, false);
    wait_for(e, &a.n_done, 1);
    assert_int_equal(a.finish, ENGINE_FINISH_CANCEL);
    assert_int_equal(a.prompt_tokens, 5);
    assert_int_equal(a.completion_tokens, 0);
    engine_destroy(e);
    assert_int_equal(a.n_done, 1);
}

static void forgotten_request_is_silent(void **state)
{
    struct engine *e = start(64);
    struct answer a = {0}, b = {0};

    assert_int_equal(ask(e, damaged, 4, &a), 0);
    assert_int_equal(ask(e, damaged, 4, &b), 0);
    engine_cancel(a.request, true);
    wait_for(e, &b.n_done, 1);
    engine_destroy(e);
    assert_int_equal(a.n_done, 0);
}

/* ---- a cache that is too small for all ---- */

/* A paused request's blocks go to the one that runs, whoever else queues behind it; the paused one
 * is computed again later and answers as if nothing had been. */
static void full_cache_takes_from_the_paused(void **state)
{
    NEED_MODEL(model);
    struct engine *e = start(64); /* and a cache of the same 64 positions */
    struct answer alone = {0}, a = {.pauses_at_first = true}, b = {0}, c = {0};

    assert_int_equal(ask(e, model, 40, &alone), 0);
    wait_for(e, &alone.n_done, 1);
    assert_int_equal(alone.completion_tokens, 40);

    assert_int_equal(ask(e, model, 40, &a), 0);
    wait_for(e, &a.n_tokens, 1);
    assert_int_equal(ask(e, model, 50, &b), 0);
    assert_int_equal(ask(e, model, 50, &c), 0);
    wait_for(e, &c.n_done, 1);
    assert_int_equal(b.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(b.completion_tokens, 50);
    assert_int_equal(c.finish, ENGINE_FINISH_LENGTH);
    set_paused(&a, false);
    wait_for(e, &a.n_done, 1);
    assert_int_equal(a.finish, ENGINE_FINISH_LENGTH);
    assert_string_equal(a.text, alone.text);
    engine_destroy(e);
}

/* Two that pause in turn: neither may wait for blocks that a paused one keeps. */
static void paused_request_starves_nobody(void **state)
{
    NEED_MODEL(model);
    struct engine *e = start(64);
    struct answer a = {.pauses_at_first = true}, b = {0};

    assert_int_equal(ask(e, model, 50, &a), 0);
    wait_for(e, &a.n_tokens, 1);
    assert_int_equal(ask(e, model, 55, &b), 0);
    wait_for(e, &b.n_tokens, 35); /* more than one block, so a's was taken */
    set_paused(&b, true);
    set_paused(&a, false);
    wait_for(e, &a.n_done, 1);
    assert_int_equal(a.completion_tokens, 50);
    set_paused(&b, false);
    wait_for(e, &b.n_done, 1);
    assert_int_equal(b.completion_tokens, 55);
    engine_destroy(e);
}

/* ---- models that go ---- */

static void unloaded_while_it_runs_and_asked_for_again(void **state)
{
    NEED_MODEL(model);
    struct engine *e = start(64);
    struct answer a = {.pauses_at_first = true}, b = {0};

    assert_int_equal(ask(e, model, 50, &a), 0);
    wait_for(e, &a.n_tokens, 1);
    assert_int_equal(engine_unload(e, model, NULL), 0);
    assert_int_equal(engine_unload(e, model, NULL), 0);
    assert_int_equal(ask(e, model, 5, &b), 0); /* waits until it is gone, then loads it again */
    wait_for(e, &b.n_done, 1);
    assert_int_equal(a.finish, ENGINE_FINISH_CANCEL);
    assert_int_equal(b.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(engine_unload(e, model, NULL), 0);
    engine_destroy(e);
}

static void one_file_by_two_names_is_one_model(void **state)
{
    static const char *dirs[] = {directory, NULL};
    struct engine_config config = {.device = "cpu:1", .model_dirs = dirs, .numa_node = -1};
    const struct engine_model_info *info;
    struct engine *e;
    char link[128], resolved[4096];

    snprintf(link, sizeof(link), "%s/by-link.gguf", directory);
    unlink(link);
    assert_int_equal(symlink("damaged.bin", link), 0);
    assert_int_equal(engine_create(&config, &e, NULL), 0);
    assert_non_null(realpath(link, resolved));
    assert_int_equal(engine_find_model(e, resolved, &info, NULL), 0);
    assert_string_equal(info->name, "by-link");
    engine_destroy(e);
    unlink(link);
}

/* Asking for paths one after the other must not pile up entries. */
static void asking_for_paths_leaves_one_entry(void **state)
{
    struct catalogue c;
    struct model_entry *entry;
    char path[128];
    unsigned n = 0;

    assert_int_equal(catalogue_init(&c, NULL, NULL), 0);
    for (int i = 0; i < 3; i++) {
        FILE *f;
        snprintf(path, sizeof(path), "%s/%d.bin", directory, i);
        f = fopen(path, "w");
        assert_non_null(f);
        fclose(f);
        assert_int_equal(catalogue_find(&c, path, &entry, NULL), 0);
        assert_string_equal(entry->path, path);
    }
    list_for_each (it, &c.entries, struct model_entry, link)
        n++;
    assert_int_equal(n, 1);
    catalogue_finish(&c);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%d.bin", directory, i);
        unlink(path);
    }
}

static void a_node_that_is_not_there_is_told(void **state)
{
    const struct engine_config config = {.device = "cpu", .numa_node = 1023};
    struct engine *e = NULL;
    struct error err = {0};

    if (numa_available() < 0)
        SKIP("this kernel knows no NUMA nodes");
    assert_int_equal(engine_create(&config, &e, &err), -EINVAL);
    assert_null(e);
    assert_non_null(strstr(err.text, "numa-node 1023: this machine has no such node"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(callback_of_a_failed_request_may_list_models),
    cmocka_unit_test(callback_of_a_failed_load_may_list_models),
    cmocka_unit_test(callbacks_of_destroy_may_call_anything),
    cmocka_unit_test(destroy_ends_running_paused_and_queued_requests),
    cmocka_unit_test(cancelled_before_it_ran_it_has_no_answer),
    cmocka_unit_test(forgotten_request_is_silent),
    cmocka_unit_test(full_cache_takes_from_the_paused),
    cmocka_unit_test(paused_request_starves_nobody),
    cmocka_unit_test(unloaded_while_it_runs_and_asked_for_again),
    cmocka_unit_test(one_file_by_two_names_is_one_model),
    cmocka_unit_test(asking_for_paths_leaves_one_entry),
    cmocka_unit_test(a_node_that_is_not_there_is_told),
};

int main(int argc, char **argv)
{
    FILE *f;
    int r;

    if (!mkdtemp(directory))
        return 1;
    snprintf(damaged, sizeof(damaged), "%s/damaged.bin", directory);
    f = fopen(damaged, "w");
    if (!f || fputs("this is no model", f) < 0 || fclose(f))
        return 1;
    r = TEST_MAIN(argc, argv, tests);
    unlink(damaged);
    rmdir(directory);
    return r;
}
