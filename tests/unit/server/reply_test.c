/* SPDX-License-Identifier: MIT */
/* Answers taken apart as their templates write them, however the text is split. */
#include "harness.h"

#include "server/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note_text(void *user, const char *text, size_t len)
{
    strbuf_add(user, text, len);
}

/* Pieces that follow one another are told as one. */
static void note_reasoning(void *user, const char *text, size_t len)
{
    struct strbuf *out = user;

    if (out->len && out->data[out->len - 1] == '}')
        out->data[--out->len] = 0;
    else
        strbuf_add_char(out, '{');
    strbuf_add(out, text, len);
    strbuf_add_char(out, '}');
}

static void note_call(void *user, const char *name, const char *arguments)
{
    strbuf_printf(user, "<%s %s>", name, arguments);
}

struct reply_case {
    const char *written, *taken; /* reasoning in braces, calls in angle brackets */
};

static void assert_taken(const char *chat_template, const char *prompt_end, json_t *tools,
                         const struct reply_case *c)
{
    for (size_t piece = 1; piece <= strlen(c->written) + 1; piece++) {
        const char *text = c->written;
        struct strbuf got;
        struct reply r = {.on_text = note_text,
                          .on_reasoning = note_reasoning,
                          .on_call = note_call,
                          .user = &got};

        strbuf_init(&got, 0);
        reply_init(&r, chat_template, prompt_end, tools);
        while (*text) {
            size_t n = strlen(text) < piece ? strlen(text) : piece;

            reply_feed(&r, text, n);
            text += n;
        }
        reply_end(&r);
        if (strcmp(got.data ? got.data : "", c->taken))
            fail_msg("in pieces of %zu: got '%s', want '%s'", piece, got.data, c->taken);
        reply_finish(&r);
        strbuf_finish(&got);
    }
}

static void assert_all(const char *chat_template, const char *prompt_end, const char *tools,
                       const struct reply_case *cases, size_t n)
{
    json_t *list = tools ? json_loads(tools, 0, NULL) : NULL;

    for (size_t i = 0; i < n; i++)
        assert_taken(chat_template, prompt_end, list, &cases[i]);
    json_decref(list);
}
#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static const char tool_f[] =
    "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"s\":{\"type\":"
    "\"string\"},\"n\":{\"type\":\"integer\"}}}}}]";

static void reasoning_stands_apart_from_the_answer(void **state)
{
    static const struct reply_case written[] = {
        {"<think>\nwhy? 1 < 2\n</think>\n\nBecause.", "{why? 1 < 2}Because."},
        {" \n<think>a</think>b", "{a}b"},
        {"<think>\n\n</think>\n\nno thought", "no thought"},
        {"plain, of <think>tags</think>", "plain, of <think>tags</think>"},
        {"<thin", "<thin"},
        {"<think>cut sh", "{cut sh}"},
        {"<think>a</th b</think>c</think>d", "{a</th b}c</think>d"},
        {"", ""},
    };
    static const struct reply_case begun[] = {
        {"so \xc3\xa9\n</think>\n\nyes", "{so \xc3\xa9}yes"},
        {"never ends", "{never ends}"},
        {"</think>at once", "at once"},
    };
    static const struct reply_case none[] = {{"<think>a</think>b", "<think>a</think>b"}};
    static const struct reply_case mistral[] = {{"[THINK]a[/THINK]b", "{a}b"}};

    assert_all("x <think> y </think>", "<|im_start|>assistant\n", NULL, written, N_OF(written));
    assert_all("x <think> y </think>", "assistant\n<think>\n", NULL, begun, N_OF(begun));
    /* what the template closed itself is over */
    assert_all("x <think> y </think>", "<think>\n\n</think>\n\n", NULL, written, 1);
    assert_all(NULL, "<think>\n", NULL, none, 1);
    assert_all("a template without", "<think>\n", NULL, none, 1);
    assert_all("[THINK] [/THINK]", "", NULL, mistral, 1);
}

static void calls_follow_reasoning(void **state)
{
    static const struct reply_case cases[] = {
        {"<think>a</think>\n\n<tool_call>\n{\"name\":\"f\",\"arguments\":{\"n\":1}}\n</tool_call>",
         "{a}<f {\"n\":1}>"},
        {"<think><tool_call>{\"name\":\"f\"}</tool_call></think>b",
         "{<tool_call>{\"name\":\"f\"}</tool_call>}b"},
    };

    assert_all("<think></think>", "", tool_f, cases, N_OF(cases));
}

