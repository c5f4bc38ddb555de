/* SPDX-License-Identifier: MIT */
#include "model/model.h"

#include "kernels/kernels.h"
#include "model/layers.h"
#include "model/model_size.h"
#include "model/scales.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct weight_ref *slot(const struct model *m, enum weight role, uint32_t layer)
{
    uint32_t row = layer == MODEL_GLOBAL ? m->dims.dim[DIM_LAYERS] : layer;

    return &m->weights[(size_t)row * WEIGHT_COUNT + role];
}

static bool is_per_layer(const struct arch_weight *row)
{
    return strchr(row->pattern, '%') != NULL;
}

static const struct arch_weight *weight_row(const struct arch *arch, enum weight role)
{
    for (const struct arch_weight *row = arch->weights; row->pattern; row++)
        if (row->role == role)
            return row;
    return NULL;
}

/* Writes a tensor name from a pattern of the tables, whose only conversion is one %u. */
static void tensor_name(char *out, size_t size, const char *pattern, uint32_t layer)
{
    const char *hole = strchr(pattern, '%');

    if (hole)
        snprintf(out, size, "%.*s%u%s", (int)(hole - pattern), pattern, layer, hole + 2);
    else
        snprintf(out, size, "%s", pattern);
}

static int check_shape(const struct model *m, const struct arch_weight *row, uint32_t layer,
                       const struct gguf_tensor *t, struct error *err)
{
    const uint32_t *dim = model_dims(m, layer);
    uint64_t cols = dim[row->cols], rows = dim[row->rows], planes = dim[row->planes];

    if (row->of)
        *(row->flags & WEIGHT_VECTOR ? &cols : &rows) = dim[row->of];
    if (t->shape[0] != cols || t->shape[1] != rows || t->shape[2] != planes || t->shape[3] != 1)
        return error_set(err, EINVAL,
                         "tensor %s has shape [%llu, %llu, %llu] where the metadata calls for "
                         "[%llu, %llu, %llu]",
                         t->name, (unsigned long long)t->shape[0], (unsigned long long)t->shape[1],
                         (unsigned long long)t->shape[2], (unsigned long long)cols,
                         (unsigned long long)rows, (unsigned long long)planes);
    if ((row->flags & WEIGHT_VECTOR) && t->type != GGUF_TYPE_F32)
        return error_set(err, ENOTSUP, "tensor %s is %s: vectors must be F32", t->name,
                         gguf_type_name(t->type));
    if (!(row->flags & WEIGHT_VECTOR) && !kernel_supports_type(t->type))
        return error_set(err, ENOTSUP, "tensor %s is %s, which no kernel of this version reads",
                         t->name, gguf_type_name(t->type));
    return 0;
}

/* The rows of the tensor that are the weight's. */
static struct weight_ref weight_of(const struct model *m, const struct arch_weight *row,
                                   uint32_t layer, const struct gguf_tensor *t)
{
    const uint32_t *dim = model_dims(m, layer);
    struct weight_ref ref = {.tensor = t, .n_rows = dim[row->rows]};

    if (row->of && row->flags & WEIGHT_VECTOR)
        ref.offset = dim[row->first] * sizeof(float);
    else if (row->of)
        ref.offset = dim[row->first] * gguf_type_row_bytes(t->type, t->shape[0]);
    return ref;
}

static int bind_role(struct model *m, const struct arch_weight *row, uint32_t layer,
                     size_t *n_bound, struct error *err)
{
    char name[128];
    const struct gguf_tensor *t;
    struct weight_ref *ref;
    int r;

    tensor_name(name, sizeof(name), row->pattern, layer);
    t = gguf_find_tensor(m->gguf, name);
    if (!t) {
        if (row->flags & WEIGHT_OPTIONAL)
            return 0;
        return error_set(err, EINVAL,
                         "the tensor %s is missing: not a complete %s model, or one of a kind "
                         "this version does not know",
                         name, m->arch->name);
    }
    r = check_shape(m, row, layer, t, err);
    if (r < 0)
        return r;
    ref = slot(m, row->role, layer);
    *ref = weight_of(m, row, layer, t);
    r = scales_bind(m, row, layer, ref, err);
    if (!ref->offset) /* a tensor of several weights counts once */
        *n_bound += 1 + !!ref->scale + !!ref->input_scale;
    return r;
}

/* Whether a tensor is of a layer that predicts further tokens: computing one token needs none. */
static bool is_of_next(const struct model *m, const char *name)
{
    uint32_t first = m->dims.dim[DIM_LAYERS];
    char *end;
    unsigned long layer;

    if (strncmp(name, "blk.", 4) || name[4] < '0' || name[4] > '9')
        return false;
    layer = strtoul(name + 4, &end, 10);
    return *end == '.' && layer >= first && layer < first + m->dims.dim[DIM_NEXT];
}

