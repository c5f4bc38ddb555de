/* SPDX-License-Identifier: MIT */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/pool_buffer.h"
#include "engine/running.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void wake_worker(void *user)
{
    struct engine *e = user;
    struct worker *w = atomic_load(&e->disk_wakes);

    if (w)
        worker_wake(w);
}

/* Answers do not depend on it: where it cannot be had, that is told. */
static void open_disk(struct engine *e, const struct engine_config *config)
{
    struct kv_disk_config disk = {
        .path = config->kv_disk,
        .most_bytes = config->kv_disk_bytes ? config->kv_disk_bytes : ENGINE_KV_DISK_BYTES,
        .keep_seconds = config->kv_disk_seconds,
        .wake = wake_worker,
        .user = e,
    };

    if (!config->kv_disk)
        return;
    e->disk_limit_bytes = disk.most_bytes;
    if (kv_disk_create(&disk, &e->disk, &e->disk_error) == 0)
        return;
    error_prefix(&e->disk_error, "conversations stay in memory");
    log_warn("%s", e->disk_error.text);
}

int engine_create(const struct engine_config *config, struct engine **ret_engine, struct error *err)
{
    struct engine *e = calloc(1, sizeof(*e));
    struct worker_config workers;
    struct device_info info;
    int r;

    if (!e)
        return error_set(err, ENOMEM, "out of memory");
    list_init(&e->requests);
    list_init(&e->forgets);
    list_init(&e->catalogue.entries);
    list_init(&e->accounts.list);
    e->events.fd = -1;
    e->queue_limit = config->queue_limit ? config->queue_limit : QUEUE_LIMIT_DEFAULT;
    e->pools = (struct pool_config){
        .use_hugetlb = config->use_hugetlb,
        .numa_node = config->numa_node,
        .keeper = config->keeper,
    };
    workers = (struct worker_config){
        .device = config->device,
        .context_tokens = config->context_tokens,
        .batch_tokens = config->batch_tokens,
        .kv_bytes = config->kv_bytes,
        .kv_type = config->kv_type == ENGINE_KV_Q8_0 ? KV_Q8_0 : KV_F16,
        .prefix_percent = config->prefix_percent,
        .idle_after_ns = config->idle_after_ns,
        .pools = e->pools,
    };
    open_disk(e, config);
    workers.disk = e->disk;
    r = accounts_init(&e->accounts, config->user_rules, config->n_user_rules,
                      config->user_limit ? config->user_limit : USER_LIMIT_DEFAULT(e->queue_limit),
                      err);
    if (r == 0)
        r = shared_prompts_init(&e->shared_prompts, config->shared_prompts, err);
    if (r == 0)
        r = event_queue_init(&e->events, err);
    if (r == 0)
        r = worker_create(&workers, &e->events, &e->worker, err);
    if (r == 0) {
        atomic_store(&e->disk_wakes, e->worker);
        worker_device_info(e->worker, &info);
        pool_config_for_device(&e->pools, &info, e->memory, e->advice);
        worker_set_pools(e->worker, &e->pools);
    }
    if (r == 0)
        r = prompter_create(e->worker, &e->events, &e->prompter, err);
    if (r == 0)
        r = catalogue_init(&e->catalogue, config->model_dirs, err);
    if (r < 0) {
        engine_destroy(e);
        return r;
    }
    *ret_engine = e;
    return 0;
}

/* Ends what waits for a load that will not come. */
static void end_waiting(struct engine *e)
{
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        models_take_late(entry);
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        list_for_each_safe (r, &entry->waiting, struct engine_request, link)
            running_request_end(&e->events, r, ENGINE_FINISH_CANCEL);
}

/* Tells clients that still wait for a load. */
static void end_listeners(struct engine *e)
{
    struct error err;

    error_set(&err, ECANCELED, "the service is stopping");
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        catalogue_hold(entry); /* all stay until the end: a callback may look for models */
        list_for_each_safe (l, &entry->listeners, struct engine_load, link) {
            list_remove(&l->link);
            if (l->events.on_done)
                l->events.on_done(l->user, &err);
            free(l);
        }
    }
}

static void release_models(struct engine *e)
{
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link) {
        if (entry->lm)
            loaded_model_leave(entry->lm);
        loaded_model_unref(entry->lm);
        entry->lm = NULL;
    }
}

static void handle_forgotten(const struct event *ev)
{
    struct engine_forget *f = ev->subject;

    f->what.memory_bytes = ev->done_bytes;
    f->what.disk_bytes += ev->total_bytes;
    list_remove(&f->link);
    if (f->on_done)
        f->on_done(f->user, &f->what);
    free(f);
}

