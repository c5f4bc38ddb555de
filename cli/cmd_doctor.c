/* SPDX-License-Identifier: MIT */
#include "command.h"
#include "doctor.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

static const char options[] =
    "  --root DIR      look at a copy of another machine's /proc, /sys and /dev there\n"
    "  --json          machine-readable\n";

static const char *const verdicts[] = {
    [DOCTOR_GOOD] = "good", [DOCTOR_NOTE] = "note", [DOCTOR_FIX] = "fix"};

static void print_text(const struct doctor_finding *list, size_t n, size_t n_to_fix)
{
    for (size_t i = 0; i < n; i++) {
        const struct doctor_finding *f = &list[i];

        printf("%-4s  %-15s %s\n", verdicts[f->verdict], f->about, f->text);
        if (f->advice[0])
            printf("      %-15s -> %s\n", "", f->advice);
    }
    if (n_to_fix)
        printf("\n%zu to fix.\n", n_to_fix);
    else
        printf("\nNothing to fix.\n");
}

static void print_json(const struct doctor_finding *list, size_t n)
{
    json_t *findings = json_array(), *root;

    for (size_t i = 0; i < n; i++)
        json_array_append_new(findings, json_pack("{s:s, s:s, s:s, s:s}", "verdict",
                                                  verdicts[list[i].verdict], "about", list[i].about,
                                                  "text", list[i].text, "advice", list[i].advice));
    root = json_pack("{s:o}", "findings", findings);
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {
        {"root", required_argument, NULL, 'r'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct doctor_finding list[DOCTOR_FINDINGS_MOST];
    struct doctor_facts facts;
    const char *root = "";
    bool is_json = false;
    size_t n, n_to_fix = 0;
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'r')
            root = optarg;
        else if (c == 'j')
            is_json = true;
        else
            return command_usage(&command_doctor, options);
    }
    if (optind != argc)
        return command_usage(&command_doctor, options);
    doctor_look(root, &facts);
    if (!facts.memory_bytes)
        return command_fail(EXIT_FAILED, "%s/proc/meminfo cannot be read", root);
    n = doctor_judge(&facts, list);
    for (size_t i = 0; i < n; i++)
        n_to_fix += list[i].verdict == DOCTOR_FIX;
    if (is_json)
        print_json(list, n);
    else
        print_text(list, n, n_to_fix);
    return n_to_fix ? EXIT_FAILED : EXIT_OK;
}

const struct command command_doctor = {"doctor", "[OPTIONS]",
                                       "whether this machine is set up for large models", run};
