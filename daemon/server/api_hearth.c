/* SPDX-License-Identifier: MIT */
/* Hearth's own control API, for the `hearth` command. */
#include "server/api.h"

#include "base/clock.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void api_health(struct exchange *x, const char *tail)
{
    static const char ok[] = "{\"status\":\"ok\"}\n";
    struct api_error err;

    if (x->server->is_draining) {
        fields_fail(&err, 503, NULL, "draining", "the server is shutting down");
        exchange_fail(x, &err);
        return;
    }
    exchange_reply(x, 200, "application/json", ok, sizeof(ok) - 1);
}

/* ---- models ---- */

static const char *state_name(enum engine_model_state state)
{
    static const char *const names[] = {"available", "loading", "ready", "unloading"};

    return names[state];
}

static void write_model(struct strbuf *out, const struct engine_model_info *m)
{
    strbuf_add_char(out, '{');
    jsonout_key_string(out, "name", m->name);
    jsonout_key_string(out, "path", m->path);
    jsonout_key_string(out, "state", state_name(m->state));
    jsonout_key_uint(out, "file_bytes", m->file_bytes);
    jsonout_key_uint(out, "modified_unix", m->modified_unix);
    if (m->state == ENGINE_MODEL_LOADING) {
        jsonout_key_uint(out, "loaded_bytes", m->loaded_bytes);
        jsonout_key_number(out, "load_seconds", m->load_seconds);
    }
    if (m->state == ENGINE_MODEL_READY) {
        jsonout_key_string(out, "architecture", m->architecture);
        jsonout_key_string(out, "type", m->type_name);
        jsonout_key_uint(out, "parameters", m->parameters);
        jsonout_key_string(out, "pool", m->pool_kind);
        jsonout_key_string(out, "pool_lacks", m->pool_promises);
        jsonout_key_string(out, "read", m->read_note);
        jsonout_key_uint(out, "resident_bytes", m->resident_bytes);
        jsonout_key_uint(out, "pool_bytes", m->pool_bytes);
        jsonout_key_uint(out, "huge_page_bytes", m->huge_page_bytes);
        jsonout_key_uint(out, "device_copy_bytes", m->device_copy_bytes);
        jsonout_key_uint(out, "kv_bytes", m->kv_bytes);
        jsonout_key_uint(out, "kv_used_bytes", m->kv_used_bytes);
        jsonout_key_uint(out, "prefix_bytes", m->prefix_bytes);
        jsonout_key_uint(out, "prefix_found_bytes", m->prefix_found_bytes);
        jsonout_key_bool(out, "is_cache_kept", m->is_cache_kept);
        jsonout_key_uint(out, "context_tokens", m->context_tokens);
        jsonout_key_uint(out, "context_trained_tokens", m->context_trained_tokens);
        jsonout_key_uint(out, "n_vocab", m->n_vocab);
        jsonout_key_uint(out, "n_embd", m->n_embd);
        jsonout_key_number(out, "load_seconds", m->load_seconds);
        jsonout_key_uint(out, "n_running", m->n_running);
        jsonout_key_uint(out, "n_waiting", m->n_waiting);
        jsonout_key_bool(out, "is_pinned", m->is_pinned);
        jsonout_key_bool(out, "is_idle", m->is_idle);
        jsonout_key_bool(out, "has_chat_template", m->chat_template != NULL);
    }
    strbuf_add_char(out, '}');
}

static void write_models(struct server *s, struct strbuf *out)
{
    const struct engine_model_info *models = NULL;
    size_t n = 0;

    if (engine_models(s->engine, &models, &n) < 0)
        n = 0;
    strbuf_add_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        jsonout_element(out);
        write_model(out, &models[i]);
    }
    strbuf_add_char(out, ']');
}

void api_hearth_models(struct exchange *x, const char *tail)
{
    struct strbuf *out = exchange_scratch(x);

    strbuf_add_str(out, "{\"models\":");
    write_models(x->server, out);
    jsonout_key(out, "model_dirs");
    strbuf_add_char(out, '[');
    for (const char *const *dir = x->server->config.model_dirs; dir && *dir; dir++) {
        jsonout_element(out);
        jsonout_string(out, *dir);
    }
    strbuf_add_str(out, "]}\n");
    exchange_reply_json(x, out);
}

/* ---- load, unload ---- */

struct wait {
    struct exchange *x;
    struct engine_load *load;
    char *model;
    bool has_begun;
    uint64_t first_ns, first_bytes; /* of the progress it was told of; what it came too late for
                                       says nothing of the rate */
};

static void wait_destroy(struct wait *w)
{
    free(w->model);
    free(w);
}

