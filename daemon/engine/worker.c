/* SPDX-License-Identifier: MIT */
#include "engine/worker_device.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <numa.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull
#define FORGET_NS SECOND_NS /* caches that are kept are mapped for it at most so often */

enum command_kind {
    COMMAND_PREPARE,
    COMMAND_UNPREPARE,
    COMMAND_ATTACH,
    COMMAND_DETACH,
    COMMAND_IDLE,
    COMMAND_MEASURE,
    COMMAND_SUBMIT,
    COMMAND_FORGET
};

struct command {
    struct list link; /* worker.inbox */
    enum command_kind kind;
    struct model_entry *entry;
    struct loaded_model *lm;
    struct engine_request *request;
    struct kv_forget forget; /* FORGET; worker.forgets */
    struct error why;        /* DETACH */
    struct event *ev; /* what will be told, made in advance so that it can be told in any case */
};

/* ---- device thread: models ---- */

static struct running_model *find_model(struct worker *w, const struct model_entry *entry)
{
    list_for_each (it, &w->models, struct running_model, link)
        if (it->entry == entry)
            return it;
    return NULL;
}

static struct runner_config runner_config(const struct worker *w, const struct loaded_model *lm)
{
    struct cache_wishes wishes = {w->config.context_tokens, w->config.kv_bytes,
                                  w->config.prefix_percent, w->config.kv_type};
    struct runner_config cfg = {
        .batch_tokens = w->config.batch_tokens,
        .pools = w->config.pools,
        .disk = w->config.disk,
    };

    /* a text that attention sees whole is one step */
    if (lm->model->arch->is_bidirectional && w->device_info.max_rows &&
        (!wishes.context_tokens || wishes.context_tokens > w->device_info.max_rows))
        wishes.context_tokens = w->device_info.max_rows;
    footprint_choose_cache(&wishes, lm->model, w->device_info.memory_bytes, &cfg);
    return cfg;
}

static void prepare(struct worker *w, struct loaded_model *lm)
{
    struct runner_config cfg = runner_config(w, lm);

    preparation_add(&w->preparations, lm, &cfg);
}

static void unprepare(struct worker *w, struct loaded_model *lm)
{
    preparation_drop(&w->preparations, lm);
    loaded_model_unref(lm);
}

static int create_model(struct worker *w, struct model_entry *entry, struct loaded_model *lm,
                        struct running_model **ret_model, struct error *err)
{
    struct runner_config cfg = runner_config(w, lm);
    int r = worker_device_need(w, err);

    while (r == 0) {
        preparation_complete(&w->preparations, lm, w->keeper.device);
        r = running_model_create(entry, lm, w->keeper.device, w->events, &cfg, ret_model, err);
        if (r == -ENOMEM && worker_device_make_room(w))
            r = 0;
        else if (r < 0 && device_is_lost(w->keeper.device))
            r = worker_device_recover(w, err);
        else
            break;
    }
    return r;
}

static void attach(struct worker *w, struct model_entry *entry, struct loaded_model *lm,
                   struct event *ev)
{
    struct error err = {0};
    struct running_model *m = find_model(w, entry);
    bool is_new = !m;
    int r = is_new ? create_model(w, entry, lm, &m, &err) : 0;

    unprepare(w, lm); /* complete, or there is no device for it */
    if (!is_new)      /* it is back in memory; its next request brings it back on the device */
        m->is_evicted = false;
    if (r == 0 && is_new) {
        pthread_mutex_lock(&w->lock);
        list_push_back(&w->models, &m->link);
        worker_device_measure(w);
        pthread_mutex_unlock(&w->lock);
    }
    ev->error = err;
    ev->error.code = r;
    event_post(w->events, ev);
}

/* Others use the device, too: what is free of it changes without us. */
static void measure(struct worker *w, struct event *ev)
{
    pthread_mutex_lock(&w->lock);
    worker_device_measure(w);
    pthread_mutex_unlock(&w->lock);
    event_post(w->events, ev);
}

/* why: what its requests are told; code 0: they are cancelled. */
static void detach(struct worker *w, struct model_entry *entry, struct loaded_model *lm,
                   const struct error *why, struct event *ev)
{
    struct running_model *m = find_model(w, entry);

    if (m) {
        pthread_mutex_lock(&w->lock);
        list_remove(&m->link);
        pthread_mutex_unlock(&w->lock);
        if (why->code)
            running_model_fail(m, why);
        running_model_destroy(m);
    }
    unprepare(w, lm);
    measure(w, ev);
}

static void idle(struct worker *w, struct model_entry *entry, struct event *ev)
{
    struct running_model *m = find_model(w, entry);

    if (m && m->runner && list_empty(&m->requests))
        worker_device_idle(w, m);
    event_post(w->events, ev);
}

