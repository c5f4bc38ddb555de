/* SPDX-License-Identifier: MIT */
/*
 * The commands of `hearth`. Each is a function that gets its own arguments (argv[0] is the
 * command's name) and returns an exit code.
 */
#ifndef HEARTH_CLI_COMMAND_H
#define HEARTH_CLI_COMMAND_H

#include "base/error.h"

/* Exit codes that scripts can rely on (man page, EXIT STATUS). */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,     /* the thing asked for could not be done */
    EXIT_USAGE = 2,      /* wrong arguments */
    EXIT_NO_SERVICE = 3, /* the daemon cannot be reached */
    EXIT_NO_MODEL = 4,   /* no such model, or it cannot be loaded */
    EXIT_INTERRUPTED = 130,
};

struct command {
    const char *name;
    const char *arguments; /* for usage: "MODEL PROMPT..." */
    const char *summary;
    int (*run)(int argc, char **argv);
};

extern const struct command command_bench, command_chat, command_devices, command_doctor,
    command_forget, command_info, command_load, command_logits, command_ls, command_ps, command_run,
    command_status, command_tokenize, command_top, command_unload;

/* Prints "usage: hearth NAME ARGUMENTS" and the option lines: to stdout with EXIT_OK where --help
 * stands behind the command's name, else to stderr with EXIT_USAGE. */
int command_usage(const struct command *c, const char *options);

/* *ret_model: the absolute path of a file given by a path (into resolved[PATH_MAX]), else what was
 * given, a name. -ENOENT: what can only be a path (/..., ./..., ../..., .../....gguf) leads to no
 * file. */
int find_model(const char *model, char resolved[], const char **ret_model, struct error *err);

/* Prints "hearth: SENTENCE" to stderr and returns code. */
int command_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
