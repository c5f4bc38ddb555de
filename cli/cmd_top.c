/* SPDX-License-Identifier: MIT */
/* `hearth top`: who uses the machine's models now. */
#include "app.h"
#include "command.h"
#include "conversation.h"
#include "fields.h"
#include "progress.h"

#include <getopt.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <termios.h>
#include <unistd.h>

static const char options[] = "  --once          one picture, then end\n"
                              "  --json          machine-readable; one line a picture\n"
                              "  --delay SECONDS between pictures (1)\n"
                              "  --socket PATH   the daemon's socket (HEARTH_SOCKET)\n";

enum {
    COLUMNS_DEFAULT = 80,
    ROWS_DEFAULT = 24,
    NAME_LEAST = 5,
    MODEL_WIDTH = 40,                                          /* of a model's own line */
    FIGURES_WIDTH = 8 + 1 + 7 + 1 + 1 + 1 + 8 + 6 + 6 + 6 + 6, /* of a session but its names */
};

struct top {
    struct client *client;
    bool is_once, is_json, is_terminal;
    double delay_seconds;
    json_t *before; /* the picture before, for what the device did since */
    int columns, rows_left;
    int app_width, model_width; /* of the columns */
    bool has_keys;              /* stdin is a terminal, which gives each key at once */
    struct termios keys_before;
};

static volatile sig_atomic_t is_interrupted;

static void on_signal(int signo)
{
    is_interrupted = signo;
}

static double seconds_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* ---- the picture ---- */

/* A line as wide as the terminal at most, with nothing in it that could steer it. */
static void print_line(struct top *t, char *line)
{
    if (t->is_terminal && t->rows_left <= 0)
        return;
    t->rows_left--;
    if (strlen(line) > (size_t)t->columns)
        line[t->columns] = 0;
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || (unsigned char)*c >= 0x80)
            *c = '?';
    printf("%s%s\n", line, t->is_terminal ? "\033[K" : "");
}

static const char *user_name(char *out, size_t size, const json_t *session)
{
    const struct passwd *user;

    if (!json_object_get(session, "uid")) {
        snprintf(out, size, "(tcp)");
        return out;
    }
    user = getpwuid((uid_t)number_of(session, "uid"));
    if (user)
        snprintf(out, size, "%s", user->pw_name);
    else
        snprintf(out, size, "%llu", (unsigned long long)number_of(session, "uid"));
    return out;
}

/* Adds what this machine says of the process: command and unit. */
static void add_app(json_t *session)
{
    struct app app;

    app_of_pid((pid_t)number_of(session, "pid"), &app);
    if (app.command[0])
        json_object_set_new(session, "command", json_string(app.command));
    if (app.unit[0])
        json_object_set_new(session, "unit", json_string(app.unit));
}

static const char *app_name(const json_t *session)
{
    const char *unit = text_of(session, "unit");

    return *unit ? unit : text_of(session, "command");
}

/* The columns of names get what the figures leave of a line: as much as they need, else as the
 * other one leaves, else half. */
static void fit_names(struct top *t, const json_t *sessions)
{
    int app = NAME_LEAST, model = NAME_LEAST, room = t->columns - FIGURES_WIDTH, half;
    size_t i;
    json_t *s;

    json_array_foreach(sessions, i, s)
    {
        app = MAX(app, (int)strlen(app_name(s)));
        model = MAX(model, (int)strlen(text_of(s, "model")));
    }
    room = MAX(room, 2 * NAME_LEAST);
    half = room / 2;
    if (app + model > room) {
        if (app <= half)
            model = room - app;
        else if (model <= half)
            app = room - model;
        else
            app = half, model = room - half;
    }
    t->app_width = app;
    t->model_width = model;
}

