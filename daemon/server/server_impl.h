/* SPDX-License-Identifier: MIT */
/* The server's inside, for server.c, connection.c, exchange.c and the handlers. */
#ifndef HEARTH_SERVER_SERVER_IMPL_H
#define HEARTH_SERVER_SERVER_IMPL_H

#include "server/connection.h"

enum { SERVER_BUCKETS = 14 };

/* Counts below each bound of server_bounds, plus one for the rest. */
struct server_histogram {
    uint64_t counts[SERVER_BUCKETS + 1];
    uint64_t n;
    double sum_seconds;
};
extern const double server_bounds[SERVER_BUCKETS];
void server_observe(struct server_histogram *h, double seconds);

struct server_figures {
    uint64_t connections_total, connections_refused, slow_readers_dropped;
    uint64_t bytes_in, bytes_out, requests_by_class[6]; /* [2]: 2xx, ... */
    struct server_histogram request_seconds, first_token_seconds, queue_seconds, token_seconds;
};

struct server {
    struct loop *loop;
    struct engine *engine;
    struct server_config config;
    struct list listeners;   /* struct listener in server.c */
    struct list connections; /* struct connection.link */
    uint32_t n_connections;
    uint64_t bodies_bytes; /* held now */
    struct loop_op engine_poll;
    struct timer drain_timer, accept_timer;
    bool is_draining;
    bool has_cancelled; /* the time to finish was up */
    bool is_ending;     /* server_destroy has begun: nobody is answered any more */
    void (*on_drained)(void *user);
    void *drained_user;
    struct loop_task drained;
    struct strbuf scratch;
    struct server_figures figures;
    uint64_t started_ns, next_id;
};

/* A connection is gone. */
void server_connection_over(struct server *s);

#endif
