/* SPDX-License-Identifier: MIT */
#include "model/recorder.h"

#include "model/recorder_ops.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- hazards ---- */

/* What one call touches, at most: five values and a cache. */
enum { TOUCHED_MOST = 6 };

/* Whether an access must wait for one that is noted. */
static bool conflicts(const struct accesses *noted, const struct access *a)
{
    for (size_t i = 0; i < noted->n; i++) {
        const struct access *other = &noted->list[i];

        if (a->begin < other->end && other->begin < a->end && (a->is_write || other->is_write))
            return true;
    }
    return false;
}

static void touch(struct access *list, size_t *n, uint64_t begin, uint64_t bytes, bool is_write)
{
    if (bytes)
        list[(*n)++] = (struct access){begin, begin + bytes, is_write};
}

/* All the blocks of a layer's cache, as which of them a step needs only its tables tell. */
static void touch_cache(const struct recording *c, struct access *list, size_t *n)
{
    const struct kv_layer *kv;
    bool stores = false;

    if (c->call->kind != CALL_NODE)
        return;
    switch (c->node->op) {
    case STEP_KV_STORE:
    case STEP_INDEX_STORE:
        stores = true;
        break;
    case STEP_INDEX_SCORES:
    case STEP_ATTENTION:
        break;
    default:
        return;
    }
    kv = recording_kv(c);
    touch(list, n, kv->base, kv->n_blocks * kv->block_bytes, stores);
}

/* Whether a call needs a barrier before it, behind which nothing is noted but what it touches. A
 * state of fixed size is gone on with by one call of a program, and programs wait for each other.
 */
static bool needs_barrier(struct accesses *noted, const struct recording *c)
{
    struct access list[TOUCHED_MOST];
    size_t n = 0;
    bool waits = c->rec->cfg->full_barriers || noted->n + TOUCHED_MOST > ACCESS_MOST;

    touch(list, &n, c->in, c->call->in_bytes, false);
    touch(list, &n, c->in2, c->call->in2_bytes, false);
    touch(list, &n, c->in3, c->call->in3_bytes, false);
    touch(list, &n, c->rows, c->call->rows_bytes, false);
    touch(list, &n, c->out, c->call->out_bytes, true);
    touch_cache(c, list, &n);
    for (size_t i = 0; i < n && !waits; i++)
        waits = conflicts(noted, &list[i]);
    if (waits)
        noted->n = 0;
    for (size_t i = 0; i < n; i++)
        noted->list[noted->n++] = list[i];
    return waits;
}

/* ---- calls to dispatches ---- */

/* What each step's dispatch is. */
static void (*const record_step[])(const struct recording *c, struct dispatch *d) = {
    [STEP_EMBED] = record_embed,
    [STEP_EMBED_POSITION] = record_embed,
    [STEP_EMBED_TYPE] = record_embed,
    [STEP_LAYER_NORM] = record_layer_norm,
    [STEP_NORM] = record_norm,
    [STEP_PLAIN_NORM] = record_norm,
    [STEP_HEAD_NORM] = record_norm,
    [STEP_MATMUL] = record_matmul,
    [STEP_MATMUL_ADD] = record_matmul,
    [STEP_ROPE] = record_rope,
    [STEP_ROPE_QUERY] = record_rope,
    [STEP_ROPE_INDEX] = record_rope_index,
    [STEP_TEMPERATURE] = record_temperature,
    [STEP_KV_STORE] = record_kv_store,
    [STEP_INDEX_STORE] = record_index_store,
    [STEP_INDEX_SCORES] = record_index_scores,
    [STEP_INDEX_CHOOSE] = record_index_choose,
    [STEP_ATTENTION] = record_attention,
    [STEP_GLU] = record_glu,
    [STEP_GATED] = record_glu,
    [STEP_ROUTE] = record_route,
    [STEP_GATE] = record_route,
    [STEP_COPY] = record_copy,
    [STEP_COPY_MORE] = record_copy,
    [STEP_HEADS] = record_experts,
    [STEP_EXPERTS] = record_experts,
    [STEP_EXPERT_SUM] = record_expert_sum,
    [STEP_EXPERT_MIX] = record_expert_sum,
    [STEP_SHORT_CONV] = record_short_conv,
    [STEP_DELTA_NET] = record_delta_net,
    [STEP_ADD] = record_add,
    [STEP_ADD_TYPE] = record_add,
    [STEP_SOFTCAP] = record_softcap,
    [STEP_GATHER] = record_gather,
};

static_assert(sizeof(record_step) / sizeof(record_step[0]) == STEP_COUNT,
              "a kind of step has no entry");

static uint64_t out_address(const struct recorder *r, const struct call *c)
{
    bool is_value = c->kind == CALL_NODE || c->kind == CALL_SCALE;

    if (r->cfg->host_logits && is_value && c->node->out == VALUE_LOGITS)
        return r->results + r->layout.logits;
    if (r->cfg->host_normed && c->kind == CALL_NODE && c->node->out == VALUE_LAST_NORMED)
        return r->results + r->layout.normed;
    return r->workspace + c->out;
}

/* piece: of the table that is looked up in; NULL where that is whole. */
static struct recording recording_of(const struct recorder *r, const struct call *c,
                                     const struct weight_piece *piece)
{
    const struct node *n = c->node;

    return (struct recording){
        .rec = r,
        .call = c,
        .model = r->model,
        .node = n,
        .dim = model_dims(r->model, n->layer),
        .piece = piece,
        .out = out_address(r, c),
        .in = r->workspace + c->in,
        .in2 = r->workspace + c->in2,
        .in3 = r->workspace + c->in3,
        .rows = r->workspace + c->rows,
        .out_width = value_width(r->model, n->layer, n->out),
        .in_width = value_width(r->model, n->layer, n->in),
    };
}

static void record_dispatch(struct recorder *r, const struct call *call,
                            const struct weight_piece *piece)
{
    const struct recording c = recording_of(r, call, piece);
    enum value rows_of = call->kind == CALL_QUANTIZE || !c.node->out ? c.node->in : c.node->out;
    struct dispatch *d = &r->list[r->n++];

    *d = (struct dispatch){
        .barrier = needs_barrier(&r->since_barrier, &c),
        .max_rows = value_rows(rows_of) == ROWS_TOKENS ? r->cfg->max_tokens : r->cfg->max_outputs,
        .label = c.node->weight->tensor ? c.node->weight->tensor->name : "",
    };
    r->n_barriers += d->barrier;
    switch (call->kind) {
    case CALL_NODE:
        record_step[c.node->op](&c, d);
        break;
    case CALL_QUANTIZE:
        record_quantize(&c, d);
        break;
    case CALL_EXPERT_ROWS:
        record_expert_rows(&c, d);
        break;
    case CALL_COMBINE:
        record_combine(&c, d);
        break;
    case CALL_SCALE:
        record_scale(&c, d);
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
