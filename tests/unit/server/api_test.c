/* SPDX-License-Identifier: MIT */
/* What each route answers, over a real socket and the fake engine. */
#include "asking.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define TOOLS                                                                                      \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{}}}]"
#define CALL "<tool_call>{\\\"name\\\":\\\"add\\\",\\\"arguments\\\":{\\\"a\\\":1}}</tool_call>"

static void a_chat_is_answered_whole(void **state)
{
    json_t *a =
        ask("/v1/chat/completions",
            "{\"model\":\"tiny\",\"messages\":[" USER("echo h\\u00e9 \\\"\\u4e16\\\"") "]}", 200);
    struct fake_seen seen;

    assert_string_equal(at(a, "object"), "chat.completion");
    assert_string_equal(at(a, "model"), "tiny");
    assert_string_equal(at(a, "choices.0.message.role"), "assistant");
    assert_string_equal(at(a, "choices.0.message.content"), "h\u00e9 \"\u4e16\"");
    assert_string_equal(at(a, "choices.0.finish_reason"), "stop");
    assert_string_equal(at(a, "choices.0.logprobs"), "(null)");
    assert_true(atoi(at(a, "usage.prompt_tokens")) > 0);
    assert_string_equal(at(a, "timings.seed"), "7");
    assert_true(strncmp(at(a, "id"), "chatcmpl-", 9) == 0);
    json_decref(a);
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.caller.uid, getuid());
    assert_int_equal(seen.caller.pid, getpid());
}

static void the_end_of_the_budget_is_told_as_length(void **state)
{
    json_t *a = ask(
        "/v1/chat/completions",
        "{\"model\":\"tiny\",\"max_completion_tokens\":3,\"messages\":[" USER("forever") "]}", 200);

    assert_string_equal(at(a, "choices.0.finish_reason"), "length");
    assert_string_equal(at(a, "usage.completion_tokens"), "3");
    json_decref(a);
}

static void settings_reach_the_engine(void **state)
{
    struct fake_seen seen;

    json_decref(ask("/v1/completions",
                    "{\"model\":\"tiny\",\"prompt\":\"count 1\",\"temperature\":0.5,\"top_p\":0.25,"
                    "\"top_k\":7,\"min_p\":0.125,\"seed\":42,\"stop\":[\"\",\"END\"],"
                    "\"frequency_penalty\":0.5,\"presence_penalty\":-0.5,\"repeat_penalty\":1.5,"
                    "\"repeat_last_n\":64,\"logit_bias\":{\"5\":-100},\"ignore_eos\":true,"
                    "\"max_tokens\":9,\"unknown\":{\"x\":[]}}",
                    200));
    fake_engine_look(house.engine, &seen);
    assert_float_equal(seen.params.sampling.temperature, 0.5, 0);
    assert_float_equal(seen.params.sampling.top_p, 0.25, 0);
    assert_int_equal(seen.params.sampling.top_k, 7);
    assert_float_equal(seen.params.sampling.min_p, 0.125, 0);
    assert_int_equal(seen.params.sampling.seed, 42);
    assert_int_equal(seen.params.sampling.has_seed, 1);
    assert_float_equal(seen.params.sampling.frequency_penalty, 0.5, 0);
    assert_float_equal(seen.params.sampling.presence_penalty, -0.5, 0);
    assert_float_equal(seen.params.sampling.repeat_penalty, 1.5, 0);
    assert_int_equal(seen.params.sampling.repeat_last_n, 64);
    assert_int_equal(seen.params.n_bias, 1);
    assert_int_equal(seen.params.n_stop, 1);
    assert_string_equal(seen.stop, "END");
    assert_int_equal(seen.params.ignore_eos, 1);
    assert_int_equal(seen.params.max_tokens, 9);
    assert_int_equal(seen.params.top_logprobs, -1);
}

/* All of the deltas' content and arguments put together; checks the frame of a stream. */
static void read_stream(const char *body, char *content, char *arguments, char *finish)
{
    const char *event = body;
    bool is_done = false;

    *content = *arguments = *finish = 0;
    while (strncmp(event, "data: ", 6) == 0) {
        const char *end = strstr(event, "\n\n");
        json_t *chunk;

        assert_non_null(end);
        if (strncmp(event, "data: [DONE]", 12) == 0) {
            is_done = true;
        } else {
            chunk = json_loadb(event + 6, (size_t)(end - event - 6), 0, NULL);
            assert_non_null(chunk);
            if (event == body)
                assert_string_equal(at(chunk, "choices.0.delta.role"), "assistant");
            strcat(content, at(chunk, "choices.0.delta.content"));
            strcat(arguments, at(chunk, "choices.0.delta.tool_calls.0.function.arguments"));
            if (strcmp(at(chunk, "choices.0.finish_reason"), "(null)") != 0)
                strcat(finish, at(chunk, "choices.0.finish_reason"));
            json_decref(chunk);
        }
        event = end + 2;
    }
    assert_int_equal(is_done, 1);
    assert_string_equal(event, "");
}

