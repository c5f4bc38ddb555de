/* SPDX-License-Identifier: MIT */
/* Loading and unloading models: the owner's side, and the loader threads. */
#include "engine/engine_private.h"

#include "engine/admission.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_INTERVAL_NS 100000000ull

/* ---- the loader thread ---- */

static void report_progress(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    struct model_entry *entry = user;
    uint64_t now_ns = clock_now_ns();
    struct event *ev;

    if (now_ns - entry->last_progress_ns < PROGRESS_INTERVAL_NS)
        return;
    entry->last_progress_ns = now_ns;
    ev = event_new(&entry->engine->events, EVENT_LOAD_PROGRESS, entry);
    if (!ev)
        return;
    ev->done_bytes = done_bytes;
    ev->total_bytes = total_bytes;
    event_post(&entry->engine->events, ev);
}

/* The loader's last act: the event is the owner's again. */
static void *tell(struct model_entry *entry, struct event **ev, int r, const struct error *err)
{
    struct event *told = *ev;

    *ev = NULL;
    told->error = *err;
    told->error.code = r;
    event_post(&entry->engine->events, told);
    return NULL;
}

/* All but the weights; what of them is in memory already is found. */
static void *open_model(void *arg)
{
    struct model_entry *entry = arg;
    struct error err = {0};
    int r = loaded_model_open(entry->path, &entry->lm, &err);

    if (r == 0)
        r = loaded_model_find(entry->lm, &entry->engine->pools, &err);
    return tell(entry, &entry->opened, r, &err);
}

/* What the kernel took back, the same way. */
static void *reopen_model(void *arg)
{
    struct model_entry *entry = arg;
    struct error err = {0};
    int r;

    loaded_model_drop(entry->lm);
    r = loaded_model_find(entry->lm, &entry->engine->pools, &err);
    return tell(entry, &entry->opened, r, &err);
}

static void *fill_model(void *arg)
{
    struct model_entry *entry = arg;
    struct loaded_model_progress progress = {report_progress, entry, &entry->cancel_load,
                                             &entry->is_urgent};
    struct error err = {0};
    int r = loaded_model_fill(entry->lm, &entry->engine->pools, &progress, &err);

    return tell(entry, &entry->loaded, r, &err);
}

/* ---- the owner ---- */

static int start_loader(struct model_entry *entry, void *(*what)(void *), struct error *err)
{
    int r = pthread_create(&entry->loader, NULL, what, entry);

    if (r)
        return error_set_errno(err, r, "cannot start a thread to load %s", entry->name);
    pthread_setname_np(entry->loader, "hearth-load");
    entry->has_loader = true;
    return 0;
}

/* Gives back the events that nobody will post. */
static void recycle_events(struct engine *e, struct model_entry *entry)
{
    struct event **events[] = {&entry->opened, &entry->loaded};

    for (size_t i = 0; i < 2; i++) {
        if (*events[i])
            event_recycle(&e->events, *events[i]);
        *events[i] = NULL;
    }
}

static int start_load(struct engine *e, struct model_entry *entry, void *(*what)(void *),
                      struct error *err)
{
    int r;

    entry->engine = e;
    entry->admitted = (struct residency_bytes){0};
    entry->waits_for_room = entry->was_measured = false;
    entry->load_start_ns = clock_now_ns();
    entry->loaded_bytes = 0;
    entry->last_progress_ns = 0;
    atomic_store(&entry->cancel_load, false);
    models_weigh_urgency(entry);
    entry->opened = event_new(&e->events, EVENT_OPENED, entry);
    entry->loaded = event_new(&e->events, EVENT_LOADED, entry);
    r = entry->opened && entry->loaded ? start_loader(entry, what, err)
                                       : error_set(err, ENOMEM, "out of memory");
    if (r < 0)
        recycle_events(e, entry);
    else
        entry->state = ENGINE_MODEL_LOADING;
    return r;
}

int models_start_load(struct engine *e, struct model_entry *entry, struct error *err)
{
    entry->is_adoption = entry->is_reload = false;
    return start_load(e, entry, open_model, err);
}

int models_want(struct engine *e, struct model_entry *entry, struct error *err)
{
    if (entry->state != ENGINE_MODEL_READY && e->is_loading_over)
        return error_set(err, ECANCELED, "the service is stopping");
    return entry->state == ENGINE_MODEL_AVAILABLE ? models_start_load(e, entry, err) : 0;
}

static void join_loader(struct model_entry *entry)
{
    if (entry->has_loader)
        pthread_join(entry->loader, NULL);
    entry->has_loader = false;
}

