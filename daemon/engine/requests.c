/* SPDX-License-Identifier: MIT */
/* Requests on the owner's side: queueing, handing on, and what the caller is told. */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/running.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void hand_on(struct engine *e, struct engine_request *r)
{
    r->is_with_owner = false;
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
        r->is_with_owner = false;
        r->error = *err;
        running_request_end(&e->events, r, ENGINE_FINISH_ERROR);
    }
}

/* On to its model, or to where it waits for it. */
static void let_through(struct engine *e, struct engine_request *r)
{
    struct model_entry *entry = r->entry;

    r->account->n_streams[r->params.class]++;
    r->has_stream = true;
    list_remove(&r->link);
    if (entry->state == ENGINE_MODEL_READY) {
        hand_on(e, r);
        return;
    }
    if (models_want(e, entry, &r->error) < 0) {
        r->is_with_owner = false;
        running_request_end(&e->events, r, ENGINE_FINISH_ERROR);
        return;
    }
    r->is_with_owner = true;
    list_push_back(models_is_ending(entry) ? &entry->late_waiting : &entry->waiting, &r->link);
    models_weigh_urgency(entry);
}

/* The user's next ones, as far as it may have more at a time. */
static void let_next_through(struct engine *e, struct account *c)
{
    list_for_each_safe (r, &c->held, struct engine_request, link) {
        if (e->is_stopping)
            return;
        if (account_has_stream(c, r->params.class))
            let_through(e, r);
    }
}

int engine_set_user_rules(struct engine *e, const struct engine_user_rule *rules, size_t n,
                          struct error *err)
{
    int r = accounts_set_rules(&e->accounts, rules, n, clock_now_ns(), err);

    if (r < 0)
        return r;
    list_for_each (c, &e->accounts.list, struct account, link)
        let_next_through(e, c);
    return 0;
}

void requests_end_held(struct engine *e)
{
    list_for_each (c, &e->accounts.list, struct account, link) {
        list_for_each_safe (r, &c->held, struct engine_request, link)
            running_request_end(&e->events, r, ENGINE_FINISH_CANCEL);
    }
}

/* ---- events ---- */

static void count_as_started(struct engine *e, struct engine_request *r)
{
    if (!r->counts_as_waiting)
        return;
    r->counts_as_waiting = false;
    e->n_waiting--;
    r->account->n_waiting--;
    rhythm_end(&e->begins, e->n_waiting, clock_now_ns());
}

static void handle_start(struct engine *e, struct engine_request *r, const struct event *ev)
{
    count_as_started(e, r);
    r->entry->n_running++;
    r->is_counted_running = true;
    r->told.n_prompt = ev->n_tokens;
    account_charge(r->account, ev->n_tokens - r->n_cached, 0, clock_now_ns());
    if (!r->is_forgotten && r->events.on_start)
        r->events.on_start(r->user, ev->n_tokens);
}

static void note_token(struct engine_request *r, uint64_t now_ns)
{
    account_charge(r->account, 0, 1, now_ns);
    r->told.n_tokens++;
    r->told.last_ns = now_ns;
    if (!r->told.first_ns)
        r->told.first_ns = now_ns;
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

    if (ev->token >= 0)
        note_token(r, clock_now_ns());
    if (!r->is_forgotten && r->events.on_token)
        r->events.on_token(r->user, &token);
}

static void leave_account(struct engine_request *r)
{
    struct account *c = r->account;

    c->n_requests--;
    c->n_asking -= !atomic_load(&r->is_cancelled);
    c->n_streams[r->params.class] -= r->has_stream;
    rhythm_end(&c->ends, c->n_requests, clock_now_ns());
}

static void handle_done(struct engine *e, struct engine_request *r)
{
    struct model_entry *entry = r->entry;

    count_as_started(e, r);
    leave_account(r);
    let_next_through(e, r->account);
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
    return r < 0 ? r : models_want(e, *ret_entry, err);
}

/* Whether a request with n answers may be taken; n 0: what it belongs to was. */
static int check_limits(struct engine *e, uid_t uid, uint32_t n, struct account **ret_account,
                        struct error *err)
{
    uint64_t now_ns = clock_now_ns();

    if (e->is_stopping)
        return error_set(err, ECANCELED, "the service is stopping");
    if (n && e->n_waiting >= e->queue_limit)
        return error_set(err, EAGAIN, "%u requests are waiting already: try again later",
                         e->n_waiting);
    *ret_account = accounts_need(&e->accounts, uid, now_ns);
    if (!*ret_account)
        return error_set(err, ENOMEM, "out of memory");
    return n ? account_check(*ret_account, n, now_ns, err) : 0;
}

