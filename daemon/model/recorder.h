/* SPDX-License-Identifier: MIT */
/*
 * Inside model only: makes the dispatches of a plan from the calls of its graph. Places become
 * addresses, and hazards between calls barriers.
 */
#ifndef HEARTH_MODEL_RECORDER_H
#define HEARTH_MODEL_RECORDER_H

#include "model/dims.h"
#include "model/plan.h"

/* Offsets of the parts of the step buffer, and of the result buffer. */
struct step_layout {
    uint64_t tokens, wholes, types, output_rows, seqs, window_seqs, samples, scratch, bytes;
    uint64_t results, logits, normed, result_bytes;
};

enum { ACCESS_MOST = 64 };

struct access {
    uint64_t begin, end; /* addresses */
    bool is_write;
};

/* What has been touched since the last barrier. */
struct accesses {
    struct access list[ACCESS_MOST];
    size_t n;
};

struct recorder {
    const struct model *model;
    const struct plan_config *cfg;
    const struct kv_layer *kv;
    const struct graph *graph;
    struct rope_params rope;
    uint64_t step;      /* address of the step buffer */
    uint64_t results;   /* of the result buffer */
    uint64_t workspace; /* address */
    struct step_layout layout;
    struct accesses since_barrier;
    struct dispatch *list; /* [n], malloc'd */
    size_t n, n_barriers;
};

/* Fills the list with the calls of the graph, and the sampler's if the plan has one; -ENOMEM. */
int recorder_list_calls(struct recorder *rec, struct error *err);

#endif
