/* SPDX-License-Identifier: MIT */
/*
 * A client of the daemon: JSON requests over its Unix socket, answers whole or as a stream of JSON
 * events. HTTP is libcurl's business. One thread per client object; client_interrupt may be called
 * from a signal handler.
 */
#ifndef HEARTH_LIB_CLIENT_H
#define HEARTH_LIB_CLIENT_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct client;

/* The socket that is used when none is given: $HEARTH_SOCKET, else the user's own daemon
 * ($XDG_RUNTIME_DIR/hearth/hearth.sock or /tmp/hearth-UID/hearth.sock, where hearthd puts it) if
 * one is there, else /run/hearth/hearth.sock. */
void client_default_socket(char *out, size_t size);

/* socket_path NULL: the default. Nothing is connected yet. */
int client_create(const char *socket_path, struct client **ret_client, struct error *err);
void client_destroy(struct client *c); /* NULL is fine */
const char *client_socket(const struct client *c);

/*
 * One request with an optional JSON body (borrowed) and the whole JSON answer (the caller's; may be
 * NULL where it is not wanted). Fails with the daemon's own sentence:
 *   -ENOTCONN  nobody answers on the socket       -ENOENT     404
 *   -EAGAIN    429 or 503: try again later        -EINVAL     any other 4xx
 *   -EINTR     client_interrupt was called        -EIO        5xx, or the connection broke
 *   -ETIMEDOUT the connection is there, but no answer (see client_set_patience)
 *   -ESHUTDOWN 503: the daemon is about to end    -EMSGSIZE   400: longer than the context
 */
int client_call(struct client *c, const char *method, const char *path, const json_t *body,
                json_t **ret_answer, struct error *err);

/* As client_call for answers that come as events: server-sent ("data: ...") or one JSON object per
 * line. on_event gets each (borrowed); false ends the request, which is not a failure. */
typedef bool client_event_fn(void *user, const json_t *event);
int client_stream(struct client *c, const char *path, const json_t *body, client_event_fn *on_event,
                  void *user, struct error *err);

/*
 * A call that hears nothing from the daemon for so many seconds is given up; 10, or what
 * HEARTH_TIMEOUT says; 0: without end. A stream is not, as a model may have to be read first:
 * on_wait hears of it instead, once a silence, with NULL, and of the daemon's own words for what
 * the stream waits for (comments), whenever they come.
 */
void client_set_patience(struct client *c, double seconds);
typedef void client_wait_fn(void *user, const char *words);
void client_on_wait(struct client *c, client_wait_fn *on_wait, void *user);

/* Ends the call that runs, or the next one if none does. Safe in a signal handler. */
void client_interrupt(struct client *c);
/* Forgets an interrupt that hit nothing. */
void client_clear_interrupt(struct client *c);

#endif
