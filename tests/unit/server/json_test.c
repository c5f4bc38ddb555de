/* SPDX-License-Identifier: MIT */
/* Bodies, fields, chats and tool calls: everything that reads or writes JSON, without a server. */
#include "harness.h"

#include "server/chat.h"
#include "server/fields.h"
#include "server/jsonout.h"
#include "server/params.h"
#include "server/peer.h"
#include "server/toolcall.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void bodies_follow_the_json_test_suite(void **state)
{
    const char *dir = harness_shared("data/json/JSONTestSuite/test_parsing");
    char path[4400], base[4096];
    struct dirent *entry;
    DIR *d = dir ? opendir(dir) : NULL;
    int n = 0;

    if (!d)
        SKIP("JSONTestSuite is not there");
    snprintf(base, sizeof(base), "%s", dir);
    while ((entry = readdir(d))) {
        struct api_error err;
        json_t *json = NULL;
        size_t len;
        char *text;
        int rc;

        if (entry->d_name[1] != '_')
            continue;
        snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
        text = harness_read_file(path, &len);
        assert_non_null(text);
        rc = fields_parse(text, len, &json, &err);
        if (entry->d_name[0] != 'i' && (rc == 0) != (entry->d_name[0] == 'y'))
            fail_msg("%s is %s", entry->d_name, rc == 0 ? "accepted" : err.message);
        if (rc < 0)
            assert_int_equal(err.status, 400);
        json_decref(json);
        free(text);
        n++;
    }
    closedir(d);
    assert_true(n > 300);
}

static void bodies_are_bounded_before_they_are_built(void **state)
{
    size_t n = 1 << 20;
    char *text = malloc(n + 1);
    struct api_error err;
    json_t *json;

    memset(text, '[', n);
    assert_int_equal(fields_parse(text, n, &json, &err), -1);
    assert_int_equal(err.status, 400);
    memset(text, ',', n);
    assert_int_equal(fields_parse(text, n, &json, &err), -1);
    assert_int_equal(err.status, 413);
    /* brackets inside strings do not count */
    memset(text, '[', n);
    text[0] = text[n - 1] = '"';
    assert_int_equal(fields_parse(text, n, &json, &err), 0);
    assert_int_equal(json_string_length(json), n - 2);
    json_decref(json);
    free(text);
}

static void bad_json_is_told_with_line_and_column(void **state)
{
    static const char text[] = "{\"a\": 1,\n \"b\": nul}";
    struct api_error err;
    json_t *json;

    assert_int_equal(fields_parse_object(text, sizeof(text) - 1, &json, &err), -1);
    assert_non_null(strstr(err.message, "line 2, column "));
    assert_int_equal(fields_parse_object("[]", 2, &json, &err), -1);
    assert_non_null(strstr(err.message, "an array"));
    assert_int_equal(fields_parse_object(NULL, 0, &json, &err), -1);
    assert_non_null(strstr(err.message, "empty"));
}

static void written_text_is_valid_json_whatever_it_holds(void **state)
{
    struct strbuf out;
    char all[256];
    json_t *json;

    strbuf_init(&out, 0);
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    strbuf_add_char(&out, '"');
    jsonout_text(&out, all, 256);
    jsonout_text(&out, "\xf0\x9f\x94\xa5", 4);
    strbuf_add_char(&out, '"');
    json = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    assert_int_equal(json_string_length(json), 128 + 128 * 3 + 4);
    assert_memory_equal(json_string_value(json), all, 128);
    json_decref(json);
    strbuf_finish(&out);
}

/* The field a completion request is refused for, "" when it is not. */
static const char *refused_for(const char *text, bool is_chat)
{
    static struct api_error err;
    struct params p;
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    memset(&err, 0, sizeof(err));
    if (params_init(&p, json, is_chat, &err) == 0)
        params_finish(&p);
    else
        assert_int_equal(err.status, 400);
    json_decref(json);
    return err.param;
}

