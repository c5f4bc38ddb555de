/* SPDX-License-Identifier: MIT */
#include "model/recorder_ops.h"

const struct kv_layer *recording_kv(const struct recording *c)
{
    return &c->rec->kv[c->model->layers[c->node->layer].kv_layer];
}

/* As of args_attention; 0: all positions. */
static uint32_t window_of(const struct recording *c)
{
    return model_layer_kind(c->model, c->node->layer)->is_windowed ? model_window(c->model) : 0;
}

uint64_t recording_seqs(const struct recording *c)
{
    const struct step_layout *layout = &c->rec->layout;

    return c->rec->step + (window_of(c) ? layout->window_seqs : layout->seqs);
}

/* Of an attention: up to each token's own position, or to the end of its text. */
static uint64_t seen_tokens(const struct recording *c)
{
    const struct step_layout *layout = &c->rec->layout;

    return c->rec->step + (c->model->arch->is_bidirectional ? layout->wholes : layout->tokens);
}

void recording_store(const struct recording *c, const struct kv_layer *kv, struct dispatch *d)
{
    d->op = KERNEL_KV_STORE;
    d->args.kv_store = (struct args_kv_store){
        .step = c->rec->step,
        .tokens = c->rec->step + c->rec->layout.tokens,
        .seqs = recording_seqs(c),
        .k = c->in,
        .v = kv->n_channels_v ? c->in2 : 0,
        .kv = *kv,
    };
}

void record_kv_store(const struct recording *c, struct dispatch *d)
{
    recording_store(c, recording_kv(c), d);
}

void record_attention(const struct recording *c, struct dispatch *d)
{
    const float *real = c->model->dims.real;

    d->op = KERNEL_ATTENTION;
    d->args.attention = (struct args_attention){
        .step = c->rec->step,
        .tokens = seen_tokens(c),
        .seqs = recording_seqs(c),
        .q = c->in,
        .out = c->out,
        /* counted once: where the ranges are combined */
        .sinks = c->call->n_splits > 1 ? 0 : c->node->weight->address,
        .kv = *recording_kv(c),
        .n_heads = c->dim[DIM_HEADS],
        .window = window_of(c),
        .scale = c->rec->rope.score_scale * real[REAL_ATTN_SCALE],
        .softcap = real[REAL_ATTN_SOFTCAP],
        .n_splits = c->call->n_splits,
    };
    if (c->node->in2) {
        d->args.attention.chosen = c->in2;
        d->args.attention.chosen_words =
            graph_positions(c->model, c->rec->cfg->context_tokens) / 32;
    }
}

void record_combine(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_ATTENTION_COMBINE;
    d->args.attention_combine = (struct args_attention_combine){
        .step = c->rec->step,
        .tokens = seen_tokens(c),
        .parts = c->in,
        .out = c->out,
        .sinks = c->node->weight->address,
        .n_heads = c->dim[DIM_HEADS],
        .n_channels_v = c->dim[DIM_HEAD_V],
        .window = window_of(c),
        .n_splits = c->call->n_splits,
    };
}
