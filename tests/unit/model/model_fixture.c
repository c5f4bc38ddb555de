/* SPDX-License-Identifier: MIT */
#include "model_fixture.h"

#include "harness.h"

#include <stdlib.h>

void model_fixture_init(struct model_fixture *f, const struct gguf_builder *b)
{
    struct error err = {0};

    *f = (struct model_fixture){0};
    f->file = gguf_builder_write(b, &f->file_bytes);
    if (gguf_parse(f->file, f->file_bytes, f->file_bytes, &f->gguf, &err) < 0 ||
        model_create(f->gguf, &f->model, &err) < 0)
        fail_msg("%s", err.text);
}

void model_fixture_finish(struct model_fixture *f)
{
    model_destroy(f->model);
    gguf_close(f->gguf);
    free(f->file);
}

const void *model_fixture_tensor(const struct model_fixture *f, const struct gguf_tensor *t)
{
    return f->file + t->offset;
}

int model_fixture_try(const struct gguf_builder *b, struct error *ret_err)
{
    struct gguf *g = NULL;
    struct model *m = NULL;
    uint64_t file_bytes;
    size_t len;
    void *file = gguf_builder_header(b, &len, &file_bytes);
    int r = gguf_parse(file, len, file_bytes, &g, ret_err);

    if (r < 0)
        fail_msg("the directory itself was refused: %s", ret_err->text);
    r = model_create(g, &m, ret_err);
    model_destroy(m);
    gguf_close(g);
    free(file);
    return r;
}

struct builder_shape model_fixture_shape(const char *arch, enum gguf_type matrix)
{
    return (struct builder_shape){
        .arch = arch,
        .layers = 2,
        .embd = 96,
        .ff = 160,
        .heads = 6,
        .kv_heads = 2,
        .head_dim = 32,
        .vocab = 117,
        .matrix = matrix,
        .embedding = GGUF_TYPE_F16,
    };
}
