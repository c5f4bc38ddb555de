/* SPDX-License-Identifier: MIT */
/*
 * Where the matrix and the rows of a product lie, for the shaders that have two forms: a matmul's
 * are in its arguments; with EXPERTS they are those of one expert of args_matmul_experts, and the
 * rows of the product are the (token, slot) pairs that chose it.
 */
#ifdef EXPERTS

uint64_t product_weight, product_bias; /* bias 0: none */
uint64_t product_pairs;                /* u32[]; 0: row r is pair first + r * step */
uint product_first_pair, product_pair_step;

/* Sets the product to that of an expert there is, and its rows to all pairs. */
void product_of_expert(uint expert)
{
    product_weight = push.a.weight + uint64_t(expert * push.a.n_rows) * row_bytes(push.a.n_cols);
    product_bias = push.a.bias != 0 ? push.a.bias + uint64_t(expert * push.a.n_rows) * 4 : 0;
    product_pairs = 0;
    product_first_pair = 0;
    product_pair_step = 1;
}

/* Sets the product to that of the expert's pairs; returns how many there are. */
uint product_of_pairs(uint expert)
{
    U32 first = U32(push.a.rows);
    uint begin, end;

    product_of_expert(expert);
    if (push.a.choices == 0) { /* a slot of every token */
        product_first_pair = expert;
        product_pair_step = push.a.n_used;
        return step_rows(push.a.step, ROWS_TOKENS);
    }
    begin = first.v[expert];
    end = first.v[expert + 1];
    product_pairs = push.a.rows + uint64_t(push.a.n_experts + 1 + begin) * 4;
    return end - begin;
}

/* Row of out that row r of the product's n is; of one past them any. */
uint product_out_row(uint r, uint n)
{
    return product_pairs != 0 ? U32(product_pairs).v[min(r, n - 1)]
                              : product_first_pair + r * product_pair_step;
}

/* Row of x. */
uint product_x_row(uint r, uint n)
{
    uint pair = product_out_row(r, n);

    return push.a.x_per_slot != 0 ? pair : pair / push.a.n_used;
}

#define PRODUCT_ACCUMULATES false
#else
#define product_weight      push.a.weight
#define product_bias        push.a.bias
#define product_out_row(r, n) (r)
#define product_x_row(r, n)   (r)
#define PRODUCT_ACCUMULATES (push.a.accumulate != 0)
#endif
