/* SPDX-License-Identifier: MIT */
#include "engine/running_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/account.h"

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

void running_note_pending(struct engine_request *r)
{
    uint32_t n_past = r->session ? r->session->n_past : 0;

    r->sched.is_generated = n_past >= r->n_prompt;
    r->sched.n_pending = (r->sched.is_generated ? r->n_tokens : r->n_prompt) - n_past;
}

static void leave_device(struct engine_request *r)
{
    running_restore_end(r);
    session_destroy(r->session);
    r->session = NULL;
    buffer_destroy(r->bias);
    r->bias = NULL;
    r->sched.n_blocks = 0;
    r->has_looked_on_disk = false;
    running_note_pending(r);
}

void running_finish(struct running_model *m, struct engine_request *r, enum engine_finish finish)
{
    scheduler_remove(&m->scheduler, &r->sched);
    leave_device(r);
    running_request_end(m->events, r, finish);
}

void running_fail(struct running_model *m, struct engine_request *r, const struct error *err)
{
    r->error = *err;
    running_finish(m, r, ENGINE_FINISH_ERROR);
}

/* Ends a request well; text still held back goes out first. */
void running_complete(struct running_model *m, struct engine_request *r, enum engine_finish how)
{
    struct event *ev = r->wants_vector ? NULL : event_new(m->events, EVENT_TOKEN, r);

    if (ev) {
        ev->token = -1;
        answer_flush(&r->answer, &ev->text);
        if (ev->text.len)
            event_post(m->events, ev);
        else
            event_recycle(m->events, ev);
    }
    running_finish(m, r, how);
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
    m->config.max_seqs = RUNNING_SEQS_MOST;
    m->last_used_ns = clock_now_ns();
    m->lm = loaded_model_ref(lm);
    list_init(&m->link);
    list_init(&m->requests);
    scheduler_init(&m->scheduler, 1, 1);
    r = running_model_resume(m, err);
    if (r < 0) {
        running_model_destroy(m);
        return r;
    }
    running_model_figures(m);
    if (runner_spill_note(m->runner))
        log_info("%s: its conversations do not go to disk: %s", lm->path,
                 runner_spill_note(m->runner));
    *ret_model = m;
    return 0;
}

void running_model_destroy(struct running_model *m)
{
    if (!m)
        return;
    list_for_each_safe (r, &m->requests, struct engine_request, link)
        running_finish(m, r, ENGINE_FINISH_CANCEL);
    scheduler_finish(&m->scheduler);
    runner_destroy(m->runner);
    loaded_model_unref(m->lm);
    free(m);
}

void running_model_figures(struct running_model *m)
{
    const struct kv_cache *kv = m->runner ? runner_kv(m->runner) : NULL;
    struct worker_model_figures f = {
        .context_tokens = m->config.context_tokens,
        .is_idle = !m->runner,
        .is_resting = m->is_resting,
        .device_ns = m->share.used_ns,
    };

    if (kv) {
        f.kv_bytes = kv_cache_bytes(kv);
        f.kv_memory_bytes = runner_cache_bytes(m->runner);
        f.kv_used_bytes = kv_cache_held_bytes(kv);
        f.prefix_bytes = kv_cache_shared_bytes(kv);
        f.found_bytes = kv->n_found * kv->block_bytes;
        f.is_cache_kept = kv_cache_is_kept(kv);
        f.private_bytes = runner_private_bytes(m->runner);
        f.copied_bytes = runner_copied_bytes(m->runner);
    }
    m->figures = f;
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
        if (!m->runner && !m->is_evicted && !atomic_load(&r->is_paused) &&
            !atomic_load(&r->is_cancelled))
            return true;
    return false;
}

static bool streams(const struct running_model *m)
{
    return m->runner && !m->gives_way && scheduler_generates(&m->scheduler);
}

