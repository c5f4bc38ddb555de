/* SPDX-License-Identifier: MIT */
#include "model/dims.h"

#include "kernels/args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Large enough for any model there is, small enough that no product of three overflows 64 bits. The
 * layers are fewer: tables of tensors per layer are searched without an index. */
enum { DIM_LIMIT = 1 << 21, LAYERS_LIMIT = 1024 };

static void full_key(char *out, size_t size, const struct arch *arch, const char *key)
{
    snprintf(out, size, "%s.%s", arch->name, key);
}

/* The value of a key, or a layer's element of one that has one for each. */
static int read_value(const struct gguf *g, const struct arch_dim *row, const char *key,
                      uint32_t layer, uint32_t n_layers, uint32_t *ret, struct error *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);

    if (!row->may_differ || kv->type != GGUF_VALUE_ARRAY)
        return gguf_get_u32(g, key, ret, err);
    if (kv->array.n < n_layers || !gguf_array_get_u32(&kv->array, layer, ret))
        return error_set(err, EINVAL, "%s holds no count for each of %u layers", key, n_layers);
    return 0;
}

/* Sets what the row is for in dim; of a key that has a value for each layer, that of `layer`. */
static int read_dim(const struct gguf *g, const struct arch *arch, const struct arch_dim *row,
                    uint32_t layer, uint32_t *dim, struct error *err)
{
    char key[128];
    uint32_t value;
    int r;

    full_key(key, sizeof(key), arch, row->key);
    if (!gguf_find(g, key)) {
        switch (row->when_absent) {
        case KEY_OR_DIM:
            dim[row->dim] = dim[row->dim_a];
            return 0;
        case KEY_OR_QUOTIENT:
            if (dim[row->dim_a] % dim[row->dim_b])
                return error_set(err, EINVAL,
                                 "%s is missing and cannot be derived: %u is not a multiple of %u",
                                 key, dim[row->dim_a], dim[row->dim_b]);
            dim[row->dim] = dim[row->dim_a] / dim[row->dim_b];
            return 0;
        case KEY_OR_ZERO:
            return 0;
        case KEY_OR_VALUE:
            dim[row->dim] = row->value;
            return 0;
        case KEY_REQUIRED:
            break;
        }
        return error_set(err, EINVAL, "the metadata key %s is missing: not a complete %s model",
                         key, arch->name);
    }
    r = read_value(g, row, key, layer, dim[DIM_LAYERS], &value, err);
    if (r < 0)
        return r;
    if ((!value && row->when_absent != KEY_OR_ZERO) ||
        (row->dim == DIM_LAYERS && value > LAYERS_LIMIT) ||
        (value > DIM_LIMIT && row->dim != DIM_CONTEXT && row->dim != DIM_ROPE_CONTEXT))
        return error_set(err, EINVAL, "%s is %u: no model has that", key, value);
    dim[row->dim] = value;
    return 0;
}

static int read_real(const struct gguf *g, const struct arch *arch, const struct arch_real *row,
                     struct dims *d, struct error *err)
{
    char key[128];
    int r;

    full_key(key, sizeof(key), arch, row->key);
    d->real[row->real] = row->value;
    if (!gguf_find(g, key)) {
        if (row->is_required)
            return error_set(err, EINVAL, "the metadata key %s is missing: not a complete %s model",
                             key, arch->name);
        return 0;
    }
    r = gguf_get_f32(g, key, &d->real[row->real], err);
    if (r < 0)
        return r;
    if (!isfinite(d->real[row->real]))
        return error_set(err, EINVAL, "%s is not a finite number", key);
    return 0;
}

static bool has_role(const struct arch *arch, enum weight role)
{
    for (const struct arch_weight *row = arch->weights; row->pattern; row++)
        if (row->role == role)
            return true;
    return false;
}

