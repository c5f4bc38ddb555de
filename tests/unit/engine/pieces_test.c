/* SPDX-License-Identifier: MIT */
/* The engine's parts that need no model file: answers, scheduling, cache blocks, sessions, events.
 */
#include "harness.h"

#include "engine/answer.h"
#include "engine/events.h"
#include "engine/loaded_model.h"
#include "engine/prompt.h"
#include "engine/session.h"
#include "model_fixture.h"
#include "tiny_vocab.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- answers: every byte is a token of its own, so texts can be fed as they stand ---- */

struct speaker {
    struct tiny_vocab vocab;
    struct tokenizer *tokenizer;
    struct answer answer;
    struct strbuf out;
};

static void speaker_init(struct speaker *s, const char *const *stop, size_t n_stop)
{
    tiny_vocab_bpe(&s->vocab);
    assert_int_equal(tokenizer_create(&s->vocab.desc, &s->tokenizer, NULL), 0);
    answer_init(&s->answer);
    answer_start(&s->answer, s->tokenizer, 0, stop, n_stop);
    strbuf_init(&s->out, 0);
}

static void speaker_finish(struct speaker *s)
{
    strbuf_finish(&s->out);
    answer_finish(&s->answer);
    tokenizer_destroy(s->tokenizer);
}

/* Says a text byte by byte until a stop string is complete; returns how many bytes it took. */
static size_t say(struct speaker *s, const char *text, bool *ret_stopped)
{
    size_t i = 0;

    *ret_stopped = false;
    while (text[i] && !*ret_stopped)
        *ret_stopped = answer_add(&s->answer, (uint8_t)text[i++], &s->out);
    return i;
}

static const char *said(const struct speaker *s)
{
    return s->out.data ? s->out.data : "";
}

static void answer_holds_back_what_may_begin_a_stop_string(void **state)
{
    static const char *const stop[] = {"END."};
    struct speaker s;
    bool stopped;

    speaker_init(&s, stop, 1);
    say(&s, "the EN", &stopped);
    assert_string_equal(said(&s), "the ");
    say(&s, "Dless", &stopped);
    assert_string_equal(said(&s), "the ENDless");
    assert_int_equal(say(&s, " END.more", &stopped), 5);
    assert_true(stopped);
    assert_string_equal(said(&s), "the ENDless ");
    assert_ptr_equal(s.answer.stop_string, stop[0]);
    speaker_finish(&s);
}

static void answer_gives_out_what_was_held_when_it_ends_otherwise(void **state)
{
    static const char *const stop[] = {"</s>"};
    struct speaker s;
    bool stopped;

    speaker_init(&s, stop, 1);
    say(&s, "a</s", &stopped);
    assert_string_equal(said(&s), "a");
    answer_flush(&s.answer, &s.out);
    assert_string_equal(said(&s), "a</s");
    assert_null(s.answer.stop_string);
    speaker_finish(&s);
}

static void answer_restarts_a_match_inside_itself(void **state)
{
    static const char *const stop[] = {"aab"};
    struct speaker s;
    bool stopped;

    speaker_init(&s, stop, 1);
    say(&s, "xaaaaab", &stopped);
    assert_true(stopped);
    assert_string_equal(said(&s), "xaaa");
    speaker_finish(&s);
}

static void answer_takes_the_longest_of_the_earliest_stop_strings(void **state)
{
    static const char *const stop[] = {"he", "hello", "", "lo w"};
    struct speaker s;
    bool stopped;
    uint32_t hello = 256 + 3; /* one token, so that both are complete at once */

    speaker_init(&s, stop, 4);
    say(&s, "oh ", &stopped);
    assert_true(answer_add(&s.answer, hello, &s.out));
    assert_string_equal(said(&s), "oh ");
    assert_ptr_equal(s.answer.stop_string, stop[1]);
    speaker_finish(&s);
}

static void answer_finds_a_stop_string_inside_a_token(void **state)
{
    static const char *const stop[] = {"ell"};
    struct speaker s;

    speaker_init(&s, stop, 1);
    assert_true(answer_add(&s.answer, 256 + 3, &s.out));
    assert_string_equal(said(&s), "h");
    speaker_finish(&s);
}

