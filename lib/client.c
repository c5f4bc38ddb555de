/* SPDX-License-Identifier: MIT */
#include "client.h"

#include "base/clock.h"
#include "base/strbuf.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_LIMIT = 64 << 20, PATIENCE_SECONDS = 10 };

struct client {
    CURL *curl;
    struct curl_slist *headers;
    char socket[108];
    atomic_bool is_interrupted;
    double patience_seconds; /* 0: without end */
    client_wait_fn *on_wait;
    void *wait_user;

    /* the call that runs */
    struct strbuf received; /* the answer, or the line that is not complete yet */
    client_event_fn *on_event;
    void *user;
    bool has_ended; /* on_event said so */
    bool is_too_long;
    uint64_t heard_ns; /* when it began, or something of the answer came last */
    bool has_waited;   /* since then for as long as its patience */
};

static bool is_socket(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

void client_default_socket(char *out, size_t size)
{
    const char *given = getenv("HEARTH_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
    char dir[64];
    struct stat st;

    if (given && *given) {
        snprintf(out, size, "%s", given);
        return;
    }
    if (runtime && *runtime) {
        snprintf(out, size, "%s/hearth/hearth.sock", runtime);
        if (is_socket(out))
            return;
    }
    /* only our own: everyone may make a directory in /tmp */
    snprintf(dir, sizeof(dir), "/tmp/hearth-%u", (unsigned)geteuid());
    if (lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid()) {
        snprintf(out, size, "%s/hearth.sock", dir);
        if (is_socket(out))
            return;
    }
    snprintf(out, size, "/run/hearth/hearth.sock");
}

/* ---- what arrives ---- */

static long status_of(struct client *c)
{
    long status = 0;

    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static void tell_words(const struct client *c, const char *words, size_t len)
{
    char text[256];

    if (!c->on_wait || !len)
        return;
    snprintf(text, sizeof(text), "%.*s", (int)(len < sizeof(text) ? len : sizeof(text) - 1), words);
    c->on_wait(c->wait_user, text);
}

/* One line of a stream: an SSE field, a comment, a JSON object, or nothing. */
static bool handle_line(struct client *c, const char *line, size_t len)
{
    json_t *event;
    bool go_on;

    if (len >= 2 && line[0] == ':') {
        tell_words(c, line + 1 + (line[1] == ' '), len - 1 - (line[1] == ' '));
        return true;
    }
    if (len >= 5 && !memcmp(line, "data:", 5)) {
        line += 5;
        len -= 5;
        while (len && *line == ' ') {
            line++;
            len--;
        }
    }
    if (!len || line[0] != '{')
        return true;
    event = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
    if (!event)
        return true;
    go_on = c->on_event(c->user, event);
    json_decref(event);
    return go_on;
}

static bool handle_lines(struct client *c)
{
    char *start = c->received.data, *end;
    size_t left = c->received.len;

    while (left && (end = memchr(start, '\n', left))) {
        size_t len = (size_t)(end - start);
        if (!handle_line(c, start, len && start[len - 1] == '\r' ? len - 1 : len)) {
            c->has_ended = true;
            return false;
        }
        left -= len + 1;
        start = end + 1;
    }
    strbuf_consume(&c->received, c->received.len - left);
    return true;
}

static void heard(struct client *c)
{
    c->heard_ns = clock_now_ns();
    c->has_waited = false;
}

static size_t on_data(char *data, size_t size, size_t n, void *user)
{
    struct client *c = user;

    heard(c);
    strbuf_add(&c->received, data, size * n);
    if (c->received.failed) {
        c->is_too_long = true;
        return 0;
    }
    /* an error answer is one object, whatever was asked for */
    if (c->on_event && status_of(c) < 400 && !handle_lines(c))
        return 0;
    return size * n;
}

/* Called once a second at least, even while nothing comes. */
static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e)
{
    struct client *c = user;
    double silence = (double)(clock_now_ns() - c->heard_ns) * 1e-9;

    if (atomic_load(&c->is_interrupted))
        return 1;
    /* of a stream the daemon says after as long what it waits for: that is to come first */
    if (c->has_waited || c->patience_seconds <= 0 ||
        silence < c->patience_seconds * (c->on_event ? 1.2 : 1))
        return 0;
    c->has_waited = true;
    if (!c->on_event)
        return 1;
    if (c->on_wait)
        c->on_wait(c->wait_user, NULL);
    return 0;
}

/* ---- calls ---- */

static double default_patience(void)
{
    const char *given = getenv("HEARTH_TIMEOUT");
    char *end;
    double seconds = given ? strtod(given, &end) : 0;

    return given && end != given && !*end && seconds >= 0 ? seconds : PATIENCE_SECONDS;
}

int client_create(const char *socket_path, struct client **ret_client, struct error *err)
{
    struct client *c = calloc(1, sizeof(*c));
    char path[4096];

    if (!c)
        return error_set(err, ENOMEM, "out of memory");
    if (socket_path)
        snprintf(path, sizeof(path), "%s", socket_path);
    else
        client_default_socket(path, sizeof(path));
    if (strlen(path) >= sizeof(c->socket)) {
        free(c);
        return error_set(err, ENAMETOOLONG, "%s: longer than the %zu bytes a socket path may have",
                         path, sizeof(c->socket) - 1);
    }
    memcpy(c->socket, path, strlen(path) + 1);
    c->patience_seconds = default_patience();
    strbuf_init(&c->received, ANSWER_LIMIT);
    c->curl = curl_easy_init();
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!c->curl || !c->headers) {
        client_destroy(c);
        return error_set(err, ENOMEM, "out of memory");
    }
    curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    *ret_client = c;
    return 0;
}

void client_destroy(struct client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    strbuf_finish(&c->received);
    free(c);
}

const char *client_socket(const struct client *c)
{
    return c->socket;
}

void client_interrupt(struct client *c)
{
    atomic_store(&c->is_interrupted, true);
}

void client_clear_interrupt(struct client *c)
{
    atomic_store(&c->is_interrupted, false);
}

void client_set_patience(struct client *c, double seconds)
{
    c->patience_seconds = seconds;
}

void client_on_wait(struct client *c, client_wait_fn *on_wait, void *user)
{
    c->on_wait = on_wait;
    c->wait_user = user;
}

static int explain_no_connection(const struct client *c, struct error *err)
{
    if (access(c->socket, F_OK) == 0 && !is_socket(c->socket))
        return error_set(err, ENOTCONN,
                         "%s is no socket: name the daemon's with --socket or HEARTH_SOCKET",
                         c->socket);
    if (access(c->socket, W_OK) < 0 && errno == EACCES)
        return error_set(err, ENOTCONN,
                         "%s is closed to this user: its daemon's socket-mode lets others in",
                         c->socket);
    return error_set(err, ENOTCONN,
                     "no daemon answers on %s: start it with `hearthd`, or name its socket "
                     "with --socket or HEARTH_SOCKET",
                     c->socket);
}

static int explain_curl(const struct client *c, CURLcode code, struct error *err)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        return explain_no_connection(c, err);
    case CURLE_ABORTED_BY_CALLBACK:
        if (!atomic_load(&c->is_interrupted) && c->has_waited)
            return error_set(err, ETIMEDOUT,
                             "the daemon on %s takes connections but has not answered for %g s: "
                             "it is stopped, or stuck; see its log, then continue or restart it",
                             c->socket, c->patience_seconds);
        return error_set(err, EINTR, "interrupted");
    case CURLE_OUT_OF_MEMORY:
        return error_set(err, ENOMEM, "out of memory");
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        return error_set(err, EIO,
                         "the daemon on %s closed the connection before the answer was whole: it "
                         "has ended, or was restarted; its log tells why, then ask again",
                         c->socket);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return error_set(err, EIO,
                         "what answers on %s speaks no HTTP, so it is no hearthd: name its socket "
                         "with --socket or HEARTH_SOCKET",
                         c->socket);
    default:
        if (c->is_too_long)
            return error_set(err, EIO, "the answer is longer than %d MiB", ANSWER_LIMIT >> 20);
        return error_set(err, EIO,
                         "the answer of the daemon on %s cannot be read (%s): see its log, then "
                         "ask again",
                         c->socket, curl_easy_strerror(code));
    }
}

