/* SPDX-License-Identifier: MIT */
/* Prompts seen before: what a later session takes over, that its results are the same, and that
 * nothing of it reaches another user or stands in a running request's way. */
#include "harness.h"

#include "engine/runner.h"
#include "engine_fixture.h"
#include "manager.h"
#include "runner_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ALICE = 1000, BOB = 1001 };

/* ---- sessions stepped by hand ---- */

static void init(struct bench *b, uint64_t cache_tokens)
{
    bench_init(b, (struct runner_config){.cache.tokens = cache_tokens,
                                         .prefix_tokens = cache_tokens,
                                         .batch_tokens = 128});
}

/* Feeds the first n tokens of the prompt as far as they are not there; *ret is what is sampled. */
static int feed(struct bench *b, struct session *s, uint32_t n, struct sample_result *ret)
{
    static const struct step_sample greedy = {.top_p = 1.0f, .repeat_penalty = 1.0f, .n_top = 5};
    struct run_item it = {s, b->prompt + s->n_past, n - s->n_past, &greedy, ret};

    memset(ret, 0, sizeof(*ret));
    return runner_step(b->runner, &it, 1, NULL);
}

/* A session that has computed the first n tokens and shared what it could. */
static struct session *prefilled(struct bench *b, uid_t uid, uint32_t n, struct sample_result *ret)
{
    struct session *s = bench_session(b);

    session_take_prefix(s, uid, b->prompt, n);
    assert_int_equal(feed(b, s, n, ret), 0);
    session_share_prefix(s, uid, s->n_past);
    return s;
}

static uint32_t n_held(const struct bench *b)
{
    return kv_cache_n_held(runner_kv(b->runner));
}

static void a_prompt_seen_before_gives_the_same_result_to_the_bit(void **state)
{
    static const uint32_t lengths[] = {75, 68, 67, 66, 65, 36, 35, 34};
    struct sample_result first, again;
    struct session *s;
    struct bench b;

    init(&b, 512);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uid_t uid = ALICE + (uid_t)i;
        session_destroy(prefilled(&b, uid, lengths[i], &first));
        s = bench_session(&b);
        assert_int_equal(session_take_prefix(s, uid, b.prompt, lengths[i]),
                         (lengths[i] - 2) / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS);
        assert_memory_equal(s->history, b.prompt, s->n_history * sizeof(uint32_t));
        assert_int_equal(feed(&b, s, lengths[i], &again), 0);
        assert_memory_equal(&again, &first, sizeof(first));
        session_destroy(s);
    }
    bench_finish(&b);
}

static void two_tokens_are_left_to_compute(void **state)
{
    struct sample_result ret;
    struct session *s;
    struct bench b;

    init(&b, 256);
    session_destroy(prefilled(&b, ALICE, PROMPT_TOKENS, &ret));
    s = bench_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 66), 64);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 65), 32);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 64), 32);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 33), 0);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 1), 0);
    assert_int_equal(s->n_blocks, 0);
    assert_int_equal(n_held(&b), 0);
    session_destroy(s);
    bench_finish(&b);
}

/* Where steps are queued ahead, positions count before the device has filled them. */
static void only_what_the_device_is_done_with_is_shared(void **state)
{
    struct sample_result ret;
    struct session *s;
    struct bench b;

    init(&b, 256);
    s = bench_session(&b);
    assert_int_equal(feed(&b, s, PROMPT_TOKENS, &ret), 0);
    session_share_prefix(s, ALICE, 31);
    assert_int_equal(s->n_shared, 0);
    session_share_prefix(s, ALICE, 63);
    assert_int_equal(s->n_shared, 1);
    session_share_prefix(s, ALICE, 64);
    assert_int_equal(s->n_shared, 2);
    session_destroy(s);
    bench_finish(&b);
}

static void prompts_share_as_far_as_they_are_equal(void **state)
{
    struct sample_result ret;
    struct session *s;
    struct bench b;

    init(&b, 256);
    session_destroy(prefilled(&b, ALICE, PROMPT_TOKENS, &ret));
    b.prompt[40] ^= 1;
    s = bench_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, PROMPT_TOKENS), 32);
    b.prompt[31] ^= 1;
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, PROMPT_TOKENS), 0);
    session_destroy(s);
    bench_finish(&b);
}

