/* SPDX-License-Identifier: MIT */
/* Who does what now: /hearth/v1/sessions, for `hearth top`. A user sees its own requests and the
 * sums of all; root and the user the daemon runs as see everybody's. */
#include "server/api.h"

#include "base/clock.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

struct listing {
    const struct exchange *x;
    struct strbuf *out;
    size_t n_hidden;
    double tokens_per_second; /* of all */
};

/* Since the first one; 0: too early to tell. */
static double speed_of(const struct engine_session *s)
{
    return s->generate_ns && s->completion_tokens > 1
               ? (s->completion_tokens - 1) / ((double)s->generate_ns * 1e-9)
               : 0;
}

static void write_session(void *user, const struct engine_session *s)
{
    struct listing *l = user;

    l->tokens_per_second += speed_of(s);
    if (!api_sees(l->x, s->caller.uid)) {
        l->n_hidden++;
        return;
    }
    jsonout_element(l->out);
    strbuf_add_char(l->out, '{');
    if (s->caller.uid != ENGINE_UID_UNKNOWN) {
        jsonout_key_uint(l->out, "uid", s->caller.uid);
        jsonout_key_uint(l->out, "pid", (unsigned long long)s->caller.pid);
    }
    jsonout_key_string(l->out, "model", s->model);
    jsonout_key_string(l->out, "state",
                       !s->has_begun           ? "waiting"
                       : !s->completion_tokens ? "prompt"
                                               : "answer");
    jsonout_key_string(l->out, "class",
                       s->class == ENGINE_BACKGROUND ? "background" : "interactive");
    jsonout_key_uint(l->out, "prompt_tokens", s->prompt_tokens);
    jsonout_key_uint(l->out, "completion_tokens", s->completion_tokens);
    jsonout_key_number(l->out, "age_seconds", (double)s->age_ns * 1e-9);
    if (s->first_ns)
        jsonout_key_number(l->out, "first_token_seconds", (double)s->first_ns * 1e-9);
    jsonout_key_number(l->out, "tokens_per_second", speed_of(s));
    strbuf_add_char(l->out, '}');
}

static void write_user(void *user, const struct engine_user_stats *u)
{
    struct listing *l = user;

    if (!api_sees(l->x, u->uid))
        return;
    jsonout_element(l->out);
    strbuf_add_char(l->out, '{');
    if (u->uid != ENGINE_UID_UNKNOWN)
        jsonout_key_uint(l->out, "uid", u->uid);
    jsonout_key_uint(l->out, "running", u->n_running);
    jsonout_key_uint(l->out, "waiting", u->n_waiting);
    jsonout_key_uint(l->out, "requests_total", u->requests_total);
    jsonout_key_uint(l->out, "refused_total", u->refused_total);
    jsonout_key_uint(l->out, "prompt_tokens_total", u->prompt_tokens_total);
    jsonout_key_uint(l->out, "completion_tokens_total", u->completion_tokens_total);
    strbuf_add_char(l->out, '}');
}

static void write_models(struct server *s, struct strbuf *out)
{
    const struct engine_model_info *models = NULL;
    size_t n = 0;

    if (engine_models(s->engine, &models, &n) < 0)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        const struct engine_model_info *m = &models[i];

        if (m->state != ENGINE_MODEL_READY)
            continue;
        jsonout_element(out);
        strbuf_add_char(out, '{');
        jsonout_key_string(out, "name", m->name);
        jsonout_key_uint(out, "pool_bytes", m->pool_bytes);
        jsonout_key_uint(out, "kv_bytes", m->kv_bytes);
        jsonout_key_uint(out, "kv_used_bytes", m->kv_used_bytes);
        jsonout_key_uint(out, "prefix_bytes", m->prefix_bytes);
        jsonout_key_number(out, "device_seconds", (double)m->device_ns * 1e-9);
        jsonout_key_uint(out, "running", m->n_running);
        jsonout_key_uint(out, "waiting", m->n_waiting);
        jsonout_key_bool(out, "is_idle", m->is_idle);
        strbuf_add_char(out, '}');
    }
}

void api_hearth_sessions(struct exchange *x, const char *tail)
{
    struct server *s = x->server;
    struct listing l = {.x = x, .out = exchange_scratch(x)};
    struct engine_stats stats;

    engine_get_stats(s->engine, &stats);
    strbuf_add_char(l.out, '{');
    jsonout_key_number(l.out, "uptime_seconds", (double)(clock_now_ns() - s->started_ns) * 1e-9);
    jsonout_key_string(l.out, "device", stats.device);
    jsonout_key_uint(l.out, "connections", s->n_connections);
    jsonout_key_uint(l.out, "running", stats.n_running);
    jsonout_key_uint(l.out, "waiting", stats.n_waiting);
    jsonout_key_uint(l.out, "prompt_tokens_total", stats.prompt_tokens_total);
    jsonout_key_uint(l.out, "completion_tokens_total", stats.completion_tokens_total);
    jsonout_key(l.out, "sessions");
    strbuf_add_char(l.out, '[');
    engine_each_session(s->engine, write_session, &l);
    strbuf_add_char(l.out, ']');
    jsonout_key_uint(l.out, "sessions_of_others", l.n_hidden);
    jsonout_key_number(l.out, "tokens_per_second", l.tokens_per_second);
    jsonout_key(l.out, "users");
    strbuf_add_char(l.out, '[');
    engine_each_user(s->engine, write_user, &l);
    strbuf_add_char(l.out, ']');
    jsonout_key(l.out, "models");
    strbuf_add_char(l.out, '[');
    write_models(s, l.out);
    strbuf_add_str(l.out, "]}\n");
    exchange_reply_json(x, l.out);
}
