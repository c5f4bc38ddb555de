/* SPDX-License-Identifier: MIT */
/* Real vocabularies against the vectors that come with them. */
#include "harness.h"
#include "rank_vocab.h"
#include "tokenizer/tokenizer.h"
#include "vocab_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char separator[] = "\n__ggml_vocab_test__\n";

static char *read_vectors(const char *name, const char *ending, size_t *ret_len)
{
    char path[256];
    char *data;

    snprintf(path, sizeof(path), "data/tokenizers/ggml-vocab-%s.gguf.%s", name, ending);
    data = harness_read_file(harness_shared(path), ret_len);
    if (!data)
        SKIP("no %s", path);
    return data;
}

/* Compares the ids of one text with a line of decimal numbers; returns whether they agree. */
static bool check_line(const struct tokenizer *t, const char *text, size_t len, const char *line,
                       int number)
{
    struct token_array ids = {0};
    struct error err = {0};
    const char *at = line;
    bool is_equal = true;
    size_t n = 0;

    if (tokenizer_encode(t, text, len, 0, &ids, &err) < 0)
        fail_msg("text %d: %s", number, err.text);
    for (;; n++) {
        char *end;
        long id = strtol(at, &end, 10);

        if (end == at)
            break;
        if (n >= ids.n || ids.ids[n] != id)
            is_equal = false;
        at = end;
    }
    if (n != ids.n)
        is_equal = false;
    if (!is_equal) {
        print_message("# text %d \"%.*s\"\n#   want%s\n#   got ", number, (int)len, text, line);
        for (size_t i = 0; i < ids.n; i++)
            print_message(" %d", ids.ids[i]);
        print_message("\n");
    }
    token_array_finish(&ids);
    return is_equal;
}

static void check_vectors(const struct tokenizer *t, const char *name)
{
    size_t in_len, out_len;
    char *in = read_vectors(name, "inp", &in_len), *out = read_vectors(name, "out", &out_len);
    char *text = in, *line = out, *next, *newline;
    int number = 0, n_wrong = 0;

    while ((next = memmem(text, in_len - (size_t)(text - in), separator, strlen(separator))) &&
           (newline = strchr(line, '\n'))) {
        *newline = 0;
        if (!check_line(t, text, (size_t)(next - text), line, ++number))
            n_wrong++;
        text = next + strlen(separator);
        line = newline + 1;
    }
    assert_true(number > 40);
    assert_int_equal(n_wrong, 0);
    free(in);
    free(out);
}

static void check_file(const char *name)
{
    struct tokenizer *t = vocab_file_load(name);

    if (!t)
        SKIP("no vocabulary file for %s", name);
    check_vectors(t, name);
    tokenizer_destroy(t);
}

static void check_ranks(const struct rank_file *file, const char *name)
{
    struct tokenizer *t = rank_vocab_load(file);

    if (!t)
        SKIP("no %s", file->path);
    check_vectors(t, name);
    tokenizer_destroy(t);
}

static void gpt_4o_gives_its_vectors(void **state)
{
    const struct rank_file file = {"data/tokenizers/raw/o200k_base.tiktoken", "gpt-4o",
                                   .n_ranks = 199998};

    check_ranks(&file, "gpt-4o");
}

static void llama4_gives_its_vectors(void **state)
{
    const struct rank_file file = {"data/tokenizers/raw/llama4.tiktoken", "llama4",
                                   .n_ranks = 200000};

    check_ranks(&file, "llama4");
}

static void tekken_gives_its_vectors(void **state)
{
    const struct rank_file file = {"data/tokenizers/raw/tekken-240718.compact.json", "tekken",
                                   .first_id = 1000, .n_ranks = 130072};

    check_ranks(&file, "tekken");
}

static void deepseek_v3_gives_its_vectors(void **state)
{
    const struct rank_file file = {"data/tokenizers/raw/deepseek_v3.tiktoken", "deepseek-v3",
                                   .n_control = 3, .n_ranks = 128000, .is_encoded = true};

    check_ranks(&file, "deepseek-v3");
}

/* Its vocabulary begins as qwen2's, and the vectors stay within that part. */
static void qwen35_gives_its_vectors(void **state)
{
    struct tokenizer *t = vocab_file_load_as("qwen2", "qwen35");

    if (!t)
        SKIP("no vocabulary file for qwen2");
    check_vectors(t, "qwen35");
    tokenizer_destroy(t);
}

#define VECTORS_OF(function, name)                                                                 \
    static void function(void **state)                                                             \
    {                                                                                              \
        check_file(name);                                                                          \
    }
VECTORS_OF(gpt_2_gives_its_vectors, "gpt-2")
VECTORS_OF(llama_bpe_gives_its_vectors, "llama-bpe")
VECTORS_OF(qwen2_gives_its_vectors, "qwen2")
VECTORS_OF(llama_spm_gives_its_vectors, "llama-spm")
VECTORS_OF(phi_3_gives_its_vectors, "phi-3")
VECTORS_OF(deepseek_llm_gives_its_vectors, "deepseek-llm")
VECTORS_OF(deepseek_coder_gives_its_vectors, "deepseek-coder")
VECTORS_OF(bert_bge_gives_its_vectors, "bert-bge")
VECTORS_OF(gemma_2_gives_its_vectors, "gemma-2")
VECTORS_OF(gemma_4_gives_its_vectors, "gemma-4")

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gpt_2_gives_its_vectors),
    cmocka_unit_test(llama_bpe_gives_its_vectors),
    cmocka_unit_test(qwen2_gives_its_vectors),
    cmocka_unit_test(llama_spm_gives_its_vectors),
    cmocka_unit_test(phi_3_gives_its_vectors),
    cmocka_unit_test(deepseek_llm_gives_its_vectors),
    cmocka_unit_test(deepseek_coder_gives_its_vectors),
    cmocka_unit_test(bert_bge_gives_its_vectors),
    cmocka_unit_test(gemma_2_gives_its_vectors),
    cmocka_unit_test(gemma_4_gives_its_vectors),
    cmocka_unit_test(gpt_4o_gives_its_vectors),
    cmocka_unit_test(llama4_gives_its_vectors),
    cmocka_unit_test(tekken_gives_its_vectors),
    cmocka_unit_test(deepseek_v3_gives_its_vectors),
    cmocka_unit_test(qwen35_gives_its_vectors),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
