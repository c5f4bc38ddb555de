/* SPDX-License-Identifier: MIT */
/*
 * One client's connection: bytes in, requests one after the other, bytes out, time limits. It owns
 * the socket and frees itself once the loop holds nothing of it. While idle it holds no buffers.
 */
#ifndef HEARTH_SERVER_CONNECTION_H
#define HEARTH_SERVER_CONNECTION_H

#include "server/exchange.h"

struct connection {
    struct server *server;
    struct list link; /* in server.connections */
    int fd;
    struct peer peer;
    struct loop_op recv, send, hangup;
    struct timer timer;      /* the earlier of the two deadlines below */
    struct loop_task update; /* flush, parse what waits, close */
    struct http_parser parser;
    struct strbuf waiting; /* received, not yet parsed: pipelined behind a running request */
    struct strbuf out;     /* to send next */
    struct strbuf sending; /* the loop is sending this from `sent` on */
    size_t sent;
    size_t counted_body;                          /* of the server's budget for bodies */
    size_t timed_body;                            /* of the body read_deadline_ns accounts for */
    uint64_t read_deadline_ns, write_deadline_ns; /* 0: none */
    struct exchange exchange;
    bool is_closing;      /* waiting for operations to end */
    bool had_request;     /* the next one, if there is one, comes on a connection that is kept */
    bool ends_when_quiet; /* when nothing more has been received */
    bool ends_after_flush, is_lingering, has_eof, is_congested, is_feeding, wants_drop;
};

/* fd is taken over. NULL when out of memory (fd is closed). */
struct connection *connection_create(struct server *s, int fd);
/* Ends it now; a running request's on_gone is called. It frees itself later. */
void connection_close(struct connection *c);
/* While the server drains: ends it as soon as what runs, or is on its way, is answered and sent.
 * One that is kept after an answer ends at once unless something has arrived; a new one has two
 * seconds for its request. */
void connection_close_softly(struct connection *c);

/* For exchange.c */
struct connection *connection_of(struct exchange *x);
struct strbuf *connection_output(struct connection *c); /* append, then connection_flush */
void connection_flush(struct connection *c);
void connection_exchange_over(struct connection *c);

#endif