static void begin(struct wait *w)
{
    if (!w->has_begun)
        exchange_begin(w->x, "application/x-ndjson");
    w->has_begun = true;
}

static void on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    struct wait *w = user;
    uint64_t now_ns = clock_now_ns();
    struct strbuf *out;
    double rate;

    begin(w);
    if (!w->first_ns) {
        w->first_ns = now_ns;
        w->first_bytes = done_bytes;
    }
    out = exchange_scratch(w->x);
    strbuf_add_str(out, "{\"status\":\"loading\"");
    jsonout_key_uint(out, "done_bytes", done_bytes);
    jsonout_key_uint(out, "total_bytes", total_bytes);
    if (now_ns > w->first_ns && done_bytes > w->first_bytes) {
        rate = (double)(done_bytes - w->first_bytes) / ((double)(now_ns - w->first_ns) * 1e-9);
        jsonout_key_number(out, "bytes_per_second", rate);
        jsonout_key_number(out, "seconds_left", (double)(total_bytes - done_bytes) / rate);
    }
    strbuf_add_str(out, "}\n");
    exchange_write(w->x, out->data, out->len);
}

static void on_loaded(void *user, const struct error *why)
{
    struct wait *w = user;
    const struct engine_model_info *info;
    struct strbuf *out;
    struct api_error err;

    w->x->ops = NULL;
    if (why->code < 0) {
        api_engine_error(w->x, why, "model", &err);
        if (!w->has_begun) {
            exchange_fail(w->x, &err);
            wait_destroy(w);
            return;
        }
    }
    begin(w);
    out = exchange_scratch(w->x);
    if (why->code < 0) {
        exchange_error_json(out, &err);
    } else {
        strbuf_add_str(out, "{\"status\":\"ready\"");
        if (engine_find_model(w->x->server->engine, w->model, &info, NULL) == 0) {
            jsonout_key(out, "model");
            write_model(out, info);
        }
        strbuf_add_char(out, '}');
    }
    strbuf_add_char(out, '\n');
    exchange_write(w->x, out->data, out->len);
    exchange_end(w->x);
    wait_destroy(w);
}

/* The load goes on for whoever asks next. */
static void on_gone(struct exchange *x)
{
    struct wait *w = x->user;

    engine_load_forget(w->load);
    wait_destroy(w);
}

/* {"model": NAME, "pin": BOOL, "force": BOOL}: the first must be there. */
struct model_request {
    char *model; /* the caller's */
    bool has_pin, is_pinned, is_forced;
};

static int read_model(struct exchange *x, struct model_request *ret_request, struct api_error *err)
{
    struct model_request q = {0};
    const char *name = NULL;
    json_t *object;
    int rc = api_read_object(x, &object, err);

    if (rc < 0)
        return rc;
    rc = fields_string(object, "model", &name, err);
    if (rc == 0)
        rc = fields_bool(object, "pin", &q.is_pinned, err);
    if (rc == 0)
        rc = fields_bool(object, "force", &q.is_forced, err);
    q.has_pin = fields_get(object, "pin") != NULL;
    if (rc == 0 && !name)
        rc = fields_fail(err, 400, "model", "missing_required_parameter", "'model' is missing");
    if (rc == 0)
        rc = api_check_name(x, name, err);
    if (rc == 0) {
        q.model = strdup(name);
        if (!q.model)
            rc = fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    }
    json_decref(object);
    if (rc == 0)
        *ret_request = q;
    return rc;
}

void api_hearth_load(struct exchange *x, const char *tail)
{
    static const struct engine_load_events events = {on_progress, on_loaded};
    static const struct exchange_ops ops = {.on_gone = on_gone};
    struct wait *w = calloc(1, sizeof(*w));
    struct model_request q = {0};
    struct api_error err;
    struct error why;
    int rc;

    if (!w) {
        fields_fail(&err, 503, NULL, NULL, "there is no memory for this request now");
        exchange_fail(x, &err);
        return;
    }
    w->x = x;
    rc = read_model(x, &q, &err);
    w->model = q.model;
    if (rc == 0 && engine_load(x->server->engine, w->model, &events, w, &w->load, &why) < 0)
        rc = api_engine_error(x, &why, "model", &err);
    if (rc == 0 && q.has_pin) /* known, as it loads */
        engine_pin(x->server->engine, w->model, q.is_pinned, NULL);
    if (rc < 0) {
        exchange_fail(x, &err);
        wait_destroy(w);
        return;
    }
    x->ops = &ops;
    x->user = w;
}

/* Those other than a client who have requests on a model, each once, the first few by number. */
struct users {
    const struct peer *client;
    const char *model;
    uid_t uids[8];
    size_t n, n_more;
};

