/* SPDX-License-Identifier: MIT */
#include "model/graph.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
    enum dim width;
    uint32_t rows;
} shapes[VALUE_COUNT] = {
    [VALUE_X] = {DIM_EMBD, ROWS_TOKENS},
    [VALUE_NORMED] = {DIM_EMBD, ROWS_TOKENS},
    [VALUE_BRANCH] = {DIM_EMBD, ROWS_TOKENS},
    [VALUE_Q] = {DIM_Q, ROWS_TOKENS},
    [VALUE_K] = {DIM_K, ROWS_TOKENS},
    [VALUE_V] = {DIM_V, ROWS_TOKENS},
    [VALUE_ATT] = {DIM_ATT, ROWS_TOKENS},
    [VALUE_GATE] = {DIM_FF, ROWS_TOKENS},
    [VALUE_UP] = {DIM_FF, ROWS_TOKENS},
    [VALUE_Q_LOW] = {DIM_Q_RANK, ROWS_TOKENS},
    [VALUE_Q_HEADS] = {DIM_Q_MLA, ROWS_TOKENS},
    [VALUE_Q_NOPE] = {DIM_Q_NOPE, ROWS_TOKENS},
    [VALUE_Q_LATENT] = {DIM_Q_LATENT, ROWS_TOKENS},
    [VALUE_KV_LOW] = {DIM_K, ROWS_TOKENS},
    [VALUE_ATT_MLA] = {DIM_ATT_MLA, ROWS_TOKENS},
    [VALUE_INDEX_Q] = {DIM_INDEXER_Q, ROWS_TOKENS},
    [VALUE_INDEX_K] = {DIM_INDEXER_HEAD, ROWS_TOKENS},
    [VALUE_INDEX_WEIGHTS] = {DIM_INDEXER_HEADS, ROWS_TOKENS},
    [VALUE_INDEX_SCORES] = {DIM_ZERO, ROWS_TOKENS}, /* see bytes_of */
    [VALUE_INDEX_CHOSEN] = {DIM_ZERO, ROWS_TOKENS},
    [VALUE_ROUTER] = {DIM_EXPERTS, ROWS_TOKENS},
    [VALUE_CHOICES] = {DIM_CHOICES, ROWS_TOKENS},
    [VALUE_EXPERT_IN] = {DIM_EMBD, ROWS_TOKENS},
    [VALUE_EXPERT_GATE] = {DIM_EXPERTS_FF, ROWS_TOKENS},
    [VALUE_EXPERT_UP] = {DIM_EXPERTS_FF, ROWS_TOKENS},
    [VALUE_EXPERT_OUT] = {DIM_EXPERTS_EMBD, ROWS_TOKENS},
    [VALUE_SHARED_ROUTER] = {DIM_ONE, ROWS_TOKENS},
    [VALUE_SHARED_CHOICE] = {DIM_CHOICE, ROWS_TOKENS},
    [VALUE_SHARED_GATE] = {DIM_FF_SHARED, ROWS_TOKENS},
    [VALUE_SHARED_UP] = {DIM_FF_SHARED, ROWS_TOKENS},
    [VALUE_SHARED_OUT] = {DIM_EMBD, ROWS_TOKENS},
    [VALUE_Q_GATED] = {DIM_Q_GATED, ROWS_TOKENS},
    [VALUE_ATT_GATE] = {DIM_ATT, ROWS_TOKENS},
    [VALUE_DELTA_QKVZ] = {DIM_DELTA_QKVZ, ROWS_TOKENS},
    [VALUE_DELTA_Q] = {DIM_DELTA_K, ROWS_TOKENS},
    [VALUE_DELTA_K] = {DIM_DELTA_K, ROWS_TOKENS},
    [VALUE_DELTA_V] = {DIM_DELTA_V, ROWS_TOKENS},
    [VALUE_DELTA_IN] = {DIM_DELTA_QKV, ROWS_TOKENS},
    [VALUE_DELTA_QKV] = {DIM_DELTA_QKV, ROWS_TOKENS},
    [VALUE_DELTA_GATE] = {DIM_DELTA_V, ROWS_TOKENS},
    [VALUE_DELTA_BETA_ALPHA] = {DIM_DELTA_BETA_ALPHA, ROWS_TOKENS},
    [VALUE_DELTA_ALPHA] = {DIM_DELTA_HEADS_V, ROWS_TOKENS},
    [VALUE_DELTA_BETA] = {DIM_DELTA_HEADS_V, ROWS_TOKENS},
    [VALUE_DELTA_OUT] = {DIM_DELTA_V, ROWS_TOKENS},
    [VALUE_EXPERT_GATE_UP] = {DIM_GATE_UP_EXPERTS, ROWS_TOKENS},
    [VALUE_EXPERT_BRANCH] = {DIM_EMBD, ROWS_TOKENS},
    [VALUE_PER_LAYER] = {DIM_PER_LAYERS, ROWS_TOKENS},
    [VALUE_PER_LAYER_TOKEN] = {DIM_PER_LAYERS, ROWS_TOKENS},
    [VALUE_PER_LAYER_UP] = {DIM_PER_LAYER, ROWS_TOKENS},
    [VALUE_PER_LAYER_GATE] = {DIM_PER_LAYER, ROWS_TOKENS},
    [VALUE_LAST] = {DIM_EMBD, ROWS_OUTPUTS},
    [VALUE_LAST_NORMED] = {DIM_EMBD, ROWS_OUTPUTS},
    [VALUE_LOGITS] = {DIM_VOCAB, ROWS_OUTPUTS},
};

