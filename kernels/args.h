/* SPDX-License-Identifier: MIT */
/*
 * The arguments of every kernel, shared word for word by C and GLSL (scalar layout). In C an
 * `addr_t` is a device address (on the cpu device: the host pointer as an integer); in GLSL it is a
 * uint64_t that a buffer reference is made from. Every struct is at most 120 bytes (of 128 that
 * push constants have) and begins with the address of the step it works for.
 *
 * Names of sizes, used in all comments below:
 *   T   tokens of this step (step.n_tokens, at most the max_rows of the dispatch)
 *   O   output rows of this step (step.n_outputs): the tokens whose logits are wanted
 *   D   width of the residual stream, H heads, G key/value heads, C channels of a head
 * All activations are f32, row-major, rows densely packed unless a row stride is given.
 */
#ifndef HEARTH_KERNELS_ARGS_H
#define HEARTH_KERNELS_ARGS_H

#ifdef __STDC_VERSION__
#include <stdint.h>
typedef uint64_t addr_t;
typedef uint32_t u32;
typedef float f32;
#define kv_layer_t  struct kv_layer
#define seq_state_t struct seq_state
#else
#define addr_t      uint64_t
#define u32         uint
#define f32         float
#define kv_layer_t  kv_layer
#define seq_state_t seq_state
#endif

/* Tokens of one KV block. A sequence's cache is a table of block numbers. */
#define KV_BLOCK_TOKENS 32u

/* What changes from one submission of a recorded program to the next. Lives in host-visible memory
 * at an address baked into the program; the engine writes it before each submission. */
struct step_header {
    u32 n_tokens;  /* T */
    u32 n_outputs; /* O */
    u32 n_seqs;
    u32 n_positions; /* that a row sees at most; 0: unknown. Kernels do not read it, but a device
                        may judge by it how long the step will take */
};

/* One row of the batch. Rows of one sequence are contiguous and in ascending position. */
struct step_token {
    u32 token;    /* or TOKEN_DRAWN */
    u32 position; /* from 0 in its sequence; also where its keys and values are stored */
    u32 seq;      /* index into the step's sequences */
    u32 reserved;
};

/* The token that the sequence's history holds at the row's position: a sampler of a step that was
 * still under way when this one was written has put it there. */
#define TOKEN_DRAWN 0xffffffffu

struct step_seq {
    addr_t
        block_table; /* u32[n_blocks]: block numbers, position p is in entry p / KV_BLOCK_TOKENS */
    addr_t history;  /* u32: tokens by position; read for TOKEN_DRAWN alone */
    u32 n_blocks;
    u32 slot; /* where it keeps state of fixed size: see struct seq_state */
};

/* How to choose the token after output row i (its index in the arrays of the step). */
struct step_sample {
    u32 enabled;        /* 0: leave result untouched */
    u32 top_k;          /* 0: off */
    f32 temperature;    /* 0: greedy (lowest id among equals) */
    f32 top_p;          /* 1: off */
    f32 min_p;          /* 0: off */
    f32 repeat_penalty; /* 1: off; logit > 0 ? /p : *p for every token in history */
    f32 frequency_penalty;
    f32 presence_penalty;
    u32 seed_low, seed_high;
    u32 draw; /* number of the draw in its sequence: with the seed it fixes the random number */
    u32 n_history;  /* tokens the penalties look at */
    addr_t history; /* u32[n_history], newest last; 0 when n_history is 0 */
    addr_t bias;    /* struct logit_bias[n_bias]; applied first */
    u32 n_bias;
    u32 n_top;      /* how many of the most likely tokens to report (at most SAMPLE_TOP_MAX) */
    addr_t allowed; /* u32 bitmask over the vocabulary, bit set: may be chosen; 0: all may */
    addr_t drawn;   /* u32: where the token is stored besides the result; 0: nowhere */
};

struct logit_bias {
    u32 token;
    f32 bias;
};

#define SAMPLE_TOP_MAX 20u

/* What the sampler answers for one output row. Log-probabilities are of the model's own softmax (no
 * temperature, no truncation, after penalties and bias). */
