/* SPDX-License-Identifier: MIT */
/*
 * Takes up, at the start, the models that an earlier process has left in memory: those of the
 * catalogue whose files are what they were, one after another, the last used first. No more of a
 * file is read than its header, and nobody who is served waits for it. What does not fit without
 * taking from others is left to whom unloading would leave it. Owner thread, but for a thread that
 * looks at the files.
 */
#ifndef HEARTH_ENGINE_ADOPTION_H
#define HEARTH_ENGINE_ADOPTION_H

#include "pool/pool.h"

#include <pthread.h>
#include <stdatomic.h>

struct engine;
struct model_entry;

struct adoptee {
    char *path;
    struct pool_key key; /* of its first file */
    uint64_t used_ns;    /* as in pool_kept */
};

struct adoption {
    struct engine *engine;
    pthread_t thread;
    bool has_thread;
    atomic_bool is_cancelled;
    struct event *found;    /* made in advance; the thread's while it runs */
    struct adoptee *models; /* all of the catalogue; the thread's while it runs, which leaves... */
    size_t n, next;         /* ...the first n in the order in which they are to be taken up */
    struct model_entry *entry; /* what is being taken up; held */
};

/* Goes on where it can: after every event that may have ended a load. */
void adoption_step(struct engine *e);
/* EVENT_FOUND came: the thread is done. A step is next. */
void adoption_handle_found(struct engine *e);
/* Ends it; what is being loaded is models.h's. */
void adoption_finish(struct engine *e);

#endif
