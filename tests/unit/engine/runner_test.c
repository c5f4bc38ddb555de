/* SPDX-License-Identifier: MIT */
/* A loaded model stepped by hand: cuts of a prompt, limits, and what a failed step leaves. */
#include "harness.h"

#include "engine/runner_private.h"
#include "runner_fixture.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void init(struct bench *b, uint32_t batch_tokens, uint64_t cache_tokens)
{
    bench_init(b, (struct runner_config){
                      .cache.tokens = cache_tokens, .batch_tokens = batch_tokens, .max_seqs = 3});
}

static const struct step_sample greedy = {.top_p = 1.0f, .repeat_penalty = 1.0f, .n_top = 5};

/* Feeds the prompt in pieces of n; *ret is what is sampled at its end. */
static void prefill(struct bench *b, struct session *s, uint32_t n, struct sample_result *ret)
{
    for (uint32_t at = 0; at < PROMPT_TOKENS; at += n) {
        struct run_item it = {
            .session = s, .tokens = b->prompt + at, .n_tokens = n, .is_prompt = true};
        struct error err = {0};
        if (at + n >= PROMPT_TOKENS) {
            it.n_tokens = PROMPT_TOKENS - at;
            it.sample = &greedy;
            it.ret_result = ret;
        }
        if (runner_step(b->runner, &it, 1, &err) < 0)
            fail_msg("%s", err.text);
    }
    assert_int_equal(s->n_past, PROMPT_TOKENS);
    assert_int_equal(s->n_history, PROMPT_TOKENS + 1);
    assert_int_equal(s->history[PROMPT_TOKENS], ret->token);
}

/* Kernels for many rows may add in another order than those for one. In a model of 8-bit weights,
 * whose activations are rounded to 8 bits too, a last bit can grow to a step of that rounding: a
 * few hundredths between any two sets of kernels. */
#define LOGPROB_NOISE 0.15f

static void assert_same_result(const struct sample_result *a, const struct sample_result *b)
{
    assert_int_equal(a->token, b->token);
    assert_int_equal(a->n_top, b->n_top);
    for (uint32_t i = 0; i < a->n_top; i++)
        if (!(fabsf(a->top_logprob[i] - b->top_logprob[i]) < LOGPROB_NOISE))
            fail_msg("logprob %u: %g and %g", i, (double)a->top_logprob[i],
                     (double)b->top_logprob[i]);
}

static void prompts_may_be_cut_anywhere(void **state)
{
    static const uint32_t cuts[] = {75, 74, 64, 37, 33, 32, 16, 5, 1};
    struct sample_result whole, cut;
    struct bench b;

    init(&b, 128, 256);
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct session *s = bench_session(&b);
        prefill(&b, s, cuts[i], i ? &cut : &whole);
        if (i) /* by the same kernels: not a bit differs */
            assert_memory_equal(&cut, &whole, sizeof(cut));
        session_destroy(s);
    }
    bench_finish(&b);
}

/* The last row of a prompt, cut off by itself, comes out as it does within the whole. */
static void a_single_token_of_a_prompt_is_computed_like_the_rest(void **state)
{
    struct sample_result whole, cut;
    struct session *s;
    struct bench b;

    init(&b, 128, 256);
    s = bench_session(&b);
    prefill(&b, s, PROMPT_TOKENS, &whole);
    session_truncate(s, 0);
    for (uint32_t at = 0; at < PROMPT_TOKENS;) {
        bool is_last = at > 0;
        struct run_item it = {
            .session = s,
            .tokens = b.prompt + at,
            .n_tokens = is_last ? 1 : PROMPT_TOKENS - 1,
            .sample = is_last ? &greedy : NULL,
            .ret_result = &cut,
            .is_prompt = true,
        };

        memset(&cut, 0, sizeof(cut));
        assert_int_equal(runner_step(b.runner, &it, 1, NULL), 0);
        at += it.n_tokens;
    }
    assert_int_equal(cut.token, whole.token);
    assert_memory_equal(cut.top_logprob, whole.top_logprob, whole.n_top * sizeof(float));
    session_destroy(s);
    bench_finish(&b);
}

