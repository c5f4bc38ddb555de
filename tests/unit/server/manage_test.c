/* SPDX-License-Identifier: MIT */
/* What the routes about models, users and the daemon itself answer, over a real socket and the fake
 * engine. */
#include "asking.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void loading_tells_its_progress(void **state)
{
    double rate = 0, left = 0;
    struct response r;
    const char *second;

    refused("/hearth/v1/unload", "{\"model\":\"cold\"}", 404, "model", "model_not_found");
    client_ask(&house, "/hearth/v1/load", "{\"model\":\"cold\"}", &r);
    assert_int_equal(r.status, 200);
    assert_non_null(
        strstr(r.body, "{\"status\":\"loading\",\"done_bytes\":1000,\"total_bytes\":3000}\n"));
    /* from the second time on also how fast it goes, and how long still */
    second = strstr(r.body, "{\"status\":\"loading\",\"done_bytes\":2000");
    assert_non_null(second);
    assert_int_equal(sscanf(second,
                            "{\"status\":\"loading\",\"done_bytes\":2000,\"total_bytes\":3000,"
                            "\"bytes_per_second\":%lf,\"seconds_left\":%lf}",
                            &rate, &left),
                     2);
    assert_true(rate > 0 && rate * left > 990 && rate * left < 1010);
    assert_non_null(strstr(r.body, "{\"status\":\"ready\",\"model\":{\"name\":\"cold\""));
    response_free(&r);
    client_ask(&house, "/hearth/v1/load", "{\"model\":\"broken\"}", &r);
    assert_non_null(strstr(r.body, "{\"error\":{\"message\":\"broken.gguf: not a GGUF file\""));
    response_free(&r);
    json_decref(ask("/hearth/v1/unload", "{\"model\":\"cold\"}", 200));
}

static void a_load_pins_a_model_and_frees_it_again(void **state)
{
    static const struct {
        const char *body, *told;
    } loads[] = {
        {"{\"model\":\"cold\",\"pin\":true}", "\"is_pinned\":true"},
        {"{\"model\":\"cold\"}", "\"is_pinned\":true"}, /* not said: as it was */
        {"{\"model\":\"cold\",\"pin\":false}", "\"is_pinned\":false"},
    };
    struct response r;

    for (size_t i = 0; i < sizeof(loads) / sizeof(*loads); i++) {
        client_ask(&house, "/hearth/v1/load", loads[i].body, &r);
        assert_int_equal(r.status, 200);
        assert_non_null(strstr(r.body, loads[i].told));
        response_free(&r);
    }
    json_decref(ask("/hearth/v1/unload", "{\"model\":\"cold\"}", 200));
}

static void text_becomes_tokens_and_back(void **state)
{
    json_t *a =
        ask("/tokenize", "{\"model\":\"cold\",\"content\":\"ab\",\"add_special\":true}", 200);

    assert_string_equal(at(a, "tokens.0"), "256");
    assert_string_equal(at(a, "tokens.2"), "98");
    assert_string_equal(at(a, "count"), "3");
    json_decref(a);
    a = ask("/detokenize", "{\"model\":\"tiny\",\"tokens\":[104,105]}", 200);
    assert_string_equal(at(a, "content"), "hi");
    json_decref(a);
    refused("/tokenize", "{\"model\":\"broken\",\"content\":\"x\"}", 400, "(null)", "(null)");
}

