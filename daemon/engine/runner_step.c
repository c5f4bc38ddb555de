/* SPDX-License-Identifier: MIT */
/* The steps of a runner: which plan, what is written for it, what comes back. */
#include "engine/runner_private.h"

#include <errno.h>
#include <string.h>

#define WAIT_NS 60000000000ull

/* The smallest bucket that holds n_tokens rows of n_seqs sessions. Rows of prompts are always
 * computed by the kernels for many, so that it does not matter where a prompt was cut. */
static int choose_bucket(struct runner *r, bool is_prompt, uint32_t n_tokens, size_t n_seqs,
                         struct bucket **ret_bucket, struct error *err)
{
    for (size_t i = 0; i < r->n_buckets; i++) {
        const struct plan_config *cfg = &r->buckets[i].config;

        if (is_prompt && cfg->max_tokens <= DEVICE_FEW_ROWS && i + 1 < r->n_buckets)
            continue;
        if (cfg->max_tokens >= n_tokens && cfg->max_seqs >= n_seqs) {
            *ret_bucket = &r->buckets[i];
            return 0;
        }
    }
    return error_set(err, EINVAL, "a step of %u tokens for %zu sessions is over the limit of %u",
                     n_tokens, n_seqs, r->config.batch_tokens);
}

/* Checks an item and takes the blocks it needs; nothing else changes. */
static int prepare(const struct runner *r, const struct run_item *it, struct error *err)
{
    struct session *s = it->session;
    uint32_t n_vocab = r->lm->model->dims.dim[DIM_VOCAB], end;

    if (!it->n_tokens || __builtin_add_overflow(s->n_past, it->n_tokens, &end) ||
        end > s->max_tokens)
        return error_set(err, EINVAL, "position %u + %u tokens is beyond the context of %u",
                         s->n_past, it->n_tokens, s->max_tokens);
    if (it->pooler ? r->lm->model->dims.pooling == POOLING_NONE
                   : it->sample && r->lm->model->dims.pooling != POOLING_NONE)
        return error_set(err, EINVAL,
                         it->pooler ? "the model makes no vectors"
                                    : "an embedding model draws no tokens");
    if (r->lm->model->arch->is_bidirectional &&
        (!it->pooler || s->n_past || it->n_tokens != it->pooler->n_tokens))
        return error_set(err, EINVAL, "the model sees whole texts: no step may have a part of one");
    if (!it->tokens && (it->n_tokens != 1 || s->n_history <= s->n_past))
        return error_set(err, EINVAL, "no token was drawn that could be fed");
    for (uint32_t i = 0; it->tokens && i < it->n_tokens; i++)
        if (it->tokens[i] >= n_vocab)
            return error_set(err, EINVAL, "token %u is not in the vocabulary of %u", it->tokens[i],
                             n_vocab);
    /* What windows have passed may be another's: steps run in the order in which they are
     * submitted. */
    session_slide(s, s->n_past);
    if (session_reserve(s, end) < 0)
        return error_set(err, ENOSPC,
                         "the key/value cache is full (%u blocks of %u tokens), or no slot for a "
                         "sequence's state is left",
                         r->kv->n_blocks, KV_BLOCK_TOKENS);
    return 0;
}

/* Writes the rows of one item into the step. */
static void write_rows(const struct step *step, const struct run_item *it, uint32_t seq,
                       uint32_t first_row)
{
    struct session *s = it->session;

    for (uint32_t i = 0; i < it->n_tokens; i++) {
        step->tokens[first_row + i] = (struct step_token){
            .token = it->tokens ? it->tokens[i] : TOKEN_DRAWN,
            .position = s->n_past + i,
            .seq = seq,
        };
        if (step->wholes)
            step->wholes[first_row + i] = (struct step_token){
                .token = s->n_past + i,
                .position = s->n_past + it->n_tokens - 1,
                .seq = seq,
            };
        if (it->tokens)
            s->history[s->n_past + i] = it->tokens[i];
    }
    step->seqs[seq] = (struct step_seq){
        .block_table = session_block_table_address(s),
        .history = session_history_address(s),
        .n_blocks = s->n_blocks,
        .slot = s->slot,
    };
    step->window_seqs[seq] = step->seqs[seq];
    step->window_seqs[seq].block_table = session_window_table_address(s);
}

static void write_sample(const struct step *step, const struct run_item *it, uint32_t output)
{
    const struct session *s = it->session;
    struct step_sample *to = &step->samples[output];
    uint32_t n_all = s->n_past + it->n_tokens;
    uint32_t n = it->sample->n_history < n_all ? it->sample->n_history : n_all;

    *to = *it->sample;
    to->enabled = 1;
    to->n_history = n;
    to->history = n ? session_history_address(s) + (uint64_t)(n_all - n) * sizeof(uint32_t) : 0;
    to->drawn =
        n_all < s->max_tokens ? session_history_address(s) + (uint64_t)n_all * sizeof(uint32_t) : 0;
}

