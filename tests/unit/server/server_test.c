/* SPDX-License-Identifier: MIT */
/* The wire: connections, limits, time-outs, over a real socket and the fake engine. */
#include "harness.h"
#include "house.h"
#include "moved_clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHO  "{\"prompt\":\"echo hello\",\"model\":\"tiny\"}"
#define COUNT "{\"prompt\":\"count 5\",\"model\":\"tiny\",\"stream\":true}"

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct house h;
    struct response r;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    client_say(fd, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 39\r\n\r\n"
                   "{\"prompt\":\"echo first\",\"model\":\"tiny\"}\n"
                   "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                   "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "5\r\n{\"pro\r\n23\r\nmpt\":\"echo third\",\"model\":\"tiny\"}  \r\n0\r\n\r\n"
                   "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    client_read(fd, &r);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\"text\":\"first\""));
    response_free(&r);
    client_read(fd, &r);
    assert_string_equal(r.body, "{\"status\":\"ok\"}\n");
    response_free(&r);
    client_read(fd, &r);
    assert_non_null(strstr(r.body, "\"text\":\"third\""));
    response_free(&r);
    client_read(fd, &r);
    assert_int_equal(r.status, 404);
    response_free(&r);
    close(fd);
    house_close(&h);
}

static void a_request_may_come_a_byte_at_a_time(void **state)
{
    static const char text[] =
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\n\r\n" ECHO;
    struct house h;
    struct response r;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        client_send(fd, text + i, 1);
        usleep(100);
    }
    client_read(fd, &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    close(fd);
    house_close(&h);
}