static void status_models_and_metrics_are_told(void **state)
{
    json_t *a = ask("/hearth/v1/status", NULL, 200);
    struct response r;
    int fd;

    assert_string_equal(at(a, "device"), "fake");
    assert_string_equal(at(a, "version"), "test");
    assert_string_equal(at(a, "models.2.state"), "ready");
    assert_true(json_array_size(json_object_get(a, "lacks")) > 0);
    json_decref(a);
    a = ask("/v1/models", NULL, 200);
    assert_string_equal(at(a, "data.2.id"), "tiny");
    json_decref(a);
    a = ask("/v1/models/t%69ny", NULL, 200);
    assert_string_equal(at(a, "object"), "model");
    json_decref(a);
    fd = client_connect(&house);
    client_say(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    client_read(fd, &r);
    assert_non_null(strstr(r.head, "text/plain; version=0.0.4"));
    assert_non_null(strstr(r.body, "\nhearth_connections "));
    assert_non_null(strstr(r.body, "hearth_model_pool_bytes{model=\"tiny\"} 3000\n"));
    assert_non_null(strstr(r.body, "hearth_http_request_seconds_bucket{le=\"+Inf\"} "));
    response_free(&r);
    close(fd);
}

/* What a client of another user is told; "" where this process may not become one. */
static void ask_as(uid_t uid, const char *request, char *ret_text, size_t size)
{
    int ends[2], status;
    ssize_t n;
    size_t len = 0;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        struct response r;

        if (setuid(uid) < 0)
            _exit(1);
        int fd = client_connect(&house);
        client_say(fd, request);
        client_read(fd, &r);
        _exit(write(ends[1], r.body, r.body_len) == (ssize_t)r.body_len ? 0 : 1);
    }
    close(ends[1]);
    while ((n = read(ends[0], ret_text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    ret_text[len] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_user_sees_its_own_sessions_and_the_sums(void **state)
{
    json_t *a = ask("/hearth/v1/sessions", NULL, 200);
    char text[65536];

    assert_int_equal(json_array_size(json_object_get(a, "sessions")), 2); /* as the daemon's own */
    assert_string_equal(at(a, "sessions.0.state"), "answer");
    assert_string_equal(at(a, "sessions.1.uid"), "4242");
    assert_float_equal(json_number_value(json_object_get(a, "tokens_per_second")), 4, 0.001);
    json_decref(a);
    if (geteuid() != 0)
        SKIP("only root can ask as another user");
    assert_int_equal(chmod(house.path, 0666), 0);
    ask_as(4242, "GET /hearth/v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n", text, sizeof(text));
    a = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(a, "sessions")), 1);
    assert_string_equal(at(a, "sessions.0.uid"), "4242");
    assert_string_equal(at(a, "sessions_of_others"), "1");
    assert_int_equal(json_array_size(json_object_get(a, "users")), 1);
    assert_float_equal(json_number_value(json_object_get(a, "tokens_per_second")), 4, 0.001);
    json_decref(a);
    ask_as(4242, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, "hearth_user_generations_total{uid=\"4242\"} 5\n"));
    assert_null(strstr(text, "{uid=\"0\"}"));
    ask_as(4243, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", text, sizeof(text));
    assert_null(strstr(text, "{uid="));
}

/* Of the fake engine's sessions on "tiny" one is this process's user's, one of 4242. */
static void what_others_use_is_unloaded_by_whom_it_is_known_to_only(void **state)
{
    static const char unload[] = "POST /hearth/v1/unload HTTP/1.1\r\nHost: x\r\n"
                                 "Content-Length: 29\r\n\r\n{\"model\":\"tiny\",\"force\":true}";
    static const char cold[] = "POST /hearth/v1/unload HTTP/1.1\r\nHost: x\r\n"
                               "Content-Length: 16\r\n\r\n{\"model\":\"cold\"}";
    char text[4096];
    struct response r;

    client_ask(&house, "/hearth/v1/unload", "{\"model\":\"tiny\"}", &r);
    assert_int_equal(r.status, 409);
    assert_non_null(strstr(r.body, "\"message\":\"tiny answers requests of uid 4242: wait until "
                                   "`hearth ps` shows none, or end them with `hearth unload "
                                   "--force`\""));
    response_free(&r);
    json_decref(ask("/hearth/v1/unload", "{\"model\":\"tiny\",\"force\":true}", 200));
    if (geteuid() != 0)
        SKIP("only root can ask as another user");
    assert_int_equal(chmod(house.path, 0666), 0);
    ask_as(4242, unload, text, sizeof(text));
    assert_non_null(strstr(text, "tiny answers requests of others, which only root"));
    ask_as(4243, unload, text, sizeof(text));
    assert_non_null(strstr(text, "tiny answers requests of others, which only root"));
    assert_null(strstr(text, "uid "));
    assert_non_null(strstr(text, "\"code\":\"model_in_use\""));
    client_ask(&house, "/hearth/v1/load", "{\"model\":\"cold\"}", &r);
    response_free(&r);
    ask_as(4243, cold, text, sizeof(text));
    assert_non_null(strstr(text, "\"status\":\"unloading\""));
}

static uid_t forgotten(void)
{
    struct fake_seen seen;

    fake_engine_look(house.engine, &seen);
    return seen.forgotten_uid;
}

static void a_user_has_forgotten_what_is_its_own(void **state)
{
    static const char own[] = "POST /hearth/v1/forget HTTP/1.1\r\nHost: x\r\n"
                              "Content-Length: 2\r\n\r\n{}";
    static const char others[] = "POST /hearth/v1/forget HTTP/1.1\r\nHost: x\r\n"
                                 "Content-Length: 12\r\n\r\n{\"uid\":4243}";
    json_t *a = ask("/hearth/v1/forget", "{\"uid\":4243}", 200); /* as the daemon's own */
    char text[4096];

    assert_int_equal(forgotten(), 4243);
    assert_string_equal(at(a, "status"), "forgotten");
    assert_string_equal(at(a, "disk_bytes"), "4243");
    assert_string_equal(at(a, "memory_bytes"), "8486");
    json_decref(a);
    a = ask("/hearth/v1/forget", "{\"uid\":4244}", 200); /* it is not known yet */
    assert_null(json_object_get(a, "disk_bytes"));
    json_decref(a);
    a = ask("/hearth/v1/forget", "", 200);
    assert_int_equal(forgotten(), geteuid());
    json_decref(a);
    refused("/hearth/v1/forget", "{\"uid\":\"me\"}", 400, "uid", "invalid_type");
    if (geteuid() != 0)
        SKIP("only root can ask as another user");
    assert_int_equal(chmod(house.path, 0666), 0);
    ask_as(4242, own, text, sizeof(text));
    assert_non_null(strstr(text, "\"disk_bytes\":4242"));
    assert_int_equal(forgotten(), 4242);
    ask_as(4242, others, text, sizeof(text));
    assert_non_null(strstr(text, "user_not_allowed"));
    assert_int_equal(forgotten(), 4242);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        IN_HOUSE(loading_tells_its_progress),
        IN_HOUSE(a_load_pins_a_model_and_frees_it_again),
        IN_HOUSE(text_becomes_tokens_and_back),
        IN_HOUSE(status_models_and_metrics_are_told),
        IN_HOUSE(a_user_sees_its_own_sessions_and_the_sums),
        IN_HOUSE(what_others_use_is_unloaded_by_whom_it_is_known_to_only),
        IN_HOUSE(a_user_has_forgotten_what_is_its_own),
    };
    return TEST_MAIN(argc, argv, tests);
}
