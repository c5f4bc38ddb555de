/* SPDX-License-Identifier: MIT */
#include "accesses.h"

#include "harness.h"

struct access {
    uint64_t begin, end;
    bool is_write;
};

enum { ACCESSES_MOST = 4 };

static struct access floats(addr_t at, uint64_t rows, uint64_t cols, bool is_write)
{
    return (struct access){at, at + rows * cols * sizeof(float), is_write};
}

static struct access cache(const struct kv_layer *kv, bool is_write)
{
    return (struct access){kv->base, kv->base + kv->n_blocks * kv->block_bytes, is_write};
}

static size_t expert_accesses(const struct dispatch *d, struct access *a)
{
    const struct args_matmul_experts *x = &d->args.matmul_experts;
    uint64_t pairs = (uint64_t)d->max_rows * x->n_used;

    a[0] = (struct access){x->x, x->x, false};
    a[0].end += (x->x_per_slot ? pairs : d->max_rows) * activation_bytes(d->activation, x->n_cols);
    a[1] = floats(x->out, pairs, x->n_rows, true);
    if (!x->choices)
        return 2;
    a[2] = floats(x->choices, pairs, 2, false);
    a[3] = (struct access){x->rows, x->rows, false};
    a[3].end += expert_rows_bytes(x->n_experts, x->n_used, d->max_rows);
    return x->rows ? 4 : 3;
}

static size_t delta_accesses(const struct args_delta_net *x, uint64_t rows, struct access *a)
{
    uint64_t values = (uint64_t)x->n_heads_v * x->n_channels_v;

    a[0] = floats(x->x, rows, 2ull * x->n_heads_k * x->n_channels_k + values, false);
    a[1] = floats(x->alpha, rows, x->n_heads_v, false);
    a[2] = floats(x->beta, rows, x->n_heads_v, false);
    a[3] = floats(x->out, rows, values, true);
    return 4;
}