static void answer_gives_whole_characters_only(void **state)
{
    struct speaker s;
    bool stopped;

    speaker_init(&s, NULL, 0);
    say(&s, "\xe2\x82", &stopped);
    assert_string_equal(said(&s), "");
    say(&s, "\xac.", &stopped);
    assert_string_equal(said(&s), "\u20ac.");
    say(&s, "\xe2\x82", &stopped);
    answer_flush(&s.answer, &s.out);
    assert_string_equal(said(&s), "\u20ac.\ufffd");
    speaker_finish(&s);
}

static void answer_matches_a_stop_string_of_split_characters(void **state)
{
    static const char *const stop[] = {"\u20ac"};
    struct speaker s;
    bool stopped;

    speaker_init(&s, stop, 1);
    assert_int_equal(say(&s, "5\u00a2\u20ac!", &stopped), 6);
    assert_true(stopped);
    assert_string_equal(said(&s), "5\u00a2");
    speaker_finish(&s);
}

/* ---- cache blocks and sessions ---- */

struct cache_fixture {
    struct model_fixture model;
    struct device *dev;
    struct kv_cache *kv;
};

static void cache_init_with(struct cache_fixture *f, uint64_t n_tokens, uint32_t type)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F16);
    struct kv_cache_config cfg = {.pools = {.numa_node = -1},
                                  .size = {.tokens = n_tokens, .type = type}};
    struct gguf_builder b;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f->model, &b);
    assert_int_equal(device_create("cpu:1", &f->dev, NULL), 0);
    if (kv_cache_create(f->model.model, f->dev, &cfg, &f->kv, &err) < 0)
        fail_msg("%s", err.text);
}

static void cache_init(struct cache_fixture *f, uint64_t n_tokens)
{
    cache_init_with(f, n_tokens, KV_F16);
}

static void cache_finish(struct cache_fixture *f)
{
    kv_cache_destroy(f->kv, false);
    device_destroy(f->dev);
    model_fixture_finish(&f->model);
}

static void blocks_are_counted_and_come_back(void **state)
{
    struct cache_fixture f;
    uint32_t taken[4], extra;

    cache_init(&f, 3 * KV_BLOCK_TOKENS + 1);
    assert_int_equal(f.kv->n_blocks, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kv_cache_take(f.kv, &taken[i]), 0);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(taken[i], taken[k]);
        assert_true(taken[i] < 4);
    }
    assert_int_equal(kv_cache_take(f.kv, &extra), -ENOSPC);
    kv_cache_ref(f.kv, taken[2]);
    kv_cache_unref(f.kv, taken[2]);
    assert_int_equal(f.kv->n_free, 0);
    kv_cache_unref(f.kv, taken[2]);
    assert_int_equal(f.kv->n_free, 1);
    assert_int_equal(kv_cache_take(f.kv, &extra), 0);
    assert_int_equal(extra, taken[2]);
    cache_finish(&f);
}

static void layers_of_the_cache_do_not_overlap(void **state)
{
    struct cache_fixture f;
    uint64_t bytes;

    cache_init(&f, 100);
    bytes = f.kv->layers[0].block_bytes * f.kv->layers[0].n_blocks;
    assert_true(f.kv->layers[1].base >= f.kv->layers[0].base + bytes);
    assert_int_equal(f.kv->block_bytes, 2 * f.kv->layers[0].block_bytes);
    cache_finish(&f);
}

static void q8_0_takes_17_32nds_of_f16(void **state)
{
    struct cache_fixture f16, q8_0;

    cache_init_with(&f16, 100, KV_F16);
    cache_init_with(&q8_0, 100, KV_Q8_0);
    assert_int_equal(q8_0.kv->layers[1].type, KV_Q8_0);
    assert_int_equal(q8_0.kv->block_bytes, f16.kv->block_bytes / 32 * 17);
    assert_int_equal(q8_0.kv->block_bytes,
                     KV_BLOCK_TOKENS * model_kv_bytes_per_token(q8_0.model.model, KV_Q8_0));
    assert_true(q8_0.kv->layers[1].base >=
                q8_0.kv->layers[0].base + q8_0.kv->layers[0].block_bytes * q8_0.kv->n_blocks);
    cache_finish(&q8_0);
    cache_finish(&f16);
}

