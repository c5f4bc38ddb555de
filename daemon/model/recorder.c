/* SPDX-License-Identifier: MIT */
#include "model/recorder.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- hazards ---- */

/* Whether an access must wait for one already on the list. */
static bool conflicts(const struct accesses *a, uint64_t begin, uint64_t bytes, bool is_write)
{
    for (size_t i = 0; i < a->n; i++)
        if (bytes && begin < a->list[i].end && a->list[i].begin < begin + bytes &&
            (is_write || a->list[i].is_write))
            return true;
    return false;
}

static void note(struct accesses *a, uint64_t begin, uint64_t bytes, bool is_write)
{
    if (!bytes)
        return;
    a->list[a->n].begin = begin;
    a->list[a->n].end = begin + bytes;
    a->list[a->n].is_write = is_write;
    a->n++;
}

/* ---- calls to dispatches ---- */

static uint64_t out_address(const struct recorder *r, const struct call *c)
{
    if (r->cfg->host_logits && c->kind == CALL_NODE && c->node->out == VALUE_LOGITS)
        return r->results + r->layout.logits;
    if (r->cfg->host_normed && c->kind == CALL_NODE && c->node->out == VALUE_LAST_NORMED)
        return r->results + r->layout.normed;
    return r->workspace + c->out;
}

/* Where the keys and values of a node's layer are, which may be another's. */
static const struct kv_layer *kv_of(const struct recorder *r, const struct node *n)
{
    return &r->kv[r->model->layers[n->layer].kv_layer];
}

/* Behind these, in the same blocks: an indexer's keys. */
static struct kv_layer index_kv_of(const struct recorder *r, const struct node *n)
{
    struct kv_layer kv = *kv_of(r, n);

    kv.base += KV_BLOCK_TOKENS * (uint64_t)kv.n_kv_heads *
               (kv_row_bytes(kv.type, kv.n_channels_k) + kv_row_bytes(kv.type, kv.n_channels_v));
    kv.n_kv_heads = 1;
    kv.n_channels_k = r->model->dims.dim[DIM_INDEXER_HEAD];
    kv.n_channels_v = 0;
    return kv;
}

static bool is_cache_op(enum step_op op)
{
    return op == STEP_KV_STORE || op == STEP_INDEX_STORE || op == STEP_INDEX_SCORES ||
           op == STEP_ATTENTION;
}

static uint64_t kv_bytes(const struct kv_layer *kv)
{
    return kv->n_blocks * kv->block_bytes;
}

/* What of a layer's state a call goes on with; NULL where it is none of that kind. */
static const struct seq_state *state_of(const struct recorder *r, const struct call *c)
{
    const struct layer_state *layer = r->cfg->states ? &r->cfg->states[c->node->layer] : NULL;

    if (c->kind == CALL_NODE && c->node->op == STEP_SHORT_CONV)
        return &layer->conv;
    if (c->kind == CALL_NODE && c->node->op == STEP_DELTA_NET)
        return &layer->delta;
    return NULL;
}

/* Sets the barrier of a dispatch whose call reads in, in2, in3, rows and writes out. A state is
 * gone on with by one call of a program, and programs wait for each other. */
static void order(struct recorder *r, struct dispatch *d, const struct call *c)
{
    const struct kv_layer *kv = NULL;
    bool stores = false;
    uint64_t out = out_address(r, c), in = r->workspace + c->in, in2 = r->workspace + c->in2;
    uint64_t in3 = r->workspace + c->in3, rows = r->workspace + c->rows;
    struct accesses *a = &r->since_barrier;

    if (c->kind == CALL_NODE && is_cache_op(c->node->op)) {
        kv = kv_of(r, c->node);
        stores = c->node->op == STEP_KV_STORE || c->node->op == STEP_INDEX_STORE;
    }
    d->barrier = r->cfg->full_barriers || conflicts(a, in, c->in_bytes, false) ||
                 conflicts(a, in2, c->in2_bytes, false) || conflicts(a, out, c->out_bytes, true) ||
                 conflicts(a, in3, c->in3_bytes, false) ||
                 conflicts(a, rows, c->rows_bytes, false) ||
                 (kv && conflicts(a, kv->base, kv_bytes(kv), stores)) || a->n + 6 > ACCESS_MOST;
    if (d->barrier) {
        a->n = 0;
        r->n_barriers++;
    }
    note(a, in, c->in_bytes, false);
    note(a, in2, c->in2_bytes, false);
    note(a, in3, c->in3_bytes, false);
    note(a, rows, c->rows_bytes, false);
    note(a, out, c->out_bytes, true);
    if (kv)
        note(a, kv->base, kv_bytes(kv), stores);
}

