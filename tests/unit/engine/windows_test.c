/* SPDX-License-Identifier: MIT */
/* Layers that look back only so far have fewer blocks than the others: what a session lets go of,
 * what a later one may go on from, and that the results are those of a cache that keeps all. */
#include "harness.h"

#include "engine/session.h"
#include "manager.h"
#include "model/plan.h"
#include "model_fixture.h"

#include <errno.h>
#include <string.h>

/* Every third of six layers sees all positions, the others the last eleven. */
enum {
    WINDOW = 11,
    CHUNK = 70,
    LAYERS = 6,
    CONTEXT = 12 * KV_BLOCK_TOKENS,
    WHOLE = 24,
    WINDOWS = 5,
    ROWS = 32
};
enum { ALICE = 1000, BOB = 1001 };

struct bench {
    struct model_fixture f;
    struct device *dev;
    struct buffer *weights, *workspace;
    struct kv_cache *kv;
    struct plan *plan;
    uint32_t prompt[CONTEXT];
};

static const struct plan_config plan_config = {
    .max_tokens = ROWS, .max_outputs = ROWS, .max_seqs = 1, .host_logits = true};

/* window_blocks 0: one kind of blocks for all layers. */
static struct kv_size size_of(uint32_t n_blocks, uint32_t n_window_blocks)
{
    return (struct kv_size){.tokens = n_blocks * KV_BLOCK_TOKENS,
                            .window_tokens = n_window_blocks * KV_BLOCK_TOKENS};
}

static void make_kv(struct bench *b, const struct kv_cache_config *cfg)
{
    struct error err = {0};

    if (kv_cache_create(b->f.model, b->dev, cfg, &b->kv, &err) < 0)
        fail_msg("%s", err.text);
}