struct sample_result {
    u32 token;
    f32 logprob;
    u32 n_top;
    u32 reserved;
    u32 top_token[SAMPLE_TOP_MAX];
    f32 top_logprob[SAMPLE_TOP_MAX];
};

/* out[t][0..n_cols) = dequantised row tokens[t].token of table, times scale. */
struct args_embed {
    addr_t step, tokens; /* struct step_token[T] */
    addr_t seqs;         /* struct step_seq[n_seqs]; 0: no token is TOKEN_DRAWN */
    addr_t table;        /* [n_rows][n_cols] in the dispatch's weight type */
    addr_t out;          /* f32[T][n_cols] */
    u32 n_rows, n_cols;
    f32 scale;
    /* whose row is the table's first, as a long table may lie in pieces: of others than the first,
     * where it is not 0, rows of out stay as they are whose token is in another */
    u32 first_row;
};

/* RMS norm of groups: y = x / sqrt(mean(x^2) + eps) * weight * scale, over each run of n_cols
 * values; a row of the batch holds n_groups such runs (1: the whole row; H: per head). x may equal
 * out. Source: Zhang & Sennrich 2019, equation 4. */
struct args_rms_norm {
    addr_t step, x, out; /* f32[T][n_groups][n_cols] */
    addr_t weight;       /* f32[n_cols], shared by the groups; 0: none */
    u32 n_cols, n_groups;
    u32 rows; /* ROWS_TOKENS or ROWS_OUTPUTS */
    f32 eps;
    f32 scale; /* not 0 */
    u32 reserved;
};

/* y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias over each row. x may equal
 * out. Source: Ba, Kiros & Hinton 2016, equation 4. */
struct args_layer_norm {
    addr_t step, x, out; /* f32[rows][n_cols] */
    addr_t weight, bias; /* f32[n_cols]; bias 0: none */
    u32 n_cols;
    u32 rows; /* ROWS_TOKENS or ROWS_OUTPUTS */
    f32 eps;
    u32 reserved;
};

#define ROWS_TOKENS  0u
#define ROWS_OUTPUTS 1u

/* Activations to 8 bits for integer dot products. kind (the dispatch's activation type):
 *   ACT_Q8_32   struct act_q8_32 per 32 values; ACT_Q8_256 struct act_q8_256 per 256 values. */
struct args_quantize {
    addr_t step, x; /* f32[rows][n_cols] */
    addr_t out;     /* blocks, row-major */
    u32 n_cols;
    u32 rows; /* ROWS_TOKENS or ROWS_OUTPUTS */
};

/* y[r][i] = sum over k of W[i][k] * x[r][k]  (+ bias[i]) (+ y[r][i] when accumulate is 1).
 * W is [n_rows][n_cols] in the dispatch's weight type, x in the dispatch's activation type. */
struct args_matmul {
    addr_t step;
    addr_t weight;
    addr_t x;    /* [rows][n_cols] in the activation type */
    addr_t out;  /* f32[rows][n_rows] */
    addr_t bias; /* f32[n_rows] or 0 */
    u32 n_rows, n_cols;
    u32 rows; /* ROWS_TOKENS or ROWS_OUTPUTS */
    u32 accumulate;
};

/* clang-format off */
/* Rotary position embedding in place on x f32[T][n_heads][n_channels], first n_rot channels of each.
 * Pair j (of n_rot/2) of a row at position p turns by the angle
 *     extrapolated = p * base^(-2j/n_rot) / factors[j]          (factors 0: 1)
 *     interpolated = extrapolated * freq_scale
 *     ramp  = 1 - clamp((j - corr_low) / max(0.001, corr_high - corr_low), 0, 1)
 *     angle = interpolated * (1 - ramp * ext_factor) + extrapolated * ramp * ext_factor
 * and cosine and sine are both multiplied by attn_factor. Then, with temp_scale > 0, all n_channels
 * are multiplied by  1 + temp_scale * ln(floor((p + temp_offset) / temp_floor) + 1).
 * ROPE_PAIRED: channels (2j, 2j+1); ROPE_SPLIT: channels (j, j + n_rot/2).
 * Sources: Su et al. 2021; YaRN, Peng et al. 2023, section 3; Llama 4's temperature tuning. */
