/* SPDX-License-Identifier: MIT */
/* The validation of dispatches, for every back end. */
#include "device/device_backend.h"

#include <errno.h>

struct checker {
    const struct device *dev;
    const struct dispatch *d;
    size_t index;
    struct error *err;
};

#define FAIL(c, fmt, ...)                                                                          \
    error_set((c)->err, EINVAL, "dispatch %zu (%s %s): " fmt, (c)->index,                          \
              kernel_op_name((c)->d->op), (c)->d->label ? (c)->d->label : "", __VA_ARGS__)

/* `count` items of `bytes` at `address` must lie in one live buffer. */
static int need(const struct checker *c, const char *what, addr_t address, uint64_t count,
                uint64_t bytes, unsigned align)
{
    uint64_t size, end, most = 0;

    if (__builtin_mul_overflow(count, bytes, &size) || __builtin_add_overflow(address, size, &end))
        return FAIL(c, "%s is larger than the address space", what);
    if (!size)
        return FAIL(c, "%s is empty", what);
    if (address % align)
        return FAIL(c, "%s at 0x%llx is not aligned to %u bytes", what, (unsigned long long)address,
                    align);
    for (size_t i = 0; i < c->dev->n_buffers; i++) {
        const struct buffer *b = c->dev->buffers[i];
        uint64_t left;

        if (address < b->address || address - b->address >= b->bytes)
            continue;
        left = b->bytes - (address - b->address);
        if (size <= left)
            return 0;
        /* Imported windows may overlap: another one may reach further. */
        most = left > most ? left : most;
    }
    if (most)
        return FAIL(c, "%s needs %llu bytes at 0x%llx but its buffer ends after %llu", what,
                    (unsigned long long)size, (unsigned long long)address,
                    (unsigned long long)most);
    return FAIL(c, "%s at 0x%llx lies in no buffer", what, (unsigned long long)address);
}

/* As need, for f32[rows][cols] of the dispatch. */
static int need_rows(const struct checker *c, const char *what, addr_t address, uint64_t n_cols)
{
    return need(c, what, address, (uint64_t)c->d->max_rows * sizeof(float), n_cols, sizeof(float));
}

static int need_step(const struct checker *c, addr_t step)
{
    return need(c, "step", step, 1, sizeof(struct step_header), 4);
}

static int need_tokens(const struct checker *c, addr_t step, addr_t tokens)
{
    int r = need_step(c, step);

    return r < 0 ? r : need(c, "tokens", tokens, c->d->max_rows, sizeof(struct step_token), 4);
}

static int need_weight(const struct checker *c, addr_t address, uint32_t n_rows, uint32_t n_cols)
{
    const struct gguf_type_info *info = gguf_type_get_info(c->d->weight_type);

    if (!kernel_supports_type(c->d->weight_type))
        return FAIL(c, "no kernel reads weights of type %u", (unsigned)c->d->weight_type);
    if (n_cols % info->block_elements)
        return FAIL(c, "rows of %u values are no whole blocks of %s", n_cols, info->name);
    /* As the blocks' size allows, up to 4: a GPU reads whole words of them. GGUF asks for multiples
     * of 8, so that only odd files are refused. */
    return need(c, "weight", address, n_rows, gguf_type_row_bytes(c->d->weight_type, n_cols),
                info->block_bytes % 4 == 0   ? 4
                : info->block_bytes % 2 == 0 ? 2
                                             : 1);
}

/* Rows of n_cols values in the dispatch's activation type, n_slots to each of the batch. */
static int need_activation(const struct checker *c, const char *what, addr_t address,
                           uint32_t n_slots, uint32_t n_cols)
{
    enum activation_type type = c->d->activation;

    if ((unsigned)type >= ACT_TYPE_COUNT)
        return FAIL(c, "no activation type has number %u", (unsigned)type);
    if (n_cols % activation_block(type))
        return FAIL(c, "%s: rows of %u values are no whole blocks", what, n_cols);
    return need(c, what, address, (uint64_t)c->d->max_rows * n_slots,
                activation_bytes(type, n_cols), 4);
}

