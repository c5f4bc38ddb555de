/* SPDX-License-Identifier: MIT */
/* The plain forms by family, called by ref_run; fast forms borrow the end of the sampler, the
 * router and the gates of the delta rule. */
#ifndef HEARTH_KERNELS_REF_INTERNAL_H
#define HEARTH_KERNELS_REF_INTERNAL_H

#include "kernels/ref.h"
#include "kernels/step.h"

void ref_embed(const struct dispatch *d);
void ref_quantize(const struct dispatch *d);
void ref_matmul(const struct dispatch *d);
void ref_rope(const struct dispatch *d);
void ref_kv_store(const struct dispatch *d);
void ref_attention(const struct dispatch *d);
void ref_attention_combine(const struct dispatch *d);
void ref_index_scores(const struct dispatch *d);
void ref_sample(const struct dispatch *d);
/* Tokens [begin, end) that there are. */
void ref_copy(const struct dispatch *d, uint32_t begin, uint32_t end);
void ref_index_choose(const struct dispatch *d, uint32_t begin, uint32_t end);
void ref_route(const struct dispatch *d, uint32_t begin, uint32_t end);
void ref_expert_rows(const struct dispatch *d);
void ref_matmul_experts(const struct dispatch *d);
void ref_scale(const struct dispatch *d);
void ref_expert_sum(const struct dispatch *d);
void ref_short_conv(const struct dispatch *d);
void ref_delta_net(const struct dispatch *d);

/* The dot product of a row of n_cols weights, each as the format defines it in f32, with a row of
 * activations, of the dispatch's types. */
double ref_dot(const struct dispatch *d, uint32_t n_cols, const uint8_t *weight, const void *x);

/* How much of its state head h keeps at row t, and how much of a row's news it takes. */
struct delta_gates {
    double decay, beta;
};
struct delta_gates delta_gates(const struct args_delta_net *a, uint32_t t, uint32_t h);

/* The key head that value head h reads. */
static inline uint32_t delta_key_head(const struct args_delta_net *a, uint32_t h)
{
    return a->order == DELTA_TILED ? h % a->n_heads_k : h / (a->n_heads_v / a->n_heads_k);
}

static inline const float *delta_row_of(const struct args_delta_net *a, uint32_t t)
{
    size_t n = 2 * (size_t)a->n_heads_k * a->n_channels_k + (size_t)a->n_heads_v * a->n_channels_v;

    return (const float *)addr_ptr(a->x) + t * n;
}

/* A token that may be chosen. */
struct ref_candidate {
    uint32_t id;
    float logit;
};

/* Adds bias and penalties to a row of logits. counts: u32[n_vocab] of scratch, any content. */
void ref_sample_penalize(const struct step_sample *s, float *logits, uint32_t n_vocab,
                         uint32_t *counts);
/* Chooses among n > 0 candidates in order (greater logits first, among equals lower ids) by
 * temperature > 0, top_k, top_p, min_p and the draw. */
uint32_t ref_sample_draw(const struct step_sample *s, const struct ref_candidate *c, uint32_t n);

/* ref_dequant_grid.c: one block to 256 values. */
void ref_dequant_iq2_xxs(const void *in, float *out);
void ref_dequant_iq2_xs(const void *in, float *out);
void ref_dequant_iq2_s(const void *in, float *out);
void ref_dequant_iq3_xxs(const void *in, float *out);
void ref_dequant_iq3_s(const void *in, float *out);
void ref_dequant_iq1_s(const void *in, float *out);
void ref_dequant_iq1_m(const void *in, float *out);

#endif
