/* SPDX-License-Identifier: MIT */
#include "command.h"
#include "fields.h"
#include "local_model.h"
#include "model_fit.h"
#include "progress.h"

#include "base/number.h"
#include "engine/kv_size.h"
#include "engine/vocabulary.h"
#include "engine/weights.h"
#include "kernels/args.h"
#include "model/model_size.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char options[] =
    "  --context N     tokens of a conversation, as context in hearthd.conf(5)\n"
    "  --device NAME   auto, cpu, vulkan, vulkan:N\n"
    "  --kv-type TYPE  how keys and values are kept: f16, q8_0 (f16)\n"
    "  --json          machine-readable\n"
    "  --socket PATH   the daemon's socket (HEARTH_SOCKET); it need not run\n";

struct arguments {
    const char *model, *device, *socket;
    uint32_t context_tokens, kv_type;
    bool is_json;
};

static int parse_context(const char *text, uint32_t *ret_tokens)
{
    uint64_t n;

    if (number_parse(text, 10, false, INT32_MAX, &n) < 0 || !n)
        return -EINVAL;
    *ret_tokens = (uint32_t)n;
    return 0;
}

/* Fails without a sentence where the usage says it. */
static int parse(int argc, char **argv, struct arguments *a, struct error *err)
{
    static const struct option longs[] = {
        {"context", required_argument, NULL, 'c'},
        {"device", required_argument, NULL, 'd'},
        {"kv-type", required_argument, NULL, 'k'},
        {"json", no_argument, NULL, 'j'},
        {"socket", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c, r = 0;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'd')
            a->device = optarg;
        else if (c == 's')
            a->socket = optarg;
        else if (c == 'j')
            a->is_json = true;
        else if (c == 'k')
            r = parse_kv_type(optarg, &a->kv_type);
        else if (c == 'c')
            r = parse_context(optarg, &a->context_tokens);
        else
            return -EINVAL;
        if (r < 0)
            return error_set(err, EINVAL,
                             c == 'k' ? "--kv-type %s: it is f16 or q8_0"
                                      : "--context %s: it is a number of tokens from 1 on",
                             optarg);
    }
    if (argc - optind != 1)
        return -EINVAL;
    a->model = argv[optind];
    return 0;
}

/* A path that leads somewhere, else the path of the daemon's model of that name. */
static int find_file(const char *model, const struct daemon_models *daemon, char path[PATH_MAX],
                     struct error *err)
{
    const char *known = daemon_models_path(daemon, model);

    if (access(model, F_OK) < 0 && known)
        model = known;
    else if (access(model, F_OK) < 0)
        return error_set(err, ENOENT, "there is no file %s%s", model,
                         daemon->answer ? ", and the daemon knows no model of that name"
                                        : " (and no daemon answers that could know the name)");
    if (!realpath(model, path))
        return error_set_errno(err, errno, "%s", model);
    return 0;
}

/* ---- as JSON, from which the text is printed, too ---- */

static json_t *types_to_json(const struct model_size *size)
{
    json_t *types = json_array();

    for (int i = 0; i < GGUF_TYPE_LIMIT; i++)
        if (size->types[i].n_tensors)
            json_array_append_new(types,
                                  json_pack("{s:s, s:I, s:I, s:I}", "type", gguf_type_name(i),
                                            "n_tensors", (json_int_t)size->types[i].n_tensors,
                                            "parameters", (json_int_t)size->types[i].parameters,
                                            "bytes", (json_int_t)size->types[i].bytes));
    return types;
}

static json_t *fit_to_json(const struct model_fit *fit)
{
    json_t *contexts = json_array(), *o;

    for (size_t i = 0; i < fit->n_contexts; i++)
        json_array_append_new(
            contexts, json_pack("{s:I, s:I}", "context_tokens", (json_int_t)fit->contexts[i].tokens,
                                "n_sequences", (json_int_t)fit->contexts[i].n_sequences));
    o = json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "device", fit->device, "fits",
                  (int)fit->fits, "is_loaded", (int)fit->is_loaded, "context_tokens",
                  (json_int_t)fit->context_tokens, "cache_bytes", (json_int_t)fit->cache_bytes,
                  "need_bytes", (json_int_t)fit->need_host_bytes, "free_bytes",
                  (json_int_t)fit->free_host_bytes, "longest_context_tokens",
                  (json_int_t)fit->longest_tokens, "contexts", contexts);
    if (fit->free_device_bytes != UINT64_MAX) {
        json_object_set_new(o, "need_device_bytes",
                            json_integer((json_int_t)fit->need_device_bytes));
        json_object_set_new(o, "free_device_bytes",
                            json_integer((json_int_t)fit->free_device_bytes));
    }
    if (!fit->fits)
        json_object_set_new(o, "refusal", json_string(fit->refusal.text));
    return o;
}