static void sessions_of_another_user_take_nothing_over(void **state)
{
    struct sample_result alices, bobs;
    struct session *s;
    struct bench b;

    init(&b, 256);
    session_destroy(prefilled(&b, ALICE, PROMPT_TOKENS, &alices));
    s = bench_session(&b);
    assert_int_equal(session_take_prefix(s, BOB, b.prompt, PROMPT_TOKENS), 0);
    session_destroy(s);
    session_destroy(prefilled(&b, BOB, PROMPT_TOKENS, &bobs)); /* nor is one entered for both */
    assert_memory_equal(&alices, &bobs, sizeof(bobs));
    assert_int_equal(prefix_cache_n_entered(runner_kv(b.runner)->prefixes), 4);
    bench_finish(&b);
}

/* A session of that user, of whose prompt the first n_common tokens are everybody's, computed. */
static struct session *prefilled_common(struct bench *b, uid_t uid, uint32_t n_common)
{
    struct sample_result ret;
    struct session *s = bench_session(b);

    session_set_common(s, n_common);
    session_take_prefix(s, uid, b->prompt, PROMPT_TOKENS);
    assert_int_equal(feed(b, s, PROMPT_TOKENS, &ret), 0);
    session_share_prefix(s, uid, s->n_past);
    return s;
}

static uint32_t takes(struct bench *b, uid_t uid, uint32_t n_common)
{
    struct session *s = bench_session(b);
    uint32_t n;

    session_set_common(s, n_common);
    n = session_take_prefix(s, uid, b->prompt, PROMPT_TOKENS);
    session_destroy(s);
    return n;
}

static void what_is_common_serves_every_user_and_nothing_else_does(void **state)
{
    struct bench b;

    init(&b, 256);
    session_destroy(prefilled_common(&b, ALICE, 63)); /* the second block is not whole */
    assert_int_equal(takes(&b, ALICE, 63), 64);
    assert_int_equal(takes(&b, BOB, 63), 32);
    assert_int_equal(takes(&b, BOB, 0), 0); /* who does not ask for what is common */
    assert_int_equal(takes(&b, BOB, 64), 32);
    b.prompt[5] ^= 1;
    assert_int_equal(takes(&b, BOB, 63), 0);
    b.prompt[5] ^= 1;
    /* Bob's own goes on from what is common, in a block that was there */
    session_destroy(prefilled_common(&b, BOB, 63));
    assert_int_equal(prefix_cache_n_entered(runner_kv(b.runner)->prefixes), 3);
    assert_int_equal(takes(&b, BOB, 63), 64);
    bench_finish(&b);
}

static void a_user_whose_number_stands_for_everybody_shares_nothing_of_its_own(void **state)
{
    struct bench b;

    init(&b, 256);
    session_destroy(prefilled_common(&b, PREFIX_COMMON, 0));
    assert_int_equal(prefix_cache_n_entered(runner_kv(b.runner)->prefixes), 0);
    session_destroy(prefilled_common(&b, PREFIX_COMMON, 40));
    assert_int_equal(prefix_cache_n_entered(runner_kv(b.runner)->prefixes), 1);
    assert_int_equal(takes(&b, ALICE, 40), 32);
    assert_int_equal(takes(&b, PREFIX_COMMON, 40), 32);
    assert_int_equal(takes(&b, PREFIX_COMMON, 0), 0);
    bench_finish(&b);
}

static void a_shared_block_is_never_written(void **state)
{
    struct sample_result first, other, again;
    struct session *writer, *s;
    struct bench b;

    init(&b, 256);
    writer = prefilled(&b, ALICE, PROMPT_TOKENS, &first);
    session_truncate(writer, 40); /* within the second block: it goes whole */
    assert_int_equal(writer->n_past, 32);
    assert_int_equal(writer->n_history, 32);
    assert_int_equal(writer->n_blocks, 1);
    for (uint32_t i = 32; i < PROMPT_TOKENS; i++)
        b.prompt[i] ^= 3;
    assert_int_equal(feed(&b, writer, PROMPT_TOKENS, &other), 0);
    session_share_prefix(writer, ALICE, PROMPT_TOKENS);
    for (uint32_t i = 32; i < PROMPT_TOKENS; i++)
        b.prompt[i] ^= 3;
    s = bench_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, PROMPT_TOKENS), 64);
    assert_int_equal(feed(&b, s, PROMPT_TOKENS, &again), 0);
    assert_memory_equal(&again, &first, sizeof(first));
    session_destroy(s);
    session_destroy(writer);
    bench_finish(&b);
}

