/* SPDX-License-Identifier: MIT */
/*
 * Checks every kernel of a device against the plain C form. A case fills a workspace with random
 * or adversarial input, records one dispatch and says what may differ.
 */
#ifndef HEARTH_TESTS_KERNELS_CHECK_H
#define HEARTH_TESTS_KERNELS_CHECK_H

#include "device/device.h"

#define CHECK_BYTES (96u << 20)
enum { CHECK_ARRAYS_MOST = 64, CHECK_LIST_MOST = 2 };

enum check_input { INPUT_NORMAL, INPUT_TINY, INPUT_LARGE, INPUT_ZERO, INPUT_KINDS };

/* One workspace twice: the device's buffer, and a copy on which the plain form runs. Dispatches are
 * built against the buffer, by addresses that only the device may use. */
struct check {
    struct device *dev;
    struct buffer *buf;
    uint8_t *copy;
    uint64_t used, random;
    struct {
        uint64_t offset, bytes;
    } arrays[CHECK_ARRAYS_MOST]; /* what check_take gave of `used` */
    size_t n_arrays;
    bool is_bench;
    /* Of each pipeline a few dispatches run, apart; after some time, none of a new one. */
    bool is_few;
    uint64_t few_until_ns; /* 0: no limit */
    bool was_left_out;     /* the last dispatch */
};

/* Room in the workspace, 64-byte aligned; the offset from its start. */
uint64_t check_take(struct check *c, uint64_t bytes);
void *check_at(struct check *c, uint64_t offset);
static inline addr_t check_address(const struct check *c, uint64_t offset)
{
    return c->buf->address + offset;
}

uint32_t check_random(struct check *c);
float check_normal(struct check *c); /* about N(0, 1) */
void check_fill(struct check *c, uint64_t offset, size_t n, enum check_input kind);
/* Weights of any type whose values are about 1 / sqrt(n_cols) or wild. */
void check_fill_weights(struct check *c, enum gguf_type type, uint64_t offset, uint64_t n_blocks,
                        enum check_input kind);
/* A step of n_tokens rows at positions first.. of sequence 0; offsets of header and tokens. */
uint64_t check_step(struct check *c, uint32_t n_tokens, uint32_t n_outputs);
uint64_t check_tokens(struct check *c, uint32_t n, uint32_t first_position, uint32_t n_ids);

/* Runs the plain C form of d over the workspace itself, to make what a case needs. Nothing in
 * memory may hold an address that it reads. */
void check_prepare(struct check *c, const struct dispatch *d);
/* Whether the dispatches are to run; notes it in was_left_out. */
bool check_is_due(struct check *c, const struct dispatch *list, size_t n);
/* Runs d on the device and, translated, on the copy. False with a message when refused. */
bool check_run(struct check *c, const struct dispatch *d);
/* The same of up to CHECK_LIST_MOST dispatches as one program. */
bool check_run_list(struct check *c, const struct dispatch *list, size_t n);
/* Runs them on the device with each array in a buffer of its own. False as check_run. */
bool check_run_apart(struct check *c, const struct dispatch *list, size_t n);
/* Runs p, whose creation returned r, and destroys it. False with a message when any of it failed.
 */
bool check_finish(struct check *c, int r, struct program *p, struct error *err);
/* f32[n] at offset: |got - want| <= absolute + relative * |want|, NaN with NaN, equal infinities.
 */
bool check_floats(struct check *c, uint64_t offset, size_t n, double absolute, double relative);
bool check_bytes(struct check *c, uint64_t offset, size_t n);
/* f32[rows][n] of a matmul: the error of row r is measured against the sum of magnitudes of its
 * terms: what adding in another order may lose is allowed, and what the device's products
 * with weights of the type round. magnitudes: f64[rows * n]. */
bool check_sums(struct check *c, uint64_t offset, const double *magnitudes, size_t n,
                enum gguf_type type);
/* Sum of |w x| of a row of weights, dequantised, and a row of activations. K-quants subtract
 * minima: what the fast forms sum is larger than the weights themselves, by the factor their
 * greatest weight has over its parts. */
double check_magnitude(const float *w, uint32_t n_cols, enum activation_type type, const void *x);
/* Times the dispatches, n of them: prints GB/s of `bytes` and GFLOP/s of `operations`. */
void check_bench(struct check *c, const char *name, const struct dispatch *list, size_t n,
                 double bytes, double operations);

struct check_case {
    const char *name;
    bool (*run)(struct check *c);
};
extern const struct check_case check_matmul_cases[], check_row_cases[], check_attention_cases[],
    check_experts_cases[], check_state_cases[], check_sample_cases[], check_far_cases[];

/* clang-format off */
/* X of each type of weights that kernel_supports_type() knows. */
#define CHECK_WEIGHT_TYPES(X)                                                                      \
    X(F32) X(F16) X(BF16) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K)  \
    X(Q6_K) X(IQ4_NL) X(IQ4_XS) X(MXFP4) X(NVFP4) X(IQ1_S) X(IQ1_M) X(IQ2_XXS) X(IQ2_XS) X(IQ2_S)  \
    X(IQ3_XXS) X(IQ3_S) X(TQ1_0) X(TQ2_0)
/* clang-format on */

#endif
