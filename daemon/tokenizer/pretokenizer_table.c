/* SPDX-License-Identifier: MIT */
#include "tokenizer/charclass.h"
#include "tokenizer/pretokenizer.h"

#include <string.h>

#define MANY PRETOKENIZER_MANY
#define IS(set, min, max)                                                                          \
    {                                                                                              \
        (set), false, (min), (max)                                                                 \
    }
#define NOT(set, min, max)                                                                         \
    {                                                                                              \
        (set), true, (min), (max)                                                                  \
    }

enum {
    L = CHAR_L,
    M = CHAR_M,
    N = CHAR_N,
    P = CHAR_P,
    S = CHAR_S,
    WHITE = CHAR_WHITE,
    SPACE = CHAR_SPACE,
    CRLF = CHAR_CR | CHAR_LF,
    /* letters that may stand in the upper-case and in the lower-case part of a word */
    UPPER = CHAR_LU | CHAR_LT | CHAR_LM | CHAR_LO | CHAR_M,
    LOWER = CHAR_LL | CHAR_LM | CHAR_LO | CHAR_M,
};

/* \s*[\r\n]+ | \s+(?!\S) | \s+ */
#define WHITE_RULES                                                                                \
    {.items = {IS(WHITE, 0, MANY), IS(CRLF, 1, MANY)}},                                            \
        {.items = {IS(WHITE, 1, MANY)}, .edge = EDGE_WHITE},                                       \
    {                                                                                              \
        .items = { IS(WHITE, 1, MANY) }                                                            \
    }
/* one prefix character that is no letter, number or line end, then letters */
#define LETTERS_RULE                                                                               \
    {                                                                                              \
        .items = { NOT(CRLF | L | N, 0, 1), IS(L, 1, MANY) }                                       \
    }
#define MARKS_RULE                                                                                 \
    {                                                                                              \
        .items = { IS(SPACE, 0, 1), NOT(WHITE | L | N, 1, MANY), IS(CRLF, 0, MANY) }               \
    }
#define NUMBER_RULE(max)                                                                           \
    {                                                                                              \
        .items = { IS(N, 1, (max)) }                                                               \
    }

static const struct pretokenizer_rule gpt2[] = {
    {.contraction = CONTRACTION_LOWER},
    {.items = {IS(SPACE, 0, 1), IS(L, 1, MANY)}},
    {.items = {IS(SPACE, 0, 1), IS(N, 1, MANY)}},
    {.items = {IS(SPACE, 0, 1), NOT(WHITE | L | N, 1, MANY)}},
    {.items = {IS(WHITE, 1, MANY)}, .edge = EDGE_WHITE},
    {.items = {IS(WHITE, 1, MANY)}},
};
static const struct pretokenizer_rule llama3[] = {
    {.contraction = CONTRACTION_ANY_CASE}, LETTERS_RULE, NUMBER_RULE(3), MARKS_RULE, WHITE_RULES,
};
static const struct pretokenizer_rule qwen2[] = {
    {.contraction = CONTRACTION_ANY_CASE}, LETTERS_RULE, NUMBER_RULE(1), MARKS_RULE, WHITE_RULES,
};
static const struct pretokenizer_rule qwen35[] = {
    {.contraction = CONTRACTION_ANY_CASE},
    {.items = {NOT(CRLF | L | N, 0, 1), IS(L | M, 1, MANY)}},
    NUMBER_RULE(1),
    {.items = {IS(SPACE, 0, 1), NOT(WHITE | L | M | N, 1, MANY), IS(CRLF, 0, MANY)}},
    WHITE_RULES,
};
static const struct pretokenizer_rule gpt4o[] = {
    {.items = {NOT(CRLF | L | N, 0, 1), IS(UPPER, 0, MANY), IS(LOWER, 1, MANY)},
     .contraction = CONTRACTION_ANY_CASE},
    {.items = {NOT(CRLF | L | N, 0, 1), IS(UPPER, 1, MANY), IS(LOWER, 0, MANY)},
     .contraction = CONTRACTION_ANY_CASE},
    NUMBER_RULE(3),
    {.items = {IS(SPACE, 0, 1), NOT(WHITE | L | N, 1, MANY), IS(CRLF | CHAR_SLASH, 0, MANY)}},
    WHITE_RULES,
};
static const struct pretokenizer_rule tekken[] = {
    {.items = {NOT(CRLF | L | N, 0, 1), IS(UPPER, 0, MANY), IS(LOWER, 1, MANY)}},
    {.items = {NOT(CRLF | L | N, 0, 1), IS(UPPER, 1, MANY), IS(LOWER, 0, MANY)}},
    NUMBER_RULE(1),
    {.items = {IS(SPACE, 0, 1), NOT(WHITE | L | N, 1, MANY), IS(CRLF | CHAR_SLASH, 0, MANY)}},
    WHITE_RULES,
};
static const struct pretokenizer_rule seed_coder[] = {
    {.contraction = CONTRACTION_ANY_CASE},
    LETTERS_RULE,
    NUMBER_RULE(1),
    {.items = {IS(SPACE, 0, 1), NOT(WHITE | L | N, 1, MANY)}},
    WHITE_RULES,
};
static const struct pretokenizer_rule deepseek_v3[] = {
    {.items = {IS(CHAR_ASCII_MARK, 1, 1), IS(CHAR_ASCII_ALPHA, 1, MANY)}},
    {.items = {NOT(CRLF | L | P | S, 0, 1), IS(L | M, 1, MANY)}},
    {.items = {IS(SPACE, 0, 1), IS(P | S, 1, MANY), IS(CRLF, 0, MANY)}},
    WHITE_RULES,
};