/* The scaling type says how the factor is meant; a factor alone means linear. */
static int read_scaling(const struct gguf *g, const struct arch *arch, struct dims *d,
                        struct error *err)
{
    char key[128];
    struct gguf_str type;
    int r;

    full_key(key, sizeof(key), arch, "rope.scaling.type");
    if (gguf_find(g, key)) {
        r = gguf_get_str(g, key, &type, err);
        if (r < 0)
            return r;
        if (!strcmp(type.data, "none"))
            d->real[REAL_ROPE_FACTOR] = 1.0f;
        else if (!strcmp(type.data, "yarn"))
            d->is_yarn = true;
        else if (strcmp(type.data, "linear") &&
                 (strcmp(type.data, "longrope") || !has_role(arch, WEIGHT_ROPE_FACTORS_LONG)))
            return error_set(err, ENOTSUP,
                             "%s is \"%.40s\": this version knows none, linear and yarn", key,
                             type.data);
    }
    full_key(key, sizeof(key), arch, "rope.scaling.finetuned");
    if (arch->turns_if_finetuned && gguf_find(g, key)) {
        bool turns;

        r = gguf_get_bool(g, key, &turns, err);
        if (r < 0)
            return r;
        if (!turns)
            return error_set(err, ENOTSUP,
                             "%s is false: this version takes only models that rotate", key);
    }
    full_key(key, sizeof(key), arch, "rope.scaling.factor");
    if (d->real[REAL_ROPE_FACTOR] == 0.0f)
        d->real[REAL_ROPE_FACTOR] = 1.0f;
    if (d->real[REAL_ROPE_FACTOR] < 0.0f)
        return error_set(err, EINVAL, "%s is negative", key);
    full_key(key, sizeof(key), arch, "rope.freq_base");
    if (d->real[REAL_ROPE_BASE] <= 1.0f)
        return error_set(err, EINVAL, "%s is %g: it must be above 1", key,
                         (double)d->real[REAL_ROPE_BASE]);
    full_key(key, sizeof(key), arch, "rope.freq_base_swa");
    if (d->real[REAL_ROPE_BASE_LOCAL] <= 1.0f && d->real[REAL_ROPE_BASE_LOCAL] != 0.0f)
        return error_set(err, EINVAL, "%s is %g: it must be above 1", key,
                         (double)d->real[REAL_ROPE_BASE_LOCAL]);
    return 0;
}

/* The vocabulary's size is the number of tokens; the key exists only in some files. */
static int read_vocab(const struct gguf *g, struct dims *d, struct error *err)
{
    const struct gguf_tensor *embd = gguf_find_tensor(g, "token_embd.weight");

    if (!embd || embd->n_dims != 2)
        return error_set(err, EINVAL,
                         "the tensor token_embd.weight is missing: not a language "
                         "model, or a part of one");
    if (!embd->shape[1] || embd->shape[1] > DIM_LIMIT * 2)
        return error_set(err, EINVAL, "token_embd.weight has %llu rows: no vocabulary has that",
                         (unsigned long long)embd->shape[1]);
    d->dim[DIM_VOCAB] = (uint32_t)embd->shape[1];
    return 0;
}

/* How many kinds of text there are, only the tensor tells. */
static int read_token_types(const struct gguf *g, struct dims *d, struct error *err)
{
    const struct gguf_tensor *types = gguf_find_tensor(g, "token_types.weight");

    if (types && (!types->shape[1] || types->shape[1] > DIM_LIMIT))
        return error_set(err, EINVAL, "token_types.weight has %llu rows: no model has that",
                         (unsigned long long)types->shape[1]);
    d->dim[DIM_TOKEN_TYPES] = types ? (uint32_t)types->shape[1] : 0;
    return 0;
}

