/* SPDX-License-Identifier: MIT */
/* Generation through the engine's header, with a real small model. */
#include "harness.h"

#include "engine_fixture.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char prompt[] = "Once upon a time, there was a little";

/* An engine, made on first use. */
static struct engine *made(void **state, uint32_t context_tokens)
{
    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    if (!*state)
        *state = fixture_engine(context_tokens);
    return *state;
}

static int drop_engine(void **state)
{
    engine_destroy(*state);
    return 0;
}

/* The context as the model has it. */
static struct engine *engine(void **state)
{
    return made(state, 0);
}

/* A context of 64 tokens, and a cache of one context. */
static struct engine *narrow_engine(void **state)
{
    return made(state, 64);
}

static void assert_same_answer(const struct ask *a, const struct ask *b)
{
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, a->n_ids * sizeof(a->ids[0]));
    assert_string_equal(a->text.data ? a->text.data : "", b->text.data ? b->text.data : "");
}

/* ---- sampling ---- */

static void greedy_answers_are_the_same_every_time(void **state)
{
    struct ask a, b;

    ask_init(&a, engine(state), prompt);
    ask_init(&b, engine(state), prompt);
    a.params.max_tokens = b.params.max_tokens = 40;
    ask_run(&a);
    ask_run(&b);
    assert_int_equal(a.n_ids, 40);
    assert_true(a.text.len > 0);
    assert_same_answer(&a, &b);
    ask_finish(&a);
    ask_finish(&b);
}

static void a_seed_makes_sampling_reproducible(void **state)
{
    struct ask a[4];
    bool all_equal = true;

    for (int i = 0; i < 4; i++) {
        ask_init(&a[i], engine(state), prompt);
        a[i].params.max_tokens = 30;
        a[i].params.sampling.temperature = 1.5f;
        a[i].params.sampling.top_k = 0;
        a[i].params.sampling.top_p = 1.0f;
        a[i].params.sampling.min_p = 0.0f;
        a[i].params.sampling.has_seed = true;
        a[i].params.sampling.seed = i < 2 ? 42 : (uint64_t)i << 40; /* the high half counts too */
        ask_run(&a[i]);
        assert_int_equal(a[i].result.seed, a[i].params.sampling.seed);
    }
    assert_same_answer(&a[0], &a[1]);
    for (int i = 1; i < 4; i++)
        for (int k = 0; k < i; k++)
            if (!(i == 1 && k == 0))
                all_equal &= !memcmp(a[i].ids, a[k].ids, 30 * sizeof(int32_t));
    assert_false(all_equal);
    assert_true(memcmp(a[2].ids, a[3].ids, 30 * sizeof(int32_t)) != 0);
    for (int i = 0; i < 4; i++)
        ask_finish(&a[i]);
}

static void a_seed_is_drawn_and_told_where_none_is_given(void **state)
{
    struct ask a, b, again;

    ask_init(&a, engine(state), prompt);
    ask_init(&b, engine(state), prompt);
    ask_init(&again, engine(state), prompt);
    a.params.sampling.temperature = b.params.sampling.temperature =
        again.params.sampling.temperature = 2.0f;
    a.params.max_tokens = b.params.max_tokens = again.params.max_tokens = 20;
    ask_run(&a);
    ask_run(&b);
    assert_true(a.result.seed != b.result.seed);
    again.params.sampling.has_seed = true;
    again.params.sampling.seed = a.result.seed;
    ask_run(&again);
    assert_same_answer(&a, &again);
    ask_finish(&a);
    ask_finish(&b);
    ask_finish(&again);
}

