/* SPDX-License-Identifier: MIT */
/* Requests on the owner's side: queueing, handing on, and what the caller is told. */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/running.h"

#include <errno.h>
#include <stdlib.h>

static void hand_on(struct engine *e, struct engine_request *r)
{
    r->waits_for_model = false;
    r->lm = loaded_model_ref(r->entry->lm);
    prompter_submit(e->prompter, r);
}

void requests_release(struct engine *e, struct model_entry *entry)
{
    list_for_each_safe (r, &entry->waiting, struct engine_request, link) {
        list_remove(&r->link);
        hand_on(e, r);
    }
}

void requests_fail(struct engine *e, struct model_entry *entry, const struct error *err)
{
    list_for_each_safe (r, &entry->waiting, struct engine_request, link) {
        r->waits_for_model = false;
        r->error = *err;
        running_request_end(&e->events, r, ENGINE_FINISH_ERROR);
    }
}

/* ---- events ---- */

static void count_as_started(struct engine *e, struct engine_request *r)
{
    if (r->counts_as_waiting)
        e->n_waiting--;
    r->counts_as_waiting = false;
}

static void handle_start(struct engine *e, struct engine_request *r, const struct event *ev)
{
    count_as_started(e, r);
    r->entry->n_running++;
    r->is_counted_running = true;
    if (!r->is_forgotten && r->events.on_start)
        r->events.on_start(r->user, ev->n_tokens);
}

static void handle_token(struct engine_request *r, const struct event *ev)
{
    struct engine_token token = {
        .id = ev->token,
        .text = ev->text.data ? ev->text.data : "",
        .text_len = ev->text.len,
        .logprob = ev->logprob,
        .top = ev->top,
        .n_top = ev->n_top,
    };

    if (!r->is_forgotten && r->events.on_token)
        r->events.on_token(r->user, &token);
}

static void handle_done(struct engine *e, struct engine_request *r)
{
    struct model_entry *entry = r->entry;

    count_as_started(e, r);
    if (r->is_counted_running)
        entry->n_running--;
    entry->n_active--;
    entry->last_used_ns = clock_now_ns();
    catalogue_hold(entry);
    e->requests_failed += r->result.finish == ENGINE_FINISH_ERROR;
    e->requests_cancelled += r->result.finish == ENGINE_FINISH_CANCEL;
    if (!r->is_forgotten && r->events.on_done)
        r->events.on_done(r->user, &r->result);
    request_destroy(r);
    catalogue_release(&e->catalogue, entry);
}

void requests_handle(struct engine *e, struct event *ev)
{
    if (ev->kind == EVENT_START)
        handle_start(e, ev->subject, ev);
    else if (ev->kind == EVENT_TOKEN)
        handle_token(ev->subject, ev);
    else
        handle_done(e, ev->subject);
}

/* ---- the engine's header ---- */

/* Finds the entry and sees to it that it is, or is being, loaded. */
static int want_model(struct engine *e, const char *name, struct model_entry **ret_entry,
                      struct error *err)
{
    int r = catalogue_find(&e->catalogue, name, ret_entry, err);

    if (r == -ENOENT) {
        catalogue_scan(&e->catalogue);
        r = catalogue_find(&e->catalogue, name, ret_entry, err);
    }
    if (r == 0 && (*ret_entry)->state == ENGINE_MODEL_AVAILABLE)
        r = models_start_load(e, *ret_entry, err);
    return r;
}

/* Requests of a user that have not ended. */
static uint32_t count_of(const struct engine *e, uid_t uid)
{
    uint32_t n = 0;

    list_for_each (r, &e->requests, struct engine_request, all)
        n += r->caller.uid == uid && !atomic_load(&r->is_cancelled);
    return n;
}

/* Whether one more may be taken. */
static int check_limits(const struct engine *e, uid_t uid, struct error *err)
{
    if (e->is_stopping)
        return error_set(err, ECANCELED, "the service is stopping");
    if (e->n_waiting >= e->queue_limit)
        return error_set(err, EAGAIN, "%u requests are waiting already: try again later",
                         e->n_waiting);
    if (count_of(e, uid) >= e->user_limit)
        return error_set(err, EUSERS,
                         "%u requests of this user are running or waiting, as many as one may "
                         "have: try again when one has ended",
                         e->user_limit);
    return 0;
}

int engine_generate(struct engine *e, const char *model, const struct engine_prompt *prompt,
                    const struct engine_params *params, const struct engine_caller *caller,
                    const struct engine_events *events, void *user,
                    struct engine_request **ret_request, struct error *err)
{
    struct engine_request *r;
    struct model_entry *entry;
    int code;

    code = check_limits(e, caller->uid, err);
    if (code < 0)
        return code;
    code = request_create(e, prompt, params, caller, events, user, &r, err);
    if (code < 0)
        return code;
    code = want_model(e, model, &entry, err);
    if (code < 0) {
        request_destroy(r);
        return code;
    }
    r->entry = entry;
    entry->n_active++;
    entry->last_used_ns = clock_now_ns();
    e->n_waiting++;
    e->requests_total++;
    r->counts_as_waiting = true;
    list_push_back(&e->requests, &r->all);
    if (entry->state == ENGINE_MODEL_READY) {
        hand_on(e, r);
    } else {
        r->waits_for_model = true;
        list_push_back(models_is_ending(entry) ? &entry->late_waiting : &entry->waiting, &r->link);
        if (params->class == ENGINE_INTERACTIVE)
            atomic_store(&entry->is_urgent, true);
    }
    if (ret_request)
        *ret_request = r;
    return 0;
}

void engine_cancel(struct engine_request *r, bool forget)
{
    struct engine *e = r->engine;

    r->is_forgotten |= forget;
    if (atomic_exchange(&r->is_cancelled, true))
        return;
    if (r->waits_for_model) {
        r->waits_for_model = false;
        running_request_end(&e->events, r, ENGINE_FINISH_CANCEL);
    } else if (!e->is_stopping) {
        worker_wake(e->worker);
    }
}

void engine_pause(struct engine_request *r, bool paused)
{
    atomic_store(&r->is_paused, paused);
    if (!r->engine->is_stopping)
        worker_wake(r->engine->worker);
}
