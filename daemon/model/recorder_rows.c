/* SPDX-License-Identifier: MIT */
#include "model/recorder_ops.h"

static uint64_t embedded_by(const struct recording *c)
{
    switch (c->node->op) {
    case STEP_EMBED_POSITION:
        return c->rec->layout.wholes;
    case STEP_EMBED_TYPE:
        return c->rec->layout.types;
    default:
        return c->rec->layout.tokens;
    }
}

void record_embed(const struct recording *c, struct dispatch *d)
{
    const struct gguf_tensor *t = c->node->weight->tensor;

    d->op = KERNEL_EMBED;
    d->weight_type = t->type;
    d->args.embed = (struct args_embed){
        .step = c->rec->step,
        .tokens = c->rec->step + embedded_by(c),
        .seqs = c->rec->step + c->rec->layout.seqs,
        .table = c->piece ? c->piece->address : c->node->weight->address,
        .out = c->out,
        .n_rows = c->piece ? c->piece->n_rows : (uint32_t)t->shape[1],
        .n_cols = (uint32_t)t->shape[0],
        .scale = c->model->dims.real[c->node->scale],
        .first_row = c->piece ? c->piece->first_row : 0,
    };
}

void record_norm(const struct recording *c, struct dispatch *d)
{
    const struct gguf_tensor *t = c->node->weight->tensor;
    uint32_t n_cols = t ? (uint32_t)t->shape[0] : c->dim[c->node->part.n];

    d->op = KERNEL_RMS_NORM;
    d->args.rms_norm = (struct args_rms_norm){
        .step = c->rec->step,
        .x = c->in,
        .out = c->out,
        .weight = c->node->weight->address,
        .n_cols = n_cols,
        .n_groups = c->out_width / n_cols,
        .rows = value_rows(c->node->out),
        .eps = c->model->dims.real[REAL_NORM_EPS],
        .scale = c->model->dims.real[c->node->scale],
    };
}

void record_layer_norm(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_LAYER_NORM;
    d->args.layer_norm = (struct args_layer_norm){
        .step = c->rec->step,
        .x = c->in,
        .out = c->out,
        .weight = c->node->weight->address,
        .bias = c->node->bias->address,
        .n_cols = (uint32_t)c->node->weight->tensor->shape[0],
        .rows = value_rows(c->node->out),
        .eps = c->model->dims.real[c->node->scale ? c->node->scale : REAL_NORM_EPS],
    };
}

void record_quantize(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_QUANTIZE;
    d->activation = c->call->activation;
    d->args.quantize = (struct args_quantize){
        .step = c->rec->step,
        .x = c->in,
        .out = c->out,
        .n_cols = c->in_width,
        .rows = value_rows(c->node->in),
    };
}

void record_matmul(const struct recording *c, struct dispatch *d)
{
    const struct gguf_tensor *t = c->node->weight->tensor;

    d->op = KERNEL_MATMUL;
    d->weight_type = t->type;
    d->activation = c->call->activation;
    d->args.matmul = (struct args_matmul){
        .step = c->rec->step,
        .weight = c->node->weight->address,
        .x = c->in,
        .out = c->out,
        .bias = c->node->weight->scale ? 0 : c->node->bias->address,
        .n_rows = c->node->weight->n_rows,
        .n_cols = (uint32_t)t->shape[0],
        .rows = value_rows(c->node->in),
        .accumulate = c->node->op == STEP_MATMUL_ADD && !c->node->weight->scale,
    };
}

void record_glu(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_GLU;
    d->args.glu = (struct args_glu){
        .step = c->rec->step,
        .gate = c->in,
        .up = c->node->in2 ? c->in2 : 0,
        .out = c->out,
        .n_cols = c->out_width,
        .activation = c->node->op == STEP_GATED ? GLU_SIGMOID : c->model->arch->activation,
        .rows = value_rows(c->node->out),
    };
}

void record_add(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_ADD;
    d->args.add = (struct args_add){
        .step = c->rec->step,
        .x = c->out,
        .y = c->in,
        .scale = c->node->op == STEP_ADD ? c->node->weight->address : 0,
        .n_cols = c->out_width,
        .rows = value_rows(c->node->out),
    };
}

void record_copy(const struct recording *c, struct dispatch *d)
{
    const struct arch_part *part = &c->node->part;
    uint32_t n_groups = c->dim[part->groups];

    d->op = KERNEL_COPY;
    d->args.copy = (struct args_copy){
        .step = c->rec->step,
        .x = c->in,
        .out = c->out,
        .n_groups = n_groups,
        .n = c->dim[part->n],
        .x_cols = c->in_width / n_groups,
        .x_first = c->dim[part->in_first],
        .out_cols = c->out_width / n_groups,
        .out_first = c->dim[part->out_first],
    };
}

void record_softcap(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_SOFTCAP;
    d->args.softcap = (struct args_softcap){
        .step = c->rec->step,
        .x = c->out,
        .n_cols = c->out_width,
        .rows = value_rows(c->node->out),
        .cap = c->model->dims.real[REAL_LOGIT_SOFTCAP],
    };
}

void record_gather(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_GATHER;
    d->args.gather = (struct args_gather){
        .step = c->rec->step,
        .output_rows = c->rec->step + c->rec->layout.output_rows,
        .x = c->in,
        .out = c->out,
        .n_cols = c->in_width,
    };
}
