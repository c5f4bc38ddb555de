/* SPDX-License-Identifier: MIT */
#include "engine/runner.h"

#include "engine/weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_TOKENS_DEFAULT = 512,
    SEQS_DEFAULT = 16,
    LOGITS_TOKENS = 32, /* rows of the plan that returns all logits */
    BUCKETS_MOST = 16,
};

#define WAIT_NS 60000000000ull

struct runner {
    struct loaded_model *lm;
    struct device *device;
    struct runner_config config;
    struct weights *weights;
    struct kv_cache *kv;
    struct buffer *workspace;
    /* Plans by rising max_tokens, recorded on first use: buckets of 1, 4, 16, ... batch_tokens. */
    struct plan_config buckets[BUCKETS_MOST];
    struct plan *plans[BUCKETS_MOST];
    size_t n_buckets;
    struct plan_config logits_config;
    struct plan *logits_plan;
};

static void make_buckets(struct runner *r)
{
    uint32_t batch = r->config.batch_tokens, seqs = r->config.max_seqs;

    for (uint32_t t = 1; r->n_buckets < BUCKETS_MOST; t *= 4) {
        if (t > batch)
            t = batch;
        r->buckets[r->n_buckets++] = (struct plan_config){
            .max_tokens = t,
            .max_outputs = t < seqs ? t : seqs,
            .max_seqs = t < seqs ? t : seqs,
            .has_sampler = true,
            .full_barriers = r->config.full_barriers,
        };
        if (t == batch)
            break;
    }
    r->logits_config = (struct plan_config){
        .max_tokens = LOGITS_TOKENS,
        .max_outputs = LOGITS_TOKENS,
        .max_seqs = 1,
        .host_logits = true,
        .full_barriers = r->config.full_barriers,
    };
}

/* One workspace serves every plan: they run one after the other. */
static int create_workspace(struct runner *r, struct error *err)
{
    const struct plan_config *shapes[] = {&r->buckets[r->n_buckets - 1], &r->logits_config};
    uint64_t most = 0, bytes;

    for (size_t i = 0; i < 2; i++) {
        int e = plan_workspace_bytes(r->lm->model, r->device, shapes[i], &bytes, err);
        if (e < 0)
            return e;
        if (bytes > most)
            most = bytes;
    }
    return buffer_create(r->device, most, BUFFER_DEVICE, &r->workspace, err);
}

static int record(struct runner *r, const struct plan_config *cfg, struct plan **plan,
                  struct error *err)
{
    if (*plan)
        return 0;
    return plan_create(r->lm->model, r->device, r->kv->layers, r->workspace, cfg, plan, err);
}

int runner_create(struct loaded_model *lm, struct device *dev, const struct runner_config *cfg,
                  struct runner **ret_runner, struct error *err)
{
    struct runner *r = calloc(1, sizeof(*r));
    struct device_info info;
    int e;

    if (!r)
        return error_set(err, ENOMEM, "out of memory");
    device_get_info(dev, &info);
    r->lm = loaded_model_ref(lm);
    r->device = dev;
    r->config = *cfg;
    if (!r->config.batch_tokens)
        r->config.batch_tokens = BATCH_TOKENS_DEFAULT;
    if (info.max_rows && r->config.batch_tokens > info.max_rows)
        r->config.batch_tokens = info.max_rows;
    if (!r->config.max_seqs)
        r->config.max_seqs = SEQS_DEFAULT;
    make_buckets(r);
    e = weights_import(lm, dev, &r->weights, err);
    if (e < 0)
        goto fail;
    e = kv_cache_create(lm->model, dev, &cfg->pools, cfg->cache_tokens, &r->kv, err);
    if (e < 0)
        goto fail;
    e = create_workspace(r, err);
    if (e < 0)
        goto fail;
    /* what the device cannot run is refused now, not at the first request */
    e = record(r, &r->buckets[0], &r->plans[0], err);
    if (e < 0)
        goto fail;
    *ret_runner = r;
    return 0;
fail:
    runner_destroy(r);
    return e;
}

void runner_destroy(struct runner *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_buckets; i++)
        plan_destroy(r->plans[i]);
    plan_destroy(r->logits_plan);
    buffer_destroy(r->workspace);
    kv_cache_destroy(r->kv);
    weights_release(r->weights);
    loaded_model_unref(r->lm);
    free(r);
}

int runner_session_create(struct runner *r, struct session **ret_session, struct error *err)
{
    return session_create(r->kv, r->device, r->config.context_tokens, ret_session, err);
}

/* The smallest plan that holds n_tokens rows of n_seqs sessions. Rows of prompts are always
 * computed by the kernels for many, so that it does not matter where a prompt was cut. */
static int choose_plan(struct runner *r, uint32_t n_tokens, size_t n_seqs, struct plan **ret_plan,
                       struct error *err)
{
    bool is_prompt = n_tokens > n_seqs;

