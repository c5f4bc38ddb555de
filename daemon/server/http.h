/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 requests out of bytes that arrive in any pieces (RFC 9112). Strict where leniency lets
 * two parsers disagree about where a message ends: bare CR or LF, folded or malformed header lines,
 * Content-Length beside Transfer-Encoding, repeated lengths, codings other than chunked are
 * refused. It knows no socket and no route. A parser that is between requests holds no memory.
 */
#ifndef HEARTH_SERVER_HTTP_H
#define HEARTH_SERVER_HTTP_H

#include "base/strbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_limits {
    uint32_t head_bytes;   /* request line and headers together; also chunk lines and trailers */
    uint32_t head_headers; /* how many */
    uint64_t body_bytes;
};

enum http_method {
    HTTP_GET = 1 << 0,
    HTTP_HEAD = 1 << 1,
    HTTP_POST = 1 << 2,
    HTTP_PUT = 1 << 3,
    HTTP_DELETE = 1 << 4,
    HTTP_OPTIONS = 1 << 5,
    HTTP_PATCH = 1 << 6,
    HTTP_OTHER = 1 << 7,
};

/* Strings are the parser's and live until http_reset. */
struct http_request {
    enum http_method method;
    const char *method_name;
    char *path;                                      /* percent-decoded, no NUL inside */
    const char *query;                               /* after '?', as sent; "" when none */
    const char *host, *authorization, *content_type; /* NULL when absent */
    uint8_t minor;                                   /* HTTP/1.minor: 0 or 1 */
    bool keep_alive, expects_continue, is_chunked, has_length;
    uint64_t content_length;
    struct strbuf body;
};

enum http_state {
    HTTP_STATE_IDLE, /* nothing of a request has come */
    HTTP_STATE_HEAD,
    HTTP_STATE_BODY,
    HTTP_STATE_CHUNK_SIZE,
    HTTP_STATE_CHUNK_DATA,
    HTTP_STATE_CHUNK_END,
    HTTP_STATE_TRAILER,
    HTTP_STATE_DONE,
    HTTP_STATE_FAILED,
};

struct http_parser {
    const struct http_limits *limits; /* the caller's */
    enum http_state state;
    struct http_request request;
    /* what failed: status and one sentence (static) */
    int status;
    const char *reason;
    /* its own */
    struct strbuf head;
    uint64_t remaining;   /* of the body or chunk */
    uint32_t line_bytes;  /* of the chunk line or of all trailers so far */
    uint16_t chunk_chars; /* hex digits seen */
    bool in_extension, saw_cr;
};

enum http_result {
    HTTP_MORE,      /* all bytes used, the request is not complete */
    HTTP_HEAD_DONE, /* told once, before any of the body: the moment for 100 Continue or a refusal
                     */
    HTTP_DONE,      /* request.body is complete; http_reset before feeding the rest */
    HTTP_FAIL,      /* status and reason are set; nothing more can be parsed from this peer */
};

void http_init(struct http_parser *p, const struct http_limits *limits);
void http_finish(struct http_parser *p);
/* Back to idle, frees what the request held. */
void http_reset(struct http_parser *p);
/* *ret_used says how many bytes were taken, also on failure. */
enum http_result http_feed(struct http_parser *p, const char *data, size_t len, size_t *ret_used);

/* "OK" for 200, ... */
const char *http_status_text(int status);
/* Writes the names of a set of methods as "GET, HEAD". */
void http_method_names(unsigned methods, char *out, size_t size);

#endif