static void print_session(struct top *t, const json_t *s)
{
    bool is_background = strcmp(text_of(s, "class"), "background") == 0;
    char user[40], line[256];

    snprintf(line, sizeof(line), "%-8.8s %7llu %-*.*s %-*.*s %-7s%c%6llu%6llu%6.1f%6.0f",
             user_name(user, sizeof(user), s), (unsigned long long)number_of(s, "pid"),
             t->app_width, t->app_width, app_name(s), t->model_width, t->model_width,
             text_of(s, "model"), text_of(s, "state"), is_background ? 'b' : ' ',
             (unsigned long long)number_of(s, "prompt_tokens"),
             (unsigned long long)number_of(s, "completion_tokens"),
             seconds_of(s, "tokens_per_second"), seconds_of(s, "age_seconds"));
    print_line(t, line);
}

/* Seconds of the device a model took since the picture before; its whole time in the first. */
static double device_seconds(const struct top *t, const json_t *model)
{
    double seconds = seconds_of(model, "device_seconds");
    const json_t *it;
    size_t i;

    json_array_foreach(json_object_get(t->before, "models"), i, it)
    {
        if (strcmp(text_of(it, "name"), text_of(model, "name")) == 0 &&
            seconds_of(it, "device_seconds") <= seconds)
            return seconds - seconds_of(it, "device_seconds");
    }
    return seconds;
}

static void print_model(struct top *t, const json_t *picture, const json_t *m)
{
    double interval =
        seconds_of(picture, "uptime_seconds") - seconds_of(t->before, "uptime_seconds");
    double share = interval > 0 ? 100 * device_seconds(t, m) / interval : 0;
    char pool[FORMAT_BYTES_SIZE], used[FORMAT_BYTES_SIZE], kv[FORMAT_BYTES_SIZE];
    char figures[160], line[256];
    int width;

    snprintf(figures, sizeof(figures), "%llu run, %llu wait, device %.0f%%, %s, KV %s/%s%s",
             (unsigned long long)number_of(m, "running"),
             (unsigned long long)number_of(m, "waiting"), share < 100 ? share : 100,
             format_bytes(pool, number_of(m, "pool_bytes")),
             format_bytes(used, number_of(m, "kv_used_bytes")),
             format_bytes(kv, number_of(m, "kv_bytes")),
             json_is_true(json_object_get(m, "is_idle")) ? ", idle" : "");
    width = t->columns - (int)strlen(figures) - 1;
    width = MAX(NAME_LEAST, width < MODEL_WIDTH ? width : MODEL_WIDTH);
    snprintf(line, sizeof(line), "%-*.*s %s", width, width, text_of(m, "name"), figures);
    print_line(t, line);
}

static void print_picture(struct top *t, const json_t *picture)
{
    const json_t *it;
    char line[256];
    size_t i;

    snprintf(line, sizeof(line),
             "hearth: %llu running, %llu waiting, %.1f tokens/s, %llu connections, up %.0f s",
             (unsigned long long)number_of(picture, "running"),
             (unsigned long long)number_of(picture, "waiting"),
             seconds_of(picture, "tokens_per_second"),
             (unsigned long long)number_of(picture, "connections"),
             seconds_of(picture, "uptime_seconds"));
    print_line(t, line);
    json_array_foreach(json_object_get(picture, "models"), i, it) print_model(t, picture, it);
    print_line(t, strcpy(line, ""));
    fit_names(t, json_object_get(picture, "sessions"));
    snprintf(line, sizeof(line), "%-8s %7s %-*s %-*s %-8s%6s%6s%6s%6s", "USER", "PID", t->app_width,
             "APP", t->model_width, "MODEL", "STATE", "IN", "OUT", "T/S", "AGE");
    print_line(t, line);
    json_array_foreach(json_object_get(picture, "sessions"), i, it) print_session(t, it);
    if (number_of(picture, "sessions_of_others")) {
        snprintf(line, sizeof(line), "and %llu of other users",
                 (unsigned long long)number_of(picture, "sessions_of_others"));
        print_line(t, line);
    }
}

