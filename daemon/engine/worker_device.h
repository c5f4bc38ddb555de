/* SPDX-License-Identifier: MIT */
/*
 * Inside the worker only: the device it has, or does not have for the moment, and which models are
 * on it. Device thread.
 */
#ifndef HEARTH_ENGINE_WORKER_DEVICE_H
#define HEARTH_ENGINE_WORKER_DEVICE_H

#include "engine/device_keeper.h"
#include "engine/preparation.h"
#include "engine/running.h"
#include "engine/worker.h"

struct worker {
    pthread_t thread;
    struct worker_config config;
    struct event_queue *events;
    bool is_joined;              /* the thread has ended; whoever stops it */
    struct device_keeper keeper; /* device thread */
    struct list models;          /* struct running_model; device thread changes it under lock */
    struct list preparations;    /* device thread; see preparation.h */
    struct list forgets;         /* struct kv_forget, to be done; device thread */
    uint64_t forget_from_ns;     /* from when on they may be; device thread */

    pthread_mutex_t lock;
    pthread_cond_t wake, started;
    struct list inbox; /* under lock */
    bool is_woken;     /* under lock: look at the requests' flags again */
    bool is_stopping;  /* under lock */
    bool has_started;  /* under lock: device made or start_error set */
    struct error start_error;
    struct device_info device_info;    /* under lock once the thread has started */
    uint64_t n_device_losses;          /* under lock */
    struct device_room room;           /* under lock */
    struct device_pipelines pipelines; /* under lock */
    struct running_stats totals;
};

/* Brings the figures of memory and of pipelines up to date; under the lock. */
void worker_device_measure(struct worker *w);
/* The same, and those of a model: what it has on the device has changed. */
void worker_device_show(struct worker *w, struct running_model *m);

/* The device is lost: all models leave it and another is made. Where none can be had, what runs
 * ends. */
int worker_device_recover(struct worker *w, struct error *err);
/* Sees to it that there is a device, if that can be. */
int worker_device_need(struct worker *w, struct error *err);
/* Requests that came while there is no device end, unless it is time for another try. */
void worker_device_miss(struct worker *w);

void worker_device_idle(struct worker *w, struct running_model *m);
/* Who is off the device and has no request may be taken from memory, however it came off. */
void worker_device_rest_unused(struct worker *w);
/* The device has no room for what is coming: the model that nobody uses and that was used longest
 * ago leaves it; false when there is none. */
bool worker_device_make_room(struct worker *w);
/* Makes those idle whose time is up; until when nobody else's is. */
uint64_t worker_device_idle_unused(struct worker *w);
/* Brings a suspended model back for its requests. */
void worker_device_wake(struct worker *w, struct running_model *m);

#endif
