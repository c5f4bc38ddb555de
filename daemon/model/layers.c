/* SPDX-License-Identifier: MIT */
#include "model/layers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The array that says of each layer whether it is of the first kind. */
static int find_list(const struct gguf *g, const struct arch *arch, const struct dims *d,
                     const struct gguf_array **ret_list, struct error *err)
{
    char key[128];
    const struct gguf_kv *kv;

    if (arch->rule != LAYERS_LISTED)
        return 0;
    snprintf(key, sizeof(key), "%s.%s", arch->name, arch->list_key);
    kv = gguf_find(g, key);
    if (!kv)
        return error_set(err, EINVAL, "the metadata key %s is missing: not a complete %s model",
                         key, arch->name);
    if (kv->type != GGUF_VALUE_ARRAY || kv->array.n < d->dim[DIM_LAYERS])
        return error_set(err, EINVAL, "%s does not list what each of %u layers is", key,
                         d->dim[DIM_LAYERS]);
    if (d->dim[DIM_SHARED_KV] >= d->dim[DIM_LAYERS])
        return error_set(err, EINVAL,
                         "%s.attention.shared_kv_layers is %u of %u layers: none is left to share "
                         "from",
                         arch->name, d->dim[DIM_SHARED_KV], d->dim[DIM_LAYERS]);
    *ret_list = &kv->array;
    return 0;
}

static int kind_of(const struct arch *arch, const struct dims *d, const struct gguf_array *list,
                   uint32_t layer, unsigned *ret_kind, struct error *err)
{
    uint32_t is_first;

    switch (arch->rule) {
    case LAYERS_PERIODIC:
        *ret_kind = layer % d->dim[DIM_PERIOD] == d->dim[DIM_PERIOD] - 1;
        return 0;
    case LAYERS_LEADING:
        *ret_kind = layer >= d->dim[DIM_LEADING];
        return 0;
    case LAYERS_LISTED:
        if (!gguf_array_get_u32(list, layer, &is_first))
            return error_set(err, EINVAL, "%s.%s says of layer %u neither yes nor no", arch->name,
                             arch->list_key, layer);
        *ret_kind = !is_first;
        if (layer >= d->dim[DIM_LAYERS] - d->dim[DIM_SHARED_KV])
            *ret_kind += 2;
        return 0;
    case LAYERS_CROSSED:
        *ret_kind = layer % d->dim[DIM_PERIOD] == d->dim[DIM_PERIOD] - 1;
        if (layer % d->dim[DIM_EXPERT_PERIOD] == d->dim[DIM_EXPERT_PERIOD] - 1)
            *ret_kind += 2;
        return 0;
    case LAYERS_ALIKE:
        break;
    }
    *ret_kind = 0;
    return 0;
}

/* Whose keys and values a layer reads, of those before it. */
static int find_kv_layer(const struct arch *arch, struct layer *layers, uint32_t i,
                         struct error *err)
{
    const struct arch_kind *kind = &arch->kinds[layers[i].kind];
    const uint32_t *dim = layers[i].dim, *other;
    uint32_t from = i;

    layers[i].kv_layer = i;
    if (!kind->shares_kv)
        return 0;
    do {
        if (!from)
            return error_set(err, EINVAL,
                             "%s: layer %u has no keys and values of its own, and no layer before "
                             "it has any to share",
                             arch->name, i);
        from--;
    } while (arch->kinds[layers[from].kind].shares_kv ||
             arch->kinds[layers[from].kind].is_windowed != kind->is_windowed);
    other = layers[from].dim;
    if (other[DIM_KV_HEADS] != dim[DIM_KV_HEADS] || other[DIM_HEAD_K] != dim[DIM_HEAD_K] ||
        other[DIM_HEAD_V] != dim[DIM_HEAD_V])
        return error_set(err, EINVAL,
                         "%s: layer %u, of %u heads of %u + %u channels, cannot read the keys and "
                         "values of layer %u, of %u heads of %u + %u",
                         arch->name, i, dim[DIM_KV_HEADS], dim[DIM_HEAD_K], dim[DIM_HEAD_V], from,
                         other[DIM_KV_HEADS], other[DIM_HEAD_K], other[DIM_HEAD_V]);
    layers[i].kv_layer = from;
    return 0;
}

int layers_create(const struct gguf *g, const struct arch *arch, const struct dims *d,
                  struct layer **ret_layers, struct error *err)
{
    uint32_t n = d->dim[DIM_LAYERS];
    const struct gguf_array *list = NULL;
    struct layer *layers = calloc(n, sizeof(*layers));
    int r = layers ? find_list(g, arch, d, &list, err) : error_set(err, ENOMEM, "out of memory");

    for (uint32_t i = 0; i < n && r == 0; i++) {
        r = kind_of(arch, d, list, i, &layers[i].kind, err);
        if (r == 0)
            r = dims_read_layer(g, arch, &arch->kinds[layers[i].kind], d, i, layers[i].dim, err);
        if (r == 0)
            r = find_kv_layer(arch, layers, i, err);
    }
    if (r < 0) {
        free(layers);
        return r;
    }
    *ret_layers = layers;
    return 0;
}
