/* SPDX-License-Identifier: MIT */
/* Who runs next: small cases by hand, and a simulation of a million requests. */
#include "harness.h"

#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, FEW = 4, SEQS = 8 };

struct fixture {
    struct scheduler s;
    struct scheduler_choice choices[SEQS];
    size_t n;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    scheduler_init(&f->s, BATCH, FEW);
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

static struct scheduler_entry prompt_of(uid_t uid, uint32_t n_tokens)
{
    return (struct scheduler_entry){.uid = uid, .n_pending = n_tokens};
}

static struct scheduler_entry stream_of(uid_t uid)
{
    return (struct scheduler_entry){.uid = uid, .n_pending = 1, .is_generated = true};
}

static void add(struct fixture *f, struct scheduler_entry *e)
{
    assert_int_equal(scheduler_add(&f->s, e), 0);
}

static size_t next(struct fixture *f)
{
    f->n = scheduler_next(&f->s, f->choices, SEQS);
    return f->n;
}

/* Tokens the last choice gave an entry. */
static uint32_t got(const struct fixture *f, const struct scheduler_entry *e)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->choices[i].entry == e)
            return f->choices[i].n_tokens;
    return 0;
}

/* ---- small cases ---- */

static void nobody_runs_where_nobody_waits(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = prompt_of(1, 0);

    assert_int_equal(next(f), 0);
    add(f, &a);
    assert_int_equal(next(f), 0);
    a.n_pending = 5;
    assert_int_equal(scheduler_next(&f->s, f->choices, 0), 0);
    assert_int_equal(next(f), 1);
}

static void a_long_prompt_is_cut_into_chunks(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = prompt_of(1, 100);

    add(f, &a);
    assert_int_equal(next(f), 1);
    assert_int_equal(got(f, &a), BATCH);
    a.n_pending -= BATCH;
    assert_int_equal(next(f), 1);
    assert_int_equal(got(f, &a), 100 - BATCH);
}

static void short_prompts_share_a_chunk(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = prompt_of(1, 10), b = prompt_of(1, 20), c = prompt_of(2, 7);

    add(f, &a);
    add(f, &b);
    add(f, &c);
    assert_int_equal(next(f), 3);
    assert_int_equal(got(f, &a), 10);
    assert_int_equal(got(f, &b), 20);
    assert_int_equal(got(f, &c), 7);
}

static struct scheduler_entry whole_of(uid_t uid, uint32_t n_tokens)
{
    return (struct scheduler_entry){.uid = uid, .n_pending = n_tokens, .is_whole = true};
}

static void a_whole_text_is_never_cut(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = whole_of(1, 100), b = whole_of(1, 30), c = whole_of(1, 40);

    add(f, &a);
    add(f, &b);
    add(f, &c);
    assert_int_equal(next(f), 1);
    assert_int_equal(got(f, &a), 100);
    a.n_pending = 0;
    assert_int_equal(next(f), 1); /* c would no longer fit */
    assert_int_equal(got(f, &b), 30);
    b.n_pending = 20;
    assert_int_equal(next(f), 2);
    assert_int_equal(got(f, &c), 40);
    assert_int_equal(got(f, &b), 20);
}

/* Nor does who had more than a turn's tokens keep the device from working. */
static void whole_texts_keep_nobody_waiting(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry shorts[3], text = whole_of(2, 60), huge = whole_of(1, 5000);
    int n_steps = 0;

    for (int i = 0; i < 3; i++) {
        shorts[i] = whole_of(1, 30);
        add(f, &shorts[i]);
    }
    add(f, &text);
    do
        assert_true(next(f) > 0);
    while (!got(f, &text) && ++n_steps < 10);
    assert_true(n_steps < 5); /* the other user's turn is 128 tokens */
    text.n_pending = 0;
    add(f, &huge);
    do
        assert_true(next(f) > 0);
    while (!got(f, &huge) && ++n_steps < 20);
    assert_int_equal(got(f, &huge), 5000);
    scheduler_remove(&f->s, &huge);
    for (int i = 0; i < 100; i++)
        assert_true(next(f) > 0);
}

static void streams_run_together_and_take_turns_with_prompts(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry p = prompt_of(1, 1000), a = stream_of(1), b = stream_of(2);

    add(f, &p);
    add(f, &a);
    add(f, &b);
    f->s.shared_batch_tokens = 20;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(next(f), 1);
        assert_int_equal(got(f, &p), 20); /* shorter, so that the streams keep their pace */
        assert_int_equal(next(f), 2);
        assert_int_equal(got(f, &a), 1);
        assert_int_equal(got(f, &b), 1);
    }
    a.is_paused = b.is_paused = true;
    next(f);
    assert_int_equal(got(f, &p), BATCH);
}

