/* SPDX-License-Identifier: MIT */
/* Inside engine only: the owner's side. Owner thread. */
#ifndef HEARTH_ENGINE_ENGINE_PRIVATE_H
#define HEARTH_ENGINE_ENGINE_PRIVATE_H

#include "engine/account.h"
#include "engine/adoption.h"
#include "engine/catalogue.h"
#include "engine/events.h"
#include "engine/prompter.h"
#include "engine/shared_prompt.h"
#include "engine/worker.h"

#include <stdatomic.h>

enum { QUEUE_LIMIT_DEFAULT = 256 };

/* Half of those that may wait, and a step full of those that run. */
#define USER_LIMIT_DEFAULT(queue_limit) ((queue_limit) / 2 + DEVICE_FEW_ROWS)

struct engine {
    struct event_queue events;
    struct worker *worker;
    struct prompter *prompter;
    struct catalogue catalogue;
    struct adoption adoption;
    struct pool_config pools;
    struct kv_disk *disk; /* NULL: there is none */
    /* the worker, for the disk's thread, which begins earlier; NULL until it is there */
    _Atomic(struct worker *) disk_wakes;
    uint64_t disk_limit_bytes;
    struct error disk_error;              /* why, where there should be one */
    char memory[80], advice[1024];        /* which kind they are, and what would be better */
    struct list requests;                 /* engine_request.all */
    struct list forgets;                  /* engine_forget.link */
    struct shared_prompts shared_prompts; /* constant */
    struct accounts accounts;
    struct rhythm begins; /* of requests that wait */
    uint32_t n_waiting, queue_limit;
    bool is_loading_over; /* engine_stop_loading() */
    bool is_stopping;     /* engine_destroy has begun; its callbacks may still call in */
    uint64_t requests_total, requests_failed, requests_cancelled;
    struct engine_model_info *infos; /* what engine_models handed out */
};

/* A client that waits for a load. */
struct engine_load {
    struct list link; /* model_entry.listeners or late_listeners */
    struct model_entry *entry;
    struct engine_load_events events;
    void *user;
};

/* Somebody who wants something forgotten. */
struct engine_forget {
    struct list link; /* engine.forgets */
    struct engine_forgotten what;
    void (*on_done)(void *user, const struct engine_forgotten *what); /* NULL: nobody listens */
    void *user;
};

/* Begins to load an entry that is AVAILABLE. On failure nothing has changed. */
int models_start_load(struct engine *e, struct model_entry *entry, struct error *err);
/* Begins that unless the entry is on its way or there; -ECANCELED when no load begins any more. */
int models_want(struct engine *e, struct model_entry *entry, struct error *err);
/* Whether the load under way was cancelled: who comes now waits on the entry's late lists. */
bool models_is_ending(const struct model_entry *entry);
/* Whether nobody waits for what is taken up at the start. */
bool models_is_unasked(const struct model_entry *entry);
/* Who waits for its load has come or gone. */
void models_weigh_urgency(struct model_entry *entry);
/* They wait like all others from now on. */
void models_take_late(struct model_entry *entry);
void models_handle(struct engine *e, struct event *ev);
/* Stops loads, waits for loader threads. */
void models_finish(struct engine *e);

void requests_handle(struct engine *e, struct event *ev);
/* Ends those that wait for a stream of their user's. */
void requests_end_held(struct engine *e);
/* The entry became ready: its waiting requests go on. */
void requests_release(struct engine *e, struct model_entry *entry);
/* The load failed: its waiting requests end with the error. */
void requests_fail(struct engine *e, struct model_entry *entry, const struct error *err);

#endif
