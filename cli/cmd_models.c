/* SPDX-License-Identifier: MIT */
/* The commands about models: load, unload, ls, ps. */
#include "command.h"
#include "conversation.h"
#include "fields.h"
#include "progress.h"

#include "gguf/gguf.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char unload_options[] =
    "  --force         whoever uses it (for root and the user the daemon runs as)\n"
    "  --socket PATH   the daemon's socket (HEARTH_SOCKET)\n";
static const char load_options[] =
    "  --pin           keep it when others lack memory, as long as may be\n"
    "  --socket PATH   the daemon's socket (HEARTH_SOCKET)\n";
static const char list_options[] = "  --json          machine-readable\n"
                                   "  --socket PATH   the daemon's socket (HEARTH_SOCKET)\n";

struct arguments {
    const char *socket, *model;
    bool is_json, pins, forces;
};

/* Parses the options these commands share and n_operands operands (0 or 1). */
static int parse(int argc, char **argv, int n_operands, struct arguments *a)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"pin", no_argument, NULL, 'p'},          {"force", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 's')
            a->socket = optarg;
        else if (c == 'j')
            a->is_json = true;
        else if (c == 'p')
            a->pins = true;
        else if (c == 'f')
            a->forces = true;
        else
            return -EINVAL;
    }
    if (argc - optind != n_operands)
        return -EINVAL;
    a->model = argv[optind];
    return 0;
}

static int run_load(int argc, char **argv)
{
    struct arguments a = {0};
    struct client *c;
    struct error err = {0};
    char resolved[PATH_MAX];
    int r;

    if (parse(argc, argv, 1, &a) < 0 || a.is_json || a.forces)
        return command_usage(&command_load, load_options);
    if (find_model(a.model, resolved, &a.model, &err) < 0)
        return command_fail(EXIT_NO_MODEL, "%s", err.text);
    r = client_create(a.socket, &c, &err);
    if (r == 0) {
        conversation_tell_waits(c);
        r = conversation_load(c, a.model, a.pins, &err);
        client_destroy(c);
    }
    return r < 0 ? command_fail(conversation_load_exit_code(r), "%s", err.text) : EXIT_OK;
}

static int run_unload(int argc, char **argv)
{
    struct arguments a = {0};
    struct client *c;
    struct error err = {0};
    char resolved[PATH_MAX];
    json_t *body;
    int r;

    if (parse(argc, argv, 1, &a) < 0 || a.is_json || a.pins)
        return command_usage(&command_unload, unload_options);
    /* a file that is no more may still be loaded */
    find_model(a.model, resolved, &a.model, NULL);
    r = client_create(a.socket, &c, &err);
    if (r == 0) {
        body = json_pack("{s:s, s:b}", "model", a.model, "force", (int)a.forces);
        r = body ? client_call(c, "POST", "/hearth/v1/unload", body, NULL, &err)
                 : error_set(&err, EINVAL, "the model's name is not UTF-8");
        json_decref(body);
        client_destroy(c);
    }
    return r < 0 ? command_fail(conversation_exit_code(r), "%s", err.text) : EXIT_OK;
}

/* ---- lists ---- */

/* Columns are as wide as their widest name. */
static int name_width(const json_t *models, bool only_loaded)
{
    int width = 5;
    size_t i;
    json_t *m;

    json_array_foreach(models, i, m) if (!only_loaded || strcmp(text_of(m, "state"), "available"))
        width = (int)strlen(text_of(m, "name")) > width ? (int)strlen(text_of(m, "name")) : width;
    return width;
}

/* Marks the files whose directories cannot be read: cut downloads, say. Only headers are read, and
 * only where this user may: the daemon tries them when they are loaded. */
static void find_damage(const json_t *models)
{
    size_t i;
    json_t *m;

    json_array_foreach(models, i, m)
    {
        struct error err = {0};
        struct gguf *g = NULL;
        int r;

        if (strcmp(text_of(m, "state"), "available") || access(text_of(m, "path"), R_OK) < 0)
            continue;
        r = gguf_open(text_of(m, "path"), &g, &err);
        if (r == -EINVAL || r == -ENOENT) /* the latter of a part of several */
            json_object_set_new(m, "damage", json_string(err.text));
        gguf_close(g);
    }
}

static const char *describe_file(const json_t *m, char *to, size_t size)
{
    if (!json_object_get(m, "damage"))
        return text_of(m, "state");
    snprintf(to, size, "damaged: run hearth info %s", text_of(m, "name"));
    return to;
}

/* Where files are to be put for there to be models. */
static void tell_no_models(const json_t *dirs)
{
    size_t i;
    json_t *dir;

    fputs("No models: put GGUF files (.gguf) ", stderr);
    json_array_foreach(dirs, i, dir)
        fprintf(stderr, "%s%s", i ? ", " : "into one of ", json_string_value(dir));
    if (!json_array_size(dirs))
        fputs("where hearthd looks for them", stderr);
    fputs(" (model-dir in hearthd.conf(5) names more).\n", stderr);
}