void running_models_compare(struct list *models)
{
    unsigned n_streams = 0, n_urgent = 0;

    list_for_each (m, models, struct running_model, link)
        n_urgent += m->runner && scheduler_is_urgent(&m->scheduler);
    list_for_each (m, models, struct running_model, link) {
        m->gives_way = m->runner && n_urgent && !scheduler_is_urgent(&m->scheduler);
        n_streams += streams(m); /* nobody's pace is kept that has no turn */
        if (m->gives_way)
            scheduler_pass_over(&m->scheduler);
    }
    list_for_each (m, models, struct running_model, link)
        m->scheduler.others_generate = n_streams > streams(m);
}

void running_model_fail(struct running_model *m, const struct error *err)
{
    list_for_each_safe (r, &m->requests, struct engine_request, link)
        running_fail(m, r, err);
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

uint64_t running_blocks_most(const struct running_model *m, const struct engine_request *r)
{
    const struct kv_size *size = &m->config.cache;
    /* with a block its share of what windowed layers have */
    uint64_t block_bytes = kv_size_bytes(m->lm->model, size) / kv_blocks_for(size->tokens);

    return r->limits.kv_bytes ? r->limits.kv_bytes / block_bytes : UINT64_MAX;
}

/* Room for all that the answer may have, so that nothing is allocated while it is made. */
static int reserve_answer(const struct running_model *m, struct engine_request *r,
                          struct error *err)
{
    uint32_t most = r->params.max_tokens, left = m->config.context_tokens - r->n_tokens;

    if (request_reserve_tokens(r, r->n_tokens + (most && most < left ? most : left)) < 0)
        return error_set(err, ENOMEM, "out of memory");
    return 0;
}

static int check_prompt(const struct running_model *m, const struct engine_request *r,
                        struct error *err)
{
    uint32_t n_vocab = m->lm->model->dims.dim[DIM_VOCAB];

    if (!r->n_tokens)
        return error_set(err, EINVAL, "the prompt is empty");
    if (r->wants_vector && r->n_tokens > m->config.context_tokens)
        return error_set(err, EMSGSIZE,
                         "the text has %u tokens, and the context holds %u: cut it, or start the "
                         "service with a larger context if the model was trained for one",
                         r->n_tokens, m->config.context_tokens);
    if (!r->wants_vector && r->n_tokens >= m->config.context_tokens)
        return error_set(err, EMSGSIZE,
                         "the prompt has %u tokens, and the context holds %u with the answer: %s",
                         r->n_tokens, m->config.context_tokens,
                         m->config.context_tokens < m->lm->model->dims.dim[DIM_CONTEXT]
                             ? "shorten it or start the service with a larger context"
                             : "shorten it, the model was trained for no more");
    if (kv_blocks_for((uint64_t)r->n_tokens + 1) > running_blocks_most(m, r))
        return error_set(err, EMSGSIZE,
                         "the prompt has %u tokens, and the cache this user may have holds %llu: "
                         "shorten it",
                         r->n_tokens,
                         (unsigned long long)running_blocks_most(m, r) * KV_BLOCK_TOKENS);
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
    r->sched.is_whole = m->lm->model->arch->is_bidirectional;
    r->sched.is_background = r->params.class == ENGINE_BACKGROUND;
    if (scheduler_set_weight(&m->scheduler, r->caller.uid, r->limits.weight) < 0 ||
        scheduler_add(&m->scheduler, &r->sched) < 0)
        error_set(&err, ENOMEM, "out of memory");
    else
        check_prompt(m, r, &err);
    if (!err.code && r->wants_vector) {
        if (pooler_init(&r->pooler, m->lm->model->dims.pooling, m->lm->model->dims.dim[DIM_EMBD]) <
            0)
            error_set(&err, ENOMEM, "out of memory");
    } else if (!err.code) {
        reserve_answer(m, r, &err);
    }
    if (err.code) {
        running_fail(m, r, &err);
        return;
    }
    set_sample(r);
    answer_start(&r->answer, m->lm->tokenizer, r->tokens[r->n_tokens - 1], r->params.stop,
                 r->params.n_stop);
    running_note_pending(r);
}

/* What of a request lies on the device: made before its first step, and again after the model was
 * suspended. The draws of its sampler go on where they were. */
int running_enter_device(struct running_model *m, struct engine_request *r, struct error *err)
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
