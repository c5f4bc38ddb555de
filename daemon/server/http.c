/* SPDX-License-Identifier: MIT */
#include "server/http.h"

#include "server/http_head.h"

#include <stdio.h>
#include <string.h>

void http_init(struct http_parser *p, const struct http_limits *limits)
{
    *p = (struct http_parser){.limits = limits};
    strbuf_init(&p->head, 0);
    strbuf_init(&p->request.body, 0);
}

void http_finish(struct http_parser *p)
{
    strbuf_finish(&p->head);
    strbuf_finish(&p->request.body);
}

void http_reset(struct http_parser *p)
{
    http_finish(p);
    http_init(p, p->limits);
}

static enum http_result fail(struct http_parser *p, int status, const char *reason)
{
    p->state = HTTP_STATE_FAILED;
    p->status = status;
    p->reason = reason;
    return HTTP_FAIL;
}

/* Takes bytes up to and with the empty line that ends the head. */
static enum http_result feed_head(struct http_parser *p, const char *data, size_t len, size_t *used)
{
    size_t i;

    for (i = 0; i < len; i++) {
        char c = data[i];

        if (p->head.len + i >= p->limits->head_bytes)
            return fail(p, 431, "the head of the request is too large");
        if (c == '\n') {
            if (!p->saw_cr)
                return fail(p, 400, "a line ends without CR");
            p->saw_cr = false;
            if (p->line_bytes == 0 && p->head.len + i > 1) {
                strbuf_add(&p->head, data, i + 1);
                *used = i + 1;
                return HTTP_DONE;
            }
            p->line_bytes = 0;
        } else if (p->saw_cr) {
            return fail(p, 400, "a CR is not followed by LF");
        } else if (c == '\r') {
            p->saw_cr = true;
        } else if (c == 0) {
            return fail(p, 400, "the head of the request holds a NUL byte");
        } else {
            p->line_bytes++;
        }
    }
    strbuf_add(&p->head, data, len);
    *used = len;
    return HTTP_MORE;
}

static enum http_result start_body(struct http_parser *p)
{
    struct http_request *r = &p->request;
    int status = http_head_parse(p->head.data, p->head.len, p->limits->head_headers, r, &p->reason);

    if (status)
        return fail(p, status, p->reason);
    p->line_bytes = 0;
    if (r->is_chunked) {
        p->state = HTTP_STATE_CHUNK_SIZE;
    } else if (r->content_length) {
        if (r->content_length > p->limits->body_bytes)
            return fail(p, 413, "the body is larger than this server takes");
        p->remaining = r->content_length;
        p->state = HTTP_STATE_BODY;
    } else {
        p->state = HTTP_STATE_DONE;
    }
    return HTTP_HEAD_DONE;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* chunk-size [ chunk-ext ] CRLF, a byte at a time. Extensions are skipped. */
static enum http_result feed_chunk_size(struct http_parser *p, char c)
{
    int digit = hex_digit(c);

