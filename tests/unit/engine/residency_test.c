/* SPDX-License-Identifier: MIT */
/* Who makes room for whom, by numbers alone: chosen cases, and a machine simulated at random. */
#include "harness.h"

#include "engine/residency.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GIB (1ull << 30)

/* A model that nobody uses: weights and cache in GiB, in memory that host and device share. */
static struct residency_model idle_for(const char *name, uint64_t weights, uint64_t cache,
                                       uint64_t last_used_ns)
{
    return (struct residency_model){
        .name = name,
        .held = {(weights + cache) * GIB, (weights + cache) * GIB},
        .work = {cache * GIB, (weights + cache) * GIB},
        .last_used_ns = last_used_ns,
    };
}

static struct residency_bytes both(uint64_t gib)
{
    return (struct residency_bytes){gib * GIB, gib * GIB};
}

static void nobody_goes_where_there_is_room(void **state)
{
    struct residency_model m[] = {idle_for("a", 4, 1, 1)};

    assert_true(residency_make_room(m, 1, both(8), both(8)));
    assert_int_equal(m[0].fate, RESIDENCY_STAYS);
}

static void the_least_recently_used_goes_first(void **state)
{
    struct residency_model m[] = {idle_for("a", 4, 1, 30), idle_for("b", 4, 1, 10),
                                  idle_for("c", 4, 1, 20)};

    assert_true(residency_make_room(m, 3, both(10), both(5)));
    assert_int_equal(m[0].fate, RESIDENCY_STAYS);
    assert_int_equal(m[1].fate, RESIDENCY_GOES);
    assert_int_equal(m[2].fate, RESIDENCY_STAYS);
}

static void the_pinned_go_last(void **state)
{
    struct residency_model m[] = {idle_for("a", 4, 1, 1), idle_for("b", 4, 1, 99)};

    m[0].is_pinned = true;
    assert_true(residency_make_room(m, 2, both(10), both(5)));
    assert_int_equal(m[0].fate, RESIDENCY_STAYS);
    assert_int_equal(m[1].fate, RESIDENCY_GOES);
    assert_true(residency_make_room(m, 2, both(15), both(5)));
    assert_int_equal(m[0].fate, RESIDENCY_GOES);
}

static void the_busy_never_go(void **state)
{
    struct residency_model m[] = {idle_for("a", 4, 1, 1), idle_for("b", 4, 1, 2)};

    m[0].is_busy = true;
    assert_true(residency_make_room(m, 2, both(10), both(5)));
    assert_int_equal(m[0].fate, RESIDENCY_STAYS);
    assert_int_equal(m[1].fate, RESIDENCY_GOES);
    assert_false(residency_make_room(m, 2, both(11), both(5)));
    assert_int_equal(m[0].fate, RESIDENCY_STAYS);
    assert_int_equal(m[1].fate, RESIDENCY_STAYS); /* in vain, so not at all */
}

static void idling_is_enough_where_only_the_device_is_full(void **state)
{
    struct residency_model m[] = {idle_for("a", 4, 1, 1), idle_for("b", 4, 1, 2)};
    struct residency_bytes free = {100 * GIB, 2 * GIB};

    assert_true(residency_make_room(m, 2, both(6), free));
    assert_int_equal(m[0].fate, RESIDENCY_IDLES);
    assert_int_equal(m[1].fate, RESIDENCY_STAYS);
}

static void idling_is_enough_where_a_cache_is_all_that_is_needed(void **state)
{
    struct residency_model m[] = {idle_for("a", 4, 3, 1)};

    assert_true(residency_make_room(m, 1, both(5), both(2)));
    assert_int_equal(m[0].fate, RESIDENCY_IDLES);
}

static void small_ones_are_spared_when_a_large_one_has_to_go_anyway(void **state)
{
    struct residency_model m[] = {idle_for("small", 1, 0, 1), idle_for("large", 8, 0, 2)};

    assert_true(residency_make_room(m, 2, both(8), both(0)));
    assert_int_equal(m[0].fate, RESIDENCY_STAYS);
    assert_int_equal(m[1].fate, RESIDENCY_GOES);
}