static struct args_rope rope_args(const struct recorder *r, const struct node *n, uint64_t x)
{
    const struct dims *d = &r->model->dims;
    const uint32_t *dim = model_dims(r->model, n->layer);
    struct args_rope args = {
        .step = r->step,
        .tokens = r->step + r->layout.tokens,
        .x = x,
        .factors = n->weight->tensor ? n->weight->address : 0,
        .n_heads = value_width(r->model, n->layer, n->out) / dim[DIM_HEAD_K],
        .n_channels = dim[DIM_HEAD_K],
        .n_rot = dim[DIM_ROPE],
        .style = r->model->arch->rope_style,
        .base = d->real[REAL_ROPE_BASE],
        .freq_scale = r->rope.freq_scale,
        .ext_factor = r->rope.ext_factor,
        .attn_factor = r->rope.attn_factor,
        .corr_low = r->rope.corr_low,
        .corr_high = r->rope.corr_high,
    };

    if (model_layer_kind(r->model, n->layer)->has_local_rope) {
        args.base = d->real[REAL_ROPE_BASE_LOCAL];
        args.freq_scale = args.attn_factor = 1.0f;
        args.ext_factor = args.corr_low = args.corr_high = 0.0f;
    }
    if (n->op == STEP_ROPE_QUERY && d->real[REAL_TEMP_SCALE] > 0.0f) {
        args.temp_scale = d->real[REAL_TEMP_SCALE];
        args.temp_floor = (float)d->dim[DIM_ROPE_CONTEXT];
    }
    return args;
}

/* Rotations by nothing, and the temperature of a position. */
static struct args_rope temperature_args(const struct recorder *r, const struct node *n, uint64_t x)
{
    struct args_rope args = rope_args(r, n, x);

    args.freq_scale = args.ext_factor = args.corr_low = args.corr_high = 0.0f;
    args.attn_factor = 1.0f;
    args.temp_scale = r->model->dims.real[REAL_TEMP_SCALE];
    args.temp_offset = r->model->dims.real[REAL_TEMP_OFFSET];
    args.temp_floor = (float)r->model->arch->temperature_step;
    return args;
}

/* piece: of the table; NULL where that is whole. */
static void record_embed(const struct recorder *r, const struct node *n, struct dispatch *d,
                         const struct weight_piece *piece, uint64_t out)
{
    const struct gguf_tensor *t = n->weight->tensor;
    uint64_t tokens = n->op == STEP_EMBED_POSITION ? r->layout.wholes
                      : n->op == STEP_EMBED_TYPE   ? r->layout.types
                                                   : r->layout.tokens;

    d->op = KERNEL_EMBED;
    d->weight_type = t->type;
    d->args.embed = (struct args_embed){
        .step = r->step,
        .tokens = r->step + tokens,
        .seqs = r->step + r->layout.seqs,
        .table = piece ? piece->address : n->weight->address,
        .out = out,
        .n_rows = piece ? piece->n_rows : (uint32_t)t->shape[1],
        .n_cols = (uint32_t)t->shape[0],
        .scale = r->model->dims.real[n->scale],
        .first_row = piece ? piece->first_row : 0,
    };
}