/* A slow step is no failed one, and nothing it reads may be freed before it ends. */
static int wait_for(struct runner *r, uint64_t ticket, struct error *err)
{
    int e;

    do
        e = device_wait(r->device, ticket, WAIT_NS, err);
    while (e == -ETIME);
    return e;
}

/* Asks for the rows of an item that its pooler wants; returns how many there are then. */
static uint32_t want_rows(struct flight *f, const struct run_item *it, uint32_t first_row,
                          uint32_t n_outputs)
{
    struct pooler_rows rows = pooler_rows(it->pooler, it->session->n_past, it->n_tokens);

    for (uint32_t i = 0; i < rows.n; i++)
        f->plan->step.output_rows[n_outputs++] = first_row + rows.first + i;
    f->pooled[f->n_pooled++] = (struct pooled_rows){it->pooler, rows.n};
    return n_outputs;
}

/* Writes the step and what is to become of its results. */
static void write_step(struct flight *f, const struct run_item *items, size_t n, uint32_t n_tokens)
{
    const struct step *step = &f->plan->step;
    uint32_t row = 0, n_positions = 0, n_outputs = 0;

    f->n_drawn = f->n_pooled = 0;
    for (size_t i = 0; i < n; i++) {
        const struct run_item *it = &items[i];

        write_rows(step, it, (uint32_t)i, row);
        if (it->pooler)
            n_outputs = want_rows(f, it, row, n_outputs);
        row += it->n_tokens;
        if (it->session->n_past + it->n_tokens > n_positions)
            n_positions = it->session->n_past + it->n_tokens;
        if (!it->sample)
            continue;
        step->output_rows[n_outputs++] = row - 1;
        write_sample(step, it, f->n_drawn);
        f->ret_results[f->n_drawn++] = it->ret_result;
    }
    plan_set_header(f->plan, (struct step_header){n_tokens, n_outputs, (uint32_t)n, n_positions});
}

/* A plan of the bucket's ring that is not under way: the second is made when both are needed. */
static struct plan **idle_plan(const struct runner *r, struct bucket *b)
{
    for (uint32_t k = 0; k + 1 < RUNNER_STEPS; k++) {
        bool is_busy = false;

        for (uint32_t i = 0; i < r->n_flights; i++)
            is_busy |= r->flights[(r->first_flight + i) % RUNNER_STEPS].plan == b->ring[k];
        if (!is_busy)
            return &b->ring[k];
    }
    return &b->ring[RUNNER_STEPS - 1];
}

int runner_submit(struct runner *r, const struct run_item *items, size_t n, struct error *err)
{
    struct flight *f = &r->flights[(r->first_flight + r->n_flights) % RUNNER_STEPS];
    struct bucket *b = NULL;
    struct plan **plan = NULL;
    uint32_t n_tokens = 0;
    bool is_prompt = false;
    int e;

    if (r->n_flights == RUNNER_STEPS)
        return error_set(err, EBUSY, "%u steps are under way", r->n_flights);
    for (size_t i = 0; i < n; i++) {
        if (__builtin_add_overflow(n_tokens, items[i].n_tokens, &n_tokens))
            n_tokens = UINT32_MAX;
        is_prompt |= items[i].is_prompt || (items[i].n_tokens > 1 && !items[i].is_generated);
        e = prepare(r, &items[i], err);
        if (e < 0)
            return e;
    }
    e = choose_bucket(r, is_prompt, n_tokens, n, &b, err);
    if (e == 0) {
        plan = idle_plan(r, b);
        e = runner_record(r, &b->config, plan, err);
    }
    if (e < 0)
        return e;
    f->plan = *plan;
    write_step(f, items, n, n_tokens);
    e = device_submit(r->device, f->plan->program, &f->ticket, err);
    if (e < 0)
        return e;
    r->last_plan = f->plan;
    r->n_flights++;
    for (size_t i = 0; i < n; i++) {
        struct session *s = items[i].session;

        s->n_past += items[i].n_tokens;
        s->n_history = s->n_past + (items[i].sample && s->n_past < s->max_tokens);
    }
    return 0;
}

/* The rows of the step to those that asked for them. */
static void pool_rows(const struct runner *r, const struct flight *f)
{
    const float *rows = f->plan->step.normed;

    for (uint32_t i = 0; i < f->n_pooled; i++) {
        pooler_add(f->pooled[i].pooler, rows, f->pooled[i].n);
        rows += (size_t)f->pooled[i].n * r->lm->model->dims.dim[DIM_EMBD];
    }
}

