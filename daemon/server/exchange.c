/* SPDX-License-Identifier: MIT */
#include "server/exchange.h"

#include "server/jsonout.h"
#include "server/server_impl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define RETRY_SECONDS "5" /* where nobody knows when there will be room again */

void exchange_header(struct exchange *x, const char *name, const char *value)
{
    size_t used = strlen(x->headers), more = strlen(name) + strlen(value) + 4;

    if (used + more < sizeof(x->headers))
        snprintf(x->headers + used, sizeof(x->headers) - used, "%s: %s\r\n", name, value);
}

/* Everything up to the empty line; length < 0: not known beforehand. */
static void write_head(struct exchange *x, int status, const char *type, long long length)
{
    struct strbuf *out = connection_output(connection_of(x));
    time_t now = time(NULL);
    struct tm tm;
    char date[40];

    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (status == 503 && !strstr(x->headers, "Retry-After: "))
        exchange_header(x, "Retry-After", RETRY_SECONDS);
    x->status = (uint16_t)status;
    x->has_body = x->request->method != HTTP_HEAD && status != 204;
    if (!x->request->keep_alive || x->server->is_draining)
        x->must_close = true;
    if (length < 0) {
        x->is_stream = true;
        x->is_chunked = x->request->minor > 0;
        x->must_close |= !x->is_chunked;
    }
    strbuf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http_status_text(status), date);
    if (type)
        strbuf_printf(out, "Content-Type: %s\r\n", type);
    if (length >= 0 && status != 204)
        strbuf_printf(out, "Content-Length: %lld\r\n", length);
    else if (x->is_chunked)
        strbuf_add_str(out, "Transfer-Encoding: chunked\r\n");
    strbuf_add_str(out, x->headers);
    if (x->must_close)
        strbuf_add_str(out, "Connection: close\r\n");
    else if (x->request->minor == 0)
        strbuf_add_str(out, "Connection: keep-alive\r\n");
    strbuf_add_str(out, "\r\n");
}

void exchange_reply(struct exchange *x, int status, const char *type, const char *body, size_t len)
{
    struct connection *c = connection_of(x);

    write_head(x, status, type, (long long)len);
    if (x->has_body) {
        strbuf_add(connection_output(c), body, len);
        x->bytes_sent += len;
    }
    connection_flush(c);
    connection_exchange_over(c);
}

void exchange_reply_json(struct exchange *x, const struct strbuf *json)
{
    struct api_error err;

    if (json->failed) {
        fields_fail(&err, 503, NULL, NULL, "there is no memory for the answer now");
        exchange_fail(x, &err);
        return;
    }
    exchange_reply(x, 200, "application/json", json->data, json->len);
}

void exchange_error_json(struct strbuf *out, const struct api_error *err)
{
    strbuf_add_str(out, "{\"error\":{");
    jsonout_key_string(out, "message", err->message);
    jsonout_key_string(out, "type", err->type);
    jsonout_key_string(out, "param", err->param[0] ? err->param : NULL);
    jsonout_key_string(out, "code", err->code);
    strbuf_add_str(out, "}}");
}

void exchange_fail(struct exchange *x, const struct api_error *err)
{
    struct strbuf json;

    strbuf_init(&json, 0);
    exchange_error_json(&json, err);
    strbuf_add_char(&json, '\n');
    if (err->status == 401)
        exchange_header(x, "WWW-Authenticate", "Bearer");
    exchange_reply(x, err->status, "application/json", json.failed ? "" : json.data,
                   json.failed ? 0 : json.len);
    strbuf_finish(&json);
}

void exchange_begin(struct exchange *x, const char *type)
{
    exchange_header(x, "Cache-Control", "no-store");
    write_head(x, 200, type, -1);
    connection_flush(connection_of(x));
}

void exchange_write(struct exchange *x, const char *data, size_t len)
{
    struct connection *c = connection_of(x);
    struct strbuf *out = connection_output(c);

    if (!x->has_body || !len)
        return;
    if (x->is_chunked)
        strbuf_printf(out, "%zx\r\n", len);
    strbuf_add(out, data, len);
    if (x->is_chunked)
        strbuf_add(out, "\r\n", 2);
    x->bytes_sent += len;
    connection_flush(c);
}

void exchange_end(struct exchange *x)
{
    struct connection *c = connection_of(x);

    if (x->is_chunked && x->has_body)
        strbuf_add(connection_output(c), "0\r\n\r\n", 5);
    connection_flush(c);
    connection_exchange_over(c);
}

struct strbuf *exchange_scratch(struct exchange *x)
{
    strbuf_reset(&x->server->scratch);
    return &x->server->scratch;
}
