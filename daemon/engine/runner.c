/* SPDX-License-Identifier: MIT */
#include "engine/runner_private.h"
#include "engine/weights.h"

#include <errno.h>
#include <stdlib.h>

/* Slots besides those of the sessions, so that there is always room for some checkpoints. */
enum { CHECKPOINT_SLOTS = 8 };

static uint32_t n_state_slots(const struct runner_config *cfg)
{
    uint32_t n_seqs = cfg->max_seqs ? cfg->max_seqs : RUNNER_SEQS;

    return cfg->prefix_tokens ? n_seqs + CHECKPOINT_SLOTS : n_seqs;
}

static void make_buckets(struct runner *r, enum pooling pooling)
{
    uint32_t batch = r->config.batch_tokens, seqs = r->config.max_seqs;

    for (uint32_t t = 1; r->n_buckets < RUNNER_BUCKETS_MOST; t *= 4) {
        if (t > batch)
            t = batch;
        r->buckets[r->n_buckets++].config = (struct plan_config){
            .max_tokens = t,
            .max_outputs = t < seqs || pooling == POOLING_MEAN ? t : seqs,
            .max_seqs = t < seqs ? t : seqs,
            .context_tokens = r->config.context_tokens,
            .has_sampler = pooling == POOLING_NONE,
            .host_normed = pooling != POOLING_NONE,
            .full_barriers = r->config.full_barriers,
        };
        if (t == batch)
            break;
    }
    r->logits_config = (struct plan_config){
        .max_tokens = RUNNER_LOGITS_TOKENS,
        .max_outputs = RUNNER_LOGITS_TOKENS,
        .max_seqs = 1,
        .context_tokens = r->config.context_tokens,
        .host_logits = true,
        .full_barriers = r->config.full_barriers,
    };
}

/* One workspace serves every plan: they run one after the other. Those of few rows may need more
 * than larger ones, as their attention may leave parts. */
static int create_workspace(struct runner *r, struct error *err)
{
    uint64_t most = 0, bytes;

    for (size_t i = 0; i <= r->n_buckets; i++) {
        const struct plan_config *cfg =
            i < r->n_buckets ? &r->buckets[i].config : &r->logits_config;
        int e;

        if (cfg->host_logits && !model_makes_logits(r->lm->model))
            continue;
        e = plan_workspace_bytes(r->lm->model, r->device, cfg, &bytes, err);

        if (e < 0)
            return e;
        if (bytes > most)
            most = bytes;
    }
    return buffer_create(r->device, most, BUFFER_DEVICE, &r->workspace, err);
}

/* size: of the cache that is made. */
static struct kv_cache_config cache_config(const struct runner *r, const struct kv_size *size)
{
    return (struct kv_cache_config){
        .pools = r->config.pools,
        .size = *size,
        .context_tokens = r->config.context_tokens,
        .prefix_tokens = r->config.prefix_tokens,
        /* what shares nothing has nothing to be found, and takes no other's; and of what is found
           the state would be missing */
        .model_key = r->config.prefix_tokens && !r->states ? &r->lm->key : NULL,
    };
}

static int create_cache(struct runner *r, const struct kv_size *size, struct error *err)
{
    const struct kv_cache_config cfg = cache_config(r, size);

    return kv_cache_create(r->lm->model, r->device, &cfg, &r->kv, err);
}

/* What nobody uses of the cache goes to the disk, where that can be. */
static int create_spill(struct runner *r, struct error *err)
{
    const struct kv_cache_config cfg = cache_config(r, &r->kv->size);
    struct pool_key contents;
    int e;

    if (!r->config.disk || !r->config.prefix_tokens)
        return 0;
    if (r->states) {
        r->spill_note = "a state of fixed size goes with its keys and values, and stays in memory";
        return 0;
    }
    kv_cache_contents_key(r->lm->model, r->device, &cfg, &r->lm->lasting_key, &contents);
    e = kv_spill_create(r->kv, r->config.disk, &contents, &r->spill);
    if (e == -ENOTSUP)
        r->spill_note = "the device holds the cache in memory of its own";
    else if (e == -EFBIG)
        r->spill_note = "a block of the cache is larger than kv-disk-bytes";
    return e == -ENOMEM ? error_set(err, -e, "out of memory") : 0;
}

int runner_record(struct runner *r, const struct plan_config *cfg, struct plan **plan,
                  struct error *err)
{
    struct plan_config with_states;

    if (*plan)
        return 0;
    with_states = *cfg;
    with_states.states = r->states ? r->states->layers : NULL;
    return plan_create(r->lm->model, r->device, r->kv->layers, r->workspace, &with_states, plan,
                       err);
}

/* The limits as they are, and what follows from them. */
static void configure(struct runner *r, const struct model *m, const struct device *dev,
                      const struct runner_config *cfg)
{
    struct device_info info;

    device_get_info(dev, &info);
    r->config = *cfg;
    if (!r->config.batch_tokens)
        r->config.batch_tokens = RUNNER_BATCH_TOKENS;
    if (m->arch->is_bidirectional && r->config.batch_tokens < r->config.context_tokens)
        r->config.batch_tokens = r->config.context_tokens; /* whole texts */
    if (info.max_rows && r->config.batch_tokens > info.max_rows)
        r->config.batch_tokens = info.max_rows;
    if (!r->config.max_seqs)
        r->config.max_seqs = RUNNER_SEQS;
    make_buckets(r, m->dims.pooling);
}