/* clang-format on */
struct args_rope {
    addr_t step, tokens;
    addr_t x;
    addr_t factors; /* f32[n_rot / 2] or 0 */
    u32 n_heads, n_channels, n_rot;
    u32 style;
    f32 base, freq_scale;
    f32 ext_factor, attn_factor, corr_low, corr_high;
    f32 temp_scale, temp_floor, temp_offset;
    u32 reserved;
};

#define ROPE_PAIRED 0u
#define ROPE_SPLIT  1u

/* Where one layer keeps keys and values: block b of the cache begins at base + b * block_bytes;
 * inside it the keys of each of the G heads, then the values of each. What a head has of n channels
 * is, by type,
 *   KV_F16   f16[KV_BLOCK_TOKENS][n]
 *   KV_Q8_0  i8[KV_BLOCK_TOKENS][n], then f16[KV_BLOCK_TOKENS][n / KV_RUN] scales: a value is its
 *            integer times the scale of its run of KV_RUN channels. n is a multiple of KV_RUN, base
 *            and block_bytes of 16. */
struct kv_layer {
    addr_t base;
    addr_t block_bytes; /* a size, 64-bit like the address it is multiplied into */
    u32 n_kv_heads, n_channels_k, n_channels_v;
    u32 n_blocks; /* blocks the cache has: a table entry at or above it is ignored */
    u32 type;
    u32 reserved;
};

#define KV_F16  0u
#define KV_Q8_0 1u
#define KV_RUN  32u

/* Rounds the rows' keys and values to the cache's type and stores them at their positions. The
 * integers of KV_Q8_0 are those of ACT_Q8_32 (whose scale is f32), and so is what becomes of values
 * that are tiny or not finite. */
struct args_kv_store {
    addr_t step, tokens, seqs;
    addr_t k, v; /* f32[T][G][n_channels_*]; v 0 with no n_channels_v */
    kv_layer_t kv;
};

#define ATTENTION_CHANNELS_MAX 1024u /* most n_channels_k and n_channels_v */
#define ATTENTION_SPLITS_MAX   256u
#define ATTENTION_SPLIT_BLOCKS 8u       /* KV blocks that a range of positions holds at least */
#define ATTENTION_NEVER        -3.0e38f /* the greatest score where there is none */
/* Of a window: positions are cut into chunks of so many, and a row sees its own chunk's. */
#define ATTENTION_CHUNKS 0x80000000u

/* out[t][h] = sum over j of softmax_j(scale * q[t][h].k[j][h / (H/G)]) * v[j][h / (H/G)], j over
 * the positions 0..position of t's own sequence, with window > 0 only the last `window` of them, or
 * with ATTENTION_CHUNKS | n those from the last multiple of n on; of these with `chosen` only
 * those that its bits say; with softcap > 0 scores become softcap * tanh(score / softcap); with
 * sinks each head's softmax has one more term exp(sinks[h]) in its denominator. The rows' own keys
 * must have been stored before.
 *
 * With n_splits > 1 the positions that a row sees are cut into up to that many ranges
 * (kernels/step.h says which; only the row's own position decides), and out gets for each range
 * that is not empty what args_attention_combine makes the result of: the greatest score s in units
 * of ln 2 (ATTENTION_NEVER where nothing is seen), total = sum over j of 2^(s_j - s), and the sums
 * over j of 2^(s_j - s) * v[j]. What belongs to empty ranges is not touched. sinks is then 0. */
struct args_attention {
    addr_t step, tokens, seqs;
    addr_t q;     /* f32[T][H][n_channels_k] */
    addr_t out;   /* f32[T][H][n_channels_v]; or f32[T][H][n_splits][2 + n_channels_v] */
    addr_t sinks; /* f32[H] or 0 */
    kv_layer_t kv;
    u32 n_heads;
    u32 window;
    f32 scale, softcap;
    u32 n_splits;     /* 1 to ATTENTION_SPLITS_MAX */
    u32 chosen_words; /* of a row of chosen */
    addr_t chosen;    /* u32[T][chosen_words], as args_index_choose makes them; 0: all */
};

