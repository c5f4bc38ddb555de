/* SPDX-License-Identifier: MIT */
#include "engine/events.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SPARES_MOST = 256, SPARE_TEXT_BYTES = 4096 };

int event_queue_init(struct event_queue *q, struct error *err)
{
    *q = (struct event_queue){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (q->fd < 0)
        return error_set_errno(err, errno, "cannot create an event descriptor");
    pthread_mutex_init(&q->lock, NULL);
    return 0;
}

static void free_list(struct event *ev)
{
    while (ev) {
        struct event *next = ev->next;
        strbuf_finish(&ev->text);
        free(ev);
        ev = next;
    }
}

void event_queue_finish(struct event_queue *q)
{
    if (q->fd < 0)
        return;
    free_list(q->first);
    free_list(q->spare);
    close(q->fd);
    pthread_mutex_destroy(&q->lock);
    q->fd = -1;
}

struct event *event_new(struct event_queue *q, enum event_kind kind, void *subject)
{
    struct event *ev;

    pthread_mutex_lock(&q->lock);
    ev = q->spare;
    if (ev) {
        q->spare = ev->next;
        q->n_spare--;
    }
    pthread_mutex_unlock(&q->lock);
    if (!ev) {
        ev = calloc(1, sizeof(*ev));
        if (!ev)
            return NULL;
        strbuf_init(&ev->text, 0);
    }
    ev->next = NULL;
    ev->kind = kind;
    ev->subject = subject;
    ev->n_top = 0;
    ev->error.code = 0;
    return ev;
}

void event_post(struct event_queue *q, struct event *ev)
{
    bool was_empty;

    pthread_mutex_lock(&q->lock);
    was_empty = !q->first;
    if (was_empty)
        q->first = ev;
    else
        q->last->next = ev;
    q->last = ev;
    pthread_mutex_unlock(&q->lock);
    /* the owner takes everything at once, so one wake-up serves all that gather before it comes */
    if (was_empty)
        eventfd_write(q->fd, 1);
}

struct event *event_take_all(struct event_queue *q)
{
    struct event *all;
    eventfd_t count;

    eventfd_read(q->fd, &count);
    pthread_mutex_lock(&q->lock);
    all = q->first;
    q->first = q->last = NULL;
    pthread_mutex_unlock(&q->lock);
    return all;
}

void event_recycle(struct event_queue *q, struct event *ev)
{
    if (ev->text.cap > SPARE_TEXT_BYTES)
        strbuf_finish(&ev->text);
    strbuf_reset(&ev->text);
    pthread_mutex_lock(&q->lock);
    if (q->n_spare < SPARES_MOST) {
        ev->next = q->spare;
        q->spare = ev;
        q->n_spare++;
        ev = NULL;
    }
    pthread_mutex_unlock(&q->lock);
    if (ev) {
        ev->next = NULL;
        free_list(ev);
    }
}