static void submit(struct worker *w, struct engine_request *r)
{
    struct running_model *m = find_model(w, r->entry);

    /* its tokens are those of the model it was tokenized for, not of one loaded since */
    if (m && m->lm == r->lm)
        running_model_add(m, r);
    else
        running_request_end(w->events, r, ENGINE_FINISH_CANCEL);
}

/* All that was asked for since the last time, once it is due. From memory first, or it might go to
 * disk again; of models that came meanwhile, too. */
static void forget_due(struct worker *w, bool is_last)
{
    if (list_empty(&w->forgets) || (!is_last && clock_now_ns() < w->forget_from_ns))
        return;
    list_for_each (f, &w->forgets, struct kv_forget, link)
        list_for_each (m, &w->models, struct running_model, link)
            if (m->runner)
                f->bytes += runner_forget(m->runner, f->uid);
    kv_cache_forget_kept(&w->config.pools, &w->forgets);
    w->forget_from_ns = clock_now_ns() + FORGET_NS;
    list_for_each (m, &w->models, struct running_model, link)
        worker_device_show(w, m);
    list_for_each_safe (f, &w->forgets, struct kv_forget, link) {
        struct command *c = container_of(f, struct command, forget);

        c->ev->done_bytes = f->bytes;
        c->ev->total_bytes = 0;
        if (w->config.disk)
            kv_disk_forget(w->config.disk, f->uid, &c->ev->total_bytes);
        list_remove(&f->link);
        event_post(w->events, c->ev);
        free(c);
    }
}

static void handle(struct worker *w, struct command *c)
{
    switch (c->kind) {
    case COMMAND_PREPARE:
        prepare(w, c->lm);
        break;
    case COMMAND_UNPREPARE:
        unprepare(w, c->lm);
        break;
    case COMMAND_ATTACH:
        attach(w, c->entry, c->lm, c->ev);
        break;
    case COMMAND_DETACH:
        detach(w, c->entry, c->lm, &c->why, c->ev);
        break;
    case COMMAND_IDLE:
        idle(w, c->entry, c->ev);
        break;
    case COMMAND_MEASURE:
        measure(w, c->ev);
        break;
    case COMMAND_SUBMIT:
        submit(w, c->request);
        break;
    case COMMAND_FORGET:
        list_push_back(&w->forgets, &c->forget.link);
        return; /* until it is done */
    }
    free(c);
}

/* ---- device thread: the loop ---- */

/* Waits under the lock, at most until then; false when that time has come. */
static bool wait_until(struct worker *w, uint64_t until_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ns / SECOND_NS),
                                   .tv_nsec = (long)(until_ns % SECOND_NS)};

    if (until_ns == UINT64_MAX)
        return pthread_cond_wait(&w->wake, &w->lock) == 0;
    return pthread_cond_timedwait(&w->wake, &w->lock, &until) != ETIMEDOUT;
}

/* Waits for something to do when nothing can run, at most until then. Returns false when the worker
 * shall end. */
static bool take_commands(struct worker *w, struct list *ret_commands, uint64_t until_ns)
{
    bool go_on;

    list_init(ret_commands);
    pthread_mutex_lock(&w->lock);
    while (until_ns && list_empty(&w->inbox) && !w->is_stopping && !w->is_woken)
        if (!wait_until(w, until_ns))
            break;
    w->is_woken = false;
    list_move_all(&w->inbox, ret_commands);
    go_on = !w->is_stopping;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

/* When the thread has something to do that nobody wakes it for. */
static uint64_t next_duty_ns(struct worker *w)
{
    uint64_t idle_ns = worker_device_idle_unused(w);

    return list_empty(&w->forgets) || idle_ns < w->forget_from_ns ? idle_ns : w->forget_from_ns;
}

/* A step of a model whose turn it is, measured. */
static bool step_model(struct worker *w, struct running_model *m, uint64_t least_ns)
{
    uint64_t before_ns = clock_now_ns(), weight = scheduler_weight(&m->scheduler);
    bool did_step = running_model_step(m, &w->totals);

    device_share_note(&m->share, did_step, clock_now_ns() - before_ns, weight, least_ns);
    return did_step;
}

/* One step of every model whose turn it is; true when any of them has something to do. */
static bool step_models(struct worker *w)
{
    struct error err = {0};
    bool is_busy = false;
    uint64_t least_ns = UINT64_MAX;

    if (!w->keeper.device)
        worker_device_miss(w);
    running_models_compare(&w->models);
    list_for_each (m, &w->models, struct running_model, link) {
        if (m->gives_way) /* it has nothing to do, as it were */
            device_share_note(&m->share, false, 0, 1, least_ns);
        least_ns = device_share_least(least_ns, &m->share);
    }
    list_for_each (m, &w->models, struct running_model, link) {
        bool is_its_turn = !m->gives_way && device_share_may_step(&m->share, least_ns);
        bool did_step = is_its_turn ? step_model(w, m, least_ns) : running_model_sweep(m);

        is_busy |= !is_its_turn;
        if (w->keeper.device && running_model_wants_device(m)) {
            worker_device_wake(w, m);
            did_step = true;
        }
        if (w->keeper.device && device_is_lost(w->keeper.device)) {
            worker_device_recover(w, &err);
            return true;
        }
        if (!did_step)
            continue;
        is_busy = true;
        pthread_mutex_lock(&w->lock);
        running_model_figures(m);
        pthread_mutex_unlock(&w->lock);
    }
    return is_busy;
}

/* The device's own threads inherit where this one may run. */
static int stay_on_node(int node, struct error *err)
{
    if (node < 0 || numa_available() < 0)
        return 0;
    if (!numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)node))
        return error_set(err, EINVAL,
                         "numa-node %d: this machine has no such node; numactl "
                         "--hardware lists them",
                         node);
    if (numa_run_on_node(node) < 0)
        log_warn("cannot keep the device's threads on NUMA node %d: %s", node, strerror(errno));
    return 0;
}

