/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "server/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct http_limits limits = {.head_bytes = 512, .head_headers = 8, .body_bytes = 100};

/* Feeds text in pieces of `piece` bytes, and the first `cut` bytes as one; sums up what happened.
 */
static int feed(struct http_parser *p, const char *text, size_t len, size_t cut, size_t piece)
{
    size_t at = 0, used;

    while (at < len || p->state == HTTP_STATE_DONE) {
        size_t n = at < cut ? cut - at : piece;
        enum http_result result;

        if (n > len - at)
            n = len - at;
        result = http_feed(p, text + at, n, &used);
        assert_true(used <= n);
        at += used;
        if (result == HTTP_DONE)
            return 200;
        if (result == HTTP_FAIL)
            return p->status;
        if (result == HTTP_MORE)
            assert_int_equal(used, n);
    }
    return 0;
}

struct example {
    const char *text;
    int status; /* 200: complete; 0: not yet; else the refusal */
    const char *path, *body;
};

#define H "Host: h\r\n"

static const struct example examples[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", 200, "/", ""},
    {"\r\nGET /a HTTP/1.1\r\n" H "\r\n", 200, "/a", ""},
    {"GET /a%20b%2Fc?x=1 HTTP/1.1\r\n" H "\r\n", 200, "/a b/c", ""},
    {"GET http://h/p HTTP/1.1\r\n" H "\r\n", 200, "/p", ""},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 200, "*", ""},
    {"GET /old HTTP/1.0\r\n\r\n", 200, "/old", ""},
    {"POST /p HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", 200, "/p", "hello"},
    {"POST /p HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200, "/p", ""},
    {"POST /p HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
     200, "/p", "hello!"},
    {"POST /p HTTP/1.1\r\n" H
     "transfer-encoding: CHUNKED\r\n\r\n0a\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
     200, "/p", "0123456789"},
    {"POST /p HTTP/1.1\r\n" H "Content-Length:  \t5 \t\r\n\r\nhello", 200, "/p", "hello"},
    /* unfinished */
    {"GET / HTTP/1.1\r\n" H, 0, NULL, NULL},
    {"POST /p HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhell", 0, NULL, NULL},
    {"POST /p HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", 0, NULL,
     NULL},
    /* where two parsers could disagree */
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, NULL,
     NULL},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 400,
     NULL, NULL},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\n" H "\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost: h\n\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\nhello", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n", 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 413, NULL,
     NULL},
    /* malformed */
    {"GET /\r\n" H "\r\n", 400, NULL, NULL},
    {"GET  / HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {"G(T / HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {" GET / HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {"GET x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {"GET /\x80 HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {"GET /%zz HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {"GET /%2 HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {"GET /%00 HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" H H "\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", 400, NULL, NULL},
    {"\r\n\r\n", 400, NULL, NULL},
    {"GET / HTTP/2.0\r\n" H "\r\n", 505, NULL, NULL},
    {"PRI * HTTP/2.0\r\n\r\n", 505, NULL, NULL},
    {"GET / HTTP/1.1\r\n" H "Expect: tea\r\n\r\n", 417, NULL, NULL},
    /* too much */
    {"POST / HTTP/1.1\r\n" H "Content-Length: 101\r\n\r\n", 413, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n", 413, NULL, NULL},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n65\r\n", 413, NULL, NULL},
    {"GET / HTTP/1.1\r\n" H "1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n\r\n", 431, NULL,
     NULL},
};

enum { N_EXAMPLES = sizeof(examples) / sizeof(examples[0]) };

static void check(const struct example *x, size_t cut, size_t piece)
{
    struct http_parser p;
    int status;

    http_init(&p, &limits);
    status = feed(&p, x->text, strlen(x->text), cut, piece);
    if (status != x->status)
        print_message("# %s\n", x->text);
    assert_int_equal(status, x->status);
    if (status == 200) {
        assert_string_equal(p.request.path, x->path);
        assert_string_equal(p.request.body.data ? p.request.body.data : "", x->body);
    } else if (status) {
        assert_non_null(p.reason);
    }
    http_finish(&p);
}

static void http_gives_each_example_its_verdict(void **state)
{
    for (size_t i = 0; i < N_EXAMPLES; i++)
        check(&examples[i], 0, 1 << 20);
}

static void http_does_not_care_where_bytes_are_split(void **state)
{
    for (size_t i = 0; i < N_EXAMPLES; i++) {
        for (size_t cut = 0; cut <= strlen(examples[i].text); cut++)
            check(&examples[i], cut, 1 << 20);
        check(&examples[i], 0, 1);
    }
}

static void http_refuses_a_nul_in_the_head(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";
    struct http_parser p;

    http_init(&p, &limits);
    assert_int_equal(feed(&p, text, sizeof(text) - 1, 0, 1000), 400);
    http_finish(&p);
}

static void http_limits_the_head(void **state)
{
    struct http_parser p;
    char text[600];

    memset(text, 'a', sizeof(text));
    http_init(&p, &limits);
    assert_int_equal(feed(&p, text, sizeof(text), 0, 7), 431);
    assert_true(p.head.len <= limits.head_bytes);
    http_finish(&p);
    /* one that ends with the last byte allowed, and one that ends a byte later */
    for (size_t more = 0; more < 2; more++) {
        memset(text, 'h', sizeof(text));
        memcpy(text, "GET / HTTP/1.1\r\nHost: ", 22);
        memcpy(text + limits.head_bytes + more - 4, "\r\n\r\n", 4);
        http_init(&p, &limits);
        assert_int_equal(feed(&p, text, limits.head_bytes + more, 0, 1000), more ? 431 : 200);
        http_finish(&p);
    }
}

static void http_limits_chunk_lines_and_trailers(void **state)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char *const starts[] = {"1;", "0\r\nX: "};

    for (int i = 0; i < 2; i++) {
        struct http_parser p;
        int status = 0;

        http_init(&p, &limits);
        assert_int_equal(feed(&p, head, sizeof(head) - 1, 0, 1000), 0);
        assert_int_equal(feed(&p, starts[i], strlen(starts[i]), 0, 1000), 0);
        for (int n = 0; n < 1000 && !status; n++)
            status = feed(&p, "y", 1, 0, 1);
        assert_int_equal(status, 431);
        http_finish(&p);
    }
}

static void http_stops_at_the_end_of_a_request(void **state)
{
    static const char text[] = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET /2";
    struct http_parser p;
    size_t used, at;

    http_init(&p, &limits);
    assert_int_equal(http_feed(&p, text, sizeof(text) - 1, &used), HTTP_HEAD_DONE);
    at = used;
    assert_int_equal(http_feed(&p, text + at, sizeof(text) - 1 - at, &used), HTTP_DONE);
    assert_string_equal(text + at + used, "GET /2");
    http_reset(&p);
    assert_int_equal(p.state, HTTP_STATE_IDLE);
    assert_null(p.head.data);
    assert_null(p.request.body.data);
    http_finish(&p);
}

static void http_reads_what_a_server_needs(void **state)
{
    static const char text[] = "POST /x?q=1 HTTP/1.1\r\nHost: h\r\nConnection: Foo, Close\r\n"
                               "Expect: 100-Continue\r\nAuthorization: Bearer t\r\n"
                               "Content-Type: a/b\r\nContent-Length: 1\r\n\r\nx";
    struct http_parser p;
    char names[64];

    http_init(&p, &limits);
    assert_int_equal(feed(&p, text, sizeof(text) - 1, 0, 1000), 200);
    assert_int_equal(p.request.keep_alive, 0);
    assert_int_equal(p.request.expects_continue, 1);
    assert_string_equal(p.request.authorization, "Bearer t");
    assert_string_equal(p.request.content_type, "a/b");
    assert_string_equal(p.request.query, "q=1");
    assert_int_equal(p.request.method, HTTP_POST);
    http_finish(&p);
    http_method_names(HTTP_GET | HTTP_HEAD | HTTP_OPTIONS, names, sizeof(names));
    assert_string_equal(names, "GET, HEAD, OPTIONS");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_gives_each_example_its_verdict),
        cmocka_unit_test(http_does_not_care_where_bytes_are_split),
        cmocka_unit_test(http_refuses_a_nul_in_the_head),
        cmocka_unit_test(http_limits_the_head),
        cmocka_unit_test(http_limits_chunk_lines_and_trailers),
        cmocka_unit_test(http_stops_at_the_end_of_a_request),
        cmocka_unit_test(http_reads_what_a_server_needs),
    };
    return TEST_MAIN(argc, argv, tests);
}