static int code_of_status(long status, const char *code)
{
    if (status == 404)
        return -ENOENT;
    if (status == 503 && code && !strcmp(code, "draining"))
        return -ESHUTDOWN;
    if (status == 400 && code && !strcmp(code, "context_length_exceeded"))
        return -EMSGSIZE;
    if (status == 429 || status == 503)
        return -EAGAIN;
    return status >= 500 ? -EIO : -EINVAL;
}

/* The sentence of {"error":{"message":...}}. */
static int explain_status(const struct client *c, long status, struct error *err)
{
    json_t *answer =
        json_loadb(c->received.data ? c->received.data : "", c->received.len, JSON_ALLOW_NUL, NULL);
    const json_t *error = json_object_get(answer, "error");
    const char *text = json_string_value(json_object_get(error, "message"));
    int code = code_of_status(status, json_string_value(json_object_get(error, "code")));
    int r = error_set(err, code, "%s", text ? text : "");

    if (!text)
        error_set(err, r, "the daemon answered with status %ld", status);
    json_decref(answer);
    return r;
}

static int perform(struct client *c, const char *method, const char *path, const json_t *body,
                   struct error *err)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    char url[512];
    CURLcode code;
    long status;
    int r;

    if (body && !text)
        return error_set(err, EINVAL, "the request holds text that is not UTF-8");
    strbuf_reset(&c->received);
    c->has_ended = c->is_too_long = false;
    heard(c);
    snprintf(url, sizeof(url), "http://hearth%s", path);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    if (text)
        curl_easy_setopt(c->curl, CURLOPT_COPYPOSTFIELDS, text);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    free(text);
    code = curl_easy_perform(c->curl);
    r = code != CURLE_OK && !c->has_ended ? explain_curl(c, code, err) : 0;
    atomic_store(&c->is_interrupted, false);
    if (r < 0)
        return r;
    status = status_of(c);
    return status >= 400 ? explain_status(c, status, err) : 0;
}

int client_call(struct client *c, const char *method, const char *path, const json_t *body,
                json_t **ret_answer, struct error *err)
{
    json_error_t where;
    json_t *answer;
    int r;

    c->on_event = NULL;
    r = perform(c, method, path, body, err);
    if (r < 0 || !ret_answer)
        return r;
    answer = json_loadb(c->received.data ? c->received.data : "", c->received.len, JSON_ALLOW_NUL,
                        &where);
    if (!answer)
        return error_set(err, EIO, "the daemon's answer to %s is not JSON: %s", path, where.text);
    *ret_answer = answer;
    return 0;
}

int client_stream(struct client *c, const char *path, const json_t *body, client_event_fn *on_event,
                  void *user, struct error *err)
{
    int r;

    c->on_event = on_event;
    c->user = user;
    r = perform(c, "POST", path, body, err);
    c->on_event = NULL;
    return r;
}
