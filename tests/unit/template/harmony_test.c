/* SPDX-License-Identifier: MIT */
/*
 * Conversations as harmony's own library writes them, and as gpt-oss's template has them. The
 * template always tells the date, ends instructions with an empty line, and knows one set of
 * channels; vectors that differ in more than the first two are not its to render.
 */
#include "vectors_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "template/template.h"

enum { VECTORS_DAY = 1751112000 }; /* 2025-06-28 */

static const struct conversation {
    const char *vector;
    const char *vars; /* beside add_generation_prompt */
    bool without_system;
} conversations[] = {
#define NOTHING "{'role': 'user', 'content': 'X'}" /* a template wants one message */
#define TWO     "{'role': 'user', 'content': 'What is 2 + 2?'}"
#define CAPITAL                                                                                    \
    "{'role': 'user', 'content': 'What is the capital of the largest country in the world?'}"
#define ROBOT "{'role': 'system', 'content': 'Answer the user\\u0027s questions like a robot.'}"
    {"no_tools", "{'messages': [" NOTHING "]}", false},
    {"browser_tool_only", "{'messages': [" NOTHING "], 'builtin_tools': ['browser']}", false},
    {"browser_and_python_tool",
     "{'messages': [" NOTHING "], 'builtin_tools': ['browser', 'python']}", false},
    {"browser_and_function_tool",
     "{'messages': [" NOTHING "], 'builtin_tools': ['browser'], 'tools': [{'type': 'function', "
     "'function': {'name': 'lookup_weather', 'description': 'Use this tool to lookup the weather "
     "in a given location. Call it with the parameter \\u0027location\\u0027, can be any textual "
     "description of a location.', 'parameters': {'type': 'object', 'properties': {'location': "
     "{'type': 'string'}}, 'required': ['location']}}}]}",
     false},
    {"simple_convo", "{'messages': [" TWO "]}", false},
    {"simple_convo_low_effort", "{'messages': [" ROBOT ", " CAPITAL "], 'reasoning_effort': 'low'}",
     false},
    {"simple_convo_medium_effort", "{'messages': [" ROBOT ", " CAPITAL "]}", false},
    {"simple_convo_high_effort",
     "{'messages': [" ROBOT ", " CAPITAL "], 'reasoning_effort': 'high'}", false},
    {"simple_convo_low_effort_no_instruction",
     "{'messages': [" CAPITAL "], 'reasoning_effort': 'low'}", false},
    {"simple_convo_medium_effort_no_instruction", "{'messages': [" CAPITAL "]}", false},
    {"simple_convo_high_effort_no_instruction",
     "{'messages': [" CAPITAL "], 'reasoning_effort': 'high'}", false},
    {"dropping_cot_by_default",
     "{'messages': [" TWO ", {'role': 'assistant', 'thinking': 'It is four.', 'content': '2 + 2 "
     "equals 4.'}, {'role': 'user', 'content': 'What about 9 / 2?'}]}",
     true},
};

/* Single quotes for double ones, so that the table can be read. */
static json_t *vars_of(const char *text)
{
    char *copy = strdup(text), *at = copy;
    json_t *vars;

    while ((at = strchr(at, '\'')))
        *at = '"';
    vars = json_loads(copy, 0, NULL);
    assert_non_null(vars);
    json_object_set_new(vars, "add_generation_prompt", json_true());
    free(copy);
    return vars;
}

/* Removes what stands between, if it is there. */
static void drop(char *text, const char *part)
{
    char *at = strstr(text, part);

    if (at)
        memmove(at, at + strlen(part), strlen(at + strlen(part)) + 1);
}

static void trim_end(char *text)
{
    size_t len = strlen(text);

    while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
        text[--len] = 0;
}

static void assert_renders(const struct template *t, const struct conversation *c)
{
    static const char date[] = "Current date: 2025-06-28\n", end[] = "<|end|>";
    json_t *vars = vars_of(c->vars);
    struct error err = {0};
    struct strbuf got;
    char path[256], *want, *text, *blank;

    snprintf(path, sizeof(path), "data/templates/harmony-vectors/test_%s.txt", c->vector);
    want = harness_read_file(harness_shared(path), NULL);
    assert_non_null(want);
    strbuf_init(&got, 0);
    if (template_render(t, vars, VECTORS_DAY, NULL, &got, &err))
        fail_msg("%s: %s", c->vector, err.text);
    strbuf_add_char(&got, 0);
    text = got.data;
    if (c->without_system)
        text = strstr(text, end) + strlen(end);
    if (!strstr(want, date))
        drop(text, date);
    drop(text, "<|start|>user<|message|>X<|end|>");
    while ((blank = strstr(text, "\n\n<|end|>")))
        memmove(blank, blank + 2, strlen(blank + 2) + 1);
    trim_end(want);
    trim_end(text);
    assert_string_equal(text, want);
    strbuf_finish(&got);
    json_decref(vars);
    free(want);
}

void vectors_harmony_conversations_render(void **state)
{
    static const struct template_spacing publishers = {.trim_blocks = true, .lstrip_blocks = true};
    const char *path = harness_shared("data/templates/llama.cpp/openai-gpt-oss-120b.jinja");
    char *source = path ? harness_read_file(path, NULL) : NULL;
    struct error err = {0};
    struct template *t;

    if (!source || !harness_shared("data/templates/harmony-vectors/test_no_tools.txt"))
        SKIP("no templates/harmony-vectors");
    if (template_create_spaced(source, strlen(source), publishers, &t, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++)
        assert_renders(t, &conversations[i]);
    template_destroy(t);
    free(source);
}