static json_t *model_to_json(const char *path, const struct model *m, uint64_t file_bytes,
                             uint32_t kv_type)
{
    bool has_template = gguf_find(m->gguf, "tokenizer.chat_template") != NULL;
    struct model_size size;

    model_size_get(m, &size);
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "path",
        path, "architecture", m->arch->name, "type", model_type_name(m), "parameters",
        (json_int_t)m->parameters, "active_parameters", (json_int_t)size.active_parameters,
        "token_bytes", (json_int_t)size.token_bytes, "file_bytes", (json_int_t)file_bytes, "types",
        types_to_json(&size), "n_layers", (json_int_t)m->dims.dim[DIM_LAYERS], "n_vocab",
        (json_int_t)m->dims.dim[DIM_VOCAB], "context_trained_tokens",
        (json_int_t)m->dims.dim[DIM_CONTEXT], "kv_bytes_per_token",
        (json_int_t)model_kv_bytes_per_token(m, kv_type), "kv_window_bytes_per_token",
        (json_int_t)model_window_kv_bytes_per_token(m, kv_type), "window_tokens",
        (json_int_t)m->dims.dim[DIM_WINDOW], "state_bytes_per_sequence",
        (json_int_t)model_state_bytes(m), "has_chat_template", (int)has_template);
}

/* ---- as text ---- */

static void print_types(const json_t *types)
{
    char count[FORMAT_BYTES_SIZE], bytes[FORMAT_BYTES_SIZE];
    size_t i;
    json_t *t;

    json_array_foreach(types, i, t) printf(
        "  %-11s %s in %llu tensors, %s parameters\n", text_of(t, "type"),
        format_bytes(bytes, number_of(t, "bytes")), (unsigned long long)number_of(t, "n_tensors"),
        format_count(count, number_of(t, "parameters")));
}

static void print_model(const json_t *m)
{
    char count[FORMAT_BYTES_SIZE], active[FORMAT_BYTES_SIZE], bytes[FORMAT_BYTES_SIZE];

    printf("model         %s\n", text_of(m, "path"));
    printf("architecture  %s, %llu layers, %s\n", text_of(m, "architecture"),
           (unsigned long long)number_of(m, "n_layers"), text_of(m, "type"));
    printf("parameters    %s, %s active for a token\n",
           format_count(count, number_of(m, "parameters")),
           format_count(active, number_of(m, "active_parameters")));
    printf("a token reads %s of weights\n", format_bytes(bytes, number_of(m, "token_bytes")));
    printf("files         %s\n", format_bytes(bytes, number_of(m, "file_bytes")));
    print_types(json_object_get(m, "types"));
    printf("vocabulary    %llu tokens\n", (unsigned long long)number_of(m, "n_vocab"));
    printf("chat template %s\n", json_is_true(json_object_get(m, "has_chat_template"))
                                     ? "of the model"
                                     : "none in the file: ChatML is used");
    printf("context       %llu tokens at most\n",
           (unsigned long long)number_of(m, "context_trained_tokens"));
    printf("KV cache      %s a token", format_bytes(bytes, number_of(m, "kv_bytes_per_token")));
    if (number_of(m, "kv_window_bytes_per_token"))
        printf(", %s of it for the last %llu tokens alone",
               format_bytes(bytes, number_of(m, "kv_window_bytes_per_token")),
               (unsigned long long)number_of(m, "window_tokens"));
    printf("\n");
    if (number_of(m, "state_bytes_per_sequence"))
        printf("state         %s a conversation\n",
               format_bytes(bytes, number_of(m, "state_bytes_per_sequence")));
}

static void print_sum(const char *what, const json_t *fit, const char *need, const char *available)
{
    char a[FORMAT_BYTES_SIZE], b[FORMAT_BYTES_SIZE];

    if (json_object_get(fit, need))
        printf("%-13s %s needed, %s free\n", what, format_bytes(a, number_of(fit, need)),
               format_bytes(b, number_of(fit, available)));
}

