/* SPDX-License-Identifier: MIT */
#include "engine/state_slots.h"

#include <errno.h>
#include <stdlib.h>

/* A slot is copied in so many rows, side by side. The parts of a slot, and its rows, begin where
 * every device can address floats. */
#define COPY_ROWS  16u
#define PART_ALIGN (COPY_ROWS * 256ull)

static uint64_t align(uint64_t bytes)
{
    return (bytes + PART_ALIGN - 1) & ~(PART_ALIGN - 1);
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
    s->device = dev;
    s->n_layers = n_layers;
    s->n_slots = n_slots;
    s->slot_bytes = state_slots_memory_bytes(m, 1);
    s->buffers = calloc(n_layers, sizeof(struct buffer *));
    s->layers = calloc(n_layers, sizeof(*s->layers));
    s->blocks = calloc(n_slots, sizeof(*s->blocks));
    s->links = calloc(n_slots, sizeof(*s->links));
    if (!s->buffers || !s->layers || !s->blocks || !s->links)
        r = error_set(err, ENOMEM, "out of memory");
    index_list_init(&s->free_slots, s->links);
    index_list_init(&s->checkpoints, s->links);
    for (uint32_t i = 0; r == 0 && i < n_slots; i++)
        index_list_push(&s->free_slots, i);
    if (r == 0)
        r = buffer_create(dev, sizeof(struct step_header), BUFFER_HOST, &s->step, err);
    for (uint32_t i = 0; r == 0 && i < n_layers; i++)
        r = make_layer(s, m, dev, i, err);
    if (r < 0) {
        state_slots_destroy(s);
        return r;
    }
    *(struct step_header *)s->step->host = (struct step_header){.n_tokens = COPY_ROWS};
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
    free(s->blocks);
    free(s->links);
    buffer_destroy(s->step);
    free(s);
}

/* Takes a free slot out of its list, or that of the checkpoint that was not used for longest. */
static bool take_room(struct state_slots *s, uint32_t *ret_slot)
{
    struct index_list *from = s->free_slots.n ? &s->free_slots : &s->checkpoints;

    if (!from->n)
        return false;
    *ret_slot = from->first;
    index_list_remove(from, *ret_slot);
    return true;
}

int state_slots_take(struct state_slots *s, uint32_t *ret_slot)
{
    return take_room(s, ret_slot) ? 0 : -ENOSPC;
}

void state_slots_give(struct state_slots *s, uint32_t slot)
{
    index_list_push_first(&s->free_slots, slot);
}

/* ---- copies ---- */

static uint32_t list_copies(const struct state_slots *s, uint32_t from, uint32_t to,
                            struct dispatch *list)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_layers; i++) {
        const struct seq_state *state = &s->layers[i].conv; /* a slot begins with it */
        uint32_t row_floats = (uint32_t)(state->slot_bytes / COPY_ROWS / sizeof(float));

        if (!s->buffers[i])
            continue;
        list[n++] = (struct dispatch){
            .op = KERNEL_COPY,
            .max_rows = COPY_ROWS,
            .label = "state",
            .args.copy =
                {
                    .step = s->step->address,
                    .x = state->base + from * state->slot_bytes,
                    .out = state->base + to * state->slot_bytes,
                    .n_groups = 1,
                    .n = row_floats,
                    .x_cols = row_floats,
                    .out_cols = row_floats,
                },
        };
    }
    return n;
}

int state_slots_copy(struct state_slots *s, uint32_t from, uint32_t to, struct error *err)
{
    struct dispatch *list = calloc(s->n_layers, sizeof(*list));
    struct program *program = NULL;
    uint64_t ticket;
    int r;

    if (!list)
        return error_set(err, ENOMEM, "out of memory");
    r = program_create(s->device, list, list_copies(s, from, to, list), &program, err);
    if (r == 0)
        r = device_submit(s->device, program, &ticket, err);
    if (r == 0) {
        do
            r = device_wait(s->device, ticket, UINT64_MAX / 2, err);
        while (r == -ETIME);
    }
    program_destroy(program);
    free(list);
    return r;
}

/* ---- checkpoints ---- */

/* INDEX_NONE: there is none. */
static uint32_t find(const struct state_slots *s, uint32_t block)
{
    uint32_t i = s->checkpoints.first;

    while (i != INDEX_NONE && s->blocks[i] != block)
        i = s->links[i].after;
    return i;
}

bool state_slots_keep(struct state_slots *s, uint32_t slot, uint32_t block)
{
    uint32_t room;

    if (state_slots_use(s, block))
        return true;
    if (!take_room(s, &room))
        return false;
    if (state_slots_copy(s, slot, room, NULL) < 0) {
        state_slots_give(s, room);
        return false;
    }
    s->blocks[room] = block;
    index_list_push(&s->checkpoints, room);
    return true;
}

bool state_slots_use(struct state_slots *s, uint32_t block)
{
    uint32_t i = find(s, block);

    if (i == INDEX_NONE)
        return false;
    index_list_remove(&s->checkpoints, i);
    index_list_push(&s->checkpoints, i);
    return true;
}

int state_slots_restore(struct state_slots *s, uint32_t slot, uint32_t block)
{
    uint32_t i = find(s, block);

    return i == INDEX_NONE ? -ENOENT : state_slots_copy(s, i, slot, NULL);
}

int state_slots_take_at(struct state_slots *s, uint32_t block, uint32_t *ret_slot)
{
    uint32_t slot;
    int r;

    if (!state_slots_use(s, block)) /* it goes last from now on */
        return -ENOENT;
    if (!take_room(s, &slot))
        return -ENOSPC;
    r = find(s, block) == INDEX_NONE ? 0 : state_slots_restore(s, slot, block);
    if (r < 0)
        state_slots_give(s, slot);
    else
        *ret_slot = slot;
    return r;
}

void state_slots_forget(struct state_slots *s, uint32_t block)
{
    uint32_t i = s ? find(s, block) : INDEX_NONE;

    if (i == INDEX_NONE)
        return;
    index_list_remove(&s->checkpoints, i);
    state_slots_give(s, i);
}

uint32_t state_slots_n_checkpoints(const struct state_slots *s)
{
    return s ? s->checkpoints.n : 0;
}
