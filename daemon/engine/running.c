/* SPDX-License-Identifier: MIT */
#include "engine/running.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the ends of a request ---- */

void running_request_end(struct event_queue *events, struct engine_request *r,
                         enum engine_finish finish)
{
    struct event *ev = r->done;

    if (!ev)
        return;
    r->done = NULL;
    list_remove(&r->link);
    request_finish(r, finish);
    /* a model that was let go of meanwhile is freed here, not on the owner's thread */
    loaded_model_unref(r->lm);
    r->lm = NULL;
    event_post(events, ev);
}

/* How many tokens a request feeds before it has to look again: the rest of its prompt, then what
 * was generated since. */
static uint32_t pending_tokens(const struct engine_request *r)
{
    uint32_t n_past = r->session ? r->session->n_past : 0;

    return (n_past < r->n_prompt ? r->n_prompt : r->n_tokens) - n_past;
}

static void leave_device(struct engine_request *r)
{
    session_destroy(r->session);
    r->session = NULL;
    buffer_destroy(r->bias);
    r->bias = NULL;
    r->sched.n_blocks = 0;
    r->sched.n_pending = pending_tokens(r);
}

static void finish(struct running_model *m, struct engine_request *r, enum engine_finish finish)
{
    scheduler_remove(&m->scheduler, &r->sched);
    leave_device(r);
    running_request_end(m->events, r, finish);
}

static void fail(struct running_model *m, struct engine_request *r, const struct error *err)
{
    r->error = *err;
    finish(m, r, ENGINE_FINISH_ERROR);
}

/* Ends a request well; text still held back goes out first. */
static void complete(struct running_model *m, struct engine_request *r, enum engine_finish how)
{
    struct event *ev = event_new(m->events, EVENT_TOKEN, r);

    if (ev) {
        ev->token = -1;
        answer_flush(&r->answer, &ev->text);
        if (ev->text.len)
            event_post(m->events, ev);
        else
            event_recycle(m->events, ev);
    }
    finish(m, r, how);
}

/* ---- the model ---- */

int running_model_resume(struct running_model *m, struct error *err)
{
    struct device_info info;

    device_get_info(m->device, &info);
    m->exact_rows = info.exact_rows;
    return runner_create(m->lm, m->device, &m->config, &m->runner, err);
}

int running_model_create(struct model_entry *entry, struct loaded_model *lm, struct device *dev,
                         struct event_queue *events, const struct runner_config *cfg,
                         struct running_model **ret_model, struct error *err)
{
    struct running_model *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return error_set(err, ENOMEM, "out of memory");
    m->entry = entry;
    m->device = dev;
    m->events = events;
    m->config = *cfg;
    m->last_used_ns = clock_now_ns();
    m->lm = loaded_model_ref(lm);
    list_init(&m->link);
    list_init(&m->requests);
    scheduler_init(&m->scheduler, 1);
    r = running_model_resume(m, err);
    if (r < 0) {
        running_model_destroy(m);
        return r;
    }
    running_model_figures(m);
    *ret_model = m;
    return 0;
}

void running_model_destroy(struct running_model *m)
{
    if (!m)
        return;
    list_for_each_safe (r, &m->requests, struct engine_request, link)
        finish(m, r, ENGINE_FINISH_CANCEL);
    runner_destroy(m->runner);
    loaded_model_unref(m->lm);
    free(m);
}

void running_model_figures(struct running_model *m)
{
    const struct kv_cache *kv = m->runner ? runner_kv(m->runner) : NULL;

    m->figures = (struct worker_model_figures){
        .context_tokens = m->config.context_tokens,
        .is_idle = !m->runner,
    };
    if (!kv)
        return;
    m->figures = (struct worker_model_figures){
        .kv_bytes = kv->n_blocks * kv->block_bytes,
        .kv_used_bytes = kv_cache_n_held(kv) * kv->block_bytes,
        .prefix_bytes = prefix_cache_n_entered(kv->prefixes) * kv->block_bytes,
        .found_bytes = kv->n_found * kv->block_bytes,
        .is_cache_kept = kv_cache_is_kept(kv),
        .private_bytes = runner_private_bytes(m->runner),
        .copied_bytes = runner_copied_bytes(m->runner),
        .context_tokens = m->config.context_tokens,
    };
}