static void a_chat_streams_its_deltas(void **state)
{
    char content[256], arguments[256], finish[64];
    struct response r;

    client_ask(&house, "/v1/chat/completions",
               "{\"model\":\"tiny\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
               "\"messages\":[" USER("echo one two three") "]}",
               &r);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Type: text/event-stream\r\n"));
    read_stream(r.body, content, arguments, finish);
    assert_string_equal(content, "one two three");
    assert_string_equal(finish, "stop");
    assert_non_null(strstr(r.body, "\"choices\":[],\"usage\":{\"prompt_tokens\":"));
    response_free(&r);
}

static void tool_calls_come_back_as_calls(void **state)
{
    char content[256], arguments[256], finish[64];
    struct response r;
    json_t *a =
        ask("/v1/chat/completions",
            "{\"model\":\"tiny\"," TOOLS ",\"messages\":[" USER("echo Sure. " CALL) "]}", 200);

    assert_string_equal(at(a, "choices.0.finish_reason"), "tool_calls");
    assert_string_equal(at(a, "choices.0.message.content"), "Sure.");
    assert_string_equal(at(a, "choices.0.message.tool_calls.0.type"), "function");
    assert_string_equal(at(a, "choices.0.message.tool_calls.0.function.name"), "add");
    assert_string_equal(at(a, "choices.0.message.tool_calls.0.function.arguments"), "{\"a\":1}");
    json_decref(a);
    a = ask("/v1/chat/completions",
            "{\"model\":\"tiny\"," TOOLS ",\"messages\":[" USER("echo " CALL) "]}", 200);
    assert_string_equal(at(a, "choices.0.message.content"), "(null)");
    json_decref(a);
    client_ask(&house, "/v1/chat/completions",
               "{\"model\":\"tiny\",\"stream\":true," TOOLS
               ",\"messages\":[" USER("echo Sure. " CALL) "]}",
               &r);
    read_stream(r.body, content, arguments, finish);
    assert_string_equal(content, "Sure.");
    assert_string_equal(arguments, "{\"a\":1}");
    assert_string_equal(finish, "tool_calls");
    response_free(&r);
    /* nobody asked for calls: the text stays text */
    a = ask("/v1/chat/completions", "{\"model\":\"tiny\",\"messages\":[" USER("echo " CALL) "]}",
            200);
    assert_non_null(strstr(at(a, "choices.0.message.content"), "<tool_call>"));
    json_decref(a);
}

static void reasoning_comes_back_apart_from_the_answer(void **state)
{
    char content[256], arguments[256], finish[64];
    struct response r;
    json_t *a;

    fake_engine_set_template(house.engine, "<think> </think>", "assistant\n<think>\n");
    a = ask("/v1/chat/completions",
            "{\"model\":\"tiny\",\"messages\":[" USER("echo why not</think>because") "]}", 200);
    assert_string_equal(at(a, "choices.0.message.reasoning_content"), "why not");
    assert_string_equal(at(a, "choices.0.message.content"), "because");
    assert_string_equal(at(a, "choices.0.finish_reason"), "stop");
    json_decref(a);
    client_ask(&house, "/v1/chat/completions",
               "{\"model\":\"tiny\",\"stream\":true," TOOLS
               ",\"messages\":[" USER("echo why</think>" CALL) "]}",
               &r);
    read_stream(r.body, content, arguments, finish);
    assert_string_equal(content, "");
    assert_string_equal(arguments, "{\"a\":1}");
    assert_string_equal(finish, "tool_calls");
    assert_non_null(strstr(r.body, "{\"reasoning_content\":\"w"));
    response_free(&r);
    /* text that no template has made is text */
    a = ask("/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"echo a</think>b\"}", 200);
    assert_string_equal(at(a, "choices.0.text"), "a</think>b");
    json_decref(a);
}

