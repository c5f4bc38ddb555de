/* SPDX-License-Identifier: MIT */
#include "model/recorder_ops.h"

#include <math.h>

/* The indexer's keys lie behind the layer's keys and values, in the same blocks. */
static struct kv_layer index_kv(const struct recording *c)
{
    struct kv_layer kv = *recording_kv(c);

    kv.base += KV_BLOCK_TOKENS * (uint64_t)kv.n_kv_heads *
               (kv_row_bytes(kv.type, kv.n_channels_k) + kv_row_bytes(kv.type, kv.n_channels_v));
    kv.n_kv_heads = 1;
    kv.n_channels_k = c->dim[DIM_INDEXER_HEAD];
    kv.n_channels_v = 0;
    return kv;
}

void record_index_store(const struct recording *c, struct dispatch *d)
{
    const struct kv_layer kv = index_kv(c);

    recording_store(c, &kv, d);
}

/* As the indexer's heads and channels are scaled there is of no account to the choice, but for
 * scores that would overflow or vanish. */
void record_index_scores(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_INDEX_SCORES;
    d->args.index_scores = (struct args_index_scores){
        .step = c->rec->step,
        .tokens = c->rec->step + c->rec->layout.tokens,
        .seqs = recording_seqs(c),
        .q = c->in,
        .weights = c->in2,
        .out = c->out,
        .kv = index_kv(c),
        .n_heads = c->dim[DIM_INDEXER_HEADS],
        .n_positions = graph_positions(c->model, c->rec->cfg->context_tokens),
        .scale = 1.0f / sqrtf((float)c->dim[DIM_INDEXER_Q]),
    };
}

void record_index_choose(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_INDEX_CHOOSE;
    d->args.index_choose = (struct args_index_choose){
        .step = c->rec->step,
        .tokens = c->rec->step + c->rec->layout.tokens,
        .scores = c->in,
        .out = c->out,
        .n_positions = graph_positions(c->model, c->rec->cfg->context_tokens),
        .n_chosen = c->dim[DIM_INDEXER_TOP],
    };
}