/* Puts the ranges of an attention together: as its out without n_splits. */
struct args_attention_combine {
    addr_t step, tokens;
    addr_t parts; /* f32[T][H][n_splits][2 + n_channels_v], of args_attention */
    addr_t out;   /* f32[T][H][n_channels_v] */
    addr_t sinks; /* f32[H] or 0 */
    u32 n_heads, n_channels_v;
    u32 window, n_splits; /* as of the attention */
};

/* ---- attention to chosen positions. Source: DeepSeek-V3.2 (2025), section 2.1 ---- */

/* How much each row would look at the positions j up to its own:
 *   out[t][j] = scale * sum over h of weights[t][h] * max(0, q[t][h].k[j])
 * The keys are those of a cache of one head without values; where it has no block, the score is
 * minus infinity. Scores behind a row's position are not touched. */
struct args_index_scores {
    addr_t step, tokens, seqs;
    addr_t q;       /* f32[T][n_heads][n_channels_k] */
    addr_t weights; /* f32[T][n_heads] */
    addr_t out;     /* f32[T][n_positions] */
    kv_layer_t kv;
    u32 n_heads;
    u32 n_positions; /* a multiple of KV_BLOCK_TOKENS; what lies behind is left out */
    f32 scale;
    u32 reserved;
};

/* Of each row's positions, its own the last, chooses n_chosen: those of the greatest scores, among
 * equals the lower ones. NaN is below everything, zeros are equals. Bit j % 32 of out[t][j / 32]
 * says it of position j; words behind that of a row's own position are not touched. */
struct args_index_choose {
    addr_t step, tokens;
    addr_t scores; /* f32[T][n_positions] */
    addr_t out;    /* u32[T][n_positions / 32] */
    u32 n_positions, n_chosen;
};

/* out = activation(gate) * up, elementwise over f32[T][n_cols]. out may equal gate. up 0: its
 * values are 1 (not with GLU_CLAMPED). */
struct args_glu {
    addr_t step, gate, up, out;
    u32 n_cols;
    u32 activation;
    u32 rows;
    u32 reserved;
};

#define GLU_SILU 0u
#define GLU_GELU 1u /* tanh form */
#define GLU_CLAMPED                                                                                \
    2u                     /* of gpt-oss: with g = min(gate, LIMIT), u = clamp(up, -LIMIT, LIMIT): \
                              g / (1 + e^(-ALPHA * g)) * (u + 1) */
#define GLU_SIGMOID     3u /* 1 / (1 + e^-gate) * up */
#define GLU_CLAMP_ALPHA 1.702f
#define GLU_CLAMP_LIMIT 7.0f

/* x[r] = cap * tanh(x[r] / cap), f32[rows][n_cols]. Source: Gemma 2 (2024), section 2. */
struct args_softcap {
    addr_t step, x;
    u32 n_cols;
    u32 rows;
    f32 cap; /* above 0 */
    u32 reserved;
};

/* x[r] = (x[r] + y[r]) * scale, f32[rows][n_cols]. */
struct args_add {
    addr_t step, x, y;
    addr_t scale; /* f32[1]; 0: 1 */
    u32 n_cols;
    u32 rows;
};

/* ---- mixtures of experts: U experts are used for each token, of E that there are ---- */

/* Most experts there may be. */
#define EXPERTS_MAX 1024u
/* Up to so many rows are too few for products by expert. */
#define EXPERTS_FEW_ROWS 16u

struct expert_choice {
    u32 expert;
    f32 weight; /* of its output in the sum */
};