static int check_rows_kind(const struct checker *c, u32 rows)
{
    return rows == ROWS_TOKENS || rows == ROWS_OUTPUTS ? 0 : FAIL(c, "rows is %u", rows);
}

static int check_embed(const struct checker *c)
{
    const struct args_embed *a = &c->d->args.embed;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0 && a->seqs)
        r = need(c, "seqs", a->seqs, 1, sizeof(struct step_seq), 8);
    if (r == 0)
        r = need_weight(c, a->table, a->n_rows, a->n_cols);
    return r < 0 ? r : need_rows(c, "out", a->out, a->n_cols);
}

static int check_rms_norm(const struct checker *c)
{
    const struct args_rms_norm *a = &c->d->args.rms_norm;
    uint64_t n_cols = (uint64_t)a->n_cols * a->n_groups;
    int r = need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0 && a->scale == 0.0f)
        r = FAIL(c, "a scale of %g", (double)a->scale);
    if (r == 0)
        r = need_rows(c, "x", a->x, n_cols);
    if (r == 0)
        r = need_rows(c, "out", a->out, n_cols);
    if (r == 0 && a->weight)
        r = need(c, "weight", a->weight, a->n_cols, sizeof(float), 4);
    return r;
}

static int check_layer_norm(const struct checker *c)
{
    const struct args_layer_norm *a = &c->d->args.layer_norm;
    int r = need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0)
        r = need_rows(c, "x", a->x, a->n_cols);
    if (r == 0)
        r = need_rows(c, "out", a->out, a->n_cols);
    if (r == 0)
        r = need(c, "weight", a->weight, a->n_cols, sizeof(float), 4);
    if (r == 0 && a->bias)
        r = need(c, "bias", a->bias, a->n_cols, sizeof(float), 4);
    return r;
}

static int check_quantize(const struct checker *c)
{
    const struct args_quantize *a = &c->d->args.quantize;
    int r = need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0 && c->d->activation == ACT_F32)
        r = FAIL(c, "%s", "f32 is no quantised activation type");
    if (r == 0)
        r = need_rows(c, "x", a->x, a->n_cols);
    return r < 0 ? r : need_activation(c, "out", a->out, 1, a->n_cols);
}

static int check_matmul(const struct checker *c)
{
    const struct args_matmul *a = &c->d->args.matmul;
    int r = need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0)
        r = need_weight(c, a->weight, a->n_rows, a->n_cols);
    if (r == 0)
        r = need_activation(c, "x", a->x, 1, a->n_cols);
    if (r == 0)
        r = need_rows(c, "out", a->out, a->n_rows);
    if (r == 0 && a->bias)
        r = need(c, "bias", a->bias, a->n_rows, sizeof(float), 4);
    return r;
}

static int check_rope(const struct checker *c)
{
    const struct args_rope *a = &c->d->args.rope;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0 && (!a->n_rot || a->n_rot % 2 || a->n_rot > a->n_channels))
        r = FAIL(c, "cannot turn %u of %u channels", a->n_rot, a->n_channels);
    if (r == 0 && a->style != ROPE_PAIRED && a->style != ROPE_SPLIT)
        r = FAIL(c, "style is %u", a->style);
    if (r == 0 && a->temp_scale > 0 && !(a->temp_floor > 0))
        r = FAIL(c, "temp_floor is %g", (double)a->temp_floor);
    if (r == 0)
        r = need_rows(c, "x", a->x, (uint64_t)a->n_heads * a->n_channels);
    if (r == 0 && a->factors)
        r = need(c, "factors", a->factors, a->n_rot / 2, sizeof(float), 4);
    return r;
}

