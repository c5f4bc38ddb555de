/* SPDX-License-Identifier: MIT */
#include "engine/loaded_model.h"

#include "engine/vocabulary.h"
#include "engine/weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int open_template(struct loaded_model *lm, struct error *err)
{
    struct gguf_str source;
    int r;

    if (gguf_get_str(lm->gguf, "tokenizer.chat_template", &source, NULL) < 0)
        return 0;
    lm->chat_template_source = strndup(source.data, source.len);
    if (!lm->chat_template_source)
        return error_set(err, ENOMEM, "out of memory");
    r = template_create(source.data, source.len, &lm->chat_template, err);
    if (r < 0)
        error_prefix(err, "tokenizer.chat_template");
    return r;
}

/* Remembers which files were read, so that a file swapped before its weights are read is noticed.
 */
static int identify_files(struct loaded_model *lm, struct error *err)
{
    size_t n = gguf_n_files(lm->gguf);

    lm->file_ids = calloc(n, sizeof(*lm->file_ids));
    if (!lm->file_ids)
        return error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        int r = pool_file_id_get(gguf_file(lm->gguf, i)->fd, &lm->file_ids[i], err);
        if (r < 0)
            return r;
        lm->file_bytes += gguf_file(lm->gguf, i)->size_bytes;
    }
    return 0;
}

int loaded_model_open(const char *path, struct loaded_model **ret_lm, struct error *err)
{
    struct loaded_model *lm = calloc(1, sizeof(*lm));
    int r;

    if (!lm)
        return error_set(err, ENOMEM, "out of memory");
    atomic_init(&lm->ref_count, 1);
    lm->path = strdup(path);
    if (!lm->path) {
        r = error_set(err, ENOMEM, "out of memory");
        goto fail;
    }
    r = gguf_open(path, &lm->gguf, err);
    if (r < 0)
        goto fail;
    r = model_create(lm->gguf, &lm->model, err);
    if (r == 0)
        r = model_cut(lm->model, WEIGHTS_PIECE_BYTES, err);
    if (r == 0)
        r = vocabulary_open(lm->gguf, lm->model->dims.dim[DIM_VOCAB], &lm->tokenizer, err);
    if (r == 0)
        r = open_template(lm, err);
    if (r == 0)
        r = identify_files(lm, err);
    if (r < 0) {
        error_prefix(err, "%s", path);
        goto fail;
    }
    *ret_lm = lm;
    return 0;
fail:
    loaded_model_unref(lm);
    return r;
}

/* Progress of one file as progress of the whole model. */
struct file_progress {
    struct loaded_model *lm;
    const struct loaded_model_progress *outer;
    uint64_t before_bytes, total_bytes;
};

static void report_file(uint64_t done_bytes, uint64_t total_bytes, void *data)
{
    const struct file_progress *p = data;

    atomic_store(&p->lm->filled_bytes, p->before_bytes + done_bytes);
    if (p->outer && p->outer->report)
        p->outer->report(p->outer->user, p->before_bytes + done_bytes, p->total_bytes);
}

/* A new pool, filled and sealed. */
static int read_file(struct loaded_model *lm, size_t i, const struct pool_config *config,
                     struct file_progress *progress, struct error *err)
{
    const struct gguf_file *file = gguf_file(lm->gguf, i);
    struct pool_fill_options options = {
        .progress = report_file,
        .progress_data = progress,
        .cancel = progress->outer ? progress->outer->is_cancelled : NULL,
        .is_urgent = progress->outer ? progress->outer->is_urgent : NULL,
        .expect = &lm->file_ids[i],
    };
    int r = pool_create(config, file->size_bytes, lm->path, &lm->pools[i], err);

    if (r == 0) {
        atomic_fetch_add(&lm->taken_bytes, pool_mapped_bytes(lm->pools[i]));
        r = pool_fill_file(lm->pools[i], 0, file->fd, 0, file->size_bytes, &options, &lm->fill,
                           err);
    }
    return r < 0 ? r : pool_seal(lm->pools[i], err);
}

static struct pool_config config_of(const struct loaded_model *lm, size_t i,
                                    const struct pool_config *pools)
{
    struct pool_config config = *pools;

    config.key = &lm->file_keys[i];
    config.is_deferred = true;
    return config;
}

static int find_file(struct loaded_model *lm, size_t i, const struct pool_config *pools,
                     struct error *err)
{
    const struct gguf_file *file = gguf_file(lm->gguf, i);
    struct pool_config config = config_of(lm, i, pools);
    int r = weights_check(lm->model, (uint32_t)i, err);

    if (r == 0)
        r = pool_key_of_file(file->fd, file->header, file->header_bytes, &lm->file_keys[i], err);
    if (r < 0) {
        error_prefix(err, "%s", file->path);
        return r;
    }
    /* whatever stands against finding it, it can still be read */
    if (pool_find(&config, file->size_bytes, lm->path, &lm->pools[i], NULL) == 0)
        lm->resident_bytes += file->size_bytes;
    return 0;
}