void running_model_suspend(struct running_model *m)
{
    list_for_each (r, &m->requests, struct engine_request, link)
        leave_device(r);
    scheduler_unblock(&m->scheduler);
    runner_destroy(m->runner);
    m->runner = NULL;
}

bool running_model_wants_device(const struct running_model *m)
{
    list_for_each (r, &m->requests, struct engine_request, link)
        if (!m->runner && !atomic_load(&r->is_paused) && !atomic_load(&r->is_cancelled))
            return true;
    return false;
}

void running_model_fail(struct running_model *m, const struct error *err)
{
    list_for_each_safe (r, &m->requests, struct engine_request, link)
        fail(m, r, err);
}

/* ---- the beginning of a request ---- */

static int copy_bias(struct running_model *m, struct engine_request *r, struct error *err)
{
    struct logit_bias *to;
    int e;

    if (!r->params.n_bias)
        return 0;
    e = buffer_create(m->device, r->params.n_bias * sizeof(*to), BUFFER_HOST, &r->bias, err);
    if (e < 0)
        return e;
    to = r->bias->host;
    for (size_t i = 0; i < r->params.n_bias; i++)
        to[i] = (struct logit_bias){(u32)r->params.bias[i].token, r->params.bias[i].bias};
    return 0;
}

static void set_sample(struct engine_request *r)
{
    const struct engine_sampling *s = &r->params.sampling;
    bool has_penalty =
        s->repeat_penalty != 1.0f || s->frequency_penalty != 0.0f || s->presence_penalty != 0.0f;

    r->sample = (struct step_sample){
        .top_k = s->top_k,
        .temperature = s->temperature,
        .top_p = s->top_p,
        .min_p = s->min_p,
        .repeat_penalty = s->repeat_penalty,
        .frequency_penalty = s->frequency_penalty,
        .presence_penalty = s->presence_penalty,
        .seed_low = (u32)s->seed,
        .seed_high = (u32)(s->seed >> 32),
        .n_history = has_penalty ? s->repeat_last_n : 0,
        .n_bias = (u32)r->params.n_bias,
        .n_top = r->params.top_logprobs > 0 ? (u32)r->params.top_logprobs : 0,
    };
}

static int check_prompt(const struct running_model *m, const struct engine_request *r,
                        struct error *err)
{
    uint32_t n_vocab = m->lm->model->dims.dim[DIM_VOCAB];

    if (!r->n_tokens)
        return error_set(err, EINVAL, "the prompt is empty");
    if (r->n_tokens >= m->config.context_tokens)
        return error_set(err, EMSGSIZE,
                         "the prompt has %u tokens, and the context holds %u with the answer: "
                         "shorten it or start the service with a larger context",
                         r->n_tokens, m->config.context_tokens);
    for (uint32_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i] >= n_vocab)
            return error_set(err, EINVAL, "token %u of the prompt is %d: the vocabulary has %u", i,
                             (int)r->tokens[i], n_vocab);
    for (size_t i = 0; i < r->params.n_bias; i++)
        if (r->params.bias[i].token < 0 || (uint32_t)r->params.bias[i].token >= n_vocab)
            return error_set(err, EINVAL, "logit_bias names token %d: the vocabulary has %u",
                             r->params.bias[i].token, n_vocab);
    return 0;
}