/* block_count includes what predicts further tokens. */
static int check_layers(const struct arch *arch, struct dims *d, struct error *err)
{
    if (d->dim[DIM_NEXT] >= d->dim[DIM_LAYERS])
        return error_set(err, EINVAL, "%s.nextn_predict_layers is %u of %u layers", arch->name,
                         d->dim[DIM_NEXT], d->dim[DIM_LAYERS]);
    d->dim[DIM_LAYERS] -= d->dim[DIM_NEXT];
    if (d->dim[DIM_LEADING] > d->dim[DIM_LAYERS])
        return error_set(err, EINVAL, "%s.leading_dense_block_count is %u of %u layers", arch->name,
                         d->dim[DIM_LEADING], d->dim[DIM_LAYERS]);
    return 0;
}

/* Of multi-head latent attention: one head of [rotated part, latent] for all. */
static int check_latents(const struct arch *arch, const struct dims *d, struct error *err)
{
    const uint32_t *dim = d->dim;

    if (!dim[DIM_KV_RANK])
        return 0;
    if (dim[DIM_KV_HEADS] != 1 || dim[DIM_HEAD_K] != dim[DIM_KV_RANK] + dim[DIM_ROPE] ||
        dim[DIM_HEAD_V] != dim[DIM_KV_RANK])
        return error_set(err, EINVAL,
                         "%s.attention.key_length %u and value_length %u of %u heads are not those "
                         "of a latent of %u channels (kv_lora_rank) with %u rotated ones",
                         arch->name, dim[DIM_HEAD_K], dim[DIM_HEAD_V], dim[DIM_KV_HEADS],
                         dim[DIM_KV_RANK], dim[DIM_ROPE]);
    if (dim[DIM_INDEXER_HEAD] &&
        (dim[DIM_INDEXER_HEAD] < dim[DIM_ROPE] || dim[DIM_INDEXER_HEAD] > ATTENTION_CHANNELS_MAX))
        return error_set(err, EINVAL,
                         "%s.attention.indexer.key_length %u must be at least the %u rotated "
                         "channels and at most %u",
                         arch->name, dim[DIM_INDEXER_HEAD], dim[DIM_ROPE], ATTENTION_CHANNELS_MAX);
    if (dim[DIM_HEAD_K_MLA] <= dim[DIM_ROPE])
        return error_set(err, EINVAL,
                         "%s.attention.key_length_mla %u is not above the %u channels that are "
                         "rotated",
                         arch->name, dim[DIM_HEAD_K_MLA], dim[DIM_ROPE]);
    return 0;
}

static void derive_latents(uint32_t *dim)
{
    uint32_t heads = dim[DIM_HEADS];

    if (!dim[DIM_KV_RANK])
        return;
    dim[DIM_NOPE] = dim[DIM_HEAD_K_MLA] - dim[DIM_ROPE];
    dim[DIM_Q_MLA] = heads * dim[DIM_HEAD_K_MLA];
    dim[DIM_Q_NOPE] = heads * dim[DIM_NOPE];
    dim[DIM_Q_LATENT] = heads * dim[DIM_KV_RANK];
    dim[DIM_ATT_MLA] = heads * dim[DIM_HEAD_V_MLA];
}