static void record_layer_norm(const struct recorder *r, const struct node *n, struct dispatch *d,
                              uint64_t out, uint64_t in)
{
    d->op = KERNEL_LAYER_NORM;
    d->args.layer_norm = (struct args_layer_norm){
        .step = r->step,
        .x = in,
        .out = out,
        .weight = n->weight->address,
        .bias = n->bias->tensor ? n->bias->address : 0,
        .n_cols = (uint32_t)n->weight->tensor->shape[0],
        .rows = value_rows(n->out),
        .eps = r->model->dims.real[n->scale ? n->scale : REAL_NORM_EPS],
    };
}

static void record_norm(const struct recorder *r, const struct node *n, struct dispatch *d,
                        uint64_t out, uint64_t in)
{
    const struct gguf_tensor *t = n->weight->tensor;
    uint32_t n_cols = t ? (uint32_t)t->shape[0] : model_dims(r->model, n->layer)[n->part.n];

    d->op = KERNEL_RMS_NORM;
    d->args.rms_norm = (struct args_rms_norm){
        .step = r->step,
        .x = in,
        .out = out,
        .weight = t ? n->weight->address : 0,
        .n_cols = n_cols,
        .n_groups = value_width(r->model, n->layer, n->out) / n_cols,
        .rows = value_rows(n->out),
        .eps = r->model->dims.real[REAL_NORM_EPS],
        .scale = r->model->dims.real[n->scale],
    };
}

static void record_matmul(const struct recorder *r, const struct call *c, struct dispatch *d,
                          uint64_t out, uint64_t in)
{
    const struct node *n = c->node;
    const struct gguf_tensor *t = n->weight->tensor;

    d->op = KERNEL_MATMUL;
    d->weight_type = t->type;
    d->activation = c->activation;
    d->args.matmul = (struct args_matmul){
        .step = r->step,
        .weight = n->weight->address,
        .x = in,
        .out = out,
        .bias = n->bias->tensor ? n->bias->address : 0,
        .n_rows = n->weight->n_rows,
        .n_cols = (uint32_t)t->shape[0],
        .rows = value_rows(n->in),
        .accumulate = n->op == STEP_MATMUL_ADD,
    };
}

static void record_route(const struct recorder *r, const struct node *n, struct dispatch *d,
                         uint64_t out, uint64_t in)
{
    const struct dims *dims = &r->model->dims;
    const struct router_params *p = &dims->router;

    d->op = KERNEL_ROUTE;
    d->args.route = (struct args_route){
        .step = r->step,
        .logits = in,
        .bias = n->bias->tensor ? n->bias->address : 0,
        .scales = n->weight->tensor ? n->weight->address : 0,
        .out = out,
        .n_experts = dims->dim[DIM_EXPERTS],
        .n_used = dims->dim[DIM_EXPERTS_USED],
        .gate = p->gate,
        .normalise = p->normalises,
        .scale = p->scale,
        .n_groups = p->n_groups,
        .n_groups_used = p->n_groups_used,
    };
    if (n->op == STEP_GATE) {
        d->args.route.n_experts = d->args.route.n_used = 1;
        d->args.route.n_groups = d->args.route.n_groups_used = 1;
        d->args.route.gate = GATE_SIGMOID;
        d->args.route.normalise = 0;
        d->args.route.scale = 1.0f;
    }
}

static void record_experts(const struct recorder *r, const struct call *c, struct dispatch *d,
                           uint64_t out, uint64_t in, uint64_t in2)
{
    const struct node *n = c->node;
    const struct gguf_tensor *t = n->weight->tensor;

    d->op = KERNEL_MATMUL_EXPERTS;
    d->weight_type = t->type;
    d->activation = c->activation;
    d->args.matmul_experts = (struct args_matmul_experts){
        .step = r->step,
        .weight = n->weight->address,
        .x = in,
        .out = out,
        .bias = n->bias->tensor ? n->bias->address : 0,
        .choices = n->in2 ? in2 : 0,
        .rows = c->rows_bytes ? r->workspace + c->rows : 0,
        .n_rows = (uint32_t)t->shape[1],
        .n_cols = (uint32_t)t->shape[0],
        .n_experts = (uint32_t)t->shape[2],
        .n_used = value_width(r->model, n->layer, n->out) / (uint32_t)t->shape[1],
        .x_per_slot = value_width(r->model, n->layer, n->in) != t->shape[0],
    };
}

