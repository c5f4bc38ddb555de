/* SPDX-License-Identifier: MIT */
#include "daemon_models.h"

#include "fields.h"

#include "client.h"

#include <string.h>

void daemon_models_get(struct daemon_models *d, const char *socket)
{
    struct client *c;

    *d = (struct daemon_models){0};
    if (client_create(socket, &c, NULL) < 0)
        return;
    if (client_call(c, "GET", "/hearth/v1/models", NULL, &d->answer, NULL) < 0)
        d->answer = NULL;
    client_destroy(c);
}

void daemon_models_finish(struct daemon_models *d)
{
    json_decref(d->answer);
    d->answer = NULL;
}

const json_t *daemon_models_at(const struct daemon_models *d, size_t i)
{
    return json_array_get(json_object_get(d->answer, "models"), i);
}

const char *daemon_models_path(const struct daemon_models *d, const char *name)
{
    const json_t *m;

    for (size_t i = 0; (m = daemon_models_at(d, i)); i++)
        if (!strcmp(text_of(m, "name"), name) && text_of(m, "path")[0])
            return text_of(m, "path");
    return NULL;
}
