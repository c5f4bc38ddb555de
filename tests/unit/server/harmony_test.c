/* SPDX-License-Identifier: MIT */
/* Completions of gpt-oss's as harmony's own parser is tested with, taken apart: text, and tokens of
 * the real vocabulary. */
#include "../tokenizer/rank_vocab.h"
#include "harness.h"
#include "server/reply.h"
#include "tokenizer/detokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct taken {
    struct strbuf text, reasoning, calls;
};

static void note_text(void *user, const char *text, size_t len)
{
    strbuf_add(&((struct taken *)user)->text, text, len);
}

static void note_reasoning(void *user, const char *text, size_t len)
{
    strbuf_add(&((struct taken *)user)->reasoning, text, len);
}

static void note_call(void *user, const char *name, const char *arguments)
{
    strbuf_printf(&((struct taken *)user)->calls, "%s(%s)", name, arguments);
}

/* In pieces of so many bytes. */
static void take_apart(const char *text, size_t piece, struct taken *ret)
{
    json_t *tools = json_array();
    struct reply r = {
        .on_text = note_text, .on_reasoning = note_reasoning, .on_call = note_call, .user = ret};

    strbuf_init(&ret->text, 0);
    strbuf_init(&ret->reasoning, 0);
    strbuf_init(&ret->calls, 0);
    reply_init(&r, "<|channel|> <|message|>", "<|start|>assistant", tools);
    while (*text) {
        size_t n = strnlen(text, piece);

        reply_feed(&r, text, n);
        text += n;
    }
    reply_end(&r);
    reply_finish(&r);
    json_decref(tools);
    strbuf_add_char(&ret->text, 0);
    strbuf_add_char(&ret->reasoning, 0);
    strbuf_add_char(&ret->calls, 0);
}

/* begins: of the reasoning. */
static void assert_taken(const char *completion, const char *text, const char *begins,
                         const char *calls)
{
    for (size_t piece = 1; piece < 100; piece += 7) {
        struct taken got;

        take_apart(completion, piece, &got);
        assert_string_equal(got.text.data, text);
        assert_string_equal(got.calls.data, calls);
        assert_memory_equal(got.reasoning.data, begins, strlen(begins));
        assert_null(strstr(got.reasoning.data, "<|"));
        strbuf_finish(&got.text);
        strbuf_finish(&got.reasoning);
        strbuf_finish(&got.calls);
    }
}

static void assert_whole_reasoning(const char *completion, const char *reasoning)
{
    struct taken got;

    take_apart(completion, strlen(completion), &got);
    assert_string_equal(got.reasoning.data, reasoning);
    strbuf_finish(&got.text);
    strbuf_finish(&got.reasoning);
    strbuf_finish(&got.calls);
}

static char *read_vector(const char *name)
{
    char path[256], *text;

    snprintf(path, sizeof(path), "data/templates/harmony-vectors/%s.txt", name);
    text = harness_read_file(harness_shared(path), NULL);
    if (!text)
        SKIP("no %s", path);
    return text;
}

/* A call of a tool that is none of the functions has its full name. */
static void text_is_taken_apart(void **state)
{
    char *text = read_vector("test_streamable_parser");

    assert_taken(text, "", "User asks \"Who is the current US president?\"",
                 "browser.search({\"query\":\"current US president July 2025\",\"topn\":10,"
                 "\"source\":\"news\"})");
    free(text);
}

/* What a tool says to the assistant calls nobody. */
static void a_message_to_the_assistant_is_no_call(void **state)
{
    char *text = read_vector("test_tool_response_parsing");

    assert_taken(text, "", "{\"result\"", "");
    free(text);
}

/* What an assistant's turn in the library's conversations comes to: the messages they were made of.
 * The turn begins where the user's text ends. */