/* Of layers with a delta rule, and of the attention between them. */
static int check_delta(const struct arch *arch, const struct dims *d, struct error *err)
{
    const uint32_t *dim = d->dim;
    uint32_t heads_k = dim[DIM_DELTA_HEADS_K], heads_v = dim[DIM_DELTA_HEADS_V];

    if (!dim[DIM_TAPS])
        return 0;
    if (dim[DIM_LAYERS] < dim[DIM_PERIOD])
        return error_set(err, EINVAL,
                         "%s.full_attention_interval is %u of %u layers: none would have attention",
                         arch->name, dim[DIM_PERIOD], dim[DIM_LAYERS]);
    if (heads_v % heads_k || dim[DIM_DELTA_V] % heads_v)
        return error_set(err, EINVAL,
                         "%s.ssm.inner_size %u in %u heads (time_step_rank) for %u heads of keys "
                         "(group_count): the one must be a multiple of the other",
                         arch->name, dim[DIM_DELTA_V], heads_v, heads_k);
    if (dim[DIM_DELTA_HEAD_K] > DELTA_CHANNELS_MAX ||
        dim[DIM_DELTA_V] / heads_v > DELTA_CHANNELS_MAX)
        return error_set(err, ENOTSUP,
                         "%s.ssm.state_size is %u, with %u channels of a value head: this version "
                         "takes up to %u",
                         arch->name, dim[DIM_DELTA_HEAD_K], dim[DIM_DELTA_V] / heads_v,
                         DELTA_CHANNELS_MAX);
    if (dim[DIM_TAPS] < 2 || dim[DIM_TAPS] > CONV_TAPS_MAX)
        return error_set(err, ENOTSUP, "%s.ssm.conv_kernel is %u: this version takes 2 to %u",
                         arch->name, dim[DIM_TAPS], CONV_TAPS_MAX);
    if (dim[DIM_HEAD_K] != dim[DIM_HEAD_V])
        return error_set(err, EINVAL,
                         "%s.attention.key_length %u is not its value_length %u, of which each "
                         "channel has a gate",
                         arch->name, dim[DIM_HEAD_K], dim[DIM_HEAD_V]);
    return 0;
}

static void derive_delta(uint32_t *dim)
{
    if (!dim[DIM_TAPS])
        return;
    dim[DIM_Q_GATED] = 2 * dim[DIM_Q];
    dim[DIM_DELTA_HEAD_V] = dim[DIM_DELTA_V] / dim[DIM_DELTA_HEADS_V];
    dim[DIM_DELTA_QKV] = 2 * dim[DIM_DELTA_HEADS_K] * dim[DIM_DELTA_HEAD_K] + dim[DIM_DELTA_V];
    dim[DIM_DELTA_GROUP] = dim[DIM_DELTA_HEADS_V] / dim[DIM_DELTA_HEADS_K];
    dim[DIM_DELTA_BETA_ALPHA] = 2 * dim[DIM_DELTA_HEADS_V];
    dim[DIM_DELTA_K] = dim[DIM_DELTA_HEADS_K] * dim[DIM_DELTA_HEAD_K];
    dim[DIM_DELTA_QK] = 2 * dim[DIM_DELTA_K];
    dim[DIM_DELTA_QKVZ] = dim[DIM_DELTA_QKV] + dim[DIM_DELTA_V];
    dim[DIM_DELTA_GROUP_V] = dim[DIM_DELTA_GROUP] * dim[DIM_DELTA_HEAD_V];
    dim[DIM_DELTA_PAST_K] = 2 * dim[DIM_DELTA_HEAD_K];
    dim[DIM_DELTA_PAST_V] = dim[DIM_DELTA_PAST_K] + dim[DIM_DELTA_GROUP_V];
}

/* Text has one position for all of rope.dimension_sections, so that they do not matter; but a pair
 * of channels that none of the three has would not be rotated. They take turns by pairs. */
static int check_sections(const struct gguf *g, const struct arch *arch, const struct dims *d,
                          struct error *err)
{
    const struct gguf_kv *kv;
    char key[128];
    uint32_t n[3];

    full_key(key, sizeof(key), arch, "rope.dimension_sections");
    kv = gguf_find(g, key);
    if (!kv)
        return 0;
    for (size_t i = 0; i < 3; i++)
        if (kv->type != GGUF_VALUE_ARRAY || i >= kv->array.n ||
            !gguf_array_get_u32(&kv->array, i, &n[i]))
            return error_set(err, EINVAL, "%s has not three sections of channels", key);
    for (uint32_t pair = 0; pair < d->dim[DIM_ROPE] / 2; pair++)
        if (!arch->turns_all && pair / 3 >= n[pair % 3])
            return error_set(err, ENOTSUP,
                             "%s is [%u, %u, %u], which leaves out pair %u of the %u that are "
                             "rotated: this version takes only sections that cover all",
                             key, n[0], n[1], n[2], pair, d->dim[DIM_ROPE] / 2);
    return 0;
}