static void what_two_sessions_compute_at_once_is_kept_once(void **state)
{
    struct sample_result one, two;
    struct session *first, *second;
    struct bench b;

    init(&b, 256);
    first = bench_session(&b);
    second = bench_session(&b);
    assert_int_equal(feed(&b, first, PROMPT_TOKENS, &one), 0);
    assert_int_equal(feed(&b, second, PROMPT_TOKENS, &two), 0);
    assert_int_equal(n_held(&b), 6);
    session_share_prefix(first, ALICE, PROMPT_TOKENS);
    session_share_prefix(second, ALICE, PROMPT_TOKENS);
    assert_int_equal(n_held(&b), 4);
    assert_memory_equal(first->table.blocks, second->table.blocks, 2 * sizeof(uint32_t));
    assert_int_not_equal(first->table.blocks[2], second->table.blocks[2]);
    session_destroy(first);
    assert_int_equal(n_held(&b), 3);
    session_destroy(second);
    assert_int_equal(n_held(&b), 0);
    bench_finish(&b);
}

static void prefixes_give_way_to_who_needs_the_room(void **state)
{
    struct sample_result ret;
    struct session *s;
    struct bench b;

    init(&b, 128); /* four blocks, of which the prompt leaves two shared */
    session_destroy(prefilled(&b, ALICE, PROMPT_TOKENS, &ret));
    s = bench_session(&b);
    assert_int_equal(session_reserve(s, 3 * KV_BLOCK_TOKENS), 0);
    session_destroy(s);
    s = bench_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, PROMPT_TOKENS), 32);
    session_truncate(s, 0);
    assert_int_equal(session_reserve(s, 4 * KV_BLOCK_TOKENS), 0);
    session_truncate(s, 0);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, PROMPT_TOKENS), 0);
    session_destroy(s);
    assert_int_equal(runner_kv(b.runner)->n_free, 4);
    bench_finish(&b);
}

/* A failed step leaves reserved blocks with its session; they are not lost under those taken. */
static void reserved_blocks_make_room_for_taken_ones(void **state)
{
    struct sample_result ret;
    struct session *s;
    struct bench b;

    init(&b, 256);
    session_destroy(prefilled(&b, ALICE, PROMPT_TOKENS, &ret));
    s = bench_session(&b);
    assert_int_equal(session_reserve(s, PROMPT_TOKENS), 0);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, PROMPT_TOKENS), 64);
    assert_int_equal(n_held(&b), 2);
    session_destroy(s);
    assert_int_equal(n_held(&b), 0);
    bench_finish(&b);
}

/* ---- over a restart ---- */

/* A process whose caches are kept: model and runner over memfds. */
static void kept_bench_init(struct bench *b, struct manager *manager)
{
    bench_init_in(
        b, (struct runner_config){.cache.tokens = 256, .prefix_tokens = 256},
        (struct pool_config){.kind = POOL_KIND_MEMFD, .numa_node = -1, .keeper = &manager->keeper});
}

static void kept_bench_finish(struct bench *b, bool is_left)
{
    if (is_left)
        loaded_model_leave(b->lm);
    bench_finish(b);
}

static void a_prompt_computed_by_a_killed_process_is_not_computed_again(void **state)
{
    struct sample_result want, got;
    struct manager manager;
    struct session *s;
    struct bench b;
    pid_t child;
    int status;

    init(&b, 256); /* computes it with nobody's help */
    session_destroy(prefilled(&b, BOB, PROMPT_TOKENS, &want));
    bench_finish(&b);
    manager_init(&manager);
    kept_bench_init(&b, &manager); /* leaves an empty cache to the child */
    kept_bench_finish(&b, true);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        kept_bench_init(&b, &manager);
        prefilled(&b, ALICE, PROMPT_TOKENS, &got);
        kill(getpid(), SIGKILL); /* with a session that holds its blocks */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    kept_bench_init(&b, &manager);
    assert_int_equal(runner_kv(b.runner)->n_found, 2);
    assert_int_equal(n_held(&b), 0);
    s = bench_session(&b);
    assert_int_equal(session_take_prefix(s, BOB, b.prompt, PROMPT_TOKENS), 0);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, PROMPT_TOKENS), 64);
    assert_int_equal(feed(&b, s, PROMPT_TOKENS, &got), 0);
    assert_memory_equal(&got, &want, sizeof(want));
    session_destroy(s);
    kept_bench_finish(&b, false); /* unloaded, not left: then it is gone */
    kept_bench_init(&b, &manager);
    assert_int_equal(runner_kv(b.runner)->n_found, 0);
    kept_bench_finish(&b, false);
    manager_finish(&manager);
}