static size_t accesses(const struct dispatch *d, uint32_t max_tokens, struct access *a)
{
    const union kernel_args *x = &d->args;
    uint64_t rows = d->max_rows, kv_channels;

    switch (d->op) {
    case KERNEL_EMBED:
        a[0] = floats(x->embed.out, rows, x->embed.n_cols, true);
        return 1;
    case KERNEL_RMS_NORM:
        a[0] = floats(x->rms_norm.x, rows, x->rms_norm.n_cols * x->rms_norm.n_groups, false);
        a[1] = floats(x->rms_norm.out, rows, x->rms_norm.n_cols * x->rms_norm.n_groups, true);
        return 2;
    case KERNEL_LAYER_NORM:
        a[0] = floats(x->layer_norm.x, rows, x->layer_norm.n_cols, false);
        a[1] = floats(x->layer_norm.out, rows, x->layer_norm.n_cols, true);
        return 2;
    case KERNEL_QUANTIZE:
        a[0] = floats(x->quantize.x, rows, x->quantize.n_cols, false);
        a[1] = (struct access){x->quantize.out, x->quantize.out, true};
        a[1].end += rows * activation_bytes(d->activation, x->quantize.n_cols);
        return 2;
    case KERNEL_MATMUL:
        a[0] = (struct access){x->matmul.x, x->matmul.x, false};
        a[0].end += rows * activation_bytes(d->activation, x->matmul.n_cols);
        a[1] = floats(x->matmul.out, rows, x->matmul.n_rows, true);
        return 2;
    case KERNEL_ROPE:
        a[0] = floats(x->rope.x, rows, x->rope.n_heads * x->rope.n_channels, true);
        return 1;
    case KERNEL_KV_STORE:
        kv_channels = x->kv_store.kv.n_kv_heads * x->kv_store.kv.n_channels_k;
        a[0] = floats(x->kv_store.k, rows, kv_channels, false);
        kv_channels = x->kv_store.kv.n_kv_heads * x->kv_store.kv.n_channels_v;
        a[1] = floats(x->kv_store.v, rows, kv_channels, false);
        a[2] = cache(&x->kv_store.kv, true);
        return 3;
    case KERNEL_ATTENTION:
        kv_channels = x->attention.n_heads * x->attention.kv.n_channels_k;
        a[0] = floats(x->attention.q, rows, kv_channels, false);
        a[1] = cache(&x->attention.kv, false);
        kv_channels = x->attention.n_heads * x->attention.kv.n_channels_v;
        if (x->attention.n_splits > 1)
            kv_channels += 2ull * x->attention.n_heads;
        a[2] = floats(x->attention.out, rows, kv_channels * x->attention.n_splits, true);
        a[3] = floats(x->attention.chosen, rows, x->attention.chosen_words, false);
        return x->attention.chosen ? 4 : 3;
    case KERNEL_INDEX_SCORES:
        kv_channels = x->index_scores.n_heads * x->index_scores.kv.n_channels_k;
        a[0] = floats(x->index_scores.q, rows, kv_channels, false);
        a[1] = floats(x->index_scores.weights, rows, x->index_scores.n_heads, false);
        a[2] = floats(x->index_scores.out, rows, x->index_scores.n_positions, true);
        a[3] = cache(&x->index_scores.kv, false);
        return 4;
    case KERNEL_INDEX_CHOOSE:
        a[0] = floats(x->index_choose.scores, rows, x->index_choose.n_positions, false);
        a[1] = floats(x->index_choose.out, rows, x->index_choose.n_positions / 32, true);
        return 2;
    case KERNEL_ATTENTION_COMBINE:
        kv_channels = x->attention_combine.n_channels_v;
        a[0] = floats(x->attention_combine.parts, rows * x->attention_combine.n_heads,
                      x->attention_combine.n_splits * (2 + kv_channels), false);
        a[1] = floats(x->attention_combine.out, rows * x->attention_combine.n_heads, kv_channels,
                      true);
        return 2;
    case KERNEL_GLU:
        a[0] = floats(x->glu.gate, rows, x->glu.n_cols, false);
        a[1] = floats(x->glu.up, rows, x->glu.n_cols, false);
        a[2] = floats(x->glu.out, rows, x->glu.n_cols, true);
        return 3;
    case KERNEL_COPY: /* the rest of out stays, so that it counts as written */
        a[0] = floats(x->copy.x, rows * x->copy.n_groups, x->copy.x_cols, false);
        a[1] = floats(x->copy.out, rows * x->copy.n_groups, x->copy.out_cols, true);
        return 2;
    case KERNEL_GATHER:
        a[0] = floats(x->gather.x, max_tokens, x->gather.n_cols, false);
        a[1] = floats(x->gather.out, rows, x->gather.n_cols, true);
        return 2;
    case KERNEL_SAMPLE:
        a[0] = floats(x->sample.logits, rows, x->sample.n_vocab, true);
        return 1;
    case KERNEL_ROUTE:
        a[0] = floats(x->route.logits, rows, x->route.n_experts, false);
        a[1] = floats(x->route.out, rows, 2ull * x->route.n_used, true);
        return 2;
    case KERNEL_EXPERT_ROWS:
        a[0] = floats(x->expert_rows.choices, rows, 2ull * x->expert_rows.n_used, false);
        a[1] = (struct access){x->expert_rows.out, x->expert_rows.out, true};
        a[1].end += expert_rows_bytes(x->expert_rows.n_experts, x->expert_rows.n_used, d->max_rows);
        return 2;
    case KERNEL_MATMUL_EXPERTS:
        return expert_accesses(d, a);
    case KERNEL_SCALE:
        a[0] = floats(x->scale.x, rows * x->scale.n_used, x->scale.n_cols, false);
        a[1] = floats(x->scale.out, rows * x->scale.n_used, x->scale.n_cols, true);
        a[2] = floats(x->scale.choices, rows, 2ull * x->scale.n_used, false);
        return x->scale.choices ? 3 : 2;
    case KERNEL_EXPERT_SUM:
        a[0] = floats(x->expert_sum.y, rows * x->expert_sum.n_used, x->expert_sum.n_cols, false);
        a[1] = floats(x->expert_sum.choices, rows, 2ull * x->expert_sum.n_used, false);
        a[2] = floats(x->expert_sum.out, rows, x->expert_sum.n_cols, true);
        return 3;
    case KERNEL_ADD:
        a[0] = floats(x->add.x, rows, x->add.n_cols, true);
        a[1] = floats(x->add.y, rows, x->add.n_cols, false);
        return 2;
    case KERNEL_SOFTCAP:
        a[0] = floats(x->softcap.x, rows, x->softcap.n_cols, true);
        return 1;
    case KERNEL_SHORT_CONV: /* a state is one call's alone, so that it orders nothing */
        a[0] = floats(x->short_conv.x, rows, x->short_conv.n_cols, false);
        a[1] = floats(x->short_conv.out, rows, x->short_conv.n_cols, true);
        return 2;
    case KERNEL_DELTA_NET:
        return delta_accesses(&x->delta_net, rows, a);
    case KERNEL_OP_COUNT:
        break;
    }
    fail_msg("kernel %s is not expected here", kernel_op_name(d->op));
    return 0;
}

bool accesses_depend(const struct dispatch *d, const struct dispatch *e, uint32_t max_tokens)
{
    struct access a[ACCESSES_MOST], b[ACCESSES_MOST];
    size_t n = accesses(d, max_tokens, a), m = accesses(e, max_tokens, b);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m; k++)
            if (a[i].begin < b[k].end && b[k].begin < a[i].end && (a[i].is_write || b[k].is_write))
                return true;
    return false;
}
