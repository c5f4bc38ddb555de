/* SPDX-License-Identifier: MIT */
/* Who gives way when a cache is full: what it costs to have keys and values again, whose loss is
 * least, who may keep what it has, and that in a long random life everybody gets done. */
#include "harness.h"

#include "engine/kv_cost.h"
#include "engine/scheduler.h"

#include <stdlib.h>

/* ---- what it costs ---- */

static void generated_tokens_cost_what_their_kernels_do(void **state)
{
    const struct kv_speeds s = {.prompt_token_ns = 10, .generated_token_ns = 70};
    const struct kv_loss l = {.prompt_tokens = 100, .generated_tokens = 10};

    assert_int_equal(kv_cost_compute_ns(&s, &l), 1700);
    assert_int_equal(kv_cost_return_ns(&s, &l), 1700); /* no disk */
}

/* A device that takes 10 ms for a step and 0.1 ms more for each token of it. */
static void a_prompts_last_few_tokens_hardly_change_what_a_token_takes(void **state)
{
    enum { FULL = 500, FULL_NS = 60000000, FEW = 5, FEW_NS = 10500000 };
    uint64_t token_ns = kv_cost_learn_token_ns(0, FEW, FULL, FEW_NS);

    assert_int_equal(token_ns, FEW_NS / FEW); /* all that is known */
    for (int i = 0; i < 30; i++)
        token_ns = kv_cost_learn_token_ns(token_ns, FULL, FULL, FULL_NS);
    assert_in_range(token_ns, FULL_NS / FULL, FULL_NS / FULL + 1000);
    /* eight prompts of 505 tokens */
    for (int i = 0; i < 8; i++) {
        token_ns = kv_cost_learn_token_ns(token_ns, FULL, FULL, FULL_NS);
        token_ns = kv_cost_learn_token_ns(token_ns, FEW, FULL, FEW_NS);
    }
    assert_in_range(token_ns, FULL_NS / FULL, FULL_NS / FULL * 5 / 4);
    /* what is twice as slow from now on is known to be after a few steps, however large they are */
    for (uint32_t n = 16; n <= 4 * FULL; n *= 2) {
        token_ns = 1000;
        for (int i = 0; i < 8; i++)
            token_ns = kv_cost_learn_token_ns(token_ns, n, n < FULL ? n : FULL, n * 2000ull);
        assert_in_range(token_ns, 1850, 2000);
    }
}

static void what_is_on_disk_is_read_where_that_is_cheaper(void **state)
{
    struct kv_speeds s = {
        .prompt_token_ns = 1000, .generated_token_ns = 5000, .bytes_per_second = 1000000000};
    struct kv_loss l = {
        .prompt_tokens = 96, .generated_tokens = 40, .disk_tokens = 128, .disk_bytes = 10000};

    /* 10 us of reading, and 8 of the generated to compute */
    assert_int_equal(kv_cost_read_ns(&s, &l), 10000);
    assert_int_equal(kv_cost_return_ns(&s, &l), 10000 + 8 * 5000);
    l.disk_bytes = 300000000; /* 300 ms, against 296 us */
    assert_int_equal(kv_cost_return_ns(&s, &l), 96 * 1000 + 40 * 5000);
    l.disk_bytes = 10000;
    s.bytes_per_second = 0; /* nobody has read yet */
    assert_int_equal(kv_cost_return_ns(&s, &l), 96 * 1000 + 40 * 5000);
    s.bytes_per_second = 1000000000;
    l.disk_tokens = 64; /* within the prompt */
    assert_int_equal(kv_cost_return_ns(&s, &l), 10000 + 32 * 1000 + 40 * 5000);
}