static void record_copy(const struct recorder *r, const struct node *n, struct dispatch *d,
                        uint64_t out, uint64_t in)
{
    const uint32_t *dim = model_dims(r->model, n->layer);
    uint32_t n_groups = dim[n->part.groups];

    d->op = KERNEL_COPY;
    d->args.copy = (struct args_copy){
        .step = r->step,
        .x = in,
        .out = out,
        .n_groups = n_groups,
        .n = dim[n->part.n],
        .x_cols = value_width(r->model, n->layer, n->in) / n_groups,
        .x_first = dim[n->part.in_first],
        .out_cols = value_width(r->model, n->layer, n->out) / n_groups,
        .out_first = dim[n->part.out_first],
    };
}

static void record_expert_sum(const struct recorder *r, const struct node *n, struct dispatch *d,
                              uint64_t out, uint64_t in, uint64_t in2)
{
    d->op = KERNEL_EXPERT_SUM;
    d->args.expert_sum = (struct args_expert_sum){
        .step = r->step,
        .choices = in2,
        .y = in,
        .out = out,
        .n_cols = value_width(r->model, n->layer, n->out),
        .n_used = value_width(r->model, n->layer, n->in) / value_width(r->model, n->layer, n->out),
        .accumulate = n->op == STEP_EXPERT_SUM,
    };
}

static void record_short_conv(const struct recorder *r, const struct call *c, struct dispatch *d,
                              uint64_t out, uint64_t in)
{
    d->op = KERNEL_SHORT_CONV;
    d->args.short_conv = (struct args_short_conv){
        .step = r->step,
        .tokens = r->step + r->layout.tokens,
        .seqs = r->step + r->layout.seqs,
        .x = in,
        .out = out,
        .weight = c->node->weight->address,
        .state = *state_of(r, c),
        .n_cols = value_width(r->model, c->node->layer, c->node->out),
        .n_taps = r->model->dims.dim[DIM_TAPS],
    };
}

static void record_delta_net(const struct recorder *r, const struct call *c, struct dispatch *d)
{
    const struct dims *dims = &r->model->dims;

    d->op = KERNEL_DELTA_NET;
    d->args.delta_net = (struct args_delta_net){
        .step = r->step,
        .tokens = r->step + r->layout.tokens,
        .seqs = r->step + r->layout.seqs,
        .x = r->workspace + c->in,
        .alpha = r->workspace + c->in2,
        .beta = r->workspace + c->in3,
        .a = c->node->weight->address,
        .dt_bias = c->node->bias->address,
        .out = r->workspace + c->out,
        .state = *state_of(r, c),
        .n_heads_k = dims->dim[DIM_DELTA_HEADS_K],
        .n_heads_v = dims->dim[DIM_DELTA_HEADS_V],
        .n_channels_k = dims->dim[DIM_DELTA_HEAD_K],
        .n_channels_v = dims->dim[DIM_DELTA_HEAD_V],
        .order = r->model->arch->delta_order,
        .eps = dims->real[REAL_NORM_EPS],
    };
}

/* As of args_attention; 0: all positions. */
static uint32_t window_of(const struct recorder *r, const struct node *n)
{
    return model_layer_kind(r->model, n->layer)->is_windowed ? model_window(r->model) : 0;
}

/* Where a layer's keys and values lie, by sequence. */
static uint64_t seqs_of(const struct recorder *r, const struct node *n)
{
    return r->step + (window_of(r, n) ? r->layout.window_seqs : r->layout.seqs);
}

static uint64_t sinks_of(const struct node *n)
{
    return n->weight->tensor ? n->weight->address : 0;
}