static void more_streams_than_a_step_holds_go_in_rotation(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry one = stream_of(1), many[10];
    int n_one = 0, n_many[10] = {0};

    add(f, &one);
    for (int i = 0; i < 10; i++) {
        many[i] = stream_of(2);
        add(f, &many[i]);
    }
    for (int step = 0; step < 100; step++) {
        assert_int_equal(next(f), FEW);
        n_one += (int)got(f, &one);
        for (int i = 0; i < 10; i++)
            n_many[i] += (int)got(f, &many[i]);
    }
    assert_int_equal(n_one, 100); /* a user alone is in every step */
    for (int i = 0; i < 10; i++)
        assert_int_equal(n_many[i], 30); /* the rest is shared alike */
}

static void prompts_of_two_users_advance_alike(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry one = prompt_of(1, 1000000), many[50];
    uint64_t n_one = 0, n_many = 0;

    add(f, &one);
    for (int i = 0; i < 50; i++) {
        many[i] = prompt_of(2, 1000000);
        add(f, &many[i]);
    }
    for (int step = 0; step < 1000; step++) {
        next(f);
        for (size_t i = 0; i < f->n; i++) {
            *(f->choices[i].entry == &one ? &n_one : &n_many) += f->choices[i].n_tokens;
            f->choices[i].entry->n_pending -= f->choices[i].n_tokens;
        }
    }
    assert_int_equal(n_one + n_many, 1000 * BATCH);
    assert_in_range(n_one, 500 * BATCH - 256, 500 * BATCH + 256);
    for (int i = 1; i < 50; i++) /* and so do the prompts of one user */
        assert_in_range(many[i].n_pending, many[0].n_pending - 256, many[0].n_pending + 256);
}

static void many_short_prompts_of_one_user_leave_others_their_turn(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry many[50], one = prompt_of(2, 40);
    int steps = 0;

    for (int i = 0; i < 50; i++) {
        many[i] = prompt_of(1, 3);
        add(f, &many[i]);
    }
    add(f, &one);
    /* each is followed by another at once: a step never has room for all of them */
    for (; one.n_pending && steps < 100; steps++) {
        next(f);
        one.n_pending -= got(f, &one);
    }
    assert_in_range(steps, 1, 8); /* a turn of 128 tokens, SEQS prompts of 3 tokens a step */
}

static void a_user_of_more_weight_gets_as_much_more(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = prompt_of(1, 1000000), b = prompt_of(2, 1000000);
    struct scheduler_entry streams[8];
    uint64_t n_a = 0, n_b = 0;

    assert_int_equal(scheduler_set_weight(&f->s, 2, 3), 0);
    add(f, &a);
    add(f, &b);
    for (int step = 0; step < 1000; step++) {
        next(f);
        n_a += got(f, &a);
        n_b += got(f, &b);
    }
    assert_in_range(n_b, 3 * n_a - 1024, 3 * n_a + 1024);
    scheduler_remove(&f->s, &a);
    scheduler_remove(&f->s, &b);
    for (int i = 0; i < 8; i++) {
        streams[i] = stream_of(i < 4 ? 1 : 2);
        add(f, &streams[i]);
    }
    n_a = n_b = 0;
    for (int step = 0; step < 100; step++) {
        next(f);
        for (size_t i = 0; i < f->n; i++)
            *(f->choices[i].entry->uid == 1 ? &n_a : &n_b) += f->choices[i].n_tokens;
    }
    assert_int_equal(n_a, 100);
    assert_int_equal(n_b, 300);
}

static void a_short_prompt_behind_a_long_one_is_done_in_two_chunks(void **state)
{
    for (uid_t uid = 1; uid <= 2; uid++) { /* of the same user, and of another */
        struct fixture *f = *state;
        struct scheduler_entry endless = prompt_of(1, 100000), quick = prompt_of(uid, 40);

        f->s.batch_tokens = 512;
        add(f, &endless);
        for (int i = 0; i < 3; i++) {
            next(f);
            endless.n_pending -= got(f, &endless);
        }
        add(f, &quick);
        for (int i = 0; i < 2 && quick.n_pending; i++) {
            next(f);
            endless.n_pending -= got(f, &endless);
            quick.n_pending -= got(f, &quick);
        }
        assert_int_equal(quick.n_pending, 0);
        scheduler_remove(&f->s, &endless);
        scheduler_remove(&f->s, &quick);
    }
}