static void logits_are_those_that_are_sampled_from(void **state)
{
    struct sample_result sampled;
    struct session *s, *again;
    struct bench b;
    uint32_t n_vocab, best = 0;
    float *logits, *row;
    double sum = 0;

    init(&b, 128, 256);
    n_vocab = b.lm->model->dims.dim[DIM_VOCAB];
    logits = calloc((size_t)PROMPT_TOKENS * n_vocab, sizeof(float));
    s = bench_session(&b);
    again = bench_session(&b);
    prefill(&b, s, PROMPT_TOKENS, &sampled);
    assert_int_equal(runner_logits(b.runner, again, b.prompt, PROMPT_TOKENS, logits, NULL), 0);
    row = logits + (size_t)(PROMPT_TOKENS - 1) * n_vocab;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (row[i] > row[best])
            best = i;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)row[i] - (double)row[best]);
    assert_int_equal(best, sampled.token);
    assert_true(fabs(-log(sum) - (double)sampled.logprob) < 1e-3);
    session_destroy(s);
    session_destroy(again);
    free(logits);
    bench_finish(&b);
}

static void sessions_step_together_as_they_do_alone(void **state)
{
    struct sample_result alone, together[3], next_alone, next[3];
    struct session *lone, *s[3];
    struct run_item items[3];
    struct bench b;

    init(&b, 256, 512);
    lone = bench_session(&b);
    prefill(&b, lone, PROMPT_TOKENS, &alone);
    items[0] = (struct run_item){lone, &alone.token, 1, &greedy, &next_alone};
    assert_int_equal(runner_step(b.runner, items, 1, NULL), 0);
    for (uint32_t i = 0; i < 3; i++) {
        s[i] = bench_session(&b);
        items[i] = (struct run_item){s[i], b.prompt, PROMPT_TOKENS, &greedy, &together[i]};
    }
    assert_int_equal(runner_step(b.runner, items, 3, NULL), 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_same_result(&together[i], &alone);
        items[i] = (struct run_item){s[i], &together[i].token, 1, &greedy, &next[i]};
    }
    assert_int_equal(runner_step(b.runner, items, 3, NULL), 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_same_result(&next[i], &next_alone);
        session_destroy(s[i]);
    }
    session_destroy(lone);
    bench_finish(&b);
}

/* By which a device judges how long it will take. */
static void a_step_tells_how_far_back_its_rows_see(void **state)
{
    struct session *s[2];
    struct sample_result result, next[2];
    struct run_item items[2];
    struct bench b;

    init(&b, 128, 256);
    for (int i = 0; i < 2; i++)
        s[i] = bench_session(&b);
    prefill(&b, s[0], 64, &result);
    assert_int_equal(b.runner->last_plan->step.header->n_positions, PROMPT_TOKENS);
    items[0] = (struct run_item){s[0], &result.token, 1, &greedy, &next[0]};
    items[1] = (struct run_item){s[1], b.prompt, 5, &greedy, &next[1]};
    assert_int_equal(runner_step(b.runner, items, 2, NULL), 0);
    assert_int_equal(b.runner->last_plan->step.header->n_positions, PROMPT_TOKENS + 1);
    for (int i = 0; i < 2; i++)
        session_destroy(s[i]);
    bench_finish(&b);
}

static void a_session_can_be_taken_back(void **state)
{
    struct sample_result first, second;
    struct session *s;
    struct run_item it;
    struct bench b;

    init(&b, 128, 256);
    s = bench_session(&b);
    prefill(&b, s, PROMPT_TOKENS, &first);
    session_truncate(s, 40);
    it = (struct run_item){s, b.prompt + 40, PROMPT_TOKENS - 40, &greedy, &second};
    assert_int_equal(runner_step(b.runner, &it, 1, NULL), 0);
    assert_same_result(&first, &second);
    session_destroy(s);
    bench_finish(&b);
}