static void harmony_channels_are_reasoning_answer_and_calls(void **state)
{
    static const struct reply_case cases[] = {
        {"<|channel|>analysis<|message|>Let me think.<|end|><|start|>assistant<|channel|>final"
         "<|message|>4",
         "{Let me think.}4"},
        /* as it is read when the end of a message is no text */
        {"<|channel|>analysis<|message|>hm<|start|>assistant<|channel|>final<|message|>4 < "
         "5<|return|>",
         "{hm}4 < 5"},
        {"<|channel|>analysis<|message|>q<|end|><|start|>assistant<|channel|>commentary "
         "to=functions.f <|constrain|>json<|message|>{\"n\": 1}<|call|>",
         "{q}<f {\"n\":1}>"},
        {"<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{\"s\":\"x\"}",
         "<f {\"s\":\"x\"}>"},
        {" to=functions.f<|channel|>commentary<|message|>{}<|call|>", "<f {}>"},
        {"<|channel|>commentary<|message|>I shall call two.<|end|><|start|>assistant<|channel|>"
         "commentary to=functions.f<|message|>{}<|call|><|start|>assistant<|channel|>commentary "
         "to=functions.g<|message|>{}<|call|>",
         "I shall call two.<f {}><g {}>"},
        {"<|channel|>commentary to=functions.f<|message|>not json<|call|>", "<f not json>"},
        {"no channel at all", "no channel at all"},
        {"<|channel|>final<|message|>a <|chan b", "a <|chan b"},
        {"<|channel|>ana", ""},
    };
    static const struct reply_case without_tools[] = {
        {"<|channel|>commentary to=functions.f<|message|>{}<|call|>", "{{}}"},
    };

    assert_all("<|channel|> <|message|>", "<|start|>assistant", tool_f, cases, N_OF(cases));
    assert_all("<|channel|> <|message|>", "<|start|>assistant", NULL, without_tools, 1);
}