static void each_token_is_a_new_draw(void **state)
{
    /* two tokens of about 62 and 38 in a hundred, whatever the model prefers */
    static const struct engine_bias bias[] = {{300, 10050.0f}, {301, 10000.0f}};
    size_t n_first = 0;
    struct ask a;

    ask_init(&a, engine(state), prompt);
    a.params.max_tokens = 60;
    a.params.bias = bias;
    a.params.n_bias = 2;
    a.params.sampling = (struct engine_sampling){
        .temperature = 100.0f, .top_p = 1.0f, .repeat_penalty = 1.0f, .seed = 5, .has_seed = true};
    ask_run(&a);
    for (size_t i = 0; i < a.n_ids; i++) {
        assert_true(a.ids[i] == 300 || a.ids[i] == 301);
        n_first += a.ids[i] == 300;
    }
    assert_in_range(n_first, 20, 55);
    ask_finish(&a);
}

static void a_bias_forces_and_forbids_tokens(void **state)
{
    struct engine_bias bias = {.token = 300, .bias = 1000.0f};
    struct ask plain, forced, forbidden;

    ask_init(&plain, engine(state), prompt);
    ask_init(&forced, engine(state), prompt);
    ask_init(&forbidden, engine(state), prompt);
    ask_run(&plain);
    forced.params.bias = &bias;
    forced.params.n_bias = 1;
    ask_run(&forced);
    for (size_t i = 0; i < forced.n_ids; i++)
        assert_int_equal(forced.ids[i], 300);
    bias = (struct engine_bias){plain.ids[0], -1000.0f};
    forbidden.params.bias = &bias;
    forbidden.params.n_bias = 1;
    ask_run(&forbidden);
    for (size_t i = 0; i < forbidden.n_ids; i++)
        assert_int_not_equal(forbidden.ids[i], plain.ids[0]);
    ask_finish(&plain);
    ask_finish(&forced);
    ask_finish(&forbidden);
}

static void penalties_keep_tokens_from_coming_back(void **state)
{
    struct ask a;

    ask_init(&a, engine(state), prompt);
    a.params.max_tokens = 40;
    a.params.sampling.presence_penalty = 100.0f;
    a.params.sampling.repeat_last_n = 64;
    ask_run(&a);
    for (size_t i = 0; i < a.n_ids; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(a.ids[i], a.ids[k]);
    ask_finish(&a);
}

static void top_logprobs_come_in_order_and_hold_the_choice(void **state)
{
    struct ask a;

    ask_init(&a, engine(state), prompt);
    a.params.top_logprobs = 5;
    ask_run(&a);
    assert_int_equal(a.n_top, 5);
    assert_int_equal(a.top[0].token, a.ids[0]); /* greedy */
    assert_true(a.top[0].logprob == a.logprobs[0]);
    for (size_t i = 0; i < a.n_top; i++) {
        assert_true(a.top[i].logprob <= 0.0f);
        assert_true(!i || a.top[i].logprob <= a.top[i - 1].logprob);
    }
    ask_finish(&a);
}

/* ---- ends ---- */

static void max_tokens_ends_an_answer(void **state)
{
    struct ask a;

    ask_init(&a, engine(state), prompt);
    a.params.max_tokens = 3;
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(a.n_ids, 3);
    assert_int_equal(a.result.completion_tokens, 3);
    assert_true(a.has_started);
    assert_int_equal(a.result.prompt_tokens, a.prompt_tokens);
    assert_true(a.prompt_tokens > 3);
    assert_true(a.result.first_token_ns > 0);
    ask_finish(&a);
}

static void a_stop_string_ends_an_answer_and_is_not_part_of_it(void **state)
{
    const char *stop[2] = {"never to be said", NULL};
    struct ask plain, a;
    size_t cut;
    char *word;

    ask_init(&plain, engine(state), prompt);
    plain.params.max_tokens = 30;
    ask_run(&plain);
    /* five bytes from the middle of the answer, which lie across tokens */
    cut = plain.text.len / 2;
    while (cut < plain.text.len - 5 && ((uint8_t)plain.text.data[cut] & 0xc0) == 0x80)
        cut++;
    word = strndup(plain.text.data + cut, 5);
    stop[1] = word;
    ask_init(&a, engine(state), prompt);
    a.params.max_tokens = 30;
    a.params.stop = stop;
    a.params.n_stop = 2;
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_STOP);
    assert_string_equal(a.stop_string, word);
    cut = (size_t)(strstr(plain.text.data, word) - plain.text.data);
    assert_int_equal(a.text.len, cut);
    assert_memory_equal(a.text.data, plain.text.data, cut);
    assert_true(a.n_ids < plain.n_ids);
    free(word);
    ask_finish(&plain);
    ask_finish(&a);
}

