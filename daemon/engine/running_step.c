/* SPDX-License-Identifier: MIT */
/* A step of a model: whom the scheduler chose, what of it fits, and what comes of it. */
#include "engine/running_private.h"

#include "base/clock.h"

#include <errno.h>

enum {
    PACE_NS = 100000000, /* a chunk of prompts between two tokens of the streams */
    PACE_LEAST_TOKENS = 16,
};

/* One request of a step. */
struct member {
    struct engine_request *r;
    struct event *ev; /* what will be told of the token it draws; NULL: it draws none */
    uint32_t n_tokens;
};

struct batch {
    struct member members[RUNNING_SEQS_MOST];
    size_t n;
    bool is_generated;
};

static void tell_start(struct running_model *m, struct engine_request *r,
                       struct running_stats *stats)
{
    struct event *ev;

    if (r->has_started)
        return;
    r->has_started = true;
    stats->prompts++;
    stats->cached_prompts += r->n_cached > 0;
    stats->cached_tokens += r->n_cached;
    stats->restored_prompts += r->n_restored > 0;
    stats->restored_tokens += r->n_restored;
    r->started_ns = clock_now_ns();
    ev = event_new(m->events, EVENT_START, r);
    if (!ev)
        return;
    ev->n_tokens = r->n_prompt;
    event_post(m->events, ev);
}

/* Looks at what others may have changed since the last step. */
bool running_model_sweep(struct running_model *m)
{
    bool has_ended = running_restore_step(m);

    list_for_each_safe (r, &m->requests, struct engine_request, link) {
        bool is_paused = atomic_load(&r->is_paused);
        /* who pauses may lose its blocks, so others need not wait for them any longer */
        if (is_paused && !r->sched.is_paused)
            scheduler_unblock(&m->scheduler);
        r->sched.is_paused = is_paused;
        if (atomic_load(&r->is_cancelled)) {
            if (atomic_load(&r->is_expired))
                running_complete(m, r, ENGINE_FINISH_EXPIRED);
            else
                running_finish(m, r, ENGINE_FINISH_CANCEL);
            has_ended = true;
        }
    }
    return has_ended;
}

static struct engine_request *request_of(struct scheduler_entry *e)
{
    return container_of(e, struct engine_request, sched);
}

/* ---- who takes part ---- */

/* Takes a request out of the step again. */
static void drop(struct running_model *m, struct batch *b, const struct engine_request *r)
{
    for (size_t i = 0; i < b->n; i++) {
        if (b->members[i].r != r)
            continue;
        if (b->members[i].ev)
            event_recycle(m->events, b->members[i].ev);
        b->members[i] = b->members[--b->n];
        return;
    }
}

/* A request loses what it has of the cache, and waits. What it computed stays there, too, until the
 * room is needed, so that it loses no more than others take. */
static void give_way(struct running_model *m, struct batch *b, struct engine_request *r)
{
    session_truncate(r->session, 0);
    r->sched.n_blocks = 0;
    r->has_looked_on_disk = false;
    running_note_pending(r);
    r->sched.is_blocked = r->sched.has_yielded = true;
    drop(m, b, r);
}

/* The cache is full, or (among_own) what the user may have of it. Another request, that of which
 * the least has to be done again, gives up its blocks; where none has to, the request itself waits
 * with what it has while others run, or gives it up. Alone, it has reached the end of what fits. */
static void make_room(struct running_model *m, struct batch *b, struct engine_request *r,
                      bool among_own)
{
    struct scheduler_entry *victim;
    struct error err = {0};

    if (!among_own && running_restore_give_up(m)) /* which held blocks: the next step finds them */
        return;
    running_note_costs(m);
    victim = scheduler_victim(&m->scheduler, &r->sched, among_own);
    if (!victim && r->wants_vector) {
        error_set(&err, EMSGSIZE,
                  "the text has %u tokens, and the cache does not hold them: cut it", r->n_tokens);
        running_fail(m, r, &err);
    } else if (!victim) {
        running_complete(m, r, ENGINE_FINISH_CONTEXT);
    } else if (victim != &r->sched) {
        give_way(m, b, request_of(victim));
    } else if (scheduler_may_wait(&m->scheduler, &r->sched, among_own)) {
        if (!r->session->n_past) /* reserved, and worth nothing */
            session_truncate(r->session, 0);
        r->sched.n_blocks = r->session->n_blocks;
        r->sched.is_blocked = true;
    } else {
        scheduler_unblock(&m->scheduler); /* who waits with what it has may go on then */
        give_way(m, b, r);
    }
}

/* A request that begins, or begins again after it lost its blocks, takes over what its user had
 * computed before. */
static void take_prefix(struct engine_request *r)
{
    uint32_t n;

    if (r->session->n_past)
        return;
    session_set_common(r->session, r->n_common);
    n = session_take_prefix(r->session, r->caller.uid, r->tokens, r->n_tokens);
    if (r->wants_vector)
        pooler_begin(&r->pooler, r->n_tokens);
    running_note_pending(r);
    r->sched.n_blocks = r->session->n_blocks;
    if (!r->has_started)
        r->n_cached = n;
}