static void reading_is_tried_where_nothing_is_known(void **state)
{
    struct kv_speeds s = {0};
    struct kv_loss l = {.prompt_tokens = 32, .disk_bytes = 1000};

    assert_true(kv_cost_prefers_reading(&s, &l));
    s.prompt_token_ns = 1000;
    assert_true(kv_cost_prefers_reading(&s, &l));
    s.bytes_per_second = 1000000; /* 1 ms, against 32 us */
    assert_false(kv_cost_prefers_reading(&s, &l));
    s.bytes_per_second = 1000000000;
    assert_true(kv_cost_prefers_reading(&s, &l));
    l.disk_bytes = 0;
    assert_false(kv_cost_prefers_reading(&s, &l));
}

/* ---- whose loss is least ---- */

struct fixture {
    struct scheduler s;
};

static int set_up(void **state)
{
    struct fixture *f = malloc(sizeof(*f));

    scheduler_init(&f->s, 64, 4);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    scheduler_finish(&f->s);
    free(f);
    return 0;
}

static struct scheduler_entry holder(uid_t uid, uint32_t n_freed, uint64_t return_ns)
{
    return (struct scheduler_entry){
        .uid = uid, .n_blocks = n_freed + 1, .n_freed = n_freed, .return_ns = return_ns};
}

static void who_has_the_least_to_do_again_for_a_block_gives_way(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = holder(1, 10, 1000), b = holder(1, 4, 200), c = holder(2, 2, 180),
                           d = holder(2, 0, 1), asks = {.uid = 3};

    scheduler_add(&f->s, &a);
    scheduler_add(&f->s, &b);
    scheduler_add(&f->s, &c);
    scheduler_add(&f->s, &d);
    scheduler_add(&f->s, &asks);
    assert_ptr_equal(scheduler_victim(&f->s, &asks, false), &b); /* 50 ns a block */
    b.return_ns = 400;                                           /* 100, as a; c: 90 */
    assert_ptr_equal(scheduler_victim(&f->s, &asks, false), &c);
    c.return_ns = 200; /* all alike: the youngest, but not d, which frees nothing */
    assert_ptr_equal(scheduler_victim(&f->s, &asks, false), &c);
    a.return_ns = 10;
    assert_ptr_equal(scheduler_victim(&f->s, &asks, false), &a);
    a.has_yielded = true; /* not twice for who came later, however cheap */
    assert_ptr_equal(scheduler_victim(&f->s, &asks, false), &c);
}

static void background_gives_way_whatever_it_costs(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = holder(1, 10, 1), quiet = holder(1, 1, 1000000), asks = {.uid = 3};

    quiet.is_background = true;
    scheduler_add(&f->s, &quiet);
    scheduler_add(&f->s, &a);
    scheduler_add(&f->s, &asks);
    assert_ptr_equal(scheduler_victim(&f->s, &asks, false), &quiet);
}

static void who_has_to_give_way_to_itself_keeps_what_it_has_while_others_run(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = holder(1, 3, 5), b = holder(2, 3, 5), c = holder(2, 3, 5);

    scheduler_add(&f->s, &a);
    scheduler_add(&f->s, &b);
    scheduler_add(&f->s, &c);
    a.has_yielded = b.has_yielded = true;
    assert_ptr_equal(scheduler_victim(&f->s, &c, false), &c);
    assert_true(scheduler_may_wait(&f->s, &c, false));
    a.is_blocked = true;
    assert_true(scheduler_may_wait(&f->s, &c, true)); /* b is of the same user */
    b.is_paused = true;
    assert_false(scheduler_may_wait(&f->s, &c, false));
    b.is_paused = false;
    b.n_blocks = 0; /* it has nothing to give back */
    assert_false(scheduler_may_wait(&f->s, &c, false));
    a.is_blocked = false;
    assert_false(scheduler_may_wait(&f->s, &c, true));
    assert_true(scheduler_may_wait(&f->s, &c, false));
}

/* ---- a long random life ---- */

enum { POOL = 40, BLOCK = 32, LIVE = 24, REQUESTS = 20000, MOST = 8 };

struct life_request {
    struct scheduler_entry e;
    uint32_t n_prompt, n_tokens, n_past, n_end; /* n_end: tokens it has in the end */
    bool is_live;
};

