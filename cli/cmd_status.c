/* SPDX-License-Identifier: MIT */
#include "command.h"
#include "conversation.h"
#include "fields.h"
#include "progress.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char options[] = "  --json          machine-readable\n"
                              "  --socket PATH   the daemon's socket (HEARTH_SOCKET)\n";

static void print_model(const json_t *m)
{
    char weights[FORMAT_BYTES_SIZE], huge[FORMAT_BYTES_SIZE], kv[FORMAT_BYTES_SIZE];
    char copied[FORMAT_BYTES_SIZE], parameters[FORMAT_BYTES_SIZE], prefixes[FORMAT_BYTES_SIZE];
    unsigned long long copied_bytes = number_of(m, "device_copy_bytes");

    printf("model     %s: %s, %s, %s parameters%s\n", text_of(m, "name"),
           text_of(m, "architecture"), text_of(m, "type"),
           format_count(parameters, number_of(m, "parameters")),
           json_is_true(json_object_get(m, "is_pinned")) ? ", pinned" : "");
    printf("  weights %s in %s (%s in large pages), %s, in %.2f s\n",
           format_bytes(weights, number_of(m, "pool_bytes")), text_of(m, "pool"),
           format_bytes(huge, number_of(m, "huge_page_bytes")), text_of(m, "read"),
           json_number_value(json_object_get(m, "load_seconds")));
    if (json_is_true(json_object_get(m, "is_idle")))
        printf("  device  holds nothing of it: idle until the next request\n");
    else if (copied_bytes)
        printf("  device  holds a copy of %s\n", format_bytes(copied, copied_bytes));
    else
        printf("  device  maps them: no copy\n");
    printf("  cache   %s for contexts of %llu tokens; %s hold earlier requests' beginnings, %s\n",
           format_bytes(kv, number_of(m, "kv_bytes")),
           (unsigned long long)number_of(m, "context_tokens"),
           format_bytes(prefixes, number_of(m, "prefix_bytes")),
           json_is_true(json_object_get(m, "is_cache_kept")) ? "kept over a restart"
                                                             : "lost at a restart");
}

/* How much of the prompts was there already. */
static void print_hits(unsigned long long cached, unsigned long long computed)
{
    if (cached + computed)
        printf("prompts   %llu tokens, %.0f %% of them computed for an earlier request\n",
               cached + computed, 100.0 * (double)cached / (double)(cached + computed));
}

/* What caches have on disk, where they may. */
static void print_disk(const json_t *disk)
{
    char all[FORMAT_BYTES_SIZE], limit[FORMAT_BYTES_SIZE], own[FORMAT_BYTES_SIZE];

    if (!disk)
        return;
    if (!json_object_get(disk, "own_bytes")) {
        puts("disk      of conversations, is being looked through");
        return;
    }
    printf("disk      %s of conversations, at most %s; %s are yours (hearth forget)\n",
           format_bytes(all, number_of(disk, "bytes")),
           format_bytes(limit, number_of(disk, "limit_bytes")),
           format_bytes(own, number_of(disk, "own_bytes")));
    if (json_object_get(disk, "write_error"))
        printf("          nothing can be written there now: %s\n", text_of(disk, "write_error"));
}

static void print_loading(const json_t *m)
{
    uint64_t done_bytes = number_of(m, "loaded_bytes"), total_bytes = number_of(m, "file_bytes");
    double seconds = json_number_value(json_object_get(m, "load_seconds"));
    double rate = seconds > 0 ? (double)done_bytes / seconds : 0;
    char done[FORMAT_BYTES_SIZE], total[FORMAT_BYTES_SIZE], speed[FORMAT_BYTES_SIZE];

    printf("loading   %s: %s of %s", text_of(m, "name"), format_bytes(done, done_bytes),
           format_bytes(total, total_bytes));
    if (rate > 0 && done_bytes <= total_bytes)
        printf(", %s/s, %.0f s left", format_bytes(speed, (uint64_t)rate),
               (double)(total_bytes - done_bytes) / rate);
    putchar('\n');
}

static void print_status(const char *socket, const json_t *s)
{
    const json_t *models = json_object_get(s, "models"), *lacks = json_object_get(s, "lacks");
    char private[FORMAT_BYTES_SIZE];
    size_t i;
    json_t *it;

    printf("daemon    hearthd %s, pid %llu, up %.0f s, on %s (%s)\n", text_of(s, "version"),
           (unsigned long long)number_of(s, "pid"),
           json_number_value(json_object_get(s, "uptime_seconds")), socket, text_of(s, "loop"));
    printf("device    %s", text_of(s, "device"));
    if (number_of(s, "device_losses"))
        printf(", lost %llu time%s since the start",
               (unsigned long long)number_of(s, "device_losses"),
               number_of(s, "device_losses") == 1 ? "" : "s");
    if (number_of(s, "pipelines"))
        printf(", %llu pipelines", (unsigned long long)number_of(s, "pipelines"));
    if (json_object_get(s, "pipelines_compiled"))
        printf(", %llu compiled", (unsigned long long)number_of(s, "pipelines_compiled"));
    printf("\n");
    printf("weights   in %s\n", text_of(s, "weights_in"));
    printf("memory    %s private (weights and caches among it where no module holds them)\n",
           format_bytes(private, number_of(json_object_get(s, "memory"), "private_bytes")));
    printf("requests  %llu running, %llu waiting, %llu so far\n",
           (unsigned long long)number_of(s, "requests_running"),
           (unsigned long long)number_of(s, "requests_waiting"),
           (unsigned long long)number_of(s, "requests_total"));
    print_disk(json_object_get(s, "kv_disk"));
    print_hits(number_of(s, "cached_tokens_total"), number_of(s, "prompt_tokens_total"));
    json_array_foreach(models, i, it)
    {
        if (json_object_get(it, "architecture"))
            print_model(it);
        else if (!strcmp(text_of(it, "state"), "loading"))
            print_loading(it);
    }
    json_array_foreach(lacks, i, it) printf("note      %s\n", json_string_value(it));
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *socket = NULL;
    bool is_json = false;
    struct client *client;
    struct error err = {0};
    json_t *answer = NULL;
    int c, r;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 's')
            socket = optarg;
        else if (c == 'j')
            is_json = true;
        else
            return command_usage(&command_status, options);
    }
    if (optind != argc)
        return command_fail(EXIT_USAGE,
                            "status takes no \"%s\"; `hearth info MODEL` tells of a model",
                            argv[optind]);
    r = client_create(socket, &client, &err);
    if (r < 0)
        return command_fail(EXIT_FAILED, "%s", err.text);
    r = client_call(client, "GET", "/hearth/v1/status", NULL, &answer, &err);
    if (r == 0 && is_json) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (r == 0) {
        print_status(client_socket(client), answer);
    }
    json_decref(answer);
    client_destroy(client);
    return r < 0 ? command_fail(conversation_exit_code(r), "%s", err.text) : EXIT_OK;
}

const struct command command_status = {"status", "", "how the daemon does", run};