/* Takes the last events, of which those of requests and of what is forgotten still matter. */
static void drain_events(struct engine *e)
{
    struct event *ev = event_take_all(&e->events), *next;

    for (; ev; ev = next) {
        next = ev->next;
        if (ev->kind >= EVENT_START)
            requests_handle(e, ev);
        else if (ev->kind == EVENT_FORGOTTEN)
            handle_forgotten(ev);
        event_recycle(&e->events, ev);
    }
}

void engine_destroy(struct engine *e)
{
    if (!e)
        return;
    e->is_stopping = true;
    if (e->disk)
        kv_disk_expect_end(e->disk);
    adoption_finish(e);
    models_finish(e);
    prompter_destroy(e->prompter);
    if (e->worker)
        worker_stop(e->worker);
    if (e->events.fd >= 0) {
        end_waiting(e);
        requests_end_held(e);
        drain_events(e);
    }
    end_listeners(e);
    release_models(e);
    kv_disk_destroy(e->disk); /* its clients ended with the thread, and its own may wake that */
    worker_destroy(e->worker);
    catalogue_finish(&e->catalogue);
    event_queue_finish(&e->events);
    accounts_finish(&e->accounts);
    shared_prompts_finish(&e->shared_prompts);
    list_for_each_safe (f, &e->forgets, struct engine_forget, link)
        free(f);
    free(e->infos);
    free(e);
}

int engine_event_fd(const struct engine *e)
{
    return e->events.fd;
}

void engine_dispatch(struct engine *e)
{
    struct event *ev = event_take_all(&e->events), *next;

    for (; ev; ev = next) {
        next = ev->next;
        if (ev->kind >= EVENT_START)
            requests_handle(e, ev);
        else if (ev->kind == EVENT_FORGOTTEN)
            handle_forgotten(ev);
        else
            models_handle(e, ev);
        event_recycle(&e->events, ev);
    }
}

/* The loaded model of a name, for the calls that need nothing but its tokenizer. */
static int loaded_by_name(struct engine *e, const char *name, struct loaded_model **ret_lm,
                          struct error *err)
{
    struct model_entry *entry;
    int r = catalogue_find(&e->catalogue, name, &entry, err);

    if (r < 0)
        return r;
    if (entry->state != ENGINE_MODEL_READY) {
        r = error_set(err, EBUSY, "%s is not loaded", entry->name);
        catalogue_forget(&e->catalogue, entry);
        return r;
    }
    *ret_lm = entry->lm;
    return 0;
}

int engine_tokenize(struct engine *e, const char *model, const char *text, size_t len,
                    bool add_special, bool parse_special, int32_t **ret_ids, size_t *ret_n,
                    struct error *err)
{
    struct loaded_model *lm = NULL;
    struct token_array ids = {0};
    unsigned flags =
        (add_special ? TOKENIZE_ADD_SPECIAL : 0) | (parse_special ? TOKENIZE_PARSE_SPECIAL : 0);
    int r = loaded_by_name(e, model, &lm, err);

    if (r == 0)
        r = tokenizer_encode(lm->tokenizer, text, len, flags, &ids, err);
    if (r < 0) {
        token_array_finish(&ids);
        return r;
    }
    *ret_ids = ids.ids;
    *ret_n = ids.n;
    return 0;
}

int engine_detokenize(struct engine *e, const char *model, const int32_t *ids, size_t n,
                      char **ret_text, size_t *ret_len, struct error *err)
{
    struct loaded_model *lm = NULL;
    struct detokenizer detok;
    struct strbuf text;
    int r = loaded_by_name(e, model, &lm, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer_n_tokens(lm->tokenizer))
            return error_set(err, EINVAL, "token %d is not in the vocabulary of %zu", ids[i],
                             tokenizer_n_tokens(lm->tokenizer));
    strbuf_init(&text, 0);
    detokenizer_init(&detok, lm->tokenizer, -1, true);
    for (size_t i = 0; i < n; i++)
        detokenizer_add(&detok, ids[i], &text);
    detokenizer_flush(&detok, &text);
    *ret_len = text.len;
    *ret_text = strbuf_steal(&text);
    if (!*ret_text) {
        strbuf_finish(&text);
        return error_set(err, ENOMEM, "out of memory");
    }
    return 0;
}

int engine_token_bytes(struct engine *e, const char *model, int32_t id, const char **ret_bytes,
                       size_t *ret_len, struct error *err)
{
    struct loaded_model *lm = NULL;
    int r = loaded_by_name(e, model, &lm, err);

    if (r < 0)
        return r;
    if (id < 0 || (size_t)id >= tokenizer_n_tokens(lm->tokenizer))
        return error_set(err, EINVAL, "token %d is not in the vocabulary of %zu", id,
                         tokenizer_n_tokens(lm->tokenizer));
    *ret_bytes = tokenizer_piece(lm->tokenizer, id, ret_len);
    return 0;
}

