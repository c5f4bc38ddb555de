/* SPDX-License-Identifier: MIT */
#include "model/recorder_ops.h"

/* STEP_GATE: how much of what every token goes through counts, as a router of one expert. */
static void make_gate(struct args_route *args)
{
    args->n_experts = args->n_used = 1;
    args->n_groups = args->n_groups_used = 1;
    args->gate = GATE_SIGMOID;
    args->normalise = 0;
    args->scale = 1.0f;
}

void record_route(const struct recording *c, struct dispatch *d)
{
    const struct router_params *p = &c->model->dims.router;

    d->op = KERNEL_ROUTE;
    d->args.route = (struct args_route){
        .step = c->rec->step,
        .logits = c->in,
        .bias = c->node->bias->address,
        .scales = c->node->weight->address,
        .out = c->out,
        .n_experts = c->dim[DIM_EXPERTS],
        .n_used = c->dim[DIM_EXPERTS_USED],
        .gate = p->gate,
        .normalise = p->normalises,
        .scale = p->scale,
        .n_groups = p->n_groups,
        .n_groups_used = p->n_groups_used,
    };
    if (c->node->op == STEP_GATE)
        make_gate(&d->args.route);
}

void record_expert_rows(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_EXPERT_ROWS;
    d->args.expert_rows = (struct args_expert_rows){
        .step = c->rec->step,
        .choices = c->in,
        .out = c->out,
        .n_experts = c->dim[DIM_EXPERTS],
        .n_used = c->dim[DIM_EXPERTS_USED],
    };
}

void record_experts(const struct recording *c, struct dispatch *d)
{
    const struct gguf_tensor *t = c->node->weight->tensor;

    d->op = KERNEL_MATMUL_EXPERTS;
    d->weight_type = t->type;
    d->activation = c->call->activation;
    d->args.matmul_experts = (struct args_matmul_experts){
        .step = c->rec->step,
        .weight = c->node->weight->address,
        .x = c->in,
        .out = c->out,
        .bias = c->node->weight->scale ? 0 : c->node->bias->address,
        .choices = c->node->in2 ? c->in2 : 0,
        .rows = c->call->rows_bytes ? c->rows : 0,
        .n_rows = (uint32_t)t->shape[1],
        .n_cols = (uint32_t)t->shape[0],
        .n_experts = (uint32_t)t->shape[2],
        .n_used = c->out_width / (uint32_t)t->shape[1],
        .x_per_slot = c->in_width != t->shape[0],
    };
}

void record_scale(const struct recording *c, struct dispatch *d)
{
    const struct weight_ref *weight = c->node->weight;

    d->op = KERNEL_SCALE;
    d->label = weight->scale->name;
    d->args.scale = (struct args_scale){
        .step = c->rec->step,
        .x = c->call->in_bytes ? c->in : c->out,
        .out = c->out,
        .scale = weight->scale_address,
        .bias = c->node->bias->address,
        .choices = c->node->in2 ? c->in2 : 0,
        .n_cols = weight->n_rows,
        .n_experts = (uint32_t)weight->scale->shape[0],
        .n_used = c->out_width / weight->n_rows,
        .rows = value_rows(c->node->out),
        .accumulate = c->node->op == STEP_MATMUL_ADD,
    };
}

void record_expert_sum(const struct recording *c, struct dispatch *d)
{
    d->op = KERNEL_EXPERT_SUM;
    d->args.expert_sum = (struct args_expert_sum){
        .step = c->rec->step,
        .choices = c->in2,
        .y = c->in,
        .out = c->out,
        .n_cols = c->out_width,
        .n_used = c->in_width / c->out_width,
        .accumulate = c->node->op == STEP_EXPERT_SUM,
    };
}
