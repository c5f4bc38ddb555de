/* SPDX-License-Identifier: MIT */
#include "engine/prompter.h"

#include "engine/prompt.h"
#include "engine/running.h"

#include <errno.h>
#include <stdlib.h>

struct prompter {
    pthread_t thread;
    struct worker *worker;
    struct event_queue *events;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list queue; /* engine_request.link; under lock */
    bool is_stopping;  /* under lock */
};

/* The next request, or NULL when the thread shall end. */
static struct engine_request *next(struct prompter *p)
{
    struct engine_request *r = NULL;

    pthread_mutex_lock(&p->lock);
    while (list_empty(&p->queue) && !p->is_stopping)
        pthread_cond_wait(&p->wake, &p->lock);
    if (!p->is_stopping) {
        r = list_first(&p->queue, struct engine_request, link);
        list_remove(&r->link);
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

static void *run(void *arg)
{
    struct prompter *p = arg;
    struct engine_request *r;

    while ((r = next(p))) {
        int e;
        if (atomic_load(&r->is_cancelled)) {
            running_request_end(p->events, r, ENGINE_FINISH_CANCEL);
            continue;
        }
        e = prompt_tokenize(r, &r->error);
        if (e == 0 && worker_submit(p->worker, r) < 0)
            e = error_set(&r->error, ENOMEM, "out of memory");
        if (e < 0)
            running_request_end(p->events, r, ENGINE_FINISH_ERROR);
    }
    return NULL;
}

int prompter_create(struct worker *w, struct event_queue *events, struct prompter **ret_prompter,
                    struct error *err)
{
    struct prompter *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return error_set(err, ENOMEM, "out of memory");
    p->worker = w;
    p->events = events;
    list_init(&p->queue);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    r = pthread_create(&p->thread, NULL, run, p);
    if (r) {
        free(p);
        return error_set_errno(err, r, "cannot start the prompt thread");
    }
    pthread_setname_np(p->thread, "hearth-prompt");
    *ret_prompter = p;
    return 0;
}

void prompter_destroy(struct prompter *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    list_for_each_safe (r, &p->queue, struct engine_request, link)
        running_request_end(p->events, r, ENGINE_FINISH_CANCEL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void prompter_submit(struct prompter *p, struct engine_request *r)
{
    pthread_mutex_lock(&p->lock);
    list_push_back(&p->queue, &r->link);
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}