/* Tells everyone who waits how the load ended. A callback may add or remove listeners. */
static void tell_listeners(struct model_entry *entry, const struct error *err)
{
    struct list told;

    list_init(&told);
    list_move_all(&entry->listeners, &told);
    while (!list_empty(&told)) {
        struct engine_load *l = list_first(&told, struct engine_load, link);
        list_remove(&l->link);
        if (l->events.on_done)
            l->events.on_done(l->user, err);
        free(l);
    }
}

bool models_is_ending(const struct model_entry *entry)
{
    return entry->state == ENGINE_MODEL_LOADING && atomic_load(&entry->cancel_load);
}

void models_weigh_urgency(struct model_entry *entry)
{
    bool is_urgent = false;

    list_for_each (r, &entry->waiting, struct engine_request, link)
        is_urgent |= r->params.class == ENGINE_INTERACTIVE;
    list_for_each (l, &entry->listeners, struct engine_load, link)
        is_urgent |= l->events.on_done && !l->events.is_background;
    atomic_store(&entry->is_urgent, is_urgent);
}

void models_take_late(struct model_entry *entry)
{
    list_move_all(&entry->late_waiting, &entry->waiting);
    list_move_all(&entry->late_listeners, &entry->listeners);
    models_weigh_urgency(entry);
}

static bool is_wanted(const struct model_entry *entry)
{
    return !list_empty(&entry->waiting) || !list_empty(&entry->listeners);
}

bool models_is_unasked(const struct model_entry *entry)
{
    return entry->is_adoption && !is_wanted(entry);
}

static void fail_load(struct engine *e, struct model_entry *entry, const struct error *err);

/* Begins another load if somebody waits for one. */
static void load_again(struct engine *e, struct model_entry *entry)
{
    struct error err = {0};

    if (!e->is_stopping && is_wanted(entry) && models_want(e, entry, &err) < 0)
        fail_load(e, entry, &err);
}

/* What was read, or found, is nobody's at once: the device thread may take a while to forget what
 * it compiles for. */
static void let_go(struct engine *e, struct model_entry *entry)
{
    struct loaded_model *lm = entry->lm;

    entry->lm = NULL;
    if (!lm)
        return;
    loaded_model_drop(lm);
    if (worker_unprepare(e->worker, lm) < 0)
        loaded_model_unref(lm);
}

static void fail_load(struct engine *e, struct model_entry *entry, const struct error *err)
{
    catalogue_hold(entry);
    recycle_events(e, entry);
    /* of one that is read again, the device thread still has requests */
    if (entry->is_reload && worker_drop(e->worker, entry, entry->lm, err) == 0) {
        entry->lm = NULL;
        entry->state = ENGINE_MODEL_UNLOADING;
    } else {
        let_go(e, entry);
        entry->state = ENGINE_MODEL_AVAILABLE;
    }
    entry->is_reload = false;
    entry->waits_for_room = false;
    log_warn("cannot load %s: %s", entry->name, err->text);
    requests_fail(e, entry, err);
    tell_listeners(entry, err);
    models_take_late(entry);
    if (entry->state == ENGINE_MODEL_AVAILABLE)
        load_again(e, entry);
    catalogue_release(&e->catalogue, entry);
}

/* Of one that nobody has asked for. */
static void leave_it(struct engine *e, struct model_entry *entry, const char *why)
{
    log_info("%s is not taken up: %s", entry->name, why);
    recycle_events(e, entry);
    let_go(e, entry);
    entry->state = ENGINE_MODEL_AVAILABLE;
    models_take_late(entry);
    load_again(e, entry);
}

static void set_cancelled(const struct model_entry *entry, struct error *err)
{
    error_set(err, ECANCELED, "%s was unloaded before it was loaded whole", entry->name);
}

/* Asks for the memory of an opened model, and reads it if it may have that. Whether it goes on
 * waiting; else the entry may be gone. */
static bool admit(struct engine *e, struct model_entry *entry)
{
    struct error err = {0};
    enum admission answer = ADMISSION_REFUSED;

    entry->waits_for_room = false;
    if (atomic_load(&entry->cancel_load))
        set_cancelled(entry, &err);
    else
        answer = admission_ask(e, entry, &err);
    if (answer == ADMISSION_GRANTED && start_loader(entry, fill_model, &err) < 0)
        answer = ADMISSION_REFUSED;
    if (answer == ADMISSION_GRANTED && !entry->is_reload &&
        worker_prepare(e->worker, loaded_model_ref(entry->lm)) < 0)
        loaded_model_unref(entry->lm); /* then it is compiled when it is used */
    if (answer == ADMISSION_REFUSED && models_is_unasked(entry))
        leave_it(e, entry, err.text);
    else if (answer == ADMISSION_REFUSED)
        fail_load(e, entry, &err);
    return answer == ADMISSION_WAITS;
}

/* Whatever happened may have made room. */
static void admit_waiting(struct engine *e)
{
    struct model_entry *entry;

    while (!e->is_stopping && (entry = admission_next(e)))
        if (admit(e, entry))
            return;
}

