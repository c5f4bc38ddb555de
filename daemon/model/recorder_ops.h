/* SPDX-License-Identifier: MIT */
/*
 * Inside the recorder only: what each operation's dispatch is. A function sets op, args and, where
 * the operation has them, weight_type and activation; barriers, rows and labels are the recorder's.
 * They live in recorder_rows.c (what takes each row for itself), recorder_rope.c,
 * recorder_cache.c (keys and values), recorder_index.c (an indexer's), recorder_experts.c and
 * recorder_state.c (states of fixed size).
 */
#ifndef HEARTH_MODEL_RECORDER_OPS_H
#define HEARTH_MODEL_RECORDER_OPS_H

#include "model/recorder.h"

/* A call that is being recorded. */
struct recording {
    const struct recorder *rec;
    const struct call *call;
    const struct model *model;
    const struct node *node;          /* the call's */
    const uint32_t *dim;              /* of the node's layer */
    const struct weight_piece *piece; /* of the table, where the weight is cut; else NULL */
    uint64_t out, in, in2, in3, rows; /* addresses, as the call's places */
    uint32_t out_width, in_width;     /* of the node's values */
};

void record_embed(const struct recording *c, struct dispatch *d);
void record_norm(const struct recording *c, struct dispatch *d);
void record_layer_norm(const struct recording *c, struct dispatch *d);
void record_quantize(const struct recording *c, struct dispatch *d);
void record_matmul(const struct recording *c, struct dispatch *d);
void record_glu(const struct recording *c, struct dispatch *d);
void record_add(const struct recording *c, struct dispatch *d);
void record_copy(const struct recording *c, struct dispatch *d);
void record_softcap(const struct recording *c, struct dispatch *d);
void record_gather(const struct recording *c, struct dispatch *d);

void record_rope(const struct recording *c, struct dispatch *d);
void record_rope_index(const struct recording *c, struct dispatch *d);
void record_temperature(const struct recording *c, struct dispatch *d);

void record_kv_store(const struct recording *c, struct dispatch *d);
void record_attention(const struct recording *c, struct dispatch *d);
void record_combine(const struct recording *c, struct dispatch *d);
/* Where the keys and values of the node's layer are, which may be another's. */
const struct kv_layer *recording_kv(const struct recording *c);
/* Address of the block tables of that layer, by sequence. */
uint64_t recording_seqs(const struct recording *c);
/* Stores what the call reads as kv's keys and, where it has any, values. */
void recording_store(const struct recording *c, const struct kv_layer *kv, struct dispatch *d);

void record_index_store(const struct recording *c, struct dispatch *d);
void record_index_scores(const struct recording *c, struct dispatch *d);
void record_index_choose(const struct recording *c, struct dispatch *d);

void record_route(const struct recording *c, struct dispatch *d);
void record_expert_rows(const struct recording *c, struct dispatch *d);
void record_experts(const struct recording *c, struct dispatch *d);
/* What a product left, by the scales of its weight; the product itself then has no bias, and is
 * added to nothing. */
void record_scale(const struct recording *c, struct dispatch *d);
void record_expert_sum(const struct recording *c, struct dispatch *d);

void record_short_conv(const struct recording *c, struct dispatch *d);
void record_delta_net(const struct recording *c, struct dispatch *d);

#endif