static void logprobs_are_told_in_both_shapes(void **state)
{
    json_t *a = ask("/v1/chat/completions",
                    "{\"model\":\"tiny\",\"logprobs\":true,\"top_logprobs\":2,\"messages\":[" USER(
                        "count 1") "]}",
                    200);

    assert_string_equal(at(a, "choices.0.logprobs.content.0.bytes.0"), "1");
    assert_string_equal(at(a, "choices.0.logprobs.content.0.top_logprobs.1.token"), "\x02");
    json_decref(a);
    a = ask("/v1/completions", "{\"model\":\"tiny\",\"logprobs\":1,\"prompt\":\"count 2\"}", 200);
    assert_string_equal(at(a, "choices.0.logprobs.tokens.1"), "\x01");
    assert_string_equal(at(a, "choices.0.logprobs.text_offset.1"), "1");
    json_decref(a);
}

static void bad_requests_are_told_what_is_wrong(void **state)
{
    static const char chat[] = "/v1/chat/completions", text[] = "/v1/completions";

    refused(chat, "", 400, "(null)", "invalid_json");
    refused(chat, "{", 400, "(null)", "invalid_json");
    refused(chat, "{\"messages\":[" USER("\xff") "]}", 400, "(null)", "invalid_json");
    refused(chat, "{\"model\":\"tiny\"}", 400, "messages", "missing_required_parameter");
    refused(chat, "{\"model\":\"none\",\"messages\":[" USER("x") "]}", 404, "model",
            "model_not_found");
    refused(chat, "{\"model\":\"tiny\",\"messages\":[" USER("toolong") "]}", 400, "messages",
            "context_length_exceeded");
    refused(text, "{\"model\":\"tiny\",\"prompt\":\"toolong\",\"stream\":true}", 400, "prompt",
            "context_length_exceeded");
    refused(text, "{\"model\":\"tiny\"}", 400, "prompt", "missing_required_parameter");
    refused(text, "{\"model\":\"tiny\",\"prompt\":\"\"}", 400, "prompt", "invalid_value");
    refused(text, "{\"model\":\"tiny\",\"prompt\":{}}", 400, "prompt", "invalid_type");
    refused(text, "{\"model\":\"tiny\",\"prompt\":[1,\"x\"]}", 400, "prompt", "invalid_value");
    refused(text, "{\"model\":\"tiny\",\"prompt\":[\"a\",\"b\"]}", 400, "prompt",
            "unsupported_value");
    refused(text, "{\"model\":\"tiny\",\"prompt\":\"x\",\"n\":17}", 400, "n", "invalid_value");
    refused(text, "{\"model\":\"tiny\",\"prompt\":\"x\",\"n\":0}", 400, "n", "invalid_value");
    refused(text, "{\"model\":\"tiny\",\"prompt\":\"x\",\"n\":2,\"best_of\":3}", 400, "best_of",
            "unsupported_value");
    refused("/tokenize", "{\"model\":\"tiny\"}", 400, "content", "missing_required_parameter");
    refused("/detokenize", "{\"model\":\"tiny\",\"tokens\":[999]}", 400, "(null)", "(null)");
    refused("/hearth/v1/load", "{}", 400, "model", "missing_required_parameter");
    refused("/hearth/v1/load", "{\"model\":5}", 400, "model", "invalid_type");
    refused("/hearth/v1/load", "{\"model\":\"cold\",\"pin\":5}", 400, "pin", "invalid_type");
    refused("/v1/models/none", NULL, 404, "model", "model_not_found");
}

static json_int_t usage_of(const json_t *answer, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(answer, "usage"), key));
}

static void several_answers_come_under_their_numbers(void **state)
{
    struct fake_seen seen;
    json_t *a;

    a = ask("/v1/chat/completions",
            "{\"model\":\"tiny\",\"n\":2,\"seed\":40,\"messages\":[" USER("count 4") "]}", 200);
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.n_forks, 1);
    assert_int_equal(seen.params.sampling.seed, 41);
    assert_string_equal(at(a, "choices.0.message.content"), "0 1 2 3 ");
    assert_string_equal(at(a, "choices.1.message.content"), "0 1 2 3 ");
    assert_string_equal(at(a, "choices.1.index"), "1");
    assert_string_equal(at(a, "choices.1.finish_reason"), "stop");
    assert_int_equal(json_array_size(json_object_get(a, "choices")), 2);
    assert_int_equal(usage_of(a, "prompt_tokens"), 7); /* once */
    assert_int_equal(usage_of(a, "completion_tokens"), 8);
    assert_int_equal(usage_of(a, "total_tokens"), 15);
    json_decref(a);
    /* also where the first has no token */
    a = ask("/v1/completions", "{\"model\":\"tiny\",\"n\":2,\"best_of\":2,\"prompt\":\"echo \"}",
            200);
    assert_string_equal(at(a, "choices.1.text"), "");
    json_decref(a);
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void several_answers_are_streamed_side_by_side(void **state)
{
    struct response r;

    client_ask(&house, "/v1/chat/completions",
               "{\"model\":\"tiny\",\"n\":2,\"stream\":true,"
               "\"stream_options\":{\"include_usage\":true},\"messages\":[" USER("count 3") "]}",
               &r);
    assert_int_equal(r.status, 200);
    for (int i = 0; i < 2; i++) {
        char mark[80];

        snprintf(mark, sizeof(mark), "{\"index\":%d,\"delta\":{\"role\":\"assistant\"", i);
        assert_int_equal(count_of(r.body, mark), 1);
        snprintf(mark, sizeof(mark), "{\"index\":%d,\"delta\":{\"content\":\"", i);
        assert_int_equal(count_of(r.body, mark), 3);
        snprintf(mark, sizeof(mark), "{\"index\":%d,\"delta\":{},", i);
        assert_int_equal(count_of(r.body, mark), 1);
    }
    assert_int_equal(count_of(r.body, "\"finish_reason\":\"stop\""), 2);
    assert_int_equal(count_of(r.body, "\"completion_tokens\":6,"), 1);
    assert_int_equal(count_of(r.body, "[DONE]"), 1);
    response_free(&r);
}