static void each_template_has_its_own_way_to_call(void **state)
{
    static const struct reply_case mistral[] = {
        {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 1}}, "
         "{\"name\":\"g\",\"arguments\":{}}]",
         "<f {\"n\":1}><g {}>"},
        {"I call.[TOOL_CALLS]f[ARGS]{\"n\": 1}[TOOL_CALLS]g[CALL_ID]abc[ARGS]{}",
         "I call.<f {\"n\":1}><g {}>"},
        {"[TOOL_CALLS]nonsense", "[TOOL_CALLS]nonsense"},
        {"an [ARGS] alone", "an [ARGS] alone"},
    };
    static const struct reply_case deepseek[] = {
        {"Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"n\": "
         "1}<｜tool▁call▁end｜>"
         "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
         "Ok.<f {\"n\":1}><g {}>"},
        {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"n\":2}\n`"
         "``"
         "<｜tool▁call▁end｜>",
         "<f {\"n\":2}>"},
    };
    static const struct reply_case dsml[] = {
        {"Ok.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter "
         "name=\"n\" "
         "string=\"false\">12</｜DSML｜parameter>\n<｜DSML｜parameter name=\"t\" "
         "string=\"true\">12\n<b>"
         "</｜DSML｜parameter>\n<｜DSML｜parameter name=\"o\" string=\"false\">{\"a\": [1]}"
         "</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>\n"
         "</｜DSML｜function_calls>",
         "Ok.<f {\"n\":12,\"t\":\"12\\n<b>\",\"o\":{\"a\":[1]}}><g {}>"},
        {"<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"t\" "
         "string=\"true\">12</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
         "<f {\"t\":\"12\"}>"},
        /* what the tool says counts where the model does not say it */
        {"<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"s\">12"
         "</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
         "<f {\"s\":\"12\"}>"},
        {"<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"n\">1",
         "<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"n\">1"},
        {"<｜DSML｜function_calls>\nnone</｜DSML｜function_calls>",
         "<｜DSML｜function_calls>\nnone</｜DSML｜function_calls>"},
    };
    static const struct reply_case kimi[] = {
        {"Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin"
         "|>{\"n\": 1}<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>"
         "{}<|tool_call_end|><|tool_calls_section_end|>",
         "Ok.<f {\"n\":1}><g {}>"},
        {"<|tool_calls_section_begin|><|tool_call_begin|> f<|tool_call_argument_begin|>{}",
         "<f {}>"},
        {"<|tool_calls_section_begin|><|tool_call_begin|>a:<|tool_call_argument_begin|>{}",
         "<a: {}>"},
        {"<|tool_calls_section_begin|><|tool_call_begin|>functions.a:b<|tool_call_argument_begin|>"
         "{}<|tool_call_end|><|tool_calls_section_end|>",
         "<a:b {}>"},
        {"<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
         "no<|tool_call_end|>",
         "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
         "no<|tool_call_end|>"},
    };
    static const struct reply_case qwen[] = {
        {"<tool_call>\n<function=f>\n<parameter=n>\n12\n</parameter>\n<parameter=s>\n12\n"
         "</parameter>\n<parameter=o>\n{\"a\": [1]}\n</parameter>\n<parameter=t>\n two\nlines\n"
         "</parameter>\n</function>\n</tool_call>",
         "<f {\"n\":12,\"s\":\"12\",\"o\":{\"a\":[1]},\"t\":\" two\\nlines\"}>"},
        {"<tool_call>\n<function=f>\n</function>\n</tool_call>", "<f {}>"},
        {"<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "<f {}>"},
        {"<tool_call>\n<function=f>\n<parameter=n>\n1",
         "<tool_call>\n<function=f>\n<parameter=n>\n1"},
    };
    static const struct reply_case glm[] = {
        {"<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>12</arg_value>\n<arg_key>s</arg_key>\n"
         "<arg_value>12</arg_value>\n</tool_call>",
         "<f {\"n\":12,\"s\":\"12\"}>"},
        {"<tool_call>f</tool_call>", "<f {}>"},
    };
    static const struct reply_case gemma[] = {
        {"<|tool_call>call:f{n:12,s:<|\"|>a, "
         "{b}<|\"|>,o:{l:[1,<|\"|>x<|\"|>,true],e:{}}}<tool_call|>",
         "<f {\"n\":12,\"s\":\"a, {b}\",\"o\":{\"l\":[1,\"x\",true],\"e\":{}}}>"},
        {"<|tool_call>call:f{}<tool_call|>", "<f {}>"},
        {"<|tool_call>call:f{n:<tool_call|>", "<|tool_call>call:f{n:<tool_call|>"},
    };
    static const struct reply_case llama[] = {
        {"{\"name\": \"f\", \"parameters\": {\"n\": 1}}", "<f {\"n\":1}>"},
    };

    assert_all("[TOOL_CALLS]", "", tool_f, mistral, N_OF(mistral));
    assert_all("<｜tool▁calls▁begin｜> <｜tool▁sep｜>", "", tool_f, deepseek, N_OF(deepseek));
    assert_all("'｜DSML｜' + 'function_calls>'", "", tool_f, dsml, N_OF(dsml));
    assert_all("<|tool_calls_section_begin|> <|tool_call_argument_begin|>", "", tool_f, kimi,
               N_OF(kimi));
    assert_all("<function= <parameter=", "", tool_f, qwen, N_OF(qwen));
    assert_all("<arg_key> <arg_value>", "", tool_f, glm, N_OF(glm));
    assert_all("<|tool_call> <tool_call|>", "", tool_f, gemma, N_OF(gemma));
    assert_all("<|python_tag|>", "", tool_f, llama, N_OF(llama));
}

static char *read_template(const char *name)
{
    char path[256], *text = NULL;
    size_t cap = 0;
    FILE *f;

    snprintf(path, sizeof(path), "data/templates/llama.cpp/%s.jinja", name);
    if (!harness_shared(path))
        SKIP("no %s", path);
    f = fopen(harness_shared(path), "r");
    assert_non_null(f);
    assert_true(getdelim(&text, &cap, 0, f) > 0);
    fclose(f);
    return text;
}

