/* SPDX-License-Identifier: MIT */
#include "table_file.h"

#include "harness.h"
#include "model/layers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 6, VOCAB = 67, TOKEN_TYPES = 2 };

/* What the keys say. Six layers have every kind under every rule. */
static const uint32_t values[DIM_KEYS_END] = {
    [DIM_LAYERS] = LAYERS,
    [DIM_EMBD] = 64,
    [DIM_HEADS] = 4,
    [DIM_KV_HEADS] = 2,
    [DIM_HEAD_K] = 16,
    [DIM_HEAD_V] = 16,
    [DIM_FF] = 96,
    [DIM_CONTEXT] = 256,
    [DIM_ROPE] = 8,
    [DIM_ROPE_CONTEXT] = 128,
    [DIM_EXPERTS] = 5,
    [DIM_EXPERTS_USED] = 2,
    [DIM_FF_EXPERT] = 32,
    [DIM_FF_SHARED] = 32,
    [DIM_EXPERTS_SHARED] = 1,
    [DIM_LEADING] = 1,
    [DIM_NEXT] = 1,
    [DIM_HEAD_K_MLA] = 24,
    [DIM_HEAD_V_MLA] = 16,
    [DIM_KV_RANK] = 16,
    [DIM_Q_RANK] = 32,
    [DIM_WINDOW] = 40,
    [DIM_PERIOD] = 2,
    [DIM_EXPERT_PERIOD] = 3,
    [DIM_SHARED_KV] = 2,
    [DIM_TAPS] = 4,
    [DIM_DELTA_HEADS_K] = 2,
    [DIM_DELTA_HEADS_V] = 4,
    [DIM_DELTA_HEAD_K] = 16,
    [DIM_DELTA_V] = 64,
    [DIM_INDEXER_HEADS] = 2,
    [DIM_INDEXER_HEAD] = 16,
    [DIM_INDEXER_TOP] = 64,
    [DIM_PER_LAYER] = 16,
};

const struct arch *table_file_arch(size_t i)
{
    const char *names = arch_names();

    while (*names) {
        size_t len = strcspn(names, ","), n = 0;
        char name[32];
        const struct arch *arch;

        snprintf(name, sizeof(name), "%.*s", (int)len, names);
        for (; (arch = arch_find(name, n)); n++)
            if (!i--)
                return arch;
        assert_true(n > 0); /* a name that no table has */
        names += len;
        names += strspn(names, ", ");
    }
    return NULL;
}

static bool has_dim(const struct arch *arch, enum dim dim)
{
    for (const struct arch_dim *row = arch->dims; row->key; row++)
        if (row->dim == dim)
            return true;
    return false;
}

static uint32_t value_of(const struct arch *arch, enum dim dim)
{
    bool is_latent = has_dim(arch, DIM_KV_RANK);

    if (dim == DIM_LAYERS && has_dim(arch, DIM_NEXT))
        return LAYERS + values[DIM_NEXT];
    if (dim == DIM_KV_HEADS && is_latent)
        return 1;
    if (dim == DIM_HEAD_K && is_latent)
        return values[DIM_KV_RANK] + values[DIM_ROPE];
    if (dim == DIM_EXPERTS_USED && arch->weighs_inputs)
        return 1;
    return values[dim];
}

static const char *key_of(char name[96], const struct arch *arch, const char *key)
{
    snprintf(name, 96, "%s.%s", arch->name, key);
    return name;
}

static void add_dims(struct gguf_builder *b, const struct arch *arch, const struct arch_dim *rows)
{
    char name[96];

    for (; rows && rows->key; rows++) {
        bool tells_tables_apart = arch->only_key && !strcmp(arch->only_key, rows->key);

        if (rows->dim == DIM_PER_LAYER && !tells_tables_apart)
            continue;
        gguf_builder_u32(b, key_of(name, arch, rows->key), value_of(arch, rows->dim));
    }
}

static void add_keys(struct gguf_builder *b, const struct arch *arch)
{
    static const uint32_t first_of_two[LAYERS] = {1, 0, 1, 0, 1, 0};
    char name[96];

    gguf_builder_str(b, "general.architecture", arch->name);
    add_dims(b, arch, arch->dims);
    for (size_t i = 0; i < ARCH_KINDS_MOST; i++)
        add_dims(b, arch, arch->kinds[i].dims);
    for (const struct arch_real *row = arch->reals; row->key; row++)
        gguf_builder_f32(b, key_of(name, arch, row->key),
                         row->real == REAL_NORM_EPS               ? 1e-5f
                         : row->is_required && row->value == 0.0f ? 10000.0f
                                                                  : row->value);
    if (arch->rule == LAYERS_LISTED)
        gguf_builder_array(b, key_of(name, arch, arch->list_key), first_of_two, LAYERS);
    if (arch->is_bidirectional)
        gguf_builder_u32(b, key_of(name, arch, "pooling_type"), 1);
}

static void add_tensor(struct gguf_builder *b, const struct arch_weight *row, uint32_t layer,
                       const uint32_t *dim)
{
    bool is_vector = row->flags & WEIGHT_VECTOR;
    const char *hole = strchr(row->pattern, '%');
    uint64_t cols = dim[row->cols], rows = dim[row->rows];
    char name[64];

    if (hole)
        snprintf(name, sizeof(name), "%.*s%u%s", (int)(hole - row->pattern), row->pattern, layer,
                 hole + 2);
    else
        snprintf(name, sizeof(name), "%s", row->pattern);
    if (row->of)
        *(is_vector ? &cols : &rows) = dim[row->of];
    gguf_builder_tensor(b, name, is_vector ? GGUF_TYPE_F32 : GGUF_TYPE_F16, cols,
                        is_vector && rows == 1 ? 0 : rows);
    gguf_builder_find(b, name)->planes = row->planes ? dim[row->planes] : 0;
}

static void add_tensors(struct gguf_builder *b, const struct arch *arch, const struct dims *d,
                        const struct layer *layers)
{
    for (const struct arch_weight *row = arch->weights; row->pattern; row++) {
        if (!strchr(row->pattern, '%')) {
            add_tensor(b, row, 0, d->dim);
            continue;
        }
        for (uint32_t i = 0; i < d->dim[DIM_LAYERS]; i++)
            if (!row->kinds || row->kinds & 1u << layers[i].kind)
                add_tensor(b, row, i, layers[i].dim);
    }
}

void table_file_build(struct gguf_builder *b, const struct arch *arch)
{
    struct layer *layers = NULL;
    struct error err = {0};
    struct gguf *g = NULL;
    struct dims d;
    size_t len;
    void *file;

    *b = (struct gguf_builder){0};
    add_keys(b, arch);
    /* of these the number of rows is no key's */
    gguf_builder_tensor(b, "token_embd.weight", GGUF_TYPE_F16, values[DIM_EMBD], VOCAB);
    if (has_dim(arch, DIM_TOKEN_TYPES) || arch->is_bidirectional)
        gguf_builder_tensor(b, "token_types.weight", GGUF_TYPE_F16, values[DIM_EMBD], TOKEN_TYPES);
    file = gguf_builder_write(b, &len);
    if (gguf_parse(file, len, len, &g, &err) < 0 || dims_read(g, arch, &d, &err) < 0 ||
        layers_create(g, arch, &d, &layers, &err) < 0)
        fail_msg("%s: %s", arch->name, err.text);
    add_tensors(b, arch, &d, layers);
    free(layers);
    gguf_close(g);
    free(file);
}
