/* SPDX-License-Identifier: MIT */
#include "server/router.h"

#include "server/api.h"
#include "server/server_impl.h"

#include <string.h>

struct route {
    const char *path; /* ends with "/": a prefix, and what follows it must not be empty */
    enum http_method method;
    void (*handle)(struct exchange *x, const char *tail);
};

static const struct route routes[] = {
    {"/v1/chat/completions", HTTP_POST, api_chat_completions},
    {"/v1/completions", HTTP_POST, api_completions},
    {"/v1/embeddings", HTTP_POST, api_embeddings},
    {"/v1/models", HTTP_GET, api_models},
    {"/v1/models/", HTTP_GET, api_model},
    {"/tokenize", HTTP_POST, api_tokenize},
    {"/detokenize", HTTP_POST, api_detokenize},
    {"/health", HTTP_GET, api_health},
    {"/metrics", HTTP_GET, api_metrics},
    {"/hearth/v1/models", HTTP_GET, api_hearth_models},
    {"/hearth/v1/status", HTTP_GET, api_hearth_status},
    {"/hearth/v1/sessions", HTTP_GET, api_hearth_sessions},
    {"/hearth/v1/load", HTTP_POST, api_hearth_load},
    {"/hearth/v1/unload", HTTP_POST, api_hearth_unload},
    {"/hearth/v1/forget", HTTP_POST, api_hearth_forget},
};

enum { N_ROUTES = sizeof(routes) / sizeof(routes[0]) };

static const struct route *find(const char *path, const char **ret_tail)
{
    for (size_t i = 0; i < N_ROUTES; i++) {
        size_t len = strlen(routes[i].path);

        if (routes[i].path[len - 1] == '/' ? strncmp(path, routes[i].path, len) == 0 && path[len]
                                           : strcmp(path, routes[i].path) == 0) {
            *ret_tail = path + len;
            return &routes[i];
        }
    }
    return NULL;
}

static unsigned methods_of(const struct route *route)
{
    return route->method | HTTP_OPTIONS | (route->method == HTTP_GET ? HTTP_HEAD : 0);
}

bool router_admits(struct exchange *x, struct api_error *err)
{
    const struct http_request *r = x->request;
    const struct route *route;
    const char *tail;
    char allowed[96];

    if (!x->peer->is_local && !peer_token_fits(r->authorization, x->server->config.tokens)) {
        fields_fail(err, 401, NULL, "invalid_api_key",
                    "connections over TCP need a token: Authorization: Bearer TOKEN");
        return false;
    }
    if (r->method == HTTP_OPTIONS && strcmp(r->path, "*") == 0)
        return true;
    route = find(r->path, &tail);
    if (!route) {
        fields_fail(err, 404, NULL, "not_found", "there is nothing at %.200s", r->path);
        return false;
    }
    if (!(methods_of(route) & r->method)) {
        http_method_names(methods_of(route), allowed, sizeof(allowed));
        exchange_header(x, "Allow", allowed);
        fields_fail(err, 405, NULL, "method_not_allowed", "%.200s takes %s, not %.40s", r->path,
                    allowed, r->method_name);
        return false;
    }
    return true;
}

void router_handle(struct exchange *x)
{
    const struct http_request *r = x->request;
    const char *tail = "";
    const struct route *route = find(r->path, &tail);
    char allowed[96];

    if (r->method == HTTP_OPTIONS) {
        unsigned methods = route ? methods_of(route) : HTTP_GET | HTTP_HEAD | HTTP_POST;

        http_method_names(methods | HTTP_OPTIONS, allowed, sizeof(allowed));
        exchange_header(x, "Allow", allowed);
        exchange_reply(x, 204, NULL, NULL, 0);
        return;
    }
    route->handle(x, tail);
}
