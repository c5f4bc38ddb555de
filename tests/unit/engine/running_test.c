/* SPDX-License-Identifier: MIT */
/* Requests of a model stepped by hand, so that one can be paused or cancelled at a certain token:
 * what it leaves, what it loses, and that its answer is the same. */
#include "harness.h"

#include "engine/engine_private.h"
#include "engine/running.h"
#include "engine_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_MOST = 128 };

struct stage {
    struct device *dev;
    struct loaded_model *lm;
    struct engine engine; /* no more than what requests need of it */
    struct running_model *model;
    struct running_stats stats;
    struct account account;         /* of who asks */
    struct engine_user_rule limits; /* what that one may have */
};

/* With a cache of four blocks. */
static const struct runner_config config = {
    .context_tokens = 128,
    .cache.tokens = 128,
    .prefix_tokens = 128,
    .pools = {.kind = POOL_KIND_AUTO, .numa_node = -1},
};

static void stage_init(struct stage *s)
{
    struct error err = {0};

    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    memset(s, 0, sizeof(*s));
    s->limits.weight = 1;
    assert_int_equal(event_queue_init(&s->engine.events, NULL), 0);
    if (device_create("cpu:2", &s->dev, &err) < 0 ||
        loaded_model_open(fixture_model(), &s->lm, &err) < 0 ||
        loaded_model_fill(s->lm, &config.pools, NULL, &err) < 0 ||
        running_model_create(NULL, s->lm, s->dev, &s->engine.events, &config, &s->model, &err) < 0)
        fail_msg("%s", err.text);
}

static void stage_finish(struct stage *s)
{
    running_model_destroy(s->model);
    event_queue_finish(&s->engine.events);
    loaded_model_unref(s->lm);
    device_destroy(s->dev);
}

/* A request with a prompt of n tokens, another for each seed. */
static struct engine_request *stage_add(struct stage *s, int32_t seed, uint32_t n,
                                        uint32_t max_tokens)
{
    int32_t ids[PROMPT_MOST];
    struct engine_prompt prompt = {.ids = ids, .n_ids = n};
    struct engine_params params = {
        .max_tokens = max_tokens, .top_logprobs = -1, .ignore_eos = true};
    struct engine_caller caller = {.uid = 1000};
    struct engine_request *r = NULL;
    struct error err = {0};

    for (uint32_t i = 0; i < n; i++)
        ids[i] = (seed + (int32_t)i * 31) % 500;
    engine_sampling_defaults(&params.sampling);
    params.sampling.temperature = 0;
    if (request_create(&s->engine, &prompt, &params, &caller, &(struct engine_events){0}, NULL, &r,
                       &err) < 0)
        fail_msg("%s", err.text);
    r->lm = loaded_model_ref(s->lm);
    r->account = &s->account;
    r->limits = s->limits;
    running_model_add(s->model, r);
    return r;
}

/* Steps until the request has so many tokens of its answer. */
static void stage_run(struct stage *s, const struct engine_request *r, uint32_t n_tokens)
{
    for (int i = 0; r->n_tokens < r->n_prompt + n_tokens; i++) {
        assert_true(i < 1000);
        running_model_step(s->model, &s->stats);
    }
}

