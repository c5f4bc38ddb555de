/* SPDX-License-Identifier: MIT */
/* Where each pre-tokenizer cuts: one case per rule that sets it apart. */
#include "base/strbuf.h"
#include "harness.h"
#include "tokenizer/charclass.h"
#include "tokenizer/pretokenizer.h"

#include <string.h>

struct cuts {
    const char *text;
    struct strbuf out;
};

static int add_word(void *context, size_t start, size_t end)
{
    struct cuts *c = context;

    if (start)
        strbuf_add_char(&c->out, '|');
    strbuf_add(&c->out, c->text + start, end - start);
    return 0;
}

static void assert_cuts(const char *pre, const char *text, const char *want)
{
    struct pretokenizer *p = pretokenizer_create(pretokenizer_find(pre));
    struct cuts c = {.text = text};
    uint8_t classes[256];
    size_t len = strlen(text);

    assert_non_null(p);
    assert_true(len <= sizeof(classes));
    strbuf_init(&c.out, 0);
    charclass_fill(charclass_get(), text, len, classes);
    assert_int_equal(pretokenizer_split(p, text, classes, len, add_word, &c), 0);
    strbuf_add_char(&c.out, 0);
    assert_string_equal(c.out.data, want);
    strbuf_finish(&c.out);
    pretokenizer_destroy(p);
}

static void gpt_2_keeps_a_space_with_its_word(void **state)
{
    assert_cuts("gpt-2", "I'll say  'LL 123456 a_b", "I|'ll| say| | '|LL| 123456| a|_|b");
    assert_cuts("gpt-2", "a\t\tb  \n  c", "a|\t|\t|b|  \n | c");
    assert_cuts("gpt-2", "end   ", "end|   ");
}

static void llama_bpe_groups_three_digits_and_any_case(void **state)
{
    assert_cuts("llama-bpe", "I'LL say 1234567 \"hi\"\n\n x",
                "I|'LL| say| |123|456|7| \"|hi|\"\n\n| x");
    assert_cuts("llama-bpe", "a  \n  b", "a|  \n| | b");
    assert_cuts("llama-bpe", "(x)\t(y)", "(x|)|\t|(y|)");
}

static void qwen2_takes_digits_one_by_one(void **state)
{
    assert_cuts("qwen2", "a1234", "a|1|2|3|4");
}

static void qwen35_keeps_marks_with_their_letters(void **state)
{
    assert_cuts("qwen2", "re\u0301sume\u0301", "re|\u0301sume|\u0301");
    assert_cuts("qwen35", "re\u0301sume\u0301", "re\u0301sume\u0301");
}

static void gpt_4o_cuts_at_case_and_keeps_contractions(void **state)
{
    assert_cuts("gpt-4o", "helloWorld can't HTTPServer", "hello|World| can't| HTTPServer");
    assert_cuts("gpt-4o", "a ///\n/b", "a| ///\n/|b");
    assert_cuts("tekken", "helloWorld can't 12", "hello|World| can|'t| |1|2");
    assert_cuts("qwen2", "helloWorld", "helloWorld");
}

static void deepseek_v3_sets_east_asian_runs_apart(void **state)
{
    assert_cuts("deepseek-v3", "abc\u4f60\u597dabc 1234", "abc|\u4f60\u597d|abc| |123|4");
    assert_cuts("deepseek-v3", "_foo .bar", "_foo| .|bar");
}

static void deepseek_llm_cuts_lines_and_marks(void **state)
{
    assert_cuts("deepseek-llm", "a, b\n\n12 \u4f60\u597d  ", "a|,| b|\n|\n|12| |\u4f60\u597d|  ");
    assert_cuts("deepseek-coder", "a, b 12", "a|,| b| |1|2");
}

static void default_takes_punctuation_runs_first(void **state)
{
    assert_cuts("default", "a ..b 12345", "a| |..|b| |123|45");
    assert_cuts("falcon", "a `b 12345", "a| |`|b| |123|45");
    assert_cuts("smollm", "a 12", "a| |1|2");
}

static void invalid_bytes_are_characters_of_their_own(void **state)
{
    assert_cuts("gpt-2",
                "ab\xff\xfe"
                "cd",
                "ab|\xff\xfe|cd");
    assert_cuts("qwen2", "\xe4\xbd", "\xe4\xbd");
}

static void unknown_names_are_not_found(void **state)
{
    static const char *const names[] = {"", " ", "gpt", "gpt-2 phi-2", "llama", "qwen3"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_null(pretokenizer_find(names[i]));
    assert_ptr_equal(pretokenizer_find("llama3"), pretokenizer_find("llama-bpe"));
    /* what Ling and Ring say: cut alike */
    assert_ptr_equal(pretokenizer_find("bailingmoe2"), pretokenizer_find("qwen2"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gpt_2_keeps_a_space_with_its_word),
    cmocka_unit_test(llama_bpe_groups_three_digits_and_any_case),
    cmocka_unit_test(qwen2_takes_digits_one_by_one),
    cmocka_unit_test(qwen35_keeps_marks_with_their_letters),
    cmocka_unit_test(gpt_4o_cuts_at_case_and_keeps_contractions),
    cmocka_unit_test(deepseek_v3_sets_east_asian_runs_apart),
    cmocka_unit_test(deepseek_llm_cuts_lines_and_marks),
    cmocka_unit_test(default_takes_punctuation_runs_first),
    cmocka_unit_test(invalid_bytes_are_characters_of_their_own),
    cmocka_unit_test(unknown_names_are_not_found),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
