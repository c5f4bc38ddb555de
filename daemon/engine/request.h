/* SPDX-License-Identifier: MIT */
/*
 * One request on its way through the engine: waiting for its model (owner), being turned into
 * tokens (prompt thread), running (device thread), done (owner). It is always in exactly one of
 * these hands; only the atomic flags are touched from elsewhere.
 */
#ifndef HEARTH_ENGINE_REQUEST_H
#define HEARTH_ENGINE_REQUEST_H

#include "base/list.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "engine/pooler.h"
#include "engine/scheduler.h"
#include "engine/session.h"

#include <stdatomic.h>

struct account;
struct event;
struct model_entry;

struct engine_request {
    struct list
        link;        /* the hand's list: model_entry.waiting, prompt queue, device inbox, running */
    struct list all; /* engine.requests; owner */
    struct engine *engine;
    struct model_entry *entry; /* owner's; the device thread uses it only as a name */
    struct loaded_model *lm;   /* a reference, once the model is loaded */

    /* what was asked; copies */
    json_t *chat;
    char *text;
    size_t text_len;
    bool add_special;
    struct engine_params params; /* stop and bias point to copies */
    bool wants_vector;           /* of the prompt, and no answer */
    struct engine_caller caller;
    struct engine_events events;
    void *user;

    atomic_bool is_cancelled, is_paused;
    atomic_bool is_expired; /* set before is_cancelled: how it ends then */
    bool is_forgotten;      /* owner: no callbacks any more */
    bool counts_as_waiting; /* owner: not started yet */
    bool is_with_owner;     /* owner: on model_entry.waiting, or account.held */
    bool has_stream;        /* owner: in account.n_streams */
    struct {
        uint32_t n_prompt, n_tokens;
        uint64_t first_ns, last_ns; /* of clock_now_ns(), as the events came */
    } told;                         /* owner: what it has heard of it */
    struct account *account;        /* owner's */
    struct engine_user_rule limits; /* the user's when it asked: those of the account may change */
    bool is_counted_running;        /* owner: started, in model_entry.n_running */

    char prompt_end[64]; /* see engine_prompt_end() */

    /* prompt, then everything sampled */
    uint32_t *tokens;
    uint32_t n_tokens, n_prompt, cap_tokens;
    uint32_t n_cached;   /* of the prompt: computed for an earlier request */
    uint32_t n_restored; /* of these, read back from the disk tier for it */
    uint32_t n_common;   /* of the prompt: everybody's, see shared_prompt.h */

    /* device thread */
    struct scheduler_entry sched;
    struct session *session;
    struct kv_restore *restore; /* what it begins with is being read back; or NULL */
    bool has_looked_on_disk;    /* since it last had nothing */
    struct answer answer;
    struct pooler pooler; /* where a vector is wanted */
    struct buffer *bias;  /* struct logit_bias[n_bias] where the device reads it, or NULL */
    struct step_sample sample;
    struct sample_result drawn;
    bool has_started;

    /* nanoseconds of clock_now_ns() */
    uint64_t queued_ns, started_ns, first_token_ns;

    struct event
        *done; /* EVENT_DONE, made in advance so that the end can always be told; NULL: told */
    struct error error;
    struct engine_result result; /* filled by request_finish */
};

/* Copies what the caller asked for. -EINVAL with the reason when it makes no sense. */
int request_create(struct engine *e, const struct engine_prompt *prompt,
                   const struct engine_params *params, const struct engine_caller *caller,
                   const struct engine_events *events, void *user,
                   struct engine_request **ret_request, struct error *err);
void request_destroy(struct engine_request *r); /* NULL is fine */

/* Room for n tokens in all; -ENOMEM. */
int request_reserve_tokens(struct engine_request *r, uint32_t n);
/* Appends a token to the request's own list; -ENOMEM. */
int request_add_token(struct engine_request *r, uint32_t token);

/* Fills in the result; for ENGINE_FINISH_ERROR r->error must be set. */
void request_finish(struct engine_request *r, enum engine_finish finish);

#endif