/* How many of the chosen tokens a request can feed in this step; 0: it is of the other kind after
 * all. */
static uint32_t tokens_of(const struct running_model *m, const struct batch *b,
                          const struct engine_request *r, uint32_t n_chosen)
{
    uint32_t n_pending = r->sched.n_pending;
    uint32_t n = n_chosen < n_pending ? n_chosen : n_pending;

    if (r->sched.is_generated != b->is_generated)
        return 0;
    /* What was generated is fed again so that it comes out as it did, or the answer might go on in
     * another way than it began. */
    if (b->is_generated)
        return n > m->exact_rows ? m->exact_rows : n;
    return session_until_checkpoint(r->session, n);
}

/* Whether so many positions are more than the user may hold beside what its other requests do. */
static bool is_over_share(const struct running_model *m, const struct engine_request *r,
                          uint32_t n_tokens)
{
    uint64_t held = scheduler_user_blocks(&r->sched) - r->sched.n_blocks;

    return held + kv_blocks_for(n_tokens) > running_blocks_most(m, r);
}

/* What could not be done for a request: on a lost device it keeps its place, as the worker makes
 * another one; else it ends. */
static void stumble(struct running_model *m, struct engine_request *r, const struct error *err)
{
    if (!device_is_lost(m->device))
        running_fail(m, r, err);
}

/* Makes a chosen request a member of the step: it has a session, blocks for its tokens and an event
 * for what it draws. Else it waits for another step, or has ended. */
static void join(struct running_model *m, struct batch *b, const struct scheduler_choice *c,
                 struct running_stats *stats)
{
    struct engine_request *r = request_of(c->entry);
    struct error err = {0};
    struct member mb = {.r = r};
    uint32_t n_past;
    bool is_over;
    int e;

    if (r->sched.is_blocked) { /* another member has just taken its blocks */
        scheduler_take_back(c, 0);
        return;
    }
    if (!r->session && running_enter_device(m, r, &err) < 0) {
        stumble(m, r, &err);
        return;
    }
    if (!r->session->n_past && running_restore_begin(m, r)) {
        scheduler_take_back(c, 0);
        return;
    }
    take_prefix(r);
    n_past = r->session->n_past;
    mb.n_tokens = tokens_of(m, b, r, c->n_tokens);
    is_over = mb.n_tokens && is_over_share(m, r, n_past + mb.n_tokens);
    e = is_over ? -ENOSPC : mb.n_tokens ? session_reserve(r->session, n_past + mb.n_tokens) : 0;
    r->sched.n_blocks = r->session->n_blocks;
    scheduler_take_back(c, e < 0 ? 0 : mb.n_tokens);
    if (!mb.n_tokens)
        return;
    if (e < 0) {
        make_room(m, b, r, is_over);
        return;
    }
    if (!r->wants_vector && n_past + mb.n_tokens == r->n_tokens) {
        mb.ev = event_new(m->events, EVENT_TOKEN, r);
        if (!mb.ev) {
            running_fail(m, r, &(struct error){-ENOMEM, "out of memory"});
            return;
        }
    }
    tell_start(m, r, stats);
    b->members[b->n++] = mb;
}

/* ---- the step ---- */

/* The tokens of a request that were fed; what remains to feed. */
static void advance(struct running_model *m, struct engine_request *r, struct event *ev,
                    struct running_stats *stats)
{
    const struct sample_result *drawn = &r->drawn;
    bool is_end, has_stopped;

    if (!r->first_token_ns)
        r->first_token_ns = clock_now_ns();
    is_end = tokenizer_is_end(m->lm->tokenizer, (int32_t)drawn->token) && !r->params.ignore_eos;
    if (is_end) {
        event_recycle(m->events, ev);
        running_complete(m, r, ENGINE_FINISH_STOP);
        return;
    }
    if (request_add_token(r, drawn->token) < 0) {
        event_recycle(m->events, ev);
        running_fail(m, r, &(struct error){-ENOMEM, "out of memory"});
        return;
    }
    stats->completion_tokens++;
    r->sample.draw++;
    running_note_pending(r);
    ev->token = (int32_t)drawn->token;
    ev->logprob = drawn->logprob;
    for (; ev->n_top < drawn->n_top && ev->n_top < SAMPLE_TOP_MAX; ev->n_top++)
        ev->top[ev->n_top] = (struct engine_top){(int32_t)drawn->top_token[ev->n_top],
                                                 drawn->top_logprob[ev->n_top]};
    has_stopped = answer_add(&r->answer, drawn->token, &ev->text);
    if (ev->text.failed || r->answer.held.failed) { /* a piece is missing: no answer at all */
        event_recycle(m->events, ev);
        running_fail(m, r, &(struct error){-ENOMEM, "out of memory"});
        return;
    }
    event_post(m->events, ev);
    if (has_stopped)
        running_finish(m, r, ENGINE_FINISH_STOP);
    else if (r->params.max_tokens && r->n_tokens - r->n_prompt >= r->params.max_tokens)
        running_complete(m, r, ENGINE_FINISH_LENGTH);
    else if (r->n_tokens >= m->config.context_tokens)
        running_complete(m, r, ENGINE_FINISH_CONTEXT);
}