static void a_cancelled_request_leaves_what_it_computed(void **state)
{
    struct engine_request *gone, *next;
    struct stage s;

    stage_init(&s);
    gone = stage_add(&s, 7, 75, 0);
    stage_run(&s, gone, 2);
    atomic_store(&gone->is_cancelled, true);
    next = stage_add(&s, 7, 75, 5);
    stage_run(&s, next, 5);
    assert_int_equal(gone->result.finish, ENGINE_FINISH_CANCEL);
    assert_int_equal(next->result.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(next->result.cached_tokens, 64);
    assert_int_equal(kv_cache_n_held(runner_kv(s.model->runner)), 0);
    request_destroy(gone);
    request_destroy(next);
    stage_finish(&s);
}

/* Where the user may hold three blocks: two of its requests, which grow to two blocks each, take
 * turns with them, and one whose prompt alone needs more is refused. */
static void a_users_requests_share_what_it_may_hold_of_the_cache(void **state)
{
    enum { TOKENS = 20, BLOCKS = 3 };
    struct engine_request *list[2], *large;
    struct stage s;

    stage_init(&s);
    s.limits.kv_bytes = runner_kv(s.model->runner)->block_bytes * BLOCKS;
    for (int i = 0; i < 2; i++)
        list[i] = stage_add(&s, 7 + 100 * i, 25, TOKENS);
    large = stage_add(&s, 3, BLOCKS * KV_BLOCK_TOKENS, 1);
    assert_int_equal(large->result.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(large->error.code, -EMSGSIZE);
    for (int i = 0; list[0]->done || list[1]->done; i++) {
        assert_true(i < 1000);
        running_model_step(s.model, &s.stats);
        assert_in_range(kv_cache_n_held(runner_kv(s.model->runner)), 0, BLOCKS);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(list[i]->result.finish, ENGINE_FINISH_LENGTH);
        assert_int_equal(list[i]->result.completion_tokens, TOKENS);
        request_destroy(list[i]);
    }
    request_destroy(large);
    stage_finish(&s);
}

static void an_answer_has_its_room_before_it_begins(void **state)
{
    enum { PROMPT = 40, TOKENS = 60 };
    struct engine_request *r;
    const uint32_t *tokens;
    struct stage s;

    stage_init(&s);
    r = stage_add(&s, 7, PROMPT, TOKENS);
    tokens = r->tokens;
    assert_in_range(r->cap_tokens, PROMPT + TOKENS, PROMPT + TOKENS);
    stage_run(&s, r, TOKENS);
    assert_ptr_equal(r->tokens, tokens);
    request_destroy(r);
    r = stage_add(&s, 7, PROMPT, 0); /* as many as the context has left */
    assert_in_range(r->cap_tokens, 128, 128);
    atomic_store(&r->is_cancelled, true);
    running_model_step(s.model, &s.stats);
    request_destroy(r);
    stage_finish(&s);
}

static void a_request_out_of_time_ends_with_what_it_has(void **state)
{
    struct engine_request *r;
    struct stage s;

    stage_init(&s);
    r = stage_add(&s, 7, 20, 0);
    stage_run(&s, r, 4);
    atomic_store(&r->is_expired, true);
    atomic_store(&r->is_cancelled, true);
    running_model_step(s.model, &s.stats);
    assert_null(r->done);
    assert_int_equal(r->result.finish, ENGINE_FINISH_EXPIRED);
    assert_int_equal(r->result.completion_tokens, 4);
    request_destroy(r);
    stage_finish(&s);
}

/* Who pauses loses its blocks to another, and when it goes on takes back those that are left, but
 * so that the end of its prompt is computed as before. */
static void lose_blocks(uint32_t n_prompt, uint32_t others_prompt, uint32_t others_tokens,
                        uint32_t n_left)
{
    enum { TOKENS = 15 };
    struct engine_request *plain, *paused, *other;
    uint64_t n_computed;
    struct stage s;

    stage_init(&s);
    plain = stage_add(&s, 7, n_prompt, TOKENS);
    stage_run(&s, plain, TOKENS);
    running_model_suspend(s.model); /* which leaves an empty cache */
    assert_int_equal(running_model_resume(s.model, NULL), 0);
    paused = stage_add(&s, 7, n_prompt, TOKENS);
    stage_run(&s, paused, 5);
    atomic_store(&paused->is_paused, true);
    other = stage_add(&s, 300, others_prompt, others_tokens);
    stage_run(&s, other, others_tokens);
    assert_int_equal(other->result.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(paused->session->n_blocks, 0);
    atomic_store(&paused->is_paused, false);
    n_computed = s.stats.prompt_tokens;
    running_model_step(s.model, &s.stats); /* all of its prompt that is not there */
    assert_int_equal(s.stats.prompt_tokens - n_computed, n_prompt - n_left * KV_BLOCK_TOKENS);
    stage_run(&s, paused, TOKENS);
    assert_int_equal(paused->result.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(paused->result.cached_tokens, 0); /* told of the prompt, not of the repair */
    assert_int_equal(s.stats.cached_tokens, 0);
    assert_memory_equal(paused->tokens, plain->tokens, (n_prompt + TOKENS) * sizeof(uint32_t));
    assert_memory_equal(&paused->drawn.logprob, &plain->drawn.logprob, sizeof(float));
    request_destroy(plain);
    request_destroy(paused);
    request_destroy(other);
    stage_finish(&s);
}

static void who_lost_all_blocks_answers_as_if_nothing_had_been(void **state)
{
    lose_blocks(75, 75, 30, 0);
}

static void who_lost_some_blocks_answers_as_if_nothing_had_been(void **state)
{
    lose_blocks(75, 75, 10, 1);
    /* both are left, and a single token of the prompt */
    lose_blocks(65, 40, 10, 2);
}

/* It takes what is shared over, finds no room for the rest, and takes it over again. */
static void who_waits_for_blocks_counts_what_was_cached_once(void **state)
{
    struct engine_request *first, *second;
    struct stage s;

    stage_init(&s);
    first = stage_add(&s, 7, 75, 40);
    stage_run(&s, first, 25); /* all four blocks */
    first->sched.has_yielded = true;
    second = stage_add(&s, 7, 75, 5);
    running_model_step(s.model, &s.stats);
    running_model_step(s.model, &s.stats);
    assert_true(second->sched.is_blocked);
    assert_int_equal(s.stats.cached_tokens, 0);
    stage_run(&s, first, 40);
    stage_run(&s, second, 5);
    assert_int_equal(second->result.cached_tokens, 64);
    assert_int_equal(s.stats.cached_tokens, 64);
    assert_int_equal(s.stats.prompts, 2);
    assert_int_equal(s.stats.cached_prompts, 1);
    request_destroy(first);
    request_destroy(second);
    stage_finish(&s);
}

static void requests_side_by_side_share_steps(void **state)
{
    struct engine_request *list[3];
    struct stage s;

    stage_init(&s);
    for (int i = 0; i < 3; i++)
        list[i] = stage_add(&s, 7 + i, 10, 20);
    for (int i = 0; i < 3; i++) {
        stage_run(&s, list[i], 20);
        assert_int_equal(list[i]->result.finish, ENGINE_FINISH_LENGTH);
    }
    assert_int_equal(s.stats.steps, 20); /* the prompts', which draws a token of each, and 19 */
    for (int i = 0; i < 3; i++)
        request_destroy(list[i]);
    stage_finish(&s);
}

/* ---- models side by side ---- */

/* Two stages whose models share a device, as the worker has them. */
struct house {
    struct stage s[2];
    struct list models;
};

static void house_init(struct house *h)
{
    struct error err = {0};

    stage_init(&h->s[0]);
    h->s[1] = (struct stage){.dev = h->s[0].dev, .lm = h->s[0].lm, .limits.weight = 1};
    assert_int_equal(event_queue_init(&h->s[1].engine.events, NULL), 0);
    if (running_model_create(NULL, h->s[1].lm, h->s[1].dev, &h->s[1].engine.events, &config,
                             &h->s[1].model, &err) < 0)
        fail_msg("%s", err.text);
    list_init(&h->models);
    for (int i = 0; i < 2; i++)
        list_push_back(&h->models, &h->s[i].model->link);
}

static void house_finish(struct house *h)
{
    running_model_destroy(h->s[1].model);
    event_queue_finish(&h->s[1].engine.events);
    stage_finish(&h->s[0]);
}

/* Prompt tokens of a step of the second model. */
static uint64_t prompt_of_step(struct house *h)
{
    uint64_t before = h->s[1].stats.prompt_tokens;

    running_models_compare(&h->models);
    running_model_step(h->s[1].model, &h->s[1].stats);
    return h->s[1].stats.prompt_tokens - before;
}

static void a_prompt_lets_streams_of_other_models_keep_their_pace(void **state)
{
    enum { PROMPT = 75, CHUNK = 16 };
    struct engine_request *stream, *prompt;
    struct house h;

    house_init(&h);
    stream = stage_add(&h.s[0], 7, 20, 0);
    stage_run(&h.s[0], stream, 2);
    prompt = stage_add(&h.s[1], 8, PROMPT, 1);
    h.s[1].model->shared_batch_tokens = CHUNK; /* as it would have learnt of a slow device */
    assert_int_equal(prompt_of_step(&h), CHUNK);
    stream->sched.is_paused = true; /* nobody waits for its next token */
    h.s[1].model->shared_batch_tokens = CHUNK;
    assert_int_equal(prompt_of_step(&h), PROMPT - CHUNK);
    assert_null(prompt->done);
    request_destroy(prompt);
    prompt = stage_add(&h.s[1], 300, PROMPT, 1);
    stream->sched.is_paused = false;
    stream->sched.is_background = true; /* nor does it come while there are prompts */
    h.s[1].model->shared_batch_tokens = CHUNK;
    assert_int_equal(prompt_of_step(&h), PROMPT);
    request_destroy(prompt);
    prompt = stage_add(&h.s[1], 600, PROMPT, 1);
    stream->sched.is_background = false;
    running_model_suspend(h.s[0].model); /* nor can it come */
    h.s[1].model->shared_batch_tokens = CHUNK;
    assert_int_equal(prompt_of_step(&h), PROMPT);
    request_destroy(prompt);
    atomic_store(&stream->is_cancelled, true);
    running_model_sweep(h.s[0].model);
    request_destroy(stream);
    house_finish(&h);
}

/* Of both models the second has background alone. */
static void background_comes_after_other_models_but_not_for_ever(void **state)
{
    struct engine_request *stream, *quiet;
    struct house h;
    unsigned n_passed = 0;

    house_init(&h);
    stream = stage_add(&h.s[0], 7, 20, 0);
    quiet = stage_add(&h.s[1], 8, 20, 0);
    quiet->sched.is_background = true;
    for (; n_passed < 2 * SCHEDULER_AGE; n_passed++) {
        running_models_compare(&h.models);
        assert_false(h.s[0].model->gives_way);
        if (!h.s[1].model->gives_way)
            break;
    }
    assert_in_range(n_passed, SCHEDULER_AGE - 1, SCHEDULER_AGE);
    running_model_step(h.s[1].model, &h.s[1].stats); /* it has waited for long: its turn */
    assert_int_equal(h.s[1].stats.steps, 1);
    running_models_compare(&h.models);
    assert_true(h.s[1].model->gives_way);
    stream->sched.is_paused = true;
    running_models_compare(&h.models);
    assert_false(h.s[1].model->gives_way);
    for (int i = 0; i < 2; i++) {
        struct engine_request *r = i ? quiet : stream;

        atomic_store(&r->is_cancelled, true);
        running_model_sweep(h.s[i].model);
        request_destroy(r);
    }
    house_finish(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_prompt_lets_streams_of_other_models_keep_their_pace),
    cmocka_unit_test(background_comes_after_other_models_but_not_for_ever),
    cmocka_unit_test(requests_side_by_side_share_steps),
    cmocka_unit_test(a_users_requests_share_what_it_may_hold_of_the_cache),
    cmocka_unit_test(a_request_out_of_time_ends_with_what_it_has),
    cmocka_unit_test(an_answer_has_its_room_before_it_begins),
    cmocka_unit_test(a_cancelled_request_leaves_what_it_computed),
    cmocka_unit_test(who_lost_all_blocks_answers_as_if_nothing_had_been),
    cmocka_unit_test(who_lost_some_blocks_answers_as_if_nothing_had_been),
    cmocka_unit_test(who_waits_for_blocks_counts_what_was_cached_once),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
