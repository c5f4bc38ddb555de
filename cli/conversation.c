/* SPDX-License-Identifier: MIT */
#include "conversation.h"

#include "base/clock.h"
#include "base/strbuf.h"
#include "base/utf8.h"
#include "command.h"
#include "progress.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ---- */

enum {
    OPTION_SOCKET = 1,
    OPTION_SYSTEM,
    OPTION_SEED,
    OPTION_TEMPERATURE,
    OPTION_MAX_TOKENS,
    OPTION_TOP_K,
    OPTION_TOP_P,
    OPTION_MIN_P,
    OPTION_STATS,
    OPTION_BACKGROUND,
    OPTION_HELP,
};

const char answer_options_help[] =
    "  --system TEXT       what the model is told before the conversation\n"
    "  --max-tokens N      end the answer after N tokens\n"
    "  --temperature X     0: always the most likely token\n"
    "  --top-k N, --top-p X, --min-p X, --seed N\n"
    "  --background        let the requests of others by\n"
    "  --stats             figures of the answer, on standard error\n"
    "  --socket PATH       the daemon's socket (HEARTH_SOCKET)\n";

const struct option answer_long_options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"system", required_argument, NULL, OPTION_SYSTEM},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"temperature", required_argument, NULL, OPTION_TEMPERATURE},
    {"max-tokens", required_argument, NULL, OPTION_MAX_TOKENS},
    {"top-k", required_argument, NULL, OPTION_TOP_K},
    {"top-p", required_argument, NULL, OPTION_TOP_P},
    {"min-p", required_argument, NULL, OPTION_MIN_P},
    {"background", no_argument, NULL, OPTION_BACKGROUND},
    {"stats", no_argument, NULL, OPTION_STATS},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

bool answer_option(struct answer_options *o, int c, const char *value)
{
    const char **const slots[] = {
        [OPTION_SOCKET] = &o->socket,
        [OPTION_SYSTEM] = &o->system,
        [OPTION_SEED] = &o->seed,
        [OPTION_TEMPERATURE] = &o->temperature,
        [OPTION_MAX_TOKENS] = &o->max_tokens,
        [OPTION_TOP_K] = &o->top_k,
        [OPTION_TOP_P] = &o->top_p,
        [OPTION_MIN_P] = &o->min_p,
    };

    if (c == OPTION_STATS) {
        o->shows_stats = true;
        return true;
    }
    if (c == OPTION_BACKGROUND) {
        o->is_background = true;
        return true;
    }
    if (c < OPTION_SOCKET || c > OPTION_MIN_P)
        return false;
    *slots[c] = value;
    return true;
}

/* A number, and one that the daemon takes. */
static bool is_number(const char *name, const char *text, bool is_whole, double least, double most)
{
    char *end = NULL;
    double value;

    if (!text)
        return true;
    errno = 0;
    value = is_whole ? (double)strtoll(text, &end, 10) : strtod(text, &end);
    if (end == text || *end || errno || !isfinite(value)) {
        command_fail(EXIT_USAGE, "--%s takes a number, not \"%s\"", name, text);
        return false;
    }
    if (value >= least && value <= most)
        return true;
    command_fail(EXIT_USAGE, "--%s takes a number from %g to %.10g, not %s", name, least, most,
                 text);
    return false;
}

bool answer_options_check(const struct answer_options *o)
{
    return is_number("seed", o->seed, true, -HUGE_VAL, HUGE_VAL) &&
           is_number("max-tokens", o->max_tokens, true, 0, UINT32_MAX) &&
           is_number("top-k", o->top_k, true, -1, UINT32_MAX) &&
           is_number("temperature", o->temperature, false, 0, 100) &&
           is_number("top-p", o->top_p, false, 0, 1) && is_number("min-p", o->min_p, false, 0, 1);
}

static void set_whole(json_t *request, const char *name, const char *text)
{
    if (text)
        json_object_set_new(request, name, json_integer(strtoll(text, NULL, 10)));
}

static void set_real(json_t *request, const char *name, const char *text)
{
    if (text)
        json_object_set_new(request, name, json_real(strtod(text, NULL)));
}

/* ---- Ctrl-C ---- */

static struct client *interruptible;

static void on_interrupt(int sig)
{
    if (interruptible)
        client_interrupt(interruptible);
}

static void catch_interrupts(struct client *c, struct sigaction *old)
{
    struct sigaction sa = {.sa_handler = on_interrupt};

    interruptible = c;
    client_clear_interrupt(c);
    sigaction(SIGINT, &sa, old);
}

static void release_interrupts(const struct sigaction *old)
{
    sigaction(SIGINT, old, NULL);
    interruptible = NULL;
}

/* ---- waiting ---- */

static void on_wait(void *user, const char *words)
{
    const struct client *c = user;

    if (words)
        fprintf(stderr, "(%s; Ctrl-C gives up)\n", words);
    else
        fprintf(stderr,
                "(waiting: the daemon on %s has said nothing for a while; if `hearth status` gets "
                "no answer, it is stopped or stuck; Ctrl-C gives up)\n",
                client_socket(c));
}

