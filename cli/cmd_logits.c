/* SPDX-License-Identifier: MIT */
#include "command.h"
#include "local_model.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char options[] =
    "  --tokens LIST   token ids: 1,2,3 or @FILE\n"
    "  --out OUT       where the logits go: float32, little-endian, n_tokens x n_vocab, row i is\n"
    "                  the prediction after token i\n"
    "  --device NAME   cpu, cpu:THREADS (default: the best there is)\n"
    "  --vector        of an embedding model: its vector of the list instead, n_embd values\n"
    "  --kv-type TYPE  how keys and values are kept: f16, q8_0 (f16)\n"
    "  --full-barriers debug: a barrier before every kernel; the result must be the same\n";

enum { TOKENS_MOST = 1 << 24 };

struct arguments {
    const char *path, *tokens, *out, *device;
    uint32_t kv_type;
    bool full_barriers, wants_vector;
};

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option longs[] = {
        {"tokens", required_argument, NULL, 't'}, {"out", required_argument, NULL, 'o'},
        {"device", required_argument, NULL, 'd'}, {"full-barriers", no_argument, NULL, 'b'},
        {"vector", no_argument, NULL, 'v'},       {"kv-type", required_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "t:o:d:h", longs, NULL)) != -1) {
        switch (c) {
        case 't':
            a->tokens = optarg;
            break;
        case 'o':
            a->out = optarg;
            break;
        case 'd':
            a->device = optarg;
            break;
        case 'k':
            if (parse_kv_type(optarg, &a->kv_type) < 0)
                return -EINVAL;
            break;
        case 'b':
            a->full_barriers = true;
            break;
        case 'v':
            a->wants_vector = true;
            break;
        default:
            return -EINVAL;
        }
    }
    if (argc - optind != 1 || !a->tokens || !a->out)
        return -EINVAL;
    a->path = argv[optind];
    return 0;
}

/* A device or a pipe is written to, not replaced. */
static bool is_special(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

static int write_special(const char *path, const float *data, size_t n, struct error *err)
{
    FILE *f = fopen(path, "wb");
    bool ok;

    if (!f)
        return error_set_errno(err, errno, "%s", path);
    ok = fwrite(data, sizeof(*data), n, f) == n;
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : error_set_errno(err, errno, "%s", path);
}

/* Writes to a file beside the target and renames it, so that no half-written result is left. */
static int write_file(const char *path, const float *data, size_t n, struct error *err)
{
    char *temporary;
    FILE *f;
    bool ok;

    if (!strcmp(path, "/dev/stdout") || !strcmp(path, "-"))
        return fwrite(data, sizeof(*data), n, stdout) == n && fflush(stdout) == 0
                   ? 0
                   : error_set_errno(err, errno, "standard output");
    if (is_special(path))
        return write_special(path, data, n, err);
    if (asprintf(&temporary, "%s.part", path) < 0)
        return error_set(err, ENOMEM, "out of memory");
    f = fopen(temporary, "wb");
    if (!f) {
        int r = error_set_errno(err, errno, "%s", temporary);
        free(temporary);
        return r;
    }
    ok = fwrite(data, sizeof(*data), n, f) == n;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(temporary, path) < 0) {
        int r = error_set_errno(err, errno, "%s", path);
        unlink(temporary);
        free(temporary);
        return r;
    }
    free(temporary);
    return 0;
}

static int evaluate(const struct arguments *a, struct local_model *m, const uint32_t *tokens,
                    size_t n, struct error *err)
{
    struct session *s = NULL;
    const uint32_t *dim = m->lm->model->dims.dim;
    size_t n_rows = a->wants_vector ? 1 : n, n_cols = dim[a->wants_vector ? DIM_EMBD : DIM_VOCAB];
    float *values = calloc(n_rows, n_cols * sizeof(float));
    int r = values ? runner_session_create(m->runner, &s, err)
                   : error_set(err, ENOMEM, "no memory for %zu x %zu values", n_rows, n_cols);

    if (r == 0 && a->wants_vector)
        r = runner_vector(m->runner, s, tokens, (uint32_t)n, values, err);
    else if (r == 0)
        r = runner_logits(m->runner, s, tokens, (uint32_t)n, values, err);
    if (r == 0)
        r = write_file(a->out, values, n_rows * n_cols, err);
    session_destroy(s);
    free(values);
    return r;
}

static int run(int argc, char **argv)
{
    struct arguments a = {0};
    struct local_model m;
    struct error err = {0};
    uint32_t *tokens = NULL;
    size_t n = 0;
    int r;

    if (parse(argc, argv, &a) < 0)
        return command_usage(&command_logits, options);
    if (parse_tokens(a.tokens, &tokens, &n, &err) < 0)
        return command_fail(EXIT_USAGE, "%s", err.text);
    if (n > TOKENS_MOST) {
        free(tokens);
        return command_fail(EXIT_USAGE, "%zu tokens are too many", n);
    }
    /* a cache for these tokens, not for the longest context the model can have */
    r = local_model_open(&m,
                         &(struct local_model_config){.path = a.path,
                                                      .device = a.device,
                                                      .kv_type = a.kv_type,
                                                      .context_tokens = (uint32_t)n,
                                                      .full_barriers = a.full_barriers},
                         &err);
    if (r < 0) {
        int code = local_model_exit_code(&m, r);

        local_model_close(&m);
        free(tokens);
        return command_fail(code, "%s", err.text);
    }
    r = evaluate(&a, &m, tokens, n, &err);
    local_model_close(&m);
    free(tokens);
    if (r < 0) /* -EINVAL: a token that the model does not have */
        return command_fail(r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, "%s", err.text);
    return EXIT_OK;
}

const struct command command_logits = {"logits", "FILE --tokens LIST --out OUT",
                                       "write the logits of a token list", run};
