/* SPDX-License-Identifier: MIT */
#include "command.h"
#include "conversation.h"

#include "base/clock.h"

#include <editline/readline.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RETURN_SECONDS = 60 };

static const char help[] = "  /clear   forget the conversation\n"
                           "  /stats   figures after each answer, or no more\n"
                           "  /help    this list\n"
                           "  /bye     leave (so does Ctrl-D); Ctrl-C stops an answer\n";

/* ---- history, kept private to the user ---- */

static bool history_path(char *out, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;

    if (state && *state)
        n = snprintf(out, size, "%s/hearth", state);
    else if (home && *home)
        n = snprintf(out, size, "%s/.local/state/hearth", home);
    else
        return false;
    if (n < 0 || (size_t)n + 20 > size)
        return false;
    for (char *p = out + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        mkdir(out, 0700);
        *p = '/';
    }
    mkdir(out, 0700);
    strcat(out, "/history");
    return true;
}

static void save_history(const char *path)
{
    mode_t old = umask(077);

    write_history(path);
    umask(old);
}

/* ---- the conversation ---- */

static volatile sig_atomic_t was_interrupted;

static void on_interrupt(int sig)
{
    was_interrupted = 1;
}

/* A line from a person. Ctrl-C gives up the line, not the chat. */
static char *edit_line(void)
{
    char *line;

    do {
        was_interrupted = 0;
        line = readline("> ");
        if (!line && was_interrupted)
            fputs("(Ctrl-D or /bye leaves)\n", stderr);
    } while (!line && was_interrupted);
    return line;
}

static char *next_line(bool is_terminal)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    if (is_terminal)
        return edit_line();
    n = getline(&line, &cap, stdin);
    if (n < 0) {
        free(line);
        return NULL;
    }
    if (n && line[n - 1] == '\n')
        line[n - 1] = 0;
    return line;
}

/* A line that begins with "/"; false: leave. */
static bool handle_command(const char *line, struct answer_options *o, json_t *messages)
{
    if (!strcmp(line, "/bye") || !strcmp(line, "/exit") || !strcmp(line, "/quit"))
        return false;
    if (!strcmp(line, "/clear")) {
        json_array_clear(messages);
        fputs("(forgotten)\n", stderr);
    } else if (!strcmp(line, "/stats")) {
        o->shows_stats = !o->shows_stats;
    } else {
        if (strcmp(line, "/help"))
            fprintf(stderr, "There is no command %s:\n", line);
        fputs(help, stderr);
    }
    return true;
}

static bool is_gone(int r)
{
    return r == -ENOTCONN || r == -ESHUTDOWN;
}

/* A daemon that is restarted is back soon: waits for it, and has it load the model again. */
static int wait_for_daemon(struct client *c, const char *model, struct error *err)
{
    const struct timespec pause = {.tv_nsec = 250000000};
    uint64_t end_ns = clock_now_ns() + RETURN_SECONDS * UINT64_C(1000000000);
    int r;

    fprintf(stderr,
            "(the daemon on %s has ended: the conversation goes on when it is back, within %d s; "
            "Ctrl-C gives up)\n",
            client_socket(c), RETURN_SECONDS);
    was_interrupted = 0;
    do {
        nanosleep(&pause, NULL);
        r = was_interrupted ? error_set(err, EINTR, "interrupted")
                            : conversation_load(c, model, false, err);
    } while (is_gone(r) && clock_now_ns() < end_ns);
    return r;
}

/* One question and its answer. What was said is kept here, so another daemon can go on with it. */
static int ask(struct client *c, const struct answer_options *o, const json_t *messages,
               char **ret_text, struct answer_stats *ret_stats, struct error *err)
{
    int r = conversation_ask(c, o, messages, ret_text, ret_stats, err);

    if (!is_gone(r))
        return r;
    r = wait_for_daemon(c, o->model, err);
    if (r < 0)
        return r;
    free(*ret_text);
    *ret_text = NULL; /* the next may fail before it sets it */
    return conversation_ask(c, o, messages, ret_text, ret_stats, err);
}

static int turn(struct client *c, const struct answer_options *o, json_t *messages,
                const char *line)
{
    struct answer_stats stats;
    struct error err = {0};
    char *text = NULL;
    int r;

    json_array_append_new(messages, conversation_message("user", line));
    r = ask(c, o, messages, &text, &stats, &err);
    if (r == 0 || (r == -EINTR && text && *text)) {
        json_array_append_new(messages, conversation_message("assistant", text ? text : ""));
        if (r == 0 && o->shows_stats)
            conversation_print_stats(&stats);
    } else {
        json_array_remove(messages, json_array_size(messages) - 1);
    }
    if (r == -EINTR)
        fputs("(stopped)\n", stderr);
    else if (r < 0)
        command_fail(EXIT_FAILED, "%s%s", err.text,
                     r == -EMSGSIZE && json_array_size(messages) ? "; /clear begins anew" : "");
    free(text);
    return is_gone(r) ? -ENOTCONN : 0;
}

static int converse(struct client *c, struct answer_options *o)
{
    struct sigaction sa = {.sa_handler = on_interrupt}, old;
    bool is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO), go_on = true;
    json_t *messages = json_array();
    char path[PATH_MAX];
    bool has_history = is_terminal && history_path(path, sizeof(path));
    char *line;
    int r = 0;

    if (has_history)
        read_history(path);
    if (is_terminal) {
        sigaction(SIGINT, &sa, &old); /* also between an answer and the next line */
        fputs("/help lists the commands.\n", stderr);
    }
    while (r == 0 && go_on && (line = next_line(is_terminal))) {
        if (line[0] == '/') {
            go_on = handle_command(line, o, messages);
        } else if (line[strspn(line, " \t")]) {
            if (is_terminal)
                add_history(line);
            if (has_history)
                save_history(path); /* now: a hang-up must not lose it */
            r = turn(c, o, messages, line);
            if (is_terminal) /* who looks on may start it, and ask again */
                r = 0;
        }
        free(line);
    }
    if (is_terminal)
        sigaction(SIGINT, &old, NULL);
    json_decref(messages);
    return r;
}

/* What went wrong in a conversation has been said already. */
static int end(struct client *c, int r)
{
    client_destroy(c);
    return conversation_exit_code(r);
}

static int run(int argc, char **argv)
{
    struct answer_options o = {0};
    struct client *client;
    struct error err = {0};
    char resolved[PATH_MAX];
    int c, r;

    while ((c = getopt_long(argc, argv, "h", answer_long_options, NULL)) != -1)
        if (!answer_option(&o, c, optarg))
            return command_usage(&command_chat, answer_options_help);
    if (argc - optind != 1 || !answer_options_check(&o))
        return command_usage(&command_chat, answer_options_help);
    r = find_model(argv[optind], resolved, &o.model, &err);
    if (r < 0)
        return command_fail(EXIT_NO_MODEL, "%s", err.text);
    r = client_create(o.socket, &client, &err);
    if (r == 0) {
        conversation_tell_waits(client);
        r = conversation_load(client, o.model, false, &err);
        if (r == 0)
            return end(client, converse(client, &o));
        client_destroy(client);
    }
    return command_fail(conversation_load_exit_code(r), "%s", err.text);
}

const struct command command_chat = {"chat", "[OPTIONS] MODEL", "talk to a model", run};