static void heads_that_are_no_whole_runs_are_refused_as_q8_0(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F16);
    struct model_fixture model;
    struct gguf_builder b;
    struct error err = {0};

    shape.head_dim = 80;
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&model, &b);
    assert_int_equal(kv_size_check_type(model.model, KV_F16, NULL), 0);
    assert_int_equal(kv_size_check_type(model.model, KV_Q8_0, &err), -ENOTSUP);
    if (!strstr(err.text, "80 channels") || !strstr(err.text, "kv-type"))
        fail_msg("%s", err.text);
    model_fixture_finish(&model);
}

static void impossible_caches_are_refused(void **state)
{
    static const uint64_t sizes[] = {0, UINT64_MAX, UINT64_MAX - 31, 1ull << 62, 1ull << 40};
    struct cache_fixture f;

    cache_init(&f, 1);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct kv_cache_config cfg = {.pools = {.numa_node = -1}, .size.tokens = sizes[i]};
        struct kv_cache *kv = NULL;
        struct error err = {0};
        assert_true(kv_cache_create(f.model.model, f.dev, &cfg, &kv, &err) < 0);
        assert_null(kv);
        assert_true(err.text[0]);
    }
    cache_finish(&f);
}

static void sessions_take_blocks_as_they_grow(void **state)
{
    struct cache_fixture f;
    struct session *a, *b;

    cache_init(&f, 4 * KV_BLOCK_TOKENS);
    assert_int_equal(session_create(f.kv, NULL, f.dev, 4 * KV_BLOCK_TOKENS, &a, NULL), 0);
    assert_int_equal(session_create(f.kv, NULL, f.dev, 4 * KV_BLOCK_TOKENS, &b, NULL), 0);
    assert_int_equal(session_reserve(a, 1), 0);
    assert_int_equal(a->n_blocks, 1);
    assert_int_equal(session_reserve(a, KV_BLOCK_TOKENS), 0);
    assert_int_equal(a->n_blocks, 1);
    assert_int_equal(session_reserve(a, KV_BLOCK_TOKENS + 1), 0);
    assert_int_equal(a->n_blocks, 2);
    assert_int_equal(session_reserve(b, 3 * KV_BLOCK_TOKENS), -ENOSPC);
    assert_int_equal(b->n_blocks, 2); /* what was taken stays */
    session_truncate(a, 0);
    assert_int_equal(session_reserve(b, 3 * KV_BLOCK_TOKENS), 0);
    assert_int_equal(f.kv->n_free, 1);
    session_destroy(b);
    session_destroy(a);
    session_destroy(NULL);
    assert_int_equal(f.kv->n_free, 4);
    cache_finish(&f);
}

static void truncating_a_session_keeps_what_is_before(void **state)
{
    struct cache_fixture f;
    struct session *s;
    uint32_t first;

    cache_init(&f, 4 * KV_BLOCK_TOKENS);
    assert_int_equal(session_create(f.kv, NULL, f.dev, 4 * KV_BLOCK_TOKENS, &s, NULL), 0);
    assert_int_equal(session_reserve(s, 3 * KV_BLOCK_TOKENS), 0);
    first = s->table.blocks[0];
    s->n_past = 3 * KV_BLOCK_TOKENS - 1;
    s->n_history = s->n_past + 1;
    session_truncate(s, KV_BLOCK_TOKENS + 2);
    assert_int_equal(s->n_blocks, 2);
    assert_int_equal(s->n_past, KV_BLOCK_TOKENS + 2);
    assert_int_equal(s->n_history, KV_BLOCK_TOKENS + 2);
    session_truncate(s, KV_BLOCK_TOKENS);
    assert_int_equal(s->n_blocks, 1);
    assert_int_equal(s->table.blocks[0], first);
    session_truncate(s, 4 * KV_BLOCK_TOKENS); /* beyond the end: nothing */
    assert_int_equal(s->n_past, KV_BLOCK_TOKENS);
    session_destroy(s);
    cache_finish(&f);
}