/* clang-format off */
/* Chooses U of E experts for each token, and what each counts. With logits l:
 *   gate(l)   GATE_SOFTMAX  softmax over all experts
 *             GATE_SIGMOID  1 / (1 + e^-l)
 *             GATE_CHOSEN   softmax over the chosen ones
 *   score     gate(l) + bias[e] where there is a bias or n_groups > 1, else l (the same order, and
 *             exact); l for GATE_CHOSEN, plus the bias if there is one
 * The experts with the greatest scores are chosen, the greatest first, among equals the lower
 * number; NaN is below everything. With n_groups > 1 the experts, in runs of E / n_groups, are
 * first thinned out: the n_groups_used groups whose two greatest scores have the greatest sum stay.
 *   weight    scale * gate(l) / (normalise ? max(LEAST_WEIGHT, sum of the chosen) : 1) * scales[e]
 * A softmax over a NaN or over an infinity as its greatest gives weights of NaN: what is wrong with
 * logits shows in numbers, never in which experts there are.
 * Sources: Shazeer et al. 2017; DeepSeek-V3 (2024), section 2.1.2. */
/* clang-format on */
struct args_route {
    addr_t step;
    addr_t logits; /* f32[T][E] */
    addr_t bias;   /* f32[E] or 0: counts for the choice alone */
    addr_t scales; /* f32[E]; 0: 1 */
    addr_t out;    /* struct expert_choice[T][U] */
    u32 n_experts, n_used;
    u32 gate;
    u32 normalise;
    f32 scale;
    u32 n_groups, n_groups_used; /* 1 and 1: no groups */
    u32 reserved;
};

#define GATE_SOFTMAX 0u
#define GATE_SIGMOID 1u
#define GATE_CHOSEN  2u
#define LEAST_WEIGHT 6.103515625e-5f

/* The (token, slot) pairs t * U + u of a step by their experts, for products of many rows: out is
 * u32 first[E + 1], then u32 pairs[T * U]: those of expert e, ascending, are pairs[first[e]] to
 * pairs[first[e + 1] - 1]. */
struct args_expert_rows {
    addr_t step;
    addr_t choices; /* struct expert_choice[T][U] */
    addr_t out;
    u32 n_experts, n_used;
};

/* y[t][u][i] = sum over k of W[e][i][k] * x[t][k] (+ bias[e][i]), e the expert of (t, u); with
 * x_per_slot each slot has its own x[t][u]. Of W only chosen experts are read. What belongs to an
 * expert that there is not is left as it is. */
struct args_matmul_experts {
    addr_t step;
    addr_t weight;  /* [E][n_rows][n_cols] in the dispatch's weight type */
    addr_t x;       /* [T][n_cols], or [T][U][n_cols], in the activation type */
    addr_t out;     /* f32[T][U][n_rows] */
    addr_t bias;    /* f32[E][n_rows] or 0 */
    addr_t choices; /* struct expert_choice[T][U]; 0: slot u is always of expert u, and U is E */
    addr_t rows; /* of args_expert_rows, where max_rows is over EXPERTS_FEW_ROWS; else 0. Without,
                    and with choices, each pair is a product by itself */
    u32 n_rows, n_cols;
    u32 n_experts, n_used;
    u32 x_per_slot;
    u32 reserved;
};

/* What a weight's scales make of its products, f32[rows][U][n_cols]:
 *   out[r][u][i] = scale[e] * x[r][u][i] (+ bias[e][i]) (+ out[r][u][i] when accumulate is 1)
 * with e the expert of (r, u). x may equal out where nothing is accumulated. A matrix of its own is
 * one expert of one. What belongs to an expert that there is not is left as it is. */
struct args_scale {
    addr_t step, x, out;
    addr_t scale;   /* f32[E] */
    addr_t bias;    /* f32[E][n_cols] or 0 */
    addr_t choices; /* struct expert_choice[T][U]; 0: slot u is always of expert u, and U is E */
    u32 n_cols;
    u32 n_experts, n_used;
    u32 rows; /* ROWS_TOKENS or ROWS_OUTPUTS */
    u32 accumulate;
    u32 reserved;
};

/* out[t] (+)= sum over slots of weight[t][u] * y[t][u], f32[T][n_cols]. */
struct args_expert_sum {
    addr_t step;
    addr_t choices; /* struct expert_choice[T][U] */
    addr_t y;       /* f32[T][U][n_cols] */
    addr_t out;
    u32 n_cols, n_used;
    u32 accumulate;
    u32 reserved;
};