static void params_name_the_field_that_is_wrong(void **state)
{
    static const char *const cases[][2] = {
        {"{}", ""},
        {"{\"unknown\": [1, 2], \"temperature\": null}", ""},
        {"{\"temperature\": \"hot\"}", "temperature"},
        {"{\"temperature\": -1}", "temperature"},
        {"{\"top_p\": 1.5}", "top_p"},
        {"{\"min_p\": []}", "min_p"},
        {"{\"top_k\": 1.5}", "top_k"},
        {"{\"top_k\": -1}", ""},
        {"{\"max_tokens\": \"5\"}", "max_tokens"},
        {"{\"max_tokens\": 0}", "max_tokens"},
        {"{\"max_completion_tokens\": -2}", "max_completion_tokens"},
        {"{\"max_tokens\": 4294967296}", "max_tokens"},
        {"{\"stream\": 1}", "stream"},
        {"{\"stream_options\": true}", "stream_options"},
        {"{\"stop\": 5}", "stop"},
        {"{\"stop\": [\"a\", 1]}", "stop"},
        {"{\"seed\": \"x\"}", "seed"},
        {"{\"seed\": -5}", ""},
        {"{\"n\": 17}", "n"},
        {"{\"model\": 3}", "model"},
        {"{\"frequency_penalty\": 3}", "frequency_penalty"},
        {"{\"presence_penalty\": {}}", "presence_penalty"},
        {"{\"repeat_penalty\": 0}", "repeat_penalty"},
        {"{\"logit_bias\": []}", "logit_bias"},
        {"{\"logit_bias\": {\"x\": 1}}", "logit_bias"},
        {"{\"logit_bias\": {\"12\": 101}}", "logit_bias"},
        {"{\"logit_bias\": {\"12\": -100}}", ""},
        {"{\"logprobs\": true, \"top_logprobs\": 21}", "top_logprobs"},
        {"{\"top_logprobs\": 2}", "top_logprobs"},
        {"{\"response_format\": {\"type\": \"json_object\"}}", "response_format"},
        {"{\"response_format\": {\"type\": \"text\"}}", ""},
        {"{\"response_format\": 1}", "response_format"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(refused_for(cases[i][0], true), cases[i][1]) != 0)
            print_message("# %s\n", cases[i][0]);
        assert_string_equal(refused_for(cases[i][0], true), cases[i][1]);
    }
    assert_string_equal(refused_for("{\"logprobs\": 3}", false), "");
    assert_string_equal(refused_for("{\"logprobs\": 3}", true), "logprobs");
    assert_string_equal(refused_for("{\"suffix\": \"x\"}", false), "suffix");
    assert_string_equal(refused_for("{\"echo\": true}", false), "echo");
}

/* The chat as the template sees it, or the field it is refused for. */
static void chat_of(const char *text, char *out, size_t size)
{
    struct api_error err;
    json_t *json = json_loads(text, 0, NULL), *chat;

    assert_non_null(json);
    if (chat_build(json, &chat, &err) == 0) {
        out[json_dumpb(chat, out, size - 1, JSON_SORT_KEYS | JSON_COMPACT)] = 0;
        json_decref(chat);
    } else {
        snprintf(out, size, "%s", err.param);
    }
    json_decref(json);
}