/* ---- state of fixed size ---- */

enum { SLOTS = 3 };

struct state_fixture {
    struct cache_fixture cache;
    struct state_slots *states;
};

/* A model of a delta layer and one of attention, on a cache that shares all its blocks. */
static void state_init(struct state_fixture *f)
{
    struct builder_shape shape = model_fixture_shape("qwen35", GGUF_TYPE_F16);
    struct kv_cache_config cfg = {.pools = {.kind = POOL_KIND_AUTO, .numa_node = -1},
                                  .size.tokens = 16 * KV_BLOCK_TOKENS,
                                  .prefix_tokens = 16 * KV_BLOCK_TOKENS};
    struct gguf_builder b;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f->cache.model, &b);
    assert_int_equal(device_create("cpu:2", &f->cache.dev, NULL), 0);
    assert_int_equal(kv_cache_create(f->cache.model.model, f->cache.dev, &cfg, &f->cache.kv, NULL),
                     0);
    assert_int_equal(
        state_slots_create(f->cache.model.model, f->cache.dev, SLOTS, &f->states, NULL), 0);
    assert_non_null(f->states);
    f->cache.kv->states = f->states;
}

static void state_finish(struct state_fixture *f)
{
    struct cache_fixture cache = f->cache;

    state_slots_destroy(f->states);
    cache_finish(&cache);
}

static struct session *state_session(struct state_fixture *f)
{
    struct session *s = NULL;

    assert_int_equal(
        session_create(f->cache.kv, f->states, f->cache.dev, 8 * KV_BLOCK_TOKENS, &s, NULL), 0);
    return s;
}

/* The floats of a slot in the delta layer; the cpu's addresses are pointers. */
static float *slot_floats(const struct state_fixture *f, uint32_t slot, size_t *ret_n)
{
    const struct seq_state *conv = &f->states->layers[0].conv;

    *ret_n = conv->slot_bytes / sizeof(float);
    return (float *)((char *)f->states->buffers[0]->host + slot * conv->slot_bytes);
}

static void fill_slot(const struct state_fixture *f, uint32_t slot, float value)
{
    size_t n;
    float *x = slot_floats(f, slot, &n);

    for (size_t i = 0; i < n; i++)
        x[i] = value + (float)i;
}

static void assert_slot(const struct state_fixture *f, uint32_t slot, float value)
{
    size_t n;
    const float *x = slot_floats(f, slot, &n);

    for (size_t i = 0; i < n; i++)
        if (x[i] != value + (float)i)
            fail_msg("float %zu of slot %u is %g", i, slot, (double)x[i]);
}

/* Feeds a session's tokens as the engine does, up to n; its state is then `value`. */
static void advance_to(struct state_fixture *f, struct session *s, uid_t uid,
                       const uint32_t *tokens, uint32_t n, float value)
{
    while (s->n_past < n) {
        uint32_t k = session_until_checkpoint(s, n - s->n_past);

        assert_int_equal(session_reserve(s, s->n_past + k), 0);
        memcpy(s->history + s->n_past, tokens + s->n_past, k * sizeof(*tokens));
        s->n_past += k;
        s->n_history = s->n_past;
        fill_slot(f, s->slot, value + (float)s->n_past);
        session_share_prefix(s, uid, s->n_past);
    }
}

static void models_without_state_have_no_slots(void **state)
{
    struct cache_fixture f;
    struct state_slots *states = NULL;

    cache_init(&f, KV_BLOCK_TOKENS);
    assert_int_equal(state_slots_create(f.model.model, f.dev, SLOTS, &states, NULL), 0);
    assert_null(states);
    assert_int_equal(state_slots_memory_bytes(f.model.model, SLOTS), 0);
    cache_finish(&f);
}

