/* SPDX-License-Identifier: MIT */
/* What an earlier process left in memory is taken up at the start: with a stand-in for the kernel
 * module, which keeps pools from one engine to the next. */
#include "harness.h"

#include "engine/engine_private.h"
#include "engine_fixture.h"
#include "fake_hearth.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prompt[] = "Once upon a time, there was a little";
static const char *const names[] = {"a", "b"};

/* A directory with two models, and the engines that come and go on it. */
struct house {
    char dir[32];
    char paths[2][64];
    struct engine *engine;
};

static void come(struct house *h)
{
    const char *dirs[] = {h->dir, NULL};
    struct engine_config config = {.device = "cpu:2",
                                   .model_dirs = dirs,
                                   .context_tokens = 128,
                                   .kv_bytes = 4 << 20,
                                   .prefix_percent = 100,
                                   .numa_node = -1};

    h->engine = fixture_engine_with(&config);
}

static void house_init(struct house *h)
{
    fake_hearth_reset();
    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    strcpy(h->dir, "/tmp/hearth-house-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    for (int i = 0; i < 2; i++) {
        char copy[64];

        fixture_copy_model(copy);
        snprintf(h->paths[i], sizeof(h->paths[i]), "%s/%s.gguf", h->dir, names[i]);
        assert_int_equal(rename(copy, h->paths[i]), 0);
    }
    come(h);
}

static void house_finish(struct house *h)
{
    engine_destroy(h->engine);
    for (int i = 0; i < 2; i++)
        unlink(h->paths[i]);
    rmdir(h->dir);
    fake_hearth_reset();
}

static void load(struct house *h, const char *name)
{
    struct error err = {0};

    if (fixture_load(h->engine, name, &err) < 0)
        fail_msg("%s", err.text);
}

/* Another process comes, which does not adopt yet. */
static void restart(struct house *h)
{
    engine_destroy(h->engine);
    come(h);
}

static void wait_adopted(struct house *h)
{
    const struct adoption *a = &h->engine->adoption;

    for (int i = 0; i < 6000 && a->models; i++)
        fixture_idle(h->engine, 10);
    assert_null(a->models);
}

/* The files were looked at, and the engine has not heard of it yet. */
static void wait_found(struct house *h)
{
    struct pollfd p = {.fd = engine_event_fd(h->engine), .events = POLLIN};

    assert_int_equal(poll(&p, 1, 60000), 1);
}

static void adopt(struct house *h)
{
    assert_int_equal(engine_adopt(h->engine, NULL), 0);
    wait_adopted(h);
}

static enum engine_model_state state_of(struct house *h, const char *name)
{
    return fixture_info(h->engine, name)->state;
}

static uint64_t last_used_ns(struct house *h, const char *name)
{
    struct model_entry *entry;

    assert_int_equal(catalogue_find(&h->engine->catalogue, name, &entry, NULL), 0);
    return entry->last_used_ns;
}

static void unload(struct house *h, const char *name)
{
    assert_int_equal(engine_unload(h->engine, name, NULL), 0);
    while (state_of(h, name) != ENGINE_MODEL_AVAILABLE)
        fixture_idle(h->engine, 1);
}

static void assert_whole_unread(struct house *h, const char *name)
{
    const struct engine_model_info *info = fixture_info(h->engine, name);

    assert_int_equal(info->state, ENGINE_MODEL_READY);
    assert_int_equal(info->resident_bytes, info->file_bytes);
    assert_string_equal(info->read_note, "resident, nothing read");
}

static void resident_models_are_ready_before_anybody_asks(void **state)
{
    struct house h;
    struct ask a;

    house_init(&h);
    load(&h, "a");
    load(&h, "b");
    restart(&h);
    assert_int_equal(state_of(&h, "a"), ENGINE_MODEL_AVAILABLE);
    adopt(&h);
    assert_whole_unread(&h, "a");
    assert_whole_unread(&h, "b");
    ask_init(&a, h.engine, prompt);
    a.model = "b";
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
    house_finish(&h);
}

static void what_is_not_resident_is_not_loaded(void **state)
{
    struct house h;

    house_init(&h);
    load(&h, "b");
    restart(&h);
    adopt(&h);
    assert_int_equal(state_of(&h, "a"), ENGINE_MODEL_AVAILABLE);
    assert_whole_unread(&h, "b");
    house_finish(&h);
}

static void a_file_of_a_size_that_is_not_there_is_not_even_opened(void **state)
{
    int watch = inotify_init1(IN_NONBLOCK);
    char event[512];
    struct house h;

    house_init(&h);
    assert_int_equal(truncate(h.paths[1], 64 << 20), 0);
    load(&h, "a");
    restart(&h);
    assert_true(inotify_add_watch(watch, h.paths[1], IN_OPEN) >= 0);
    adopt(&h);
    assert_whole_unread(&h, "a");
    assert_int_equal(read(watch, event, sizeof(event)), -1);
    close(watch);
    house_finish(&h);
}