/* Of an attention: up to each token's own position, or to the end of its text. */
static uint64_t seen_tokens(const struct recorder *r)
{
    return r->step + (r->model->arch->is_bidirectional ? r->layout.wholes : r->layout.tokens);
}

static void record_index_store(const struct recorder *r, const struct node *n, struct dispatch *d,
                               uint64_t in)
{
    d->op = KERNEL_KV_STORE;
    d->args.kv_store = (struct args_kv_store){
        .step = r->step,
        .tokens = r->step + r->layout.tokens,
        .seqs = seqs_of(r, n),
        .k = in,
        .kv = index_kv_of(r, n),
    };
}

/* As the indexer's heads and channels are scaled there is of no account to the choice, but for
 * scores that would overflow or vanish. */
static void record_index_scores(const struct recorder *r, const struct node *n, struct dispatch *d,
                                uint64_t out, uint64_t in, uint64_t in2)
{
    const uint32_t *dim = r->model->dims.dim;

    d->op = KERNEL_INDEX_SCORES;
    d->args.index_scores = (struct args_index_scores){
        .step = r->step,
        .tokens = r->step + r->layout.tokens,
        .seqs = seqs_of(r, n),
        .q = in,
        .weights = in2,
        .out = out,
        .kv = index_kv_of(r, n),
        .n_heads = dim[DIM_INDEXER_HEADS],
        .n_positions = graph_positions(r->model, r->cfg->context_tokens),
        .scale = 1.0f / sqrtf((float)dim[DIM_INDEXER_Q]),
    };
}

static void record_index_choose(const struct recorder *r, struct dispatch *d, uint64_t out,
                                uint64_t in)
{
    d->op = KERNEL_INDEX_CHOOSE;
    d->args.index_choose = (struct args_index_choose){
        .step = r->step,
        .tokens = r->step + r->layout.tokens,
        .scores = in,
        .out = out,
        .n_positions = graph_positions(r->model, r->cfg->context_tokens),
        .n_chosen = r->model->dims.dim[DIM_INDEXER_TOP],
    };
}

static void record_attention(const struct recorder *r, const struct call *c, struct dispatch *d,
                             uint64_t out, uint64_t in)
{
    const struct dims *dims = &r->model->dims;

    d->op = KERNEL_ATTENTION;
    d->args.attention = (struct args_attention){
        .step = r->step,
        .tokens = seen_tokens(r),
        .seqs = seqs_of(r, c->node),
        .q = in,
        .out = out,
        .sinks = c->n_splits > 1 ? 0 : sinks_of(c->node),
        .kv = *kv_of(r, c->node),
        .n_heads = model_dims(r->model, c->node->layer)[DIM_HEADS],
        .window = window_of(r, c->node),
        .scale = r->rope.score_scale * dims->real[REAL_ATTN_SCALE],
        .softcap = dims->real[REAL_ATTN_SOFTCAP],
        .n_splits = c->n_splits,
    };
    if (c->node->in2) {
        d->args.attention.chosen = r->workspace + c->in2;
        d->args.attention.chosen_words = graph_positions(r->model, r->cfg->context_tokens) / 32;
    }
}

static void record_combine(const struct recorder *r, const struct call *c, struct dispatch *d)
{
    const uint32_t *dim = model_dims(r->model, c->node->layer);

    d->op = KERNEL_ATTENTION_COMBINE;
    d->args.attention_combine = (struct args_attention_combine){
        .step = r->step,
        .tokens = seen_tokens(r),
        .parts = r->workspace + c->in,
        .out = r->workspace + c->out,
        .sinks = sinks_of(c->node),
        .n_heads = dim[DIM_HEADS],
        .n_channels_v = dim[DIM_HEAD_V],
        .window = window_of(r, c->node),
        .n_splits = c->n_splits,
    };
}

