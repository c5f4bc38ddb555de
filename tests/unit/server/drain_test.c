/* SPDX-License-Identifier: MIT */
/* How a server that drains ends what runs, what is on its way and what idles. */
#include "harness.h"
#include "house.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT "{\"prompt\":\"count 5\",\"model\":\"tiny\",\"stream\":true}"

static void draining_finishes_what_runs(void **state)
{
    struct house h;
    struct response r;
    int busy, idle;

    house_defaults(&h);
    house_open(&h);
    fake_engine_set_delay(h.engine, 5000);
    idle = client_connect(&h);
    busy = client_connect(&h);
    client_post(busy, "/v1/completions",
                "{\"prompt\":\"count 30\",\"model\":\"tiny\",\"stream\":true}");
    WAIT_FOR(house_look(&h).n_tokens > 2);
    house_drain(&h);
    assert_int_equal(client_sees_end(idle), 1);
    client_read(busy, &r);
    assert_int_equal(r.is_whole, 1);
    assert_non_null(strstr(r.body, "[DONE]"));
    response_free(&r);
    close(busy);
    close(idle);
    assert_int_equal(house_wait(&h), 1);
}

static void assert_whole(int fd)
{
    struct response r;

    client_read(fd, &r);
    assert_int_equal(r.is_whole, 1);
    assert_non_null(strstr(r.body, "[DONE]"));
    response_free(&r);
}

/* Of a service that is started anew no request is lost: not one that was sent and not yet received,
 * nor one whose sender has only just connected or is in the middle of it. */
static void requests_on_their_way_when_draining_begins_are_answered(void **state)
{
    int fds[4], *kept = &fds[0], *half = &fds[1], *new = &fds[2], *unseen = &fds[3];
    struct house h;

    house_defaults(&h);
    h.is_gated = true;
    house_open(&h);
    *kept = client_connect(&h);
    client_post(*kept, "/v1/completions", COUNT);
    assert_whole(*kept);
    *new = client_connect(&h);
    *half = client_connect(&h);
    client_say(*half,
               "POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 49\r\n\r\n{\"prompt\"");
    house_drain(&h);
    /* the server's thread does not look at these before it drains */
    client_post(*kept, "/v1/completions", COUNT);
    *unseen = client_connect(&h);
    client_post(*unseen, "/v1/completions", COUNT);
    sem_post(&h.gate);
    assert_whole(*kept);
    client_post(*new, "/v1/completions", COUNT);
    client_say(*half, strchr(COUNT, ':'));
    for (int i = 1; i < 4; i++)
        assert_whole(fds[i]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(client_sees_end(fds[i]), 1);
        close(fds[i]);
    }
    assert_int_equal(house_wait(&h), 1);
}

/* The head of the answer under way has said that the connection is kept. */
static void a_request_behind_the_answer_that_runs_when_draining_begins_is_answered(void **state)
{
    struct house h;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fake_engine_set_delay(h.engine, 5000);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions",
                "{\"prompt\":\"count 30\",\"model\":\"tiny\",\"stream\":true}");
    WAIT_FOR(house_look(&h).n_tokens > 2);
    house_drain(&h);
    client_post(fd, "/v1/completions", COUNT);
    assert_whole(fd);
    assert_whole(fd);
    assert_int_equal(client_sees_end(fd), 1);
    close(fd);
    assert_int_equal(house_wait(&h), 1);
}

/* Its client may send another request at any time, and is prepared that nobody takes it. */
static void a_connection_kept_between_requests_does_not_hold_up_draining(void **state)
{
    struct house h;
    int fd;

    house_defaults(&h);
    house_open(&h);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions", COUNT);
    assert_whole(fd);
    house_drain(&h);
    assert_int_equal(house_wait(&h), 1);
    assert_int_equal(client_sees_end(fd), 1);
    close(fd);
}

/* Whoever still sends when a refusal comes would not get to read it if the connection were gone. */
static void who_is_refused_while_it_drains_may_finish_sending(void **state)
{
    enum { PIECES = 20, PIECE_US = 10000 };
    struct house h;
    struct response r;
    int fd;

    house_defaults(&h);
    h.is_gated = true;
    house_open(&h);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions", COUNT);
    assert_whole(fd);
    house_drain(&h);
    client_say(fd, "POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n");
    sem_post(&h.gate);
    client_read(fd, &r);
    assert_int_equal(r.status, 413);
    assert_int_equal(r.is_whole, 1);
    response_free(&r);
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(send(fd, "piece", 5, MSG_NOSIGNAL), 5);
        usleep(PIECE_US);
    }
    close(fd);
    assert_int_equal(house_wait(&h), 1);
}

