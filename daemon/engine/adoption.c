/* SPDX-License-Identifier: MIT */
#include "engine/adoption.h"

#include "engine/engine_private.h"
#include "pool/pool_kept.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the thread ---- */

struct search {
    const struct pool_config *pools;
    struct pool_kept *kept;
    size_t n_kept;
};

/* What a process that died had begun to fill nobody will finish: pool_find() frees that. */
static void free_half(const struct search *s, const struct pool_key *key, uint64_t bytes)
{
    struct pool_config config = *s->pools;
    struct pool *pool;

    config.key = key;
    if (pool_find(&config, bytes, "half a model", &pool, NULL) == 0)
        pool_destroy(pool);
}

/* Whether all files of the model are in memory whole. */
static bool is_resident(const struct search *s, const struct gguf *g, struct adoptee *model)
{
    bool is_whole = true;

    for (size_t i = 0; i < gguf_n_files(g); i++) {
        const struct gguf_file *file = gguf_file(g, i);
        const struct pool_kept *kept;
        struct pool_key key;

        if (pool_key_of_file(file->fd, file->header, file->header_bytes, &key, NULL) < 0)
            return false;
        kept = pool_kept_find(s->kept, s->n_kept, &key);
        if (kept && !kept->is_sealed)
            free_half(s, &key, file->size_bytes);
        is_whole = is_whole && kept && kept->is_sealed;
        if (kept && kept->used_ns > model->used_ns)
            model->used_ns = kept->used_ns;
        if (i == 0)
            model->key = key;
    }
    return is_whole;
}

static bool is_model_resident(const struct search *s, struct adoptee *model)
{
    struct gguf *g;
    struct stat st;
    bool is;

    /* most that are not there are told by their size, without being read */
    if (stat(model->path, &st) < 0 || !pool_kept_may_hold(s->kept, s->n_kept, (uint64_t)st.st_size))
        return false;
    if (gguf_open(model->path, &g, NULL) < 0)
        return false;
    is = is_resident(s, g, model);
    gguf_close(g);
    return is;
}

/* A file that has several names is one model. */
static bool has_key(const struct adoptee *models, size_t n, const struct pool_key *key)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(models[i].key.hex, key->hex))
            return true;
    return false;
}

static int compare_used(const void *a, const void *b)
{
    const struct adoptee *x = a, *y = b;

    return x->used_ns < y->used_ns ? 1 : x->used_ns > y->used_ns ? -1 : 0;
}

/* Leaves of the models those that are resident, the last used first. */
static void *find_models(void *arg)
{
    struct adoption *a = arg;
    struct search s = {.pools = &a->engine->pools};
    struct event *found = a->found;
    size_t n = 0;

    /* where nothing is, no file is looked at */
    if (pool_kept_list(s.pools, &s.kept, &s.n_kept) == 0 && s.n_kept)
        for (size_t i = 0; i < a->n && !atomic_load(&a->is_cancelled); i++) {
            struct adoptee model = a->models[i];

            if (!is_model_resident(&s, &model) || has_key(a->models, n, &model.key))
                continue;
            a->models[i] = a->models[n];
            a->models[n++] = model;
        }
    free(s.kept);
    for (size_t i = n; i < a->n; i++)
        free(a->models[i].path);
    a->n = n;
    if (n)
        qsort(a->models, n, sizeof(*a->models), compare_used);
    a->found = NULL;
    event_post(&a->engine->events, found);
    return NULL;
}

/* ---- the owner ---- */

static void join(struct adoption *a)
{
    if (a->has_thread)
        pthread_join(a->thread, NULL);
    a->has_thread = false;
}

static void forget_models(struct adoption *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->models[i].path);
    free(a->models);
    a->models = NULL;
    a->n = a->next = 0;
}

static int list_models(struct engine *e)
{
    struct adoption *a = &e->adoption;
    size_t n = 0;

    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        n++;
    a->models = calloc(n + 1, sizeof(*a->models));
    if (!a->models)
        return -ENOMEM;
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        a->models[a->n].path = strdup(entry->path);
        if (!a->models[a->n].path)
            return -ENOMEM;
        a->n++;
    }
    return 0;
}

int engine_adopt(struct engine *e, struct error *err)
{
    struct adoption *a = &e->adoption;
    int r;

    if (a->has_thread || a->models || e->is_stopping)
        return 0;
    a->engine = e;
    atomic_store(&a->is_cancelled, false);
    a->found = event_new(&e->events, EVENT_FOUND, a);
    r = a->found ? list_models(e) : -ENOMEM;
    if (r == 0)
        r = -pthread_create(&a->thread, NULL, find_models, a);
    if (r < 0) {
        if (a->found)
            event_recycle(&e->events, a->found);
        a->found = NULL;
        forget_models(a);
        return error_set_errno(err, r, "what is in memory of models cannot be looked for");
    }
    pthread_setname_np(a->thread, "hearth-adopt");
    a->has_thread = true;
    return 0;
}

/* Begins with one unless somebody has asked for it by now. */
static void take_up(struct engine *e, const char *path)
{
    struct adoption *a = &e->adoption;
    struct model_entry *entry = catalogue_find_path(&e->catalogue, path);
    struct error err = {0};

    if (!entry || entry->state != ENGINE_MODEL_AVAILABLE || entry->has_loader)
        return;
    if (models_start_load(e, entry, &err) < 0) {
        log_warn("%s stays where it is in memory: %s", entry->name, err.text);
        return;
    }
    entry->is_adoption = true;
    /* before anything of this process, and the first that is taken up the latest of them */
    entry->last_used_ns = a->n - a->next + 1;
    catalogue_hold(entry);
    a->entry = entry;
}

void adoption_step(struct engine *e)
{
    struct adoption *a = &e->adoption;

    if (e->is_stopping || e->is_loading_over || a->has_thread || !a->models)
        return;
    if (a->entry && a->entry->state == ENGINE_MODEL_LOADING && a->entry->is_adoption)
        return;
    if (a->entry)
        catalogue_release(&e->catalogue, a->entry);
    a->entry = NULL;
    while (!a->entry && a->next < a->n)
        take_up(e, a->models[a->next++].path);
    if (!a->entry)
        forget_models(a);
}

void adoption_handle_found(struct engine *e)
{
    join(&e->adoption);
}

void adoption_finish(struct engine *e)
{
    struct adoption *a = &e->adoption;

    atomic_store(&a->is_cancelled, true);
    join(a);
    if (a->entry)
        catalogue_release(&e->catalogue, a->entry);
    a->entry = NULL;
    forget_models(a);
}