/* ---- requests ---- */

static int32_t prompt_ids[PROMPT_TOKENS];

static void fill_prompt(int32_t ids[PROMPT_TOKENS], int32_t first, int32_t stride)
{
    for (int i = 0; i < PROMPT_TOKENS; i++)
        ids[i] = (first + i * stride) % 500;
}

/* An engine, made on first use: prefixes may take this share of its cache. */
static struct engine *engine(void **state, uint32_t context_tokens, uint32_t prefix_percent)
{
    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    if (!*state)
        *state = fixture_engine_sharing(context_tokens, prefix_percent);
    fill_prompt(prompt_ids, 7, 31);
    return *state;
}

static int drop_engine(void **state)
{
    engine_destroy(*state);
    *state = NULL;
    return 0;
}

static void question(struct ask *a, struct engine *e, const int32_t *ids, size_t n)
{
    ask_init(a, e, NULL);
    a->prompt = (struct engine_prompt){.ids = ids, .n_ids = n};
    a->params.top_logprobs = 3;
}

static void assert_same_answer(const struct ask *a, const struct ask *b)
{
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, a->n_ids * sizeof(a->ids[0]));
    assert_memory_equal(a->logprobs, b->logprobs, a->n_ids * sizeof(a->logprobs[0]));
}

/* The figures of the model once no request holds a block: they follow the answers. */
static const struct engine_model_info *idle_model(struct engine *e)
{
    const struct engine_model_info *info = NULL;
    bool is_idle = false;

    for (int i = 0; i < 1000 && !is_idle; i++) {
        fixture_idle(e, 5);
        assert_int_equal(engine_find_model(e, fixture_model(), &info, NULL), 0);
        is_idle = !info->kv_used_bytes;
    }
    assert_true(is_idle);
    return info;
}

static void a_question_asked_again_is_answered_alike_and_says_what_was_cached(void **state)
{
    struct engine *e = engine(state, 256, 100);
    const struct engine_model_info *info;
    struct engine_stats stats;
    struct ask first, again, bobs;

    question(&first, e, prompt_ids, PROMPT_TOKENS);
    question(&again, e, prompt_ids, PROMPT_TOKENS);
    question(&bobs, e, prompt_ids, PROMPT_TOKENS);
    bobs.uid = BOB;
    ask_run(&first);
    assert_int_equal(first.result.cached_tokens, 0);
    ask_run(&again);
    assert_int_equal(again.result.cached_tokens, 64);
    assert_int_equal(again.result.prompt_tokens, PROMPT_TOKENS);
    assert_same_answer(&again, &first);
    ask_run(&bobs);
    assert_int_equal(bobs.result.cached_tokens, 0);
    assert_same_answer(&bobs, &first);
    engine_get_stats(e, &stats);
    assert_int_equal(stats.cached_tokens_total, 64);
    assert_int_equal(stats.prompt_tokens_total, 3 * PROMPT_TOKENS - 64);
    info = idle_model(e);
    assert_int_equal(info->prefix_bytes, info->kv_bytes / 8 * 4); /* two blocks each, of eight */
    ask_finish(&first);
    ask_finish(&again);
    ask_finish(&bobs);
}

static void a_conversation_goes_on_from_its_last_answer(void **state)
{
    struct engine *e = engine(state, 256, 100);
    int32_t ids[PROMPT_TOKENS + 40];
    struct ask first, next;

    question(&first, e, prompt_ids, PROMPT_TOKENS);
    first.params.max_tokens = 30;
    ask_run(&first);
    memcpy(ids, prompt_ids, sizeof(prompt_ids));
    memcpy(ids + PROMPT_TOKENS, first.ids, 30 * sizeof(ids[0]));
    memcpy(ids + PROMPT_TOKENS + 30, prompt_ids, 10 * sizeof(ids[0]));
    question(&next, e, ids, PROMPT_TOKENS + 40);
    ask_run(&next);
    assert_int_equal(next.result.cached_tokens, 96); /* 75 of the prompt and 21 of the answer */
    ask_finish(&first);
    ask_finish(&next);
}