static void published_templates_tell_their_format(void **state)
{
    static const struct {
        const char *name;
        struct reply_case c;
    } models[] = {
        {"openai-gpt-oss-120b",
         {"<|channel|>analysis<|message|>a<|start|>assistant<|channel|>commentary to=functions.f"
          "<|message|>{\"n\":1}",
          "{a}<f {\"n\":1}>"}},
        {"Qwen-Qwen3-0.6B",
         {"<think>\na\n</think>\n\n<tool_call>\n{\"name\":\"f\",\"arguments\":{\"n\":1}}\n"
          "</tool_call>",
          "{a}<f {\"n\":1}>"}},
        {"Qwen3-Coder",
         {"<tool_call>\n<function=f>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>",
          "<f {\"n\":1}>"}},
        {"Qwen3.5-4B",
         {"<think>a</think><tool_call>\n<function=f>\n<parameter=s>\n1\n</parameter>\n</function>\n"
          "</tool_call>",
          "{a}<f {\"s\":\"1\"}>"}},
        {"mistralai-Ministral-3-14B-Reasoning-2512",
         {"[THINK]a[/THINK][TOOL_CALLS]f[ARGS]{\"n\": 1}", "{a}<f {\"n\":1}>"}},
        {"mistralai-Mistral-Nemo-Instruct-2407",
         {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 1}, \"id\": \"abcdefghi\"}]",
          "<f {\"n\":1}>"}},
        {"deepseek-ai-DeepSeek-V3.1",
         {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"n\": 1}<｜tool▁call▁end｜>"
          "<｜tool▁calls▁end｜>",
          "<f {\"n\":1}>"}},
        {"deepseek-ai-DeepSeek-V3.2",
         {"<think>a</think>\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke "
          "name=\"f\">\n<｜DSML｜parameter "
          "name=\"n\" string=\"false\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
          "</｜DSML｜function_calls>",
          "{a}<f {\"n\":1}>"}},
        {"deepseek-ai-DeepSeek-V4",
         {"<think>a</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
          "name=\"f\">\n<｜DSML｜parameter "
          "name=\"n\" string=\"false\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
          "</｜DSML｜tool_calls>",
          "{a}<f {\"n\":1}>"}},
        {"moonshotai-Kimi-K2",
         {"<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
          "{\"n\": 1}<|tool_call_end|><|tool_calls_section_end|>",
          "<f {\"n\":1}>"}},
        {"Kimi-K2-Thinking",
         {"<think>a</think><|tool_calls_section_begin|><|tool_call_begin|>functions.f:12"
          "<|tool_call_argument_begin|>{\"n\": 1}<|tool_call_end|><|tool_calls_section_end|>",
          "{a}<f {\"n\":1}>"}},
        {"GLM-4.6",
         {"<think>a</think>\n<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n"
          "</tool_call>",
          "{a}<f {\"n\":1}>"}},
        {"google-gemma-4-31B-it",
         {"<|channel>thought\na<channel|><|tool_call>call:f{n:1}<tool_call|>", "{a}<f {\"n\":1}>"}},
        {"ByteDance-Seed-OSS",
         {"<seed:think>a</seed:think><seed:tool_call>\n<function=f>\n<parameter=n>1</parameter>\n"
          "</function>\n</seed:tool_call>",
          "{a}<f {\"n\":1}>"}},
        {"MiniMax-M2",
         {"<think>\na\n</think>\n\n<minimax:tool_call>\n<invoke name=\"f\">\n<parameter "
          "name=\"n\">1</parameter>\n</invoke>\n<invoke name=\"g\">\n</invoke>\n"
          "</minimax:tool_call>",
          "{a}<f {\"n\":1}><g {}>"}},
        {"meta-llama-Llama-3.1-8B-Instruct",
         {"{\"name\": \"f\", \"parameters\": {\"n\": 1}}", "<f {\"n\":1}>"}},
        {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
         {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>",
          "<f {\"n\":1}>"}},
    };

    for (size_t i = 0; i < N_OF(models); i++) {
        char *text = read_template(models[i].name);

        assert_all(text, "", tool_f, &models[i].c, 1);
        free(text);
    }
}

static void a_header_without_end_loses_nothing(void **state)
{
    struct strbuf got;
    struct reply r = {
        .on_text = note_text, .on_reasoning = note_reasoning, .on_call = note_call, .user = &got};

    strbuf_init(&got, 0);
    reply_init(&r, "<|channel|> <|message|>", "", NULL);
    for (int i = 0; i < 100; i++)
        reply_feed(&r, "<|channel|>", 11);
    reply_end(&r);
    assert_true(got.len > 100 * 11 - 512);
    reply_finish(&r);
    strbuf_finish(&got);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(reasoning_stands_apart_from_the_answer),
    cmocka_unit_test(calls_follow_reasoning),
    cmocka_unit_test(harmony_channels_are_reasoning_answer_and_calls),
    cmocka_unit_test(each_template_has_its_own_way_to_call),
    cmocka_unit_test(published_templates_tell_their_format),
    cmocka_unit_test(a_header_without_end_loses_nothing),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