static void slots_are_held_from_the_first_block_to_the_last(void **state)
{
    struct session *s[SLOTS], *late;
    struct state_fixture f;

    state_init(&f);
    for (int i = 0; i < SLOTS; i++) {
        s[i] = state_session(&f);
        assert_int_equal(session_reserve(s[i], 1), 0);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(s[i]->slot, s[k]->slot);
    }
    late = state_session(&f);
    assert_int_equal(session_reserve(late, 1), -ENOSPC);
    assert_int_equal(late->n_blocks, 1); /* by which others see that it holds something */
    session_truncate(s[1], 0);
    assert_int_equal(session_reserve(late, 1), 0);
    assert_int_equal(session_reserve(s[1], 1), -ENOSPC);
    session_destroy(s[0]);
    assert_int_equal(session_reserve(s[1], 1), 0);
    session_destroy(s[1]);
    session_destroy(s[2]);
    session_destroy(late);
    state_finish(&f);
}

static void a_state_goes_back_to_a_checkpoint_or_to_its_beginning(void **state)
{
    uint32_t tokens[120];
    struct state_fixture f;
    struct session *s;

    for (uint32_t i = 0; i < 120; i++)
        tokens[i] = i;
    state_init(&f);
    s = state_session(&f);
    session_take_prefix(s, 1, tokens, 100);
    advance_to(&f, s, 1, tokens, 120, 1000);
    session_truncate(s, 120); /* nothing is forgotten */
    assert_int_equal(s->n_past, 120);
    assert_slot(&f, s->slot, 1120);
    session_truncate(s, 119);
    assert_int_equal(s->n_past, 96);
    assert_int_equal(s->n_history, 96);
    assert_int_equal(s->n_blocks, 3);
    assert_slot(&f, s->slot, 1096);
    session_truncate(s, 95);
    assert_int_equal(s->n_past, 0);
    assert_int_equal(s->n_blocks, 0);
    assert_int_equal(s->slot, STATE_NO_SLOT);
    session_destroy(s);
    state_finish(&f);
}

/* A prompt of 100 tokens leaves its state at 96, the last full block of which two tokens are left;
 * one that shares 64 of them finds none there and leaves one, for the third. */
static void prefixes_are_taken_up_to_a_checkpoint_and_no_further(void **state)
{
    enum { ALICE = 1, BOB = 2 };
    uint32_t tokens[100], other[100];
    struct state_fixture f;
    struct session *s;

    for (uint32_t i = 0; i < 100; i++) {
        tokens[i] = i;
        other[i] = i < 70 ? i : i + 1;
    }
    state_init(&f);
    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, ALICE, tokens, 100), 0);
    assert_int_equal(session_until_checkpoint(s, 100), 96);
    advance_to(&f, s, ALICE, tokens, 100, 1000);
    assert_int_equal(state_slots_n_checkpoints(f.states), 1);
    session_destroy(s);

    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, ALICE, tokens, 100), 96);
    assert_int_equal(s->n_blocks, 3);
    assert_slot(&f, s->slot, 1096); /* as it was there, not as the session left it */
    session_destroy(s);
    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, BOB, tokens, 100), 0);
    session_destroy(s);

    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, ALICE, other, 100), 0);
    assert_int_equal(s->n_blocks, 0);
    assert_int_equal(session_until_checkpoint(s, 100), 64);
    advance_to(&f, s, ALICE, other, 64, 2000);
    assert_int_equal(session_until_checkpoint(s, 36), 32);
    session_destroy(s);
    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, ALICE, other, 100), 64);
    assert_slot(&f, s->slot, 2064);
    session_destroy(s);
    state_finish(&f);
}

/* A block that holds something else has no state any more, and a slot that is needed is that of the
 * checkpoint that was not used for longest. */
