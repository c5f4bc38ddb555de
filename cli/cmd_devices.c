/* SPDX-License-Identifier: MIT */
#include "command.h"

#include "device/device.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char options[] = "  --json          machine-readable\n";

static void print_device(const struct device_entry *e)
{
    printf("%-10s %s (%s)%s\n", e->config, e->name, e->kind, e->is_auto ? "  <- auto" : "");
    if (e->driver[0])
        printf("           driver   %s\n", e->driver);
    if (e->memory_bytes)
        printf("           memory   %.1f GiB\n", (double)e->memory_bytes / (1u << 30));
    if (e->abilities[0])
        printf("           can      %s\n", e->abilities);
    if (e->missing[0])
        printf("           lacks    %s\n", e->missing);
    printf("           %s  %s\n", e->is_auto ? "chosen " : "passed ", e->why);
}

static json_t *to_json(const struct device_entry *e)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:b, s:b, s:s}", "device", e->config,
                     "name", e->name, "driver", e->driver, "kind", e->kind, "memory_bytes",
                     (json_int_t)e->memory_bytes, "abilities", e->abilities, "missing", e->missing,
                     "is_usable", e->missing[0] == '\0', "is_auto", (int)e->is_auto, "why", e->why);
}

static void print(const struct device_entry *list, size_t n, const char *note, bool is_json)
{
    json_t *root;

    if (!is_json) {
        for (size_t i = 0; i < n; i++)
            print_device(&list[i]);
        if (note[0])
            printf("note       %s\n", note);
        return;
    }
    root = json_pack("{s:[], s:s}", "devices", "note", note);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(json_object_get(root, "devices"), to_json(&list[i]));
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct device_entry *list = NULL;
    struct error note = {0};
    bool is_json = false;
    size_t n = 0;
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c != 'j')
            return command_usage(&command_devices, options);
        is_json = true;
    }
    if (optind != argc)
        return command_usage(&command_devices, options);
    if (device_list(&list, &n, &note) < 0)
        return command_fail(EXIT_FAILED, "%s", note.text);
    print(list, n, note.text, is_json);
    free(list);
    return EXIT_OK;
}

const struct command command_devices = {
    "devices", "[--json]", "what this machine can compute on, and what auto takes", run};
