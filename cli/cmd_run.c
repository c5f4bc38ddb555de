/* SPDX-License-Identifier: MIT */
#include "command.h"
#include "conversation.h"
#include "input.h"

#include "base/strbuf.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool begins_with(const char *s, const char *with)
{
    return !strncmp(s, with, strlen(with));
}

/* A name is the daemon's business; a path that leads somewhere here must not depend on where the
 * daemon was started. */
int find_model(const char *model, char resolved[], const char **ret_model, struct error *err)
{
    size_t n = strlen(model);
    bool has_slash = strchr(model, '/'), has_ending = n > 5 && !strcmp(model + n - 5, ".gguf");
    bool is_path = begins_with(model, "/") || begins_with(model, "./") ||
                   begins_with(model, "../") || (has_slash && has_ending);

    *ret_model = model;
    if (!has_slash && !has_ending)
        return 0;
    if (realpath(model, resolved))
        *ret_model = resolved;
    else if (is_path && errno != EACCES) /* where this user may not look the daemon may */
        return error_set_errno(err, errno, "%s", model);
    return 0;
}

/* The words of the command line, or standard input where there are none or "-". */
static int read_prompt(int n, char **words, struct strbuf *prompt, struct error *err)
{
    int r;

    if (n && strcmp(words[0], "-")) {
        for (int i = 0; i < n; i++)
            strbuf_printf(prompt, "%s%s", i ? " " : "", words[i]);
        return 0;
    }
    r = input_read(prompt, err);
    while (prompt->len && prompt->data[prompt->len - 1] == '\n')
        prompt->data[--prompt->len] = 0;
    return r;
}

/* Returns an exit code; err says why it is not 0. */
static int answer(const struct answer_options *o, const char *prompt, struct error *err)
{
    struct client *c;
    struct answer_stats stats;
    json_t *messages;
    char *text = NULL;
    int r = client_create(o->socket, &c, err), code;

    if (r < 0)
        return EXIT_FAILED;
    conversation_tell_waits(c);
    r = conversation_load(c, o->model, false, err);
    code = conversation_load_exit_code(r);
    if (r == 0) {
        messages = json_pack("[o]", conversation_message("user", prompt));
        r = conversation_ask(c, o, messages, &text, &stats, err);
        json_decref(messages);
        free(text);
        if (r == 0 && o->shows_stats)
            conversation_print_stats(&stats);
        code = conversation_exit_code(r);
    }
    client_destroy(c);
    return code;
}

static int run(int argc, char **argv)
{
    struct answer_options o = {0};
    struct error err = {0};
    struct strbuf prompt;
    char resolved[PATH_MAX];
    int c, code;

    while ((c = getopt_long(argc, argv, "h", answer_long_options, NULL)) != -1)
        if (!answer_option(&o, c, optarg))
            return command_usage(&command_run, answer_options_help);
    if (optind >= argc || !answer_options_check(&o))
        return command_usage(&command_run, answer_options_help);
    strbuf_init(&prompt, 0);
    if (find_model(argv[optind++], resolved, &o.model, &err) < 0) {
        code = EXIT_NO_MODEL;
    } else if (read_prompt(argc - optind, argv + optind, &prompt, &err) < 0) {
        code = EXIT_FAILED;
    } else if (!prompt.len) {
        error_set(&err, EINVAL,
                  "the prompt is empty: give it after the model, or on standard input");
        code = EXIT_USAGE;
    } else {
        code = answer(&o, prompt.data, &err);
    }
    strbuf_finish(&prompt);
    return code == EXIT_OK ? code : command_fail(code, "%s", err.text);
}

const struct command command_run = {"run", "[OPTIONS] MODEL PROMPT...",
                                    "ask one question and print the answer", run};