static void checkpoints_go_with_their_blocks_and_for_sequences(void **state)
{
    enum { UID = 1 };
    uint32_t tokens[3][40], block;
    struct session *s, *runs[SLOTS - 1];
    struct state_fixture f;

    for (uint32_t i = 0; i < 3 * 40; i++)
        tokens[i / 40][i % 40] = i;
    state_init(&f);
    for (int i = 0; i < 2; i++) {
        s = state_session(&f);
        session_take_prefix(s, UID, tokens[i], 40);
        advance_to(&f, s, UID, tokens[i], 40, 100.0f * (float)i);
        session_destroy(s);
    }
    assert_int_equal(state_slots_n_checkpoints(f.states), 2);
    s = state_session(&f); /* the older one is used: the other goes first */
    assert_int_equal(session_take_prefix(s, UID, tokens[0], 40), 32);
    session_destroy(s);
    for (int i = 0; i < SLOTS - 1; i++) {
        runs[i] = state_session(&f);
        assert_int_equal(session_reserve(runs[i], 1), 0);
    }
    assert_int_equal(state_slots_n_checkpoints(f.states), 1);
    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, UID, tokens[1], 40), 0);
    session_destroy(s);
    for (int i = 0; i < SLOTS - 1; i++)
        session_destroy(runs[i]);
    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, UID, tokens[0], 40), 32);
    session_destroy(s);

    while (kv_cache_take(f.cache.kv, &block) == 0) /* all blocks, the shared ones at last */
        ;
    assert_int_equal(state_slots_n_checkpoints(f.states), 0);
    state_finish(&f);
}

/* Where sequences have all slots but that of the checkpoint that is wanted. */
static void the_last_checkpoint_goes_to_who_goes_on_from_it(void **state)
{
    enum { UID = 1 };
    struct session *s, *runs[SLOTS - 1];
    struct state_fixture f;
    uint32_t tokens[40];

    for (uint32_t i = 0; i < 40; i++)
        tokens[i] = i;
    state_init(&f);
    s = state_session(&f);
    session_take_prefix(s, UID, tokens, 40);
    advance_to(&f, s, UID, tokens, 40, 1000);
    session_destroy(s);
    for (int i = 0; i < SLOTS - 1; i++) {
        runs[i] = state_session(&f);
        assert_int_equal(session_reserve(runs[i], 1), 0);
    }
    s = state_session(&f);
    assert_int_equal(session_take_prefix(s, UID, tokens, 40), 32);
    assert_slot(&f, s->slot, 1032);
    assert_int_equal(state_slots_n_checkpoints(f.states), 0);
    session_destroy(s);
    for (int i = 0; i < SLOTS - 1; i++)
        session_destroy(runs[i]);
    state_finish(&f);
}

static void a_copy_of_a_session_has_its_state(void **state)
{
    struct session *from, *to, *more[SLOTS];
    struct state_fixture f;

    state_init(&f);
    from = state_session(&f);
    to = state_session(&f);
    assert_int_equal(session_reserve(from, 1), 0);
    fill_slot(&f, from->slot, 7);
    assert_int_equal(session_copy_state(to, from, NULL), 0);
    assert_int_not_equal(to->slot, from->slot);
    assert_slot(&f, to->slot, 7);
    fill_slot(&f, from->slot, 8);
    assert_slot(&f, to->slot, 7);
    for (int i = 0; i < 2; i++)
        more[i] = state_session(&f);
    assert_int_equal(session_copy_state(more[0], from, NULL), 0);
    assert_int_equal(session_copy_state(more[1], from, NULL), -ENOSPC);
    session_destroy(more[0]);
    session_destroy(more[1]);
    session_destroy(to);
    session_destroy(from);
    state_finish(&f);
}

/* ---- events ---- */

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void events_come_in_order_and_wake_once(void **state)
{
    struct event_queue q;
    struct event *ev;
    int subjects[3];

    assert_int_equal(event_queue_init(&q, NULL), 0);
    assert_false(is_readable(q.fd));
    for (int i = 0; i < 3; i++) {
        ev = event_new(&q, EVENT_TOKEN, &subjects[i]);
        strbuf_printf(&ev->text, "%d", i);
        event_post(&q, ev);
    }
    assert_true(is_readable(q.fd));
    ev = event_take_all(&q);
    assert_false(is_readable(q.fd));
    assert_null(event_take_all(&q));
    for (int i = 0; i < 3; i++) {
        struct event *next = ev->next;
        assert_ptr_equal(ev->subject, &subjects[i]);
        assert_int_equal(ev->text.data[0], '0' + i);
        event_recycle(&q, ev);
        ev = next;
    }
    assert_null(ev);
    event_queue_finish(&q);
    event_queue_finish(&q); /* twice is harmless */
}