/* has_values: keys alone are not enough. */
static int need_kv(const struct checker *c, const struct kv_layer *kv, addr_t seqs, bool has_values)
{
    uint64_t row_bytes =
        kv_row_bytes(kv->type, kv->n_channels_k) + kv_row_bytes(kv->type, kv->n_channels_v);
    unsigned align = kv->type == KV_Q8_0 ? 16 : 4;
    uint64_t used, total;
    int r = need(c, "seqs", seqs, 1, sizeof(struct step_seq), 8);

    if (r < 0)
        return r;
    if (!kv->n_kv_heads || !kv->n_channels_k || (has_values && !kv->n_channels_v) ||
        kv->n_channels_k > ATTENTION_CHANNELS_MAX || kv->n_channels_v > ATTENTION_CHANNELS_MAX)
        return FAIL(c, "a cache of %u heads with %u and %u channels", kv->n_kv_heads,
                    kv->n_channels_k, kv->n_channels_v);
    if (kv->type != KV_F16 && kv->type != KV_Q8_0)
        return FAIL(c, "no cache type has number %u", kv->type);
    if (kv->type == KV_Q8_0 && (kv->n_channels_k % KV_RUN || kv->n_channels_v % KV_RUN))
        return FAIL(c, "a q8_0 cache of heads with %u and %u channels, no multiples of %u",
                    kv->n_channels_k, kv->n_channels_v, KV_RUN);
    if (__builtin_mul_overflow(row_bytes * KV_BLOCK_TOKENS, (uint64_t)kv->n_kv_heads, &used) ||
        kv->block_bytes < used || kv->block_bytes % align)
        return FAIL(c, "a cache block of %llu bytes", (unsigned long long)kv->block_bytes);
    /* The last block need not be followed by the rest of its stride (layers lie interleaved). */
    if (!kv->n_blocks ||
        __builtin_mul_overflow(kv->block_bytes, (uint64_t)kv->n_blocks - 1, &total) ||
        __builtin_add_overflow(total, used, &total))
        return FAIL(c, "a cache of %u blocks", kv->n_blocks);
    return need(c, "cache", kv->base, 1, total, align);
}

static int check_kv_store(const struct checker *c)
{
    const struct args_kv_store *a = &c->d->args.kv_store;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0)
        r = need_kv(c, &a->kv, a->seqs, false);
    if (r == 0)
        r = need_rows(c, "k", a->k, (uint64_t)a->kv.n_kv_heads * a->kv.n_channels_k);
    return r < 0 || !a->kv.n_channels_v
               ? r
               : need_rows(c, "v", a->v, (uint64_t)a->kv.n_kv_heads * a->kv.n_channels_v);
}

static int check_splits(const struct checker *c, u32 n_splits, u32 least)
{
    return n_splits >= least && n_splits <= ATTENTION_SPLITS_MAX
               ? 0
               : FAIL(c, "positions in %u ranges", n_splits);
}

static int need_parts(const struct checker *c, addr_t address, u32 n_heads, u32 n_splits, u32 cv)
{
    return need(c, "parts", address, (uint64_t)c->d->max_rows * n_heads,
                n_splits * (uint64_t)(2 + cv) * sizeof(float), sizeof(float));
}

static int check_attention(const struct checker *c)
{
    const struct args_attention *a = &c->d->args.attention;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0)
        r = need_kv(c, &a->kv, a->seqs, true);
    if (r == 0 && (!a->n_heads || a->n_heads % a->kv.n_kv_heads))
        r = FAIL(c, "%u heads over %u key heads", a->n_heads, a->kv.n_kv_heads);
    if (r == 0)
        r = check_splits(c, a->n_splits, 1);
    if (r == 0 && a->n_splits > 1 && a->sinks)
        r = FAIL(c, "%s", "the sinks of ranges belong to what combines them");
    if (r == 0)
        r = need_rows(c, "q", a->q, (uint64_t)a->n_heads * a->kv.n_channels_k);
    if (r == 0)
        r = a->n_splits > 1
                ? need_parts(c, a->out, a->n_heads, a->n_splits, a->kv.n_channels_v)
                : need_rows(c, "out", a->out, (uint64_t)a->n_heads * a->kv.n_channels_v);
    if (r == 0 && a->sinks)
        r = need(c, "sinks", a->sinks, a->n_heads, sizeof(float), 4);
    if (r == 0 && a->chosen)
        r = need_rows(c, "chosen", a->chosen, a->chosen_words);
    return r;
}