int runner_finish(struct runner *r, struct error *err)
{
    struct flight *f = &r->flights[r->first_flight];
    int e;

    if (!r->n_flights)
        return 0;
    e = wait_for(r, f->ticket, err);
    r->first_flight = (r->first_flight + 1) % RUNNER_STEPS;
    r->n_flights--;
    for (uint32_t i = 0; e == 0 && i < f->n_drawn; i++)
        *f->ret_results[i] = f->plan->step.results[i];
    if (e == 0)
        pool_rows(r, f);
    return e;
}

uint32_t runner_steps_under_way(const struct runner *r)
{
    return r->n_flights;
}

size_t runner_last_calls(const struct runner *r, const struct dispatch **ret_list,
                         const struct step_header **ret_header)
{
    if (!r->last_plan)
        return 0;
    *ret_list = r->last_plan->calls;
    *ret_header = &r->last_plan->header;
    return r->last_plan->n_calls;
}

int runner_step(struct runner *r, const struct run_item *items, size_t n, struct error *err)
{
    int e = r->n_flights ? error_set(err, EBUSY, "%u steps are under way", r->n_flights) : 0;

    if (e == 0)
        e = runner_submit(r, items, n, err);
    return e < 0 ? e : runner_finish(r, err);
}

int runner_vector(struct runner *r, struct session *s, const uint32_t *tokens, uint32_t n_tokens,
                  float *ret_vector, struct error *err)
{
    const struct dims *d = &r->lm->model->dims;
    struct pooler p;
    int e = 0;

    if (d->pooling == POOLING_NONE)
        return error_set(err, ENOTSUP, "the model has no pooling: it makes no vectors");
    if (pooler_init(&p, d->pooling, d->dim[DIM_EMBD]) < 0)
        e = error_set(err, ENOMEM, "out of memory");
    else
        pooler_begin(&p, n_tokens);
    for (uint32_t i = 0, n; e == 0 && i < n_tokens; i += n) {
        struct run_item it = {.session = s, .tokens = tokens + i, .is_prompt = true, .pooler = &p};

        n = n_tokens - i < r->config.batch_tokens ? n_tokens - i : r->config.batch_tokens;
        it.n_tokens = n;
        e = runner_step(r, &it, 1, err);
    }
    if (e == 0) {
        pooler_end(&p);
        memcpy(ret_vector, p.vector, p.width * sizeof(float));
    }
    pooler_finish(&p);
    return e;
}

static int logits_chunk(struct runner *r, const struct run_item *it, float *ret_logits,
                        struct error *err)
{
    const struct step *step;
    size_t row_floats = r->lm->model->dims.dim[DIM_VOCAB];
    uint64_t ticket;
    int e = prepare(r, it, err);

    if (e == 0)
        e = runner_record(r, &r->logits_config, &r->logits_plan, err);
    if (e < 0)
        return e;
    step = &r->logits_plan->step;
    write_rows(step, it, 0, 0);
    for (uint32_t i = 0; i < it->n_tokens; i++)
        step->output_rows[i] = i;
    plan_set_header(r->logits_plan, (struct step_header){it->n_tokens, it->n_tokens, 1,
                                                         it->session->n_past + it->n_tokens});
    e = device_submit(r->device, r->logits_plan->program, &ticket, err);
    if (e == 0)
        e = wait_for(r, ticket, err);
    if (e < 0)
        return e;
    memcpy(ret_logits, step->logits, it->n_tokens * row_floats * sizeof(float));
    it->session->n_past += it->n_tokens;
    it->session->n_history = it->session->n_past;
    return 0;
}

int runner_logits(struct runner *r, struct session *s, const uint32_t *tokens, uint32_t n_tokens,
                  float *ret_logits, struct error *err)
{
    if (r->n_flights)
        return error_set(err, EBUSY, "%u steps are under way", r->n_flights);
    if (!model_makes_logits(r->lm->model))
        return error_set(err, ENOTSUP, "models of architecture %s make vectors and no logits",
                         r->lm->model->arch->name);
    for (uint32_t i = 0; i < n_tokens; i += RUNNER_LOGITS_TOKENS) {
        struct run_item it = {
            .session = s,
            .tokens = tokens + i,
            .n_tokens = n_tokens - i < RUNNER_LOGITS_TOKENS ? n_tokens - i : RUNNER_LOGITS_TOKENS,
        };
        int e =
            logits_chunk(r, &it, ret_logits + (size_t)i * r->lm->model->dims.dim[DIM_VOCAB], err);
        if (e < 0)
            return e;
    }
    return 0;
}