static void print_ls(const json_t *answer)
{
    const json_t *models = json_object_get(answer, "models");
    int width = name_width(models, false);
    char size[FORMAT_BYTES_SIZE], when[32], state[512];
    size_t i;
    json_t *m;

    if (!json_array_size(models))
        tell_no_models(json_object_get(answer, "model_dirs"));
    printf("%-*s  %10s  %-16s  %s\n", width, "MODEL", "SIZE", "MODIFIED", "STATE");
    json_array_foreach(models, i, m)
    {
        time_t t = (time_t)number_of(m, "modified_unix");
        struct tm tm;
        if (!localtime_r(&t, &tm) || !strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm))
            when[0] = 0;
        printf("%-*s  %10s  %-16s  %s\n", width, text_of(m, "name"),
               format_bytes(size, number_of(m, "file_bytes")), when,
               describe_file(m, state, sizeof(state)));
    }
}

/* "loading 42 %", "ready, pinned" */
static const char *describe_state(const json_t *m, char *to, size_t bytes)
{
    const char *state = json_is_true(json_object_get(m, "is_idle")) ? "idle" : text_of(m, "state");
    uint64_t total = number_of(m, "file_bytes");

    if (!strcmp(state, "loading") && total)
        snprintf(to, bytes, "%s %u %%", state,
                 (unsigned)(number_of(m, "loaded_bytes") * 100 / total));
    else
        snprintf(to, bytes, "%s%s", state,
                 json_is_true(json_object_get(m, "is_pinned")) ? ", pinned" : "");
    return to;
}

static void print_ps(const json_t *answer)
{
    const json_t *models = json_object_get(answer, "models");
    int width = name_width(models, true);
    char pool[FORMAT_BYTES_SIZE], used[FORMAT_BYTES_SIZE], kv[FORMAT_BYTES_SIZE];
    size_t i;
    json_t *m;

    printf("%-*s  %-13s  %-8s  %10s  %-24s  %-21s  %7s  %s\n", width, "MODEL", "STATE", "TYPE",
           "WEIGHTS", "MEMORY", "CACHE USED", "CONTEXT", "REQUESTS");
    json_array_foreach(models, i, m)
    {
        char cache[2 * FORMAT_BYTES_SIZE + 8], state[32];
        if (!strcmp(text_of(m, "state"), "available"))
            continue;
        snprintf(cache, sizeof(cache), "%s of %s",
                 format_bytes(used, number_of(m, "kv_used_bytes")),
                 format_bytes(kv, number_of(m, "kv_bytes")));
        printf("%-*s  %-13s  %-8s  %10s  %-24s  %-21s  %7llu  %llu running, %llu waiting\n", width,
               text_of(m, "name"), describe_state(m, state, sizeof(state)), text_of(m, "type"),
               format_bytes(pool, number_of(m, "pool_bytes")), text_of(m, "pool"), cache,
               (unsigned long long)number_of(m, "context_tokens"),
               (unsigned long long)number_of(m, "n_running"),
               (unsigned long long)number_of(m, "n_waiting"));
    }
}

/* Prints what is asked for from the list of models. */
static int list(int argc, char **argv, const struct command *command,
                void (*print)(const json_t *answer), bool only_loaded)
{
    struct arguments a = {0};
    struct client *c;
    struct error err = {0};
    json_t *answer = NULL, *models, *m;
    int r;

    if (parse(argc, argv, 0, &a) < 0 || a.pins || a.forces)
        return command_usage(command, list_options);
    r = client_create(a.socket, &c, &err);
    if (r == 0) {
        r = client_call(c, "GET", "/hearth/v1/models", NULL, &answer, &err);
        client_destroy(c);
    }
    if (r < 0)
        return command_fail(conversation_exit_code(r), "%s", err.text);
    models = json_object_get(answer, "models");
    if (!only_loaded)
        find_damage(models);
    if (a.is_json) {
        for (size_t i = json_array_size(models); only_loaded && i-- > 0;) {
            m = json_array_get(models, i);
            if (!strcmp(text_of(m, "state"), "available"))
                json_array_remove(models, i);
        }
        json_dumpf(models, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print(answer);
    }
    json_decref(answer);
    return EXIT_OK;
}

static int run_ls(int argc, char **argv)
{
    return list(argc, argv, &command_ls, print_ls, false);
}

static int run_ps(int argc, char **argv)
{
    return list(argc, argv, &command_ps, print_ps, true);
}

const struct command command_load = {"load", "[--pin] MODEL", "load a model into memory", run_load};
const struct command command_unload = {"unload", "[--force] MODEL", "let go of a model",
                                       run_unload};
const struct command command_ls = {"ls", "", "the models there are", run_ls};
const struct command command_ps = {"ps", "", "the models that are loaded", run_ps};