/* With chunks of so many positions where `chunk` is one, else with windows. */
static void bench_init_of(struct bench *b, const struct kv_cache_config *cfg, uint32_t chunk)
{
    struct builder_shape shape = model_fixture_shape(chunk ? "llama4" : "gemma3", GGUF_TYPE_F16);
    struct gguf_builder builder;
    uint64_t bytes;

    *b = (struct bench){0};
    shape.layers = LAYERS;
    gguf_builder_transformer(&builder, &shape);
    if (chunk)
        gguf_builder_u32(&builder, "llama4.attention.chunk_size", chunk);
    else
        gguf_builder_u32(&builder, "gemma3.attention.sliding_window", WINDOW);
    model_fixture_init(&b->f, &builder);
    assert_int_equal(device_create("cpu:2", &b->dev, NULL), 0);
    assert_int_equal(buffer_create(b->dev, b->f.file_bytes, BUFFER_HOST, &b->weights, NULL), 0);
    memcpy(b->weights->host, b->f.file, b->f.file_bytes);
    for (size_t i = 0; i < gguf_n_tensors(b->f.gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor(b->f.gguf, i);
        model_set_address(b->f.model, t, b->weights->address + t->offset);
    }
    make_kv(b, cfg);
    assert_int_equal(plan_workspace_bytes(b->f.model, b->dev, &plan_config, &bytes, NULL), 0);
    assert_int_equal(buffer_create(b->dev, bytes, BUFFER_HOST, &b->workspace, NULL), 0);
    assert_int_equal(
        plan_create(b->f.model, b->dev, b->kv->layers, b->workspace, &plan_config, &b->plan, NULL),
        0);
    for (uint32_t i = 0; i < CONTEXT; i++)
        b->prompt[i] = (5 + i * 37) % shape.vocab;
}

static void bench_init(struct bench *b, const struct kv_cache_config *cfg)
{
    bench_init_of(b, cfg, 0);
}

static void bench_finish(struct bench *b)
{
    plan_destroy(b->plan);
    kv_cache_destroy(b->kv, false);
    buffer_destroy(b->workspace);
    buffer_destroy(b->weights);
    device_destroy(b->dev);
    model_fixture_finish(&b->f);
}

static void init_of(struct bench *b, uint32_t n_blocks, uint32_t n_window_blocks, uint32_t chunk)
{
    bench_init_of(b,
                  &(struct kv_cache_config){.pools = {.numa_node = -1},
                                            .size = size_of(n_blocks, n_window_blocks),
                                            .prefix_tokens = (uint64_t)n_blocks * KV_BLOCK_TOKENS},
                  chunk);
}

static void init(struct bench *b, uint32_t n_blocks, uint32_t n_window_blocks)
{
    init_of(b, n_blocks, n_window_blocks, 0);
}

static struct session *new_session(struct bench *b)
{
    struct session *s = NULL;

    assert_int_equal(session_create(b->kv, NULL, b->dev, CONTEXT, &s, NULL), 0);
    return s;
}

static uint32_t n_windows(const struct bench *b)
{
    return window_blocks_n_held(b->kv->windows);
}

/* Computes the prompt up to position n in steps of so many rows; the last row's logits. */
static const float *feed(struct bench *b, struct session *s, uint32_t n, uint32_t rows)
{
    struct step *step = &b->plan->step;
    uint32_t n_vocab = b->f.model->dims.dim[DIM_VOCAB], done = 0;

    while (s->n_past < n) {
        uint64_t ticket;

        done = n - s->n_past < rows ? n - s->n_past : rows;
        assert_int_equal(session_reserve(s, s->n_past + done), 0);
        for (uint32_t i = 0; i < done; i++) {
            step->tokens[i] =
                (struct step_token){.token = b->prompt[s->n_past + i], .position = s->n_past + i};
            step->output_rows[i] = i;
            s->history[s->n_past + i] = b->prompt[s->n_past + i];
        }
        step->seqs[0] = step->window_seqs[0] = (struct step_seq){.n_blocks = s->n_blocks};
        step->seqs[0].block_table = session_block_table_address(s);
        step->window_seqs[0].block_table = session_window_table_address(s);
        plan_set_header(b->plan, (struct step_header){done, done, 1, s->n_past + done});
        assert_int_equal(device_submit(b->dev, b->plan->program, &ticket, NULL), 0);
        assert_int_equal(device_wait(b->dev, ticket, UINT64_MAX / 2, NULL), 0);
        s->n_past = s->n_history = s->n_past + done;
        session_share_prefix(s, ALICE, s->n_past);
        session_slide(s, s->n_past);
    }
    return step->logits + (size_t)(done - 1) * n_vocab;
}

static void a_session_holds_the_last_blocks_alone(void **state)
{
    struct session *s;
    struct bench b;

    init(&b, WHOLE, WINDOWS);
    s = new_session(&b);
    for (uint32_t n = 1; n <= CONTEXT; n++) {
        assert_int_equal(session_reserve(s, n), 0);
        session_slide(s, n);
        /* the next position sees itself and ten before it */
        assert_int_equal(s->first_window, n < WINDOW ? 0 : (n + 1 - WINDOW) / KV_BLOCK_TOKENS);
        assert_int_equal(n_windows(&b), s->n_blocks - s->first_window);
        assert_true(n_windows(&b) <= 2);
    }
    assert_int_equal(kv_cache_n_held(b.kv), 12);
    session_destroy(s);
    assert_int_equal(n_windows(&b), 0);
    assert_int_equal(kv_cache_n_held(b.kv), 0);
    bench_finish(&b);
}

static void a_session_holds_no_block_of_a_chunk_that_is_over(void **state)
{
    struct session *s;
    struct bench b;

    init_of(&b, WHOLE, WINDOWS, CHUNK);
    s = new_session(&b);
    for (uint32_t n = 1; n <= CONTEXT; n++) {
        assert_int_equal(session_reserve(s, n), 0);
        session_slide(s, n);
        assert_int_equal(s->first_window, n / CHUNK * CHUNK / KV_BLOCK_TOKENS);
        assert_int_equal(n_windows(&b), s->n_blocks - s->first_window);
    }
    session_destroy(s);
    assert_int_equal(n_windows(&b), 0);
    bench_finish(&b);
}

/* What one chunk ends with is of no use to the next. */
static void a_prompt_goes_on_at_the_border_of_chunks_without_windows(void **state)
{
    struct session *s, *want, *other;
    struct bench b, all;
    size_t bytes;

    init_of(&b, WHOLE, WINDOWS, 3 * KV_BLOCK_TOKENS);
    init_of(&all, WHOLE, 0, 3 * KV_BLOCK_TOKENS);
    bytes = all.f.model->dims.dim[DIM_VOCAB] * sizeof(float);
    want = new_session(&all);
    s = new_session(&b);
    feed(&b, s, 200, 32);
    session_destroy(s);
    other = new_session(&b); /* takes every window there is */
    assert_int_equal(session_reserve(other, WINDOWS * KV_BLOCK_TOKENS), 0);
    session_destroy(other);
    s = new_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 190), 96); /* of 160 */
    assert_int_equal(s->first_window, 3);
    assert_int_equal(n_windows(&b), 0);
    session_truncate(s, 0);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 300), 192);
    assert_memory_equal(feed(&b, s, 231, 32), feed(&all, want, 231, 32), bytes);
    session_destroy(s);
    session_destroy(want);
    bench_finish(&b);
    bench_finish(&all);
}

