/* SPDX-License-Identifier: MIT */
/* SentencePiece's unigram model: its normaliser, and that the best cut is found. */
#include "charsmap_builder.h"
#include "harness.h"
#include "tiny_vocab.h"
#include "tokenizer/detokenizer.h"

#include "base/strbuf.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAD, END, UNKNOWN, FIRST };

static struct tiny_vocab vocab;

/* <pad> </s> <unk>, then words with scores; a space before the first word, spaces merged. */
static void make(const char *const *words, const float *scores, size_t n)
{
    memset(&vocab, 0, sizeof(vocab));
    tokenizer_desc_init(&vocab.desc);
    vocab.desc.model = "t5";
    vocab.desc.texts = vocab.texts;
    vocab.desc.types = vocab.types;
    vocab.desc.scores = vocab.scores;
    vocab.desc.pad = tiny_vocab_add(&vocab, "<pad>", TOKENIZER_TYPE_CONTROL, 0);
    vocab.desc.eos = tiny_vocab_add(&vocab, "</s>", TOKENIZER_TYPE_CONTROL, 0);
    vocab.desc.unk = tiny_vocab_add(&vocab, "<unk>", TOKENIZER_TYPE_UNKNOWN, 0);
    for (size_t i = 0; i < n; i++)
        tiny_vocab_add(&vocab, words[i], TOKENIZER_TYPE_NORMAL, scores[i]);
    vocab.desc.add_space_prefix = 1;
    vocab.desc.remove_extra_whitespaces = 1;
}
#define MAKE(...)                                                                                  \
    do {                                                                                           \
        static const struct word {                                                                 \
            const char *text;                                                                      \
            float score;                                                                           \
        } list[] = {__VA_ARGS__};                                                                  \
        const char *texts[sizeof(list) / sizeof(list[0])];                                         \
        float scores[sizeof(list) / sizeof(list[0])];                                              \
                                                                                                   \
        for (size_t word = 0; word < sizeof(list) / sizeof(list[0]); word++) {                     \
            texts[word] = list[word].text;                                                         \
            scores[word] = list[word].score;                                                       \
        }                                                                                          \
        make(texts, scores, sizeof(list) / sizeof(list[0]));                                       \
    } while (0)

static struct tokenizer *create(void)
{
    struct tokenizer *t = NULL;
    struct error err = {0};

