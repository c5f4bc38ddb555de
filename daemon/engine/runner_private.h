/* SPDX-License-Identifier: MIT */
/* Inside the runner only: runner.c makes and describes it, runner_step.c runs its steps. */
#ifndef HEARTH_ENGINE_RUNNER_PRIVATE_H
#define HEARTH_ENGINE_RUNNER_PRIVATE_H

#include "engine/runner.h"

enum { RUNNER_BUCKETS_MOST = 16, RUNNER_LOGITS_TOKENS = 32 };

/*
 * A batch bucket. Each step under way needs a step buffer of its own, which the host fills while
 * the device reads another: they form a ring, each with the program that reads it, recorded when
 * first needed.
 */
struct bucket {
    struct plan_config config;
    struct plan *ring[RUNNER_STEPS];
};

/* A step under way. */
struct flight {
    struct plan *plan;
    uint64_t ticket;
    struct sample_result **ret_results; /* [max_seqs], of the items that draw */
    uint32_t n_drawn;
    struct pooled_rows {
        struct pooler *pooler;
        uint32_t n;
    } * pooled; /* [max_seqs], of the items that pool, in the order of their rows */
    uint32_t n_pooled;
};

struct runner {
    struct loaded_model *lm;
    struct device *device;
    struct runner_config config;
    struct weights *weights;
    struct kv_cache *kv;
    struct state_slots *states; /* NULL for models without state */
    struct kv_spill *spill;     /* of the cache, or NULL */
    const char *spill_note;     /* why there is none in spite of a disk, or NULL */
    struct buffer *workspace;
    struct bucket
        buckets[RUNNER_BUCKETS_MOST]; /* by rising max_tokens: 1, 4, 16, ... batch_tokens */
    size_t n_buckets;
    struct plan_config logits_config; /* a plan that returns all logits */
    struct plan *logits_plan;
    struct plan *last_plan;              /* of the step started last */
    struct flight flights[RUNNER_STEPS]; /* the oldest at first_flight */
    uint32_t first_flight, n_flights;
};

/* Records *plan if it is NULL. */
int runner_record(struct runner *r, const struct plan_config *cfg, struct plan **plan,
                  struct error *err);

#endif
