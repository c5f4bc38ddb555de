/* SPDX-License-Identifier: MIT */
/*
 * What the engine's threads have to tell its owner. Any thread posts; the owner takes them all at
 * once after the event descriptor became readable. Event objects are recycled, so that a stream of
 * tokens allocates nothing once it runs.
 */
#ifndef HEARTH_ENGINE_EVENTS_H
#define HEARTH_ENGINE_EVENTS_H

#include "base/error.h"
#include "base/strbuf.h"
#include "engine/engine.h"

#include <pthread.h>

enum event_kind {
    EVENT_FOUND,         /* the adoption: which models are in memory */
    EVENT_FORGOTTEN,     /* an engine_forget: of memory done_bytes, of disk total_bytes more */
    EVENT_LOAD_PROGRESS, /* about a model_entry: done_bytes */
    EVENT_OPENED,        /* model_entry: all but the weights is known, or error */
    EVENT_LOADED,        /* model_entry: the files are in memory, or error */
    EVENT_ATTACHED,      /* model_entry: the device can run it, or error */
    EVENT_IDLED,         /* model_entry: it was asked to leave the device for others */
    EVENT_MEASURED,      /* model_entry: what is free was looked at for it */
    EVENT_EVICTED,       /* model_entry: its memory was taken back while it was idle */
    EVENT_DETACHED,      /* model_entry: the device let go of it */
    EVENT_READY,         /* model_entry: a load was asked for that is already done */
    EVENT_START,         /* request: n_tokens of prompt */
    EVENT_TOKEN,         /* request */
    EVENT_DONE,          /* request; its result lies in the request */
};

struct event {
    struct event *next;
    enum event_kind kind;
    void *subject; /* the request or model_entry; the owner's */
    uint64_t done_bytes, total_bytes;
    uint32_t n_tokens;
    struct error error;
    /* EVENT_TOKEN */
    int32_t token;
    float logprob;
    size_t n_top;
    struct engine_top top[20];
    struct strbuf text;
};

struct event_queue {
    pthread_mutex_t lock;
    int fd;              /* eventfd, readable while events wait */
    struct event *first; /* under lock, oldest first */
    struct event *last;
    struct event *spare; /* under lock */
    uint32_t n_spare;
};

int event_queue_init(struct event_queue *q, struct error *err);
void event_queue_finish(struct event_queue *q); /* drops what still waits */

/* An event to fill in, from the spares where possible; its text is empty. NULL: out of memory. */
struct event *event_new(struct event_queue *q, enum event_kind kind, void *subject);
void event_post(struct event_queue *q, struct event *ev);

/* Owner: everything posted so far, oldest first; give each back with event_recycle. */
struct event *event_take_all(struct event_queue *q);
void event_recycle(struct event_queue *q, struct event *ev);

#endif