static void handle_opened(struct engine *e, struct model_entry *entry, const struct error *err)
{
    join_loader(entry);
    if (err->code)
        fail_load(e, entry, err);
    else if (models_is_unasked(entry) && entry->lm->resident_bytes < entry->lm->file_bytes)
        leave_it(e, entry, "the kernel took its memory back");
    else
        admit(e, entry);
}

static void handle_loaded(struct engine *e, struct model_entry *entry, struct error *err)
{
    join_loader(entry);
    if (atomic_load(&entry->cancel_load))
        set_cancelled(entry, err);
    if (err->code == 0 && worker_attach(e->worker, entry, loaded_model_ref(entry->lm)) < 0) {
        error_set(err, ENOMEM, "out of memory");
        loaded_model_unref(entry->lm);
    }
    if (err->code)
        fail_load(e, entry, err);
    else
        entry->loaded_bytes = entry->lm->file_bytes; /* the last report may not have been sent */
}

/* A cancel that came when the weights were the device's already: true when it is done now. */
static bool unload_attached(struct engine *e, struct model_entry *entry)
{
    struct error err = {0};

    if (!atomic_load(&entry->cancel_load) || worker_detach(e->worker, entry, entry->lm) < 0)
        return false;
    entry->lm = NULL;
    entry->state = ENGINE_MODEL_UNLOADING;
    set_cancelled(entry, &err);
    requests_fail(e, entry, &err);
    tell_listeners(entry, &err);
    models_take_late(entry);
    return true;
}

static void log_pipelines(struct engine *e)
{
    struct worker_stats stats;
    const struct device_pipelines *p = &stats.pipelines;

    worker_get_stats(e->worker, &stats);
    if (p->tells_compiled)
        log_info("%u pipelines, %u compiled", p->n, p->n_compiled);
    else if (p->n)
        log_info("%u pipelines; the driver does not tell how many it compiled", p->n);
}

static void handle_attached(struct engine *e, struct model_entry *entry, const struct error *err)
{
    uint64_t now_ns = clock_now_ns();

    if (err->code) {
        fail_load(e, entry, err);
        return;
    }
    if (unload_attached(e, entry))
        return;
    entry->state = ENGINE_MODEL_READY;
    entry->loaded_bytes = entry->lm->file_bytes;
    entry->load_seconds = (double)(now_ns - entry->load_start_ns) * 1e-9;
    if (!models_is_unasked(entry))
        entry->last_used_ns = now_ns;
    entry->is_adoption = false;
    if (entry->lm->fill.retries)
        log_warn("%s: %u reads failed and had to be tried again: the kernel's log says why",
                 entry->name, entry->lm->fill.retries);
    log_info("loaded %s: %llu bytes in %.3f s, %s, %s", entry->name,
             (unsigned long long)entry->lm->file_bytes, entry->load_seconds, entry->lm->pool_text,
             loaded_model_read_note(entry->lm));
    if (!entry->lm->chat_template && entry->lm->model->dims.pooling == POOLING_NONE)
        log_info("%s has no chat template: chats with it are written as ChatML", entry->name);
    log_pipelines(e);
    requests_release(e, entry);
    tell_listeners(entry, err);
}

static void handle_evicted(struct engine *e, struct model_entry *entry)
{
    struct error err = {0};

    if (entry->state != ENGINE_MODEL_READY)
        return;
    log_info("%s is read again: the kernel took its memory back", entry->name);
    entry->is_reload = true;
    if (start_load(e, entry, reopen_model, &err) < 0)
        fail_load(e, entry, &err);
}

static void handle_detached(struct engine *e, struct model_entry *entry)
{
    entry->state = ENGINE_MODEL_AVAILABLE;
    entry->makes_room = false;
    log_info("unloaded %s", entry->name);
    if (is_wanted(entry))
        load_again(e, entry);
    else
        catalogue_forget(&e->catalogue, entry);
}

static void handle_progress(struct model_entry *entry, const struct event *ev)
{
    struct list *next;

    entry->loaded_bytes = ev->done_bytes;
    for (struct list *it = entry->listeners.next; it != &entry->listeners; it = next) {
        struct engine_load *l = container_of(it, struct engine_load, link);
        next = it->next;
        if (l->events.on_progress)
            l->events.on_progress(l->user, ev->done_bytes, ev->total_bytes);
    }
}

