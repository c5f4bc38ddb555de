/* SPDX-License-Identifier: MIT */
#include "engine/admission.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static struct residency_bytes need_of(struct engine *e, const struct device_room *room,
                                      const struct loaded_model *lm)
{
    return footprint_of(room, pool_round_up(lm->file_bytes),
                        pool_round_up(lm->file_bytes - lm->resident_bytes),
                        worker_least_cache_bytes(e->worker, lm));
}

/* A loaded or loading entry as the policy sees it. */
static struct residency_model model_of(struct engine *e, const struct device_room *room,
                                       const struct model_entry *entry)
{
    struct residency_model m = {
        .name = entry->name,
        .last_used_ns = entry->last_used_ns,
        .n_requests = entry->n_active,
        .is_pinned = entry->is_pinned,
        .is_busy = entry->n_active || entry->state != ENGINE_MODEL_READY,
    };
    struct worker_model_figures f = {0};
    uint64_t pool_bytes;

    if (entry->state != ENGINE_MODEL_READY || !worker_get_figures(e->worker, entry, &f)) {
        m.held = entry->admitted;
        return m;
    }
    pool_bytes = entry->lm->pool_bytes;
    m.held = footprint_of(room, pool_bytes, pool_bytes, f.kv_memory_bytes);
    m.work = footprint_of(room, pool_bytes, 0, f.kv_memory_bytes);
    if (f.is_idle) {
        m.held.device = 0;
        m.work = (struct residency_bytes){0};
        /* the module's idle pools are part of what is free: the kernel takes them back itself */
        if (e->pools.kind == POOL_KIND_KMOD)
            m.held.host = 0;
    }
    return m;
}

/* What is free, without what loads under way have been told they may take and have not yet. */
static struct residency_bytes free_bytes(struct engine *e, const struct device_room *room)
{
    struct residency_bytes left = {footprint_free_host_bytes(e->pools.kind), room->free_bytes};

    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        if (entry->state != ENGINE_MODEL_LOADING)
            continue;
        left.host = minus(left.host, minus(entry->admitted.host, entry->loaded_bytes));
        if (left.device != RESIDENCY_UNLIMITED)
            left.device = minus(left.device, entry->admitted.device);
    }
    return left;
}

/* Everyone but the one that asks; *ret_entries[i] is what *ret_models[i] stands for. */
static int list_models(struct engine *e, const struct device_room *room,
                       const struct model_entry *asking, struct residency_model **ret_models,
                       struct model_entry ***ret_entries, size_t *ret_n)
{
    size_t n = 0;

    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        n++;
    *ret_models = calloc(n + 1, sizeof(**ret_models));
    *ret_entries = calloc(n + 1, sizeof(**ret_entries));
    if (!*ret_models || !*ret_entries)
        return -ENOMEM;
    n = 0;
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        if (entry == asking || entry->state == ENGINE_MODEL_AVAILABLE)
            continue;
        (*ret_entries)[n] = entry;
        (*ret_models)[n++] = model_of(e, room, entry);
    }
    *ret_n = n;
    return 0;
}

/* Has the chosen ones make room: how many do, or -ENOMEM. */
static int clear(struct engine *e, const struct residency_model *models,
                 struct model_entry **entries, size_t n, const struct model_entry *whom,
                 struct error *err)
{
    int n_moving = 0;

    for (size_t i = 0; i < n; i++) {
        struct model_entry *entry = entries[i];
        bool goes = models[i].fate == RESIDENCY_GOES;

        if (models[i].fate == RESIDENCY_STAYS)
            continue;
        if ((goes ? worker_detach(e->worker, entry, entry->lm) : worker_idle(e->worker, entry)) < 0)
            return error_set(err, ENOMEM, "out of memory");
        log_info("%s %s to make room for %s", entry->name, goes ? "is unloaded" : "becomes idle",
                 whom->name);
        entry->makes_room = true;
        n_moving++;
        if (goes) {
            entry->lm = NULL;
            entry->state = ENGINE_MODEL_UNLOADING;
        }
    }
    return n_moving;
}

enum admission admission_ask(struct engine *e, struct model_entry *entry, struct error *err)
{
    struct residency_model *models = NULL;
    struct model_entry **entries = NULL;
    struct residency_bytes need, free_now;
    struct device_room room;
    size_t n = 0;
    int r;

    worker_get_room(e->worker, &room);
    entry->admitted = (struct residency_bytes){0};
    entry->waits_for_room = false;
    need = need_of(e, &room, entry->lm);
    free_now = free_bytes(e, &room);
    r = list_models(e, &room, entry, &models, &entries, &n);
    if (models_is_unasked(entry))
        n = 0; /* takes from nobody */
    if (r == 0 && !residency_make_room(models, n, need, free_now))
        r = residency_refuse(models, n, entry->lm->file_bytes,
                             worker_least_cache_bytes(e->worker, entry->lm), need, free_now, err);
    else if (r == 0)
        r = clear(e, models, entries, n, entry, err);
    else
        error_set(err, ENOMEM, "out of memory");
    if (r == 0)
        entry->admitted = need;
    if (r < 0)
        error_prefix(err, "%s", entry->name);
    entry->waits_for_room = r > 0;
    free(models);
    free(entries);
    return r < 0 ? ADMISSION_REFUSED : r ? ADMISSION_WAITS : ADMISSION_GRANTED;
}

struct model_entry *admission_next(struct engine *e)
{
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        if (entry->makes_room)
            return NULL;
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        if (entry->waits_for_room)
            return entry;
    return NULL;
}