    if (++p->line_bytes > p->limits->head_bytes)
        return fail(p, 431, "a chunk's size line is too long");
    if (p->saw_cr) {
        if (c != '\n')
            return fail(p, 400, "a CR is not followed by LF");
        if (!p->chunk_chars)
            return fail(p, 400, "a chunk lacks its size");
        if (p->remaining > p->limits->body_bytes - p->request.body.len)
            return fail(p, 413, "the body is larger than this server takes");
        p->state = p->remaining ? HTTP_STATE_CHUNK_DATA : HTTP_STATE_TRAILER;
        p->line_bytes = 0;
        p->chunk_chars = 0;
        p->saw_cr = p->in_extension = false;
    } else if (c == '\r') {
        p->saw_cr = true;
    } else if (p->in_extension) {
        if ((unsigned char)c < 0x20 && c != '\t')
            return fail(p, 400, "a chunk extension holds a control character");
    } else if (digit >= 0) {
        if (++p->chunk_chars > 15)
            return fail(p, 413, "the body is larger than this server takes");
        p->remaining = p->remaining * 16 + (uint64_t)digit;
    } else if (p->chunk_chars && (c == ';' || c == ' ' || c == '\t')) {
        p->in_extension = true;
    } else {
        return fail(p, 400, "a chunk's size is not a hexadecimal number");
    }
    return HTTP_MORE;
}

static enum http_result feed_chunk_end(struct http_parser *p, char c)
{
    if (c != (p->saw_cr ? '\n' : '\r'))
        return fail(p, 400, "a chunk is not followed by CRLF");
    if (p->saw_cr)
        p->state = HTTP_STATE_CHUNK_SIZE;
    p->saw_cr = !p->saw_cr;
    return HTTP_MORE;
}

/* Trailer lines are read over: nothing in them is used. chunk_chars: bytes of the current line. */
static enum http_result feed_trailer(struct http_parser *p, char c)
{
    if (++p->line_bytes > p->limits->head_bytes)
        return fail(p, 431, "the trailers are too large");
    if (p->saw_cr) {
        if (c != '\n')
            return fail(p, 400, "a CR is not followed by LF");
        p->saw_cr = false;
        if (!p->chunk_chars)
            p->state = HTTP_STATE_DONE;
        p->chunk_chars = 0;
    } else if (c == '\r') {
        p->saw_cr = true;
    } else if ((unsigned char)c < 0x20 && c != '\t') {
        return fail(p, 400, "a trailer holds a control character");
    } else {
        p->chunk_chars = 1;
    }
    return HTTP_MORE;
}

/* As much of the body as is here. */
static enum http_result feed_data(struct http_parser *p, const char *data, size_t len, size_t *used)
{
    size_t take = p->remaining < len ? (size_t)p->remaining : len;

    strbuf_add(&p->request.body, data, take);
    if (p->request.body.failed)
        return fail(p, 503, "there is no memory for the body now");
    *used = take;
    p->remaining -= take;
    if (!p->remaining)
        p->state = p->state == HTTP_STATE_BODY ? HTTP_STATE_DONE : HTTP_STATE_CHUNK_END;
    return HTTP_MORE;
}

static enum http_result feed_some(struct http_parser *p, const char *data, size_t len, size_t *used)
{
    enum http_result result;

    *used = 1;
    switch (p->state) {
    case HTTP_STATE_IDLE:
        p->state = HTTP_STATE_HEAD;
        __attribute__((fallthrough));
    case HTTP_STATE_HEAD:
        result = feed_head(p, data, len, used);
        if (p->head.failed)
            return fail(p, 503, "there is no memory for the request now");
        return result == HTTP_DONE ? start_body(p) : result;
    case HTTP_STATE_BODY:
    case HTTP_STATE_CHUNK_DATA:
        return feed_data(p, data, len, used);
    case HTTP_STATE_CHUNK_SIZE:
        return feed_chunk_size(p, *data);
    case HTTP_STATE_CHUNK_END:
        return feed_chunk_end(p, *data);
    case HTTP_STATE_TRAILER:
        return feed_trailer(p, *data);
    case HTTP_STATE_DONE:
    case HTTP_STATE_FAILED:
        break;
    }
    *used = 0;
    return p->state == HTTP_STATE_DONE ? HTTP_DONE : HTTP_FAIL;
}

enum http_result http_feed(struct http_parser *p, const char *data, size_t len, size_t *ret_used)
{
    enum http_result result = HTTP_MORE;
    size_t used;

    *ret_used = 0;
    while (p->state != HTTP_STATE_DONE && len > *ret_used) {
        result = feed_some(p, data + *ret_used, len - *ret_used, &used);
        *ret_used += used;
        if (result != HTTP_MORE)
            return result;
    }
    return p->state == HTTP_STATE_DONE ? HTTP_DONE : result;
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "Status";
}

void http_method_names(unsigned methods, char *out, size_t size)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    size_t used = 0;

    out[0] = 0;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]) && used < size; i++)
        if (methods & (1u << i))
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", names[i]);
}
