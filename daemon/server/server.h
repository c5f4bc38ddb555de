/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server over an engine: listeners, their connections, limits and figures. It sees nothing
 * of the engine but engine.h. One thread: the loop's.
 */
#ifndef HEARTH_SERVER_SERVER_H
#define HEARTH_SERVER_SERVER_H

#include "engine/engine.h"
#include "loop/loop.h"
#include "server/http.h"

struct server;

struct server_config {
    struct http_limits http;
    uint32_t max_connections;
    uint64_t bodies_bytes;      /* of all requests being received */
    uint32_t output_high_bytes; /* unsent bytes of a stream at which its request is paused */
    uint32_t output_low_bytes;  /* ... and at which it goes on */
    uint32_t output_max_bytes;  /* ... and at which the reader is dropped */
    double idle_timeout, head_timeout, drain_timeout; /* seconds */
    /* seconds without progress: at least so many bytes a second of a body that comes and of an
     * answer that waits to be read */
    double body_timeout, send_timeout;
    double quiet_seconds;   /* after so many without a word a stream is told what it waits for */
    double request_timeout; /* the longest a generation may take, in seconds; 0: no limit */
    uint32_t least_bytes_per_second;
    const char *version;
    bool logs_access;
    const char *const *model_dirs; /* what `hearth ls` names where there is no model;
                                      NULL-terminated, the caller's; may be NULL */
    /* bearer tokens, NULL-terminated, for connections over TCP; NULL: no TCP connection is served.
     * The caller's, and must stay until server_set_tokens or server_destroy. */
    const char *const *tokens;
};

void server_config_defaults(struct server_config *config);

/* Listens to the engine's event descriptor from now on. loop and engine are the caller's and
 * outlive the server; *config is copied. */
int server_create(struct loop *loop, struct engine *engine, const struct server_config *config,
                  struct server **ret_server, struct error *err);
/* Drops what is left; steps the loop until nothing of the server's is pending. */
void server_destroy(struct server *s);
/* Serves a listening stream socket; fd is the server's from now on, also on failure. */
int server_listen(struct server *s, int fd, struct error *err);
void server_set_tokens(struct server *s, const char *const *tokens);
void server_set_access_log(struct server *s, bool logs_access);
/* No new connections; idle ones are closed, who waits for a load is told to come again, running
 * answers are finished until drain_timeout, then cancelled. on_drained is called once nothing is
 * left. */
void server_drain(struct server *s, void (*on_drained)(void *user), void *user);

#endif