/* ---- layers whose sequences have state of fixed size ---- */

/* Where one layer keeps it: that of a sequence begins at base + step_seq.slot * slot_bytes. A row
 * at position 0 begins with zeros, whatever the slot holds; rows go on from the row before, which
 * is the one above in the step or what an earlier step left, and what the last row leaves is
 * stored. Rows of a sequence whose slot is at or above n_slots, or that the step has not, give
 * zeros. */
struct seq_state {
    addr_t base;
    addr_t slot_bytes;
    u32 n_slots;
    u32 reserved;
};

#define CONV_TAPS_MAX 8u

/* Causal convolution of each channel c over a sequence's last K = n_taps rows, then silu:
 *     out[t][c] = silu(sum over k below K of weight[c][k] * x[t - (K - 1) + k][c])
 * The state is f32[K - 1][n_cols]: the inputs before the next row, the oldest first.
 * Source: Gu & Dao 2023 (Mamba), section 3.4. */
struct args_short_conv {
    addr_t step, tokens, seqs;
    addr_t x, out; /* f32[T][n_cols], apart from each other */
    addr_t weight; /* f32[n_cols][n_taps] */
    seq_state_t state;
    u32 n_cols;
    u32 n_taps; /* 2 to CONV_TAPS_MAX */
};

#define DELTA_CHANNELS_MAX 256u /* most n_channels_k and n_channels_v */

/* clang-format off */
/* Gated delta rule. A row of x is q [Hk][Ck], k [Hk][Ck], v [Hv][Cv], one after the other. Each of
 * the Hv value heads h has a state S [Ck][Cv], and reads the key head h / (Hv / Hk) (DELTA_GROUPED) or
 * h % Hk (DELTA_TILED). With q and k first divided by max(|q|, eps), max(|k|, eps), a row makes of it
 *     S    = exp(a[h] * softplus(alpha[t][h] + dt_bias[h])) * S
 *     S    = S + k (sigmoid(beta[t][h]) * (v - S^T k))^T
 *     out  = S^T q / sqrt(Ck)
 * The state is f32[Hv][Ck][Cv].
 * Source: Yang, Kautz & Hatamizadeh 2024 (Gated Delta Networks), equation 10. */
/* clang-format on */
struct args_delta_net {
    addr_t step, tokens, seqs;
    addr_t x;           /* f32[T][2 * Hk * Ck + Hv * Cv] */
    addr_t alpha, beta; /* f32[T][Hv] */
    addr_t a, dt_bias;  /* f32[Hv]; a is below 0 in a model that forgets */
    addr_t out;         /* f32[T][Hv][Cv] */
    seq_state_t state;
    u32 n_heads_k, n_heads_v, n_channels_k, n_channels_v;
    u32 order;
    f32 eps;
};

#define DELTA_GROUPED 0u
#define DELTA_TILED   1u

/* Part of each group to part of another: out[t][g][out_first + i] = x[t][g][x_first + i] for i
 * below n, f32[T][n_groups][out_cols] and f32[T][n_groups][x_cols]. The rest of out stays as it is.
 */
struct args_copy {
    addr_t step, x, out;
    u32 n_groups, n;
    u32 x_cols, x_first;
    u32 out_cols, out_first;
};

/* out[i] = x[output_rows[i]], f32[O][n_cols]. */
struct args_gather {
    addr_t step;
    addr_t output_rows; /* u32[O] */
    addr_t x, out;
    u32 n_cols;
    u32 reserved;
};

/* Chooses a token for each output row whose step_sample is enabled. Order: bias, penalties,
 * allowed mask, (greedy | temperature, top_k, top_p, min_p, draw). Equal logits are ordered by
 * ascending id. The draw is the counter-based generator of kernels/ref.c: no state. */
struct args_sample {
    addr_t step;
    addr_t samples; /* struct step_sample[O] */
    addr_t logits;  /* f32[O][n_vocab]; overwritten */
    addr_t results; /* struct sample_result[O] */
    addr_t scratch; /* sample_scratch_bytes(n_vocab) per output row */
    u32 n_vocab;
    u32 reserved;
};

#endif
