/* SPDX-License-Identifier: MIT */
/* The vectors of the models' original tokenizers, where their vocabulary is at hand. */
#include "base/strbuf.h"
#include "harness.h"
#include "rank_vocab.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/vocab.h"
#include "vocab_file.h"

#include <jansson.h>
#include <string.h>

static json_t *load_cases(const char *file, const char *model)
{
    char path[256];
    json_t *root, *cases;

    snprintf(path, sizeof(path), "data/vectors/hf-tokenizers/%s.json", file);
    if (!harness_shared(path))
        SKIP("no %s", path);
    root = json_load_file(harness_shared(path), JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    cases = json_incref(json_object_get(json_object_get(root, "config"), model));
    json_decref(root);
    assert_non_null(cases);
    return cases;
}

static bool ids_agree(const struct token_array *got, const json_t *want)
{
    if (json_array_size(want) != got->n)
        return false;
    for (size_t i = 0; i < got->n; i++)
        if (json_integer_value(json_array_get(want, i)) != got->ids[i])
            return false;
    return true;
}

/* Whether the pieces are those named, in byte-level BPE's alphabet: for vocabularies that give
 * other numbers to the same tokens. */
static bool pieces_agree(const struct tokenizer *t, const struct token_array *got,
                         const json_t *want)
{
    if (json_array_size(want) != got->n)
        return false;
    for (size_t i = 0; i < got->n; i++) {
        const json_t *name = json_array_get(want, i);
        char text[512];
        size_t len, piece_len;
        const char *piece = tokenizer_piece(t, got->ids[i], &piece_len);

        assert_true(json_string_length(name) < sizeof(text));
        len =
            vocab_decode(VOCAB_BYTE_LEVEL, json_string_value(name), json_string_length(name), text);
        if (len != piece_len || memcmp(text, piece, len) != 0)
            return false;
    }
    return true;
}

static bool decodes_to(const struct tokenizer *t, const struct token_array *ids, const json_t *want)
{
    struct detokenizer d;
    struct strbuf out;
    bool is_equal;

    strbuf_init(&out, 0);
    detokenizer_init(&d, t, -1, true);
    for (size_t i = 0; i < ids->n; i++)
        detokenizer_add(&d, ids->ids[i], &out);
    detokenizer_flush(&d, &out);
    is_equal = out.len == json_string_length(want) &&
               (!out.len || memcmp(out.data, json_string_value(want), out.len) == 0);
    strbuf_finish(&out);
    return is_equal;
}

/* not_back: the case whose text the original does not give back (it drops spaces before
 * punctuation, we do not), or NULL. */
static void check_cases(struct tokenizer *t, const char *file, const char *model, unsigned flags,
                        bool decode, const char *not_back)
{
    json_t *cases, *one;
    const char *name;
    int n_wrong = 0, n = 0;

    if (!t)
        SKIP("no vocabulary for %s", model);
    cases = load_cases(file, model);
    json_object_foreach(cases, name, one)
    {
        const json_t *text = json_object_get(one, "text");
        struct token_array ids = {0};

        if (json_object_get(one, "text_pair"))
            continue;
        assert_int_equal(tokenizer_encode(t, json_string_value(text), json_string_length(text),
                                          flags | TOKENIZE_PARSE_SPECIAL, &ids, NULL),
                         0);
        n++;
        if (!ids_agree(&ids, json_object_get(one, "ids")) ||
            (decode && !(not_back && strcmp(name, not_back) == 0) &&
             !decodes_to(t, &ids, json_object_get(one, "decoded")))) {
            print_message("# %s %s: %s\n#   got", model, name, json_string_value(text));
            for (size_t i = 0; i < ids.n; i++)
                print_message(" %d", ids.ids[i]);
            print_message("\n");
            n_wrong++;
        }
        token_array_finish(&ids);
    }
    json_decref(cases);
    tokenizer_destroy(t);
    assert_int_equal(n_wrong, 0);
    assert_true(n > 3);
}

static void qwen2_agrees(void **state)
{
    check_cases(vocab_file_load("qwen2"), "qwen2", "Xenova/Qwen1.5-0.5B-Chat", 0, true, NULL);
}

static void gpt2_agrees(void **state)
{
    check_cases(vocab_file_load("gpt-2"), "gpt2", "openai-community/gpt2", 0, true, "PUNCTUATION");
}

static void gpt2s_other_copy_agrees(void **state)
{
    check_cases(vocab_file_load("gpt-2"), "gpt2", "Xenova/gpt2", 0, true, "PUNCTUATION");
}

/* Falcon RW has GPT-2's vocabulary. */
static void falcon_rw_agrees(void **state)
{
    check_cases(vocab_file_load("gpt-2"), "falcon", "tiiuae/falcon-rw-1b", 0, true, "PUNCTUATION");
}

/* Llama 3's vocabulary begins with GPT-4's. */
static void gpt_4_agrees(void **state)
{
    check_cases(vocab_file_load_first("llama-bpe", 100256), "gpt2", "Xenova/gpt-4", 0, true, NULL);
}

static void gpt_4o_agrees(void **state)
{
    const struct rank_file file = {"data/tokenizers/raw/o200k_base.tiktoken", "gpt-4o",
                                   .n_ranks = 199998};

    check_cases(rank_vocab_load(&file), "gpt2", "Xenova/gpt-4o", 0, true, NULL);
}

static void llama3_agrees(void **state)
{
    check_cases(vocab_file_load("llama-bpe"), "llama", "Xenova/llama3-tokenizer-new",
                TOKENIZE_ADD_SPECIAL, true, "PUNCTUATION");
}

static void llama3_agrees_without_its_beginning(void **state)
{
    check_cases(vocab_file_load("llama-bpe"), "llama", "Xenova/llama3-tokenizer", 0, true,
                "PUNCTUATION");
}

static void llama_spm_agrees(void **state)
{
    check_cases(vocab_file_load("llama-spm"), "llama", "Xenova/llama-tokenizer",
                TOKENIZE_ADD_SPECIAL, false, NULL);
}

static void deepseek_coder_agrees(void **state)
{
    check_cases(vocab_file_load("deepseek-coder"), "llama", "Xenova/deepseek-coder-1.3b-instruct",
                TOKENIZE_ADD_SPECIAL, true, NULL);
}

static void bert_agrees(void **state)
{
    check_cases(vocab_file_load("bert-bge"), "bert", "Xenova/bert-base-uncased",
                TOKENIZE_ADD_SPECIAL, false, NULL);
}

static void distilbert_agrees(void **state)
{
    check_cases(vocab_file_load("bert-bge"), "distilbert",
                "Xenova/distilbert-base-uncased-finetuned-sst-2-english", TOKENIZE_ADD_SPECIAL,
                false, NULL);
}

/* Cases of a vocabulary that holds another one: its ids come `shift` later, and each text stands
 * between so many marks of its own. Texts that hold `marks`, which the other does not know, are
 * left out. */
static void check_cases_within(const char *vocab, const char *family, const char *model, int shift,
                               size_t n_before, size_t n_behind, const char *marks)
{
    struct tokenizer *t = vocab_file_load(vocab);
    json_t *cases, *one;
    const char *name;
    int n = 0;

    if (!t)
        SKIP("no vocabulary for %s", vocab);
    cases = load_cases(family, model);
    json_object_foreach(cases, name, one)
    {
        const json_t *text = json_object_get(one, "text"), *want = json_object_get(one, "ids");
        struct token_array ids = {0};

        if (marks && strstr(json_string_value(text), marks))
            continue;
        assert_int_equal(
            tokenizer_encode(t, json_string_value(text), json_string_length(text), 0, &ids, NULL),
            0);
        assert_int_equal(ids.n + n_before + n_behind, json_array_size(want));
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(ids.ids[i] + shift,
                             json_integer_value(json_array_get(want, i + n_before)));
        token_array_finish(&ids);
        n++;
    }
    json_decref(cases);
    tokenizer_destroy(t);
    assert_true(n > 20);
}

/* MPNet's vocabulary is BERT's behind four tokens of its own. */
static void mpnet_agrees_by_number(void **state)
{
    check_cases_within("bert-bge", "mpnet", "Xenova/all-mpnet-base-v2", 4, 1, 1, NULL);
}

/* Whisper's English vocabulary is GPT-2's; its texts stand between marks of its own: two before,
 * one behind. */
static void whisper_in_english_agrees(void **state)
{
    check_cases_within("gpt-2", "whisper", "onnx-community/whisper-tiny.en", 0, 2, 1, "<|");
}

/* RoBERTa's tokens are GPT-2's under other numbers. */
static void roberta_agrees_in_pieces(void **state)
{
    struct tokenizer *t = vocab_file_load("gpt-2");
    json_t *cases, *one;
    const char *name;
    int n = 0;

    if (!t)
        SKIP("no vocabulary for gpt-2");
    cases = load_cases("roberta", "Xenova/all-distilroberta-v1");
    json_object_foreach(cases, name, one)
    {
        const json_t *text = json_object_get(one, "text");
        struct token_array ids = {0};

        assert_int_equal(
            tokenizer_encode(t, json_string_value(text), json_string_length(text), 0, &ids, NULL),
            0);
        if (!pieces_agree(t, &ids, json_object_get(one, "tokens")))
            fail_msg("%s", name);
        token_array_finish(&ids);
        n++;
    }
    json_decref(cases);
    tokenizer_destroy(t);
    assert_true(n > 10);
}

/* Vocabularies that are not with the shared data: see vocab_file_load. */
static void gemma_agrees(void **state)
{
    check_cases(vocab_file_load("gemma-2"), "gemma", "Xenova/gemma2-tokenizer",
                TOKENIZE_ADD_SPECIAL, true, NULL);
}

static void t5_agrees(void **state)
{
    check_cases(vocab_file_load("t5"), "t5", "google-t5/t5-small", TOKENIZE_ADD_SPECIAL, false,
                NULL);
}

static void xlm_roberta_agrees(void **state)
{
    check_cases(vocab_file_load("xlm-roberta"), "xlm_roberta", "Xenova/bge-reranker-base",
                TOKENIZE_ADD_SPECIAL, false, NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(qwen2_agrees),
    cmocka_unit_test(gpt2_agrees),
    cmocka_unit_test(gpt2s_other_copy_agrees),
    cmocka_unit_test(falcon_rw_agrees),
    cmocka_unit_test(gpt_4_agrees),
    cmocka_unit_test(gpt_4o_agrees),
    cmocka_unit_test(llama3_agrees_without_its_beginning),
    cmocka_unit_test(llama3_agrees),
    cmocka_unit_test(llama_spm_agrees),
    cmocka_unit_test(deepseek_coder_agrees),
    cmocka_unit_test(bert_agrees),
    cmocka_unit_test(distilbert_agrees),
    cmocka_unit_test(mpnet_agrees_by_number),
    cmocka_unit_test(whisper_in_english_agrees),
    cmocka_unit_test(roberta_agrees_in_pieces),
    cmocka_unit_test(gemma_agrees),
    cmocka_unit_test(t5_agrees),
    cmocka_unit_test(xlm_roberta_agrees),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
