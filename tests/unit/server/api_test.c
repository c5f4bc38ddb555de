/* SPDX-License-Identifier: MIT */
/* What each route answers, over a real socket and the fake engine. */
#include "harness.h"
#include "house.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define TOOLS                                                                                      \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{}}}]"
#define CALL "<tool_call>{\\\"name\\\":\\\"add\\\",\\\"arguments\\\":{\\\"a\\\":1}}</tool_call>"

static struct house house;

static int open_house(void **state)
{
    house_defaults(&house);
    house.queue_limit = 2;
    house_open(&house);
    return 0;
}

static int close_house(void **state)
{
    house_close(&house);
    return 0;
}

/* The answer's JSON; json NULL: a GET. */
static json_t *ask(const char *path, const char *json, int status)
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

/* The string at a path like "choices.0.message.content"; "(null)" for null, "" when absent. */
static const char *at(const json_t *json, const char *path)
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

static void refused(const char *path, const char *json, int status, const char *param,
                    const char *code)
{
    json_t *answer = ask(path, json, status);

    assert_string_equal(at(answer, "error.param"), param);
    assert_string_equal(at(answer, "error.code"), code);
    assert_true(*at(answer, "error.message"));
    assert_true(*at(answer, "error.type"));
    json_decref(answer);
}

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
    json_decref(ask("/hearth/v1/unload", "{\"model\":\"tiny\"}", 200));
    for (int i = 0; i < 2; i++) {
        client_read(fds[i], &r);
        assert_int_equal(r.status, 503);
        response_free(&r);
        close(fds[i]);
    }
}

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
    assert_string_equal(at(a, "disk_bytes"), "4243");
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

#define IN_HOUSE(test) cmocka_unit_test_setup_teardown(test, open_house, close_house)

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
        IN_HOUSE(loading_tells_its_progress),
        IN_HOUSE(a_load_pins_a_model_and_frees_it_again),
        IN_HOUSE(text_becomes_tokens_and_back),
        IN_HOUSE(who_has_spent_a_minutes_tokens_is_told_when_there_are_more),
        IN_HOUSE(a_request_out_of_time_ends_with_what_there_is),
        IN_HOUSE(the_server_bounds_every_request),
        IN_HOUSE(a_flexible_tier_is_the_background_class),
        IN_HOUSE(status_models_and_metrics_are_told),
        IN_HOUSE(a_user_sees_its_own_sessions_and_the_sums),
        IN_HOUSE(a_user_has_forgotten_what_is_its_own),
    };
    return TEST_MAIN(argc, argv, tests);
}