int loaded_model_find(struct loaded_model *lm, const struct pool_config *pools, struct error *err)
{
    size_t n = gguf_n_files(lm->gguf);

    lm->rests = pools->kind != POOL_KIND_MEMFD; /* those would be lost to the next process */
    lm->pools = calloc(n, sizeof(struct pool *));
    lm->file_keys = calloc(n, sizeof(*lm->file_keys));
    if (!lm->pools || !lm->file_keys)
        return error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        int r = find_file(lm, i, pools, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill_file(struct loaded_model *lm, size_t i, const struct pool_config *pools,
                     struct file_progress *progress, struct error *err)
{
    const struct gguf_file *file = gguf_file(lm->gguf, i);
    struct pool_config config = config_of(lm, i, pools);
    int r = lm->pools[i] ? 0 : read_file(lm, i, &config, progress, err);

    if (r < 0)
        error_prefix(err, "%s", file->path);
    progress->before_bytes += file->size_bytes;
    if (r == 0)
        atomic_store(&lm->filled_bytes, progress->before_bytes);
    return r;
}

/* The parts of a split model are one model. */
static void join_keys(const struct pool_key *keys, size_t n, struct pool_key *ret)
{
    *ret = keys[0];
    if (n > 1)
        pool_key_derive(&keys[0], "split", keys, n * sizeof(*keys), ret);
}

static int derive_keys(struct loaded_model *lm, struct error *err)
{
    size_t n = gguf_n_files(lm->gguf);
    struct pool_key *lasting = calloc(n, sizeof(*lasting));

    if (!lasting)
        return error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const struct gguf_file *file = gguf_file(lm->gguf, i);

        pool_key_lasting(&lm->file_ids[i], file->header, file->header_bytes,
                         pool_data(lm->pools[i]), &lasting[i]);
    }
    join_keys(lm->file_keys, n, &lm->key);
    join_keys(lasting, n, &lm->lasting_key);
    free(lasting);
    return 0;
}

static void describe_pools(struct loaded_model *lm)
{
    for (size_t i = 0; i < gguf_n_files(lm->gguf); i++) {
        struct pool_info info;
        pool_get_info(lm->pools[i], &info);
        lm->pool_bytes += pool_mapped_bytes(lm->pools[i]);
        lm->huge_bytes += info.huge_bytes;
        memcpy(lm->pool_text, info.text, sizeof(lm->pool_text));
        memcpy(lm->pool_promises, info.promises, sizeof(lm->pool_promises));
    }
}

int loaded_model_fill(struct loaded_model *lm, const struct pool_config *pools,
                      const struct loaded_model_progress *progress, struct error *err)
{
    struct file_progress files = {.lm = lm, .outer = progress, .total_bytes = lm->file_bytes};
    int r = lm->pools ? 0 : loaded_model_find(lm, pools, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < gguf_n_files(lm->gguf) && r == 0; i++)
        r = fill_file(lm, i, pools, &files, err);
    if (r == 0)
        r = derive_keys(lm, err);
    if (r < 0) { /* others may still have references, and shall not hold memory by them */
        loaded_model_drop(lm);
        return r;
    }
    describe_pools(lm);
    return 0;
}

void loaded_model_rest(struct loaded_model *lm)
{
    for (size_t i = 0; lm->rests && i < gguf_n_files(lm->gguf); i++)
        pool_set_idle(lm->pools[i], true, NULL);
}

int loaded_model_wake(struct loaded_model *lm, struct error *err)
{
    for (size_t i = 0; lm->rests && i < gguf_n_files(lm->gguf); i++) {
        int r = pool_set_idle(lm->pools[i], false, err);

        if (r < 0)
            return r;
    }
    return 0;
}

struct loaded_model *loaded_model_ref(struct loaded_model *lm)
{
    atomic_fetch_add(&lm->ref_count, 1);
    return lm;
}

void loaded_model_leave(struct loaded_model *lm)
{
    atomic_store(&lm->is_left, true);
}

static void release_pool(const struct loaded_model *lm, struct pool *pool)
{
    if (pool && !atomic_load(&lm->is_left))
        pool_set_idle(pool, true, NULL);
    pool_destroy(pool);
}

void loaded_model_drop(struct loaded_model *lm)
{
    for (size_t i = 0; lm->pools && i < gguf_n_files(lm->gguf); i++)
        release_pool(lm, lm->pools[i]);
    free(lm->pools);
    free(lm->file_keys);
    lm->pools = NULL;
    lm->file_keys = NULL;
    lm->resident_bytes = lm->pool_bytes = lm->huge_bytes = 0;
    atomic_store(&lm->taken_bytes, 0);
    atomic_store(&lm->filled_bytes, 0);
}

void loaded_model_unref(struct loaded_model *lm)
{
    if (!lm || atomic_fetch_sub(&lm->ref_count, 1) != 1)
        return;
    loaded_model_drop(lm);
    free(lm->file_ids);
    template_destroy(lm->chat_template);
    free(lm->chat_template_source);
    tokenizer_destroy(lm->tokenizer);
    model_destroy(lm->model);
    gguf_close(lm->gguf);
    free(lm->path);
    free(lm);
}

const char *loaded_model_read_note(const struct loaded_model *lm)
{
    const struct pool_fill_result *fill = &lm->fill;

    if (lm->resident_bytes == lm->file_bytes)
        return "resident, nothing read";
    if (fill->is_uring)
        return fill->is_direct ? "io_uring, direct" : "io_uring, buffered";
    return fill->is_direct ? "reads, direct" : "reads, buffered";
}
