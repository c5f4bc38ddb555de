/* SPDX-License-Identifier: MIT */
#include "command.h"
#include "input.h"
#include "local_model.h"

#include "engine/vocabulary.h"
#include "tokenizer/detokenizer.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char options[] =
    "  --decode       ids on standard input -> text\n"
    "  --special      add the tokens the model begins and ends with, and\n"
    "                 read special tokens written in the text\n";

static int encode(const struct tokenizer *t, const struct strbuf *in, unsigned flags,
                  struct error *err)
{
    struct token_array ids = {0};
    int r = tokenizer_encode(t, in->data ? in->data : "", in->len, flags, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++)
        printf("%s%d", i ? " " : "", ids.ids[i]);
    if (r == 0)
        putchar('\n');
    token_array_finish(&ids);
    return r;
}

static int decode(const struct tokenizer *t, const struct strbuf *in, bool shows_control,
                  struct error *err)
{
    struct detokenizer d;
    struct strbuf text;
    uint32_t *ids;
    size_t n;
    int r = parse_tokens(in->data ? in->data : "", &ids, &n, err);

    if (r < 0)
        return r;
    strbuf_init(&text, 0);
    detokenizer_init(&d, t, -1, shows_control);
    for (size_t i = 0; i < n && r == 0; i++) {
        if (ids[i] >= tokenizer_n_tokens(t))
            r = error_set(err, EINVAL, "token %u is not in the vocabulary of %zu", ids[i],
                          tokenizer_n_tokens(t));
        detokenizer_add(&d, (int32_t)ids[i], &text);
    }
    detokenizer_flush(&d, &text);
    if (r == 0 && text.failed)
        r = error_set(err, ENOMEM, "out of memory");
    if (r == 0 && text.len)
        fwrite(text.data, 1, text.len, stdout);
    strbuf_finish(&text);
    free(ids);
    return r;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {
        {"decode", no_argument, NULL, 'd'},
        {"special", no_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    bool decodes = false, special = false;
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct strbuf in;
    struct error err = {0};
    int c, r;

    while ((c = getopt_long(argc, argv, "dsh", longs, NULL)) != -1) {
        if (c == 'd')
            decodes = true;
        else if (c == 's')
            special = true;
        else
            return command_usage(&command_tokenize, options);
    }
    if (argc - optind != 1)
        return command_usage(&command_tokenize, options);
    r = gguf_open(argv[optind], &g, &err);
    if (r == 0)
        r = vocabulary_open(g, 0, &t, &err);
    gguf_close(g);
    if (r < 0)
        return command_fail(EXIT_NO_MODEL, "%s", err.text);
    strbuf_init(&in, 0);
    r = input_read(&in, &err);
    if (r == 0)
        r = decodes
                ? decode(t, &in, special, &err)
                : encode(t, &in, special ? TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL : 0, &err);
    strbuf_finish(&in);
    tokenizer_destroy(t);
    if (r == 0 && fflush(stdout) != 0)
        r = error_set_errno(&err, errno, "standard output");
    return r < 0 ? command_fail(EXIT_FAILED, "%s", err.text) : EXIT_OK;
}

const struct command command_tokenize = {"tokenize", "FILE < TEXT",
                                         "text to token ids, or --decode back", run};