/* While somebody streams chunks are as short as its pace wants, down to 16 tokens. */
static void a_short_prompt_is_done_in_two_short_chunks_too(void **state)
{
    for (int i = 0; i < 4; i++) { /* of the same user, and of another; of 64 and of 16 tokens */
        struct fixture *f = *state;
        uint32_t chunk = i / 2 ? 16 : 64;
        struct scheduler_entry endless = prompt_of(1, 100000), stream = stream_of(3),
                               quick = prompt_of(1 + i % 2, chunk * 3 / 4);
        int n_chunks = 0;

        f->s.batch_tokens = 500; /* the long one is in the middle of its turn when streams come */
        f->s.shared_batch_tokens = chunk;
        add(f, &endless);
        next(f);
        endless.n_pending -= got(f, &endless);
        add(f, &stream);
        next(f);
        add(f, &quick);
        while (quick.n_pending && n_chunks < 10) {
            next(f);
            n_chunks += !got(f, &stream);
            endless.n_pending -= got(f, &endless);
            quick.n_pending -= got(f, &quick);
        }
        assert_in_range(n_chunks, 1, 2);
        scheduler_remove(&f->s, &endless);
        scheduler_remove(&f->s, &quick);
        scheduler_remove(&f->s, &stream);
    }
}

/* Else all that came together would have to wait for the last of them. */
static void short_prompts_of_a_user_are_done_one_after_another(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry list[4];

    f->s.batch_tokens = 16;
    for (int i = 0; i < 4; i++) {
        list[i] = prompt_of(1, 32);
        add(f, &list[i]);
    }
    for (int i = 0; i < 4; i++) {
        for (int chunk = 0; chunk < 2; chunk++) {
            assert_int_equal(next(f), 1);
            list[i].n_pending -= got(f, &list[i]);
        }
        assert_int_equal(list[i].n_pending, 0);
    }
}

static void background_waits_but_not_for_ever(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry busy = prompt_of(1, 10000000), patient = prompt_of(2, 10);
    int step = 0;

    patient.is_background = true;
    add(f, &busy);
    add(f, &patient);
    do {
        next(f);
        step++;
    } while (!got(f, &patient) && step < 2 * (int)SCHEDULER_AGE);
    assert_in_range(step, SCHEDULER_AGE, SCHEDULER_AGE + 2);
    scheduler_remove(&f->s, &busy);
    assert_int_equal(next(f), 1);
    assert_int_equal(got(f, &patient), 10);
}

static void who_is_paused_or_blocked_is_passed_over(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = stream_of(1), b = stream_of(1), c = stream_of(2);

    add(f, &a);
    add(f, &b);
    add(f, &c);
    a.is_paused = true;
    b.is_blocked = true;
    assert_int_equal(next(f), 1);
    assert_int_equal(got(f, &c), 1);
    scheduler_remove(&f->s, &c); /* gives blocks back: b may try again, a is still paused */
    assert_int_equal(next(f), 1);
    assert_int_equal(got(f, &b), 1);
}

static void what_was_not_computed_is_given_back(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = prompt_of(1, 1000000), b = prompt_of(2, 1000000);
    uint64_t n_a = 0, n_b = 0;

    add(f, &a);
    add(f, &b);
    for (int step = 0; step < 1000; step++) {
        next(f);
        for (size_t i = 0; i < f->n; i++) {
            struct scheduler_choice *c = &f->choices[i];
            uint32_t used = c->entry == &a ? c->n_tokens / 2 : c->n_tokens;

            scheduler_take_back(c, used);
            *(c->entry == &a ? &n_a : &n_b) += used;
        }
    }
    assert_in_range(n_a, n_b - 1024, n_b + 1024);
}

static void blocks_are_taken_from_background_then_from_the_youngest(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = {.uid = 1, .n_blocks = 1}, b = {.uid = 1, .n_blocks = 2},
                           c = {.uid = 2, .n_blocks = 3}, d = {.uid = 2},
                           quiet = {.uid = 1, .n_blocks = 1, .is_background = true};

    add(f, &quiet);
    add(f, &a);
    assert_ptr_equal(scheduler_victim(&f->s, &a, false), &quiet);
    assert_ptr_equal(scheduler_victim(&f->s, &quiet, false), &quiet); /* nobody gives way to it */
    a.is_paused = true;
    assert_ptr_equal(scheduler_victim(&f->s, &quiet, false), &a);
    a.is_paused = false;
    add(f, &b);
    add(f, &c);
    add(f, &d); /* waits for its first step: it has nothing to give */
    quiet.n_blocks = 0;
    assert_ptr_equal(scheduler_victim(&f->s, &a, false), &c);
    assert_ptr_equal(scheduler_victim(&f->s, &c, false), &b);
    c.n_blocks = b.n_blocks = 0;
    assert_ptr_equal(scheduler_victim(&f->s, &d, false), &a);
    assert_null(scheduler_victim(&f->s, &a, false));
}