/* A tensor no table knows would be left out of the computation: wrong numbers, so a refusal. */
static int refuse_unknown(const struct model *m, struct error *err)
{
    size_t n_slots = ((size_t)m->dims.dim[DIM_LAYERS] + 1) * WEIGHT_COUNT;

    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor(m->gguf, i);
        bool found = is_of_next(m, t->name);
        for (size_t k = 0; k < n_slots && !found; k++)
            found = m->weights[k].tensor == t || m->weights[k].scale == t ||
                    m->weights[k].input_scale == t;
        if (!found)
            return error_set(err, ENOTSUP,
                             "has the tensor %s, which architecture %s of this version does not "
                             "use: refusing to compute without it",
                             t->name, m->arch->name);
    }
    return 0;
}

static int bind_weights(struct model *m, struct error *err)
{
    size_t n_bound = 0;

    for (const struct arch_weight *row = m->arch->weights; row->pattern; row++) {
        uint32_t first = is_per_layer(row) ? 0 : MODEL_GLOBAL;
        uint32_t n = is_per_layer(row) ? m->dims.dim[DIM_LAYERS] : 1;
        for (uint32_t i = 0; i < n; i++) {
            int r = 0;

            if (!row->kinds || row->kinds & 1u << m->layers[i].kind)
                r = bind_role(m, row, first + i, &n_bound, err);
            if (r < 0)
                return r;
        }
    }
    if (n_bound < gguf_n_tensors(m->gguf))
        return refuse_unknown(m, err);
    return 0;
}

/* Whether the file has the key or tensor that only a table's files have; some have a key and say 0.
 */
static bool is_of_table(const struct gguf *g, const struct arch *arch)
{
    char key[128];
    uint32_t n;

    if (arch->only_tensor)
        return gguf_find_tensor(g, arch->only_tensor);
    if (!arch->only_key)
        return true;
    snprintf(key, sizeof(key), "%s.%s", arch->name, arch->only_key);
    if (gguf_get_u32(g, key, &n, NULL) < 0)
        return gguf_find(g, key); /* what is no number is refused by that name */
    return n > 0;
}

static const struct arch *choose_table(const struct gguf *g, const char *name)
{
    const struct arch *arch = arch_find(name, 0);

    for (size_t i = 1; arch && !is_of_table(g, arch) && arch_find(name, i); i++)
        arch = arch_find(name, i);
    return arch;
}

int model_create(const struct gguf *g, struct model **ret_model, struct error *err)
{
    struct model *m;
    struct gguf_str name;
    int r;

    m = calloc(1, sizeof(*m));
    if (!m)
        return error_set(err, ENOMEM, "out of memory");
    m->gguf = g;
    r = gguf_get_str(g, "general.architecture", &name, err);
    if (r < 0)
        goto fail;
    m->arch = choose_table(g, name.data);
    if (!m->arch) {
        r = error_set(err, ENOTSUP,
                      "general.architecture is \"%.60s\", which this version does not know (it "
                      "knows %s)",
                      name.data, arch_names());
        goto fail;
    }
    r = dims_read(g, m->arch, &m->dims, err);
    if (r < 0)
        goto fail;
    /* every layer has tensors, so a directory bounds the layers before memory is taken for them */
    if (m->dims.dim[DIM_LAYERS] > gguf_n_tensors(g)) {
        r = error_set(err, EINVAL, "%s.block_count is %u but the file has only %zu tensors",
                      m->arch->name, m->dims.dim[DIM_LAYERS], gguf_n_tensors(g));
        goto fail;
    }
    r = layers_create(g, m->arch, &m->dims, &m->layers, err);
    if (r < 0)
        goto fail;
    m->weights = calloc(((size_t)m->dims.dim[DIM_LAYERS] + 1) * WEIGHT_COUNT, sizeof(*m->weights));
    if (!m->weights) {
        r = error_set(err, ENOMEM, "out of memory");
        goto fail;
    }
    r = bind_weights(m, err);
    if (r < 0)
        goto fail;
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        m->parameters += gguf_tensor(g, i)->elements;
    *ret_model = m;
    return 0;
fail:
    model_destroy(m);
    return r;
}

void model_destroy(struct model *m)
{
    if (!m)
        return;
    free(m->layers);
    free(m->weights);
    free(m->pieces);
    free(m);
}

const struct arch_kind *model_layer_kind(const struct model *m, uint32_t layer)
{
    return &m->arch->kinds[m->layers[layer].kind];
}

const uint32_t *model_dims(const struct model *m, uint32_t layer)
{
    return layer == MODEL_GLOBAL ? m->dims.dim : m->layers[layer].dim;
}

bool model_stores_kv(const struct model *m, uint32_t layer)
{
    return m->layers[layer].kv_layer == layer && !model_layer_kind(m, layer)->has_state;
}

const struct weight_ref *model_weight(const struct model *m, enum weight role, uint32_t layer)
{
    const struct arch_weight *row = weight_row(m->arch, role);
    const struct weight_ref *ref;

    if (!row)
        return slot(m, WEIGHT_NONE, MODEL_GLOBAL);
    ref = slot(m, role, is_per_layer(row) ? layer : MODEL_GLOBAL);
    if (!ref->tensor && row->fallback)
        return model_weight(m, row->fallback, layer);
    return ref;
}