/* The server had as many as it takes, and does not look for more at once when one ends. */
static void who_waits_for_a_place_when_draining_begins_is_answered(void **state)
{
    struct house h;
    int first, next;

    house_defaults(&h);
    h.config.max_connections = 1;
    house_open(&h);
    first = client_connect(&h);
    client_post(first, "/v1/completions", COUNT);
    assert_whole(first);
    next = client_connect(&h);
    client_post(next, "/v1/completions", COUNT);
    shutdown(first, SHUT_WR);
    assert_int_equal(client_sees_end(first), 1);
    house_drain(&h);
    assert_whole(next);
    close(first);
    close(next);
    assert_int_equal(house_wait(&h), 1);
}

static void who_connects_while_it_drains_is_refused_at_once(void **state)
{
    struct house h;
    int busy, fd = 0;

    house_defaults(&h);
    h.config.drain_timeout = 1;
    house_open(&h);
    busy = client_connect(&h);
    client_post(busy, "/v1/completions", "{\"prompt\":\"wait\",\"model\":\"tiny\"}");
    WAIT_FOR(house_look(&h).n_running == 1);
    house_drain(&h);
    for (int i = 0; i < 100 && fd >= 0; i++) {
        fd = client_connect(&h);
        if (fd >= 0)
            close(fd);
        usleep(1000);
    }
    assert_int_equal(fd, -1);
    assert_int_equal(house_look(&h).n_running, 1); /* what runs is not disturbed */
    assert_int_equal(client_sees_end(busy), 1);
    assert_int_equal(house_wait(&h), 1);
    close(busy);
}

/* The next process has more time for it, and a client that is told so can ask that one. */
static void who_waits_for_a_load_is_told_to_come_again(void **state)
{
    struct house h;
    struct response r;
    int loads, tokenizes;

    house_defaults(&h);
    house_open(&h);
    fake_engine_set_delay(h.engine, 1000000); /* a load takes three */
    loads = client_connect(&h);
    client_post(loads, "/hearth/v1/load", "{\"model\":\"cold\"}");
    tokenizes = client_connect(&h);
    client_post(tokenizes, "/tokenize", "{\"model\":\"cold\",\"content\":\"a\"}");
    WAIT_FOR(house_look(&h).n_loads == 2);
    house_drain(&h);
    client_read(tokenizes, &r);
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.head, "Retry-After: "));
    assert_non_null(strstr(r.body, "the service is stopping"));
    response_free(&r);
    client_read(loads, &r); /* which may have been told of progress already */
    assert_int_equal(r.is_whole, 1);
    assert_non_null(strstr(r.body, "the service is stopping"));
    response_free(&r);
    close(loads);
    close(tokenizes);
    assert_int_equal(house_wait(&h), 1);
}

static void what_is_cut_off_is_told(void **state)
{
    struct house h;
    struct response r;
    int streams, waits;

    house_defaults(&h);
    h.config.drain_timeout = 0;
    house_open(&h);
    fake_engine_set_delay(h.engine, 5000);
    streams = client_connect(&h);
    client_post(streams, "/v1/completions",
                "{\"prompt\":\"count 100000\",\"model\":\"tiny\",\"stream\":true}");
    waits = client_connect(&h);
    client_post(waits, "/v1/completions", "{\"prompt\":\"wait\",\"model\":\"tiny\"}");
    WAIT_FOR(house_look(&h).n_running == 2 && house_look(&h).n_tokens > 2);
    house_drain(&h);
    client_read(waits, &r);
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.head, "Retry-After: "));
    response_free(&r);
    client_read(streams, &r);
    assert_int_equal(r.is_whole, 1);
    assert_non_null(strstr(r.body, "data: {\"error\":"));
    response_free(&r);
    close(streams);
    close(waits);
    assert_int_equal(house_wait(&h), 1);
}

static void draining_ends_in_time_whatever_runs(void **state)
{
    struct house h;
    int fd;

    house_defaults(&h);
    h.config.drain_timeout = 0.1;
    house_open(&h);
    fd = client_connect(&h);
    client_post(fd, "/v1/completions", "{\"prompt\":\"wait\",\"model\":\"tiny\"}");
    WAIT_FOR(house_look(&h).n_running == 1);
    house_drain(&h);
    assert_int_equal(client_sees_end(fd), 1);
    assert_int_equal(house_wait(&h), 1);
    close(fd);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(draining_finishes_what_runs),
        cmocka_unit_test(requests_on_their_way_when_draining_begins_are_answered),
        cmocka_unit_test(a_request_behind_the_answer_that_runs_when_draining_begins_is_answered),
        cmocka_unit_test(a_connection_kept_between_requests_does_not_hold_up_draining),
        cmocka_unit_test(who_is_refused_while_it_drains_may_finish_sending),
        cmocka_unit_test(who_waits_for_a_place_when_draining_begins_is_answered),
        cmocka_unit_test(who_connects_while_it_drains_is_refused_at_once),
        cmocka_unit_test(who_waits_for_a_load_is_told_to_come_again),
        cmocka_unit_test(what_is_cut_off_is_told),
        cmocka_unit_test(draining_ends_in_time_whatever_runs),
    };
    return TEST_MAIN(argc, argv, tests);
}