static void what_fails_of_several_answers_fails_all(void **state)
{
    struct fake_seen seen;
    struct response r;

    refused("/v1/completions", "{\"model\":\"tiny\",\"n\":2,\"prompt\":\"fail\"}", 500, "(null)",
            "(null)");
    client_ask(&house, "/v1/completions",
               "{\"model\":\"tiny\",\"n\":2,\"prompt\":\"fail\",\"stream\":true}", &r);
    assert_int_equal(count_of(r.body, "data: {\"error\":{"), 1);
    assert_null(strstr(r.body, "[DONE]"));
    response_free(&r);
    /* the third is one more than may wait */
    refused("/v1/completions", "{\"model\":\"tiny\",\"n\":3,\"prompt\":\"count 9\"}", 429, "(null)",
            "queue_full");
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.n_running, 0);
}

static void a_stream_that_waits_is_told_for_what(void **state)
{
    static const char wait[] = "{\"model\":\"tiny\",\"stream\":true,\"timeout\":0.4,"
                               "\"messages\":[" USER("wait") "]}";
    struct response r;

    house_close(&house);
    house_defaults(&house);
    house.config.quiet_seconds = 0.05;
    house_open(&house);
    client_ask(&house, "/v1/chat/completions", wait, &r);
    assert_int_equal(r.status, 200);
    assert_true(count_of(r.body, ": waiting for others\n\n") >= 2);
    assert_int_equal(count_of(r.body, "data: {\"error\":{"), 1); /* its time was up */
    assert_int_equal(count_of(r.body, "data: "), 1);
    response_free(&r);
    fake_engine_set_loading(house.engine);
    client_ask(&house, "/v1/chat/completions", wait, &r);
    assert_true(count_of(r.body, ": loading the model: ") >= 2);
    assert_non_null(strstr(r.body, ", 1 s left\n\n"));
    response_free(&r);
    /* a whole answer has no place for it */
    refused("/v1/chat/completions",
            "{\"model\":\"tiny\",\"timeout\":0.2,\"messages\":[" USER("wait") "]}", 504, "(null)",
            "timeout");
    /* and nothing but the answer follows the first token */
    client_ask(&house, "/v1/completions",
               "{\"model\":\"tiny\",\"stream\":true,\"timeout\":0.4,\"prompt\":\"forever\"}", &r);
    assert_int_equal(count_of(r.body, "\n: "), 0);
    response_free(&r);
}

static void several_answers_out_of_time_end_with_what_there_is(void **state)
{
    json_t *a = ask("/v1/completions",
                    "{\"model\":\"tiny\",\"n\":2,\"timeout\":0.3,\"prompt\":\"forever\"}", 200);

    for (int i = 0; i < 2; i++) {
        char path[40];

        snprintf(path, sizeof(path), "choices.%d.finish_reason", i);
        assert_string_equal(at(a, path), "length");
    }
    assert_int_equal(strncmp(at(a, "choices.0.text"), "word ", 5), 0);
    json_decref(a);
}

static void failing_in_the_middle_is_told_in_the_stream(void **state)
{
    struct response r;

    client_ask(&house, "/v1/completions",
               "{\"model\":\"tiny\",\"prompt\":\"fail\",\"stream\":true}", &r);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.is_whole, 1);
    assert_non_null(strstr(r.body, "\"text\":\"1 \""));
    assert_non_null(strstr(r.body, "data: {\"error\":{\"message\":\"the device failed\""));
    assert_null(strstr(r.body, "[DONE]"));
    response_free(&r);
    refused("/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"fail\"}", 500, "(null)", "(null)");
}