static const struct pretokenizer_rule line_end[] = {{.items = {IS(CRLF, 1, 1)}}};
static const struct pretokenizer_rule number[] = {NUMBER_RULE(1)};
static const struct pretokenizer_rule numbers[] = {NUMBER_RULE(MANY)};
static const struct pretokenizer_rule numbers_to_3[] = {NUMBER_RULE(3)};
static const struct pretokenizer_rule digits_by_3[] = {{.items = {IS(CHAR_ASCII_DIGIT, 3, 3)}}};
static const struct pretokenizer_rule kanji_kana[] = {{.items = {IS(CHAR_KANJI_KANA, 1, MANY)}}};
static const struct pretokenizer_rule east[] = {{.items = {IS(CHAR_EAST, 1, MANY)}}};
static const struct pretokenizer_rule white_tail[] = {
    {.items = {IS(WHITE, 1, MANY)}, .edge = EDGE_END},
};
static const struct pretokenizer_rule white_cased[] = {
    {.items = {IS(WHITE, 0, 1), IS(CHAR_CASED, 1, MANY)}},
};
static const struct pretokenizer_rule white_mark_ranges[] = {
    {.items = {IS(WHITE, 0, 1), IS(CHAR_MARK_RANGES, 1, MANY)}},
};
static const struct pretokenizer_rule white_letters[] = {
    {.items = {IS(WHITE, 0, 1), IS(L, 1, MANY)}},
};
static const struct pretokenizer_rule white_marks[] = {
    {.items = {IS(WHITE, 0, 1), IS(P, 1, MANY)}},
};
static const struct pretokenizer_rule marks_math[] = {{.items = {IS(P | CHAR_MATH, 1, MANY)}}};
static const struct pretokenizer_rule marks_math_tick[] = {
    {.items = {IS(P | CHAR_MATH | CHAR_BACKTICK, 1, MANY)}},
};

#define PASS(rules)                                                                                \
    {                                                                                              \
        rules, sizeof(rules) / sizeof((rules)[0])                                                  \
    }

static const struct pretokenizer_spec specs[] = {
    {"default", {PASS(marks_math), PASS(gpt2), PASS(numbers), PASS(digits_by_3)}},
    {"gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert mpt "
     "olmo jais trillion granite-docling exaone4",
     {PASS(gpt2)}},
    {"jina-v1-en jina-v2-code roberta-bpe", {PASS(gpt2)}, .adds_sep = true},
    {"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
     {PASS(number), PASS(gpt2)}},
    {"falcon", {PASS(marks_math_tick), PASS(gpt2), PASS(digits_by_3)}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     {PASS(llama3)},
     .takes_whole_words = true,
     .adds_bos = true},
    {"dbrx smaug-bpe glm4 chatglm-bpe", {PASS(llama3)}},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 bailingmoe "
     "bailingmoe2 llada-moe",
     {PASS(qwen2)}},
    {"qwen35", {PASS(qwen35)}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {PASS(gpt4o)}},
    {"tekken", {PASS(tekken)}, .takes_whole_words = true, .adds_bos = true},
    {"seed-coder", {PASS(seed_coder)}},
    {"deepseek-llm",
     {PASS(line_end), PASS(white_cased), PASS(white_mark_ranges), PASS(white_tail), PASS(east),
      PASS(numbers)}},
    {"deepseek-coder",
     {PASS(line_end), PASS(white_letters), PASS(white_marks), PASS(east), PASS(number)}},
    {"deepseek-v3 hunyuan-dense joyai-llm",
     {PASS(numbers_to_3), PASS(kanji_kana), PASS(deepseek_v3)}},
};

static bool names_hold(const char *names, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = names; (at = strstr(at, name)); at += len)
        if ((at == names || at[-1] == ' ') && (at[len] == 0 || at[len] == ' '))
            return len > 0;
    return false;
}

const struct pretokenizer_spec *pretokenizer_find(const char *name)
{
    if (!*name || strchr(name, ' '))
        return NULL;
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        if (names_hold(specs[i].names, name))
            return &specs[i];
    return NULL;
}