static void a_full_context_ends_an_answer(void **state)
{
    struct ask a;

    ask_init(&a, narrow_engine(state), prompt);
    a.params.max_tokens = 0;
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_CONTEXT);
    assert_int_equal(a.result.prompt_tokens + a.n_ids, 64);
    ask_finish(&a);
}

static void tokens_are_taken_as_a_prompt(void **state)
{
    int32_t *ids = NULL;
    size_t n = 0;
    struct ask text, tokens;

    ask_init(&text, engine(state), prompt);
    ask_run(&text); /* which loads the model */
    assert_int_equal(engine_tokenize(engine(state), fixture_model(), prompt, strlen(prompt), true,
                                     true, &ids, &n, NULL),
                     0);
    ask_init(&tokens, engine(state), NULL);
    tokens.prompt.ids = ids;
    tokens.prompt.n_ids = n;
    ask_run(&tokens);
    assert_int_equal(tokens.result.prompt_tokens, n);
    assert_same_answer(&text, &tokens);
    free(ids);
    ask_finish(&text);
    ask_finish(&tokens);
}

static void a_chat_is_rendered_by_a_template(void **state)
{
    json_t *chat =
        json_loads("{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}", 0, NULL);
    struct ask a;

    ask_init(&a, engine(state), NULL);
    a.prompt.chat = chat;
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    assert_true(a.prompt_tokens > 2);
    assert_null(json_object_get(chat, "add_generation_prompt")); /* the caller's is untouched */
    ask_finish(&a);
    json_decref(chat);
}

/* ---- what is wrong with a request ---- */