static void chats_take_the_shape_templates_expect(void **state)
{
    static const char *const cases[][2] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"hi\",\"role\":\"user\"}]}"},
        {"{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
         "{\"type\":\"text\",\"text\":\"b\"}]}],\"chat_template_kwargs\":{\"enable_thinking\":"
         "false}}",
         "{\"add_generation_prompt\":true,\"enable_thinking\":false,\"messages\":[{\"content\":"
         "\"ab\","
         "\"role\":\"system\"}]}"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{"
         "\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]}]}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"\",\"role\":\"assistant\","
         "\"tool_calls\":[{\"function\":{\"arguments\":{\"x\":1},\"name\":\"f\"}}]}]}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"none\",\"tools\":"
         "[{"
         "\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"x\",\"role\":\"user\"}]}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":{\"function\":{"
         "\"name\":\"g\"}},\"tools\":[{\"function\":{\"name\":\"f\"}},{\"function\":{\"name\":"
         "\"g\"}}]}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"x\",\"role\":\"user\"}],"
         "\"tool_choice\":{\"function\":{\"name\":\"g\"}},\"tools\":[{\"function\":{\"name\":\"g\"}"
         "}]}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":\"low\"}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"x\",\"role\":\"user\"}],"
         "\"reasoning_effort\":\"low\"}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":\"low\","
         "\"chat_template_kwargs\":{\"reasoning_effort\":\"max\"}}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"x\",\"role\":\"user\"}],"
         "\"reasoning_effort\":\"max\"}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":1}",
         "reasoning_effort"},
        {"{\"messages\":[{\"role\":\"function\",\"name\":\"f\",\"content\":\"1\"}]}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"1\",\"name\":\"f\",\"role\":"
         "\"tool\"}]}"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"1\"},{\"role\":\"system\",\"content\":"
         "\"2\"}]}",
         "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"1\",\"role\":\"tool\"},"
         "{\"content\":\"2\",\"role\":\"system\"}]}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"king\",\"content\":"
         "\"y\"}]}",
         "messages[1].role"},
        {"{}", "messages"},
        {"{\"messages\":{}}", "messages"},
        {"{\"messages\":[]}", "messages"},
        {"{\"messages\":[1]}", "messages[0]"},
        {"{\"messages\":[{\"content\":\"x\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":3}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
         "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":{}}", "tools"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{}]}", "tools"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"maybe\"}",
         "tool_choice"},
    };
    char got[4096];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        chat_of(cases[i][0], got, sizeof(got));
        assert_string_equal(got, cases[i][1]);
    }
}

static void reasoning_goes_by_every_name(void **state)
{
    static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};
    static const char *const calls = ",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]";
    char text[512], got[4096], want[512];

    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof(text),
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"%s\":\"why\"}]}",
                 names[i]);
        chat_of(text, got, sizeof(got));
        assert_string_equal(got, "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"x\","
                                 "\"reasoning\":\"why\",\"reasoning_content\":\"why\","
                                 "\"role\":\"assistant\",\"thinking\":\"why\"}]}");
        /* gpt-oss's template refuses a thought beside content */
        snprintf(text, sizeof(text),
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"%s\":\"why\"%s}]}",
                 names[i], calls);
        snprintf(want, sizeof(want),
                 "{\"add_generation_prompt\":true,\"messages\":[{\"content\":\"x\","
                 "\"reasoning\":\"why\",\"reasoning_content\":\"why\","
                 "\"role\":\"assistant\"%s}]}",
                 calls);
        chat_of(text, got, sizeof(got));
        assert_string_equal(got, want);
    }
    chat_of(
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"\"}]}",
        got, sizeof(got));
    assert_null(strstr(got, "thinking"));
}

static void note_text(void *user, const char *text, size_t len)
{
    strbuf_add(user, text, len);
}

static void note_call(void *user, const char *name, const char *arguments)
{
    strbuf_printf(user, "<%s %s>", name, arguments);
}

