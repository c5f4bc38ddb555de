/* SPDX-License-Identifier: MIT */
/*
 * A forward pass recorded for one batch bucket: places become addresses, hazards become barriers,
 * and the whole is a program that is submitted again for every step. What differs between steps
 * lies in the plan's step buffer, which the engine writes before each submission.
 *
 * A plan belongs to the engine's device thread. The model, device, workspace and caches are
 * borrowed and must outlive it. Plans that share a workspace must not run at the same time (a
 * device runs programs in order, so submitting them one after the other is fine).
 */
#ifndef HEARTH_MODEL_PLAN_H
#define HEARTH_MODEL_PLAN_H

#include "device/device.h"
#include "model/graph.h"

/* Where a layer keeps the state of its sequences; only layers whose kind has_state do. */
struct layer_state {
    struct seq_state conv, delta;
};

struct plan_config {
    uint32_t max_tokens, max_outputs, max_seqs;
    uint32_t context_tokens; /* longest session: some models rotate by it */
    bool has_sampler;        /* ends with the sample kernel */
    bool host_logits;        /* logits can be read by the CPU */
    bool host_normed;        /* the normed rows can, and there are no logits, nor a sampler */
    bool full_barriers;      /* debug: a barrier before every call; results must be equal */
    /* One entry per layer, borrowed; NULL for models without state. plan_prepare looks only at the
       shapes. */
    const struct layer_state *states;
};

/* The step buffer as the CPU sees it. */
struct step {
    struct step_header *header;
    struct step_token *tokens; /* [max_tokens] */
    /* of bidirectional models, [max_tokens]: the tokens as attention sees them, whose position is
     * the last one of their text; their own position stands for the token. NULL for others */
    struct step_token *wholes;
    uint32_t *output_rows;        /* [max_outputs], indices into tokens */
    struct step_seq *seqs;        /* [max_seqs] */
    struct step_seq *window_seqs; /* [max_seqs]: the same with the blocks of windowed layers */
    struct step_sample *samples;  /* [max_outputs], NULL without sampler */
    /* of the result buffer, which the device writes: */
    struct sample_result *results; /* [max_outputs], NULL without sampler */
    float *logits;                 /* [max_outputs][vocab]; NULL unless host_logits */
    float *normed;                 /* [max_outputs][embd]; NULL unless host_normed */
};

struct plan {
    struct plan_config config;
    struct step step;
    struct step_header header; /* what step.header holds, for the host to read */
    struct device *device;
    struct program *program;
    struct buffer *step_buffer;
    struct buffer *result_buffer; /* NULL where nothing comes back */
    struct dispatch *calls;       /* [n_calls], as recorded; labels are the model's */
    size_t n_calls, n_barriers;
};

/* Bytes of workspace a plan of this shape needs. */
int plan_workspace_bytes(const struct model *m, struct device *dev, const struct plan_config *cfg,
                         uint64_t *ret_bytes, struct error *err);

/* Has the device compile what a plan of this shape needs; nothing is recorded, and of the model and
 * the cache (kv: one entry per layer) only the shapes count: their memory need not be there yet. */
int plan_prepare(const struct model *m, struct device *dev, const struct kv_layer *kv,
                 const struct plan_config *cfg, struct error *err);

/* kv: one entry per layer; of layers that share another's none is read. workspace: at least
 * plan_workspace_bytes. */
int plan_create(const struct model *m, struct device *dev, const struct kv_layer *kv,
                struct buffer *workspace, const struct plan_config *cfg, struct plan **ret_plan,
                struct error *err);
/* Writes the header of the step; the rest of it was written before. */
void plan_set_header(struct plan *p, struct step_header header);
void plan_destroy(struct plan *p); /* NULL is fine */
/* Of its step and result buffers; 0 for NULL. */
uint64_t plan_buffer_bytes(const struct plan *p);

#endif