static void a_full_queue_says_when_to_come_back(void **state)
{
    struct fake_seen seen;
    struct response r;
    int fds[2];

    for (int i = 0; i < 2; i++) {
        fds[i] = client_connect(&house);
        client_post(fds[i], "/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"wait\"}");
    }
    do {
        usleep(1000);
        fake_engine_look(house.engine, &seen);
    } while (seen.n_running < 2);
    client_ask(&house, "/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"echo x\"}", &r);
    assert_int_equal(r.status, 429);
    assert_non_null(strstr(r.head, "Retry-After: 3\r\n"));
    response_free(&r);
    /* unloading the model ends what waits for it, and says so */
    json_decref(ask("/hearth/v1/unload", "{\"model\":\"tiny\",\"force\":true}", 200));
    for (int i = 0; i < 2; i++) {
        client_read(fds[i], &r);
        assert_int_equal(r.status, 503);
        response_free(&r);
        close(fds[i]);
    }
}

static void who_has_spent_a_minutes_tokens_is_told_when_there_are_more(void **state)
{
    struct response r;

    client_ask(&house, "/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"spent\"}", &r);
    assert_int_equal(r.status, 429);
    assert_non_null(strstr(r.head, "Retry-After: 17\r\n"));
    assert_non_null(strstr(r.body, "\"code\":\"rate_limit_exceeded\""));
    response_free(&r);
}

static void a_request_out_of_time_ends_with_what_there_is(void **state)
{
    json_t *a =
        ask("/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"forever\",\"timeout\":0.05}", 200);

    assert_string_equal(at(a, "choices.0.finish_reason"), "length");
    assert_true(atoi(at(a, "usage.completion_tokens")) > 0);
    json_decref(a);
    refused("/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"wait\",\"timeout\":0.05}", 504,
            "(null)", "timeout");
    refused("/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"wait\",\"timeout\":0}", 400,
            "timeout", "invalid_value");
}

static void the_server_bounds_every_request(void **state)
{
    house_close(&house);
    house_defaults(&house);
    house.config.request_timeout = 0.05;
    house_open(&house);
    refused("/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"wait\",\"timeout\":1000}", 504,
            "(null)", "timeout");
    refused("/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"wait\"}", 504, "(null)",
            "timeout");
}

static void a_flexible_tier_is_the_background_class(void **state)
{
    struct fake_seen seen;

    json_decref(ask("/v1/completions",
                    "{\"model\":\"tiny\",\"prompt\":\"count 1\",\"service_tier\":\"flex\"}", 200));
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.params.class, ENGINE_BACKGROUND);
    json_decref(ask("/v1/completions",
                    "{\"model\":\"tiny\",\"prompt\":\"count 1\",\"service_tier\":\"auto\"}", 200));
    fake_engine_look(house.engine, &seen);
    assert_int_equal(seen.params.class, ENGINE_INTERACTIVE);
    refused("/v1/completions",
            "{\"model\":\"tiny\",\"prompt\":\"count 1\",\"service_tier\":\"gold\"}", 400,
            "service_tier", "invalid_value");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        IN_HOUSE(a_chat_is_answered_whole),
        IN_HOUSE(the_end_of_the_budget_is_told_as_length),
        IN_HOUSE(settings_reach_the_engine),
        IN_HOUSE(a_chat_streams_its_deltas),
        IN_HOUSE(tool_calls_come_back_as_calls),
        IN_HOUSE(reasoning_comes_back_apart_from_the_answer),
        IN_HOUSE(logprobs_are_told_in_both_shapes),
        IN_HOUSE(bad_requests_are_told_what_is_wrong),
        IN_HOUSE(several_answers_come_under_their_numbers),
        IN_HOUSE(several_answers_are_streamed_side_by_side),
        IN_HOUSE(what_fails_of_several_answers_fails_all),
        IN_HOUSE(several_answers_out_of_time_end_with_what_there_is),
        IN_HOUSE(a_stream_that_waits_is_told_for_what),
        IN_HOUSE(failing_in_the_middle_is_told_in_the_stream),
        IN_HOUSE(a_full_queue_says_when_to_come_back),
        IN_HOUSE(who_has_spent_a_minutes_tokens_is_told_when_there_are_more),
        IN_HOUSE(a_request_out_of_time_ends_with_what_there_is),
        IN_HOUSE(the_server_bounds_every_request),
        IN_HOUSE(a_flexible_tier_is_the_background_class),
    };
    return TEST_MAIN(argc, argv, tests);
}
