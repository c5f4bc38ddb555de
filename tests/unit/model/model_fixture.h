/* SPDX-License-Identifier: MIT */
/* A model made by gguf_builder, whole: its bytes, its directory, its tables. */
#ifndef HEARTH_TESTS_MODEL_MODEL_FIXTURE_H
#define HEARTH_TESTS_MODEL_MODEL_FIXTURE_H

#include "gguf_builder.h"
#include "model/model.h"

struct model_fixture {
    char *file;
    size_t file_bytes;
    struct gguf *gguf;
    struct model *model;
};

/* The model of what was built; the test fails when it is refused. */
void model_fixture_init(struct model_fixture *f, const struct gguf_builder *b);
void model_fixture_finish(struct model_fixture *f);
/* Bytes of a tensor in the file. */
const void *model_fixture_tensor(const struct model_fixture *f, const struct gguf_tensor *t);

/* What model_create says of what was built; *ret_err holds the sentence. */
int model_fixture_try(const struct gguf_builder *b, struct error *ret_err);

/* Two layers of odd sizes with blocks of 32: a shape to start from. */
struct builder_shape model_fixture_shape(const char *arch, enum gguf_type matrix);

#endif
