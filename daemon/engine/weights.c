/* SPDX-License-Identifier: MIT */
#include "engine/weights.h"

#include "engine/pool_buffer.h"

#include <errno.h>
#include <stdlib.h>

struct weights {
    struct buffer **buffers; /* one per window, of all pools */
    size_t n_buffers;
};

int weights_extents(const struct model *m, uint32_t file, struct pool_extent **ret_list,
                    size_t *ret_n)
{
    size_t n = 0, n_tensors = gguf_n_tensors(m->gguf), n_pieces;
    struct pool_extent *list = calloc(n_tensors + m->n_pieces + 1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < n_tensors; i++) {
        const struct gguf_tensor *t = gguf_tensor(m->gguf, i);
        const struct weight_piece *pieces = model_pieces(m, t, &n_pieces);
        uint64_t row_bytes = gguf_type_row_bytes(t->type, t->shape[0]);

        if (t->file != file)
            continue;
        if (!n_pieces)
            list[n++] = (struct pool_extent){t->name, t->offset, t->bytes, 0};
        for (size_t k = 0; k < n_pieces; k++)
            list[n++] = (struct pool_extent){t->name, t->offset + pieces[k].first_row * row_bytes,
                                             pieces[k].n_rows * row_bytes, 0};
    }
    *ret_list = list;
    *ret_n = n;
    return 0;
}

int weights_check(const struct model *m, uint32_t file, struct error *err)
{
    uint64_t bytes = gguf_file(m->gguf, file)->size_bytes;
    struct pool_extent *extents;
    size_t n;
    int r = weights_extents(m, file, &extents, &n);

    if (r < 0)
        return error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < n && r == 0; i++)
        r = pool_window_check(bytes, &extents[i], err);
    free(extents);
    return r;
}

static uint64_t address_of(const struct pool_extent *e, const struct pool_window *windows,
                           struct buffer *const *buffers)
{
    return buffers[e->window]->address + (e->offset - windows[e->window].offset);
}

/* Tells the model the address of every tensor of the file. */
static void bind_tensors(struct loaded_model *lm, uint32_t file, const struct pool_extent *extents,
                         const struct pool_window *windows, struct buffer *const *buffers)
{
    const struct pool_extent *e = extents;
    size_t n_pieces;

    for (size_t i = 0; i < gguf_n_tensors(lm->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor(lm->gguf, i);
        struct weight_piece *pieces = model_pieces(lm->model, t, &n_pieces);

        if (t->file != file)
            continue;
        if (!n_pieces) {
            model_set_address(lm->model, t, address_of(e, windows, buffers));
            e++;
        }
        for (size_t k = 0; k < n_pieces; k++, e++)
            pieces[k].address = address_of(e, windows, buffers);
    }
}

static int import_windows(struct weights *w, struct device *dev, const struct pool *pool,
                          const struct pool_window *windows, size_t n, struct error *err)
{
    struct buffer **more = realloc(w->buffers, (w->n_buffers + n + 1) * sizeof(struct buffer *));

    if (!more)
        return error_set(err, ENOMEM, "out of memory");
    w->buffers = more;
    for (size_t i = 0; i < n; i++) {
        int r = pool_buffer_import(dev, pool, windows[i].offset, windows[i].bytes, false,
                                   &w->buffers[w->n_buffers], err);
        if (r < 0)
            return r;
        w->n_buffers++;
    }
    return 0;
}

static int import_file(struct weights *w, struct loaded_model *lm, struct device *dev,
                       uint32_t file, struct error *err)
{
    struct pool_extent *extents = NULL;
    struct pool_window *windows = NULL;
    size_t n_extents, n_windows = 0, first = w->n_buffers;
    int r = weights_extents(lm->model, file, &extents, &n_extents);

    if (r < 0)
        return error_set(err, ENOMEM, "out of memory");
    r = pool_windows(lm->pools[file], extents, n_extents, &windows, &n_windows, err);
    if (r == 0)
        r = import_windows(w, dev, lm->pools[file], windows, n_windows, err);
    if (r == 0)
        bind_tensors(lm, file, extents, windows, w->buffers + first);
    free(extents);
    free(windows);
    return r;
}

int weights_import(struct loaded_model *lm, struct device *dev, struct weights **ret_weights,
                   struct error *err)
{
    struct weights *w = calloc(1, sizeof(*w));

    if (!w)
        return error_set(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < gguf_n_files(lm->gguf); i++) {
        int r = import_file(w, lm, dev, i, err);
        if (r < 0) {
            weights_release(w);
            return r;
        }
    }
    *ret_weights = w;
    return 0;
}

uint64_t weights_copied_bytes(const struct weights *w)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < w->n_buffers; i++)
        if (!w->buffers[i]->is_imported)
            bytes += w->buffers[i]->bytes;
    return bytes;
}

void weights_release(struct weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_buffers; i++)
        buffer_destroy(w->buffers[i]);
    free(w->buffers);
    free(w);
}