static void a_file_that_changed_is_not_taken_up_and_its_pool_stays_idle(void **state)
{
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    unsigned n_pools;
    struct house h;

    house_init(&h);
    load(&h, "a");
    restart(&h);
    n_pools = fake_hearth_n_pools();
    assert_int_equal(utimensat(AT_FDCWD, h.paths[0], times, 0), 0);
    adopt(&h);
    assert_int_equal(state_of(&h, "a"), ENGINE_MODEL_AVAILABLE);
    assert_int_equal(fake_hearth_n_pools(), n_pools);
    assert_int_equal(fake_hearth_evict_idle(), n_pools);
    house_finish(&h);
}

/* The one used last makes room last, among those taken up and among all. */
static void the_order_of_last_use_is_kept(void **state)
{
    struct house h;

    house_init(&h);
    load(&h, "b");
    load(&h, "a");
    unload(&h, "a");
    restart(&h); /* b was in use to the end */
    adopt(&h);
    assert_true(last_used_ns(&h, "b") > last_used_ns(&h, "a"));
    restart(&h);
    load(&h, "a");
    adopt(&h);
    assert_true(last_used_ns(&h, "a") > last_used_ns(&h, "b"));
    house_finish(&h);
}

/* What a process leaves that dies when it has the memory and not yet all of the file. */
static void leave_half(const char *path)
{
    struct hearth_create request = {.size_bytes = POOL_LARGE_PAGE_BYTES,
                                    .flags = HEARTH_CREATE_KEYED | HEARTH_CREATE_IDLE_ON_CLOSE};
    int device = open("/dev/hearth", O_RDWR), pool;
    struct pool_key key;
    struct gguf *g;

    assert_int_equal(gguf_open(path, &g, NULL), 0);
    assert_int_equal(pool_key_of_file(gguf_file(g, 0)->fd, gguf_file(g, 0)->header,
                                      gguf_file(g, 0)->header_bytes, &key, NULL),
                     0);
    gguf_close(g);
    for (size_t i = 0; i < HEARTH_KEY_BYTES; i++) {
        char digits[3] = {key.hex[2 * i], key.hex[2 * i + 1], 0};
        request.key[i] = (__u8)strtoul(digits, NULL, 16);
    }
    pool = ioctl(device, HEARTH_CREATE, &request);
    assert_true(pool >= 0);
    close(pool);
    close(device);
}

static void half_a_model_is_freed_at_the_start(void **state)
{
    struct house h;

    house_init(&h);
    leave_half(h.paths[0]);
    assert_int_equal(fake_hearth_n_pools(), 1);
    adopt(&h);
    assert_int_equal(fake_hearth_n_pools(), 0);
    assert_int_equal(state_of(&h, "a"), ENGINE_MODEL_AVAILABLE);
    house_finish(&h);
}

static void half_a_model_that_another_process_fills_is_left_alone(void **state)
{
    struct house h;

    house_init(&h);
    leave_half(h.paths[0]);
    fake_hearth.n_others = 1;
    adopt(&h);
    assert_int_equal(fake_hearth_n_pools(), 1);
    house_finish(&h);
}

static void what_does_not_fit_waits_until_it_is_asked_for(void **state)
{
    struct house h;

    house_init(&h);
    load(&h, "a");
    engine_destroy(h.engine);
    fake_hearth.limit_bytes = 0; /* the weights are there, a cache could not be had */
    come(&h);
    adopt(&h);
    assert_int_equal(state_of(&h, "a"), ENGINE_MODEL_AVAILABLE);
    fake_hearth.limit_bytes = (uint64_t)64 << 30;
    load(&h, "a");
    assert_whole_unread(&h, "a");
    house_finish(&h);
}

static void nobody_makes_room_for_what_is_taken_up(void **state)
{
    struct house h;

    house_init(&h);
    load(&h, "a");
    restart(&h);
    load(&h, "b");
    fake_hearth.limit_bytes = 0;
    adopt(&h);
    assert_int_equal(state_of(&h, "a"), ENGINE_MODEL_AVAILABLE);
    assert_int_equal(state_of(&h, "b"), ENGINE_MODEL_READY);
    assert_false(fixture_info(h.engine, "b")->is_idle);
    house_finish(&h);
}

static void requests_that_come_meanwhile_are_answered(void **state)
{
    struct house h;

    house_init(&h);
    load(&h, "a");
    load(&h, "b");
    for (int i = 0; i < 4; i++) {
        struct ask a;

        restart(&h);
        assert_int_equal(engine_adopt(h.engine, NULL), 0);
        if (i >= 2) { /* what was found is not there any more when it is opened */
            wait_found(&h);
            assert_true(fake_hearth_evict_idle() > 0);
        }
        ask_init(&a, h.engine, prompt);
        a.model = names[i % 2];
        ask_run(&a);
        assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
        ask_finish(&a);
        wait_adopted(&h);
    }
    house_finish(&h);
}