static int check_heads(const struct arch *arch, const uint32_t *dim, struct error *err)
{
    uint32_t wider = dim[DIM_HEAD_K] > dim[DIM_HEAD_V] ? dim[DIM_HEAD_K] : dim[DIM_HEAD_V];

    if (dim[DIM_HEADS] % dim[DIM_KV_HEADS])
        return error_set(err, EINVAL,
                         "%s.attention.head_count %u is not a multiple of head_count_kv %u",
                         arch->name, dim[DIM_HEADS], dim[DIM_KV_HEADS]);
    if (dim[DIM_ROPE] % 2 || dim[DIM_ROPE] > dim[DIM_HEAD_K])
        return error_set(err, EINVAL,
                         "%s.rope.dimension_count %u must be even and at most the %u channels of "
                         "a head",
                         arch->name, dim[DIM_ROPE], dim[DIM_HEAD_K]);
    if ((uint64_t)dim[DIM_HEADS] * wider > DIM_LIMIT)
        return error_set(err, EINVAL, "%u heads of %u channels: no model has that", dim[DIM_HEADS],
                         dim[DIM_HEAD_K]);
    return 0;
}

/* What follows from the keys' dimensions. */
static void derive(uint32_t *dim)
{
    dim[DIM_Q] = dim[DIM_HEADS] * dim[DIM_HEAD_K];
    dim[DIM_K] = dim[DIM_KV_HEADS] * dim[DIM_HEAD_K];
    dim[DIM_V] = dim[DIM_KV_HEADS] * dim[DIM_HEAD_V];
    dim[DIM_ATT] = dim[DIM_HEADS] * dim[DIM_HEAD_V];
    dim[DIM_QK] = dim[DIM_Q] + dim[DIM_K];
    dim[DIM_QKV] = dim[DIM_QK] + dim[DIM_V];
    dim[DIM_INDEXER_Q] = dim[DIM_INDEXER_HEADS] * dim[DIM_INDEXER_HEAD];
    dim[DIM_GATE_UP] = 2 * dim[DIM_FF];
    dim[DIM_ROPE_PAIRS] = dim[DIM_ROPE] / 2;
    derive_latents(dim);
    derive_delta(dim);
    if (dim[DIM_EXPERTS_SHARED])
        dim[DIM_FF_SHARED] = dim[DIM_EXPERTS_SHARED] * dim[DIM_FF_EXPERT];
    dim[DIM_CHOICE] = sizeof(struct expert_choice) / sizeof(uint32_t);
    dim[DIM_CHOICES] = dim[DIM_EXPERTS_USED] * dim[DIM_CHOICE];
    dim[DIM_EXPERTS_FF] = dim[DIM_EXPERTS_USED] * dim[DIM_FF_EXPERT];
    dim[DIM_EXPERTS_EMBD] = dim[DIM_EXPERTS_USED] * dim[DIM_EMBD];
    dim[DIM_GATE_UP_EXPERT] = 2 * dim[DIM_FF_EXPERT];
    dim[DIM_GATE_UP_EXPERTS] = 2 * dim[DIM_EXPERTS_FF];
    dim[DIM_PER_LAYERS] = dim[DIM_LAYERS] * dim[DIM_PER_LAYER];
}

/* x' = x + s f(norm(x)) is s times z' = z + f(norm(z)) with z = x / s, where the norms' epsilon is
 * divided by s^2: so the scale of branches is one of embeddings. */
