/* SPDX-License-Identifier: MIT */
/*
 * One request and its answer, as a handler sees them. A handler answers at once, or keeps the
 * exchange (setting ops and user) and answers later from a callback of the engine. It is over after
 * exchange_reply, exchange_fail or exchange_end, or when ops->on_gone is called; then it must not
 * be touched again.
 */
#ifndef HEARTH_SERVER_EXCHANGE_H
#define HEARTH_SERVER_EXCHANGE_H

#include "server/fields.h"
#include "server/http.h"
#include "server/peer.h"
#include "server/server.h"

struct exchange;

struct exchange_ops {
    /* The client left or was dropped. */
    void (*on_gone)(struct exchange *x);
    /* The client reads slower than the answer is made (true), has caught up (false). May be NULL.
     */
    void (*on_congested)(struct exchange *x, bool is_congested);
};

struct exchange {
    struct server *server;
    const struct http_request *request; /* body may be freed by the handler: exchange_drop_body */
    const struct peer *peer;
    const struct exchange_ops *ops;
    void *user;
    uint32_t prompt_tokens, completion_tokens; /* for the log */
    /* exchange.c's own */
    uint64_t started_ns, bytes_sent;
    uint16_t status;
    bool is_active, is_stream, is_chunked, has_body, must_close;
    char headers[160]; /* extra header lines */
};

/* An extra header of the answer (before it begins); one that does not fit is left out. */
void exchange_header(struct exchange *x, const char *name, const char *value);
/* The whole answer. */
void exchange_reply(struct exchange *x, int status, const char *type, const char *body, size_t len);
void exchange_reply_json(struct exchange *x, const struct strbuf *json);
/* The whole answer: {"error":{"message","type","param","code"}}. */
void exchange_fail(struct exchange *x, const struct api_error *err);
/* The error object alone, for streams that have begun. */
void exchange_error_json(struct strbuf *out, const struct api_error *err);

/* An answer in pieces: begin, any number of writes, end. A write may find the reader hopelessly
 * behind; the exchange is then ended by on_gone, from the loop, not from inside the write. */
void exchange_begin(struct exchange *x, const char *type);
void exchange_write(struct exchange *x, const char *data, size_t len);
void exchange_end(struct exchange *x);

/* The body is not needed any more. */
void exchange_drop_body(struct exchange *x);
/* A buffer shared by everything on this thread, emptied; for the length of one callback. */
struct strbuf *exchange_scratch(struct exchange *x);

#endif
