/* SPDX-License-Identifier: MIT */
#include "server/api.h"

#include "server/server_impl.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int api_read_object(struct exchange *x, json_t **ret_object, struct api_error *err)
{
    const struct strbuf *body = &x->request->body;
    int rc = fields_parse_object(body->data, body->len, ret_object, err);

    exchange_drop_body(x);
    return rc;
}

static void retry_after(struct exchange *x, int code)
{
    char seconds[16];

    snprintf(seconds, sizeof(seconds), "%u",
             engine_retry_seconds(x->server->engine, x->peer->uid, code));
    exchange_header(x, "Retry-After", seconds);
}

int api_engine_error(struct exchange *x, const struct error *why, const char *param,
                     struct api_error *err)
{
    switch (why->code) {
    case -ENOENT:
        return fields_fail(err, 404, param, "model_not_found", "%s", why->text);
    case -EMSGSIZE:
        return fields_fail(err, 400, param, "context_length_exceeded", "%s", why->text);
    case -EINVAL:
        return fields_fail(err, 400, NULL, NULL, "%s", why->text);
    case -EBUSY:
        return fields_fail(err, 409, param, NULL, "%s", why->text);
    case -EAGAIN:
        retry_after(x, why->code);
        return fields_fail(err, 429, NULL, "queue_full", "%s", why->text);
    case -EUSERS:
        retry_after(x, why->code);
        return fields_fail(err, 429, NULL, "user_limit", "%s", why->text);
    case -EDQUOT:
        retry_after(x, why->code);
        return fields_fail(err, 429, NULL, "rate_limit_exceeded", "%s", why->text);
    case -ENOMEM:
    case -ECANCELED:
        return fields_fail(err, 503, NULL, x->server->is_draining ? "draining" : NULL, "%s",
                           why->text);
    default:
        return fields_fail(err, 500, NULL, NULL, "%s", why->text);
    }
}

bool api_sees_all(const struct exchange *x)
{
    return x->peer->is_local && (x->peer->uid == 0 || x->peer->uid == geteuid());
}

bool api_sees(const struct exchange *x, uid_t uid)
{
    return api_sees_all(x) || (x->peer->is_local && x->peer->uid == uid);
}

int api_check_name(struct exchange *x, const char *name, struct api_error *err)
{
    if (name[0] != '/' || api_sees_all(x))
        return 0;
    return fields_fail(err, 403, "model", "path_not_allowed",
                       "a model is named by its path only by root or the user the daemon runs as; "
                       "`hearth ls` lists the names there are");
}

int api_pick_model(struct exchange *x, const char *name, const char **ret_name,
                   struct api_error *err)
{
    const struct engine_model_info *models;
    const char *only = NULL, *only_ready = NULL;
    size_t n, n_ready = 0;
    struct error why;

    if (name) {
        const struct engine_model_info *info;

        if (api_check_name(x, name, err) < 0)
            return -1;
        if (engine_find_model(x->server->engine, name, &info, &why) < 0)
            return api_engine_error(x, &why, "model", err);
        *ret_name = name;
        return 0;
    }
    if (engine_models(x->server->engine, &models, &n) < 0)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        only = models[i].name;
        if (models[i].state == ENGINE_MODEL_READY && ++n_ready)
            only_ready = models[i].name;
    }
    *ret_name = n_ready == 1 ? only_ready : only;
    if (n_ready != 1 && n != 1)
        return fields_fail(err, 400, "model", "missing_required_parameter",
                           "'model' is missing, and there is not just one to choose");
    return 0;
}

void api_set_deadline(struct exchange *x, struct timer *deadline, double client_seconds)
{
    double seconds = x->server->config.request_timeout;

    if (client_seconds > 0 && (seconds <= 0 || client_seconds < seconds))
        seconds = client_seconds;
    if (seconds > 0)
        loop_timer_set(x->server->loop, deadline, x->started_ns + (uint64_t)(seconds * 1e9));
}

double api_milliseconds(uint64_t ns)
{
    return (double)(ns / 1000) / 1e3;
}