static void a_refusal_does_the_sum(void **state)
{
    struct residency_model m[] = {idle_for("qwen", 8, 1, 1), idle_for("llama", 4, 1, 2)};
    struct error err = {0};

    m[1].is_busy = true;
    m[1].n_requests = 2;
    assert_int_equal(residency_refuse(m, 2, 39 * GIB, 2 * GIB, both(41), both(12), &err), -ENOMEM);
    assert_non_null(strstr(err.text, "41.00 GiB of memory are needed (weights 39.00, cache 2.00)"));
    assert_non_null(strstr(err.text, "12.00 are free and 9.00 could be taken"));
    assert_non_null(strstr(err.text, "qwen 9.00 GiB, llama 5.00 GiB (2 requests)"));
    residency_refuse(m, 2, 39 * GIB, 2 * GIB, both(41),
                     (struct residency_bytes){99 * GIB, 12 * GIB}, &err);
    assert_non_null(strstr(err.text, "41.00 GiB of GPU memory are needed"));
    residency_refuse(NULL, 0, 39 * GIB, 2 * GIB, both(41), both(12), &err);
    assert_non_null(strstr(err.text, "no other model"));
}

static void a_refusal_names_as_many_as_fit(void **state)
{
    struct residency_model m[40];
    struct error err = {0};

    for (size_t i = 0; i < 40; i++)
        m[i] = idle_for("a-model-with-a-name-of-some-length", 1, 0, i);
    residency_refuse(m, 40, 39 * GIB, 2 * GIB, both(4100), both(12), &err);
    assert_non_null(strstr(err.text, ", ... Unload") ? err.text : strstr(err.text, ", ...."));
    assert_non_null(strstr(err.text, "a smaller context"));
}

static void models_idle_when_their_time_is_up(void **state)
{
    assert_int_equal(residency_idle_at_ns(100, 50), 150);
    assert_true(residency_idle_at_ns(100, 0) == UINT64_MAX);
    assert_true(residency_idle_at_ns(UINT64_MAX - 5, 50) == UINT64_MAX);
}

/* ---- a machine at random ---- */

enum { MODELS = 12, STEPS = 20000 };

struct machine {
    struct residency_bytes all;
    struct residency_model models[MODELS]; /* held 0: not there */
    struct residency_bytes weights[MODELS], cache[MODELS];
    uint64_t now_ns;
    unsigned n_refused, n_idled, n_gone;
};

static uint64_t below(uint64_t n)
{
    return (uint64_t)random() % n;
}

static struct residency_bytes room(const struct machine *m)
{
    struct residency_bytes left = m->all;

    for (size_t i = 0; i < MODELS; i++) {
        const struct residency_model *it = &m->models[i];
        assert_true(it->held.host <= left.host);
        assert_true(it->held.device <= left.device);
        left.host -= it->held.host;
        left.device -= it->held.device;
    }
    return left;
}

static struct residency_bytes most_room(const struct machine *m)
{
    struct residency_bytes left = room(m);

    for (size_t i = 0; i < MODELS; i++)
        if (!m->models[i].is_busy) {
            left.host += m->models[i].held.host;
            left.device += m->models[i].held.device;
        }
    return left;
}

static void meet_fate(struct machine *m, size_t i)
{
    struct residency_model *it = &m->models[i];

    if (it->fate == RESIDENCY_STAYS)
        return;
    assert_false(it->is_busy);
    if (it->fate == RESIDENCY_GOES) {
        it->held = it->work = (struct residency_bytes){0};
        m->n_gone++;
    } else {
        it->held.host -= it->work.host;
        it->held.device -= it->work.device;
        it->work = (struct residency_bytes){0};
        m->n_idled++;
    }
}