static void note_user(void *user, const struct engine_session *s)
{
    struct users *u = user;
    enum { MOST = sizeof(u->uids) / sizeof(u->uids[0]) };

    /* over TCP nobody can be told from another */
    if (strcmp(s->model, u->model) != 0 || (u->client->is_local && s->caller.uid == u->client->uid))
        return;
    for (size_t i = 0; i < u->n; i++)
        if (u->uids[i] == s->caller.uid)
            return;
    if (u->n < MOST)
        u->uids[u->n++] = s->caller.uid;
    else
        u->n_more++;
}

static void write_users(const struct users *u, char *to, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < u->n && used < size; i++) {
        const char *before = i ? ", " : "";

        used += (size_t)(u->uids[i] == ENGINE_UID_UNKNOWN
                             ? snprintf(to + used, size - used, "%sa client over TCP", before)
                             : snprintf(to + used, size - used, "%suid %u", before,
                                        (unsigned)u->uids[i]));
    }
    if (u->n_more && used < size)
        snprintf(to + used, size - used, " and others");
}

/* What others wait for nobody takes from them by mistake, and who is not to take it not at all. */
static int check_unload(struct exchange *x, const struct model_request *q, struct api_error *err)
{
    struct users users = {.client = x->peer};
    const struct engine_model_info *info;
    bool may_force = api_sees_all(x);
    char who[256];

    if ((may_force && q->is_forced) ||
        engine_find_model(x->server->engine, q->model, &info, NULL) < 0)
        return 0;
    users.model = info->name;
    engine_each_session(x->server->engine, note_user, &users);
    if (!users.n)
        return 0;
    if (!may_force) /* nor is it told who they are, as of sessions */
        return fields_fail(
            err, 403, "model", "model_in_use",
            "%s answers requests of others, which only root and the user the daemon runs "
            "as may end, with `hearth unload --force`: wait until `hearth ps` shows none",
            info->name);
    write_users(&users, who, sizeof(who));
    return fields_fail(err, 409, "model", "model_in_use",
                       "%s answers requests of %s: wait until `hearth ps` shows none, or end "
                       "them with `hearth unload --force`",
                       info->name, who);
}

void api_hearth_unload(struct exchange *x, const char *tail)
{
    static const char done[] = "{\"status\":\"unloading\"}\n";
    struct model_request q = {0};
    struct api_error err;
    struct error why;
    int rc = read_model(x, &q, &err);

    if (rc == 0)
        rc = check_unload(x, &q, &err);
    if (rc == 0 && engine_unload(x->server->engine, q.model, &why) < 0)
        rc = api_engine_error(x, &why, "model", &err);
    free(q.model);
    if (rc < 0)
        exchange_fail(x, &err);
    else
        exchange_reply(x, 200, "application/json", done, sizeof(done) - 1);
}

/* ---- forget ---- */

/* {"uid": N}, or no body or uid: the client's own. */
static int read_uid(struct exchange *x, uid_t *ret_uid, struct api_error *err)
{
    uint64_t uid = x->peer->uid;
    json_t *object;
    int rc;

    *ret_uid = x->peer->uid;
    if (!x->request->body.len)
        return 0;
    rc = api_read_object(x, &object, err);
    if (rc < 0)
        return rc;
    rc = fields_uint(object, "uid", UINT32_MAX, &uid, err);
    json_decref(object);
    if (rc == 0 && uid != x->peer->uid && !api_sees_all(x))
        rc = fields_fail(err, 403, "uid", "user_not_allowed",
                         "what another user left is for that user to have forgotten, or for root");
    *ret_uid = (uid_t)uid;
    return rc;
}

static void on_forgotten(void *user, const struct engine_forgotten *what)
{
    struct exchange *x = user;
    struct strbuf *out = exchange_scratch(x);

    x->ops = NULL;
    strbuf_add_str(out, "{\"status\":\"forgotten\"");
    jsonout_key_uint(out, "memory_bytes", what->memory_bytes);
    if (what->is_disk_known)
        jsonout_key_uint(out, "disk_bytes", what->disk_bytes);
    strbuf_add_str(out, "}\n");
    exchange_reply_json(x, out);
}

static void on_forgetter_gone(struct exchange *x)
{
    engine_forget_leave(x->user);
}

void api_hearth_forget(struct exchange *x, const char *tail)
{
    static const struct exchange_ops ops = {.on_gone = on_forgetter_gone};
    struct engine_forget *forget;
    struct api_error err;
    struct error why;
    uid_t uid;
    int rc = read_uid(x, &uid, &err);

    if (rc == 0 && engine_forget(x->server->engine, uid, on_forgotten, x, &forget, &why) < 0)
        rc = api_engine_error(x, &why, NULL, &err);
    if (rc < 0) {
        exchange_fail(x, &err);
        return;
    }
    x->ops = &ops;
    x->user = forget;
}