    if (tokenizer_create(&vocab.desc, &t, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

/* The pieces of a text's tokens joined by '|', unknown ones as '?'; the caller finishes *out. */
static const char *pieces_of(const struct tokenizer *t, const char *text, unsigned flags,
                             struct strbuf *out)
{
    struct token_array ids = {0};
    struct error err = {0};

    if (tokenizer_encode(t, text, strlen(text), flags, &ids, &err) < 0)
        fail_msg("%s", err.text);
    strbuf_init(out, 0);
    for (size_t i = 0; i < ids.n; i++) {
        size_t len;
        const char *piece = tokenizer_piece(t, ids.ids[i], &len);

        if (i)
            strbuf_add_char(out, '|');
        if (ids.ids[i] == UNKNOWN)
            strbuf_add_char(out, '?');
        else
            strbuf_add(out, piece, len);
    }
    strbuf_add_char(out, 0);
    token_array_finish(&ids);
    return out->data;
}

static void assert_pieces(const char *text, unsigned flags, const char *want)
{
    struct tokenizer *t = create();
    struct strbuf got;

    assert_string_equal(pieces_of(t, text, flags, &got), want);
    strbuf_finish(&got);
    tokenizer_destroy(t);
}

static void the_greatest_sum_of_scores_wins(void **state)
{
    MAKE({"\u2581", -2}, {"a", -4}, {"b", -4}, {"c", -4}, {"ab", -5}, {"bc", -3}, {"abc", -9},
         {"\u2581a", -4});
    /* "ab" is the longest start, but "bc" is worth more */
    assert_pieces("abc", 0, " a|bc");
    assert_pieces("ab", 0, " |ab");
    vocab.scores[FIRST + 6] = -4.5f;
    assert_pieces("abc", 0, " |abc");
    assert_pieces("abc abc", TOKENIZE_ADD_SPECIAL, " |abc| |abc|</s>");
    assert_pieces("", TOKENIZE_ADD_SPECIAL, "</s>");
}

static void unknown_characters_in_a_row_are_one_token(void **state)
{
    MAKE({"\u2581", -2}, {"a", -4}, {"\u2581a", -3});
    assert_pieces("a\u4f60\u597da", 0, " a|?|a");
    assert_pieces("\u4f60 \u597d", 0, " |?| |?");
    /* every part of a word counts, so a word known from before is the same */
    assert_pieces("\u4f60\u4f60 \u4f60\u4f60 a", 0, " |?| |?| a");
}

static void a_space_without_a_token_joins_what_is_unknown(void **state)
{
    MAKE({"a", -4});
    assert_pieces("\u4f60 \u597d a", 0, "?|a");
}

static void with_byte_tokens_nothing_is_unknown(void **state)
{
    MAKE({"\u2581", -2}, {"a", -4});
    for (int b = 0; b < 256; b++) {
        snprintf(vocab.byte_names[b], sizeof(vocab.byte_names[b]), "<0x%02X>", b);
        tiny_vocab_add(&vocab, vocab.byte_names[b], TOKENIZER_TYPE_BYTE, 0);
    }
    assert_pieces("a\u00e9\u00e9", 0, " |a|\xc3|\xa9|\xc3|\xa9");
}

static void spaces_are_as_the_file_says(void **state)
{
    MAKE({"\u2581", -2}, {"a", -4}, {"\u2581a", -3}, {"\u2581\u2581", -3});
    assert_pieces("  a   a ", 0, " a| a");
    vocab.desc.remove_extra_whitespaces = 0;
    assert_pieces("  a   a ", 0, "  | a|  | a| ");
    assert_pieces("a", 0, " a");
    vocab.desc.add_space_prefix = 0;
    assert_pieces("a  a", 0, "a| | a");
    /* neither said: as llama.cpp has it */
    vocab.desc.remove_extra_whitespaces = vocab.desc.add_space_prefix = -1;
    assert_pieces("a  a", 0, "a| | a");
}

static void tokens_may_go_over_spaces(void **state)
{
    MAKE({"\u2581", -2}, {"a", -4}, {"b", -4}, {"a\u2581b", -1});
    assert_pieces("a b a b", 0, " |a b| |a b");
}

/* It is the sign that stands for a space, but white space to nobody. */
static void the_mark_of_a_space_is_a_character_in_the_text(void **state)
{
    MAKE({"\u2581", -2}, {"a", -4}, {"\u2581a", -3});
    assert_pieces("a\u2581\u2581a", 0, " a| | a");
    assert_pieces("\u2581a", 0, " | a");
}

static void user_defined_tokens_are_set_apart(void **state)
{
    MAKE({"\u2581", -2}, {"a", -1}, {"b", -1}, {"\u2581b", -9});
    tiny_vocab_add(&vocab, "ab", TOKENIZER_TYPE_USER_DEFINED, 0);
    assert_pieces("ab", 0, "ab");
    assert_pieces("aab b", 0, " |a|ab| |b");
}

static struct charsmap_builder map;

static void use_map(const char *const *rules)
{
    charsmap_builder_make(&map, rules);
    vocab.desc.charsmap = &map;
    vocab.desc.charsmap_len = map.len;
}

static void the_longest_rule_normalises(void **state)
{
    static const char *const rules[] = {"\uff21", "a",      "f", "b",      "ffi", "c", "\t",
                                        " ",      "\u00ad", "",  "\u3000", "  ",  NULL};

    MAKE({"\u2581", -2}, {"a", -4}, {"b", -4}, {"c", -4});
    use_map(rules);
    assert_pieces("\uff21", 0, " |a");
    assert_pieces("ff", 0, " |b|b");
    assert_pieces("fffi", 0, " |b|c");
    assert_pieces("a\u00ada", 0, " |a|a");
    assert_pieces("a\t\u3000a\u3000", 0, " |a| |a");
    assert_pieces("\u00ad", 0, "");
    /* the start of a rule is no match */
    assert_pieces("\uff22a", 0, " |?|a");
}

static void a_user_defined_token_costs_nothing_where_normalising_makes_it(void **state)
{
    static const char *const rules[] = {"x", "ab", NULL};

    MAKE({"\u2581", -2}, {"a", -1}, {"b", -1});
    tiny_vocab_add(&vocab, "ab", TOKENIZER_TYPE_USER_DEFINED, -50);
    use_map(rules);
    assert_pieces("xa", 0, " |ab|a");
}

static void assert_map_refused(const void *data, size_t len, const char *why)
{
    struct tokenizer *t = NULL;
    struct error err = {0};

    vocab.desc.charsmap = data;
    vocab.desc.charsmap_len = len;
    assert_int_equal(tokenizer_create(&vocab.desc, &t, &err), -EINVAL);
    assert_says(err.text, "tokenizer.ggml.precompiled_charsmap");
    assert_says(err.text, why);
}

static void a_map_that_is_none_is_refused(void **state)
{
    static const char *const rules[] = {"x", "y", NULL};

    MAKE({"a", -4});
    use_map(rules);
    assert_map_refused(&map, 3, "first number");
    assert_map_refused(&map, 4, "shorter");
    assert_map_refused(&map, 4 + sizeof(map.units), "shorter");
    map.texts[1] = 'z';
    assert_map_refused(&map, map.len, "middle");
    map.texts[1] = 0;
    map.units_len = 6;
    assert_map_refused(&map, map.len, "shorter");
    map.units_len = 0;
    assert_map_refused(&map, map.len, "shorter");
    map.units_len = UINT32_MAX - 3;
    assert_map_refused(&map, map.len, "shorter");
}

static void assert_points_outside(const char *text)
{
    struct tokenizer *t = create();
    struct token_array ids = {0};
    struct error err = {0};

    assert_int_equal(tokenizer_encode(t, text, strlen(text), 0, &ids, &err), -EINVAL);
    assert_says(err.text, "outside");
    assert_int_equal(ids.n, 0);
    token_array_finish(&ids);
    tokenizer_destroy(t);
}

static void a_map_that_points_outside_is_an_error_of_the_text_that_meets_it(void **state)
{
    static const char *const rules[] = {"x", "y", NULL};
    uint32_t *root = map.units, *child, *value, at;

    MAKE({"a", -4}, {"y", -1});
    use_map(rules);
    at = (*root >> 10) ^ 'x';
    child = &map.units[at];
    value = &map.units[at ^ (*child >> 10)];
    assert_pieces("x", 0, "?|y");
    *value = 1u << 31 | 2;
    assert_points_outside("x");
    *child |= 0x3ff00000u;
    assert_points_outside("x");
    *root = 0x3ff00000u;
    assert_points_outside("a");
    /* the same with the offsets that are counted in 256ths */
    *root = 0x3ff00000u | 1u << 9;
    assert_points_outside("a");
}

static void scores_that_are_no_numbers_do_no_harm(void **state)
{
    MAKE({"\u2581", -2}, {"a", -4}, {"b", -4}, {"ab", -4});
    vocab.scores[FIRST + 1] = NAN;
    vocab.scores[FIRST + 3] = INFINITY;
    assert_pieces("ab", 0, " |?|b");
    vocab.desc.scores = NULL;
    assert_pieces("ab", 0, " |ab");
}

/* The best sum of all cuts of text, by trying each; unknown characters count least - 10. */
static double best_sum(const char *text, size_t len)
{
    double best[64] = {0};

    for (size_t end = 1; end <= len; end++) {
        best[end] = -INFINITY;
        for (size_t start = 0; start < end; start++) {
            double score = end - start == 1 ? -19 : -INFINITY;

            for (size_t i = FIRST; i < vocab.desc.n_tokens; i++)
                if (vocab.texts[i].len == end - start &&
                    memcmp(vocab.texts[i].data, text + start, end - start) == 0)
                    score = fmax(score, vocab.scores[i]);
            best[end] = fmax(best[end], best[start] + score);
        }
    }
    return best[len];
}

static double sum_of(const struct token_array *ids, size_t *ret_len)
{
    double sum = 0;

    *ret_len = 0;
    for (size_t i = 0; i < ids->n; i++) {
        bool is_unknown = ids->ids[i] == UNKNOWN;

        sum += is_unknown ? -19 : (double)vocab.scores[ids->ids[i]];
        *ret_len += is_unknown ? 1 : vocab.texts[ids->ids[i]].len;
    }
    return sum;
}

static void no_cut_is_better_than_the_one_found(void **state)
{
    static const char *const words[] = {"a",  "b",   "c",   "ab",  "ba",   "bc",   "cc",  "aa",
                                        "cb", "abc", "bca", "aab", "abca", "bbbb", "ccc", "acac"};
    static const float scores[] = {-7,    -7,    -9, -8.5f, -8.25f, -9.5f, -9, -8,
                                   -8.5f, -8.5f, -9, -8.5f, -8.75f, -9,    -9, -8.5f};
    struct tokenizer *t;

    make(words, scores, 16);
    vocab.desc.add_space_prefix = vocab.desc.remove_extra_whitespaces = 0;
    t = create();
    srandom(7);
    for (int round = 0; round < 3000; round++) {
        struct token_array ids = {0};
        size_t len = 1 + (size_t)random() % 24, covered;
        char text[32];

        for (size_t i = 0; i < len; i++) /* x is unknown, but never beside itself */
            text[i] = "abcx"[random() % (i && text[i - 1] == 'x' ? 3 : 4)];
        assert_int_equal(tokenizer_encode(t, text, len, 0, &ids, NULL), 0);
        assert_true(fabs(sum_of(&ids, &covered) - best_sum(text, len)) < 1e-9);
        assert_int_equal(covered, len);
        token_array_finish(&ids);
    }
    tokenizer_destroy(t);
}

static void the_added_space_comes_off_again(void **state)
{
    static const int32_t ids[] = {FIRST + 2, FIRST + 2};
    struct tokenizer *t;
    struct detokenizer d;
    struct strbuf out;

    MAKE({"\u2581", -2}, {"a", -4}, {"\u2581a", -3});
    t = create();
    strbuf_init(&out, 0);
    detokenizer_init(&d, t, -1, false);
    detokenizer_add(&d, ids[0], &out);
    detokenizer_add(&d, ids[1], &out);
    strbuf_add_char(&out, 0);
    assert_string_equal(out.data, "a a");
    strbuf_finish(&out);
    tokenizer_destroy(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_greatest_sum_of_scores_wins),
    cmocka_unit_test(unknown_characters_in_a_row_are_one_token),
    cmocka_unit_test(a_space_without_a_token_joins_what_is_unknown),
    cmocka_unit_test(with_byte_tokens_nothing_is_unknown),
    cmocka_unit_test(spaces_are_as_the_file_says),
    cmocka_unit_test(tokens_may_go_over_spaces),
    cmocka_unit_test(the_mark_of_a_space_is_a_character_in_the_text),
    cmocka_unit_test(user_defined_tokens_are_set_apart),
    cmocka_unit_test(the_longest_rule_normalises),
    cmocka_unit_test(a_user_defined_token_costs_nothing_where_normalising_makes_it),
    cmocka_unit_test(a_map_that_is_none_is_refused),
    cmocka_unit_test(a_map_that_points_outside_is_an_error_of_the_text_that_meets_it),
    cmocka_unit_test(scores_that_are_no_numbers_do_no_harm),
    cmocka_unit_test(no_cut_is_better_than_the_one_found),
    cmocka_unit_test(the_added_space_comes_off_again),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