static void check_results(uint32_t chunk)
{
    static const uint32_t rows[] = {32, 1, 7, 31};
    struct bench all, b;
    size_t bytes;

    init_of(&all, WHOLE, 0, chunk);
    init_of(&b, WHOLE, WINDOWS, chunk);
    bytes = all.f.model->dims.dim[DIM_VOCAB] * sizeof(float);
    assert_null(all.kv->windows);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct session *want = new_session(&all), *got = new_session(&b);

        for (uint32_t n = 30; n < CONTEXT; n += 53)
            assert_memory_equal(feed(&b, got, n, rows[i]), feed(&all, want, n, rows[i]), bytes);
        session_destroy(want);
        session_destroy(got);
    }
    bench_finish(&b);
    bench_finish(&all);
}

static void results_are_those_of_a_cache_that_keeps_all(void **state)
{
    check_results(0);
    check_results(CHUNK);
}

static void a_prompt_goes_on_from_what_windows_still_have(void **state)
{
    struct session *s, *again;
    struct bench b, all;
    size_t bytes;

    init(&all, WHOLE, 0);
    init(&b, WHOLE, WINDOWS);
    bytes = all.f.model->dims.dim[DIM_VOCAB] * sizeof(float);
    s = new_session(&b);
    feed(&b, s, 200, 32);
    session_destroy(s);
    s = new_session(&all);
    again = new_session(&b);
    assert_int_equal(session_take_prefix(again, BOB, b.prompt, 300), 0);
    assert_int_equal(session_take_prefix(again, ALICE, b.prompt, 300), 192);
    assert_int_equal(again->first_window, 5); /* 192 + 1 - 11 is in block 5 */
    assert_int_equal(n_windows(&b), 1);
    assert_memory_equal(feed(&b, again, 231, 32), feed(&all, s, 231, 32), bytes);
    session_destroy(again);
    session_destroy(s);
    bench_finish(&b);
    bench_finish(&all);
}

static void a_prompt_that_ends_where_windows_have_gone_is_computed_again(void **state)
{
    struct session *s, *other;
    struct bench b;

    init(&b, WHOLE, 3);
    s = new_session(&b);
    feed(&b, s, 300, 32); /* nine blocks: of the first six no window is left */
    session_destroy(s);
    s = new_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 100), 0);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 300), 288);
    session_destroy(s);
    /* another's need takes the windows of who waits, the oldest first */
    other = new_session(&b);
    assert_int_equal(session_reserve(other, 3 * KV_BLOCK_TOKENS), 0);
    s = new_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 300), 0);
    session_destroy(other);
    session_destroy(s);
    bench_finish(&b);
}

static void who_finds_no_window_keeps_what_it_had(void **state)
{
    struct session *a, *c;
    struct bench b;

    init(&b, WHOLE, 3);
    a = new_session(&b);
    c = new_session(&b);
    assert_int_equal(session_reserve(a, 2 * KV_BLOCK_TOKENS), 0);
    assert_int_equal(session_reserve(c, 2 * KV_BLOCK_TOKENS), -ENOSPC);
    assert_int_equal(c->n_blocks, 1);
    assert_int_equal(kv_cache_n_held(b.kv), 3);
    session_truncate(a, 0);
    assert_int_equal(session_reserve(c, 2 * KV_BLOCK_TOKENS), 0);
    session_destroy(a);
    session_destroy(c);
    assert_int_equal(kv_cache_n_held(b.kv), 0);
    bench_finish(&b);
}

