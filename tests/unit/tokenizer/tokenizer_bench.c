/* SPDX-License-Identifier: MIT */
/* tokenizer-bench VOCABULARY [FILE...]: speed of encoding in processor time, so that a busy machine
 * tells the same, on the files and on a few texts that are hard on purpose. VOCABULARY as in
 * ggml-vocab-NAME.gguf. */
#include "harness.h"
#include "tokenizer/detokenizer.h"
#include "vocab_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5, HARD_BYTES = 1 << 20 };

static uint64_t cpu_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void measure(const struct tokenizer *t, const char *name, const char *text, size_t len)
{
    uint64_t best = UINT64_MAX;
    size_t n_tokens = 0;

    for (int i = 0; i < ROUNDS; i++) {
        struct token_array ids = {0};
        struct error err = {0};
        uint64_t start = cpu_now_ns(), took;

        if (tokenizer_encode(t, text, len, TOKENIZE_ANY_BYTES, &ids, &err) < 0) {
            printf("%-24s %s\n", name, err.text);
            return;
        }
        took = cpu_now_ns() - start;
        if (took < best)
            best = took;
        n_tokens = ids.n;
        token_array_finish(&ids);
    }
    printf("%-24s %9zu bytes %9zu tokens %8.1f ms %8.2f MB/s\n", name, len, n_tokens,
           (double)best / 1e6, (double)len * 1e3 / (double)best);
}

static void fill(char *text, const char *unit)
{
    size_t len = strlen(unit);

    for (size_t i = 0; i < HARD_BYTES; i++)
        text[i] = unit[i % len];
}

static void measure_hard(const struct tokenizer *t)
{
    static const char *const units[] = {"a",  "ab", " ", "\n ", "9", "\xe4\xbd\xa0",
                                        "<|", "aA", "'"};
    char *text = malloc(HARD_BYTES);
    uint32_t random = 1;

    if (!text)
        return;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        char name[32];

        fill(text, units[i]);
        snprintf(name, sizeof(name), "1 MiB of \"%s\"", units[i][0] == '\n' ? "\\n " : units[i]);
        measure(t, name, text, HARD_BYTES);
    }
    for (size_t i = 0; i < HARD_BYTES; i++)
        text[i] = (char)('a' + ((random = random * 1664525 + 1013904223) >> 16) % 26);
    measure(t, "random letters", text, HARD_BYTES);
    for (size_t i = 0; i < HARD_BYTES; i++)
        text[i] = (char)((random = random * 1664525 + 1013904223) >> 24);
    measure(t, "random bytes", text, HARD_BYTES);
    free(text);
}

int main(int argc, char **argv)
{
    uint64_t start = cpu_now_ns();
    struct tokenizer *t = argc > 1 ? vocab_file_load(argv[1]) : NULL;

    if (!t) {
        fprintf(stderr, "usage: %s VOCABULARY [FILE...]\n", argv[0]);
        return 2;
    }
    printf("load %.1f ms\n", (double)(cpu_now_ns() - start) / 1e6);
    for (int i = 2; i < argc; i++) {
        size_t len;
        char *text = harness_read_file(argv[i], &len);
        const char *name = strrchr(argv[i], '/');

        if (text)
            measure(t, name ? name + 1 : argv[i], text, len);
        free(text);
    }
    measure_hard(t);
    tokenizer_destroy(t);
    return 0;
}