static void start(struct worker *w)
{
    struct error err = {0};
    int r = stay_on_node(w->config.pools.numa_node, &err);

    if (r == 0)
        r = device_keeper_init(&w->keeper, w->config.device, &err);
    pthread_mutex_lock(&w->lock);
    w->start_error = err;
    w->start_error.code = r;
    if (r == 0)
        device_get_info(w->keeper.device, &w->device_info);
    worker_device_measure(w);
    w->has_started = true;
    pthread_cond_broadcast(&w->started);
    pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    struct list commands;
    bool is_busy = false, go_on = true;

    start(w);
    if (!w->keeper.device)
        go_on = false;
    while (go_on) {
        is_busy |= preparation_step(&w->preparations, w->keeper.device);
        worker_device_rest_unused(w);
        go_on = take_commands(w, &commands, is_busy ? 0 : next_duty_ns(w));
        list_for_each_safe (c, &commands, struct command, link) {
            list_remove(&c->link);
            handle(w, c);
        }
        forget_due(w, !go_on);
        if (go_on)
            is_busy = step_models(w);
    }
    list_for_each_safe (m, &w->models, struct running_model, link) {
        list_remove(&m->link);
        loaded_model_leave(m->lm); /* the cache, too, is for the next process */
        running_model_destroy(m);
    }
    preparation_drop(&w->preparations, NULL);
    device_keeper_finish(&w->keeper);
    return NULL;
}

/* ---- other threads ---- */

int worker_create(const struct worker_config *cfg, struct event_queue *events,
                  struct worker **ret_worker, struct error *err)
{
    struct worker *w = calloc(1, sizeof(*w));
    pthread_condattr_t monotonic;
    int r;

    if (!w)
        return error_set(err, ENOMEM, "out of memory");
    w->config = *cfg;
    w->events = events;
    list_init(&w->models);
    list_init(&w->preparations);
    list_init(&w->forgets);
    list_init(&w->inbox);
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* that of clock_now_ns() */
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&w->started, NULL);
    r = pthread_create(&w->thread, NULL, run, w);
    if (r) {
        free(w);
        return error_set_errno(err, r, "cannot start the device thread");
    }
    pthread_setname_np(w->thread, "hearth-device");
    pthread_mutex_lock(&w->lock);
    while (!w->has_started)
        pthread_cond_wait(&w->started, &w->lock);
    pthread_mutex_unlock(&w->lock);
    if (w->start_error.code) {
        r = w->start_error.code;
        if (err)
            *err = w->start_error;
        worker_destroy(w);
        return r;
    }
    *ret_worker = w;
    return 0;
}

void worker_set_pools(struct worker *w, const struct pool_config *pools)
{
    w->config.pools = *pools; /* the device thread reads it when a command, under lock, says so */
}

void worker_stop(struct worker *w)
{
    if (w->is_joined)
        return;
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    w->is_joined = true;
}

void worker_destroy(struct worker *w)
{
    if (!w)
        return;
    worker_stop(w);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->started);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static int post(struct worker *w, const struct command *command)
{
    struct command *c = malloc(sizeof(*c));

    if (!c)
        return -ENOMEM;
    *c = *command;
    pthread_mutex_lock(&w->lock);
    list_push_back(&w->inbox, &c->link);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    return 0;
}