struct life {
    struct scheduler s;
    struct life_request requests[LIVE];
    uint32_t n_free, n_arrived, n_done;
    uint64_t n_lost, n_waits;
    uint32_t seed;
};

static uint32_t draw(struct life *l, uint32_t below)
{
    l->seed = l->seed * 1664525 + 1013904223;
    return (l->seed >> 8) % below;
}

static void note_pending(struct life_request *r)
{
    r->e.is_generated = r->n_past >= r->n_prompt;
    r->e.n_pending = (r->e.is_generated ? r->n_tokens : r->n_prompt) - r->n_past;
}

static void arrive(struct life *l, struct life_request *r)
{
    *r = (struct life_request){.is_live = true};
    r->n_prompt = r->n_tokens = 1 + draw(l, draw(l, 8) ? 100 : 900);
    r->n_end = r->n_prompt + 1 + draw(l, draw(l, 8) ? 60 : 300); /* at most 1200 of 1280 */
    r->e.uid = draw(l, 4);
    r->e.is_background = !draw(l, 5);
    l->n_arrived++;
    scheduler_add(&l->s, &r->e);
    note_pending(r);
}

/* A generated token costs seven times as much to compute again. */
static uint64_t return_cost(const struct life_request *r)
{
    return r->n_past < r->n_prompt ? r->n_past : r->n_prompt + 7ull * (r->n_past - r->n_prompt);
}

static void give_back(struct life *l, struct life_request *r)
{
    l->n_free += r->e.n_blocks;
    l->n_lost += return_cost(r);
    r->e.n_blocks = r->n_past = 0;
    note_pending(r);
}

static void end(struct life *l, struct life_request *r)
{
    l->n_free += r->e.n_blocks;
    r->is_live = false;
    l->n_done++;
    scheduler_remove(&l->s, &r->e);
}

/* As the owner does. */
static void make_room(struct life *l, struct life_request *r)
{
    struct scheduler_entry *victim;

    for (size_t i = 0; i < LIVE; i++) {
        struct life_request *it = &l->requests[i];

        it->e.n_freed = it->e.n_blocks;
        it->e.return_ns = return_cost(it);
    }
    victim = scheduler_victim(&l->s, &r->e, false);
    assert_non_null(victim); /* each fits alone */
    if (victim == &r->e && scheduler_may_wait(&l->s, &r->e, false)) {
        l->n_waits++;
        r->e.is_blocked = true;
        return;
    }
    if (victim == &r->e)
        scheduler_unblock(&l->s);
    give_back(l, container_of(victim, struct life_request, e));
    victim->is_blocked = victim->has_yielded = true;
}

static void serve(struct life *l, const struct scheduler_choice *c)
{
    struct life_request *r = container_of(c->entry, struct life_request, e);
    uint32_t n = c->n_tokens < r->e.n_pending ? c->n_tokens : r->e.n_pending, need;

    if (r->e.is_blocked || !r->is_live) {
        scheduler_take_back(c, 0);
        return;
    }
    need = (r->n_past + n + BLOCK - 1) / BLOCK - r->e.n_blocks;
    if (need > l->n_free) {
        scheduler_take_back(c, 0);
        make_room(l, r);
        return;
    }
    l->n_free -= need;
    r->e.n_blocks += need;
    r->n_past += n;
    if (r->n_past == r->n_tokens && ++r->n_tokens > r->n_end)
        end(l, r);
    else
        note_pending(r);
}

/* Readers that stop for a while: their blocks may go. */
static void disturb(struct life *l)
{
    struct life_request *r = &l->requests[draw(l, LIVE)];

    if (!r->is_live || draw(l, 20))
        return;
    if (!r->e.is_paused)
        scheduler_unblock(&l->s);
    r->e.is_paused = !r->e.is_paused;
}

static bool resume_all(struct life *l)
{
    bool any = false;

    for (size_t i = 0; i < LIVE; i++) {
        any |= l->requests[i].is_live && l->requests[i].e.is_paused;
        l->requests[i].e.is_paused = false;
    }
    return any;
}

