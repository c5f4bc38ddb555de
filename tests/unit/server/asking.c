/* SPDX-License-Identifier: MIT */
#include "asking.h"

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct house house;

int open_house(void **state)
{
    house_defaults(&house);
    house.queue_limit = 2;
    house_open(&house);
    return 0;
}

int close_house(void **state)
{
    house_close(&house);
    return 0;
}

json_t *ask(const char *path, const char *json, int status)
{
    struct response r;
    json_t *answer;
    char get[256];
    int fd;

    if (json) {
        client_ask(&house, path, json, &r);
    } else {
        fd = client_connect(&house);
        snprintf(get, sizeof(get), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
        client_say(fd, get);
        client_read(fd, &r);
        close(fd);
    }
    if (r.status != status)
        print_message("# %s\n", r.body);
    assert_int_equal(r.status, status);
    answer = json_loadb(r.body, r.body_len, 0, NULL);
    assert_non_null(answer);
    response_free(&r);
    return answer;
}

const char *at(const json_t *json, const char *path)
{
    static char number[32];
    char key[64];

    while (json && *path) {
        size_t n = strcspn(path, ".");

        snprintf(key, sizeof(key), "%.*s", (int)n, path);
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key))
                                   : json_object_get(json, key);
        path += path[n] ? n + 1 : n;
    }
    if (json_is_integer(json)) {
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(json));
        return number;
    }
    return json_is_null(json) ? "(null)" : json_is_string(json) ? json_string_value(json) : "";
}

void refused(const char *path, const char *json, int status, const char *param, const char *code)
{
    json_t *answer = ask(path, json, status);

    assert_string_equal(at(answer, "error.param"), param);
    assert_string_equal(at(answer, "error.code"), code);
    assert_true(*at(answer, "error.message"));
    assert_true(*at(answer, "error.type"));
    json_decref(answer);
}
