/* SPDX-License-Identifier: MIT */
/*
 * A model at work: its runner, its scheduler and the requests that are in their hands. Device
 * thread only, except `figures`, which the worker guards.
 */
#ifndef HEARTH_ENGINE_RUNNING_H
#define HEARTH_ENGINE_RUNNING_H

#include "engine/device_share.h"
#include "engine/request.h"
#include "engine/runner.h"
#include "engine/worker.h"

/* Sessions of one step, and rows of one that generates, which keeps to the kernels for few rows. */
#define RUNNING_SEQS_MOST DEVICE_FEW_ROWS

struct running_model {
    struct list link; /* worker.models */
    struct model_entry *entry;
    struct loaded_model *lm;
    struct device *device; /* the worker's; NULL while none works */
    struct runner_config config;
    struct runner *runner; /* NULL while suspended */
    uint32_t exact_rows;   /* the device's */
    uint64_t last_used_ns;
    bool is_resting; /* while suspended: its pools may be taken back */
    bool is_evicted; /* while suspended: the kernel took its memory back, and it is read again */
    struct event_queue *events;
    struct scheduler scheduler;
    uint64_t prompt_token_ns;     /* what a token of a prompt takes, learnt; 0: nothing known */
    uint64_t generate_ns;         /* what a step that generates takes, likewise */
    uint32_t shared_batch_tokens; /* of a chunk while streams wait; 0: nothing known */
    struct list requests;         /* engine_request.link */
    struct device_share share;    /* of the device, among all models */
    bool gives_way;               /* all it could do is background, and others' is not */
    struct worker_model_figures figures; /* under the worker's lock */
};

/* What all steps did so far. Counted before the events of a step go out, so that who has heard of
 * an answer's end finds all of it counted. */
struct running_stats {
    atomic_uint_fast64_t prompts, cached_prompts; /* begun; of these, with what was kept */
    atomic_uint_fast64_t restored_prompts, restored_tokens; /* with what was read back from disk */
    atomic_uint_fast64_t prompt_tokens, cached_tokens, completion_tokens;
    atomic_uint_fast64_t prefill_ns, decode_ns, steps;
    atomic_uint_fast64_t batches[RUNNING_SEQS_MOST]; /* steps that generated, by streams - 1 */
};

int running_model_create(struct model_entry *entry, struct loaded_model *lm, struct device *dev,
                         struct event_queue *events, const struct runner_config *cfg,
                         struct running_model **ret_model, struct error *err);
void running_model_destroy(struct running_model *m); /* cancels its requests; NULL is fine */

/* Takes over a request whose tokens are there. */
void running_model_add(struct running_model *m, struct engine_request *r);
/* Takes everything of the model off the device: the mappings of its weights, its cache, what its
 * requests have there. They keep their place and their tokens. */
void running_model_suspend(struct running_model *m);
/* Puts it back: as many imports as its weights have windows, and an empty cache; nothing is read or
 * copied where the device maps memory. Its requests compute again what they had. On failure it
 * stays suspended. */
int running_model_resume(struct running_model *m, struct error *err);
/* Whether it is suspended and has a request that could run. */
bool running_model_wants_device(const struct running_model *m);
/* Ends all its requests with the error. */
void running_model_fail(struct running_model *m, const struct error *err);
/* Does one step and counts it; false when there was nothing to do, or not while suspended. What a
 * lost device did not do is left undone, for the caller to see (device_is_lost), to suspend the
 * model and to give it another device. */
bool running_model_step(struct running_model *m, struct running_stats *stats);
/* What models on one device, linked in the list, have to know of one another before their next
 * steps: streams of one keep their pace while another computes a prompt, and what is background
 * comes after all models' that is not. Sets others_generate and gives_way; who gives way has been
 * passed over. */
void running_models_compare(struct list *models);
/* Where it is another model's turn: looks only at requests that were cancelled or paused. */
bool running_model_sweep(struct running_model *m);
/* Brings m->figures up to date. */
void running_model_figures(struct running_model *m);

/* Ends a request that no model holds: EVENT_DONE with this finish (ERROR: r->error is set). Any
 * thread that has the request in its hand. A request that has ended already is left alone. */
void running_request_end(struct event_queue *events, struct engine_request *r,
                         enum engine_finish finish);

#endif