static void assert_fails(struct ask *a, int code, const char *words)
{
    ask_run(a);
    assert_int_equal(a->result.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(a->error.code, code);
    assert_says(a->error.text, words);
    assert_int_equal(a->n_ids, 0);
    ask_finish(a);
}

static void bad_prompts_are_refused_with_a_sentence(void **state)
{
    static const int32_t strange[] = {1, 1 << 30}, negative[] = {1, -1};
    struct engine_bias bias = {.token = 1 << 30};
    char *longest = malloc(4000);
    struct ask a;

    for (size_t i = 0; i < 3999; i++)
        longest[i] = "a b "[i % 4];
    longest[3999] = 0;
    ask_init(&a, narrow_engine(state), "");
    a.prompt.add_special = false;
    assert_fails(&a, -EINVAL, "empty");
    ask_init(&a, narrow_engine(state), longest);
    assert_fails(&a, -EMSGSIZE, "the context holds 64");
    ask_init(&a, narrow_engine(state), "caf\xe9");
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
    assert_true(a.error.code == -EILSEQ || a.error.code == -EINVAL);
    ask_finish(&a);
    ask_init(&a, narrow_engine(state), NULL);
    a.prompt.ids = strange;
    a.prompt.n_ids = 2;
    assert_fails(&a, -EINVAL, "1073741824");
    ask_init(&a, narrow_engine(state), NULL);
    a.prompt.ids = negative;
    a.prompt.n_ids = 2;
    assert_fails(&a, -EINVAL, "-1");
    ask_init(&a, narrow_engine(state), prompt);
    a.params.bias = &bias;
    a.params.n_bias = 1;
    assert_fails(&a, -EINVAL, "logit_bias");
    ask_init(&a, narrow_engine(state), prompt); /* and after all that it works */
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
    free(longest);
}

static void senseless_settings_are_refused_at_once(void **state)
{
    static const struct engine_events events = {0};
    struct engine *e = engine(state);
    struct engine_caller caller = {0};
    struct ask a;

    for (int i = 0; i < 7; i++) {
        struct error err = {0};
        ask_init(&a, e, prompt);
        if (i == 0)
            a.params.sampling.temperature = -1.0f;
        if (i == 1)
            a.params.sampling.top_p = 1.5f;
        if (i == 2)
            a.params.sampling.min_p = -0.1f;
        if (i == 3)
            a.params.sampling.repeat_penalty = 0.0f;
        if (i == 4)
            a.params.sampling.frequency_penalty = 1e30f;
        if (i == 5)
            a.params.sampling.temperature = NAN;
        if (i == 6)
            a.prompt.ids = &(int32_t){1}; /* two kinds of prompt */
        assert_int_equal(engine_generate(e, fixture_model(), &a.prompt, &a.params, &caller, &events,
                                         NULL, NULL, &err),
                         -EINVAL);
        assert_true(err.text[0]);
        ask_finish(&a);
    }
}

static void unknown_models_are_refused_at_once(void **state)
{
    static const struct engine_events events = {0};
    struct engine_caller caller = {0};
    struct error err = {0};
    struct ask a;

    ask_init(&a, engine(state), prompt);
    assert_int_equal(engine_generate(a.engine, "no-such-model", &a.prompt, &a.params, &caller,
                                     &events, NULL, NULL, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "no-such-model"));
    ask_finish(&a);
}

/* ---- many at once ---- */

static void equal_requests_at_once_have_the_same_answer(void **state)
{
    struct ask a[6];

    for (int i = 0; i < 6; i++) {
        ask_init(&a[i], engine(state), prompt);
        a[i].params.max_tokens = 10;
        ask_begin(&a[i]);
    }
    for (int i = 0; i < 6; i++)
        ask_wait(&a[i]);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(a[i].n_done, 1);
        assert_same_answer(&a[i], &a[0]);
    }
    for (int i = 0; i < 6; i++)
        ask_finish(&a[i]);
}

static void cancel_after_five(struct ask *a)
{
    if (a->n_ids == 5)
        engine_cancel(a->request, false);
}

static void forget_after_five(struct ask *a)
{
    assert_true(a->n_ids <= 5);
    if (a->n_ids == 5)
        engine_cancel(a->request, true);
}

static void a_running_request_can_be_cancelled(void **state)
{
    struct ask a, next;

    ask_init(&a, engine(state), prompt);
    ask_init(&next, engine(state), prompt);
    a.params.max_tokens = 0;
    a.hook = cancel_after_five;
    ask_begin(&a);
    ask_run(&next);
    assert_true(a.is_done);
    assert_int_equal(a.result.finish, ENGINE_FINISH_CANCEL);
    assert_true(a.n_ids >= 5);
    assert_int_equal(next.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&a);
    ask_finish(&next);
}

static void a_forgotten_request_is_not_heard_of_again(void **state)
{
    struct ask a, next;

    ask_init(&a, engine(state), prompt);
    ask_init(&next, engine(state), prompt);
    a.params.max_tokens = 0;
    a.hook = forget_after_five;
    ask_begin(&a);
    ask_run(&next);
    assert_false(a.is_done);
    assert_int_equal(a.n_ids, 5);
    ask_finish(&a);
    ask_finish(&next);
}

static void a_queued_request_can_be_cancelled(void **state)
{
    struct ask first, second;

    ask_init(&first, engine(state), prompt);
    ask_init(&second, engine(state), prompt);
    first.params.max_tokens = 60;
    ask_begin(&first);
    ask_begin(&second);
    engine_cancel(second.request, false);
    engine_cancel(second.request, false); /* twice is once */
    ask_wait(&second);
    ask_wait(&first);
    assert_int_equal(second.result.finish, ENGINE_FINISH_CANCEL);
    assert_int_equal(second.n_ids, 0);
    assert_int_equal(first.result.finish, ENGINE_FINISH_LENGTH);
    ask_finish(&first);
    ask_finish(&second);
}