/* Else a user who asks again and again would keep another's answer from ever ending. */
static void who_gave_way_once_gives_way_to_none_that_came_later(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = {.uid = 1, .n_blocks = 3}, b = {.uid = 2}, c = {.uid = 2};

    add(f, &a);
    add(f, &b);
    assert_ptr_equal(scheduler_victim(&f->s, &b, false), &a);
    a.has_yielded = true;
    add(f, &c);
    assert_ptr_equal(scheduler_victim(&f->s, &c, false), &c);
    c.n_blocks = 2;
    c.has_yielded = true;
    assert_ptr_equal(scheduler_victim(&f->s, &a, false), &c); /* the older one goes on */
    assert_ptr_equal(scheduler_victim(&f->s, &b, false), &c);
    a.is_paused = true;
    assert_ptr_equal(scheduler_victim(&f->s, &c, false), &a);
    a.n_blocks = 0;
    assert_null(scheduler_victim(&f->s, &c, false));
}

static void users_without_requests_are_forgotten_but_not_their_weights(void **state)
{
    struct fixture *f = *state;
    struct scheduler_entry a = prompt_of(0, 1000000), b = prompt_of(0, 1000000);
    uint64_t n_a = 0, n_b = 0;

    assert_int_equal(scheduler_set_weight(&f->s, 7, 2), 0);
    for (uid_t uid = 100; uid < 1100; uid++) {
        struct scheduler_entry e = prompt_of(uid, 5);

        add(f, &e);
        assert_int_equal(next(f), 1);
        scheduler_remove(&f->s, &e);
    }
    assert_true(f->s.n_others <= 100);
    a.uid = 7;
    b.uid = 8;
    add(f, &a);
    add(f, &b);
    for (int step = 0; step < 1000; step++) {
        next(f);
        n_a += got(f, &a);
        n_b += got(f, &b);
    }
    assert_in_range(n_a, 2 * n_b - 1024, 2 * n_b + 1024);
}

/* ---- a million requests ---- */

/* One thread, in which ThreadSanitizer finds nothing, and twenty times as slow. */
#ifdef __SANITIZE_THREAD__
#define SIM_REQUESTS 20000
#else
#define SIM_REQUESTS 1000000
#endif

enum {
    SIM_USERS = 6,
    SIM_MOST = 60,
    SIM_FEW = 16,
    SIM_BATCH = 512,
    SIM_WAIT = 4 * SIM_MOST,                          /* steps, at most */
    SIM_STREAM_WAIT = 2 * (SIM_MOST / (SIM_FEW / 2)), /* the same of who generates */
    SIM_AHEAD = 3 * 128 /* turns of each user: that of one, and what the other lost of its own */
};

struct sim_request {
    struct scheduler_entry e;
    uint32_t n_to_generate;
    uint64_t runnable_since; /* step; ~0: not runnable */
    bool is_live;
};

struct sim {
    struct scheduler s;
    struct sim_request requests[SIM_MOST];
    uint64_t random, step, n_arrived, n_ended, n_cancelled;
    uint32_t n_live;
    /* prompt tokens that one user has got more than another since both have had to wait for some */
    int64_t ahead[SIM_USERS][SIM_USERS];
};

static uint32_t draw(struct sim *m, uint32_t below)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((m->random >> 32) * below >> 32);
}

static void arrive(struct sim *m)
{
    for (int i = 0; i < SIM_MOST; i++) {
        struct sim_request *r = &m->requests[i];

        if (r->is_live)
            continue;
        *r = (struct sim_request){.n_to_generate = 1 + draw(m, draw(m, 10) ? 8 : 60),
                                  .runnable_since = m->step,
                                  .is_live = true};
        r->e.uid = draw(m, SIM_USERS);
        r->e.is_background = draw(m, 8) == 0;
        r->e.n_pending = 1 + draw(m, draw(m, 20) ? 100 : 5000);
        assert_int_equal(scheduler_add(&m->s, &r->e), 0);
        m->n_arrived++;
        m->n_live++;
        return;
    }
}