static void prefixes_can_be_turned_off(void **state)
{
    struct engine *e = engine(state, 256, 0);
    struct ask a;

    for (int i = 0; i < 2; i++) {
        question(&a, e, prompt_ids, PROMPT_TOKENS);
        ask_run(&a);
        assert_int_equal(a.result.cached_tokens, 0);
        ask_finish(&a);
    }
    assert_int_equal(idle_model(e)->prefix_bytes, 0);
}

static void prefixes_take_no_more_than_their_share(void **state)
{
    struct engine *e = engine(state, 256, 25); /* two blocks of eight */
    const struct engine_model_info *info;
    struct ask a;

    for (int i = 0; i < 3; i++) {
        question(&a, e, prompt_ids, PROMPT_TOKENS);
        a.uid = ALICE + (uid_t)i;
        ask_run(&a);
        ask_finish(&a);
    }
    info = idle_model(e);
    assert_int_equal(info->prefix_bytes, info->kv_bytes / 4);
    question(&a, e, prompt_ids, PROMPT_TOKENS);
    a.uid = ALICE + 2; /* the last one's are those that are left */
    ask_run(&a);
    assert_int_equal(a.result.cached_tokens, 64);
    ask_finish(&a);
}

/* An engine, and the next ones, which find in memfds what those before left. Skips where none are
 * chosen. */
static void engine_init_kept(void **state, struct manager *manager)
{
    /* hugetlb: so that memfds are chosen wherever large pages are to be had */
    struct engine_config config = {
        .device = "cpu:2",
        .context_tokens = 256,
        .kv_bytes = 1,
        .prefix_percent = 100,
        .use_hugetlb = true,
        .numa_node = -1,
        .keeper = &manager->keeper,
    };

    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    engine_destroy(*state);
    *state = NULL;
    assert_int_equal(engine_create(&config, (struct engine **)state, NULL), 0);
}

/* The question of that user, by its end; of the prompt so many tokens were there already. */
static uint32_t ask_cached(void **state, uid_t uid, struct ask *a)
{
    question(a, *state, prompt_ids, PROMPT_TOKENS);
    a->uid = uid;
    ask_run(a);
    return a->result.cached_tokens;
}

static void an_engine_finds_what_the_one_before_it_left(void **state)
{
    const struct engine_model_info *info;
    struct manager manager;
    struct ask first, again;
    uint64_t left_bytes;

    fill_prompt(prompt_ids, 7, 31);
    manager_init(&manager);
    engine_init_kept(state, &manager);
    assert_int_equal(ask_cached(state, ALICE, &first), 0);
    info = idle_model(*state);
    assert_int_equal(info->prefix_found_bytes, 0);
    if (!info->is_cache_kept) {
        manager_finish(&manager);
        SKIP("no memfds are chosen here");
    }
    left_bytes = info->prefix_bytes;
    engine_init_kept(state, &manager);
    assert_int_equal(ask_cached(state, ALICE, &again), 64);
    assert_same_answer(&again, &first);
    assert_int_equal(idle_model(*state)->prefix_found_bytes, left_bytes);
    ask_finish(&first);
    ask_finish(&again);
    engine_destroy(*state);
    *state = NULL;
    manager_finish(&manager);
}

static void what_a_user_wants_forgotten_is_not_found_in_what_was_left(void **state)
{
    struct manager manager;
    struct ask asks[4];

    fill_prompt(prompt_ids, 7, 31);
    manager_init(&manager);
    engine_init_kept(state, &manager);
    ask_cached(state, ALICE, &asks[0]);
    ask_cached(state, BOB, &asks[1]);
    if (!idle_model(*state)->is_cache_kept) {
        manager_finish(&manager);
        SKIP("no memfds are chosen here");
    }
    /* processes that end before the model is there again, or see it asked for more than once */
    for (int i = 0; i < 2; i++) {
        engine_init_kept(state, &manager);
        for (int n = 0; n <= i; n++)
            assert_int_equal(engine_forget(*state, ALICE, NULL, NULL, NULL, NULL), 0);
    }
    engine_init_kept(state, &manager);
    assert_int_equal(ask_cached(state, ALICE, &asks[2]), 0);
    assert_int_equal(ask_cached(state, BOB, &asks[3]), 64);
    for (int i = 0; i < 4; i++)
        ask_finish(&asks[i]);
    engine_destroy(*state);
    *state = NULL;
    manager_finish(&manager);
}

static void on_forgotten(void *user, const struct engine_forgotten *what)
{
    *(struct engine_forgotten *)user = *what;
}