void conversation_tell_waits(struct client *c)
{
    client_on_wait(c, on_wait, c);
}

/* ---- loading ---- */

struct load {
    struct progress bar;
    struct error err;
};

static bool on_load_event(void *user, const json_t *event)
{
    struct load *l = user;
    const json_t *error = json_object_get(event, "error");
    const char *text = json_string_value(json_object_get(error, "message"));
    json_int_t done = json_integer_value(json_object_get(event, "done_bytes"));
    json_int_t total = json_integer_value(json_object_get(event, "total_bytes"));

    if (error)
        error_set(&l->err, ENOENT, "%s", text ? text : "the load failed");
    else if (total > 0)
        progress_show(&l->bar, (uint64_t)done, (uint64_t)total);
    return true;
}

int conversation_load(struct client *c, const char *model, bool pins, struct error *err)
{
    struct load l = {0};
    struct sigaction old;
    json_t *body = json_pack("{s:s, s:b}", "model", model, "stream", 1);
    int r;

    if (!body)
        return error_set(err, EINVAL, "the model's name is not UTF-8");
    if (pins && json_object_set_new(body, "pin", json_true()) < 0) {
        json_decref(body);
        return error_set(err, ENOMEM, "out of memory");
    }
    progress_begin(&l.bar, "loading");
    catch_interrupts(c, &old);
    r = client_stream(c, "/hearth/v1/load", body, on_load_event, &l, err);
    release_interrupts(&old);
    progress_end(&l.bar);
    json_decref(body);
    if (r == 0 && l.err.code) {
        *err = l.err;
        r = l.err.code;
    }
    return r;
}

/* ---- asking ---- */

struct answering {
    struct strbuf text;
    struct answer_stats stats;
    struct error err;
    uint64_t start_ns;
    bool is_terminal, is_reasoning;
};

static void take_usage(struct answer_stats *s, const json_t *usage)
{
    if (!json_is_object(usage))
        return;
    s->prompt_tokens = (unsigned)json_integer_value(json_object_get(usage, "prompt_tokens"));
    s->completion_tokens =
        (unsigned)json_integer_value(json_object_get(usage, "completion_tokens"));
}

/* Prints what a model wrote. A terminal gets no control characters but tab and newline: an answer
 * must not move the cursor, rename the window or write the clipboard. False: nowhere to write. */
static bool print_text(const struct answering *a, const char *text, size_t len)
{
    size_t from = 0;

    for (size_t i = 0; a->is_terminal && i < len; i++) {
        unsigned char c = (unsigned char)text[i],
                      after = i + 1 < len ? (unsigned char)text[i + 1] : 0;
        bool is_c1 = c == 0xc2 && after >= 0x80 && after < 0xa0;
        if (c != 0x7f && !is_c1 && (c >= 0x20 || c == '\n' || c == '\t'))
            continue;
        fwrite(text + from, 1, i - from, stdout);
        i += is_c1;
        from = i + 1;
    }
    fwrite(text + from, 1, len - from, stdout);
    return fflush(stdout) == 0;
}