static int check_index_scores(const struct checker *c)
{
    const struct args_index_scores *a = &c->d->args.index_scores;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0)
        r = need_kv(c, &a->kv, a->seqs, false);
    if (r == 0 && (a->kv.n_kv_heads != 1 || a->kv.n_channels_v))
        r = FAIL(c, "a cache of %u heads with values of %u channels", a->kv.n_kv_heads,
                 a->kv.n_channels_v);
    if (r == 0 && a->n_positions % KV_BLOCK_TOKENS)
        r = FAIL(c, "%u positions are no whole blocks", a->n_positions);
    if (r == 0)
        r = need_rows(c, "q", a->q, (uint64_t)a->n_heads * a->kv.n_channels_k);
    if (r == 0)
        r = need_rows(c, "weights", a->weights, a->n_heads);
    return r < 0 ? r : need_rows(c, "out", a->out, a->n_positions);
}

static int check_index_choose(const struct checker *c)
{
    const struct args_index_choose *a = &c->d->args.index_choose;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0 && (a->n_positions % 32 || !a->n_chosen))
        r = FAIL(c, "%u of %u positions", a->n_chosen, a->n_positions);
    if (r == 0)
        r = need_rows(c, "scores", a->scores, a->n_positions);
    return r < 0 ? r : need_rows(c, "out", a->out, a->n_positions / 32);
}

static int check_attention_combine(const struct checker *c)
{
    const struct args_attention_combine *a = &c->d->args.attention_combine;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0)
        r = check_splits(c, a->n_splits, 2);
    if (r == 0 && (!a->n_channels_v || a->n_channels_v > ATTENTION_CHANNELS_MAX))
        r = FAIL(c, "%u channels", a->n_channels_v);
    if (r == 0)
        r = need_parts(c, a->parts, a->n_heads, a->n_splits, a->n_channels_v);
    if (r == 0)
        r = need_rows(c, "out", a->out, (uint64_t)a->n_heads * a->n_channels_v);
    if (r == 0 && a->sinks)
        r = need(c, "sinks", a->sinks, a->n_heads, sizeof(float), 4);
    return r;
}

static int check_glu(const struct checker *c)
{
    const struct args_glu *a = &c->d->args.glu;
    int r = need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0 && a->activation != GLU_SILU && a->activation != GLU_GELU &&
        a->activation != GLU_CLAMPED && a->activation != GLU_SIGMOID)
        r = FAIL(c, "no activation has number %u", a->activation);
    if (r == 0)
        r = need_rows(c, "gate", a->gate, a->n_cols);
    if (r == 0)
        r = a->up || a->activation == GLU_CLAMPED ? need_rows(c, "up", a->up, a->n_cols) : 0;
    return r < 0 ? r : need_rows(c, "out", a->out, a->n_cols);
}

static int check_add(const struct checker *c)
{
    const struct args_add *a = &c->d->args.add;
    int r = need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0)
        r = need_rows(c, "x", a->x, a->n_cols);
    if (r == 0 && a->scale)
        r = need(c, "scale", a->scale, 1, sizeof(float), 4);
    return r < 0 ? r : need_rows(c, "y", a->y, a->n_cols);
}

static int check_softcap(const struct checker *c)
{
    const struct args_softcap *a = &c->d->args.softcap;
    int r = need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0 && !(a->cap > 0.0f))
        r = FAIL(c, "a cap of %g", (double)a->cap);
    return r < 0 ? r : need_rows(c, "x", a->x, a->n_cols);
}

static int check_n_experts(const struct checker *c, u32 n_experts, u32 n_used)
{
    return n_used && n_used <= n_experts && n_experts <= EXPERTS_MAX
               ? 0
               : FAIL(c, "%u of %u experts", n_used, n_experts);
}

static int need_choices(const struct checker *c, addr_t step, addr_t choices, u32 n_experts,
                        u32 n_used)
{
    int r = need_step(c, step);

    if (r == 0)
        r = check_n_experts(c, n_experts, n_used);
    return r < 0 ? r
                 : need(c, "choices", choices, (uint64_t)c->d->max_rows * n_used,
                        sizeof(struct expert_choice), 4);
}