static void measure_terminal(struct top *t)
{
    struct winsize size = {0};

    t->columns = t->is_terminal ? COLUMNS_DEFAULT : 250;
    t->rows_left = ROWS_DEFAULT - 1;
    if (t->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col) {
        t->columns = size.ws_col;
        t->rows_left = size.ws_row - 1;
    }
}

static int show(struct top *t, struct error *err)
{
    json_t *picture = NULL, *it;
    size_t i;
    int r = client_call(t->client, "GET", "/hearth/v1/sessions", NULL, &picture, err);

    if (r < 0)
        return r;
    json_array_foreach(json_object_get(picture, "sessions"), i, it) add_app(it);
    measure_terminal(t);
    if (t->is_json) {
        json_dumpf(picture, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        if (t->is_terminal)
            fputs("\033[H", stdout);
        print_picture(t, picture);
        if (t->is_terminal)
            fputs("\033[J", stdout);
        else if (!t->is_once)
            putchar('\n');
    }
    fflush(stdout);
    json_decref(t->before);
    t->before = picture;
    return 0;
}

/* ---- the command ---- */

/* Keys come one by one and unseen, for q; Ctrl-C stays a signal. */
static void take_keys(struct top *t)
{
    struct termios keys;

    if (!t->is_terminal || tcgetattr(STDIN_FILENO, &t->keys_before) < 0)
        return;
    keys = t->keys_before;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    t->has_keys = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
}

static void give_keys_back(const struct top *t)
{
    if (t->has_keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &t->keys_before);
}

/* A key that was pressed; false: it is q, or nobody will press any more. */
static bool take_key(void)
{
    char key;

    return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q';
}

/* Waits for the next picture, which any key brings at once; false when it shall end: q, a signal,
 * or nobody reads any more. */
static bool wait_for_next(const struct top *t)
{
    struct pollfd fds[] = {{.fd = STDOUT_FILENO}, {.fd = STDIN_FILENO, .events = POLLIN}};
    int n;

    if (is_interrupted || ferror(stdout))
        return false;
    n = poll(fds, t->has_keys ? 2 : 1, (int)(t->delay_seconds * 1e3));
    return n == 0 || (n > 0 && !fds[0].revents && take_key());
}

static int loop(struct top *t, struct error *err)
{
    const struct sigaction act = {.sa_handler = on_signal};
    int r;

    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    take_keys(t);
    if (t->is_terminal)
        fputs("\033[?1049h\033[?25l", stdout); /* a screen of its own, without cursor */
    do
        r = show(t, err);
    while (r == 0 && wait_for_next(t));
    if (t->is_terminal)
        fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    give_keys_back(t);
    return is_interrupted ? 0 : r;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"once", no_argument, NULL, 'o'},         {"delay", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    struct top t = {.delay_seconds = 1};
    const char *socket = NULL;
    struct error err = {0};
    char *end;
    int c, r;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 's') {
            socket = optarg;
        } else if (c == 'j') {
            t.is_json = true;
        } else if (c == 'o') {
            t.is_once = true;
        } else if (c == 'd') {
            t.delay_seconds = strtod(optarg, &end);
            if (*end || !(t.delay_seconds >= 0.1 && t.delay_seconds <= 3600))
                return command_fail(EXIT_USAGE, "--delay takes seconds from 0.1 to 3600, not '%s'",
                                    optarg);
        } else {
            return command_usage(&command_top, options);
        }
    }
    if (optind != argc)
        return command_usage(&command_top, options);
    t.is_terminal = !t.is_once && !t.is_json && isatty(STDOUT_FILENO);
    r = client_create(socket, &t.client, &err);
    if (r < 0)
        return command_fail(EXIT_FAILED, "%s", err.text);
    r = t.is_once ? show(&t, &err) : loop(&t, &err);
    json_decref(t.before);
    client_destroy(t.client);
    return r < 0 ? command_fail(conversation_exit_code(r), "%s", err.text) : EXIT_OK;
}

const struct command command_top = {"top", "", "who uses the models now", run};