/* All of a text was fed. */
static void give_vector(struct running_model *m, struct engine_request *r)
{
    r->first_token_ns = clock_now_ns();
    pooler_end(&r->pooler);
    running_finish(m, r, ENGINE_FINISH_STOP);
}

static int run_batch(struct running_model *m, const struct batch *b, struct error *err)
{
    struct run_item items[RUNNING_SEQS_MOST];

    for (size_t i = 0; i < b->n; i++) {
        struct engine_request *r = b->members[i].r;

        items[i] = (struct run_item){
            .session = r->session,
            .tokens = r->tokens + r->session->n_past,
            .n_tokens = b->members[i].n_tokens,
            .is_generated = b->is_generated,
            .is_prompt = !b->is_generated,
            .sample = b->members[i].ev ? &r->sample : NULL,
            .ret_result = &r->drawn,
            .pooler = r->wants_vector ? &r->pooler : NULL,
        };
    }
    return runner_step(m->runner, items, b->n, err);
}

/* How long a chunk of prompts may be while somebody waits for the next token: learnt from how long
 * the last ones took. */
static void learn_pace(struct running_model *m, uint32_t n_tokens, uint64_t ns)
{
    uint64_t n;

    m->prompt_token_ns =
        kv_cost_learn_token_ns(m->prompt_token_ns, n_tokens, m->scheduler.shared_batch_tokens, ns);
    n = m->prompt_token_ns ? PACE_NS / m->prompt_token_ns : UINT32_MAX;
    m->shared_batch_tokens = n < PACE_LEAST_TOKENS ? PACE_LEAST_TOKENS
                             : n < UINT32_MAX      ? (uint32_t)n
                                                   : UINT32_MAX;
}

static void count(struct running_model *m, const struct batch *b, uint64_t ns,
                  struct running_stats *stats)
{
    uint32_t n_tokens = 0;

    for (size_t i = 0; i < b->n; i++)
        n_tokens += b->members[i].n_tokens;
    stats->steps++;
    if (b->is_generated) {
        stats->decode_ns += ns;
        m->generate_ns = m->generate_ns ? (3 * m->generate_ns + ns) / 4 : ns;
        stats->batches[b->n - 1]++;
        return;
    }
    stats->prefill_ns += ns;
    stats->prompt_tokens += n_tokens;
    learn_pace(m, n_tokens, ns);
}

/* Nothing of the step was done. */
static void give_up(struct running_model *m, struct batch *b, const struct error *err)
{
    for (size_t i = 0; i < b->n; i++) {
        if (b->members[i].ev)
            event_recycle(m->events, b->members[i].ev);
        stumble(m, b->members[i].r, err);
    }
}

static void step(struct running_model *m, struct batch *b, struct running_stats *stats)
{
    uint64_t before_ns = clock_now_ns();
    struct error err = {0};

    if (run_batch(m, b, &err) < 0) {
        give_up(m, b, &err);
        return;
    }
    count(m, b, clock_now_ns() - before_ns, stats);
    for (size_t i = 0; i < b->n; i++) {
        struct engine_request *r = b->members[i].r;

        session_share_prefix(r->session, r->caller.uid, r->session->n_past);
        session_slide(r->session, r->session->n_past);
        running_note_pending(r);
        if (b->members[i].ev)
            advance(m, r, b->members[i].ev, stats);
        else if (r->wants_vector && r->session->n_past == r->n_tokens)
            give_vector(m, r);
    }
}

static void set_limits(struct running_model *m)
{
    uint32_t batch = runner_batch_tokens(m->runner);

    m->scheduler.batch_tokens = batch;
    m->scheduler.shared_batch_tokens =
        m->shared_batch_tokens && m->shared_batch_tokens < batch ? m->shared_batch_tokens : batch;
    m->scheduler.few_tokens = RUNNING_SEQS_MOST < batch ? RUNNING_SEQS_MOST : batch;
}

bool running_model_step(struct running_model *m, struct running_stats *stats)
{
    struct scheduler_choice choices[RUNNING_SEQS_MOST];
    bool has_ended = running_model_sweep(m);
    struct batch b = {0};
    size_t n;

    if (!m->runner)
        return has_ended;
    set_limits(m);
    n = scheduler_next(&m->scheduler, choices, RUNNING_SEQS_MOST);
    if (!n)
        return has_ended;
    m->last_used_ns = clock_now_ns();
    b.is_generated = choices[0].entry->is_generated;
    for (size_t i = 0; i < n; i++)
        join(m, &b, &choices[i], stats);
    if (b.n)
        step(m, &b, stats);
    return true;
}