/* ---- status ---- */

/* What caches have on disk, and the client of it. */
static void write_disk(const struct exchange *x, const struct engine_disk_stats *d,
                       struct strbuf *out)
{
    uint64_t own_bytes;

    if (!d->is_used)
        return;
    jsonout_key(out, "kv_disk");
    strbuf_add_char(out, '{');
    jsonout_key_uint(out, "bytes", d->tier.bytes);
    jsonout_key_uint(out, "limit_bytes", d->limit_bytes);
    if (engine_disk_bytes(x->server->engine, x->peer->uid, &own_bytes))
        jsonout_key_uint(out, "own_bytes", own_bytes);
    if (d->tier.write_error) {
        jsonout_key(out, "write_error");
        jsonout_string(out, strerror(-d->tier.write_error));
    }
    strbuf_add_char(out, '}');
}

/* VmRSS and RssAnon of this process. */
static void write_memory(struct strbuf *out)
{
    unsigned long long resident = 0, anonymous = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "re");

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "VmRSS: %llu", &resident) != 1)
            sscanf(line, "RssAnon: %llu", &anonymous);
    }
    if (f)
        fclose(f);
    strbuf_printf(out, ",\"memory\":{\"resident_bytes\":%llu,\"private_bytes\":%llu}",
                  resident * 1024, anonymous * 1024);
}

/* What is promised elsewhere and not given here, each a sentence. */
static void write_lacks(struct server *s, const struct engine_stats *stats, struct strbuf *out)
{
    const struct engine_model_info *models = NULL;
    const char *loop = loop_fallback_reason(s->loop), *last = "";
    size_t n = 0;

    jsonout_key(out, "lacks");
    strbuf_add_char(out, '[');
    if (loop)
        jsonout_string(out, loop);
    if (stats->device_note[0]) {
        jsonout_element(out);
        jsonout_string(out, stats->device_note);
    }
    if (stats->memory_advice && stats->memory_advice[0]) {
        jsonout_element(out);
        jsonout_string(out, stats->memory_advice);
    }
    if (stats->disk.why_not && stats->disk.why_not[0]) {
        jsonout_element(out);
        jsonout_string(out, stats->disk.why_not);
    }
    if (engine_models(s->engine, &models, &n) < 0)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        const char *lack = models[i].state == ENGINE_MODEL_READY ? models[i].pool_promises : NULL;

        if (!lack || !*lack || strcmp(lack, last) == 0)
            continue;
        jsonout_element(out);
        jsonout_string(out, lack);
        last = lack;
    }
    strbuf_add_char(out, ']');
}

void api_hearth_status(struct exchange *x, const char *tail)
{
    struct server *s = x->server;
    struct strbuf *out = exchange_scratch(x);
    struct engine_stats stats;

    engine_get_stats(s->engine, &stats);
    strbuf_add_char(out, '{');
    jsonout_key_string(out, "version", s->config.version);
    jsonout_key_uint(out, "pid", (unsigned long long)getpid());
    jsonout_key_number(out, "uptime_seconds", (double)(clock_now_ns() - s->started_ns) / 1e9);
    jsonout_key_string(out, "device", stats.device);
    if (stats.memory)
        jsonout_key_string(out, "weights_in", stats.memory);
    jsonout_key_uint(out, "device_losses", stats.device_losses_total);
    jsonout_key_uint(out, "pipelines", stats.n_pipelines);
    if (stats.tells_compiled)
        jsonout_key_uint(out, "pipelines_compiled", stats.n_compiled);
    jsonout_key_string(out, "loop", loop_backend_name(s->loop));
    jsonout_key_uint(out, "connections", s->n_connections);
    jsonout_key_uint(out, "requests_running", stats.n_running);
    jsonout_key_uint(out, "requests_waiting", stats.n_waiting);
    jsonout_key_uint(out, "requests_total", stats.requests_total);
    jsonout_key_uint(out, "prompt_tokens_total", stats.prompt_tokens_total);
    jsonout_key_uint(out, "cached_tokens_total", stats.cached_tokens_total);
    jsonout_key_uint(out, "completion_tokens_total", stats.completion_tokens_total);
    write_memory(out);
    write_disk(x, &stats.disk, out);
    write_lacks(s, &stats, out);
    jsonout_key(out, "models");
    write_models(s, out);
    strbuf_add_str(out, "}\n");
    exchange_reply_json(x, out);
}
