/* SPDX-License-Identifier: MIT */
#include "fake_engine.h"

#include "base/list.h"
#include "base/utf8.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { AHEAD = 64 }; /* tokens made before they are fetched */

struct engine_request {
    struct engine *engine;
    struct list link; /* in engine.requests */
    char *script;
    const struct engine_events *events;
    void *user;
    uint32_t max_tokens;
    uint32_t n_made, n_told; /* tokens */
    int top_logprobs;
    size_t echoed;
    bool wants_vector, has_started, is_paused, is_cancelled, is_expired;
    bool is_telling, is_forgotten; /* the owner's: in on_token, cancelled there */
    struct engine_params params;   /* as asked, for forks; the stop strings may be gone */
};

struct engine_load {
    struct list link; /* in engine.loads */
    char model[64];
    struct engine_load_events events;
    void *user;
    int steps_made, steps_told;
};

struct engine_forget {
    struct list link; /* in engine.forgets */
    uid_t uid;
    void (*on_done)(void *user, const struct engine_forgotten *what);
    void *user;
};

struct engine {
    pthread_t thread;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t wake;
    struct list requests, loads, forgets;
    int event_fd;
    unsigned delay_us;
    uint32_t queue_limit, n_requests;
    bool is_ending, cold_is_ready, cold_is_pinned;
    atomic_bool says_loading; /* the test's own thread sets it */
    struct fake_seen seen;
    struct engine_model_info models[3];
    const char *_Atomic chat_template, *_Atomic prompt_end; /* the test's own thread sets them */
};

static bool wants_token(const struct engine_request *r)
{
    return !r->is_paused && !r->is_cancelled && strcmp(r->script, "wait") != 0 &&
           r->n_made - r->n_told < AHEAD && (!r->max_tokens || r->n_made < r->max_tokens);
}

/* One step: a token for every request that can take one. */
static bool step(struct engine *e)
{
    bool has_worked = false;

    list_for_each (r, &e->requests, struct engine_request, link) {
        if (!wants_token(r))
            continue;
        r->n_made++;
        e->seen.n_tokens++;
        has_worked = true;
    }
    list_for_each (load, &e->loads, struct engine_load, link) {
        if (load->steps_made < 3) {
            load->steps_made++;
            has_worked = true;
        }
    }
    return has_worked;
}

