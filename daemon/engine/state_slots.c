/* SPDX-License-Identifier: MIT */
#include "engine/state_slots.h"

#include <errno.h>
#include <stdlib.h>

/* The parts of a slot, and slots, begin where every device can address floats. */
#define SLOT_ALIGN 256ull

static uint64_t align(uint64_t bytes)
{
    return (bytes + SLOT_ALIGN - 1) & ~(SLOT_ALIGN - 1);
}

/* Of one slot in one layer. */
static uint64_t layer_slot_bytes(const struct model *m, uint32_t layer)
{
    return align(model_conv_state_bytes(m, layer)) + align(model_delta_state_bytes(m, layer));
}

static struct layer_state layer_at(const struct model *m, uint32_t layer, uint32_t n_slots,
                                   uint64_t base)
{
    struct seq_state conv = {
        .base = base,
        .slot_bytes = layer_slot_bytes(m, layer),
        .n_slots = n_slots,
    };
    struct seq_state delta = conv;

    delta.base += align(model_conv_state_bytes(m, layer));
    return (struct layer_state){conv, delta};
}

uint64_t state_slots_memory_bytes(const struct model *m, uint32_t n_slots)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++)
        bytes += layer_slot_bytes(m, i) * n_slots;
    return bytes;
}

void state_slots_shape(const struct model *m, uint32_t n_slots, struct layer_state *ret_layers)
{
    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++)
        ret_layers[i] = layer_at(m, i, n_slots, 0);
}

static int make_layer(struct state_slots *s, const struct model *m, struct device *dev,
                      uint32_t layer, struct error *err)
{
    uint64_t bytes = layer_slot_bytes(m, layer) * s->n_slots;
    int r;

    if (!bytes)
        return 0;
    r = buffer_create(dev, bytes, BUFFER_DEVICE, &s->buffers[layer], err);
    if (r == 0)
        s->layers[layer] = layer_at(m, layer, s->n_slots, s->buffers[layer]->address);
    return r;
}

int state_slots_create(const struct model *m, struct device *dev, uint32_t n_slots,
                       struct state_slots **ret_slots, struct error *err)
{
    uint32_t n_layers = m->dims.dim[DIM_LAYERS];
    struct state_slots *s;
    int r = 0;

    *ret_slots = NULL;
    if (!model_state_bytes(m))
        return 0;
    s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(err, ENOMEM, "out of memory");
    s->n_layers = n_layers;
    s->n_slots = n_slots;
    s->slot_bytes = state_slots_memory_bytes(m, 1);
    s->buffers = calloc(n_layers, sizeof(struct buffer *));
    s->layers = calloc(n_layers, sizeof(*s->layers));
    s->free_list = calloc(n_slots, sizeof(*s->free_list));
    if (!s->buffers || !s->layers || !s->free_list)
        r = error_set(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; r == 0 && i < n_layers; i++)
        r = make_layer(s, m, dev, i, err);
    if (r < 0) {
        state_slots_destroy(s);
        return r;
    }
    while (s->n_free < n_slots) {
        s->free_list[s->n_free] = n_slots - 1 - s->n_free;
        s->n_free++;
    }
    *ret_slots = s;
    return 0;
}

void state_slots_destroy(struct state_slots *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->buffers && i < s->n_layers; i++)
        buffer_destroy(s->buffers[i]);
    free(s->buffers);
    free(s->layers);
    free(s->free_list);
    free(s);
}

int state_slots_take(struct state_slots *s, uint32_t *ret_slot)
{
    if (!s->n_free)
        return -ENOSPC;
    *ret_slot = s->free_list[--s->n_free];
    return 0;
}

void state_slots_give(struct state_slots *s, uint32_t slot)
{
    s->free_list[s->n_free++] = slot;
}
