/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct command *const commands[] = {
    &command_run, &command_chat,   &command_load,     &command_unload, &command_ls,
    &command_ps,  &command_status, &command_tokenize, &command_logits, &command_bench,
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *to)
{
    fputs("usage: hearth COMMAND [ARGUMENTS]\n\n", to);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-9s %-28s %s\n", commands[i]->name, commands[i]->arguments,
                commands[i]->summary);
    fputs("\n`hearth COMMAND --help` tells a command's options.\n", to);
}

int command_usage(const struct command *c, const char *options)
{
    fprintf(stderr, "usage: hearth %s %s\n%s", c->name, c->arguments, options);
    return EXIT_USAGE;
}

int command_fail(int code, const char *fmt, ...)
{
    va_list args;

    fputs("hearth: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("hearth " HEARTH_VERSION);
        return EXIT_OK;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(argv[1], commands[i]->name))
            return commands[i]->run(argc - 1, argv + 1);
    return command_fail(EXIT_USAGE, "there is no command \"%s\"; `hearth --help` lists them",
                        argv[1]);
}