static int check_route(const struct checker *c)
{
    const struct args_route *a = &c->d->args.route;
    int r = need_choices(c, a->step, a->out, a->n_experts, a->n_used);

    if (r == 0 && a->gate != GATE_SOFTMAX && a->gate != GATE_SIGMOID && a->gate != GATE_CHOSEN)
        r = FAIL(c, "no gate has number %u", a->gate);
    if (r == 0 && (!a->n_groups || a->n_experts % a->n_groups || !a->n_groups_used ||
                   a->n_groups_used > a->n_groups ||
                   a->n_used > a->n_experts / a->n_groups * a->n_groups_used))
        r = FAIL(c, "%u experts from %u of %u groups of %u", a->n_used, a->n_groups_used,
                 a->n_groups, a->n_experts);
    if (r == 0)
        r = need_rows(c, "logits", a->logits, a->n_experts);
    if (r == 0 && a->bias)
        r = need(c, "bias", a->bias, a->n_experts, sizeof(float), 4);
    if (r == 0 && a->scales)
        r = need(c, "scales", a->scales, a->n_experts, sizeof(float), 4);
    return r;
}

static int need_expert_rows(const struct checker *c, addr_t address, u32 n_experts, u32 n_used)
{
    return need(c, "rows by expert", address, 1,
                expert_rows_bytes(n_experts, n_used, c->d->max_rows), 4);
}

static int check_expert_rows(const struct checker *c)
{
    const struct args_expert_rows *a = &c->d->args.expert_rows;
    int r = need_choices(c, a->step, a->choices, a->n_experts, a->n_used);

    return r < 0 ? r : need_expert_rows(c, a->out, a->n_experts, a->n_used);
}

/* Who is chosen, and by whom: all that tells the rows of a product. */
static int check_product_rows(const struct checker *c)
{
    const struct args_matmul_experts *a = &c->d->args.matmul_experts;
    bool needs_rows = a->choices && c->d->max_rows > EXPERTS_FEW_ROWS;
    int r = a->choices ? need_choices(c, a->step, a->choices, a->n_experts, a->n_used)
                       : need_step(c, a->step);

    if (r == 0 && !a->choices && a->n_used != a->n_experts)
        r = FAIL(c, "%u slots of %u experts without choices", a->n_used, a->n_experts);
    if (r == 0 && needs_rows != (a->rows != 0))
        r = FAIL(c, "rows by expert are for choices of more than %u rows", EXPERTS_FEW_ROWS);
    return r == 0 && a->rows ? need_expert_rows(c, a->rows, a->n_experts, a->n_used) : r;
}

static int check_matmul_experts(const struct checker *c)
{
    const struct args_matmul_experts *a = &c->d->args.matmul_experts;
    int r = check_product_rows(c);

    if (r == 0 && (uint64_t)a->n_experts * a->n_rows > UINT32_MAX)
        r = FAIL(c, "%u experts of %u rows", a->n_experts, a->n_rows);
    if (r == 0)
        r = need_weight(c, a->weight, a->n_experts * a->n_rows, a->n_cols);
    if (r == 0)
        r = need_activation(c, "x", a->x, a->x_per_slot ? a->n_used : 1, a->n_cols);
    if (r == 0)
        r = need_rows(c, "out", a->out, (uint64_t)a->n_used * a->n_rows);
    if (r == 0 && a->bias)
        r = need(c, "bias", a->bias, (uint64_t)a->n_experts * a->n_rows, sizeof(float), 4);
    return r;
}

static int check_scale(const struct checker *c)
{
    const struct args_scale *a = &c->d->args.scale;
    int r = a->choices ? need_choices(c, a->step, a->choices, a->n_experts, a->n_used)
                       : need_step(c, a->step);

    if (r == 0)
        r = check_rows_kind(c, a->rows);
    if (r == 0 && !a->choices && a->n_used != a->n_experts)
        r = FAIL(c, "%u slots of %u experts without choices", a->n_used, a->n_experts);
    if (r == 0)
        r = need_rows(c, "x", a->x, (uint64_t)a->n_used * a->n_cols);
    if (r == 0 && a->accumulate && a->x == a->out)
        r = FAIL(c, "%s", "x and out are one");
    if (r == 0)
        r = need(c, "scale", a->scale, a->n_experts, sizeof(float), 4);
    if (r == 0 && a->bias)
        r = need(c, "bias", a->bias, (uint64_t)a->n_experts * a->n_cols, sizeof(float), 4);
    return r < 0 ? r : need_rows(c, "out", a->out, (uint64_t)a->n_used * a->n_cols);
}

