/* SPDX-License-Identifier: MIT */
#include "model/dims_parts.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- keys ---- */

static bool has_role(const struct arch *arch, enum weight role)
{
    for (const struct arch_weight *row = arch->weights; row->pattern; row++)
        if (row->role == role)
            return true;
    return false;
}

/* The scaling type says how the factor is meant; a factor alone means linear. */
int dims_read_scaling(const struct gguf *g, const struct arch *arch, struct dims *d,
                      struct error *err)
{
    char key[128];
    struct gguf_str type;
    int r;

    dims_key(key, sizeof(key), arch, "rope.scaling.type");
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
    if (d->is_yarn &&
        (d->real[REAL_YARN_BETA_FAST] <= 0.0f || d->real[REAL_YARN_BETA_SLOW] <= 0.0f))
        return error_set(err, EINVAL,
                         "%s.rope.scaling.yarn_beta_fast is %g and yarn_beta_slow %g: they must be "
                         "above 0",
                         arch->name, (double)d->real[REAL_YARN_BETA_FAST],
                         (double)d->real[REAL_YARN_BETA_SLOW]);
    dims_key(key, sizeof(key), arch, "rope.scaling.finetuned");
    if (arch->turns_if_finetuned && gguf_find(g, key)) {
        bool turns;

        r = gguf_get_bool(g, key, &turns, err);
        if (r < 0)
            return r;
        if (!turns)
            return error_set(err, ENOTSUP,
                             "%s is false: this version takes only models that rotate", key);
    }
    dims_key(key, sizeof(key), arch, "rope.scaling.factor");
    if (d->real[REAL_ROPE_FACTOR] == 0.0f)
        d->real[REAL_ROPE_FACTOR] = 1.0f;
    if (d->real[REAL_ROPE_FACTOR] < 0.0f)
        return error_set(err, EINVAL, "%s is negative", key);
    dims_key(key, sizeof(key), arch, "rope.freq_base");
    if (d->real[REAL_ROPE_BASE] <= 1.0f)
        return error_set(err, EINVAL, "%s is %g: it must be above 1", key,
                         (double)d->real[REAL_ROPE_BASE]);
    dims_key(key, sizeof(key), arch, "rope.freq_base_swa");
    if (d->real[REAL_ROPE_BASE_LOCAL] <= 1.0f && d->real[REAL_ROPE_BASE_LOCAL] != 0.0f)
        return error_set(err, EINVAL, "%s is %g: it must be above 1", key,
                         (double)d->real[REAL_ROPE_BASE_LOCAL]);
    return 0;
}

/* Text has one position for all of rope.dimension_sections, so that they do not matter; but a pair
 * of channels that none of the three has would not be rotated. They take turns by pairs. */
int dims_check_sections(const struct gguf *g, const struct arch *arch, const struct dims *d,
                        struct error *err)
{
    const struct gguf_kv *kv;
    char key[128];
    uint32_t n[3];

    dims_key(key, sizeof(key), arch, "rope.dimension_sections");
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

/* ---- what a kernel needs ---- */

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