static void *run(void *arg)
{
    struct engine *e = arg;

    pthread_mutex_lock(&e->lock);
    while (!e->is_ending) {
        unsigned delay = e->delay_us;

        if (!step(e)) {
            pthread_cond_wait(&e->wake, &e->lock);
            continue;
        }
        pthread_mutex_unlock(&e->lock);
        eventfd_write(e->event_fd, 1);
        if (delay)
            usleep(delay);
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void poke(struct engine *e)
{
    pthread_cond_signal(&e->wake);
    eventfd_write(e->event_fd, 1);
}

int engine_create(const struct engine_config *config, struct engine **ret_engine, struct error *err)
{
    struct engine *e = calloc(1, sizeof(*e));

    if (!e)
        return error_set(err, -ENOMEM, "no memory");
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    list_init(&e->requests);
    list_init(&e->loads);
    list_init(&e->forgets);
    e->queue_limit = config->queue_limit ? config->queue_limit : 256;
    e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_create(&e->thread, NULL, run, e);
    *ret_engine = e;
    return 0;
}

static void request_free(struct engine *e, struct engine_request *r)
{
    list_remove(&r->link);
    e->n_requests--;
    e->seen.n_running--;
    free(r->script);
    free(r);
}

void engine_destroy(struct engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->is_ending = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    list_for_each_safe (r, &e->requests, struct engine_request, link)
        request_free(e, r);
    list_for_each_safe (l, &e->loads, struct engine_load, link)
        free(l);
    list_for_each_safe (f, &e->forgets, struct engine_forget, link)
        free(f);
    close(e->event_fd);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

int engine_event_fd(const struct engine *e)
{
    return e->event_fd;
}

/* ---- what the owner is told ---- */

static void tell_done(struct engine *e, struct engine_request *r, enum engine_finish finish,
                      const struct error *why)
{
    float x = r->wants_vector ? (float)atof(r->script + 7) / 3 : 0, vector[3] = {x, 2 * x, 2 * x};
    const struct engine_events *events = r->events;
    void *user = r->user;
    struct engine_result result = {
        .finish = finish,
        .error = why,
        .prompt_tokens = (uint32_t)strlen(r->script),
        .completion_tokens = r->n_told,
        .seed = 7,
        .vector = r->wants_vector && finish == ENGINE_FINISH_STOP ? vector : NULL,
        .n_vector = 3,
        .queue_ns = 1000,
        .prefill_ns = 2000000,
        .decode_ns = 3000000,
        .first_token_ns = 2500000,
    };

    events->on_done(user, &result);
    pthread_mutex_lock(&e->lock);
    request_free(e, r);
    pthread_mutex_unlock(&e->lock);
}

/* The text of token n; false when the script ends before it. */
static bool make_text(struct engine_request *r, uint32_t n, char *text, size_t *len)
{
    const char *echo = r->script + 5;

    if (strncmp(r->script, "echo ", 5) == 0) {
        size_t left = strlen(echo) - r->echoed, take = left < 3 ? left : 3;
        size_t whole = utf8_whole_prefix(echo + r->echoed, take);

        *len = whole ? whole : left < 4 ? left : 4;
        memcpy(text, echo + r->echoed, *len);
        r->echoed += *len;
        return left;
    }
    if (strncmp(r->script, "block ", 6) == 0) {
        memset(text, 'x', *len = 1000);
        return n < (uint32_t)atoi(r->script + 6);
    }
    if (strncmp(r->script, "count ", 6) == 0 || strcmp(r->script, "fail") == 0) {
        *len = (size_t)snprintf(text, 1000, "%u ", n);
        return r->script[0] == 'f' || n < (uint32_t)atoi(r->script + 6);
    }
    memcpy(text, "word ", *len = 5);
    return true;
}

/* Tells one token; false when the request is over. */
static bool tell_token(struct engine *e, struct engine_request *r)
{
    static const struct error io = {.code = -EIO, .text = "the device failed"};
    static const struct error too_long = {.code = -EMSGSIZE,
                                          .text = "the prompt has 9000 tokens, the context 8192"};
    struct engine_top top[2] = {{1, -0.25f}, {2, -1.5f}};
    struct engine_token token = {.id = 1, .logprob = -0.25f};
    char text[1000];

    if (strcmp(r->script, "toolong") == 0) {
        tell_done(e, r, ENGINE_FINISH_ERROR, &too_long);
        return false;
    }
    if (!r->has_started) {
        r->has_started = true;
        if (r->events->on_start)
            r->events->on_start(r->user, (uint32_t)strlen(r->script));
    }
    if (r->wants_vector) {
        tell_done(e, r, ENGINE_FINISH_STOP, NULL);
        return false;
    }
    if (strcmp(r->script, "fail") == 0 && r->n_told == 2) {
        tell_done(e, r, ENGINE_FINISH_ERROR, &io);
        return false;
    }
    if (!make_text(r, r->n_told, text, &token.text_len)) {
        tell_done(e, r, ENGINE_FINISH_STOP, NULL);
        return false;
    }
    token.text = text;
    token.top = top;
    token.n_top = r->top_logprobs > 2 ? 2 : r->top_logprobs > 0 ? (size_t)r->top_logprobs : 0;
    pthread_mutex_lock(&e->lock);
    r->n_told++;
    pthread_mutex_unlock(&e->lock);
    r->is_telling = true;
    r->events->on_token(r->user, &token);
    r->is_telling = false;
    if (r->is_forgotten) {
        pthread_mutex_lock(&e->lock);
        request_free(e, r);
        pthread_mutex_unlock(&e->lock);
        return false;
    }
    if (r->max_tokens && r->n_told >= r->max_tokens) {
        tell_done(e, r, ENGINE_FINISH_LENGTH, NULL);
        return false;
    }
    return true;
}

static void tell_forgets(struct engine *e);

static void tell_load(struct engine *e, struct engine_load *load, int steps)
{
    struct error why = {0};

    while (load->steps_told < steps && load->steps_told < 3) {
        load->steps_told++;
        if (load->steps_told < 3 && load->events.on_progress)
            load->events.on_progress(load->user, (uint64_t)load->steps_told * 1000, 3000);
    }
    if (load->steps_told < 3)
        return;
    if (strcmp(load->model, "broken") == 0)
        error_set(&why, -EINVAL, "broken.gguf: not a GGUF file");
    else if (strcmp(load->model, "cold") == 0)
        e->cold_is_ready = true;
    pthread_mutex_lock(&e->lock);
    list_remove(&load->link);
    pthread_mutex_unlock(&e->lock);
    if (load->events.on_done)
        load->events.on_done(load->user, &why);
    free(load);
}

/* One request that has something to tell and has not been looked at in this round. */
static struct engine_request *next_request(struct engine *e, struct list *seen)
{
    struct engine_request *r;

    pthread_mutex_lock(&e->lock);
    r = list_first(&e->requests, struct engine_request, link);
    if (r) {
        list_remove(&r->link);
        list_push_back(seen, &r->link);
    }
    pthread_mutex_unlock(&e->lock);
    return r;
}

void engine_dispatch(struct engine *e)
{
    struct list seen;
    struct engine_request *r;
    eventfd_t value;

    eventfd_read(e->event_fd, &value);
    list_init(&seen);
    while ((r = next_request(e, &seen))) {
        uint32_t made;
        bool is_cancelled;

        pthread_mutex_lock(&e->lock);
        made = r->n_made;
        is_cancelled = r->is_cancelled;
        pthread_mutex_unlock(&e->lock);
        if (is_cancelled) {
            tell_done(e, r, r->is_expired ? ENGINE_FINISH_EXPIRED : ENGINE_FINISH_CANCEL, NULL);
            continue;
        }
        while (r->n_told < made && !r->is_paused && tell_token(e, r))
            ;
    }
    pthread_mutex_lock(&e->lock);
    while (!list_empty(&seen)) {
        r = list_first(&seen, struct engine_request, link);
        list_remove(&r->link);
        list_push_back(&e->requests, &r->link);
    }
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    list_for_each_safe (load, &e->loads, struct engine_load, link) {
        int steps;

        pthread_mutex_lock(&e->lock);
        steps = load->steps_made;
        pthread_mutex_unlock(&e->lock);
        tell_load(e, load, steps);
    }
    tell_forgets(e);
}

void fake_engine_set_template(struct engine *e, const char *chat_template, const char *prompt_end)
{
    e->chat_template = chat_template;
    e->prompt_end = prompt_end;
}

const char *engine_prompt_end(const struct engine_request *r)
{
    const char *end = r->engine->prompt_end;

    return end ? end : "";
}

/* ---- models ---- */

int engine_models(struct engine *e, const struct engine_model_info **ret_list, size_t *ret_n)
{
    static const char *const names[] = {"broken", "cold", "tiny"};

    for (size_t i = 0; i < 3; i++)
        e->models[i] = (struct engine_model_info){
            .name = names[i],
            .path = "/models/x.gguf",
            .file_bytes = 3000,
            .modified_unix = 1700000000,
            .architecture = "llama",
            .type_name = "Q8_0",
            .pool_kind = "anonymous",
            .pool_promises = "no restart without loading",
            .read_note = "direct",
            .pool_bytes = 3000,
            .chat_template = e->chat_template,
            .is_pinned = i == 1 && e->cold_is_pinned,
            .state = i == 2 || (i == 1 && e->cold_is_ready) ? ENGINE_MODEL_READY
                                                            : ENGINE_MODEL_AVAILABLE,
        };
    for (size_t i = 0; i < 3 && e->says_loading; i++) {
        e->models[i].state = ENGINE_MODEL_LOADING;
        e->models[i].loaded_bytes = 1000;
        e->models[i].load_seconds = 0.5;
    }
    *ret_list = e->models;
    *ret_n = 3;
    return 0;
}

int engine_find_model(struct engine *e, const char *name, const struct engine_model_info **ret_info,
                      struct error *err)
{
    const struct engine_model_info *models;
    size_t n;

    engine_models(e, &models, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(models[i].name, name) == 0) {
            *ret_info = &models[i];
            return 0;
        }
    }
    return error_set(err, -ENOENT, "no model is called %.100s; there is tiny", name);
}

int engine_load(struct engine *e, const char *name, const struct engine_load_events *events,
                void *user, struct engine_load **ret_load, struct error *err)
{
    const struct engine_model_info *info;
    struct engine_load *load;

    if (engine_find_model(e, name, &info, err) < 0)
        return -ENOENT;
    load = calloc(1, sizeof(*load));
    if (!load)
        return error_set(err, -ENOMEM, "no memory");
    snprintf(load->model, sizeof(load->model), "%s", name);
    load->user = user;
    if (events)
        load->events = *events;
    if (ret_load)
        *ret_load = load;
    pthread_mutex_lock(&e->lock);
    list_push_back(&e->loads, &load->link);
    e->seen.n_loads++;
    poke(e);
    pthread_mutex_unlock(&e->lock);
    return 0;
}

void engine_stop_loading(struct engine *e)
{
    struct error why;

    error_set(&why, -ECANCELED, "the service is stopping");
    list_for_each_safe (load, &e->loads, struct engine_load, link) {
        pthread_mutex_lock(&e->lock);
        list_remove(&load->link);
        pthread_mutex_unlock(&e->lock);
        if (load->events.on_done)
            load->events.on_done(load->user, &why);
        free(load);
    }
}

void engine_load_forget(struct engine_load *load)
{
    load->events = (struct engine_load_events){0};
}

int engine_adopt(struct engine *e, struct error *err)
{
    (void)e;
    (void)err;
    return 0;
}

int engine_set_user_rules(struct engine *e, const struct engine_user_rule *rules, size_t n,
                          struct error *err)
{
    return 0; /* it has no users */
}

int engine_pin(struct engine *e, const char *name, bool is_pinned, struct error *err)
{
    const struct engine_model_info *info;

    if (engine_find_model(e, name, &info, err) < 0)
        return -ENOENT;
    if (strcmp(name, "cold") == 0)
        e->cold_is_pinned = is_pinned;
    return 0;
}

int engine_unload(struct engine *e, const char *name, struct error *err)
{
    const struct engine_model_info *info = NULL;

    if (engine_find_model(e, name, &info, err) < 0)
        return -ENOENT;
    if (info->state != ENGINE_MODEL_READY)
        return error_set(err, -ENOENT, "%s is not loaded", name);
    pthread_mutex_lock(&e->lock);
    list_for_each (r, &e->requests, struct engine_request, link)
        r->is_cancelled = true;
    e->cold_is_ready = false;
    poke(e);
    pthread_mutex_unlock(&e->lock);
    return 0;
}

/* ---- text: a token is a byte ---- */

int engine_tokenize(struct engine *e, const char *model, const char *text, size_t len,
                    bool add_special, bool parse_special, int32_t **ret_ids, size_t *ret_n,
                    struct error *err)
{
    int32_t *ids = calloc(len + 2, sizeof(*ids));
    size_t n = 0;

    if (!ids)
        return error_set(err, -ENOMEM, "no memory");
    if (add_special)
        ids[n++] = 256;
    for (size_t i = 0; i < len; i++)
        ids[n++] = (unsigned char)text[i];
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}

int engine_detokenize(struct engine *e, const char *model, const int32_t *ids, size_t n,
                      char **ret_text, size_t *ret_len, struct error *err)
{
    char *text = malloc(n + 1);

    if (!text)
        return error_set(err, -ENOMEM, "no memory");
    for (size_t i = 0; i < n; i++) {
        if (ids[i] > 255) {
            free(text);
            return error_set(err, -EINVAL, "token %d is not in the vocabulary", (int)ids[i]);
        }
        text[i] = (char)ids[i];
    }
    *ret_text = text;
    *ret_len = n;
    return 0;
}

int engine_token_bytes(struct engine *e, const char *model, int32_t id, const char **ret_bytes,
                       size_t *ret_len, struct error *err)
{
    static char bytes[256];

    if (id < 0 || id > 255)
        return error_set(err, -EINVAL, "token %d is not in the vocabulary", (int)id);
    bytes[id] = (char)id;
    *ret_bytes = &bytes[id];
    *ret_len = 1;
    return 0;
}

/* ---- generation ---- */

void engine_sampling_defaults(struct engine_sampling *s)
{
    *s = (struct engine_sampling){
        .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1};
}

static char *script_of(const struct engine_prompt *prompt)
{
    json_t *messages = json_object_get(prompt->chat, "messages");
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);

    if (prompt->text)
        return strndup(prompt->text, prompt->text_len);
    if (prompt->ids)
        return strdup("count 1");
    return strdup(json_string_value(json_object_get(last, "content")));
}

int engine_generate(struct engine *e, const char *model, const struct engine_prompt *prompt,
                    const struct engine_params *params, const struct engine_caller *caller,
                    const struct engine_events *events, void *user,
                    struct engine_request **ret_request, struct error *err)
{
    struct engine_request *r = calloc(1, sizeof(*r));

    if (!r)
        return error_set(err, -ENOMEM, "no memory");
    pthread_mutex_lock(&e->lock);
    if (e->n_requests >= e->queue_limit) {
        pthread_mutex_unlock(&e->lock);
        free(r);
        return error_set(err, -EAGAIN, "%u requests are waiting already", e->queue_limit);
    }
    r->engine = e;
    r->script = script_of(prompt);
    if (strcmp(r->script, "spent") == 0) {
        pthread_mutex_unlock(&e->lock);
        free(r->script);
        free(r);
        return error_set(err, -EDQUOT, "this user's tokens of a minute are spent");
    }
    r->events = events;
    r->user = user;
    r->max_tokens = params->max_tokens;
    r->top_logprobs = params->top_logprobs;
    r->params = *params;
    e->n_requests++;
    e->seen.n_running++;
    e->seen.n_generated++;
    e->seen.params = *params;
    e->seen.caller = *caller;
    snprintf(e->seen.stop, sizeof(e->seen.stop), "%s", params->n_stop ? params->stop[0] : "");
    if (prompt->chat)
        e->seen.chat[json_dumpb(prompt->chat, e->seen.chat, sizeof(e->seen.chat) - 1,
                                JSON_SORT_KEYS | JSON_COMPACT)] = 0;
    list_push_back(&e->requests, &r->link);
    *ret_request = r;
    poke(e);
    pthread_mutex_unlock(&e->lock);
    return 0;
}

int engine_fork(struct engine_request *r, uint64_t seed_step, const struct engine_events *events,
                void *user, struct engine_request **ret_request, struct error *err)
{
    const struct engine_caller caller = r->engine->seen.caller;
    const struct engine_prompt prompt = {.text = r->script, .text_len = strlen(r->script)};
    struct engine_params params = r->params;

    params.n_stop = 0;
    params.sampling.seed += seed_step;
    r->engine->seen.n_forks++;
    return engine_generate(r->engine, "tiny", &prompt, &params, &caller, events, user, ret_request,
                           err);
}

int engine_embed(struct engine *e, const char *model, const struct engine_prompt *prompt,
                 enum engine_class class, const struct engine_caller *caller,
                 const struct engine_events *events, void *user,
                 struct engine_request **ret_request, struct error *err)
{
    const struct engine_params params = {.class = class, .max_tokens = 1};
    int r = engine_generate(e, model, prompt, &params, caller, events, user, ret_request, err);

    if (r < 0)
        return r;
    pthread_mutex_lock(&e->lock);
    (*ret_request)->wants_vector = true;
    if (e->seen.n_running > e->seen.n_together)
        e->seen.n_together = e->seen.n_running;
    pthread_mutex_unlock(&e->lock);
    return 0;
}

void engine_cancel(struct engine_request *r, bool forget)
{
    struct engine *e = r->engine;

    pthread_mutex_lock(&e->lock);
    e->seen.n_cancelled++;
    r->is_cancelled = true;
    if (forget && r->is_telling)
        r->is_forgotten = true;
    else if (forget)
        request_free(e, r);
    poke(e);
    pthread_mutex_unlock(&e->lock);
}

void engine_cancel_all(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    list_for_each (r, &e->requests, struct engine_request, link)
        r->is_cancelled = true;
    poke(e);
    pthread_mutex_unlock(&e->lock);
}

void engine_expire(struct engine_request *r)
{
    struct engine *e = r->engine;

    pthread_mutex_lock(&e->lock);
    r->is_expired = r->is_cancelled = true;
    poke(e);
    pthread_mutex_unlock(&e->lock);
}

uint32_t engine_retry_seconds(struct engine *e, uid_t uid, int code)
{
    return code == -EDQUOT ? 17 : 3;
}

void engine_pause(struct engine_request *r, bool paused)
{
    struct engine *e = r->engine;

    pthread_mutex_lock(&e->lock);
    e->seen.n_pauses += paused;
    r->is_paused = paused;
    poke(e);
    pthread_mutex_unlock(&e->lock);
}

/* Each user has as many bytes on disk as its number, and twice as many in memory. */
int engine_forget(struct engine *e, uid_t uid,
                  void (*on_done)(void *user, const struct engine_forgotten *what), void *user,
                  struct engine_forget **ret_forget, struct error *err)
{
    struct engine_forget *f = calloc(1, sizeof(*f));

    if (!f)
        return error_set(err, -ENOMEM, "no memory");
    *f = (struct engine_forget){.uid = uid, .on_done = on_done, .user = user};
    pthread_mutex_lock(&e->lock);
    e->seen.forgotten_uid = uid;
    list_push_back(&e->forgets, &f->link);
    poke(e);
    pthread_mutex_unlock(&e->lock);
    *ret_forget = f;
    return 0;
}

void engine_forget_leave(struct engine_forget *forget)
{
    forget->on_done = NULL;
}

static void tell_forgets(struct engine *e)
{
    struct engine_forget *f;

    do {
        pthread_mutex_lock(&e->lock);
        f = list_first(&e->forgets, struct engine_forget, link);
        if (f)
            list_remove(&f->link);
        pthread_mutex_unlock(&e->lock);
        if (f && f->on_done)
            f->on_done(f->user, &(struct engine_forgotten){.memory_bytes = 2ull * f->uid,
                                                           .disk_bytes = f->uid,
                                                           .is_disk_known = f->uid != 4244});
        free(f);
    } while (f);
}

bool engine_disk_bytes(struct engine *e, uid_t uid, uint64_t *ret_bytes)
{
    *ret_bytes = uid;
    return true;
}

void engine_get_stats(struct engine *e, struct engine_stats *ret_stats)
{
    *ret_stats = (struct engine_stats){.device = "fake"};
    pthread_mutex_lock(&e->lock);
    ret_stats->requests_total = e->seen.n_generated;
    ret_stats->n_running = e->seen.n_running;
    pthread_mutex_unlock(&e->lock);
}

bool engine_get_user_stats(struct engine *e, uid_t uid, struct engine_user_stats *ret_stats)
{
    return false;
}

/* Whoever runs the tests, and another one. */
void engine_each_user(struct engine *e,
                      void (*tell)(void *user, const struct engine_user_stats *stats), void *user)
{
    tell(user, &(struct engine_user_stats){.uid = getuid(), .requests_total = 3});
    tell(user, &(struct engine_user_stats){.uid = 4242, .requests_total = 5});
}

void engine_each_session(struct engine *e,
                         void (*tell)(void *user, const struct engine_session *session), void *user)
{
    struct engine_session s = {.caller = {getuid(), getpid()},
                               .model = "tiny",
                               .has_begun = true,
                               .prompt_tokens = 9,
                               .completion_tokens = 5,
                               .age_ns = 4000000000,
                               .first_ns = 2000000000,
                               .generate_ns = 2000000000};

    tell(user, &s);
    s.caller = (struct engine_caller){4242, 1};
    tell(user, &s);
}

void fake_engine_look(struct engine *e, struct fake_seen *ret_seen)
{
    pthread_mutex_lock(&e->lock);
    *ret_seen = e->seen;
    pthread_mutex_unlock(&e->lock);
}

void fake_engine_set_loading(struct engine *e)
{
    e->says_loading = true;
}

void fake_engine_set_delay(struct engine *e, unsigned microseconds)
{
    pthread_mutex_lock(&e->lock);
    e->delay_us = microseconds;
    pthread_mutex_unlock(&e->lock);
}
