/* SPDX-License-Identifier: MIT */
/* Vectors of texts through the engine's header, of a small model whose file is told to pool. */
#include "harness.h"

#include "engine_fixture.h"
#include "model/dims.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH_MOST = 1024, TEXTS = 20, CONTEXT = 256 };

static const char story[] =
    "Once upon a time, there was a little girl who had a red ball, and she took it along wherever "
    "she went: to the garden, to the pond behind it, and in the evening to her bed, where she told "
    "it of all that had happened on that day.";

struct wish {
    struct engine *engine;
    struct engine_request *request;
    const char *model;
    const char *text;
    float vector[WIDTH_MOST];
    struct engine_result result;
    struct error error;
    bool is_done;
};

static void on_done(void *user, const struct engine_result *result)
{
    struct wish *w = user;

    w->is_done = true;
    w->result = *result;
    if (result->error)
        w->error = *result->error;
    assert_true(result->n_vector <= WIDTH_MOST);
    if (result->vector)
        memcpy(w->vector, result->vector, result->n_vector * sizeof(float));
}

static void wish_begin(struct wish *w, struct engine *e, const char *model, const char *text)
{
    static const struct engine_events events = {.on_done = on_done};
    const struct engine_caller caller = {.uid = 1000, .pid = 1};
    const struct engine_prompt prompt = {
        .text = text, .text_len = strlen(text), .add_special = true};
    struct error err = {0};

    *w = (struct wish){.engine = e, .model = model, .text = text};
    if (engine_embed(e, model, &prompt, ENGINE_INTERACTIVE, &caller, &events, w, &w->request,
                     &err) < 0)
        fail_msg("%s", err.text);
}

static void wish_run(struct wish *w, struct engine *e, const char *model, const char *text)
{
    wish_begin(w, e, model, text);
    fixture_wait(e, &w->is_done);
}

static double length(const struct wish *w)
{
    double squares = 0;

    for (size_t i = 0; i < w->result.n_vector; i++)
        squares += (double)w->vector[i] * (double)w->vector[i];
    return sqrt(squares);
}

/* Of the difference; each is of length 1. */
static double distance(const struct wish *a, const struct wish *b)
{
    double squares = 0;

    assert_true(a->result.n_vector > 0);
    assert_int_equal(a->result.n_vector, b->result.n_vector);
    for (size_t i = 0; i < a->result.n_vector; i++)
        squares += pow((double)a->vector[i] - (double)b->vector[i], 2);
    return sqrt(squares);
}

static void put(char **to, const void *data, size_t n)
{
    memcpy(*to, data, n);
    *to += n;
}

/* A copy of the model that says it pools so, for the caller to unlink: its first key. Behind it a
 * filler, so that all lies a multiple of 32 bytes later and the tensors stay aligned. */
static void make_model(enum pooling pooling, char ret_path[64])
{
    enum { HEADER = 24, MORE = 96 };
    const char key[] = "llama.pooling_type", filler[] = "filler";
    size_t len;
    char *data = harness_read_file(fixture_model(), &len), more[MORE] = {0}, *at = more;
    uint32_t u32_type = 4, str_type = 8, value = pooling;
    uint64_t n_keys, n = strlen(key);
    int fd;

    put(&at, &n, 8);
    put(&at, key, n);
    put(&at, &u32_type, 4);
    put(&at, &value, 4);
    n = strlen(filler);
    put(&at, &n, 8);
    put(&at, filler, n);
    put(&at, &str_type, 4);
    n = (uint64_t)(more + MORE - at) - 8;
    put(&at, &n, 8);
    memset(at, 'x', n);
    memcpy(&n_keys, data + 16, 8);
    n_keys += 2;
    memcpy(data + 16, &n_keys, 8);
    strcpy(ret_path, "/tmp/hearth-embed-XXXXXX.gguf");
    fd = mkstemps(ret_path, 5);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, HEADER), HEADER);
    assert_int_equal(write(fd, more, MORE), MORE);
    assert_int_equal(write(fd, data + HEADER, len - HEADER), len - HEADER);
    close(fd);
    free(data);
}

/* An engine whose steps take so many tokens of prompts, with a cache of four contexts. */
static struct engine *engine_of(uint32_t batch_tokens)
{
    const struct engine_config config = {.device = "cpu:2",
                                         .context_tokens = CONTEXT,
                                         .batch_tokens = batch_tokens,
                                         .prefix_percent = 50,
                                         .numa_node = -1};

    return fixture_engine_with(&config);
}

static const enum pooling all[] = {POOLING_MEAN, POOLING_CLS, POOLING_LAST};

