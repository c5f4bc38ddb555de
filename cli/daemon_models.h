/* SPDX-License-Identifier: MIT */
/* What the daemon, if there is one, knows of models: for commands that do without it. One thread.
 */
#ifndef HEARTH_CLI_DAEMON_MODELS_H
#define HEARTH_CLI_DAEMON_MODELS_H

#include <jansson.h>

struct daemon_models {
    json_t *answer; /* NULL: no daemon answers */
};

/* Never fails: without a daemon there is nothing in it. */
void daemon_models_get(struct daemon_models *d, const char *socket);
void daemon_models_finish(struct daemon_models *d);

/* The i-th of its models; NULL past the last. Borrowed. */
const json_t *daemon_models_at(const struct daemon_models *d, size_t i);
/* The path of a model it knows by this name; NULL when it knows none. Borrowed. */
const char *daemon_models_path(const struct daemon_models *d, const char *name);

#endif