static void record_node(const struct recorder *r, const struct call *c, struct dispatch *d,
                        const struct weight_piece *piece)
{
    const struct node *n = c->node;
    uint64_t out = out_address(r, c), in = r->workspace + c->in, in2 = r->workspace + c->in2;

    switch (n->op) {
    case STEP_EMBED:
    case STEP_EMBED_POSITION:
    case STEP_EMBED_TYPE:
        record_embed(r, n, d, piece, out);
        break;
    case STEP_LAYER_NORM:
        record_layer_norm(r, n, d, out, in);
        break;
    case STEP_NORM:
    case STEP_PLAIN_NORM:
    case STEP_HEAD_NORM:
        record_norm(r, n, d, out, in);
        break;
    case STEP_MATMUL:
    case STEP_MATMUL_ADD:
        record_matmul(r, c, d, out, in);
        break;
    case STEP_ROPE:
    case STEP_ROPE_QUERY:
        d->op = KERNEL_ROPE;
        d->args.rope = rope_args(r, n, out);
        break;
    case STEP_ROPE_INDEX:
        d->op = KERNEL_ROPE;
        d->args.rope = rope_args(r, n, out);
        d->args.rope.n_channels = r->model->dims.dim[DIM_INDEXER_HEAD];
        d->args.rope.n_heads = value_width(r->model, n->layer, n->out) / d->args.rope.n_channels;
        d->args.rope.style = ROPE_SPLIT;
        break;
    case STEP_TEMPERATURE:
        d->op = KERNEL_ROPE;
        d->args.rope = temperature_args(r, n, out);
        break;
    case STEP_KV_STORE:
        d->op = KERNEL_KV_STORE;
        d->args.kv_store = (struct args_kv_store){
            .step = r->step,
            .tokens = r->step + r->layout.tokens,
            .seqs = seqs_of(r, c->node),
            .k = in,
            .v = in2,
            .kv = *kv_of(r, n),
        };
        break;
    case STEP_INDEX_STORE:
        record_index_store(r, n, d, in);
        break;
    case STEP_INDEX_SCORES:
        record_index_scores(r, n, d, out, in, in2);
        break;
    case STEP_INDEX_CHOOSE:
        record_index_choose(r, d, out, in);
        break;
    case STEP_ATTENTION:
        record_attention(r, c, d, out, in);
        break;
    case STEP_GLU:
    case STEP_GATED:
        d->op = KERNEL_GLU;
        d->args.glu = (struct args_glu){
            .step = r->step,
            .gate = in,
            .up = n->in2 ? in2 : 0,
            .out = out,
            .n_cols = value_width(r->model, n->layer, n->out),
            .activation = n->op == STEP_GATED ? GLU_SIGMOID : r->model->arch->activation,
            .rows = value_rows(n->out),
        };
        break;
    case STEP_ROUTE:
    case STEP_GATE:
        record_route(r, n, d, out, in);
        break;
    case STEP_COPY:
    case STEP_COPY_MORE:
        record_copy(r, n, d, out, in);
        break;
    case STEP_HEADS:
    case STEP_EXPERTS:
        record_experts(r, c, d, out, in, in2);
        break;
    case STEP_EXPERT_SUM:
    case STEP_EXPERT_MIX:
        record_expert_sum(r, n, d, out, in, in2);
        break;
    case STEP_SHORT_CONV:
        record_short_conv(r, c, d, out, in);
        break;
    case STEP_DELTA_NET:
        record_delta_net(r, c, d);
        break;
    case STEP_ADD:
    case STEP_ADD_TYPE:
        d->op = KERNEL_ADD;
        d->args.add = (struct args_add){
            .step = r->step,
            .x = out,
            .y = in,
            .scale = n->op == STEP_ADD && n->weight->tensor ? n->weight->address : 0,
            .n_cols = value_width(r->model, n->layer, n->out),
            .rows = value_rows(n->out),
        };
        break;
    case STEP_SOFTCAP:
        d->op = KERNEL_SOFTCAP;
        d->args.softcap = (struct args_softcap){
            .step = r->step,
            .x = out,
            .n_cols = value_width(r->model, n->layer, n->out),
            .rows = value_rows(n->out),
            .cap = r->model->dims.real[REAL_LOGIT_SOFTCAP],
        };
        break;
    case STEP_GATHER:
        d->op = KERNEL_GATHER;
        d->args.gather = (struct args_gather){
            .step = r->step,
            .output_rows = r->step + r->layout.output_rows,
            .x = in,
            .out = out,
            .n_cols = value_width(r->model, n->layer, n->in),
        };
        break;
    case STEP_END:
        break;
    }
}