static int read_branch_scale(const struct arch *arch, struct dims *d, struct error *err)
{
    float branch = d->real[REAL_BRANCH_SCALE], divisor = d->real[REAL_LOGIT_DIVISOR];

    if (branch != 0.0f && (branch < 1e-3f || branch > 1e3f))
        return error_set(err, EINVAL, "%s.residual_scale is %g: no model has that", arch->name,
                         (double)branch);
    if (divisor != 0.0f && (divisor < 1e-3f || divisor > 1e6f))
        return error_set(err, EINVAL, "%s.logit_scale is %g: no model has that", arch->name,
                         (double)divisor);
    if (branch != 0.0f) {
        d->real[REAL_EMBD_SCALE] /= branch;
        d->real[REAL_NORM_EPS] /= branch * branch;
    }
    d->real[REAL_LOGIT_SCALE] = divisor != 0.0f ? 1.0f / divisor : 1.0f;
    return 0;
}

/* What scores and logits are scaled by, and capped; some of it files say. */
static int read_scales(const struct arch *arch, struct dims *d, struct error *err)
{
    uint32_t per_head = d->dim[d->dim[DIM_HEAD_K_MLA] ? DIM_HEAD_K_MLA : DIM_HEAD_K];

    if (arch->share_scaled_layers && d->dim[DIM_LAYERS] == arch->share_scaled_layers)
        per_head = d->dim[DIM_EMBD] / d->dim[DIM_HEADS];
    if (!per_head)
        return error_set(err, EINVAL, "%s.embedding_length %u is less than one of %u heads",
                         arch->name, d->dim[DIM_EMBD], d->dim[DIM_HEADS]);
    if (d->real[REAL_ATTN_SCALE] == 0.0f)
        d->real[REAL_ATTN_SCALE] =
            arch->attn_scale != 0.0f ? arch->attn_scale : 1.0f / sqrtf((float)per_head);
    d->real[REAL_ROOT_HALF] = sqrtf(0.5f);
    d->real[REAL_PER_LAYER_SCALE] = sqrtf((float)d->dim[DIM_PER_LAYER] / 2.0f);
    d->real[REAL_EMBD_ROOT] = 1.0f / sqrtf((float)d->dim[DIM_EMBD]);
    if (d->real[REAL_EMBD_SCALE] == 0.0f)
        d->real[REAL_EMBD_SCALE] = arch->scales_embeddings ? sqrtf((float)d->dim[DIM_EMBD]) : 1.0f;
    if (d->real[REAL_ATTN_SOFTCAP] < 0.0f || d->real[REAL_LOGIT_SOFTCAP] < 0.0f)
        return error_set(err, EINVAL,
                         "%s.attn_logit_softcapping or final_logit_softcapping is negative",
                         arch->name);
    return read_branch_scale(arch, d, err);
}

static int get_u32_or(const struct gguf *g, const struct arch *arch, const char *name,
                      uint32_t other, uint32_t *ret_value, struct error *err)
{
    char key[128];

    full_key(key, sizeof(key), arch, name);
    *ret_value = other;
    return gguf_find(g, key) ? gguf_get_u32(g, key, ret_value, err) : 0;
}

/* expert_gating_func as GGUF numbers it; 0 stands for what the architecture does. */
static int read_gate(const struct gguf *g, const struct arch *arch, struct router_params *p,
                     struct error *err)
{
    static const uint32_t gates[] = {0, GATE_SOFTMAX, GATE_SIGMOID, GATE_CHOSEN};
    uint32_t number;
    int r = get_u32_or(g, arch, "expert_gating_func", 0, &number, err);

    if (r < 0)
        return r;
    if (number >= sizeof(gates) / sizeof(*gates))
        return error_set(err, ENOTSUP,
                         "%s.expert_gating_func is %u: this version knows 1 (softmax), 2 (sigmoid) "
                         "and 3 (softmax of the chosen)",
                         arch->name, number);
    p->gate = number ? gates[number] : arch->router.gate;
    return 0;
}