/* Whether it fits when the models have met their fates. */
static bool is_enough(const struct machine *m, struct residency_bytes need)
{
    struct residency_bytes left = room(m);

    for (size_t i = 0; i < MODELS; i++) {
        const struct residency_model *it = &m->models[i];

        if (it->fate == RESIDENCY_STAYS)
            continue;
        left.host += it->fate == RESIDENCY_GOES ? it->held.host : it->work.host;
        left.device += it->fate == RESIDENCY_GOES ? it->held.device : it->work.device;
    }
    return need.host <= left.host && need.device <= left.device;
}

/* Nobody goes in vain, and no pinned one while all others together would do. */
static void assert_frugal(struct machine *m, struct residency_bytes need)
{
    struct residency_bytes left = room(m);
    bool pinned_suffer = false;

    assert_true(is_enough(m, need));
    for (size_t i = 0; i < MODELS; i++) {
        struct residency_model *it = &m->models[i];
        enum residency_fate fate = it->fate;

        if (!it->is_busy && !it->is_pinned) {
            left.host += it->held.host;
            left.device += it->held.device;
        }
        if (fate == RESIDENCY_STAYS)
            continue;
        pinned_suffer |= it->is_pinned;
        it->fate--;
        assert_false(is_enough(m, need));
        it->fate = fate;
    }
    if (pinned_suffer)
        assert_false(need.host <= left.host && need.device <= left.device);
}

static void load(struct machine *m, size_t i)
{
    struct residency_bytes need = {m->weights[i].host + m->cache[i].host,
                                   m->weights[i].device + m->cache[i].device};
    struct residency_bytes most;
    bool fits;

    m->models[i].is_busy = true; /* who comes in is not asked to make room */
    most = most_room(m);
    fits = residency_make_room(m->models, MODELS, need, room(m));
    assert_int_equal(fits, need.host <= most.host && need.device <= most.device);
    if (!fits) {
        m->n_refused++;
        m->models[i].is_busy = false;
        return;
    }
    assert_frugal(m, need);
    for (size_t k = 0; k < MODELS; k++)
        meet_fate(m, k);
    m->models[i].held = need;
    m->models[i].work = (struct residency_bytes){m->cache[i].host, need.device};
    m->models[i].last_used_ns = ++m->now_ns;
    room(m);
}

static void nothing_is_promised_twice_and_nobody_busy_is_disturbed(void **state)
{
    struct machine m = {.all = {64 * GIB, 40 * GIB}};

    srandom(20);
    for (size_t i = 0; i < MODELS; i++) {
        m.weights[i].host = (1 + below(24)) * GIB;
        m.cache[i].host = (1 + below(6)) * GIB;
        m.weights[i].device = m.weights[i].host;
        m.cache[i].device = m.cache[i].host;
        m.models[i].is_pinned = i % 5 == 0;
    }
    for (unsigned step = 0; step < STEPS; step++) {
        size_t i = below(MODELS);
        struct residency_model *it = &m.models[i];

        if (!it->held.host)
            load(&m, i);
        else if (it->is_busy)
            it->is_busy = false;
        else if (it->work.host) { /* a request for one that is on the device */
            it->is_busy = true;
            it->last_used_ns = ++m.now_ns;
        }
    }
    assert_true(m.n_refused > 100);
    assert_true(m.n_idled > 100);
    assert_true(m.n_gone > 100);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(nobody_goes_where_there_is_room),
    cmocka_unit_test(the_least_recently_used_goes_first),
    cmocka_unit_test(the_pinned_go_last),
    cmocka_unit_test(the_busy_never_go),
    cmocka_unit_test(idling_is_enough_where_only_the_device_is_full),
    cmocka_unit_test(idling_is_enough_where_a_cache_is_all_that_is_needed),
    cmocka_unit_test(small_ones_are_spared_when_a_large_one_has_to_go_anyway),
    cmocka_unit_test(a_refusal_does_the_sum),
    cmocka_unit_test(a_refusal_names_as_many_as_fit),
    cmocka_unit_test(models_idle_when_their_time_is_up),
    cmocka_unit_test(nothing_is_promised_twice_and_nobody_busy_is_disturbed),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
