/* SPDX-License-Identifier: MIT */
/*
 * Activations of a matmul, as f32, for shaders that read weights by units (dequant.glsl comes
 * before this). ACTIVATION is the dispatch's activation type, a constant of the pipeline; see
 * act_q8_32 and act_q8_256 in kernels.h.
 */
#define ACT_F32    0
#define ACT_Q8_32  1
#define ACT_Q8_256 2

const uint ACT_Q8_32_WORDS = 10, ACT_Q8_256_WORDS = 73;

/* Where row r of x begins. */
uint64_t activation_row(uint64_t x, uint r, uint n_cols)
{
    uint words = ACTIVATION == ACT_Q8_32    ? n_cols / 32 * ACT_Q8_32_WORDS
                 : ACTIVATION == ACT_Q8_256 ? n_cols / 256 * ACT_Q8_256_WORDS
                                            : n_cols;

    return x + uint64_t(r) * words * 4;
}

/* Values k..k + 3 of a row, k a multiple of 4 and all inside it. */
vec4 four_activations(uint64_t row, uint k)
{
    U32 words = U32(row);
    uint block;

    if (ACTIVATION == ACT_F32)
        return Floats4(row + uint64_t(k) * 4).v[0];
    if (ACTIVATION == ACT_Q8_32) {
        block = k / 32 * ACT_Q8_32_WORDS;
        return uintBitsToFloat(words.v[block]) * signed_bytes_of(words.v[block + 2 + k % 32 / 4]);
    }
    block = k / 256 * ACT_Q8_256_WORDS;
    return uintBitsToFloat(words.v[block]) * signed_bytes_of(words.v[block + 1 + k % 256 / 4]);
}

/* What unit u of a row of weights is multiplied by. */
void unit_activations(uint64_t row, uint u, out vec4 x[4])
{
    uint first = unit_first(u);

    x[0] = four_activations(row, first);
    x[1] = four_activations(row, first + 4);
    x[2] = four_activations(row, first + UNIT_STRIDE);
    x[3] = four_activations(row, first + UNIT_STRIDE + 4);
}

/* The same of a unit that the row ends in; 0 past the end. */
void part_unit_activations(uint64_t row, uint u, uint n_cols, out vec4 x[4])
{
    [[unroll]] for (uint i = 0; i < UNIT_VALUES; i++) {
        uint k = u * UNIT_VALUES + i;

        /* of 8-bit rows there are only whole units */
        x[i / 4][i % 4] = k < n_cols && ACTIVATION == ACT_F32 ? F32(row).v[k] : 0.0;
    }
}