static int check_experts(const struct arch *arch, const struct dims *d, struct error *err)
{
    const struct router_params *p = &d->router;
    uint32_t n = d->dim[DIM_EXPERTS], used = d->dim[DIM_EXPERTS_USED];

    if (n > EXPERTS_MAX)
        return error_set(err, ENOTSUP, "%s.expert_count is %u: this version takes up to %u",
                         arch->name, n, EXPERTS_MAX);
    if (used > n)
        return error_set(err, EINVAL, "%s.expert_used_count is %u but there are only %u experts",
                         arch->name, used, n);
    if (arch->weighs_inputs && used != 1)
        return error_set(err, ENOTSUP,
                         "%s.expert_used_count is %u: this version weighs the input of one expert "
                         "for each token, not of several",
                         arch->name, used);
    if (n % p->n_groups || !p->n_groups_used || p->n_groups_used > p->n_groups ||
        used > n / p->n_groups * p->n_groups_used)
        return error_set(err, EINVAL,
                         "%s.expert_group_used_count is %u, of %u groups: %u of %u experts cannot "
                         "be chosen so",
                         arch->name, p->n_groups_used, p->n_groups, used, n);
    return 0;
}

static int read_router(const struct gguf *g, const struct arch *arch, struct dims *d,
                       struct error *err)
{
    struct router_params *p = &d->router;
    char key[128];
    int r = read_gate(g, arch, p, err);

    p->normalises = arch->router.normalises;
    p->scale = 1.0f;
    full_key(key, sizeof(key), arch, "expert_weights_norm");
    if (r == 0 && gguf_find(g, key))
        r = gguf_get_bool(g, key, &p->normalises, err);
    full_key(key, sizeof(key), arch, "expert_weights_scale");
    if (r == 0 && gguf_find(g, key))
        r = gguf_get_f32(g, key, &p->scale, err);
    if (r == 0)
        r = get_u32_or(g, arch, "expert_group_count", 1, &p->n_groups, err);
    if (r == 0)
        r = get_u32_or(g, arch, "expert_group_used_count", 1, &p->n_groups_used, err);
    if (r < 0)
        return r;
    if (!isfinite(p->scale) || p->scale < 0.0f)
        return error_set(err, EINVAL, "%s is %g: no model has that", key, (double)p->scale);
    if (p->scale == 0.0f) /* so converters write that there is none */
        p->scale = 1.0f;
    if (p->n_groups <= 1)
        p->n_groups = p->n_groups_used = 1;
    return check_experts(arch, d, err);
}

/* As GGUF numbers them; 4 is that of models that rank. */
static const char *const poolings[] = {
    [POOLING_NONE] = "none",
    [POOLING_MEAN] = "mean",
    [POOLING_CLS] = "cls",
    [POOLING_LAST] = "last",
};

const char *pooling_name(enum pooling pooling)
{
    return poolings[pooling];
}

static int read_pooling(const struct gguf *g, const struct arch *arch, struct dims *d,
                        struct error *err)
{
    uint32_t number;
    int r = get_u32_or(g, arch, "pooling_type", POOLING_NONE, &number, err);

    if (r < 0)
        return r;
    if (number >= sizeof(poolings) / sizeof(*poolings))
        return error_set(err, ENOTSUP,
                         "%s.pooling_type is %u%s: this version knows 0 (none), 1 (mean), 2 (cls) "
                         "and 3 (last)",
                         arch->name, number, number == 4 ? " (rank)" : "");
    if (arch->is_bidirectional && number == POOLING_NONE)
        return error_set(err, ENOTSUP,
                         "%s.pooling_type is missing or 0 (none): without one of 1 (mean), 2 (cls) "
                         "and 3 (last) there is nothing to ask of the model",
                         arch->name);
    d->pooling = (enum pooling)number;
    return 0;
}

int dims_read(const struct gguf *g, const struct arch *arch, struct dims *ret_dims,
              struct error *err)
{
    struct dims d = {.dim[DIM_ONE] = 1, .real[REAL_ONE] = 1.0f};
    int r;