static void keep_alive_carries_many_requests(void **state)
{
    struct house h;
    struct response r;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    for (int i = 0; i < 500; i++) {
        client_post(fd, "/v1/completions", i % 2 ? ECHO : COUNT);
        client_read(fd, &r);
        assert_int_equal(r.status, 200);
        assert_int_equal(r.is_whole, 1);
        assert_non_null(strstr(r.body, i % 2 ? "\"text\":\"hello\"" : "[DONE]"));
        response_free(&r);
    }
    client_say(fd, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client_read(fd, &r);
    assert_non_null(strstr(r.head, "Connection: close\r\n"));
    response_free(&r);
    assert_int_equal(client_sees_end(fd), 1);
    close(fd);
    house_close(&h);
}

static void http_1_0_gets_an_answer_that_ends_with_the_connection(void **state)
{
    struct house h;
    char got[4096];
    size_t len = 0;
    ssize_t n;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    client_say(fd, "POST /v1/completions HTTP/1.0\r\nContent-Length: 49\r\n\r\n" COUNT);
    while ((n = recv(fd, got + len, sizeof(got) - 1 - len, 0)) > 0)
        len += (size_t)n;
    got[len] = 0;
    assert_int_equal(n, 0);
    assert_null(strstr(got, "chunked"));
    assert_non_null(strstr(got, "\r\n\r\ndata: {"));
    assert_non_null(strstr(got, "data: [DONE]\n\n"));
    close(fd);
    house_close(&h);
}

static void head_options_and_wrong_methods(void **state)
{
    struct house h;
    struct response r;
    char got[1024] = "";
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    client_say(fd, "DELETE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
    client_read(fd, &r);
    assert_int_equal(r.status, 405);
    assert_non_null(strstr(r.head, "Allow: GET, HEAD, OPTIONS\r\n"));
    response_free(&r);
    client_say(fd, "OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n\r\n");
    client_read(fd, &r);
    assert_int_equal(r.status, 204);
    assert_non_null(strstr(r.head, "Allow: POST, OPTIONS\r\n"));
    assert_null(strstr(r.head, "Access-Control"));
    response_free(&r);
    client_say(fd, "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_true(recv(fd, got, sizeof(got) - 1, MSG_WAITALL) > 0);
    assert_non_null(strstr(got, "Content-Length: 16\r\n"));
    assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
    close(fd);
    house_close(&h);
}

static void expect_continue_is_answered_before_the_body(void **state)
{
    static const char ask[] = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\n"
                              "Expect: 100-continue\r\n\r\n";
    static const char want[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct house h;
    struct response r;
    char got[sizeof(want)] = "";
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    client_say(fd, ask);
    assert_int_equal(recv(fd, got, sizeof(want) - 1, MSG_WAITALL), sizeof(want) - 1);
    assert_string_equal(got, want);
    client_say(fd, ECHO);
    client_read(fd, &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    /* a body nobody wants is refused before it is sent */
    client_say(fd, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
                   "Expect: 100-continue\r\n\r\n");
    client_read(fd, &r);
    assert_int_equal(r.status, 404);
    response_free(&r);
    assert_int_equal(client_sees_end(fd), 1);
    close(fd);
    house_close(&h);
}

static void huge_bodies_are_refused_and_the_answer_arrives(void **state)
{
    struct house h;
    struct response r;
    size_t len = 4 << 20;
    char *junk = malloc(len);
    int fd;

    house_defaults(&h);
    h.config.http.body_bytes = 100000;
    house_open(&h);
    memset(junk, ' ', len);
    fd = client_connect(&h);
    client_say(fd, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n");
    client_send(fd, junk, len);
    client_read(fd, &r);
    assert_int_equal(r.status, 413);
    assert_non_null(strstr(r.body, "larger than the 100000 bytes a request may have"));
    assert_int_equal(r.is_whole, 1);
    response_free(&r);
    close(fd);
    fd = client_connect(&h);
    client_say(fd,
               "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 200; i++) {
        client_say(fd, "400\r\n");
        client_send(fd, junk, 0x400);
        client_say(fd, "\r\n");
    }
    client_read(fd, &r);
    assert_int_equal(r.status, 413);
    response_free(&r);
    close(fd);
    free(junk);
    house_close(&h);
}

static void bodies_of_all_requests_share_a_budget(void **state)
{
    enum { N = 8 };
    struct house h;
    struct response r;
    char *junk = calloc(1, 60000);
    int fds[N], n_refused = 0, n_answered = 0;

    house_defaults(&h);
    h.config.bodies_bytes = 200000;
    house_open(&h);
    memset(junk, ' ', 60000);
    for (int i = 0; i < N; i++) {
        fds[i] = client_connect(&h);
        client_say(fds[i],
                   "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 60038\r\n\r\n");
        client_send(fds[i], junk, 60000);
        usleep(5000);
    }
    for (int i = 0; i < N; i++) {
        client_say(fds[i], ECHO);
        client_read(fds[i], &r);
        n_refused += r.status == 503;
        assert_int_equal(strstr(r.head, "Retry-After: ") != NULL, r.status == 503);
        n_answered += r.status == 200;
        response_free(&r);
        close(fds[i]);
    }
    assert_true(n_refused > 0);
    assert_true(n_answered > 0);
    assert_int_equal(n_refused + n_answered, N);
    free(junk);
    house_close(&h);
}

/* The server looks at its clock, and at whatever is due; what others sent before, it has read. */
static void have_looked(struct house *h)
{
    struct response r;

    client_ask(h, "/v1/completions", ECHO, &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
}

static void pass_seconds(struct house *h, unsigned seconds)
{
    have_looked(h);
    moved_clock_add(seconds);
    have_looked(h);
}

static bool is_answered(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void requests_that_stall_time_out(void **state)
{
    struct house h;
    struct response r;
    int idle, head, body, behind;

    house_defaults(&h);
    h.config.idle_timeout = 50;
    h.config.head_timeout = 100;
    h.config.body_timeout = 100;
    house_open(&h);
    idle = client_connect(&h);
    head = client_connect(&h);
    behind = client_connect(&h);
    client_say(head, "GET /hea");
    client_say(behind, "GET /hea");
    pass_seconds(&h, 60);
    assert_int_equal(client_sees_end(idle), 1);
    /* the rest of a request, and the start of one that never ends */
    client_say(behind, "lth HTTP/1.1\r\nHost: x\r\n\r\nGET /hea");
    body = client_connect(&h);
    client_say(body, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
    client_read(behind, &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    pass_seconds(&h, 60);
    client_read(head, &r);
    assert_int_equal(r.status, 408);
    response_free(&r);
    assert_false(is_answered(body) || is_answered(behind));
    pass_seconds(&h, 60);
    client_read(body, &r);
    assert_int_equal(r.status, 408);
    response_free(&r);
    client_read(behind, &r);
    assert_int_equal(r.status, 408);
    response_free(&r);
    close(idle);
    close(head);
    close(body);
    close(behind);
    house_close(&h);
}

static void a_body_that_trickles_in_times_out(void **state)
{
    struct house h;
    struct response r;
    char block[2000];
    int fd, n_sent = 0;

    house_defaults(&h);
    h.config.idle_timeout = 1000;
    h.config.body_timeout = 20;
    h.config.least_bytes_per_second = 1000;
    house_open(&h);
    fd = client_connect(&h);
    client_say(fd, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n");
    /* a byte a second, never long without one, until there is an answer */
    while (n_sent < 200 && !is_answered(fd)) {
        client_send(fd, " ", 1);
        pass_seconds(&h, 1);
        n_sent++;
    }
    assert_in_range(n_sent, 20, 22);
    client_read(fd, &r);
    assert_int_equal(r.status, 408);
    response_free(&r);
    close(fd);
    /* one that comes steadily may take longer than the time-out */
    memset(block, ' ', sizeof(block));
    fd = client_connect(&h);
    client_say(fd, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 40038\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        client_send(fd, block, sizeof(block));
        pass_seconds(&h, 2);
    }
    client_say(fd, ECHO);
    client_read(fd, &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    close(fd);
    house_close(&h);
}

static void a_client_that_leaves_cancels_its_request(void **state)
{
    struct house h;
    struct response r;
    char first[64];
    int fd;

    house_defaults(&h);
    house_open(&h);
    fake_engine_set_delay(h.engine, 1000);
    /* mid-answer */
    fd = client_connect(&h);
    client_post(fd, "/v1/completions",
                "{\"prompt\":\"forever\",\"model\":\"tiny\",\"stream\":true}");
    assert_true(recv(fd, first, sizeof(first), 0) > 0);
    close(fd);
    WAIT_FOR(house_look(&h).n_cancelled == 1 && house_look(&h).n_running == 0);
    /* still queued */
    fd = client_connect(&h);
    client_post(fd, "/v1/completions", "{\"prompt\":\"wait\",\"model\":\"tiny\"}");
    WAIT_FOR(house_look(&h).n_running == 1);
    close(fd);
    WAIT_FOR(house_look(&h).n_cancelled == 2 && house_look(&h).n_running == 0);
    /* half-closed first, gone later */
    fd = client_connect(&h);
    client_post(fd, "/v1/completions", "{\"prompt\":\"wait\",\"model\":\"tiny\"}");
    shutdown(fd, SHUT_WR);
    WAIT_FOR(house_look(&h).n_running == 1);
    usleep(20000);
    assert_int_equal(house_look(&h).n_cancelled, 2);
    close(fd);
    WAIT_FOR(house_look(&h).n_cancelled == 3);
    client_ask(&h, "/v1/completions", ECHO, &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    house_close(&h);
}

static void a_client_that_only_stops_sending_gets_its_answer(void **state)
{
    struct house h;
    struct response r;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fake_engine_set_delay(h.engine, 2000);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions", COUNT);
    shutdown(fd, SHUT_WR);
    client_read(fd, &r);
    assert_int_equal(r.is_whole, 1);
    assert_non_null(strstr(r.body, "[DONE]"));
    response_free(&r);
    close(fd);
    house_close(&h);
}

static void slow_readers_pause_their_request_and_lose_nothing(void **state)
{
    struct house h;
    struct response r;
    struct fake_seen seen;
    size_t n = 0;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions",
                "{\"prompt\":\"block 3000\",\"model\":\"tiny\",\"stream\":true}");
    WAIT_FOR(house_look(&h).n_pauses > 0);
    usleep(50000);
    seen = house_look(&h);
    usleep(50000);
    assert_int_equal(house_look(&h).n_tokens, seen.n_tokens); /* nothing is computed meanwhile */
    assert_true(seen.n_tokens < 2000);
    client_read(fd, &r);
    assert_int_equal(r.is_whole, 1);
    for (const char *at = r.body; (at = strstr(at, "\"text\":\"x")); at++)
        n++;
    assert_int_equal(n, 3000);
    response_free(&r);
    close(fd);
    house_close(&h);
}

static void readers_that_stop_are_dropped(void **state)
{
    struct house h;
    struct response r;
    int fd;

    house_defaults(&h);
    h.config.send_timeout = 0.1;
    house_open(&h);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions",
                "{\"prompt\":\"forever\",\"model\":\"tiny\",\"stream\":true}");
    WAIT_FOR(house_look(&h).n_cancelled == 1);
    WAIT_FOR(house_look(&h).n_running == 0);
    close(fd);
    client_ask(&h, "/metrics", "", &r);
    response_free(&r);
    fd = client_connect(&h);
    client_say(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    client_read(fd, &r);
    assert_non_null(strstr(r.body, "hearth_slow_readers_dropped_total 1\n"));
    response_free(&r);
    close(fd);
    house_close(&h);
}

/* More than the socket itself holds, so the server has sent more meanwhile. */
static bool read_a_little(int fd)
{
    char block[16384];

    for (size_t len = 0; len < 256 << 10;) {
        ssize_t n = recv(fd, block, sizeof(block), 0);

        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    return true;
}

static void readers_slower_than_the_least_rate_are_dropped(void **state)
{
    struct house h;
    int fd;

    house_defaults(&h);
    h.config.send_timeout = 1000;
    h.config.least_bytes_per_second = 64 << 20;
    h.config.output_high_bytes = 4 << 20; /* more than is read below: nothing is sent for long */
    h.config.output_low_bytes = 64 << 10;
    h.config.output_max_bytes = 8 << 20;
    house_open(&h);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions",
                "{\"prompt\":\"block 100000\",\"model\":\"tiny\",\"stream\":true}");
    WAIT_FOR(house_look(&h).n_pauses > 0);
    for (int i = 0; i < 9; i++) {
        assert_true(read_a_little(fd));
        moved_clock_add(100);
        have_looked(&h);
        assert_int_equal(house_look(&h).n_cancelled, 0);
    }
    assert_true(read_a_little(fd));
    moved_clock_add(110); /* ten times, that it has read something earned less than ten seconds */
    have_looked(&h);
    WAIT_FOR(house_look(&h).n_cancelled == 1);
    close(fd);
    house_close(&h);
}

static void a_thousand_connections_are_served(void **state)
{
    enum { N = 1000 };
    struct rlimit files;
    struct house h;
    struct response r;
    int *fds = calloc(N, sizeof(int));

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2 * N + 100)
        SKIP("the limit of open files is %d", (int)files.rlim_cur);
    house_defaults(&h);
    h.queue_limit = N;
    house_open(&h);
    for (int i = 0; i < N; i++) {
        fds[i] = client_connect(&h);
        assert_true(fds[i] >= 0);
    }
    for (int i = 0; i < N; i++)
        client_post(fds[i], "/v1/completions", COUNT);
    for (int i = 0; i < N; i++) {
        client_read(fds[i], &r);
        assert_int_equal(r.status, 200);
        assert_non_null(strstr(r.body, "[DONE]"));
        response_free(&r);
    }
    for (int i = 0; i < N; i++)
        close(fds[i]);
    free(fds);
    house_close(&h);
}

static void too_many_connections_wait_their_turn(void **state)
{
    struct house h;
    struct response r;
    int fds[6];

    house_defaults(&h);
    h.config.max_connections = 4;
    house_open(&h);
    for (int i = 0; i < 6; i++) {
        fds[i] = client_connect(&h);
        client_say(fds[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for (int i = 0; i < 6; i++) {
        client_read(fds[i], &r);
        assert_int_equal(r.status, 200);
        response_free(&r);
        close(fds[i]);
    }
    house_close(&h);
}

static void tcp_needs_a_token(void **state)
{
    static const char *const tokens[] = {"0123456789abcdef", NULL};
    struct house h;
    struct response r;
    int fd;

    house_defaults(&h);
    h.is_tcp = true;
    h.config.tokens = tokens;
    house_open(&h);
    fd = client_connect(&h);
    client_say(fd, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    client_read(fd, &r);
    assert_int_equal(r.status, 401);
    assert_non_null(strstr(r.head, "WWW-Authenticate: Bearer"));
    response_free(&r);
    client_say(fd,
               "GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n");
    client_read(fd, &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    /* a token gives no right to ask for files by their path */
    client_say(fd, "GET /v1/models//etc/passwd HTTP/1.1\r\nHost: x\r\n"
                   "Authorization: Bearer 0123456789abcdef\r\n\r\n");
    client_read(fd, &r);
    assert_int_equal(r.status, 403);
    assert_non_null(strstr(r.head, "403 Forbidden\r\n"));
    assert_non_null(strstr(r.body, "path_not_allowed"));
    response_free(&r);
    close(fd);
    house_close(&h);
}

static void everything_works_on_epoll_too(void **state)
{
    struct house h;
    struct response r;

    house_defaults(&h);
    h.backend = LOOP_BACKEND_EPOLL;
    house_open(&h);
    for (int i = 0; i < 20; i++) {
        client_ask(&h, "/v1/completions", COUNT, &r);
        assert_int_equal(r.is_whole, 1);
        response_free(&r);
    }
    client_ask(&h, "/v1/completions",
               "{\"prompt\":\"block 3000\",\"model\":\"tiny\",\"stream\":true}", &r);
    assert_int_equal(r.is_whole, 1);
    response_free(&r);
    house_drain(&h);
    assert_int_equal(house_wait(&h), 1);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_request_may_come_a_byte_at_a_time),
        cmocka_unit_test(keep_alive_carries_many_requests),
        cmocka_unit_test(http_1_0_gets_an_answer_that_ends_with_the_connection),
        cmocka_unit_test(head_options_and_wrong_methods),
        cmocka_unit_test(expect_continue_is_answered_before_the_body),
        cmocka_unit_test(huge_bodies_are_refused_and_the_answer_arrives),
        cmocka_unit_test(bodies_of_all_requests_share_a_budget),
        cmocka_unit_test(requests_that_stall_time_out),
        cmocka_unit_test(a_body_that_trickles_in_times_out),
        cmocka_unit_test(a_client_that_leaves_cancels_its_request),
        cmocka_unit_test(a_client_that_only_stops_sending_gets_its_answer),
        cmocka_unit_test(slow_readers_pause_their_request_and_lose_nothing),
        cmocka_unit_test(readers_that_stop_are_dropped),
        cmocka_unit_test(readers_slower_than_the_least_rate_are_dropped),
        cmocka_unit_test(a_thousand_connections_are_served),
        cmocka_unit_test(too_many_connections_wait_their_turn),
        cmocka_unit_test(tcp_needs_a_token),
        cmocka_unit_test(everything_works_on_epoll_too),
    };
    return TEST_MAIN(argc, argv, tests);
}