/* Posts a command with the event that will answer it, which is about `subject`. */
static int post_answered(struct worker *w, struct command *c, enum event_kind answer, void *subject)
{
    int r;

    c->ev = event_new(w->events, answer, subject);
    if (!c->ev)
        return -ENOMEM;
    r = post(w, c);
    if (r < 0)
        event_recycle(w->events, c->ev);
    return r;
}

static int post_about(struct worker *w, enum command_kind kind, enum event_kind answer,
                      struct model_entry *entry, struct loaded_model *lm, const struct error *why)
{
    struct command c = {.kind = kind, .entry = entry, .lm = lm};

    if (why)
        c.why = *why;
    return post_answered(w, &c, answer, entry);
}

int worker_prepare(struct worker *w, struct loaded_model *lm)
{
    return post(w, &(struct command){.kind = COMMAND_PREPARE, .lm = lm});
}

int worker_unprepare(struct worker *w, struct loaded_model *lm)
{
    return post(w, &(struct command){.kind = COMMAND_UNPREPARE, .lm = lm});
}

int worker_attach(struct worker *w, struct model_entry *entry, struct loaded_model *lm)
{
    return post_about(w, COMMAND_ATTACH, EVENT_ATTACHED, entry, lm, NULL);
}

int worker_detach(struct worker *w, struct model_entry *entry, struct loaded_model *lm)
{
    return post_about(w, COMMAND_DETACH, EVENT_DETACHED, entry, lm, NULL);
}

int worker_drop(struct worker *w, struct model_entry *entry, struct loaded_model *lm,
                const struct error *why)
{
    return post_about(w, COMMAND_DETACH, EVENT_DETACHED, entry, lm, why);
}

int worker_idle(struct worker *w, struct model_entry *entry)
{
    return post_about(w, COMMAND_IDLE, EVENT_IDLED, entry, NULL, NULL);
}

int worker_measure(struct worker *w, struct model_entry *entry)
{
    return post_about(w, COMMAND_MEASURE, EVENT_MEASURED, entry, NULL, NULL);
}

int worker_submit(struct worker *w, struct engine_request *r)
{
    return post(w, &(struct command){.kind = COMMAND_SUBMIT, .request = r});
}

int worker_forget(struct worker *w, uid_t uid, struct engine_forget *forget)
{
    struct command c = {.kind = COMMAND_FORGET, .forget.uid = uid};

    return post_answered(w, &c, EVENT_FORGOTTEN, forget);
}

void worker_wake(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->is_woken = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void worker_get_stats(struct worker *w, struct worker_stats *ret_stats)
{
    *ret_stats = (struct worker_stats){
        .prompts = w->totals.prompts,
        .cached_prompts = w->totals.cached_prompts,
        .restored_prompts = w->totals.restored_prompts,
        .restored_tokens = w->totals.restored_tokens,
        .prompt_tokens = w->totals.prompt_tokens,
        .cached_tokens = w->totals.cached_tokens,
        .completion_tokens = w->totals.completion_tokens,
        .prefill_ns = w->totals.prefill_ns,
        .decode_ns = w->totals.decode_ns,
        .steps = w->totals.steps,
    };
    for (size_t i = 0; i < DEVICE_FEW_ROWS; i++)
        ret_stats->batches[i] = w->totals.batches[i];
    pthread_mutex_lock(&w->lock);
    ret_stats->device_losses = w->n_device_losses;
    ret_stats->pipelines = w->pipelines;
    memcpy(ret_stats->device, w->device_info.name, sizeof(ret_stats->device));
    memcpy(ret_stats->device_note, w->device_info.note, sizeof(ret_stats->device_note));
    pthread_mutex_unlock(&w->lock);
}

void worker_get_room(struct worker *w, struct device_room *ret_room)
{
    pthread_mutex_lock(&w->lock);
    *ret_room = w->room;
    pthread_mutex_unlock(&w->lock);
}

uint64_t worker_least_cache_bytes(struct worker *w, const struct loaded_model *lm)
{
    struct runner_config cfg;

    pthread_mutex_lock(&w->lock);
    cfg = runner_config(w, lm);
    pthread_mutex_unlock(&w->lock);
    return runner_least_cache_bytes(lm->model, &cfg);
}

void worker_device_info(struct worker *w, struct device_info *ret_info)
{
    pthread_mutex_lock(&w->lock);
    *ret_info = w->device_info;
    pthread_mutex_unlock(&w->lock);
}

bool worker_get_figures(struct worker *w, const struct model_entry *entry,
                        struct worker_model_figures *ret_figures)
{
    struct running_model *m;

    pthread_mutex_lock(&w->lock);
    m = find_model(w, entry);
    if (m)
        *ret_figures = m->figures;
    pthread_mutex_unlock(&w->lock);
    return m != NULL;
}