void running_model_add(struct running_model *m, struct engine_request *r)
{
    struct error err = {0};

    list_push_back(&m->requests, &r->link);
    m->last_used_ns = clock_now_ns();
    r->n_prompt = r->n_tokens;
    r->sched.uid = r->caller.uid;
    scheduler_add(&m->scheduler, &r->sched);
    if (check_prompt(m, r, &err) < 0) {
        fail(m, r, &err);
        return;
    }
    set_sample(r);
    answer_start(&r->answer, m->lm->tokenizer, r->tokens[r->n_tokens - 1], r->params.stop,
                 r->params.n_stop);
    r->sched.n_pending = pending_tokens(r);
}

/* What of a request lies on the device: made before its first step, and again after the model was
 * suspended. The draws of its sampler go on where they were. */
static int enter_device(struct running_model *m, struct engine_request *r, struct error *err)
{
    int e = copy_bias(m, r, err);

    if (e == 0)
        e = runner_session_create(m->runner, &r->session, err);
    if (e == 0)
        r->sample.bias = r->bias ? r->bias->address : 0;
    else
        leave_device(r);
    return e;
}

/* ---- a step ---- */

static void tell_start(struct running_model *m, struct engine_request *r)
{
    struct event *ev;

    if (r->has_started)
        return;
    r->has_started = true;
    r->started_ns = clock_now_ns();
    ev = event_new(m->events, EVENT_START, r);
    if (!ev)
        return;
    ev->n_tokens = r->n_prompt;
    event_post(m->events, ev);
}

/* Looks at what others may have changed since the last step. */
static bool sweep(struct running_model *m)
{
    bool has_ended = false;

    list_for_each_safe (r, &m->requests, struct engine_request, link) {
        bool is_paused = atomic_load(&r->is_paused);
        /* who pauses may lose its blocks, so others need not wait for them any longer */
        if (is_paused && !r->sched.is_paused)
            scheduler_unblock(&m->scheduler);
        r->sched.is_paused = is_paused;
        if (atomic_load(&r->is_cancelled)) {
            finish(m, r, ENGINE_FINISH_CANCEL);
            has_ended = true;
        }
    }
    return has_ended;
}

static struct engine_request *request_of(struct scheduler_entry *e)
{
    return container_of(e, struct engine_request, sched);
}

/* The cache is full. Someone younger gives up its blocks and is computed again later; alone, the
 * request has reached the end of what fits. */
static void make_room(struct running_model *m, struct engine_request *r)
{
    struct scheduler_entry *victim = scheduler_victim(&m->scheduler, &r->sched);
    struct engine_request *other = victim ? request_of(victim) : NULL;

    if (!other) {
        complete(m, r, ENGINE_FINISH_CONTEXT);
        return;
    }
    session_truncate(other->session, 0);
    other->sched.n_blocks = 0;
    other->sched.n_pending = pending_tokens(other);
    other->sched.is_blocked = true;
}

/* A request that begins, or begins again after it lost its blocks, takes over what its user had
 * computed before. True when there was something, and less is to feed than the scheduler knew. */
static bool take_prefix(struct engine_request *r, struct running_stats *stats)
{
    uint32_t n;

    if (r->session->n_past)
        return false;
    n = session_take_prefix(r->session, r->caller.uid, r->tokens, r->n_tokens);
    /* a single token of a prompt would be computed by the kernels for generated ones */
    if (n && n + 1 == r->n_prompt) {
        session_truncate(r->session, n - 1);
        n = r->session->n_past;
    }
    r->sched.n_pending = pending_tokens(r);
    r->sched.n_blocks = r->session->n_blocks;
    if (!r->has_started) {
        r->n_cached = n;
        stats->cached_tokens += n;
    }
    return n > 0;
}

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
        complete(m, r, ENGINE_FINISH_STOP);
        return;
    }
    if (request_add_token(r, drawn->token) < 0) {
        event_recycle(m->events, ev);
        fail(m, r, &(struct error){-ENOMEM, "out of memory"});
        return;
    }
    stats->completion_tokens++;
    r->sample.draw++;
    r->sched.n_pending = pending_tokens(r);
    ev->token = (int32_t)drawn->token;
    ev->logprob = drawn->logprob;
    for (; ev->n_top < drawn->n_top && ev->n_top < SAMPLE_TOP_MAX; ev->n_top++)
        ev->top[ev->n_top] = (struct engine_top){(int32_t)drawn->top_token[ev->n_top],
                                                 drawn->top_logprob[ev->n_top]};
    has_stopped = answer_add(&r->answer, drawn->token, &ev->text);
    if (ev->text.failed || r->answer.held.failed) { /* a piece is missing: no answer at all */
        event_recycle(m->events, ev);
        fail(m, r, &(struct error){-ENOMEM, "out of memory"});
        return;
    }
    event_post(m->events, ev);
    if (has_stopped)
        finish(m, r, ENGINE_FINISH_STOP);
    else if (r->params.max_tokens && r->n_tokens - r->n_prompt >= r->params.max_tokens)
        complete(m, r, ENGINE_FINISH_LENGTH);
    else if (r->n_tokens >= m->config.context_tokens)
        complete(m, r, ENGINE_FINISH_CONTEXT);
}