    for (const struct arch_dim *row = arch->dims; row->key; row++) {
        r = read_dim(g, arch, row, 0, d.dim, err);
        if (r < 0)
            return r;
    }
    for (const struct arch_real *row = arch->reals; row->key; row++) {
        r = read_real(g, arch, row, &d, err);
        if (r < 0)
            return r;
    }
    r = read_scaling(g, arch, &d, err);
    if (r < 0)
        return r;
    r = read_vocab(g, &d, err);
    if (r == 0)
        r = read_token_types(g, &d, err);
    if (r < 0)
        return r;
    r = check_heads(arch, d.dim, err);
    if (r == 0)
        r = check_layers(arch, &d, err);
    if (r == 0)
        r = check_latents(arch, &d, err);
    if (r == 0)
        r = check_delta(arch, &d, err);
    if (r == 0)
        r = check_sections(g, arch, &d, err);
    if (r == 0)
        r = read_scales(arch, &d, err);
    if (r == 0)
        r = read_pooling(g, arch, &d, err);
    if (r < 0)
        return r;
    if (arch->has_experts) {
        r = read_router(g, arch, &d, err);
        if (r < 0)
            return r;
    }
    derive(d.dim);
    *ret_dims = d;
    return 0;
}

int dims_read_layer(const struct gguf *g, const struct arch *arch, const struct arch_kind *kind,
                    const struct dims *d, uint32_t layer, uint32_t *ret_dim, struct error *err)
{
    int r = 0;

    memcpy(ret_dim, d->dim, sizeof(d->dim));
    for (const struct arch_dim *row = arch->dims; row->key && r == 0; row++)
        if (row->may_differ)
            r = read_dim(g, arch, row, layer, ret_dim, err);
    for (const struct arch_dim *row = kind->dims; row && row->key && r == 0; row++)
        r = read_dim(g, arch, row, layer, ret_dim, err);
    if (r == 0)
        r = check_heads(arch, ret_dim, err);
    if (r < 0)
        return r;
    derive(ret_dim);
    ret_dim[DIM_PER_LAYER_FIRST] = layer * ret_dim[DIM_PER_LAYER];
    return 0;
}

/* The pair that turns `rotations` times over the original context. */
static float correction_pair(const struct dims *d, float rotations)
{
    float n_rot = (float)d->dim[DIM_ROPE];

    return n_rot * logf((float)d->dim[DIM_ROPE_CONTEXT] / (rotations * 2.0f * (float)M_PI)) /
           (2.0f * logf(d->real[REAL_ROPE_BASE]));
}

static float mscale(float factor, float multiplier)
{
    return factor <= 1.0f ? 1.0f : 0.1f * multiplier * logf(factor) + 1.0f;
}

void dims_rope(const struct dims *d, struct rope_params *ret_params)
{
    float factor = d->real[REAL_ROPE_FACTOR], log_mul = d->real[REAL_YARN_LOG_MUL];
    struct rope_params p = {
        .freq_scale = 1.0f / factor,
        .attn_factor = d->real[REAL_ROPE_ATTN_FACTOR],
        .score_scale = 1.0f,
    };
    float score_mul = d->real[REAL_YARN_SCORE_MUL];

    if (d->is_yarn) {
        float last = (float)d->dim[DIM_ROPE] - 1.0f;
        p.ext_factor = d->real[REAL_YARN_EXT_FACTOR] < 0.0f ? 1.0f : d->real[REAL_YARN_EXT_FACTOR];
        p.corr_low = fmaxf(0.0f, floorf(correction_pair(d, d->real[REAL_YARN_BETA_FAST])));
        p.corr_high = fminf(last, ceilf(correction_pair(d, d->real[REAL_YARN_BETA_SLOW])));
        if (score_mul == 0.0f)
            p.attn_factor *= mscale(factor, 1.0f);
        else if (factor > 1.0f)
            p.score_scale = powf(1.0f + score_mul * logf(factor), 2.0f);
        if (log_mul != 0.0f)
            p.attn_factor /= mscale(factor, log_mul);
    }
    *ret_params = p;
}