static void print_fit(const json_t *fit)
{
    size_t i;
    json_t *c;

    printf("device        %s\n", text_of(fit, "device"));
    print_sum("memory", fit, "need_bytes", "free_bytes");
    print_sum("device memory", fit, "need_device_bytes", "free_device_bytes");
    if (json_is_true(json_object_get(fit, "is_loaded")))
        printf("fits          yes: the daemon has it in memory\n");
    else if (json_is_true(json_object_get(fit, "fits")))
        printf("fits          yes, with a context of %llu tokens\n",
               (unsigned long long)number_of(fit, "context_tokens"));
    else
        printf("fits          no: %s\n", text_of(fit, "refusal"));
    printf("longest       %llu tokens, one conversation alone\n",
           (unsigned long long)number_of(fit, "longest_context_tokens"));
    json_array_foreach(json_object_get(fit, "contexts"), i, c)
        printf("  %-11llu tokens of context: %llu at a time\n",
               (unsigned long long)number_of(c, "context_tokens"),
               (unsigned long long)number_of(c, "n_sequences"));
}

/* Returns an exit code; where err says nothing, all was told. */
static int tell(const struct arguments *a, const struct model *m, const char *path,
                const struct daemon_models *daemon, struct error *err)
{
    struct model_fit_question q = {m, path, 0, a->device, a->context_tokens, a->kv_type, daemon};
    struct model_fit fit;
    json_t *root;
    int r;

    for (size_t i = 0; i < gguf_n_files(m->gguf); i++)
        q.file_bytes += gguf_file(m->gguf, i)->size_bytes;
    if (kv_size_check_type(m, a->kv_type, err) < 0)
        return EXIT_USAGE;
    if (a->context_tokens > m->dims.dim[DIM_CONTEXT]) {
        error_set(err, EINVAL, "--context %u: the model has a context of %u tokens at most",
                  a->context_tokens, m->dims.dim[DIM_CONTEXT]);
        return EXIT_USAGE;
    }
    r = model_fit_judge(&q, &fit, err);
    if (r < 0) /* -EINVAL: no device is called so */
        return r == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
    root = model_to_json(path, m, q.file_bytes, a->kv_type);
    if (!root || json_object_set_new(root, "machine", fit_to_json(&fit)) < 0) {
        error_set(err, ENOMEM, "out of memory, or the model's path is not UTF-8");
        json_decref(root);
        return EXIT_FAILED;
    }
    if (a->is_json) {
        json_dumpf(root, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_model(root);
        print_fit(json_object_get(root, "machine"));
    }
    json_decref(root);
    return fit.fits ? EXIT_OK : EXIT_FAILED;
}

/* All that a load checks before it reads weights. */
static int open_model(const char *path, struct gguf **ret_g, struct model **ret_m,
                      struct error *err)
{
    struct tokenizer *t = NULL;
    int r = gguf_open(path, ret_g, err);

    if (r < 0)
        return r;
    r = model_create(*ret_g, ret_m, err);
    if (r == 0)
        r = model_cut(*ret_m, WEIGHTS_PIECE_BYTES, err);
    for (uint32_t i = 0; r == 0 && i < gguf_n_files(*ret_g); i++)
        r = weights_check(*ret_m, i, err);
    if (r == 0)
        r = vocabulary_open(*ret_g, (*ret_m)->dims.dim[DIM_VOCAB], &t, err);
    tokenizer_destroy(t);
    if (r < 0)
        error_prefix(err, "%s", path);
    return r;
}

static int run(int argc, char **argv)
{
    struct arguments a = {0};
    struct daemon_models daemon;
    struct error err = {0};
    struct gguf *g = NULL;
    struct model *m = NULL;
    char path[PATH_MAX];
    int code = EXIT_NO_MODEL;

    if (parse(argc, argv, &a, &err) < 0)
        return err.code ? command_fail(EXIT_USAGE, "%s", err.text)
                        : command_usage(&command_info, options);
    daemon_models_get(&daemon, a.socket);
    if (find_file(a.model, &daemon, path, &err) == 0 && open_model(path, &g, &m, &err) == 0)
        code = tell(&a, m, path, &daemon, &err);
    model_destroy(m);
    gguf_close(g);
    daemon_models_finish(&daemon);
    return err.code ? command_fail(code, "%s", err.text) : code;
}

const struct command command_info = {"info", "[OPTIONS] MODEL",
                                     "what a model is and whether it fits here", run};
