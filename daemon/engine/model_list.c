/* SPDX-License-Identifier: MIT */
/* What is told of models: those of the catalogue, and how it is with the loaded ones. */
#include "engine/engine_private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

static void describe_loaded(struct engine *e, const struct model_entry *entry,
                            struct engine_model_info *info)
{
    const struct loaded_model *lm = entry->lm;
    const struct dims *d = &lm->model->dims;
    struct worker_model_figures figures = {0};

    info->architecture = lm->model->arch->name;
    info->type_name = model_type_name(lm->model);
    info->parameters = lm->model->parameters;
    info->pool_bytes = lm->pool_bytes;
    info->huge_page_bytes = lm->huge_bytes;
    info->pool_kind = lm->pool_text;
    info->pool_promises = lm->pool_promises;
    info->read_note = loaded_model_read_note(lm);
    info->resident_bytes = lm->resident_bytes;
    info->context_trained_tokens = d->dim[DIM_CONTEXT];
    info->n_vocab = d->dim[DIM_VOCAB];
    info->n_embd = d->dim[DIM_EMBD];
    info->chat_template = lm->chat_template_source;
    if (worker_get_figures(e->worker, entry, &figures)) {
        info->kv_bytes = figures.kv_bytes;
        info->kv_used_bytes = figures.kv_used_bytes;
        info->prefix_bytes = figures.prefix_bytes;
        info->prefix_found_bytes = figures.found_bytes;
        info->is_cache_kept = figures.is_cache_kept;
        info->device_copy_bytes = figures.copied_bytes;
        info->context_tokens = figures.context_tokens;
        info->is_idle = figures.is_idle;
        info->device_ns = figures.device_ns;
    }
}

static void describe(struct engine *e, const struct model_entry *entry,
                     struct engine_model_info *info)
{
    *info = (struct engine_model_info){
        .name = entry->name,
        .path = entry->path,
        .state = entry->state,
        .file_bytes = entry->file_bytes,
        .modified_unix = entry->modified_unix,
        .loaded_bytes = entry->loaded_bytes,
        .load_seconds = entry->load_seconds,
        .is_pinned = entry->is_pinned,
        .n_running = entry->n_running,
        .n_waiting = entry->n_active - entry->n_running,
    };
    /* while it is loading, the loader thread owns what lm points to */
    if (entry->state == ENGINE_MODEL_READY)
        describe_loaded(e, entry, info);
    else if (entry->state == ENGINE_MODEL_LOADING)
        info->load_seconds = (double)(clock_now_ns() - entry->load_start_ns) * 1e-9;
}

static int reserve_infos(struct engine *e, size_t n)
{
    struct engine_model_info *more = realloc(e->infos, (n + 1) * sizeof(*more));

    if (!more)
        return -ENOMEM;
    e->infos = more;
    return 0;
}

int engine_models(struct engine *e, const struct engine_model_info **ret_list, size_t *ret_n)
{
    size_t n = 0;

    catalogue_scan(&e->catalogue);
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        n++;
    if (reserve_infos(e, n) < 0)
        return -ENOMEM;
    n = 0;
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        describe(e, entry, &e->infos[n++]);
    *ret_list = e->infos;
    *ret_n = n;
    return 0;
}

int engine_find_model(struct engine *e, const char *name, const struct engine_model_info **ret_info,
                      struct error *err)
{
    struct model_entry *entry;
    int r = catalogue_find(&e->catalogue, name, &entry, err);

    if (r == -ENOENT) { /* its file may have come since */
        catalogue_scan(&e->catalogue);
        r = catalogue_find(&e->catalogue, name, &entry, err);
    }
    if (r < 0)
        return r;
    if (reserve_infos(e, 1) < 0)
        return error_set(err, ENOMEM, "out of memory");
    describe(e, entry, &e->infos[0]);
    *ret_info = e->infos;
    return 0;
}