const struct weight_ref *model_rope_factors(const struct model *m, uint32_t layer,
                                            uint32_t context_tokens)
{
    const struct weight_ref *factors = model_weight(m, WEIGHT_ROPE_FACTORS, layer);
    bool is_long = context_tokens > m->dims.dim[DIM_ROPE_CONTEXT];

    if (factors->tensor)
        return factors;
    return model_weight(m, is_long ? WEIGHT_ROPE_FACTORS_LONG : WEIGHT_ROPE_FACTORS_SHORT, layer);
}

void model_set_address(struct model *m, const struct gguf_tensor *tensor, uint64_t address)
{
    size_t n_slots = ((size_t)m->dims.dim[DIM_LAYERS] + 1) * WEIGHT_COUNT;

    for (size_t i = 0; i < n_slots; i++) {
        struct weight_ref *ref = &m->weights[i];

        if (ref->tensor == tensor)
            ref->address = address + ref->offset;
        if (ref->scale == tensor)
            ref->scale_address = address;
    }
}

int model_cut(struct model *m, uint64_t most_bytes, struct error *err)
{
    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor(m->gguf, i);
        uint64_t rows = t->shape[1], most = most_bytes / gguf_type_row_bytes(t->type, t->shape[0]);
        struct weight_piece *more;
        size_t n;

        if (t->bytes <= most_bytes || !most || t->n_dims != 2 || !model_size_is_looked_up(m, t))
            continue;
        n = (rows - 1) / most + 1;
        more = realloc(m->pieces, (m->n_pieces + n) * sizeof(*more));
        if (!more)
            return error_set(err, ENOMEM, "out of memory");
        m->pieces = more;
        for (uint64_t first = 0; first < rows; first += most)
            m->pieces[m->n_pieces++] = (struct weight_piece){
                .tensor = t,
                .first_row = (uint32_t)first,
                .n_rows = (uint32_t)(rows - first < most ? rows - first : most),
            };
    }
    return 0;
}

struct weight_piece *model_pieces(const struct model *m, const struct gguf_tensor *tensor,
                                  size_t *ret_n)
{
    struct weight_piece *first = NULL;

    *ret_n = 0;
    for (size_t i = 0; i < m->n_pieces; i++) {
        if (m->pieces[i].tensor != tensor)
            continue;
        if (!first)
            first = &m->pieces[i];
        ++*ret_n;
    }
    return first;
}

bool model_makes_logits(const struct model *m)
{
    for (const struct arch_step *step = m->arch->after; step->op != STEP_END; step++)
        if (step->out == VALUE_LOGITS)
            return true;
    return false;
}

/* general.file_type as the GGUF specification numbers it. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4",
};

const char *model_type_name(const struct model *m)
{
    uint64_t elements[GGUF_TYPE_LIMIT] = {0};
    uint32_t file_type, most = 0;

    if (gguf_get_u32(m->gguf, "general.file_type", &file_type, NULL) == 0 &&
        file_type < sizeof(file_types) / sizeof(file_types[0]) && file_types[file_type])
        return file_types[file_type];
    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor(m->gguf, i);
        elements[t->type] += t->elements;
        if (elements[t->type] > elements[most])
            most = t->type;
    }
    return gguf_type_name(most);
}

uint64_t model_conv_state_bytes(const struct model *m, uint32_t layer)
{
    const uint32_t *dim = m->dims.dim;

    return model_layer_kind(m, layer)->has_state
               ? (uint64_t)(dim[DIM_TAPS] - 1) * dim[DIM_DELTA_QKV] * sizeof(float)
               : 0;
}

uint64_t model_delta_state_bytes(const struct model *m, uint32_t layer)
{
    const uint32_t *dim = m->dims.dim;

    return model_layer_kind(m, layer)->has_state
               ? (uint64_t)dim[DIM_DELTA_V] * dim[DIM_DELTA_HEAD_K] * sizeof(float)
               : 0;
}

uint64_t model_state_bytes(const struct model *m)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++)
        bytes += model_conv_state_bytes(m, i) + model_delta_state_bytes(m, i);
    return bytes;
}

static uint64_t kv_bytes_per_token(const struct model *m, uint32_t type, bool is_windowed)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++)
        if (model_stores_kv(m, i) && model_layer_kind(m, i)->is_windowed == is_windowed)
            n += kv_row_bytes(type, m->layers[i].dim[DIM_K]) +
                 kv_row_bytes(type, m->layers[i].dim[DIM_V]) +
                 kv_row_bytes(type, m->layers[i].dim[DIM_INDEXER_HEAD]);
    return n;
}

uint64_t model_kv_bytes_per_token(const struct model *m, uint32_t type)
{
    return kv_bytes_per_token(m, type, false) + kv_bytes_per_token(m, type, true);
}

uint64_t model_window_kv_bytes_per_token(const struct model *m, uint32_t type)
{
    return kv_bytes_per_token(m, type, true);
}

uint32_t model_window(const struct model *m)
{
    return m->dims.dim[DIM_WINDOW] | (m->arch->has_chunks ? ATTENTION_CHUNKS : 0);
}