void models_handle(struct engine *e, struct event *ev)
{
    struct model_entry *entry = ev->subject;

    if (ev->kind == EVENT_FOUND)
        adoption_handle_found(e);
    else if (ev->kind == EVENT_LOAD_PROGRESS)
        handle_progress(entry, ev);
    else if (ev->kind == EVENT_OPENED)
        handle_opened(e, entry, &ev->error);
    else if (ev->kind == EVENT_LOADED)
        handle_loaded(e, entry, &ev->error);
    else if (ev->kind == EVENT_ATTACHED)
        handle_attached(e, entry, &ev->error);
    else if (ev->kind == EVENT_DETACHED)
        handle_detached(e, entry);
    else if (ev->kind == EVENT_EVICTED)
        handle_evicted(e, entry);
    else if (ev->kind == EVENT_IDLED)
        entry->makes_room = false;
    else if (ev->kind == EVENT_MEASURED)
        entry->is_measuring = false;
    else if (ev->kind == EVENT_READY && entry->state == ENGINE_MODEL_READY)
        tell_listeners(entry, &ev->error);
    admit_waiting(e);
    adoption_step(e);
}

void models_finish(struct engine *e)
{
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        atomic_store(&entry->cancel_load, true);
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        join_loader(entry);
        recycle_events(e, entry);
    }
}

/* ---- the engine's header ---- */

int engine_load(struct engine *e, const char *name, const struct engine_load_events *events,
                void *user, struct engine_load **ret_load, struct error *err)
{
    struct model_entry *entry;
    struct engine_load *l;
    struct event *ready = NULL;
    int r;

    if (e->is_stopping)
        return error_set(err, ECANCELED, "the service is stopping");
    r = catalogue_find(&e->catalogue, name, &entry, err);
    if (r == -ENOENT) {
        catalogue_scan(&e->catalogue);
        r = catalogue_find(&e->catalogue, name, &entry, err);
    }
    if (r < 0)
        return r;
    l = calloc(1, sizeof(*l));
    if (entry->state == ENGINE_MODEL_READY)
        ready = event_new(&e->events, EVENT_READY, entry);
    if (!l || (entry->state == ENGINE_MODEL_READY && !ready)) {
        free(l);
        return error_set(err, ENOMEM, "out of memory");
    }
    r = models_want(e, entry, err);
    if (r < 0) {
        free(l);
        catalogue_forget(&e->catalogue, entry);
        return r;
    }
    if (events)
        l->events = *events;
    l->user = user;
    l->entry = entry;
    list_push_back(models_is_ending(entry) ? &entry->late_listeners : &entry->listeners, &l->link);
    models_weigh_urgency(entry);
    if (ret_load)
        *ret_load = l;
    if (ready)
        event_post(&e->events, ready);
    return 0;
}

/* Of one that is read again what runs still needs that. */
static void stop_waiting(struct engine *e, struct model_entry *entry, const struct error *why)
{
    if (entry->state == ENGINE_MODEL_READY)
        return;
    if (entry->state == ENGINE_MODEL_LOADING && !entry->is_reload)
        atomic_store(&entry->cancel_load, true);
    models_take_late(entry);
    requests_fail(e, entry, why);
    tell_listeners(entry, why);
}

void engine_stop_loading(struct engine *e)
{
    struct error why;

    error_set(&why, ECANCELED, "the service is stopping");
    e->is_loading_over = true;
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        catalogue_hold(entry);
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        stop_waiting(e, entry, &why);
    list_for_each_safe (entry, &e->catalogue.entries, struct model_entry, link)
        catalogue_release(&e->catalogue, entry);
}

void engine_load_forget(struct engine_load *load)
{
    load->events = (struct engine_load_events){0};
    models_weigh_urgency(load->entry);
}

int engine_pin(struct engine *e, const char *name, bool is_pinned, struct error *err)
{
    struct model_entry *entry;
    int r = catalogue_find(&e->catalogue, name, &entry, err);

    if (r < 0)
        return r;
    entry->is_pinned = is_pinned;
    catalogue_forget(&e->catalogue, entry);
    return 0;
}

int engine_unload(struct engine *e, const char *name, struct error *err)
{
    struct model_entry *entry;
    int r;

    if (e->is_stopping)
        return error_set(err, ECANCELED, "the service is stopping");
    r = catalogue_find(&e->catalogue, name, &entry, err);
    if (r < 0)
        return r;
    switch (entry->state) {
    case ENGINE_MODEL_READY:
        entry->is_pinned = false;
        if (worker_detach(e->worker, entry, entry->lm) < 0)
            return error_set(err, ENOMEM, "out of memory");
        entry->lm = NULL;
        entry->state = ENGINE_MODEL_UNLOADING;
        return 0;
    case ENGINE_MODEL_LOADING: /* one that waits for room ends when that is made */
        atomic_store(&entry->cancel_load, true);
        return 0;
    case ENGINE_MODEL_UNLOADING:
        return 0;
    case ENGINE_MODEL_AVAILABLE:
        break;
    }
    r = error_set(err, ENOENT, "%s is not loaded", entry->name);
    catalogue_forget(&e->catalogue, entry);
    return r;
}