static int check_expert_sum(const struct checker *c)
{
    const struct args_expert_sum *a = &c->d->args.expert_sum;
    int r = need_choices(c, a->step, a->choices, EXPERTS_MAX, a->n_used);

    if (r == 0)
        r = need_rows(c, "y", a->y, (uint64_t)a->n_used * a->n_cols);
    return r < 0 ? r : need_rows(c, "out", a->out, a->n_cols);
}

/* A slot of `bytes` for each sequence. */
static int need_state(const struct checker *c, const struct seq_state *state, addr_t seqs,
                      uint64_t bytes)
{
    int r = need(c, "seqs", seqs, 1, sizeof(struct step_seq), 8);

    if (r == 0 && (state->slot_bytes < bytes || state->slot_bytes % 4))
        r = FAIL(c, "slots of %llu bytes for a state of %llu",
                 (unsigned long long)state->slot_bytes, (unsigned long long)bytes);
    /* a slot is all layers': of the last one only this layer's part need be there */
    if (r == 0 && !state->n_slots)
        r = FAIL(c, "%s", "no slots");
    return r < 0 ? r
                 : need(c, "state", state->base, 1,
                        (state->n_slots - 1) * state->slot_bytes + bytes, 4);
}

static int check_short_conv(const struct checker *c)
{
    const struct args_short_conv *a = &c->d->args.short_conv;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0 && (a->n_taps < 2 || a->n_taps > CONV_TAPS_MAX))
        r = FAIL(c, "%u taps", a->n_taps);
    if (r == 0)
        r = need_state(c, &a->state, a->seqs,
                       (a->n_taps - 1) * (uint64_t)a->n_cols * sizeof(float));
    if (r == 0)
        r = need(c, "weight", a->weight, a->n_cols, a->n_taps * sizeof(float), 4);
    if (r == 0)
        r = need_rows(c, "x", a->x, a->n_cols);
    if (r == 0 && a->x == a->out)
        r = FAIL(c, "%s", "x and out are one");
    return r < 0 ? r : need_rows(c, "out", a->out, a->n_cols);
}

static int check_delta_shape(const struct checker *c)
{
    const struct args_delta_net *a = &c->d->args.delta_net;

    if (!a->n_heads_k || !a->n_heads_v || a->n_heads_v % a->n_heads_k)
        return FAIL(c, "%u heads over %u key heads", a->n_heads_v, a->n_heads_k);
    if (!a->n_channels_k || a->n_channels_k > DELTA_CHANNELS_MAX || !a->n_channels_v ||
        a->n_channels_v > DELTA_CHANNELS_MAX)
        return FAIL(c, "%u and %u channels", a->n_channels_k, a->n_channels_v);
    if (a->order != DELTA_GROUPED && a->order != DELTA_TILED)
        return FAIL(c, "no order of heads has number %u", a->order);
    return 0;
}

static int check_delta_net(const struct checker *c)
{
    const struct args_delta_net *a = &c->d->args.delta_net;
    uint64_t keys = (uint64_t)a->n_heads_k * a->n_channels_k;
    uint64_t values = (uint64_t)a->n_heads_v * a->n_channels_v;
    int r = need_tokens(c, a->step, a->tokens);

    if (r == 0)
        r = check_delta_shape(c);
    if (r == 0)
        r = need_state(c, &a->state, a->seqs, values * a->n_channels_k * sizeof(float));
    if (r == 0)
        r = need_rows(c, "x", a->x, 2 * keys + values);
    if (r == 0)
        r = need_rows(c, "alpha", a->alpha, a->n_heads_v);
    if (r == 0)
        r = need_rows(c, "beta", a->beta, a->n_heads_v);
    if (r == 0)
        r = need(c, "a", a->a, a->n_heads_v, sizeof(float), 4);
    if (r == 0)
        r = need(c, "dt_bias", a->dt_bias, a->n_heads_v, sizeof(float), 4);
    return r < 0 ? r : need_rows(c, "out", a->out, values);
}