/* What could not be done for a request: on a lost device it keeps its place, as the worker makes
 * another one; else it ends. */
static void stumble(struct running_model *m, struct engine_request *r, const struct error *err)
{
    if (!device_is_lost(m->device))
        fail(m, r, err);
}

/* Runs the chosen request for n_tokens, or for fewer. */
static void step_one(struct running_model *m, struct engine_request *r, uint32_t n_tokens,
                     struct running_stats *stats)
{
    uint32_t n_past = r->session->n_past;
    /* What was generated is fed again so that it comes out as it did, or the answer might go on in
     * another way than it began. */
    bool is_generated = n_past >= r->n_prompt;
    uint32_t n = is_generated && n_tokens > m->exact_rows ? m->exact_rows : n_tokens;
    bool samples = n_past + n == r->n_tokens;
    bool is_prefill = r->n_tokens == r->n_prompt || n > 1;
    struct event *ev = samples ? event_new(m->events, EVENT_TOKEN, r) : NULL;
    struct run_item it = {
        .session = r->session,
        .tokens = r->tokens + n_past,
        .n_tokens = n,
        .is_generated = is_generated,
        .sample = samples ? &r->sample : NULL,
        .ret_result = &r->drawn,
    };
    struct error err = {0};
    uint64_t before_ns = clock_now_ns();
    int e = samples && !ev ? error_set(&err, ENOMEM, "out of memory")
                           : runner_step(m->runner, &it, 1, &err);

    r->sched.n_blocks = r->session->n_blocks;
    stats->steps++;
    if (is_prefill) {
        stats->prefill_ns += clock_now_ns() - before_ns;
        stats->prompt_tokens += n;
    } else {
        stats->decode_ns += clock_now_ns() - before_ns;
    }
    if (e < 0) {
        if (ev)
            event_recycle(m->events, ev);
        if (e == -ENOSPC)
            make_room(m, r);
        else
            stumble(m, r, &err);
        return;
    }
    session_share_prefix(r->session, r->caller.uid, r->session->n_past);
    r->sched.n_pending = pending_tokens(r);
    if (samples)
        advance(m, r, ev, stats);
}

bool running_model_step(struct running_model *m, struct running_stats *stats)
{
    struct scheduler_choice choice;
    struct engine_request *r;
    struct error err = {0};
    bool has_ended = sweep(m);

    if (m->runner)
        m->scheduler.batch_tokens = runner_batch_tokens(m->runner);
    else
        return has_ended;
    if (!scheduler_next(&m->scheduler, &choice, 1))
        return has_ended;
    m->last_used_ns = clock_now_ns();
    r = request_of(choice.entry);
    if (!r->session && enter_device(m, r, &err) < 0) {
        stumble(m, r, &err);
        return true;
    }
    if (take_prefix(r, stats))
        scheduler_next(&m->scheduler, &choice, 1);
    tell_start(m, r);
    step_one(m, r, choice.n_tokens, stats);
    return true;
}
