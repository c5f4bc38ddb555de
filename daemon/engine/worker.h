/* SPDX-License-Identifier: MIT */
/*
 * The device thread: owns the device and every runner, takes commands, and steps the running
 * requests. Everything it has to say goes to the owner as events. A device that is lost it makes
 * anew, and what ran goes on as if nothing had been.
 */
#ifndef HEARTH_ENGINE_WORKER_H
#define HEARTH_ENGINE_WORKER_H

#include "engine/events.h"
#include "engine/footprint.h"
#include "engine/request.h"

struct worker;

struct worker_config {
    const char *device;
    uint32_t context_tokens, batch_tokens; /* 0: defaults */
    uint64_t kv_bytes;                     /* 0: a default */
    uint32_t kv_type;                      /* KV_F16, KV_Q8_0 */
    uint32_t prefix_percent;               /* most of it that may be shared */
    uint64_t idle_after_ns;   /* without requests, a model leaves the device; 0: never */
    struct kv_disk *disk;     /* for what caches hold that nobody uses; outlives it; or NULL */
    struct pool_config pools; /* the node counts from the start, see worker_set_pools() */
};

struct worker_stats {
    char device[128], device_note[192];
    uint64_t prompts, cached_prompts;
    uint64_t restored_prompts, restored_tokens; /* read back from the disk */
    uint64_t prompt_tokens, cached_tokens, completion_tokens, prefill_ns, decode_ns, steps;
    uint64_t device_losses;
    uint64_t batches[DEVICE_FEW_ROWS]; /* steps that generated, by streams - 1 */
    struct device_pipelines pipelines;
};

/* Starts the thread and waits until it has its device. */
int worker_create(const struct worker_config *cfg, struct event_queue *events,
                  struct worker **ret_worker, struct error *err);
/* Cancels what runs, lets go of all models, ends the thread. Until worker_destroy the calls below
 * are harmless; commands must not be given any more. */
void worker_stop(struct worker *w);
void worker_destroy(struct worker *w); /* stops it if need be; NULL is fine */

/* Which pools caches are made of; before the first model is attached. */
void worker_set_pools(struct worker *w, const struct pool_config *pools);

/* Commands; any thread. -ENOMEM: nothing was done, nothing follows, nothing was taken over. */

/* Begins to compile what a model needs that is being loaded. Takes over a reference to lm. */
int worker_prepare(struct worker *w, struct loaded_model *lm);
/* No longer: the load failed. Takes over a reference to lm. */
int worker_unprepare(struct worker *w, struct loaded_model *lm);
/* Makes lm runnable under this entry, also after EVENT_EVICTED; EVENT_ATTACHED follows. Takes over
 * a reference to lm. */
int worker_attach(struct worker *w, struct model_entry *entry, struct loaded_model *lm);
/* Cancels the entry's requests and lets go of it; EVENT_DETACHED follows. Takes over a reference to
 * lm, so that its memory is freed on the device thread. */
int worker_detach(struct worker *w, struct model_entry *entry, struct loaded_model *lm);
/* The same, and its requests end with this error. */
int worker_drop(struct worker *w, struct model_entry *entry, struct loaded_model *lm,
                const struct error *why);
/* Takes a model that has no requests off the device; EVENT_IDLED follows in any case. */
int worker_idle(struct worker *w, struct model_entry *entry);
/* Looks how much of the device's memory is free now; EVENT_MEASURED follows. */
int worker_measure(struct worker *w, struct model_entry *entry);
/* A request whose tokens are there; EVENT_DONE follows in the end. */
int worker_submit(struct worker *w, struct engine_request *r);
/* Gives up what the user's earlier requests left in all caches and on disk; EVENT_FORGOTTEN
 * follows. */
int worker_forget(struct worker *w, uid_t uid, struct engine_forget *forget);
/* A flag of a request changed. */
void worker_wake(struct worker *w);

/* What room the device has, as of the last change of what is on it, or of worker_measure(). */
void worker_get_room(struct worker *w, struct device_room *ret_room);
/* The least cache that this model will be given. */
uint64_t worker_least_cache_bytes(struct worker *w, const struct loaded_model *lm);

/* The device there is now, or was last. */
void worker_device_info(struct worker *w, struct device_info *ret_info);
void worker_get_stats(struct worker *w, struct worker_stats *ret_stats);

/* Figures of an attached model, readable at any time. */
struct worker_model_figures {
    uint64_t kv_bytes, kv_used_bytes, private_bytes;
    uint64_t kv_memory_bytes; /* that the cache takes, with what rounding to pages adds */
    uint64_t prefix_bytes;    /* shared blocks, in use or not */
    uint64_t found_bytes;     /* those an earlier process had left, at the start */
    bool is_cache_kept;       /* a later process can find them */
    uint64_t copied_bytes;    /* weights the device could not map and holds a copy of */
    uint32_t context_tokens;
    bool is_idle;       /* nothing of it is on the device */
    bool is_resting;    /* the kernel may take its weights back, where it can */
    uint64_t device_ns; /* its steps took, since it was loaded */
};
bool worker_get_figures(struct worker *w, const struct model_entry *entry,
                        struct worker_model_figures *ret_figures);

#endif
