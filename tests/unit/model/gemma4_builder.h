/* SPDX-License-Identifier: MIT */
/* Gemma 4 in its three forms, every second layer windowed and with heads half as wide. */
#ifndef HEARTH_TESTS_MODEL_GEMMA4_BUILDER_H
#define HEARTH_TESTS_MODEL_GEMMA4_BUILDER_H

#include "gguf_builder.h"

/* By the shape's arch: "gemma4": layers are told of tokens besides, and of four or more the last
 * two share; "gemma4-experts": experts beside the dense part; "gemma4-dense": neither. In the last
 * two global layers have no values but their keys. Tied. */
void gemma4_build(struct gguf_builder *b, const struct builder_shape *s);

#endif