/* The device may have finished before anyone could pause it. */
static void set_paused(const struct ask *a, bool is_paused)
{
    if (!a->is_done)
        engine_pause(a->request, is_paused);
}

static void pause_after_five(struct ask *a)
{
    if (a->n_ids == 5)
        engine_pause(a->request, true);
}

static void a_paused_request_lets_others_by_and_goes_on_as_before(void **state)
{
    struct ask plain, paused, other;
    size_t n;

    ask_init(&plain, engine(state), prompt);
    ask_init(&paused, engine(state), prompt);
    ask_init(&other, engine(state), "Lily");
    plain.params.max_tokens = paused.params.max_tokens = 200;
    ask_run(&plain);
    paused.hook = pause_after_five;
    ask_begin(&paused);
    ask_run(&other);
    fixture_idle(engine(state), 50);
    assert_false(paused.is_done);
    n = paused.n_ids;
    fixture_idle(engine(state), 100);
    assert_int_equal(paused.n_ids, n);
    set_paused(&paused, false);
    ask_wait(&paused);
    assert_same_answer(&plain, &paused);
    ask_finish(&plain);
    ask_finish(&paused);
    ask_finish(&other);
}

/* The cache holds one context: a second answer takes the blocks of the first, which is computed
 * again later, whoever else waits. */