static void print_tool_calls(const struct answering *a, const json_t *calls)
{
    size_t i;
    json_t *call;

    json_array_foreach(calls, i, call)
    {
        const json_t *function = json_object_get(call, "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        const char *arguments = json_string_value(json_object_get(function, "arguments"));
        if (name)
            print_text(a, name, strlen(name));
        if (name)
            putchar(' ');
        if (arguments)
            print_text(a, arguments, strlen(arguments));
    }
}

/* Where a person looks on, what the model thinks is shown dimmed before the answer. */
static void print_reasoning(struct answering *a, const json_t *reasoning, bool has_content)
{
    bool is_reasoning = json_string_length(reasoning) > 0;

    if (!a->is_terminal)
        return;
    if (is_reasoning && !a->is_reasoning)
        fputs("\033[2m", stdout);
    if (is_reasoning)
        print_text(a, json_string_value(reasoning), json_string_length(reasoning));
    else if (has_content && a->is_reasoning)
        fputs("\033[0m\n\n", stdout);
    if (is_reasoning || has_content)
        a->is_reasoning = is_reasoning;
}

static bool on_answer_event(void *user, const json_t *event)
{
    struct answering *a = user;
    const json_t *error = json_object_get(event, "error");
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    const json_t *content = json_object_get(delta, "content");
    const json_t *reasoning = json_object_get(delta, "reasoning_content");
    bool has_content = json_string_length(content) > 0;
    const char *reason = json_string_value(json_object_get(choice, "finish_reason"));

    if (error) {
        const char *text = json_string_value(json_object_get(error, "message"));
        error_set(&a->err, EIO, "%s", text ? text : "the answer failed");
        return false;
    }
    if ((has_content || json_string_length(reasoning)) && a->stats.first_token_s == 0)
        a->stats.first_token_s = (double)(clock_now_ns() - a->start_ns) * 1e-9;
    print_reasoning(a, reasoning, has_content || json_object_get(delta, "tool_calls"));
    if (has_content) {
        if (!print_text(a, json_string_value(content), json_string_length(content))) {
            error_set_errno(&a->err, errno, "standard output");
            return false;
        }
        strbuf_add(&a->text, json_string_value(content), json_string_length(content));
    }
    print_tool_calls(a, json_object_get(delta, "tool_calls"));
    if (reason)
        snprintf(a->stats.finish_reason, sizeof(a->stats.finish_reason), "%s", reason);
    take_usage(&a->stats, json_object_get(event, "usage"));
    a->stats.decode_s +=
        json_number_value(json_object_get(json_object_get(event, "timings"), "decode_ms")) * 1e-3;
    return true;
}

static json_t *build_request(const struct answer_options *o, const json_t *messages)
{
    json_t *all = json_array();
    json_t *request = json_pack("{s:s, s:b, s:{s:b}, s:o}", "model", o->model, "stream", 1,
                                "stream_options", "include_usage", 1, "messages", all);

    if (!request)
        return NULL;
    if (o->system)
        json_array_append_new(all, conversation_message("system", o->system));
    /* extend borrows the messages' references; the request is only read from */
    json_array_extend(all, (json_t *)(uintptr_t)messages);
    if (o->is_background)
        json_object_set_new(request, "service_tier", json_string("flex"));
    set_whole(request, "seed", o->seed);
    set_whole(request, "max_tokens", o->max_tokens);
    set_whole(request, "top_k", o->top_k);
    set_real(request, "temperature", o->temperature);
    set_real(request, "top_p", o->top_p);
    set_real(request, "min_p", o->min_p);
    return request;
}

int conversation_ask(struct client *c, const struct answer_options *o, const json_t *messages,
                     char **ret_text, struct answer_stats *ret_stats, struct error *err)
{
    struct answering a = {.start_ns = clock_now_ns(), .is_terminal = isatty(STDOUT_FILENO)};
    json_t *request = build_request(o, messages);
    struct sigaction old;
    int r;

    if (!request)
        return error_set(err, EINVAL, "the model's name is not UTF-8");
    strbuf_init(&a.text, 0);
    catch_interrupts(c, &old);
    r = client_stream(c, "/v1/chat/completions", request, on_answer_event, &a, err);
    release_interrupts(&old);
    json_decref(request);
    if (r == 0 && a.err.code) {
        *err = a.err;
        r = a.err.code;
    }
    a.stats.total_s = (double)(clock_now_ns() - a.start_ns) * 1e-9;
    if (a.is_reasoning) /* and no answer came */
        fputs("\033[0m\n", stdout);
    if (a.text.len && a.text.data[a.text.len - 1] != '\n')
        putchar('\n');
    fflush(stdout);
    *ret_stats = a.stats;
    *ret_text = strbuf_steal(&a.text);
    return r;
}

void conversation_print_stats(const struct answer_stats *s)
{
    /* events may come in bursts, so their arrival says little */
    double decode_s = s->decode_s > 0 ? s->decode_s : s->total_s - s->first_token_s;

    fprintf(stderr, "%u prompt tokens, %u answer tokens, first after %.0f ms", s->prompt_tokens,
            s->completion_tokens, s->first_token_s * 1e3);
    if (s->completion_tokens > 1 && decode_s > 0)
        fprintf(stderr, ", %.1f tokens/s", (s->completion_tokens - 1) / decode_s);
    fputc('\n', stderr);
    if (!strcmp(s->finish_reason, "length"))
        fputs("(the answer was cut: the limit of tokens or of the context is reached)\n", stderr);
}

json_t *conversation_message(const char *role, const char *text)
{
    struct strbuf clean;
    json_t *message;
    size_t len = strlen(text);

    strbuf_init(&clean, 0);
    while (len) {
        uint32_t cp;
        int n = utf8_decode(text, len, &cp);
        if (n > 0)
            strbuf_add(&clean, text, (size_t)n);
        else
            strbuf_add_str(&clean, "\xef\xbf\xbd");
        n = n > 0 ? n : 1;
        text += n;
        len -= (size_t)n;
    }
    message =
        json_pack("{s:s, s:s%}", "role", role, "content", clean.data ? clean.data : "", clean.len);
    strbuf_finish(&clean);
    return message;
}

int conversation_load_exit_code(int error)
{
    int code = conversation_exit_code(error);

    return code == EXIT_FAILED ? EXIT_NO_MODEL : code;
}

int conversation_exit_code(int error)
{
    switch (error) {
    case 0:
        return EXIT_OK;
    case -ENOTCONN:
    case -ETIMEDOUT:
        return EXIT_NO_SERVICE;
    case -ENOENT:
        return EXIT_NO_MODEL;
    case -EINTR:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_FAILED;
    }
}
