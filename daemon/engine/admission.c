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
        if (e->pools.kind == POOL_KIND_KMOD && f.is_resting)
            m.held.host = 0;
    }
    return m;
}

/* What the module has left, if it is used. A pool counts there as a whole from its creation on. */
static uint64_t module_bytes(struct engine *e)
{
    uint64_t left = footprint_free_module_bytes(e->pools.kind);

    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        if (entry->state == ENGINE_MODEL_LOADING && entry->admitted.host)
            left = minus(left, minus(entry->admitted.host, atomic_load(&entry->lm->taken_bytes)));
    return left;
}

/* What of the pool that a load may fill is filled, and so no longer free: as the loader has it, as
 * what is reported of it comes later. */
static uint64_t filled_bytes(const struct model_entry *entry)
{
    if (!entry->admitted.host)
        return 0; /* its lm is the loader's still */
    return minus(atomic_load(&entry->lm->filled_bytes), entry->found_bytes);
}

/* What is free, without what loads under way have been told they may take and have not yet. */
static struct residency_bytes free_bytes(struct engine *e, const struct device_room *room)
{
    struct residency_bytes left = {pool_available_bytes(), room->free_bytes};
    uint64_t module = module_bytes(e);

    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        if (entry->state != ENGINE_MODEL_LOADING)
            continue;
        left.host = minus(left.host, minus(entry->admitted.host, filled_bytes(entry)));
        if (left.device != RESIDENCY_UNLIMITED)
            left.device = minus(left.device, entry->admitted.device);
    }
    left.host = module < left.host ? module : left.host;
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

/* Whether somebody is on the way out, by whomever it was sent. */
static bool is_room_coming(struct engine *e)
{
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        if (entry->makes_room || entry->state == ENGINE_MODEL_UNLOADING ||
            (models_is_ending(entry) && !entry->waits_for_room))
            return true;
    return false;
}

/* Whether somebody who asked earlier waits still: it goes first, or those who ask later could have
 * what was made free for it. */
static bool has_predecessor(struct engine *e, const struct model_entry *asking)
{
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        if (entry != asking && entry->waits_for_room &&
            entry->load_start_ns < asking->load_start_ns)
            return true;
    return false;
}

/* Other programs take and free memory of the device, too: before anybody has to go, or is refused,
 * it is looked at anew. True when that has begun. */
static bool measure(struct engine *e, struct model_entry *entry, const struct device_room *room)
{
    if (entry->was_measured || room->free_bytes == RESIDENCY_UNLIMITED ||
        worker_measure(e->worker, entry) < 0)
        return false;
    entry->was_measured = entry->is_measuring = true;
    return true;
}

/* What can be done for one that does not fit: how many move, or -ENOMEM. */
static int make_room(struct engine *e, struct model_entry *entry, const struct device_room *room,
                     struct residency_bytes need, struct residency_bytes free_now,
                     struct error *err)
{
    struct residency_model *models = NULL;
    struct model_entry **entries = NULL;
    size_t n = 0;
    int r = list_models(e, room, entry, &models, &entries, &n);

    if (r < 0)
        error_set(err, ENOMEM, "out of memory");
    else if (!models_is_unasked(entry) && residency_make_room(models, n, need, free_now))
        r = clear(e, models, entries, n, entry, err);
    else /* one that nobody asked for takes from nobody */
        r = residency_refuse(models, models_is_unasked(entry) ? 0 : n, entry->lm->file_bytes,
                             worker_least_cache_bytes(e->worker, entry->lm), need, free_now, err);
    free(models);
    free(entries);
    return r;
}

enum admission admission_ask(struct engine *e, struct model_entry *entry, struct error *err)
{
    struct residency_bytes need, free_now;
    struct device_room room;
    bool fits;
    int r = 1;

    worker_get_room(e->worker, &room);
    entry->admitted = (struct residency_bytes){0};
    entry->waits_for_room = false;
    need = need_of(e, &room, entry->lm);
    free_now = free_bytes(e, &room);
    fits = need.host <= free_now.host && need.device <= free_now.device;
    if (fits && !has_predecessor(e, entry))
        r = 0;
    else if (!fits && !has_predecessor(e, entry) && !is_room_coming(e) && !measure(e, entry, &room))
        r = make_room(e, entry, &room, need, free_now, err);
    if (r == 0) {
        entry->admitted = need;
        entry->found_bytes = entry->lm->resident_bytes;
    }
    if (r < 0)
        error_prefix(err, "%s", entry->name);
    entry->waits_for_room = r > 0;
    return r < 0 ? ADMISSION_REFUSED : r ? ADMISSION_WAITS : ADMISSION_GRANTED;
}

struct model_entry *admission_next(struct engine *e)
{
    struct model_entry *first = NULL;

    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        if (entry->makes_room || entry->is_measuring)
            return NULL;
        if (entry->waits_for_room && (!first || entry->load_start_ns < first->load_start_ns))
            first = entry;
    }
    return first;
}
