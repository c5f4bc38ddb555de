/* SPDX-License-Identifier: MIT */
/* What /v1/embeddings takes and answers, over a real socket and the fake engine. */
#include "asking.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The answer's JSON. fields: what the body holds besides the model's name. */
static json_t *embed(const char *fields, int status)
{
    char body[4096];

    snprintf(body, sizeof(body), "{\"model\":\"tiny\"%s%s}", *fields ? "," : "", fields);
    return ask("/v1/embeddings", body, status);
}

static void embed_refused(const char *fields, int status, const char *param, const char *says)
{
    json_t *answer = embed(fields, status), *error = json_object_get(answer, "error");
    const char *named = json_string_value(json_object_get(error, "param"));

    assert_string_equal(named ? named : "", param);
    assert_says(json_string_value(json_object_get(error, "message")), says);
    json_decref(answer);
}

static const json_t *item(const json_t *answer, size_t i)
{
    return json_array_get(json_object_get(answer, "data"), i);
}

static void assert_vector(const json_t *answer, size_t i, const double *want, size_t n)
{
    const json_t *vector = json_object_get(item(answer, i), "embedding");

    assert_int_equal(json_array_size(vector), n);
    for (size_t k = 0; k < n; k++)
        assert_true(fabs(json_number_value(json_array_get(vector, k)) - want[k]) < 1e-6);
}

static void a_text_is_answered_by_its_vector(void **state)
{
    json_t *a = embed("\"input\":\"vector 1\",\"user\":\"somebody\"", 200);
    const json_t *usage = json_object_get(a, "usage");
    const double third[] = {1.0 / 3, 2.0 / 3, 2.0 / 3};

    assert_string_equal(json_string_value(json_object_get(a, "object")), "list");
    assert_string_equal(json_string_value(json_object_get(a, "model")), "tiny");
    assert_string_equal(json_string_value(json_object_get(item(a, 0), "object")), "embedding");
    assert_vector(a, 0, third, 3);
    assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), 8);
    assert_int_equal(json_integer_value(json_object_get(usage, "total_tokens")), 8);
    json_decref(a);
}

/* More of them than the queue holds. */
static void many_texts_are_answered_in_their_order(void **state)
{
    char fields[1024] = "\"input\":[\"vector 0\"";
    struct fake_seen seen;
    json_t *a;

    for (int i = 1; i < 40; i++)
        snprintf(fields + strlen(fields), sizeof(fields) - strlen(fields), ",\"vector %d\"", i);
    strcat(fields, "]");
    a = embed(fields, 200);
    assert_int_equal(json_array_size(json_object_get(a, "data")), 40);
    for (int i = 0; i < 40; i++) {
        const double want[] = {i / 3.0, 2 * i / 3.0, 2 * i / 3.0};

        assert_int_equal(json_integer_value(json_object_get(item(a, (size_t)i), "index")), i);
        assert_vector(a, (size_t)i, want, 3);
    }
    json_decref(a);
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.n_generated, 40);
    assert_int_equal(seen.n_together, 2);
}

static void tokens_are_taken_as_they_are(void **state)
{
    json_t *a = embed("\"input\":[1,2,3]", 200);

    assert_int_equal(json_array_size(json_object_get(a, "data")), 1);
    json_decref(a);
    a = embed("\"input\":[[1,2,3],[4],\"vector 1\"]", 200);
    assert_int_equal(json_array_size(json_object_get(a, "data")), 3);
    json_decref(a);
}

static void a_vector_can_be_had_as_bytes(void **state)
{
    /* {3, 6, 6} / 3 as float32 */
    json_t *a = embed("\"input\":\"vector 3\",\"encoding_format\":\"base64\"", 200);

    assert_string_equal(json_string_value(json_object_get(item(a, 0), "embedding")),
                        "AACAPwAAAEAAAABA");
    json_decref(a);
    a = embed("\"input\":\"vector 3\",\"encoding_format\":\"base64\",\"dimensions\":1", 200);
    assert_string_equal(json_string_value(json_object_get(item(a, 0), "embedding")), "AACAPw==");
    json_decref(a);
}

static void a_shorter_vector_is_of_length_one_again(void **state)
{
    json_t *a = embed("\"input\":\"vector 1\",\"dimensions\":2", 200);
    const double want[] = {1 / sqrt(5), 2 / sqrt(5)};

    assert_vector(a, 0, want, 2);
    json_decref(a);
    embed_refused("\"input\":\"vector 1\",\"dimensions\":4", 400, "dimensions", "have 3");
    embed_refused("\"input\":\"vector 1\",\"dimensions\":0", 400, "dimensions", "at least 1");
}

static void bad_requests_are_told_what_is_wrong(void **state)
{
    embed_refused("", 400, "input", "missing");
    embed_refused("\"input\":\"\"", 400, "input", "empty");
    embed_refused("\"input\":[]", 400, "input", "empty");
    embed_refused("\"input\":[\"vector 1\",\"\"]", 400, "input", "empty");
    embed_refused("\"input\":[[1],[]]", 400, "input", "empty");
    embed_refused("\"input\":[1,-2]", 400, "input", "item 1");
    embed_refused("\"input\":{\"text\":\"x\"}", 400, "input", "an object");
    embed_refused("\"input\":[\"vector 1\",null]", 400, "input", "null");
    embed_refused("\"input\":\"vector 1\",\"encoding_format\":\"hex\"", 400, "encoding_format",
                  "hex");
    embed_refused("\"input\":\"vector 1\",\"service_tier\":\"gold\"", 400, "service_tier", "gold");
}

/* One that fails fails all, named by its place; what has begun is not waited for. */
static void the_input_that_fails_is_named(void **state)
{
    struct fake_seen seen;

    embed_refused("\"input\":[\"wait\",\"toolong\"]", 400, "input", "input 1: the prompt has 9000");
    embed_refused("\"input\":\"toolong\"", 400, "input", "the prompt has 9000");
    embed_refused("\"input\":[\"vector 1\",\"spent\"]", 429, "", "input 1: ");
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.n_running, 0);
}

static void time_and_class_hold_as_for_answers(void **state)
{
    struct fake_seen seen;

    embed_refused("\"input\":\"wait\",\"timeout\":0.05", 504, "", "time");
    json_decref(embed("\"input\":\"vector 1\",\"service_tier\":\"flex\"", 200));
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.params.class, ENGINE_BACKGROUND);
    assert_int_equal(seen.n_running, 0);
}

static void a_client_that_leaves_frees_its_places(void **state)
{
    int fd = client_connect(&house);

    client_post(fd, "/v1/embeddings",
                "{\"model\":\"tiny\",\"input\":[\"wait\",\"wait\",\"wait\"]}");
    WAIT_FOR(house_look(&house).n_running == 2);
    close(fd);
    WAIT_FOR(house_look(&house).n_running == 0);
    json_decref(embed("\"input\":\"vector 1\"", 200));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        IN_HOUSE(a_text_is_answered_by_its_vector),
        IN_HOUSE(many_texts_are_answered_in_their_order),
        IN_HOUSE(tokens_are_taken_as_they_are),
        IN_HOUSE(a_vector_can_be_had_as_bytes),
        IN_HOUSE(a_shorter_vector_is_of_length_one_again),
        IN_HOUSE(bad_requests_are_told_what_is_wrong),
        IN_HOUSE(the_input_that_fails_is_named),
        IN_HOUSE(time_and_class_hold_as_for_answers),
        IN_HOUSE(a_client_that_leaves_frees_its_places),
    };

    return TEST_MAIN(argc, argv, tests);
}
