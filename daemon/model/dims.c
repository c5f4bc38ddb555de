/* SPDX-License-Identifier: MIT */
#include "model/dims_parts.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Fewer than DIM_LIMIT: tables of tensors per layer are searched without an index. */
enum { LAYERS_LIMIT = 1024 };

void dims_key(char *out, size_t size, const struct arch *arch, const char *key)
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

    dims_key(key, sizeof(key), arch, row->key);
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

    dims_key(key, sizeof(key), arch, row->key);
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
    if ((row->real == REAL_NORM_EPS || row->real == REAL_INDEXER_EPS) && d->real[row->real] < 0.0f)
        return error_set(err, EINVAL, "%s is %g: it must not be negative", key,
                         (double)d->real[row->real]);
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

int dims_get_u32_or(const struct gguf *g, const struct arch *arch, const char *name, uint32_t other,
                    uint32_t *ret_value, struct error *err)
{
    char key[128];

    dims_key(key, sizeof(key), arch, name);
    *ret_value = other;
    return gguf_find(g, key) ? gguf_get_u32(g, key, ret_value, err) : 0;
}

static int read_pooling(const struct gguf *g, const struct arch *arch, struct dims *d,
                        struct error *err)
{
    uint32_t number;
    int r = dims_get_u32_or(g, arch, "pooling_type", POOLING_NONE, &number, err);

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
    r = dims_read_scaling(g, arch, &d, err);
    if (r < 0)
        return r;
    r = read_vocab(g, &d, err);
    if (r == 0)
        r = read_token_types(g, &d, err);
    if (r < 0)
        return r;
    r = dims_check_heads(arch, d.dim, err);
    if (r == 0)
        r = check_layers(arch, &d, err);
    if (r == 0)
        r = dims_check_latents(arch, &d, err);
    if (r == 0)
        r = dims_check_delta(arch, &d, err);
    if (r == 0)
        r = dims_check_sections(g, arch, &d, err);
    if (r == 0)
        r = read_scales(arch, &d, err);
    if (r == 0)
        r = read_pooling(g, arch, &d, err);
    if (r < 0)
        return r;
    if (arch->has_experts) {
        r = dims_read_router(g, arch, &d, err);
        if (r < 0)
            return r;
    }
    r = dims_derive(arch, d.dim, err);
    if (r < 0)
        return r;
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
        r = dims_check_heads(arch, ret_dim, err);
    if (r == 0)
        r = dims_derive(arch, ret_dim, err);
    if (r < 0)
        return r;
    ret_dim[DIM_PER_LAYER_FIRST] = layer * ret_dim[DIM_PER_LAYER];
    return 0;
}