static void leave(struct sim *m, struct sim_request *r)
{
    scheduler_remove(&m->s, &r->e);
    r->is_live = false;
    m->n_live--;
}

/* Clients pause, go on, give up; caches fill and come free. */
static void disturb(struct sim *m)
{
    struct sim_request *r = &m->requests[draw(m, SIM_MOST)];

    if (!r->is_live)
        return;
    switch (draw(m, 6)) {
    case 0:
        leave(m, r);
        m->n_cancelled++;
        break;
    case 1:
        r->e.is_paused = !r->e.is_paused;
        break;
    case 2:
        r->e.is_blocked = true;
        break;
    default:
        r->e.is_paused = false;
        scheduler_unblock(&m->s);
    }
}

static bool can_run(const struct sim_request *r)
{
    return r->is_live && !r->e.is_paused && !r->e.is_blocked && r->e.n_pending;
}

/* The choice is one that the owner may rely on. */
static void check_choice(const struct scheduler_choice *list, size_t n)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        const struct scheduler_entry *e = list[i].entry;

        assert_true(!e->is_paused && !e->is_blocked);
        assert_true(list[i].n_tokens && list[i].n_tokens <= e->n_pending);
        assert_int_equal(e->is_generated, list[0].entry->is_generated);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(list[k].entry, e);
        sum += list[i].n_tokens;
    }
    assert_true(sum <= (n && list[0].entry->is_generated ? SIM_FEW : SIM_BATCH));
}

/* Who can run waits no longer than it takes to serve everybody else, background its age besides. A
 * stream waits only for other streams, and for a chunk of prompts between two steps of theirs. */
static void check_waits(struct sim *m)
{
    for (int i = 0; i < SIM_MOST; i++) {
        struct sim_request *r = &m->requests[i];
        uint32_t most = r->e.is_background  ? SIM_WAIT + SCHEDULER_AGE
                        : r->e.is_generated ? SIM_STREAM_WAIT
                                            : SIM_WAIT;

        if (!can_run(r))
            r->runnable_since = m->step;
        else if (m->step - r->runnable_since > most)
            fail_msg("a request of user %u has waited since step %llu at step %llu",
                     (unsigned)r->e.uid, (unsigned long long)r->runnable_since,
                     (unsigned long long)m->step);
    }
}

/* Users with a prompt that may be computed now, as bits. */
static uint32_t users_with_prompts(const struct sim *m)
{
    uint32_t users = 0;

    for (int i = 0; i < SIM_MOST; i++) {
        const struct sim_request *r = &m->requests[i];

        if (can_run(r) && !r->e.is_generated && !r->e.is_background)
            users |= 1u << r->e.uid;
    }
    return users;
}

/* What a step gives to users of whom others wait, too. */
struct contest {
    uint32_t users;
    int64_t got[SIM_USERS];
};

static struct contest contest_of(const struct sim *m, const struct scheduler_choice *list, size_t n)
{
    struct contest c = {.users = users_with_prompts(m)};

    for (size_t i = 0; i < n; i++)
        if (!list[i].entry->is_generated)
            c.got[list[i].entry->uid] += list[i].n_tokens;
    return c;
}

/* Who had something to compute all the time has had as much as another, but for turns and what a
 * chunk cuts off of them. After the step. */
static void check_shares(struct sim *m, const struct contest *c)
{
    uint32_t users = c->users & users_with_prompts(m);

    for (int a = 0; a < SIM_USERS; a++)
        for (int b = 0; b < SIM_USERS; b++) {
            bool is_contest = (users >> a & 1) && (users >> b & 1);

            m->ahead[a][b] = is_contest ? m->ahead[a][b] + c->got[a] - c->got[b] : 0;
            if (m->ahead[a][b] > SIM_AHEAD)
                fail_msg("user %d got %lld tokens more than user %d by step %llu", a,
                         (long long)m->ahead[a][b], b, (unsigned long long)m->step);
        }
}

static void serve(struct sim *m, const struct scheduler_choice *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct sim_request *r = container_of(list[i].entry, struct sim_request, e);

        r->runnable_since = m->step;
        r->e.n_pending -= list[i].n_tokens;
        if (r->e.n_pending)
            continue;
        if (!r->n_to_generate--) {
            leave(m, r);
            m->n_ended++;
            continue;
        }
        r->e.n_pending = 1;
        r->e.is_generated = true;
    }
}