static void everybody_gets_done_in_a_cache_that_is_always_full(void **state)
{
    struct life *l = calloc(1, sizeof(*l));
    struct scheduler_choice choices[MOST];
    uint64_t n_steps = 0, n_useless = 0;

    l->n_free = POOL;
    l->seed = 1;
    scheduler_init(&l->s, 64, MOST);
    while (l->n_done < REQUESTS) {
        size_t n;

        for (size_t i = 0; i < LIVE && l->n_arrived < REQUESTS; i++)
            if (!l->requests[i].is_live && !draw(l, 4))
                arrive(l, &l->requests[i]);
        disturb(l);
        n = scheduler_next(&l->s, choices, MOST);
        for (size_t i = 0; i < n; i++)
            serve(l, &choices[i]);
        if (!n && l->n_arrived > l->n_done && !resume_all(l) && n_useless++ > LIVE)
            fail_msg("nobody runs: %u of %u are done", l->n_done, l->n_arrived);
        else if (n)
            n_useless = 0;
        assert_in_range(l->n_free, 0, POOL);
        if (++n_steps > 400ull * REQUESTS)
            fail_msg("%u of %u are done after %llu steps", l->n_done, l->n_arrived,
                     (unsigned long long)n_steps);
    }
    assert_int_equal(l->n_free, POOL);
    assert_true(l->n_lost > 0 && l->n_waits > 0); /* both happened */
    print_message("# %llu steps, %llu tokens computed again, %llu waits\n",
                  (unsigned long long)n_steps, (unsigned long long)l->n_lost,
                  (unsigned long long)l->n_waits);
    scheduler_finish(&l->s);
    free(l);
}

#define MINUTE_NS 60000000000ull

static void one_slow_read_of_a_drive_does_not_decide(void **state)
{
    struct kv_drive d = {0};

    assert_int_equal(kv_drive_speed(&d, 5), 0);
    kv_drive_note(&d, 1000, 1000, 10);
    assert_int_equal(kv_drive_speed(&d, 10), 1000000000);
    kv_drive_note(&d, 1000, 1000000000000, 20); /* it woke up */
    assert_int_equal(kv_drive_speed(&d, 20), 750000000);
    kv_drive_note(&d, 1000, 1, 30); /* that was no drive */
    assert_int_equal(kv_drive_speed(&d, 30), 937500000);
}

static void a_drive_that_was_slow_is_tried_again_after_a_while(void **state)
{
    const struct kv_loss l = {.prompt_tokens = 10, .disk_tokens = 10, .disk_bytes = 1000};
    struct kv_speeds s = {.prompt_token_ns = 1000};
    struct kv_drive d = {0};

    kv_drive_note(&d, 1000, 1000000, 10);
    s.bytes_per_second = kv_drive_speed(&d, MINUTE_NS);
    assert_false(kv_cost_prefers_reading(&s, &l));
    s.bytes_per_second = kv_drive_speed(&d, MINUTE_NS + 10);
    assert_true(kv_cost_prefers_reading(&s, &l));
    kv_drive_note(&d, 1000, 100, MINUTE_NS + 10); /* what was known counts no more */
    assert_int_equal(kv_drive_speed(&d, MINUTE_NS + 10), 10000000000);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(generated_tokens_cost_what_their_kernels_do),
    cmocka_unit_test(a_prompts_last_few_tokens_hardly_change_what_a_token_takes),
    cmocka_unit_test(what_is_on_disk_is_read_where_that_is_cheaper),
    cmocka_unit_test(reading_is_tried_where_nothing_is_known),
    cmocka_unit_test(one_slow_read_of_a_drive_does_not_decide),
    cmocka_unit_test(a_drive_that_was_slow_is_tried_again_after_a_while),
    WITH(who_has_the_least_to_do_again_for_a_block_gives_way),
    WITH(background_gives_way_whatever_it_costs),
    WITH(who_has_to_give_way_to_itself_keeps_what_it_has_while_others_run),
    cmocka_unit_test(everybody_gets_done_in_a_cache_that_is_always_full),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
