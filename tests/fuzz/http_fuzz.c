/* SPDX-License-Identifier: MIT */
/* The HTTP parser: whatever comes, however it is split, both ways agree and limits hold. */
#include "server/http.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_limits limits = {.head_bytes = 1024, .head_headers = 8, .body_bytes = 256};

/* Feeds in pieces and returns how many requests were complete and how the last one ended. */
static int feed(const char *data, size_t len, size_t piece, size_t *ret_body)
{
    struct http_parser p;
    size_t at = 0, used;
    int verdict = 0;

    *ret_body = 0;
    http_init(&p, &limits);
    while (at < len || p.state == HTTP_STATE_DONE) {
        size_t n = len - at < piece ? len - at : piece;
        enum http_result result = http_feed(&p, data + at, n, &used);

        at += used;
        if (used > n || p.head.len > limits.head_bytes || p.request.body.len > limits.body_bytes)
            abort();
        if (result == HTTP_FAIL) {
            verdict = verdict * 1000 + p.status;
            if (!p.reason || p.status < 400)
                abort();
            break;
        }
        if (result == HTTP_DONE) {
            *ret_body += p.request.body.len + strlen(p.request.path);
            verdict++;
            http_reset(&p);
        }
    }
    http_finish(&p);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t body, other;
    int verdict = feed((const char *)data, size, size + 1, &body);

    if (verdict != feed((const char *)data, size, 1, &other) || body != other)
        abort();
    if (verdict != feed((const char *)data, size, 7, &other) || body != other)
        abort();
    return 0;
}