static void truncating_forgets_all_where_the_window_is_gone(void **state)
{
    struct session *s;
    struct bench b;

    init(&b, WHOLE, WINDOWS);
    s = new_session(&b);
    feed(&b, s, 100, 32); /* position 100 sees from 90 on: block 2 */
    session_truncate(s, 98);
    assert_int_equal(s->n_past, 98);
    assert_int_equal(n_windows(&b), 2);
    session_truncate(s, 70); /* within a shared block: to 64, which would see 54, in block 1 */
    assert_int_equal(s->n_past, 0);
    assert_int_equal(s->n_blocks, 0);
    assert_int_equal(n_windows(&b), 0);
    session_destroy(s);
    bench_finish(&b);
}

static void a_later_process_finds_windows_too(void **state)
{
    static const char number[] = "a model";
    struct kv_cache_config cfg = {.size = size_of(WHOLE, WINDOWS),
                                  .prefix_tokens = WHOLE * KV_BLOCK_TOKENS};
    struct pool_key key;
    struct manager manager;
    struct session *s;
    struct bench b;

    manager_init(&manager);
    pool_key_derive(&(struct pool_key){""}, "test", number, sizeof(number), &key);
    cfg.model_key = &key;
    cfg.pools =
        (struct pool_config){.kind = POOL_KIND_MEMFD, .numa_node = -1, .keeper = &manager.keeper};
    bench_init(&b, &cfg);
    s = new_session(&b);
    feed(&b, s, 200, 32);
    session_destroy(s);
    kv_cache_destroy(b.kv, true);
    make_kv(&b, &cfg);
    assert_int_equal(b.kv->n_found, 6);
    assert_int_equal(window_blocks_n_idle(b.kv->windows), 4); /* of 6, the first two had to go */
    s = new_session(&b);
    assert_int_equal(session_take_prefix(s, ALICE, b.prompt, 300), 192);
    assert_int_equal(n_windows(&b), 1);
    session_destroy(s);
    bench_finish(&b);
    manager_finish(&manager);
}

static void sizes_leave_room_for_what_sequences_need(void **state)
{
    struct kv_size one, size;
    const struct model *m;
    struct bench b;
    uint64_t token, window;

    init(&b, WHOLE, WINDOWS);
    m = b.f.model;
    token = model_kv_bytes_per_token(m, KV_F16);
    window = model_window_kv_bytes_per_token(m, KV_F16);
    assert_int_equal(window * 6, token * 4);
    one = kv_size_of(m, KV_F16, 100000, 1, 512);
    assert_int_equal(one.tokens, 100000);
    assert_int_equal(one.window_tokens, WINDOW + 64 + 512);
    assert_int_equal(kv_size_bytes(m, &one),
                     100000 * (token - window) + one.window_tokens * window);
    assert_int_equal(kv_size_of(m, KV_F16, 100, 16, 512).window_tokens, 100); /* never more */
    size = kv_size_within(m, KV_F16, token * 1000000, 4096, 16, 512);
    assert_int_equal(size.window_tokens, 16 * (WINDOW + 64) + 512);
    assert_in_range(kv_size_bytes(m, &size), token * 1000000 - token, token * 1000000);
    /* too little for all: half of each */
    size = kv_size_within(m, KV_F16, token * 2000, 600, 16, 512);
    assert_int_equal(size.window_tokens, 1000);
    assert_in_range(kv_size_bytes(m, &size), token * 2000 - token, token * 2000);
    /* one context at least, whatever the bytes */
    size = kv_size_within(m, KV_F16, 1, 4096, 16, 512);
    assert_int_equal(size.tokens, 4096);
    assert_int_equal(size.window_tokens, one.window_tokens);
    bench_finish(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_session_holds_the_last_blocks_alone),
    cmocka_unit_test(a_session_holds_no_block_of_a_chunk_that_is_over),
    cmocka_unit_test(a_prompt_goes_on_at_the_border_of_chunks_without_windows),
    cmocka_unit_test(results_are_those_of_a_cache_that_keeps_all),
    cmocka_unit_test(a_prompt_goes_on_from_what_windows_still_have),
    cmocka_unit_test(a_prompt_that_ends_where_windows_have_gone_is_computed_again),
    cmocka_unit_test(who_finds_no_window_keeps_what_it_had),
    cmocka_unit_test(truncating_forgets_all_where_the_window_is_gone),
    cmocka_unit_test(a_later_process_finds_windows_too),
    cmocka_unit_test(sizes_leave_room_for_what_sequences_need),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