uint32_t value_width(const struct model *m, uint32_t layer, enum value v)
{
    return model_dims(m, layer)[shapes[v].width];
}

uint32_t value_rows(enum value v)
{
    return shapes[v].rows;
}

uint32_t graph_positions(const struct model *m, uint32_t context_tokens)
{
    uint32_t n = context_tokens ? context_tokens : m->dims.dim[DIM_CONTEXT];

    return (n + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS;
}

/* ---- steps to nodes ---- */

static size_t count_steps(const struct arch_step *steps)
{
    size_t n = 0;

    while (steps[n].op != STEP_END)
        n++;
    return n;
}

/* Steps that are left out without their weight. */
static bool is_optional(enum step_op op)
{
    return op == STEP_HEAD_NORM || op == STEP_EMBED_TYPE || op == STEP_ADD_TYPE;
}

static const struct weight_ref *weight_of(const struct model *m, const struct graph_config *cfg,
                                          const struct arch_step *step, uint32_t layer)
{
    return step->weight == WEIGHT_ROPE_FACTORS ? model_rope_factors(m, layer, cfg->context_tokens)
                                               : model_weight(m, step->weight, layer);
}

static void add_nodes(struct graph *g, const struct model *m, const struct graph_config *cfg,
                      const struct arch_step *steps, uint32_t layer)
{
    for (; steps->op != STEP_END; steps++) {
        struct node *node = &g->nodes[g->n_nodes];
        *node = (struct node){
            .op = steps->op,
            .out = steps->out,
            .in = steps->in,
            .in2 = steps->in2,
            .in3 = steps->in3,
            .layer = layer,
            .weight = weight_of(m, cfg, steps, layer),
            .bias = model_weight(m, steps->bias, layer),
            .part = steps->part,
            .scale = steps->scale,
        };
        if (is_optional(node->op) && !node->weight->tensor)
            continue;
        if (node->op == STEP_PLAIN_NORM && m->arch->unnormed_experts &&
            m->dims.dim[DIM_EXPERTS] == m->arch->unnormed_experts)
            continue;
        if (node->out == VALUE_LOGITS && g->result != VALUE_LOGITS)
            continue;
        if (node->op == STEP_SOFTCAP && m->dims.real[REAL_LOGIT_SOFTCAP] == 0.0f)
            continue;
        g->n_nodes++;
    }
}

static int build_nodes(struct graph *g, const struct model *m, const struct graph_config *cfg)
{
    const struct arch *a = m->arch;
    uint32_t n_layers = m->dims.dim[DIM_LAYERS];
    size_t most = count_steps(a->before) + count_steps(a->after);

    for (uint32_t i = 0; i < n_layers; i++)
        most += count_steps(model_layer_kind(m, i)->steps);

    g->nodes = calloc(most, sizeof(*g->nodes));
    /* a node becomes at most three calls: itself, one before it and one behind it */
    g->calls = calloc(most * 3, sizeof(*g->calls));
    if (!g->nodes || !g->calls)
        return -ENOMEM;
    add_nodes(g, m, cfg, a->before, MODEL_GLOBAL);
    for (uint32_t i = 0; i < n_layers; i++)
        add_nodes(g, m, cfg, model_layer_kind(m, i)->steps, i);
    add_nodes(g, m, cfg, a->after, MODEL_GLOBAL);
    return 0;
}

/* ---- places in the workspace ---- */

enum {
    PLACE_ALIGN = 256,
    PARTS_PLACE = VALUE_COUNT * ACT_TYPE_COUNT, /* of an attention, until they are combined */
    ROWS_PLACE,                                 /* of CALL_EXPERT_ROWS, as long as the choices */
    PRODUCT_PLACE,                              /* until it is scaled and added */
    N_PLACES,
};

/* A live value: as f32 (ACT_F32), or a quantised copy of it. */
struct place {
    uint64_t offset, bytes; /* bytes 0: not live */
};

struct layout {
    const struct model *model;
    const struct graph_config *cfg;
    struct place places[N_PLACES]; /* see place_of */
    uint32_t layer;                /* of the node that is laid out */
    uint64_t peak;
};

static struct place *place_of(struct layout *l, enum value v, enum activation_type act)
{
    return &l->places[(size_t)v * ACT_TYPE_COUNT + act];
}

static uint64_t bytes_of(const struct layout *l, enum value v, enum activation_type act)
{
    uint64_t rows = value_rows(v) == ROWS_TOKENS ? l->cfg->max_tokens : l->cfg->max_outputs;
    uint64_t n_positions = graph_positions(l->model, l->cfg->context_tokens);

    if (v == VALUE_INDEX_SCORES)
        return rows * n_positions * sizeof(float);
    if (v == VALUE_INDEX_CHOSEN)
        return rows * n_positions / 8;
    return rows * activation_bytes(act, value_width(l->model, l->layer, v));
}

static bool is_free(const struct layout *l, uint64_t offset, uint64_t bytes)
{
    for (size_t i = 0; i < N_PLACES; i++) {
        const struct place *p = &l->places[i];
        if (p->bytes && offset < p->offset + p->bytes && p->offset < offset + bytes)
            return false;
    }
    return true;
}

/* First fit: the lowest offset that overlaps nothing live. It is 0 or the end of something live. */
static void allocate_bytes(struct layout *l, struct place *place, uint64_t bytes)
{
    uint64_t best;

    bytes = (bytes + PLACE_ALIGN - 1) & ~(uint64_t)(PLACE_ALIGN - 1);
    best = is_free(l, 0, bytes) ? 0 : UINT64_MAX;
    for (size_t i = 0; i < N_PLACES; i++) {
        uint64_t end = l->places[i].offset + l->places[i].bytes;
        if (l->places[i].bytes && end < best && is_free(l, end, bytes))
            best = end;
    }
    *place = (struct place){best, bytes};
    if (best + bytes > l->peak)
        l->peak = best + bytes;
}

static struct place *allocate(struct layout *l, enum value v, enum activation_type act)
{
    struct place *place = place_of(l, v, act);

    allocate_bytes(l, place, bytes_of(l, v, act));
    return place;
}

static void release(struct layout *l, enum value v)
{
    for (int act = 0; act < ACT_TYPE_COUNT; act++)
        place_of(l, v, act)->bytes = 0;
}

/* Quantised copies of a value that was just written again are stale. */
static void drop_copies(struct layout *l, enum value v)
{
    for (int act = ACT_F32 + 1; act < ACT_TYPE_COUNT; act++)
        place_of(l, v, act)->bytes = 0;
}

static bool reads(const struct node *n, enum value v)
{
    return n->in == v || n->in2 == v || n->in3 == v ||
           (n->out == v && (n->op == STEP_MATMUL_ADD || n->op == STEP_EXPERT_SUM ||
                            n->op == STEP_COPY_MORE || n->op == STEP_ADD ||
                            n->op == STEP_ADD_TYPE || n->op == STEP_SOFTCAP || n->in == n->out));
}

static bool overwrites(const struct node *n, enum value v)
{
    return n->out == v && !reads(n, v);
}

/* Whether anything after node i still reads what v holds there. */
static bool is_needed_after(const struct graph *g, size_t i, enum value v)
{
    for (i++; i < g->n_nodes; i++) {
        if (reads(&g->nodes[i], v))
            return true;
        if (overwrites(&g->nodes[i], v))
            return false;
    }
    return v == g->result;
}

static bool is_matmul(const struct node *n)
{
    return n->op == STEP_MATMUL || n->op == STEP_MATMUL_ADD || n->op == STEP_EXPERTS ||
           n->op == STEP_HEADS;
}

static int matmul_activation(const struct layout *l, const struct device *dev, const struct node *n,
                             struct error *err)
{
    uint32_t rows = value_rows(n->in) == ROWS_TOKENS ? l->cfg->max_tokens : l->cfg->max_outputs;
    int act = device_activation_for(dev, n->weight->tensor->type,
                                    (uint32_t)n->weight->tensor->shape[0], rows);

    if (act < 0)
        return error_set(err, ENOTSUP, "tensor %s is %s, which this device cannot multiply",
                         n->weight->tensor->name, gguf_type_name(n->weight->tensor->type));
    return act;
}

/* The form of a matmul's input, with the call that makes it where it does not lie yet. */
static int lay_out_input(struct graph *g, struct layout *l, const struct device *dev,
                         const struct node *n, struct error *err)
{
    int r = matmul_activation(l, dev, n, err);
    enum activation_type act = (enum activation_type)r;

    if (r >= 0 && !place_of(l, n->in, act)->bytes) {
        const struct place *from = place_of(l, n->in, ACT_F32);
        const struct place *to = allocate(l, n->in, act);

        g->calls[g->n_calls++] = (struct call){
            .node = n,
            .kind = CALL_QUANTIZE,
            .activation = act,
            .out = to->offset,
            .out_bytes = to->bytes,
            .in = from->offset,
            .in_bytes = from->bytes,
        };
    }
    return r;
}

/* Where the device wants the positions of an attention in ranges: its call, the last one, leaves
 * parts, of which another one makes its output. */
static void lay_out_ranges(struct graph *g, struct layout *l, const struct device *dev)
{
    const uint32_t *dim = model_dims(l->model, l->layer);
    const struct args_attention shape = {
        .kv = {.n_kv_heads = dim[DIM_KV_HEADS],
               .n_channels_k = dim[DIM_HEAD_K],
               .n_channels_v = dim[DIM_HEAD_V],
               .n_blocks = (dim[DIM_CONTEXT] - 1) / KV_BLOCK_TOKENS + 1},
        .n_heads = dim[DIM_HEADS],
    };
    struct place *parts = &l->places[PARTS_PLACE];
    struct call *call = &g->calls[g->n_calls - 1];

    call->n_splits = device_attention_splits(dev, &shape, l->cfg->max_tokens);
    if (call->n_splits == 1)
        return;
    allocate_bytes(l, parts,
                   (uint64_t)l->cfg->max_tokens * dim[DIM_HEADS] * call->n_splits *
                       (2 + dim[DIM_HEAD_V]) * sizeof(float));
    g->calls[g->n_calls++] = (struct call){
        .node = call->node,
        .kind = CALL_COMBINE,
        .n_splits = call->n_splits,
        .out = call->out,
        .out_bytes = call->out_bytes,
        .in = parts->offset,
        .in_bytes = parts->bytes,
    };
    call->out = parts->offset;
    call->out_bytes = parts->bytes;
    parts->bytes = 0; /* free again behind the two */
}

/* Behind a router's call, the last one: its choices by experts, where there are many rows. */
static void lay_out_expert_rows(struct graph *g, struct layout *l)
{
    const uint32_t *dim = l->model->dims.dim;
    const struct call *router = &g->calls[g->n_calls - 1];
    struct place *rows = &l->places[ROWS_PLACE];

    if (l->cfg->max_tokens <= EXPERTS_FEW_ROWS)
        return;
    allocate_bytes(l, rows,
                   expert_rows_bytes(dim[DIM_EXPERTS], dim[DIM_EXPERTS_USED], l->cfg->max_tokens));
    g->calls[g->n_calls++] = (struct call){
        .node = router->node,
        .kind = CALL_EXPERT_ROWS,
        .out = rows->offset,
        .out_bytes = rows->bytes,
        .in = router->out,
        .in_bytes = router->out_bytes,
    };
}

/* Behind a product's call, the last one, whose weight has scales. */
static void lay_out_scale(struct graph *g, struct layout *l)
{
    struct call *call = &g->calls[g->n_calls - 1];
    struct place *product = &l->places[PRODUCT_PLACE];
    struct call *scale = &g->calls[g->n_calls++];

    *scale = (struct call){
        .node = call->node,
        .kind = CALL_SCALE,
        .out = call->out,
        .out_bytes = call->out_bytes,
        .in2 = call->in2,
        .in2_bytes = call->in2_bytes,
    };
    if (call->node->op != STEP_MATMUL_ADD)
        return;
    allocate_bytes(l, product, call->out_bytes);
    scale->in = call->out = product->offset;
    scale->in_bytes = call->out_bytes = product->bytes;
    product->bytes = 0; /* free again behind the two */
}

static void release_unneeded(const struct graph *g, struct layout *l, size_t i)
{
    const struct node *n = &g->nodes[i];

    for (enum value v = VALUE_NONE + 1; v < VALUE_COUNT; v++) {
        if ((n->out != v && n->in != v && n->in2 != v && n->in3 != v) || is_needed_after(g, i, v))
            continue;
        release(l, v);
        if (v == VALUE_CHOICES)
            l->places[ROWS_PLACE].bytes = 0;
    }
}

static int lay_out_node(struct graph *g, struct layout *l, const struct device *dev, size_t i,
                        struct error *err)
{
    const struct node *n = &g->nodes[i];
    enum activation_type act = ACT_F32;
    struct call *call;

    l->layer = n->layer;
    if (is_matmul(n)) {
        int r = lay_out_input(g, l, dev, n, err);

        if (r < 0)
            return r;
        act = (enum activation_type)r;
    }
    if (n->out && !place_of(l, n->out, ACT_F32)->bytes)
        allocate(l, n->out, ACT_F32);
    call = &g->calls[g->n_calls++];
    *call = (struct call){.node = n, .activation = act};
    if (n->out) {
        call->out = place_of(l, n->out, ACT_F32)->offset;
        call->out_bytes = place_of(l, n->out, ACT_F32)->bytes;
        drop_copies(l, n->out);
    }
    if (n->in) {
        call->in = place_of(l, n->in, act)->offset;
        call->in_bytes = place_of(l, n->in, act)->bytes;
    }
    if (n->in2) {
        call->in2 = place_of(l, n->in2, ACT_F32)->offset;
        call->in2_bytes = place_of(l, n->in2, ACT_F32)->bytes;
    }
    if (n->in3) {
        call->in3 = place_of(l, n->in3, ACT_F32)->offset;
        call->in3_bytes = place_of(l, n->in3, ACT_F32)->bytes;
    }
    if (n->op == STEP_EXPERTS) {
        call->rows = l->places[ROWS_PLACE].offset;
        call->rows_bytes = l->places[ROWS_PLACE].bytes;
    }
    if (n->op == STEP_ATTENTION)
        lay_out_ranges(g, l, dev);
    if (n->op == STEP_ROUTE)
        lay_out_expert_rows(g, l);
    if (is_matmul(n) && n->weight->scale)
        lay_out_scale(g, l);
    release_unneeded(g, l, i);
    return 0;
}

int graph_create(const struct model *m, const struct device *dev, const struct graph_config *cfg,
                 struct graph **ret_graph, struct error *err)
{
    struct layout l = {.model = m, .cfg = cfg};
    struct graph *g = calloc(1, sizeof(*g));
    int r;

    if (!cfg->ends_normed && !model_makes_logits(m)) {
        graph_destroy(g);
        return error_set(err, ENOTSUP, "models of architecture %s make vectors and no logits",
                         m->arch->name);
    }
    if (g)
        g->result = cfg->ends_normed ? VALUE_LAST_NORMED : VALUE_LOGITS;
    if (!g || build_nodes(g, m, cfg) < 0) {
        graph_destroy(g);
        return error_set(err, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        r = lay_out_node(g, &l, dev, i, err);
        if (r < 0) {
            graph_destroy(g);
            return r;
        }
    }
    g->workspace_bytes = l.peak;
    g->result_place = place_of(&l, g->result, ACT_F32)->offset;
    *ret_graph = g;
    return 0;
}

void graph_destroy(struct graph *g)
{
    if (!g)
        return;
    free(g->nodes);
    free(g->calls);
    free(g);
}