    for (size_t i = 0; i < r->n_buckets; i++) {
        if (is_prompt && r->buckets[i].max_tokens <= DEVICE_FEW_ROWS && i + 1 < r->n_buckets)
            continue;
        if (r->buckets[i].max_tokens >= n_tokens && r->buckets[i].max_seqs >= n_seqs) {
            int e = record(r, &r->buckets[i], &r->plans[i], err);
            if (e == 0)
                *ret_plan = r->plans[i];
            return e;
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
    for (uint32_t i = 0; i < it->n_tokens; i++)
        if (it->tokens[i] >= n_vocab)
            return error_set(err, EINVAL, "token %u is not in the vocabulary of %u", it->tokens[i],
                             n_vocab);
    if (session_reserve(s, end) < 0)
        return error_set(err, ENOSPC, "the key/value cache is full (%u blocks of %u tokens)",
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
            .token = it->tokens[i],
            .position = s->n_past + i,
            .seq = seq,
        };
        s->history[s->n_past + i] = it->tokens[i];
    }
    step->seqs[seq] = (struct step_seq){
        .block_table = session_block_table_address(s),
        .n_blocks = s->n_blocks,
    };
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
}

static int run_plan(struct runner *r, struct plan *p, struct error *err)
{
    uint64_t ticket;
    int e = device_submit(r->device, p->program, &ticket, err);

    if (e < 0)
        return e;
    /* a slow step is no failed one, and nothing it reads may be freed before it ends */
    do
        e = device_wait(r->device, ticket, WAIT_NS, err);
    while (e == -ETIME);
    return e;
}

int runner_step(struct runner *r, const struct run_item *items, size_t n, struct error *err)
{
    uint32_t n_tokens = 0, n_outputs = 0, row = 0;
    struct plan *p = NULL;
    int e;

    for (size_t i = 0; i < n; i++) {
        if (__builtin_add_overflow(n_tokens, items[i].n_tokens, &n_tokens))
            n_tokens = UINT32_MAX;
        e = prepare(r, &items[i], err);
        if (e < 0)
            return e;
    }
    e = choose_plan(r, n_tokens, n, &p, err);
    if (e < 0)
        return e;
    for (size_t i = 0; i < n; i++) {
        write_rows(&p->step, &items[i], (uint32_t)i, row);
        row += items[i].n_tokens;
        if (items[i].sample) {
            p->step.output_rows[n_outputs] = row - 1;
            write_sample(&p->step, &items[i], n_outputs++);
        }
    }
    *p->step.header = (struct step_header){n_tokens, n_outputs, (uint32_t)n, 0};
    e = run_plan(r, p, err);
    if (e < 0)
        return e;
    n_outputs = 0;
    for (size_t i = 0; i < n; i++) {
        struct session *s = items[i].session;
        s->n_past += items[i].n_tokens;
        s->n_history = s->n_past;
        if (items[i].sample) {
            *items[i].ret_result = p->step.results[n_outputs++];
            if (s->n_history < s->max_tokens)
                s->history[s->n_history++] = items[i].ret_result->token;
        }
    }
    return 0;
}

static int logits_chunk(struct runner *r, const struct run_item *it, float *ret_logits,
                        struct error *err)
{
    const struct step *step;
    size_t row_floats = r->lm->model->dims.dim[DIM_VOCAB];
    int e = prepare(r, it, err);

    if (e < 0)
        return e;
    e = record(r, &r->logits_config, &r->logits_plan, err);
    if (e < 0)
        return e;
    step = &r->logits_plan->step;
    write_rows(step, it, 0, 0);
    for (uint32_t i = 0; i < it->n_tokens; i++)
        step->output_rows[i] = i;
    *step->header = (struct step_header){it->n_tokens, it->n_tokens, 1, 0};
    e = run_plan(r, r->logits_plan, err);
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
    for (uint32_t i = 0; i < n_tokens; i += LOGITS_TOKENS) {
        struct run_item it = {
            .session = s,
            .tokens = tokens + i,
            .n_tokens = n_tokens - i < LOGITS_TOKENS ? n_tokens - i : LOGITS_TOKENS,
        };
        int e =
            logits_chunk(r, &it, ret_logits + (size_t)i * r->lm->model->dims.dim[DIM_VOCAB], err);
        if (e < 0)
            return e;
    }
    return 0;
}

const struct kv_cache *runner_kv(const struct runner *r)
{
    return r->kv;
}

uint32_t runner_batch_tokens(const struct runner *r)
{
    uint32_t advised = device_advised_rows(r->device);

    return advised < r->config.batch_tokens ? advised : r->config.batch_tokens;
}

uint64_t runner_copied_bytes(const struct runner *r)
{
    return weights_copied_bytes(r->weights);
}

uint64_t runner_private_bytes(const struct runner *r)
{
    uint64_t bytes = r->workspace->bytes;

    for (size_t i = 0; i < r->n_buckets; i++)
        if (r->plans[i])
            bytes += r->plans[i]->step_buffer->bytes;
    return bytes + (r->logits_plan ? r->logits_plan->step_buffer->bytes : 0);
}
