/* SPDX-License-Identifier: MIT */
#include "model_fit.h"

#include "fields.h"

#include "engine/footprint.h"
#include "engine/pool_buffer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct machine {
    struct device_room room;
    enum pool_kind kind;
    struct residency_bytes free;
};

static int look_at_machine(const char *device, struct machine *ret, char ret_name[128],
                           struct error *err)
{
    struct pool_config pools = {.kind = POOL_KIND_AUTO, .numa_node = -1};
    struct device_info info;
    struct device *dev;
    char memory[80];
    int r = device_create(device ? device : "auto", &dev, err);

    if (r < 0)
        return r;
    device_get_info(dev, &info);
    pool_config_for_device(&pools, &info, memory, NULL);
    device_room_measure(dev, &ret->room);
    device_destroy(dev);
    snprintf(ret_name, 128, "%s", info.name);
    ret->kind = pools.kind;
    ret->free =
        (struct residency_bytes){footprint_free_host_bytes(pools.kind), ret->room.free_bytes};
    return 0;
}

/* A model of the daemon's as the policy sees it. */
static struct residency_model other_model(const struct machine *m, const json_t *entry)
{
    uint64_t pool_bytes = number_of(entry, "pool_bytes");
    struct residency_model other = {
        .name = text_of(entry, "name"),
        .n_requests = (uint32_t)(number_of(entry, "n_running") + number_of(entry, "n_waiting")),
        .is_pinned = json_is_true(json_object_get(entry, "is_pinned")),
        .held = footprint_of(&m->room, pool_bytes, pool_bytes, number_of(entry, "kv_bytes")),
    };

    other.is_busy = other.n_requests > 0;
    if (json_is_true(json_object_get(entry, "is_idle"))) {
        other.held.device = 0;
        if (m->kind == POOL_KIND_KMOD)
            other.held.host = 0; /* part of what is free */
    }
    return other;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* Those in memory but the one that is asked about; *ret_is_loaded: that one is, too. */
static int list_others(const struct model_fit_question *q, const struct machine *m,
                       struct residency_model **ret_models, size_t *ret_n, bool *ret_is_loaded)
{
    size_t n = 0, n_all = 0;
    struct residency_model *models;

    while (daemon_models_at(q->others, n_all))
        n_all++;
    models = calloc(n_all + 1, sizeof(*models));
    if (!models)
        return -ENOMEM;
    *ret_is_loaded = false;
    for (size_t i = 0; i < n_all; i++) {
        const json_t *entry = daemon_models_at(q->others, i);

        if (strcmp(text_of(entry, "state"), "ready"))
            continue;
        if (is_same_file(text_of(entry, "path"), q->path))
            *ret_is_loaded = true;
        else
            models[n++] = other_model(m, entry);
    }
    *ret_models = models;
    *ret_n = n;
    return 0;
}

/* The lengths worth telling: from 4096 on, each four times the last, up to the model's own. */
static void list_contexts(struct model_fit *fit, const struct model_fit_question *q,
                          const struct device_room *room, uint64_t weights_bytes,
                          uint64_t free_host_bytes)
{
    uint32_t trained = q->model->dims.dim[DIM_CONTEXT];
    uint64_t tokens = 4096;

    for (; fit->n_contexts < MODEL_FIT_CONTEXTS; tokens *= 4) {
        uint32_t here = tokens < trained ? (uint32_t)tokens : trained;

        fit->contexts[fit->n_contexts].tokens = here;
        fit->contexts[fit->n_contexts++].n_sequences = footprint_most_sequences(
            q->model, room, weights_bytes, free_host_bytes, q->kv_type, here);
        if (here == trained)
            break;
    }
    fit->longest_tokens =
        footprint_longest_context(q->model, room, weights_bytes, free_host_bytes, q->kv_type);
}

/* Adds what could be had of models that nobody uses. */
static struct residency_bytes could_be_free(const struct residency_model *models, size_t n,
                                            struct residency_bytes free_now)
{
    for (size_t i = 0; i < n; i++) {
        if (models[i].is_busy)
            continue;
        free_now.host += models[i].held.host;
        if (free_now.device != RESIDENCY_UNLIMITED)
            free_now.device += models[i].held.device;
    }
    return free_now;
}

int model_fit_judge(const struct model_fit_question *q, struct model_fit *ret_fit,
                    struct error *err)
{
    const struct cache_wishes wishes = {.context_tokens = q->context_tokens, .kv_type = q->kv_type};
    struct model_fit fit = {0};
    struct residency_model *models;
    struct residency_bytes need, most;
    struct runner_config cfg = {0};
    struct machine m;
    uint64_t weights_bytes;
    size_t n;
    int r = look_at_machine(q->device, &m, fit.device, err);

    if (r < 0)
        return r;
    if (list_others(q, &m, &models, &n, &fit.is_loaded) < 0)
        return error_set(err, ENOMEM, "out of memory");
    footprint_choose_cache(&wishes, q->model, 0, &cfg);
    fit.context_tokens = cfg.context_tokens;
    fit.cache_bytes = runner_least_cache_bytes(q->model, &cfg);
    weights_bytes = fit.is_loaded ? 0 : q->file_bytes;
    need = footprint_of(&m.room, pool_round_up(weights_bytes), pool_round_up(weights_bytes),
                        fit.cache_bytes);
    fit.fits = fit.is_loaded || residency_make_room(models, n, need, m.free);
    if (!fit.fits)
        residency_refuse(models, n, weights_bytes, fit.cache_bytes, need, m.free, &fit.refusal);
    most = could_be_free(models, n, m.free);
    free(models);
    fit.need_host_bytes = need.host;
    fit.need_device_bytes = need.device;
    fit.free_host_bytes = m.free.host;
    fit.free_device_bytes = m.free.device;
    m.room.free_bytes = most.device;
    list_contexts(&fit, q, &m.room, weights_bytes, most.host);
    *ret_fit = fit;
    return 0;
}