static uint64_t forget(struct engine *e, uid_t uid)
{
    struct engine_forgotten what = {.memory_bytes = UINT64_MAX};

    assert_int_equal(engine_forget(e, uid, on_forgotten, &what, NULL, NULL), 0);
    for (int i = 0; i < 30000 && what.memory_bytes == UINT64_MAX; i++)
        fixture_idle(e, 1);
    assert_true(what.is_disk_known);
    assert_int_equal(what.disk_bytes, 0);
    return what.memory_bytes;
}

static void who_has_something_forgotten_is_told_how_much_it_was(void **state)
{
    struct manager manager;
    struct ask asks[2];
    uint64_t own_bytes;
    bool is_kept;

    fill_prompt(prompt_ids, 7, 31);
    manager_init(&manager);
    engine_init_kept(state, &manager);
    ask_cached(state, ALICE, &asks[0]);
    own_bytes = idle_model(*state)->prefix_bytes;
    ask_cached(state, BOB, &asks[1]);
    is_kept = idle_model(*state)->is_cache_kept;
    assert_true(own_bytes > 0);
    assert_int_equal(forget(*state, ALICE), own_bytes);
    assert_int_equal(forget(*state, ALICE), 0);
    assert_int_equal(idle_model(*state)->prefix_bytes, own_bytes);
    engine_init_kept(state, &manager); /* of a model that is not loaded */
    assert_int_equal(forget(*state, BOB) > 0, is_kept);
    assert_int_equal(forget(*state, BOB), 0);
    for (int i = 0; i < 2; i++)
        ask_finish(&asks[i]);
    engine_destroy(*state);
    *state = NULL;
    manager_finish(&manager);
}

/* So that what one request leaves need not go when the next is long. */
static void a_cache_holds_several_contexts_unless_told_otherwise(void **state)
{
    struct engine_config config = {.device = "cpu:1", .context_tokens = 64, .numa_node = -1};
    const struct engine_model_info *info = NULL;
    uint64_t bytes[3] = {0};

    for (int i = 0; i < 3; i++) {
        config.kv_bytes = (uint64_t[]){0, 1, bytes[0] / 2}[i];
        if (!fixture_model())
            SKIP("no model: neither in the tree nor in the shared data");
        assert_int_equal(engine_create(&config, (struct engine **)state, NULL), 0);
        assert_int_equal(fixture_load(*state, fixture_model(), NULL), 0);
        assert_int_equal(engine_find_model(*state, fixture_model(), &info, NULL), 0);
        bytes[i] = info->kv_bytes;
        engine_destroy(*state);
        *state = NULL;
    }
    assert_int_equal(bytes[0], 4 * bytes[1]);
    assert_int_equal(bytes[2], 2 * bytes[1]);
}

#define ON_ENGINE(test) cmocka_unit_test_teardown(test, drop_engine)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_prompt_seen_before_gives_the_same_result_to_the_bit),
    cmocka_unit_test(two_tokens_are_left_to_compute),
    cmocka_unit_test(only_what_the_device_is_done_with_is_shared),
    cmocka_unit_test(prompts_share_as_far_as_they_are_equal),
    cmocka_unit_test(sessions_of_another_user_take_nothing_over),
    cmocka_unit_test(what_is_common_serves_every_user_and_nothing_else_does),
    cmocka_unit_test(a_user_whose_number_stands_for_everybody_shares_nothing_of_its_own),
    cmocka_unit_test(a_shared_block_is_never_written),
    cmocka_unit_test(what_two_sessions_compute_at_once_is_kept_once),
    cmocka_unit_test(prefixes_give_way_to_who_needs_the_room),
    cmocka_unit_test(reserved_blocks_make_room_for_taken_ones),
    cmocka_unit_test(a_prompt_computed_by_a_killed_process_is_not_computed_again),
    ON_ENGINE(a_question_asked_again_is_answered_alike_and_says_what_was_cached),
    ON_ENGINE(a_conversation_goes_on_from_its_last_answer),
    ON_ENGINE(prefixes_can_be_turned_off),
    ON_ENGINE(prefixes_take_no_more_than_their_share),
    ON_ENGINE(an_engine_finds_what_the_one_before_it_left),
    ON_ENGINE(what_a_user_wants_forgotten_is_not_found_in_what_was_left),
    ON_ENGINE(who_has_something_forgotten_is_told_how_much_it_was),
    cmocka_unit_test(a_cache_holds_several_contexts_unless_told_otherwise),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