/* Greedy or drawn with a seed, penalties over what was said: n tokens after the prompt. */
static void generate(struct bench *b, bool is_ahead, float temperature, uint32_t *ret, uint32_t n)
{
    struct sample_result results[RUNNER_STEPS];
    struct step_sample sample = {.temperature = temperature,
                                 .top_p = 1.0f,
                                 .repeat_penalty = 1.3f,
                                 .n_history = 20,
                                 .seed_low = 7};
    struct session *s = bench_session(b);
    uint32_t n_got = 0;

    for (uint32_t i = 0; i < n || runner_steps_under_way(b->runner);) {
        uint32_t n_most = i == n ? 0 : is_ahead ? RUNNER_STEPS - 1 : 0;
        struct run_item it = {s, is_ahead ? NULL : ret + n_got - 1, 1, &sample,
                              &results[i % RUNNER_STEPS]};

        if (runner_steps_under_way(b->runner) > n_most) {
            assert_int_equal(runner_finish(b->runner, NULL), 0);
            ret[n_got] = results[n_got % RUNNER_STEPS].token;
            n_got++;
            continue;
        }
        if (!i)
            it.tokens = b->prompt, it.n_tokens = PROMPT_TOKENS;
        sample.draw = i++;
        assert_int_equal(runner_submit(b->runner, &it, 1, NULL), 0);
    }
    assert_int_equal(n_got, n);
    assert_memory_equal(s->history + PROMPT_TOKENS, ret, n * sizeof(*ret));
    session_destroy(s);
}

static void steps_queued_ahead_draw_the_same_tokens(void **state)
{
    enum { N = 40 };
    uint32_t waited[N], ahead[N];
    struct bench b;

    init(&b, 128, 256);
    for (int i = 0; i < 2; i++) {
        generate(&b, false, i ? 0.8f : 0, waited, N);
        generate(&b, true, i ? 0.8f : 0, ahead, N);
        assert_memory_equal(waited, ahead, sizeof(ahead));
    }
    assert_int_not_equal(waited[3], waited[N - 3]); /* not one token for ever */
    bench_finish(&b);
}