static void recycled_events_bring_nothing_from_before(void **state)
{
    struct event_queue q;
    struct event *ev, *again;

    assert_int_equal(event_queue_init(&q, NULL), 0);
    ev = event_new(&q, EVENT_TOKEN, &q);
    strbuf_add_str(&ev->text, "old");
    ev->n_top = 5;
    error_set(&ev->error, EIO, "old");
    event_recycle(&q, ev);
    again = event_new(&q, EVENT_DONE, NULL);
    assert_ptr_equal(again, ev); /* the very same memory */
    assert_int_equal(again->text.len, 0);
    assert_int_equal(again->n_top, 0);
    assert_int_equal(again->error.code, 0);
    event_post(&q, again);
    event_queue_finish(&q); /* frees what was posted and never taken */
}

/* ---- the template for models that bring none ---- */

static void default_template_writes_turns(void **state)
{
    const char *source = prompt_default_template();
    struct template *t = NULL;
    struct strbuf out;
    json_t *vars = json_loads("{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}],"
                              " \"add_generation_prompt\": true}",
                              0, NULL);

    assert_int_equal(template_create(source, strlen(source), &t, NULL), 0);
    strbuf_init(&out, 0);
    assert_int_equal(template_render(t, vars, 0, NULL, &out, NULL), 0);
    assert_string_equal(out.data, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    json_object_set_new(vars, "add_generation_prompt", json_false());
    strbuf_reset(&out);
    assert_int_equal(template_render(t, vars, 0, NULL, &out, NULL), 0);
    assert_string_equal(out.data, "<|im_start|>user\nHi<|im_end|>\n");
    strbuf_finish(&out);
    template_destroy(t);
    json_decref(vars);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(answer_holds_back_what_may_begin_a_stop_string),
    cmocka_unit_test(answer_gives_out_what_was_held_when_it_ends_otherwise),
    cmocka_unit_test(answer_restarts_a_match_inside_itself),
    cmocka_unit_test(answer_takes_the_longest_of_the_earliest_stop_strings),
    cmocka_unit_test(answer_finds_a_stop_string_inside_a_token),
    cmocka_unit_test(answer_gives_whole_characters_only),
    cmocka_unit_test(answer_matches_a_stop_string_of_split_characters),
    cmocka_unit_test(blocks_are_counted_and_come_back),
    cmocka_unit_test(layers_of_the_cache_do_not_overlap),
    cmocka_unit_test(q8_0_takes_17_32nds_of_f16),
    cmocka_unit_test(heads_that_are_no_whole_runs_are_refused_as_q8_0),
    cmocka_unit_test(impossible_caches_are_refused),
    cmocka_unit_test(sessions_take_blocks_as_they_grow),
    cmocka_unit_test(truncating_a_session_keeps_what_is_before),
    cmocka_unit_test(models_without_state_have_no_slots),
    cmocka_unit_test(slots_are_held_from_the_first_block_to_the_last),
    cmocka_unit_test(a_state_goes_back_to_a_checkpoint_or_to_its_beginning),
    cmocka_unit_test(prefixes_are_taken_up_to_a_checkpoint_and_no_further),
    cmocka_unit_test(checkpoints_go_with_their_blocks_and_for_sequences),
    cmocka_unit_test(the_last_checkpoint_goes_to_who_goes_on_from_it),
    cmocka_unit_test(a_copy_of_a_session_has_its_state),
    cmocka_unit_test(events_come_in_order_and_wake_once),
    cmocka_unit_test(recycled_events_bring_nothing_from_before),
    cmocka_unit_test(default_template_writes_turns),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