static void tool_calls_are_found_however_the_text_is_split(void **state)
{
    static const char *const cases[][2] = {
        {"plain text", "plain text"},
        {"a < b <tool> <tool_cal", "a < b <tool> <tool_cal"},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>",
         "<f {\"x\":1}>"},
        {"Sure.\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</"
         "tool_call>\n<tool_call>{\"name\":\"g\","
         "\"arguments\":{\"s\":\"</b>\"}}</tool_call>\n",
         "Sure.<f {}><g {\"s\":\"</b>\"}>"},
        {"<tool_call>nonsense</tool_call> rest", "<tool_call>nonsense</tool_call> rest"},
        {"<tool_call>{\"name\":\"f\",\"arguments\":{}}", "<f {}>"},
        {"<tool_call>{\"name\":", "<tool_call>{\"name\":"},
        {"{\"name\": \"f\", \"parameters\": {\"y\": 2}}", "<f {\"y\":2}>"},
        {"{\"name\": \"unknown\", \"parameters\": {}}",
         "{\"name\": \"unknown\", \"parameters\": {}}"},
        {" {\"a\": 1} is JSON", " {\"a\": 1} is JSON"},
        {"  ", "  "},
        {"", ""},
    };
    json_t *tools = json_loads("[{\"function\":{\"name\":\"f\"}}]", 0, NULL);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t piece = 1; piece <= strlen(cases[i][0]) + 1; piece++) {
            const char *text = cases[i][0];
            struct strbuf got;
            struct toolcall t = {.on_text = note_text, .on_call = note_call, .user = &got};

            strbuf_init(&got, 0);
            toolcall_init(&t, NULL, tools);
            while (*text) {
                size_t n = strlen(text) < piece ? strlen(text) : piece;
                toolcall_feed(&t, text, n);
                text += n;
            }
            toolcall_end(&t);
            assert_string_equal(got.data ? got.data : "", cases[i][1]);
            toolcall_finish(&t);
            strbuf_finish(&got);
        }
    }
    json_decref(tools);
}

static void text_before_a_tag_is_not_held_back(void **state)
{
    struct strbuf got;
    struct toolcall t = {.on_text = note_text, .on_call = note_call, .user = &got};

    strbuf_init(&got, 0);
    toolcall_init(&t, NULL, NULL);
    toolcall_feed(&t, "hello <to", 9);
    assert_string_equal(got.data, "hello");
    toolcall_feed(&t, "morrow", 6);
    assert_string_equal(got.data, "hello <tomorrow");
    toolcall_finish(&t);
    strbuf_finish(&got);
}

static void a_call_that_never_ends_becomes_text_and_loses_nothing(void **state)
{
    static char piece[1 << 16];
    struct strbuf got;
    struct toolcall t = {.on_text = note_text, .on_call = note_call, .user = &got};

    memset(piece, 'a', sizeof(piece));
    strbuf_init(&got, 0);
    toolcall_init(&t, NULL, NULL);
    toolcall_feed(&t, "<tool_call>", 11);
    for (int i = 0; i < 20; i++)
        toolcall_feed(&t, piece, sizeof(piece));
    toolcall_end(&t);
    assert_int_equal(got.len, 11 + 20 * sizeof(piece));
    assert_memory_equal(got.data, "<tool_call>a", 12);
    toolcall_finish(&t);
    strbuf_finish(&got);
}

static void tokens_must_fit_whole(void **state)
{
    static const char *const tokens[] = {"first-token", "second", NULL};

    assert_int_equal(peer_token_fits("Bearer first-token", tokens), 1);
    assert_int_equal(peer_token_fits("bearer  second", tokens), 1);
    assert_int_equal(peer_token_fits("Bearer secon", tokens), 0);
    assert_int_equal(peer_token_fits("Bearer secondsecond", tokens), 0);
    assert_int_equal(peer_token_fits("Bearer ", tokens), 0);
    assert_int_equal(peer_token_fits("second", tokens), 0);
    assert_int_equal(peer_token_fits(NULL, tokens), 0);
    assert_int_equal(peer_token_fits("Bearer x", NULL), 0);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_follow_the_json_test_suite),
        cmocka_unit_test(bodies_are_bounded_before_they_are_built),
        cmocka_unit_test(bad_json_is_told_with_line_and_column),
        cmocka_unit_test(written_text_is_valid_json_whatever_it_holds),
        cmocka_unit_test(params_name_the_field_that_is_wrong),
        cmocka_unit_test(chats_take_the_shape_templates_expect),
        cmocka_unit_test(reasoning_goes_by_every_name),
        cmocka_unit_test(tool_calls_are_found_however_the_text_is_split),
        cmocka_unit_test(text_before_a_tag_is_not_held_back),
        cmocka_unit_test(a_call_that_never_ends_becomes_text_and_loses_nothing),
        cmocka_unit_test(tokens_must_fit_whole),
    };
    return TEST_MAIN(argc, argv, tests);
}
