/* SPDX-License-Identifier: MIT */
/*
 * Inside model only: the numbers that stand beside a weight in files that were made of NVFP4
 * checkpoints. What is called X.weight may have X.scale, by which its products are multiplied (of
 * experts one for each), and X.input_scale, by which the makers' kernels divide activations before
 * they round them to 4 bits; ours do not, so that it counts for nothing here.
 */
#ifndef HEARTH_MODEL_SCALES_H
#define HEARTH_MODEL_SCALES_H

#include "model/model.h"

/* Finds them for the weight of a row of the tables, which is bound already, if any step multiplies
 * by it. Fails with a sentence naming the one of a wrong shape or type. */
int scales_bind(struct model *m, const struct arch_weight *row, uint32_t layer,
                struct weight_ref *weight, struct error *err);

#endif
