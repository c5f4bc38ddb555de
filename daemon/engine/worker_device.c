/* SPDX-License-Identifier: MIT */
#include "engine/worker_device.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/residency.h"

#include <errno.h>
#include <stdio.h>

void worker_device_measure(struct worker *w)
{
    if (!w->keeper.device)
        return;
    device_room_measure(w->keeper.device, &w->room);
    device_get_pipelines(w->keeper.device, &w->pipelines);
}

void worker_device_show(struct worker *w, struct running_model *m)
{
    pthread_mutex_lock(&w->lock);
    running_model_figures(m);
    worker_device_measure(w);
    pthread_mutex_unlock(&w->lock);
}

/* Tells everyone of the device there is now, if there is one. */
static void show_device(struct worker *w)
{
    list_for_each (m, &w->models, struct running_model, link)
        m->device = w->keeper.device;
    pthread_mutex_lock(&w->lock);
    w->n_device_losses = w->keeper.losses.n;
    if (w->keeper.device)
        device_get_info(w->keeper.device, &w->device_info);
    else
        snprintf(w->device_info.note, sizeof(w->device_info.note), "%.190s", w->keeper.why.text);
    if (w->keeper.fallback[0])
        snprintf(w->device_info.note, sizeof(w->device_info.note), "%s", w->keeper.fallback);
    list_for_each (m, &w->models, struct running_model, link)
        running_model_figures(m);
    worker_device_measure(w);
    pthread_mutex_unlock(&w->lock);
}

int worker_device_recover(struct worker *w, struct error *err)
{
    uint64_t begin_ns = clock_now_ns();
    int r;

    log_warn("%s was lost: the GPU was reset or hung", w->device_info.name);
    list_for_each (m, &w->models, struct running_model, link)
        running_model_suspend(m);
    preparation_rewind(&w->preparations);
    r = device_keeper_renew(&w->keeper, begin_ns, err);
    show_device(w);
    if (r == 0) {
        log_info("%s was made anew in %.3f s; what runs goes on", w->device_info.name,
                 (double)(clock_now_ns() - begin_ns) * 1e-9);
        return 0;
    }
    log_error("%s", err->text);
    list_for_each (m, &w->models, struct running_model, link)
        running_model_fail(m, err);
    return r;
}

int worker_device_need(struct worker *w, struct error *err)
{
    int r;

    if (w->keeper.device)
        return 0;
    r = device_keeper_revive(&w->keeper, clock_now_ns(), err);
    if (r == 0) {
        show_device(w);
        log_info("%s is back", w->device_info.name);
    }
    return r;
}

/* ---- who is on the device ---- */

static void rest(struct worker *w, struct running_model *m)
{
    loaded_model_rest(m->lm);
    m->is_resting = true;
    worker_device_show(w, m);
}

void worker_device_idle(struct worker *w, struct running_model *m)
{
    running_model_suspend(m);
    rest(w, m);
}

void worker_device_rest_unused(struct worker *w)
{
    list_for_each (m, &w->models, struct running_model, link)
        if (!m->runner && !m->is_resting && !m->is_evicted && list_empty(&m->requests))
            rest(w, m);
}

/* The kernel took back what lay idle: the owner has it read again, and the requests wait. */
static int tell_evicted(struct worker *w, struct running_model *m, struct error *err)
{
    struct event *ev = event_new(w->events, EVENT_EVICTED, m->entry);

    if (!ev)
        return error_set(err, ENOMEM, "out of memory");
    m->is_evicted = true;
    event_post(w->events, ev);
    return 0;
}

/* The model that nobody uses and that was used longest ago, of those on the device; or NULL. */
static struct running_model *least_used(struct worker *w)
{
    struct running_model *best = NULL;

    list_for_each (m, &w->models, struct running_model, link)
        if (m->runner && list_empty(&m->requests) &&
            (!best || m->last_used_ns < best->last_used_ns))
            best = m;
    return best;
}

bool worker_device_make_room(struct worker *w)
{
    struct running_model *m = least_used(w);

    if (m)
        worker_device_idle(w, m);
    return m != NULL;
}

uint64_t worker_device_idle_unused(struct worker *w)
{
    for (;;) {
        struct running_model *m = least_used(w);
        uint64_t at_ns =
            m ? residency_idle_at_ns(m->last_used_ns, w->config.idle_after_ns) : UINT64_MAX;

        if (at_ns > clock_now_ns())
            return at_ns;
        worker_device_idle(w, m);
    }
}

void worker_device_wake(struct worker *w, struct running_model *m)
{
    uint64_t begin_ns = clock_now_ns();
    struct error err = {0};
    int r = loaded_model_wake(m->lm, &err);

    m->is_resting = false;
    if (r == -ESTALE)
        r = tell_evicted(w, m, &err);
    else if (r == 0)
        do
            r = running_model_resume(m, &err);
        while (r == -ENOMEM && worker_device_make_room(w));
    worker_device_show(w, m);
    if (m->runner)
        log_info("%s is on the device again in %.3f s", m->lm->path,
                 (double)(clock_now_ns() - begin_ns) * 1e-9);
    if (r < 0 && !device_is_lost(w->keeper.device))
        running_model_fail(m, &err);
}

void worker_device_miss(struct worker *w)
{
    struct error err = {0};
    bool has_requests = false;

    list_for_each (m, &w->models, struct running_model, link)
        has_requests |= !list_empty(&m->requests);
    if (has_requests && worker_device_need(w, &err) < 0)
        list_for_each (m, &w->models, struct running_model, link)
            running_model_fail(m, &err);
}