int engine_forget(struct engine *e, uid_t uid,
                  void (*on_done)(void *user, const struct engine_forgotten *what), void *user,
                  struct engine_forget **ret_forget, struct error *err)
{
    struct engine_forget *f = calloc(1, sizeof(*f));
    uint64_t bytes;

    if (!f)
        return error_set(err, ENOMEM, "out of memory");
    f->on_done = on_done;
    f->user = user;
    f->what.is_disk_known = engine_disk_bytes(e, uid, &bytes);
    /* the disk at once; the device thread gives up there what comes from memory until then */
    if ((e->disk && kv_disk_forget(e->disk, uid, &f->what.disk_bytes) < 0) ||
        worker_forget(e->worker, uid, f) < 0) {
        free(f);
        return error_set(err, ENOMEM, "out of memory");
    }
    list_push_back(&e->forgets, &f->link);
    if (ret_forget)
        *ret_forget = f;
    return 0;
}

void engine_forget_leave(struct engine_forget *f)
{
    f->on_done = NULL;
}

bool engine_disk_bytes(struct engine *e, uid_t uid, uint64_t *ret_bytes)
{
    *ret_bytes = 0;
    return !e->disk || kv_disk_user_bytes(e->disk, uid, ret_bytes);
}

static void disk_stats(const struct engine *e, struct engine_disk_stats *ret)
{
    *ret = (struct engine_disk_stats){
        .is_used = e->disk != NULL,
        .why_not = e->disk_error.text,
        .limit_bytes = e->disk_limit_bytes,
    };
    if (e->disk)
        kv_disk_get_stats(e->disk, &ret->tier);
}

void engine_get_stats(struct engine *e, struct engine_stats *ret_stats)
{
    struct worker_stats w;
    struct engine_stats s = {
        .requests_total = e->requests_total,
        .requests_failed = e->requests_failed,
        .requests_cancelled = e->requests_cancelled,
        .n_waiting = e->n_waiting,
    };

    worker_get_stats(e->worker, &w);
    memcpy(s.device, w.device, sizeof(s.device));
    memcpy(s.device_note, w.device_note, sizeof(s.device_note));
    s.memory = e->memory;
    s.memory_advice = e->advice;
    s.prompts_total = w.prompts;
    s.cached_prompts_total = w.cached_prompts;
    s.prompt_tokens_total = w.prompt_tokens;
    s.cached_tokens_total = w.cached_tokens;
    s.completion_tokens_total = w.completion_tokens;
    s.prefill_ns_total = w.prefill_ns;
    s.decode_ns_total = w.decode_ns;
    s.steps_total = w.steps;
    s.device_losses_total = w.device_losses;
    _Static_assert(ENGINE_BATCH_MOST == DEVICE_FEW_ROWS, "a step has as many streams as rows");
    memcpy(s.batches, w.batches, sizeof(s.batches));
    s.n_pipelines = w.pipelines.n;
    s.n_compiled = w.pipelines.n_compiled;
    s.tells_compiled = w.pipelines.tells_compiled;
    list_for_each (entry, &e->catalogue.entries, struct model_entry, link)
        s.n_running += entry->n_running;
    disk_stats(e, &s.disk);
    s.disk.prompts = w.restored_prompts;
    s.disk.tokens = w.restored_tokens;
    *ret_stats = s;
}

static struct engine_user_stats stats_of(const struct account *c)
{
    struct engine_user_stats s = c->stats;

    s.n_waiting = c->n_waiting;
    s.n_running = c->n_requests - c->n_waiting;
    return s;
}

bool engine_get_user_stats(struct engine *e, uid_t uid, struct engine_user_stats *ret_stats)
{
    const struct account *c = accounts_find(&e->accounts, uid);

    if (c)
        *ret_stats = stats_of(c);
    return c != NULL;
}

void engine_each_user(struct engine *e,
                      void (*tell)(void *user, const struct engine_user_stats *stats), void *user)
{
    list_for_each (c, &e->accounts.list, struct account, link) {
        struct engine_user_stats s = stats_of(c);

        tell(user, &s);
    }
}

void engine_each_session(struct engine *e,
                         void (*tell)(void *user, const struct engine_session *session), void *user)
{
    uint64_t now_ns = clock_now_ns();

    list_for_each (r, &e->requests, struct engine_request, all) {
        struct engine_session s = {
            .caller = r->caller,
            .model = r->entry->name,
            .class = r->params.class,
            .has_begun = r->is_counted_running,
            .prompt_tokens = r->told.n_prompt,
            .completion_tokens = r->told.n_tokens,
            .age_ns = now_ns - r->queued_ns,
            .first_ns = r->told.first_ns ? r->told.first_ns - r->queued_ns : 0,
            .generate_ns = r->told.last_ns - r->told.first_ns,
        };

        tell(user, &s);
    }
}
