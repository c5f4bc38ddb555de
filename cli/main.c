/* SPDX-License-Identifier: MIT */
#include "command.h"

#include "base/standard_fds.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command *const commands[] = {
    &command_run,      &command_chat,   &command_load,   &command_unload,  &command_ls,
    &command_ps,       &command_info,   &command_status, &command_top,     &command_forget,
    &command_tokenize, &command_logits, &command_bench,  &command_devices, &command_doctor,
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *to)
{
    fputs("usage: hearth COMMAND [ARGUMENTS]\n\n", to);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-9s %-28s %s\n", commands[i]->name, commands[i]->arguments,
                commands[i]->summary);
    fputs("\n`hearth COMMAND --help`, or `hearth help COMMAND`, tells a command's options.\n", to);
}

static bool is_help_asked; /* `hearth COMMAND --help`: an answer, not a complaint */

int command_usage(const struct command *c, const char *options)
{
    fprintf(is_help_asked ? stdout : stderr, "usage: hearth %s%s%s\n%s", c->name,
            *c->arguments ? " " : "", c->arguments, options);
    return is_help_asked ? EXIT_OK : EXIT_USAGE;
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

static bool is_help(const char *argument)
{
    return !strcmp(argument, "--help") || !strcmp(argument, "-h");
}

/* What was printed but could not be written is told, and makes a success a failure. */
static int finish_output(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return command_fail(code == EXIT_OK ? EXIT_FAILED : code, "standard output: %s",
                        strerror(errno));
}

/* Characters are those of UTF-8, whatever the locale: what is typed would else be cut to ASCII. */
static void use_utf8(void)
{
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
}

static int run_command(const char *name, int argc, char **argv)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i]->name))
            return finish_output(commands[i]->run(argc, argv));
    return command_fail(EXIT_USAGE, "there is no command \"%s\"; `hearth --help` lists them", name);
}

/* `hearth help COMMAND` is `hearth COMMAND --help`. */
static int help_of(char *name)
{
    char option[] = "--help", *args[] = {name, option, NULL};

    is_help_asked = true;
    return run_command(name, 2, args);
}

int main(int argc, char **argv)
{
    standard_fds_hold();
    use_utf8();
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (argc > 2 && !strcmp(argv[1], "help"))
        return help_of(argv[2]);
    if (is_help(argv[1]) || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return finish_output(EXIT_OK);
    }
    if (!strcmp(argv[1], "--version")) {
        puts("hearth " HEARTH_VERSION);
        return EXIT_OK;
    }
    is_help_asked = argc > 2 && is_help(argv[2]);
    return run_command(argv[1], argc - 1, argv + 1);
}