static void blocks_are_taken_from_who_is_paused(void **state)
{
    struct engine *e = narrow_engine(state);
    struct ask plain, first, second, waiting;

    ask_init(&plain, e, prompt);
    ask_init(&first, e, prompt);
    ask_init(&second, e, "Lily");
    ask_init(&waiting, e, "Tom");
    plain.params.max_tokens = first.params.max_tokens = second.params.max_tokens = 30;
    ask_run(&plain);
    first.hook = second.hook = pause_after_five;
    ask_begin(&first);
    while (first.n_ids < 5)
        fixture_idle(e, 5);
    ask_begin(&second);
    while (second.n_ids < 5)
        fixture_idle(e, 5);
    ask_begin(&waiting);
    set_paused(&waiting, true); /* holds no block and must not be asked for one */
    set_paused(&second, false);
    ask_wait(&second);
    assert_int_equal(second.result.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(second.n_ids, 30);
    set_paused(&first, false);
    ask_wait(&first);
    assert_int_equal(first.result.finish, ENGINE_FINISH_LENGTH);
    assert_same_answer(&plain, &first);
    set_paused(&waiting, false);
    ask_wait(&waiting);
    ask_finish(&plain);
    ask_finish(&first);
    ask_finish(&second);
    ask_finish(&waiting);
}

static void pause_after_twenty(struct ask *a)
{
    if (a->n_ids == 20)
        engine_pause(a->request, true);
}

/* Who lost its blocks goes on when the one that took them pauses in turn. */
static void a_pause_frees_those_that_wait_for_blocks(void **state)
{
    struct engine *e = narrow_engine(state);
    struct ask first, second;

    ask_init(&first, e, prompt);
    ask_init(&second, e, prompt);
    first.params.max_tokens = second.params.max_tokens = 40;
    first.hook = pause_after_five;
    second.hook = pause_after_twenty;
    ask_begin(&first);
    while (first.n_ids < 5)
        fixture_idle(e, 5);
    ask_begin(&second);
    while (second.n_ids < 20)
        fixture_idle(e, 5);
    fixture_idle(e, 100);
    assert_false(second.is_done);
    set_paused(&first, false);
    ask_wait(&first);
    assert_int_equal(first.result.finish, ENGINE_FINISH_LENGTH);
    set_paused(&second, false);
    ask_wait(&second);
    assert_same_answer(&first, &second);
    ask_finish(&first);
    ask_finish(&second);
}

static void figures_add_up(void **state)
{
    struct engine_stats before, after;
    struct ask a;

    engine_get_stats(engine(state), &before);
    ask_init(&a, engine(state), prompt);
    ask_run(&a);
    engine_get_stats(engine(state), &after);
    assert_int_equal(after.requests_total - before.requests_total, 1);
    assert_int_equal(after.requests_failed, before.requests_failed);
    assert_int_equal(after.prompt_tokens_total - before.prompt_tokens_total, a.prompt_tokens);
    assert_int_equal(after.completion_tokens_total - before.completion_tokens_total, 8);
    assert_int_equal(after.n_running, 0);
    assert_int_equal(after.n_waiting, 0);
    assert_non_null(strstr(after.device, "cpu"));
    ask_finish(&a);
}

static void text_survives_tokens_and_back(void **state)
{
    struct engine *e = engine(state);
    static const char text[] = "Once upon a time";
    int32_t *ids = NULL, strange = 1 << 29;
    char *back = NULL;
    size_t n = 0, len = 0;
    struct error err = {0};

    assert_int_equal(fixture_load(e, fixture_model(), NULL), 0);
    assert_int_equal(
        engine_tokenize(e, fixture_model(), text, strlen(text), false, false, &ids, &n, NULL), 0);
    assert_true(n > 0 && n <= strlen(text) + 1);
    assert_int_equal(engine_detokenize(e, fixture_model(), ids, n, &back, &len, NULL), 0);
    assert_string_equal(back, text);
    free(back);
    back = NULL;
    assert_int_equal(engine_detokenize(e, fixture_model(), ids, 0, &back, &len, NULL), 0);
    assert_string_equal(back, "");
    free(back);
    assert_int_equal(engine_detokenize(e, fixture_model(), &strange, 1, &back, &len, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "536870912"));
    assert_int_equal(engine_tokenize(e, fixture_model(), "\xff", 1, false, false, &ids, &n, &err),
                     -EILSEQ);
    free(ids);
}

#define ON_ENGINE(test) cmocka_unit_test_teardown(test, drop_engine)

static const struct CMUnitTest tests[] = {
    ON_ENGINE(greedy_answers_are_the_same_every_time),
    ON_ENGINE(a_seed_makes_sampling_reproducible),
    ON_ENGINE(a_seed_is_drawn_and_told_where_none_is_given),
    ON_ENGINE(each_token_is_a_new_draw),
    ON_ENGINE(a_bias_forces_and_forbids_tokens),
    ON_ENGINE(penalties_keep_tokens_from_coming_back),
    ON_ENGINE(top_logprobs_come_in_order_and_hold_the_choice),
    ON_ENGINE(max_tokens_ends_an_answer),
    ON_ENGINE(a_stop_string_ends_an_answer_and_is_not_part_of_it),
    ON_ENGINE(a_full_context_ends_an_answer),
    ON_ENGINE(tokens_are_taken_as_a_prompt),
    ON_ENGINE(a_chat_is_rendered_by_a_template),
    ON_ENGINE(bad_prompts_are_refused_with_a_sentence),
    ON_ENGINE(senseless_settings_are_refused_at_once),
    ON_ENGINE(unknown_models_are_refused_at_once),
    ON_ENGINE(equal_requests_at_once_have_the_same_answer),
    ON_ENGINE(a_running_request_can_be_cancelled),
    ON_ENGINE(a_forgotten_request_is_not_heard_of_again),
    ON_ENGINE(a_queued_request_can_be_cancelled),
    ON_ENGINE(a_paused_request_lets_others_by_and_goes_on_as_before),
    ON_ENGINE(blocks_are_taken_from_who_is_paused),
    ON_ENGINE(a_pause_frees_those_that_wait_for_blocks),
    ON_ENGINE(figures_add_up),
    ON_ENGINE(text_survives_tokens_and_back),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