static void record_quantize(const struct recorder *r, const struct call *c, struct dispatch *d)
{
    d->op = KERNEL_QUANTIZE;
    d->activation = c->activation;
    d->args.quantize = (struct args_quantize){
        .step = r->step,
        .x = r->workspace + c->in,
        .out = r->workspace + c->out,
        .n_cols = value_width(r->model, c->node->layer, c->node->in),
        .rows = value_rows(c->node->in),
    };
}

static void record_dispatch(struct recorder *r, const struct call *c,
                            const struct weight_piece *piece)
{
    struct dispatch *d = &r->list[r->n++];
    enum value rows_of = c->kind == CALL_QUANTIZE || !c->node->out ? c->node->in : c->node->out;

    *d = (struct dispatch){
        .max_rows = value_rows(rows_of) == ROWS_TOKENS ? r->cfg->max_tokens : r->cfg->max_outputs,
        .label = c->node->weight->tensor ? c->node->weight->tensor->name : "",
    };
    order(r, d, c);
    switch (c->kind) {
    case CALL_NODE:
        record_node(r, c, d, piece);
        break;
    case CALL_QUANTIZE:
        record_quantize(r, c, d);
        break;
    case CALL_EXPERT_ROWS:
        d->op = KERNEL_EXPERT_ROWS;
        d->args.expert_rows = (struct args_expert_rows){
            .step = r->step,
            .choices = r->workspace + c->in,
            .out = r->workspace + c->out,
            .n_experts = r->model->dims.dim[DIM_EXPERTS],
            .n_used = r->model->dims.dim[DIM_EXPERTS_USED],
        };
        break;
    case CALL_COMBINE:
        record_combine(r, c, d);
        break;
    }
}

/* A table in pieces is looked up in each of them. */
static void record_call(struct recorder *r, const struct call *c)
{
    size_t n = 0;
    const struct weight_piece *pieces = c->kind == CALL_NODE && c->node->op == STEP_EMBED
                                            ? model_pieces(r->model, c->node->weight->tensor, &n)
                                            : NULL;

    if (!n)
        record_dispatch(r, c, NULL);
    for (size_t i = 0; i < n; i++)
        record_dispatch(r, c, &pieces[i]);
}

static void record_sampler(struct recorder *r)
{
    struct dispatch *d = &r->list[r->n++];

    *d = (struct dispatch){
        .op = KERNEL_SAMPLE,
        .barrier = true,
        .max_rows = r->cfg->max_outputs,
        .label = "sample",
        .args.sample =
            {
                .step = r->step,
                .samples = r->step + r->layout.samples,
                .logits = r->cfg->host_logits ? r->results + r->layout.logits
                                              : r->workspace + r->graph->result_place,
                .results = r->results + r->layout.results,
                .scratch = r->step + r->layout.scratch,
                .n_vocab = r->model->dims.dim[DIM_VOCAB],
            },
    };
    r->n_barriers++;
}

int recorder_list_calls(struct recorder *rec, struct error *err)
{
    /* a table may be looked up in more than once, as Gemma 4 does */
    rec->list = calloc((rec->graph->n_calls + 1) * (rec->model->n_pieces + 1), sizeof(*rec->list));
    if (!rec->list)
        return error_set(err, ENOMEM, "out of memory");
    dims_rope(&rec->model->dims, &rec->rope);
    for (size_t i = 0; i < rec->graph->n_calls; i++)
        record_call(rec, &rec->graph->calls[i]);
    if (rec->cfg->has_sampler)
        record_sampler(rec);
    return 0;
}
