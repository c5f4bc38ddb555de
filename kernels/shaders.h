/* SPDX-License-Identifier: MIT */
/*
 * The compiled shaders (SPIR-V words) by name: "add", "matvec_q4_k". Constant data; any thread.
 * kernels/meson.build is the list of them, each .comp says what it computes and in what grid.
 */
#ifndef HEARTH_KERNELS_SHADERS_H
#define HEARTH_KERNELS_SHADERS_H

#include <stddef.h>
#include <stdint.h>

struct shader {
    const char *name;
    const uint32_t *words;
    size_t bytes;
};

const struct shader *shader_at(size_t index);       /* NULL past the last */
const struct shader *shader_find(const char *name); /* NULL when the build has none of that name */

#endif