static void what_was_taken_back_meanwhile_is_not_read(void **state)
{
    struct house h;

    house_init(&h);
    load(&h, "a");
    restart(&h);
    assert_int_equal(engine_adopt(h.engine, NULL), 0);
    wait_found(&h);
    assert_true(fake_hearth_evict_idle() > 0);
    wait_adopted(&h);
    assert_int_equal(state_of(&h, "a"), ENGINE_MODEL_AVAILABLE);
    assert_int_equal(fake_hearth_n_pools(), 0);
    house_finish(&h);
}

static void a_file_of_two_names_is_taken_up_once(void **state)
{
    struct house h;

    house_init(&h);
    unlink(h.paths[1]);
    assert_int_equal(link(h.paths[0], h.paths[1]), 0);
    load(&h, "a");
    restart(&h);
    adopt(&h);
    assert_int_equal(
        (state_of(&h, "a") == ENGINE_MODEL_READY) + (state_of(&h, "b") == ENGINE_MODEL_READY), 1);
    house_finish(&h);
}

static void an_engine_that_ends_meanwhile_leaves_all_as_it_was(void **state)
{
    unsigned n_pools;
    struct house h;

    house_init(&h);
    load(&h, "a");
    load(&h, "b");
    restart(&h);
    n_pools = fake_hearth_n_pools();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(engine_adopt(h.engine, NULL), 0);
        fixture_idle(h.engine, i);
        restart(&h);
    }
    assert_int_equal(fake_hearth_n_pools(), n_pools);
    adopt(&h);
    assert_whole_unread(&h, "a");
    assert_whole_unread(&h, "b");
    house_finish(&h);
}

/* How much of a prompt of two blocks was there already when this user asked. */
static uint32_t cached_tokens(struct house *h, uid_t uid)
{
    uint32_t n;
    struct ask a;

    ask_init(&a, h->engine,
             "Once upon a time, there was a little girl named Lily. She loved to play outside in "
             "the park with her friends, and one day she saw a big tree with a red bird on it.");
    a.model = "a";
    a.uid = uid;
    ask_run(&a);
    n = a.result.cached_tokens;
    ask_finish(&a);
    return n;
}

/* The module keeps caches of models that left, which nothing that runs knows of. */
static void what_a_user_wants_forgotten_is_not_found_in_caches_of_models_that_left(void **state)
{
    enum { ALICE = 1000, BOB = 1001 };
    struct house h;

    house_init(&h);
    for (int has_restarted = 0; has_restarted <= 1; has_restarted++) {
        load(&h, "a");
        cached_tokens(&h, ALICE);
        cached_tokens(&h, BOB);
        for (int forgets = 0; forgets <= 1; forgets++) {
            if (has_restarted)
                restart(&h);
            else
                unload(&h, "a");
            if (forgets)
                assert_int_equal(engine_forget(h.engine, ALICE, NULL, NULL, NULL, NULL), 0);
            load(&h, "a");
            assert_int_equal(cached_tokens(&h, BOB) > 0, true);
            assert_int_equal(cached_tokens(&h, ALICE) > 0, !forgets);
        }
        /* what it says from then on is kept as ever */
        assert_int_equal(cached_tokens(&h, ALICE) > 0, true);
        if (!has_restarted) {
            unload(&h, "a");
            load(&h, "a");
            assert_int_equal(cached_tokens(&h, ALICE) > 0, true);
        }
    }
    house_finish(&h);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(resident_models_are_ready_before_anybody_asks),
        cmocka_unit_test(what_is_not_resident_is_not_loaded),
        cmocka_unit_test(a_file_of_a_size_that_is_not_there_is_not_even_opened),
        cmocka_unit_test(a_file_that_changed_is_not_taken_up_and_its_pool_stays_idle),
        cmocka_unit_test(the_order_of_last_use_is_kept),
        cmocka_unit_test(half_a_model_is_freed_at_the_start),
        cmocka_unit_test(half_a_model_that_another_process_fills_is_left_alone),
        cmocka_unit_test(what_does_not_fit_waits_until_it_is_asked_for),
        cmocka_unit_test(nobody_makes_room_for_what_is_taken_up),
        cmocka_unit_test(requests_that_come_meanwhile_are_answered),
        cmocka_unit_test(what_was_taken_back_meanwhile_is_not_read),
        cmocka_unit_test(a_file_of_two_names_is_taken_up_once),
        cmocka_unit_test(an_engine_that_ends_meanwhile_leaves_all_as_it_was),
        cmocka_unit_test(what_a_user_wants_forgotten_is_not_found_in_caches_of_models_that_left),
    };

    return TEST_MAIN(argc, argv, tests);
}
