/* SPDX-License-Identifier: MIT */
#include "model/recorder_ops.h"

void record_rope(const struct recording *c, struct dispatch *d)
{
    const struct dims *dims = &c->model->dims;
    const struct rope_params *p = &c->rec->rope;
    struct args_rope *args = &d->args.rope;

    d->op = KERNEL_ROPE;
    *args = (struct args_rope){
        .step = c->rec->step,
        .tokens = c->rec->step + c->rec->layout.tokens,
        .x = c->out,
        .factors = c->node->weight->address,
        .n_heads = c->out_width / c->dim[DIM_HEAD_K],
        .n_channels = c->dim[DIM_HEAD_K],
        .n_rot = c->dim[DIM_ROPE],
        .style = c->model->arch->rope_style,
        .base = dims->real[REAL_ROPE_BASE],
        .freq_scale = p->freq_scale,
        .ext_factor = p->ext_factor,
        .attn_factor = p->attn_factor,
        .corr_low = p->corr_low,
        .corr_high = p->corr_high,
    };
    if (model_layer_kind(c->model, c->node->layer)->has_local_rope) {
        args->base = dims->real[REAL_ROPE_BASE_LOCAL];
        args->freq_scale = args->attn_factor = 1.0f;
        args->ext_factor = args->corr_low = args->corr_high = 0.0f;
    }
    if (c->node->op == STEP_ROPE_QUERY && dims->real[REAL_TEMP_SCALE] > 0.0f) {
        args->temp_scale = dims->real[REAL_TEMP_SCALE];
        args->temp_floor = (float)dims->dim[DIM_ROPE_CONTEXT];
    }
}

void record_rope_index(const struct recording *c, struct dispatch *d)
{
    record_rope(c, d);
    d->args.rope.n_channels = c->dim[DIM_INDEXER_HEAD];
    d->args.rope.n_heads = c->out_width / d->args.rope.n_channels;
    d->args.rope.style = ROPE_SPLIT;
}

/* Rotations by nothing, and the temperature of a position. */
void record_temperature(const struct recording *c, struct dispatch *d)
{
    struct args_rope *args = &d->args.rope;

    record_rope(c, d);
    args->freq_scale = args->ext_factor = args->corr_low = args->corr_high = 0.0f;
    args->attn_factor = 1.0f;
    args->temp_scale = c->model->dims.real[REAL_TEMP_SCALE];
    args->temp_offset = c->model->dims.real[REAL_TEMP_OFFSET];
    args->temp_floor = (float)c->model->arch->temperature_step;
}