static void a_vector_is_the_same_in_chunks_and_in_company(void **state)
{
    struct engine *whole = engine_of(256), *chunks = engine_of(16);
    struct wish alone, other, many[TEXTS];
    char path[64];

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        make_model(all[i], path);
        wish_run(&alone, whole, path, story);
        wish_run(&other, whole, path, "Quite another text.");
        assert_int_equal(alone.result.finish, ENGINE_FINISH_STOP);
        assert_true(alone.result.prompt_tokens > 40);
        assert_int_equal(alone.result.completion_tokens, 0);
        assert_true(fabs(length(&alone) - 1) < 1e-5);
        /* the first token alone says nothing of the rest */
        if (all[i] != POOLING_CLS)
            assert_true(distance(&alone, &other) > 0.05);
        for (size_t k = 0; k < TEXTS; k++)
            wish_begin(&many[k], chunks, path, k % 2 ? story : "Quite another text.");
        for (size_t k = 0; k < TEXTS; k++) {
            fixture_wait(chunks, &many[k].is_done);
            assert_int_equal(many[k].result.finish, ENGINE_FINISH_STOP);
            assert_true(distance(&many[k], k % 2 ? &alone : &other) < 1e-2);
        }
        unlink(path);
    }
    engine_destroy(whole);
    engine_destroy(chunks);
}

static void what_was_computed_before_counts_where_only_the_last_row_does(void **state)
{
    struct engine *e = engine_of(256);
    struct wish first, second;
    char path[64];

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        make_model(all[i], path);
        wish_run(&first, e, path, story);
        wish_run(&second, e, path, story);
        assert_int_equal(first.result.cached_tokens, 0);
        if (all[i] == POOLING_LAST)
            assert_true(second.result.cached_tokens > 0);
        else
            assert_int_equal(second.result.cached_tokens, 0);
        assert_true(distance(&first, &second) < 1e-2);
        unlink(path);
    }
    engine_destroy(e);
}

static void a_model_does_what_its_file_says_it_is_for(void **state)
{
    struct engine *e = engine_of(256);
    struct wish w;
    struct ask a;
    char path[64];

    make_model(POOLING_MEAN, path);
    ask_init(&a, e, story);
    a.model = path;
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(a.error.code, -EINVAL);
    assert_says(a.error.text, "embedding model (llama.pooling_type is mean)");
    ask_finish(&a);
    wish_run(&w, e, fixture_model(), story);
    assert_int_equal(w.result.finish, ENGINE_FINISH_ERROR);
    assert_int_equal(w.error.code, -EINVAL);
    assert_says(w.error.text, "llama.pooling_type");
    unlink(path);
    engine_destroy(e);
}

static void a_text_may_fill_the_context_and_not_more(void **state)
{
    struct engine *e = engine_of(256);
    char path[64], text[4 * CONTEXT];
    struct wish w;
    uint32_t n = 0;

    make_model(POOLING_LAST, path);
    *text = 0;
    for (int i = 0; i < CONTEXT && n < CONTEXT; i++) {
        strcat(text, i % 2 ? "x " : "? ");
        wish_run(&w, e, path, text);
        n = w.result.prompt_tokens;
        assert_int_equal(w.result.finish, n <= CONTEXT ? ENGINE_FINISH_STOP : ENGINE_FINISH_ERROR);
    }
    assert_true(n >= CONTEXT);
    strcat(text, "x ");
    strcat(text, "? ");
    wish_run(&w, e, path, text);
    assert_int_equal(w.error.code, -EMSGSIZE);
    assert_says(w.error.text, "256");
    assert_null(w.result.vector);
    unlink(path);
    engine_destroy(e);
}

static void a_cancelled_text_has_no_vector(void **state)
{
    struct engine *e = engine_of(16);
    struct wish w;
    char path[64];

    make_model(POOLING_MEAN, path);
    wish_begin(&w, e, path, story);
    engine_cancel(w.request, false);
    fixture_wait(e, &w.is_done);
    assert_int_equal(w.result.finish, ENGINE_FINISH_CANCEL);
    assert_null(w.result.vector);
    wish_begin(&w, e, path, story);
    engine_expire(w.request);
    fixture_wait(e, &w.is_done);
    assert_int_equal(w.result.finish, ENGINE_FINISH_EXPIRED);
    assert_null(w.result.vector);
    unlink(path);
    engine_destroy(e);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vector_is_the_same_in_chunks_and_in_company),
        cmocka_unit_test(what_was_computed_before_counts_where_only_the_last_row_does),
        cmocka_unit_test(a_model_does_what_its_file_says_it_is_for),
        cmocka_unit_test(a_text_may_fill_the_context_and_not_more),
        cmocka_unit_test(a_cancelled_text_has_no_vector),
    };

    return TEST_MAIN(argc, argv, tests);
}