static void a_million_requests_are_all_served(void **state)
{
    struct sim *m = calloc(1, sizeof(*m));
    struct scheduler_choice list[SIM_FEW];

    m->random = 20261127;
    scheduler_init(&m->s, SIM_BATCH, SIM_FEW);
    m->s.shared_batch_tokens = 200;
    while (m->n_arrived < SIM_REQUESTS || m->n_live) {
        bool is_over = m->n_arrived >= SIM_REQUESTS;
        struct contest contest;
        uint32_t n_runnable = 0;
        size_t n;

        /* hours of ease, and hours in which more comes than can be served */
        if (!is_over && (draw(m, 2) || m->step & 1 << 14))
            arrive(m);
        if (!draw(m, 8))
            disturb(m);
        if (is_over && !draw(m, 4)) /* nobody stays paused for ever */
            for (int i = 0; i < SIM_MOST; i++)
                m->requests[i].e.is_paused = m->requests[i].e.is_blocked = false;
        m->step++;
        for (int i = 0; i < SIM_MOST; i++)
            n_runnable += can_run(&m->requests[i]);
        n = scheduler_next(&m->s, list, SIM_FEW);
        assert_int_equal(n > 0, n_runnable > 0); /* no step is idle while somebody waits */
        check_choice(list, n);
        contest = contest_of(m, list, n);
        serve(m, list, n);
        check_shares(m, &contest);
        check_waits(m);
    }
    assert_int_equal(m->n_ended + m->n_cancelled, m->n_arrived);
    assert_true(m->n_ended > SIM_REQUESTS / 2);
    scheduler_finish(&m->s);
    free(m);
}

/* Jain's index of what users get, each as a share of what it can use at most: a stream draws one
 * token a step. */
static double jain(const double *x, int n)
{
    double sum = 0, squares = 0;

    for (int i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    return sum * sum / (n * squares);
}

static void two_users_of_one_or_fifty_streams_are_treated_alike(void **state)
{
    static const int n_streams[][2] = {{1, 1}, {50, 50}, {1, 50}};

    for (size_t k = 0; k < 3; k++) {
        struct fixture *f = *state;
        struct scheduler_entry entries[100];
        double x[2] = {0};
        int n = 0, steps = 500;

        for (int user = 0; user < 2; user++)
            for (int i = 0; i < n_streams[k][user]; i++, n++) {
                /* every fifth is still at its prompt */
                entries[n] = i % 5 == 4 ? prompt_of((uid_t)user, 4000) : stream_of((uid_t)user);
                add(f, &entries[n]);
            }
        for (int step = 0; step < steps; step++) {
            next(f);
            for (size_t i = 0; i < f->n; i++)
                if (f->choices[i].entry->is_generated)
                    x[f->choices[i].entry->uid] += f->choices[i].n_tokens;
        }
        /* of equal shares of a step's four, the lone stream can use one */
        if (n_streams[k][0] == 1 && n_streams[k][1] == 50)
            x[1] /= FEW - 1;
        assert_true(jain(x, 2) >= 0.95);
        for (int i = 0; i < n; i++)
            scheduler_remove(&f->s, &entries[i]);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest tests[] = {
    CASE(nobody_runs_where_nobody_waits),
    CASE(a_long_prompt_is_cut_into_chunks),
    CASE(short_prompts_share_a_chunk),
    CASE(a_whole_text_is_never_cut),
    CASE(whole_texts_keep_nobody_waiting),
    CASE(streams_run_together_and_take_turns_with_prompts),
    CASE(more_streams_than_a_step_holds_go_in_rotation),
    CASE(prompts_of_two_users_advance_alike),
    CASE(many_short_prompts_of_one_user_leave_others_their_turn),
    CASE(a_user_of_more_weight_gets_as_much_more),
    CASE(a_short_prompt_behind_a_long_one_is_done_in_two_chunks),
    CASE(a_short_prompt_is_done_in_two_short_chunks_too),
    CASE(short_prompts_of_a_user_are_done_one_after_another),
    CASE(background_waits_but_not_for_ever),
    CASE(who_is_paused_or_blocked_is_passed_over),
    CASE(what_was_not_computed_is_given_back),
    CASE(blocks_are_taken_from_background_then_from_the_youngest),
    CASE(who_gave_way_once_gives_way_to_none_that_came_later),
    CASE(users_without_requests_are_forgotten_but_not_their_weights),
    CASE(two_users_of_one_or_fifty_streams_are_treated_alike),
    cmocka_unit_test(a_million_requests_are_all_served),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
