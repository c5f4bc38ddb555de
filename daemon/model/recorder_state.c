/* SPDX-License-Identifier: MIT */
#include "model/recorder_ops.h"

void record_short_conv(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_SHORT_CONV;
    d->args.short_conv = (struct args_short_conv){
        .step = c->rec->step,
        .tokens = c->rec->step + c->rec->layout.tokens,
        .seqs = c->rec->step + c->rec->layout.seqs,
        .x = c->in,
        .out = c->out,
        .weight = c->node->weight->address,
        .state = c->rec->cfg->states[c->node->layer].conv,
        .n_cols = c->out_width,
        .n_taps = c->dim[DIM_TAPS],
    };
}

void record_delta_net(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_DELTA_NET;
    d->args.delta_net = (struct args_delta_net){
        .step = c->rec->step,
        .tokens = c->rec->step + c->rec->layout.tokens,
        .seqs = c->rec->step + c->rec->layout.seqs,
        .x = c->in,
        .alpha = c->in2,
        .beta = c->in3,
        .a = c->node->weight->address,
        .dt_bias = c->node->bias->address,
        .out = c->out,
        .state = c->rec->cfg->states[c->node->layer].delta,
        .n_heads_k = c->dim[DIM_DELTA_HEADS_K],
        .n_heads_v = c->dim[DIM_DELTA_HEADS_V],
        .n_channels_k = c->dim[DIM_DELTA_HEAD_K],
        .n_channels_v = c->dim[DIM_DELTA_HEAD_V],
        .order = c->model->arch->delta_order,
        .eps = c->model->dims.real[REAL_NORM_EPS],
    };
}