int runner_prepare(const struct model *m, struct device *dev, const struct runner_config *cfg,
                   size_t index, struct error *err)
{
    struct kv_layer *kv = calloc(m->dims.dim[DIM_LAYERS], sizeof(*kv));
    struct layer_state *states = calloc(m->dims.dim[DIM_LAYERS], sizeof(*states));
    struct runner r = {0};
    int e = kv && states ? 0 : error_set(err, ENOMEM, "out of memory");

    if (e == 0) {
        configure(&r, m, dev, cfg);
        kv_cache_shape(m, &cfg->cache, kv);
        state_slots_shape(m, n_state_slots(cfg), states);
        if (index < r.n_buckets)
            r.buckets[index].config.states = states;
        e = index < r.n_buckets ? plan_prepare(m, dev, kv, &r.buckets[index].config, err) : -ENOENT;
    }
    free(kv);
    free(states);
    return e;
}

int runner_create(struct loaded_model *lm, struct device *dev, const struct runner_config *cfg,
                  struct runner **ret_runner, struct error *err)
{
    struct runner *r = calloc(1, sizeof(*r));
    int e;

    if (!r)
        return error_set(err, ENOMEM, "out of memory");
    r->lm = loaded_model_ref(lm);
    r->device = dev;
    configure(r, lm->model, dev, cfg);
    for (size_t i = 0; i < RUNNER_STEPS; i++) {
        r->flights[i].ret_results = calloc(r->config.max_seqs, sizeof(*r->flights[i].ret_results));
        r->flights[i].pooled = calloc(r->config.max_seqs, sizeof(*r->flights[i].pooled));
        if (!r->flights[i].ret_results || !r->flights[i].pooled) {
            e = error_set(err, ENOMEM, "out of memory");
            goto fail;
        }
    }
    e = weights_import(lm, dev, &r->weights, err);
    if (e < 0)
        goto fail;
    e = state_slots_create(lm->model, dev, n_state_slots(&r->config), &r->states, err);
    if (e < 0)
        goto fail;
    e = create_cache(r, &cfg->cache, err);
    if ((e == -ENOMEM || e == -EDQUOT) && cfg->least.tokens)
        e = create_cache(r, &cfg->least, err);
    if (e < 0)
        goto fail;
    r->kv->states = r->states;
    e = create_spill(r, err);
    if (e < 0)
        goto fail;
    e = create_workspace(r, err);
    if (e < 0)
        goto fail;
    /* what the device cannot run is refused now, not at the first request */
    e = runner_record(r, &r->buckets[0].config, &r->buckets[0].ring[0], err);
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
    /* what they read must outlive them; a device that failed has nothing under way */
    while (r->n_flights && runner_finish(r, NULL) == 0)
        ;
    for (size_t i = 0; i < r->n_buckets; i++)
        for (size_t k = 0; k < RUNNER_STEPS; k++)
            plan_destroy(r->buckets[i].ring[k]);
    for (size_t i = 0; i < RUNNER_STEPS; i++) {
        free(r->flights[i].ret_results);
        free(r->flights[i].pooled);
    }
    plan_destroy(r->logits_plan);
    buffer_destroy(r->workspace);
    kv_spill_destroy(r->spill);
    kv_cache_destroy(r->kv, atomic_load(&r->lm->is_left));
    state_slots_destroy(r->states);
    weights_release(r->weights);
    loaded_model_unref(r->lm);
    free(r);
}

int runner_session_create(struct runner *r, struct session **ret_session, struct error *err)
{
    return session_create(r->kv, r->states, r->device, r->config.context_tokens, ret_session, err);
}

const struct kv_cache *runner_kv(const struct runner *r)
{
    return r->kv;
}

uint64_t runner_forget(struct runner *r, uid_t uid)
{
    return kv_cache_forget(r->kv, uid);
}

struct kv_spill *runner_spill(const struct runner *r)
{
    return r->spill;
}

const char *runner_spill_note(const struct runner *r)
{
    return r->spill_note;
}

uint64_t runner_cache_bytes(const struct runner *r)
{
    return kv_cache_memory_bytes(r->lm->model, &r->kv->size) +
           state_slots_memory_bytes(r->lm->model, n_state_slots(&r->config)) +
           kv_spill_bytes(r->spill);
}

uint64_t runner_least_cache_bytes(const struct model *m, const struct runner_config *cfg)
{
    const struct kv_size *size = cfg->least.tokens ? &cfg->least : &cfg->cache;
    bool spills = cfg->disk && cfg->prefix_tokens && !model_state_bytes(m);

    return kv_cache_memory_bytes(m, size) + state_slots_memory_bytes(m, n_state_slots(cfg)) +
           (spills ? kv_spill_bytes_for(m, size) : 0);
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
    uint64_t bytes = r->workspace->bytes + kv_spill_bytes(r->spill);

    for (size_t i = 0; i < r->n_buckets; i++)
        for (size_t k = 0; k < RUNNER_STEPS; k++)
            bytes += plan_buffer_bytes(r->buckets[i].ring[k]);
    return bytes + plan_buffer_bytes(r->logits_plan);
}