/* Counts a request whose entry is set, and sets it going. */
static void take(struct engine *e, struct engine_request *r, struct account *c)
{
    uint64_t now_ns = clock_now_ns();

    r->account = c;
    r->limits = c->limits;
    if (c->limits.class == ENGINE_BACKGROUND)
        r->params.class = ENGINE_BACKGROUND;
    r->entry->n_active++;
    r->entry->last_used_ns = now_ns;
    c->n_requests++;
    c->n_asking++;
    c->n_waiting++;
    c->stats.requests_total++;
    e->n_waiting++;
    e->requests_total++;
    r->counts_as_waiting = true;
    rhythm_begin(&e->begins, now_ns);
    rhythm_begin(&c->ends, now_ns);
    list_push_back(&e->requests, &r->all);
    r->is_with_owner = true;
    list_push_back(&c->held, &r->link);
    let_next_through(e, c);
}

/* first: the request whose prompt it is, or NULL. */
static int begin(struct engine *e, const char *model, const struct engine_prompt *prompt,
                 const struct engine_params *params, bool wants_vector,
                 const struct engine_request *first, const struct engine_caller *caller,
                 const struct engine_events *events, void *user,
                 struct engine_request **ret_request, struct error *err)
{
    struct engine_request *r;
    struct account *account = NULL;
    struct model_entry *entry;
    uint32_t n_answers = params->n_answers ? params->n_answers : 1;
    int code;

    code = check_limits(e, caller->uid, first ? 0 : n_answers, &account, err);
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
    r->wants_vector = wants_vector;
    if (first) {
        r->n_common = first->n_common;
        memcpy(r->prompt_end, first->prompt_end, sizeof(r->prompt_end));
    }
    take(e, r, account);
    if (ret_request)
        *ret_request = r;
    return 0;
}

int engine_generate(struct engine *e, const char *model, const struct engine_prompt *prompt,
                    const struct engine_params *params, const struct engine_caller *caller,
                    const struct engine_events *events, void *user,
                    struct engine_request **ret_request, struct error *err)
{
    return begin(e, model, prompt, params, false, NULL, caller, events, user, ret_request, err);
}

int engine_fork(struct engine_request *r, uint64_t seed_step, const struct engine_events *events,
                void *user, struct engine_request **ret_request, struct error *err)
{
    /* what the device thread adds comes after these */
    const struct engine_prompt prompt = {.ids = (const int32_t *)r->tokens, .n_ids = r->n_prompt};
    struct engine_params params = r->params;

    params.sampling.seed += seed_step;
    params.sampling.has_seed = true;
    return begin(r->engine, r->entry->name, &prompt, &params, false, r, &r->caller, events, user,
                 ret_request, err);
}

int engine_embed(struct engine *e, const char *model, const struct engine_prompt *prompt,
                 enum engine_class class, const struct engine_caller *caller,
                 const struct engine_events *events, void *user,
                 struct engine_request **ret_request, struct error *err)
{
    struct engine_params params = {.class = class};

    engine_sampling_defaults(&params.sampling);
    return begin(e, model, prompt, &params, true, NULL, caller, events, user, ret_request, err);
}

void engine_cancel(struct engine_request *r, bool forget)
{
    struct engine *e = r->engine;

    r->is_forgotten |= forget;
    if (atomic_exchange(&r->is_cancelled, true))
        return;
    r->account->n_asking--;
    if (r->is_with_owner) {
        r->is_with_owner = false;
        running_request_end(&e->events, r, ENGINE_FINISH_CANCEL);
        models_weigh_urgency(r->entry);
    } else if (!e->is_stopping) {
        worker_wake(e->worker);
    }
}

const char *engine_prompt_end(const struct engine_request *r)
{
    return r->prompt_end;
}

void engine_cancel_all(struct engine *e)
{
    list_for_each (r, &e->requests, struct engine_request, all)
        engine_cancel(r, false);
}

void engine_expire(struct engine_request *r)
{
    if (atomic_load(&r->is_cancelled))
        return;
    atomic_store(&r->is_expired, true);
    engine_cancel(r, false);
}

uint32_t engine_retry_seconds(struct engine *e, uid_t uid, int code)
{
    struct account *c = accounts_find(&e->accounts, uid);

    if (code == -EAGAIN || !c)
        return rhythm_seconds(&e->begins);
    return account_retry_seconds(c, code, clock_now_ns());
}

void engine_pause(struct engine_request *r, bool paused)
{
    atomic_store(&r->is_paused, paused);
    if (!r->engine->is_stopping)
        worker_wake(r->engine->worker);
}
