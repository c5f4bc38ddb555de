/* SPDX-License-Identifier: MIT */
/*
 * Inside dims only. dims.c reads keys by the tables; what some keys mean together is in
 * dims_derive.c (heads, latents and delta rules, and all widths that follow), dims_rope.c and
 * dims_router.c. Everything here fails with a sentence naming the key.
 */
#ifndef HEARTH_MODEL_DIMS_PARTS_H
#define HEARTH_MODEL_DIMS_PARTS_H

#include "model/dims.h"

/* "<architecture>.<key>" */
void dims_key(char *out, size_t size, const struct arch *arch, const char *key);
/* The value of a key, or another without one. */
int dims_get_u32_or(const struct gguf *g, const struct arch *arch, const char *name, uint32_t other,
                    uint32_t *ret_value, struct error *err);

/* Most that one key may say: large enough for any model there is, small enough that no product of
 * three overflows 64 bits. */
enum { DIM_LIMIT = 1 << 21 };

int dims_check_heads(const struct arch *arch, const uint32_t *dim, struct error *err);
int dims_check_latents(const struct arch *arch, const struct dims *d, struct error *err);
int dims_check_delta(const struct arch *arch, const struct dims *d, struct error *err);
/* Sets what follows from the keys' dimensions, which have been checked; [DIM_COUNT]. */
int dims_derive(const struct arch *arch, uint32_t *dim, struct error *err);

int dims_read_scaling(const struct gguf *g, const struct arch *arch, struct dims *d,
                      struct error *err);
int dims_check_sections(const struct gguf *g, const struct arch *arch, const struct dims *d,
                        struct error *err);

int dims_read_router(const struct gguf *g, const struct arch *arch, struct dims *d,
                     struct error *err);

#endif