static int check_copy(const struct checker *c)
{
    const struct args_copy *a = &c->d->args.copy;
    int r = need_step(c, a->step);

    if (r == 0 &&
        ((uint64_t)a->x_first + a->n > a->x_cols || (uint64_t)a->out_first + a->n > a->out_cols))
        r = FAIL(c, "%u values from %u of %u to %u of %u", a->n, a->x_first, a->x_cols,
                 a->out_first, a->out_cols);
    if (r == 0)
        r = need_rows(c, "x", a->x, (uint64_t)a->n_groups * a->x_cols);
    return r < 0 ? r : need_rows(c, "out", a->out, (uint64_t)a->n_groups * a->out_cols);
}

static int check_gather(const struct checker *c)
{
    const struct args_gather *a = &c->d->args.gather;
    int r = need_step(c, a->step);

    if (r == 0)
        r = need(c, "output_rows", a->output_rows, c->d->max_rows, sizeof(uint32_t), 4);
    if (r == 0)
        r = need_rows(c, "x", a->x, a->n_cols);
    return r < 0 ? r : need_rows(c, "out", a->out, a->n_cols);
}

static int check_sample(const struct checker *c)
{
    const struct args_sample *a = &c->d->args.sample;
    uint32_t n = c->d->max_rows;
    int r = need_step(c, a->step);

    if (r == 0)
        r = need(c, "samples", a->samples, n, sizeof(struct step_sample), 8);
    if (r == 0)
        r = need_rows(c, "logits", a->logits, a->n_vocab);
    if (r == 0)
        r = need(c, "results", a->results, n, sizeof(struct sample_result), 4);
    return r < 0 ? r : need(c, "scratch", a->scratch, n, sample_scratch_bytes(a->n_vocab), 4);
}

typedef int check_fn(const struct checker *c);

static check_fn *const checks[KERNEL_OP_COUNT] = {
    [KERNEL_EMBED] = check_embed,
    [KERNEL_RMS_NORM] = check_rms_norm,
    [KERNEL_LAYER_NORM] = check_layer_norm,
    [KERNEL_QUANTIZE] = check_quantize,
    [KERNEL_MATMUL] = check_matmul,
    [KERNEL_ROPE] = check_rope,
    [KERNEL_KV_STORE] = check_kv_store,
    [KERNEL_ATTENTION] = check_attention,
    [KERNEL_ATTENTION_COMBINE] = check_attention_combine,
    [KERNEL_INDEX_SCORES] = check_index_scores,
    [KERNEL_INDEX_CHOOSE] = check_index_choose,
    [KERNEL_GLU] = check_glu,
    [KERNEL_ADD] = check_add,
    [KERNEL_SOFTCAP] = check_softcap,
    [KERNEL_ROUTE] = check_route,
    [KERNEL_EXPERT_ROWS] = check_expert_rows,
    [KERNEL_MATMUL_EXPERTS] = check_matmul_experts,
    [KERNEL_SCALE] = check_scale,
    [KERNEL_EXPERT_SUM] = check_expert_sum,
    [KERNEL_SHORT_CONV] = check_short_conv,
    [KERNEL_DELTA_NET] = check_delta_net,
    [KERNEL_COPY] = check_copy,
    [KERNEL_GATHER] = check_gather,
    [KERNEL_SAMPLE] = check_sample,
};

int device_check_dispatch(const struct device *dev, size_t index, const struct dispatch *d,
                          struct error *err)
{
    const struct checker c = {dev, d, index, err};

    if ((unsigned)d->op >= KERNEL_OP_COUNT)
        return error_set(err, EINVAL, "dispatch %zu: no kernel has number %u", index,
                         (unsigned)d->op);
    if (!d->max_rows || d->max_rows > dev->info.max_rows)
        return FAIL(&c, "%u rows; this device takes 1 to %u", d->max_rows, dev->info.max_rows);
    return checks[d->op](&c);
}