static void turns_give_their_messages_back(void **state)
{
    static const struct {
        const char *vector, *user, *text, *reasoning, *calls;
    } turns[] = {
        {"does_not_drop_if_ongoing_analysis", "What is the weather in SF?", "",
         "User asks: \u201cWhat is the weather in SF?\u201d We need to use lookup_weather tool.",
         "lookup_weather({\"location\":\"San Francisco\"})"},
        {"keep_analysis_between_finals", "What is 2 + 2?", "4", "", ""},
        {"keep_analysis_between_finals", "What is 3 + 5?", "8", "thinking 3+5", ""},
        {"preserve_cot", "What is 2 + 2?", "2 + 2 equals 4.",
         "User asks a simple question: \"What is 2 + 2?\" The answer: 4.", ""},
        {"dropping_cot_by_default", "What is 2 + 2?", "2 + 2 equals 4.", "", ""},
    };
    static const char begin[] = "<|end|><|start|>assistant";

    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
        char name[64], *text, *at, *end;

        snprintf(name, sizeof(name), "test_%s", turns[i].vector);
        text = read_vector(name);
        at = strstr(strstr(text, turns[i].user), begin);
        assert_non_null(at);
        at += sizeof(begin) - 1;
        /* the turn is over where somebody else speaks */
        end = strstr(at, "<|start|>user");
        end = end ? end : strstr(at, "<|start|>functions.");
        if (end)
            *end = 0;
        assert_taken(at, turns[i].text, turns[i].reasoning, turns[i].calls);
        assert_whole_reasoning(at, turns[i].reasoning);
        free(text);
    }
}

static const struct rank_name names[] = {
    {199999, "<|endoftext|>"}, {200002, "<|return|>"}, {200003, "<|constrain|>"},
    {200005, "<|channel|>"},   {200006, "<|start|>"},  {200007, "<|end|>"},
    {200008, "<|message|>"},   {200012, "<|call|>"},
};

/* The text of a vector of ids; *out is the caller's. Also that the text gives the same ids. */
static void decode(const struct tokenizer *t, const char *vector, struct strbuf *out)
{
    struct token_array again = {0};
    struct detokenizer d;
    const char *at = vector;
    struct strbuf named;
    char *end;
    size_t n = 0;

    strbuf_init(out, 0);
    strbuf_init(&named, 0);
    detokenizer_init(&d, t, -1, false);
    for (int32_t id = (int32_t)strtol(at, &end, 10); end != at;
         id = (int32_t)strtol(at, &end, 10)) {
        size_t len;
        const char *piece = tokenizer_piece(t, id, &len);

        at = end;
        detokenizer_add(&d, id, out);
        strbuf_add(&named, piece, len);
        n++;
    }
    detokenizer_flush(&d, out);
    strbuf_add_char(out, 0);
    assert_int_equal(
        tokenizer_encode(t, named.data, named.len, TOKENIZE_PARSE_SPECIAL, &again, NULL), 0);
    assert_int_equal(again.n, n);
    at = vector;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(again.ids[i], strtol(at, &end, 10));
        at = end;
    }
    strbuf_finish(&named);
    token_array_finish(&again);
}

static void tokens_are_taken_apart(void **state)
{
    const struct rank_file file = {"data/tokenizers/raw/o200k_base.tiktoken", "gpt-4o",
                                   .n_ranks = 199998, .names = names,
                                   .n_names = sizeof(names) / sizeof(names[0])};
    char *call = read_vector("test_simple_tool_call");
    char *answer = read_vector("test_simple_reasoning_response");
    struct tokenizer *t = rank_vocab_load(&file);
    struct strbuf text;

    if (!t)
        SKIP("no %s", file.path);
    decode(t, call, &text);
    assert_taken(text.data, "", "User asks: ", "lookup_weather({\"location\":\"Tokyo\"})");
    strbuf_finish(&text);
    decode(t, answer, &text);
    assert_taken(text.data, "2 + 2 = 4.", "User asks: ", "");
    strbuf_finish(&text);
    tokenizer_destroy(t);
    free(call);
    free(answer);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(text_is_taken_apart),
    cmocka_unit_test(a_message_to_the_assistant_is_no_call),
    cmocka_unit_test(turns_give_their_messages_back),
    cmocka_unit_test(tokens_are_taken_apart),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