static void no_more_steps_are_queued_than_have_room(void **state)
{
    struct sample_result result;
    struct error err = {0};
    float logits[1];
    struct session *s;
    struct run_item it;
    struct bench b;

    init(&b, 128, 256);
    s = bench_session(&b);
    it = (struct run_item){.session = s, .n_tokens = 1};
    assert_int_equal(runner_submit(b.runner, &it, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no token was drawn"));
    for (uint32_t i = 0; i < RUNNER_STEPS; i++) {
        it = (struct run_item){.session = s, .tokens = b.prompt + i, .n_tokens = 1};
        assert_int_equal(runner_submit(b.runner, &it, 1, NULL), 0);
        assert_int_equal(runner_steps_under_way(b.runner), i + 1);
    }
    assert_int_equal(runner_submit(b.runner, &it, 1, NULL), -EBUSY);
    assert_int_equal(runner_step(b.runner, &it, 1, NULL), -EBUSY);
    assert_int_equal(runner_logits(b.runner, s, b.prompt, 1, logits, NULL), -EBUSY);
    assert_int_equal(s->n_past, RUNNER_STEPS);
    for (uint32_t i = 0; i < RUNNER_STEPS; i++)
        assert_int_equal(runner_finish(b.runner, NULL), 0);
    assert_int_equal(runner_steps_under_way(b.runner), 0);
    it = (struct run_item){s, b.prompt, 1, &greedy, &result};
    assert_int_equal(runner_submit(b.runner, &it, 1, NULL), 0);
    session_destroy(bench_session(&b)); /* another's end is no matter */
    assert_int_equal(runner_finish(b.runner, NULL), 0);
    session_destroy(s);
    bench_finish(&b);
}

static void steps_beyond_a_limit_are_refused(void **state)
{
    uint32_t many[200] = {0}, strange = 1u << 30;
    struct run_item items[4];
    struct error err = {0};
    struct session *s;
    struct bench b;

    init(&b, 64, 256);
    s = bench_session(&b);
    items[0] = (struct run_item){.session = s, .tokens = many, .n_tokens = 0};
    assert_int_equal(runner_step(b.runner, items, 1, &err), -EINVAL);
    items[0].n_tokens = 129;
    assert_int_equal(runner_step(b.runner, items, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "context of 128"));
    items[0].n_tokens = 65;
    assert_int_equal(runner_step(b.runner, items, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "limit of 64"));
    items[0] = (struct run_item){.session = s, .tokens = &strange, .n_tokens = 1};
    assert_int_equal(runner_step(b.runner, items, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "1073741824"));
    for (int i = 0; i < 4; i++) /* more sessions than the three of a step */
        items[i] = (struct run_item){.session = s, .tokens = many, .n_tokens = 1};
    assert_int_equal(runner_step(b.runner, items, 4, &err), -EINVAL);
    assert_int_equal(s->n_past, 0);
    session_destroy(s);
    bench_finish(&b);
}

static void a_full_cache_fails_a_step_and_nothing_else(void **state)
{
    struct sample_result before, after;
    struct session *s, *other;
    struct run_item it;
    struct error err = {0};
    struct bench b;

    init(&b, 128, 128); /* four blocks, of which the prompt takes three */
    s = bench_session(&b);
    other = bench_session(&b);
    prefill(&b, s, PROMPT_TOKENS, &before);
    it = (struct run_item){other, b.prompt, PROMPT_TOKENS, &greedy, &after};
    assert_int_equal(runner_step(b.runner, &it, 1, &err), -ENOSPC);
    assert_int_equal(other->n_past, 0);
    session_truncate(s, 0);
    assert_int_equal(runner_step(b.runner, &it, 1, &err), 0);
    assert_same_result(&before, &after);
    session_destroy(s);
    session_destroy(other);
    assert_int_equal(runner_kv(b.runner)->n_free, runner_kv(b.runner)->n_blocks);
    bench_finish(&b);
}

/* What nobody chose may be smaller where memory is short; what somebody chose is refused. */
static void a_cache_that_memory_cannot_hold_shrinks_where_it_may(void **state)
{
    struct runner_config cfg = {
        .context_tokens = 128,
        .cache.tokens = 1ull << 31, /* terabytes */
        .pools = {.kind = POOL_KIND_AUTO, .numa_node = -1},
    };
    struct runner *large = NULL;
    struct error err = {0};
    struct bench b;

    init(&b, 64, 128);
    assert_int_equal(runner_create(b.lm, b.dev, &cfg, &large, &err), -ENOMEM);
    assert_true(err.text[0]);
    cfg.least.tokens = 128;
    assert_int_equal(runner_create(b.lm, b.dev, &cfg, &large, &err), 0);
    assert_int_equal(runner_kv(large)->n_blocks, 4);
    runner_destroy(large);
    bench_finish(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(prompts_may_be_cut_anywhere),
    cmocka_unit_test(a_single_token_of_a_prompt_is_computed_like_the_rest),
    cmocka_unit_test(logits_are_those_that_are_sampled_from),
    cmocka_unit_test(sessions_step_together_as_they_do_alone),
    cmocka_unit_test(a_step_tells_how_far_back_its_rows_see),
    cmocka_unit_test(a_session_can_be_taken_back),
    cmocka_unit_test(steps_queued_ahead_draw_the_same_tokens),
    cmocka_unit_test(no_more_steps_are_queued_than_have_room),
    cmocka_unit_test(steps_beyond_a_limit_are_refused),
    cmocka_unit_test(a_full_cache_fails_a_step_and_nothing_else),
    cmocka_unit_test(a_cache_that_memory_cannot_hold_shrinks_where_it_may),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
