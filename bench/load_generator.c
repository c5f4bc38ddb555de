/* SPDX-License-Identifier: MIT */
/*
 * Puts a number of clients on a server that speaks OpenAI's completions with streaming, each with
 * one request after another, and tells in JSON what they saw:
 *
 *   load-generator -c CLIENTS -r REQUESTS -n TOKENS -p WORDS [-m MODEL] [-u SOCKET] URL
 *
 * REQUESTS over all clients, each for TOKENS tokens after a prompt of about WORDS words that no two
 * requests share. Times are of this machine's monotonic clock; a token is an event of the stream.
 */
#include <curl/curl.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct samples {
    double *list;
    size_t n, cap;
};

struct options {
    unsigned n_clients, n_requests, n_tokens, n_words;
    const char *model, *socket, *url;
};

struct load;

struct client {
    struct load *load;
    CURL *curl;
    char *body;
    size_t line_len; /* bytes of the line being read, up to the length of "data:" */
    char line[6];
    double sent, last; /* seconds; last: of the last token, 0: none yet */
    unsigned n_events;
};

struct load {
    struct options o;
    CURLM *multi;
    struct client *clients;
    struct curl_slist *headers;
    unsigned n_sent, n_ended, n_failed;
    uint64_t n_events;
    struct samples first, between, whole;
    char failure[200]; /* the first */
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void keep(struct samples *s, double value)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        s->list = realloc(s->list, s->cap * sizeof(*s->list));
        if (!s->list)
            abort();
    }
    s->list[s->n++] = value;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(struct samples *s, double q)
{
    if (!s->n)
        return 0;
    qsort(s->list, s->n, sizeof(*s->list), by_value);
    return s->list[(size_t)(q * (double)(s->n - 1) + 0.5)];
}

static void saw_event(struct client *c)
{
    double t = now();

    keep(c->last > 0 ? &c->load->between : &c->load->first, t - (c->last > 0 ? c->last : c->sent));
    c->last = t;
    c->n_events++;
}

/* Counts the lines that begin with "data:", but for the one that ends a stream. */
static size_t on_bytes(char *data, size_t size, size_t n, void *user)
{
    struct client *c = user;

    for (size_t i = 0; i < size * n; i++) {
        if (data[i] == '\n') {
            c->line_len = 0;
            continue;
        }
        if (c->line_len >= sizeof(c->line))
            continue;
        c->line[c->line_len++] = data[i];
        if (c->line_len != sizeof(c->line) || memcmp(c->line, "data: ", sizeof(c->line)))
            continue;
        if (i + 1 < size * n && data[i + 1] != '[')
            saw_event(c);
    }
    return size * n;
}

/* Words that no other request has in this place. */
static void write_prompt(char *to, size_t bytes, unsigned n_words, unsigned request)
{
    static const char *const words[] = {"fire",  "house", "warm",  "river",
                                        "stone", "bread", "light", "winter"};
    size_t at = (size_t)snprintf(to, bytes, "%u:", request);
    uint32_t random = request * 2654435761u + 1;

    for (unsigned i = 0; i < n_words && at + 16 < bytes; i++) {
        random = random * 1664525u + 1013904223u;
        at += (size_t)snprintf(to + at, bytes - at, " %s", words[random >> 29]);
    }
}

static bool start(struct client *c)
{
    struct load *l = c->load;
    size_t bytes = 16 * (size_t)l->o.n_words + 64;
    char *prompt;

    if (l->n_sent == l->o.n_requests)
        return false;
    prompt = malloc(bytes);
    if (!prompt)
        abort();
    write_prompt(prompt, bytes, l->o.n_words, l->n_sent + (unsigned)getpid() * 1000003u);
    free(c->body);
    if (asprintf(&c->body,
                 "{\"model\":\"%s\",\"prompt\":\"%s\",\"max_tokens\":%u,\"temperature\":0,"
                 "\"stream\":true,\"ignore_eos\":true,\"cache_prompt\":false}",
                 l->o.model, prompt, l->o.n_tokens) < 0)
        abort();
    free(prompt);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, c->body);
    c->line_len = 0;
    c->n_events = 0;
    c->last = 0;
    c->sent = now();
    l->n_sent++;
    curl_multi_add_handle(l->multi, c->curl);
    return true;
}

static void make_client(struct load *l, struct client *c)
{
    c->load = l;
    c->curl = curl_easy_init();
    curl_easy_setopt(c->curl, CURLOPT_URL, l->o.url);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, l->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_PRIVATE, c);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, 600L);
    if (l->o.socket)
        curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, l->o.socket);
}

static void fail(struct load *l, const char *reason, long status)
{
    l->n_failed++;
    if (!l->failure[0])
        snprintf(l->failure, sizeof(l->failure), "%s (status %ld)", reason, status);
}

static void end(struct load *l, const CURLMsg *m)
{
    struct client *c = NULL;
    long status = 0;

    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
    curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(l->multi, c->curl);
    l->n_ended++;
    l->n_events += c->n_events;
    keep(&l->whole, now() - c->sent);
    if (m->data.result != CURLE_OK)
        fail(l, curl_easy_strerror(m->data.result), status);
    else if (status != 200 || !c->n_events)
        fail(l, "no stream", status);
    start(c);
}

static void drive(struct load *l)
{
    int n_running = 1, n_left;
    CURLMsg *m;

    while (l->n_ended < l->o.n_requests) {
        curl_multi_perform(l->multi, &n_running);
        while ((m = curl_multi_info_read(l->multi, &n_left)))
            if (m->msg == CURLMSG_DONE)
                end(l, m);
        if (l->n_ended < l->o.n_requests)
            curl_multi_poll(l->multi, NULL, 0, 1000, NULL);
    }
}

static void print(struct load *l, double seconds)
{
    double tokens = (double)(l->n_ended - l->n_failed) * l->o.n_tokens;

    printf("{\"clients\": %u, \"requests\": %u, \"failed\": %u, \"seconds\": %.4f, "
           "\"tokens_per_second\": %.2f, \"requests_per_second\": %.3f, \"events\": %llu, ",
           l->o.n_clients, l->n_ended, l->n_failed, seconds, tokens / seconds,
           (l->n_ended - l->n_failed) / seconds, (unsigned long long)l->n_events);
    printf("\"first_p50\": %.5f, \"first_p99\": %.5f, \"between_p50\": %.5f, \"between_p99\": "
           "%.5f, \"whole_p50\": %.5f, \"failure\": \"%s\"}\n",
           quantile(&l->first, 0.5), quantile(&l->first, 0.99), quantile(&l->between, 0.5),
           quantile(&l->between, 0.99), quantile(&l->whole, 0.5), l->failure);
}

static unsigned number(const char *text)
{
    char *rest;
    unsigned long n = strtoul(text, &rest, 10);

    if (*rest || !n || n > 1000000) {
        fprintf(stderr, "load-generator: %s is no number from 1 to 1000000\n", text);
        exit(2);
    }
    return (unsigned)n;
}

int main(int argc, char **argv)
{
    struct load l = {
        .o = {.n_clients = 1, .n_requests = 1, .n_tokens = 32, .n_words = 32, .model = ""}};
    double begin;
    int c;

    while ((c = getopt(argc, argv, "c:r:n:p:m:u:")) != -1) {
        switch (c) {
        case 'c':
            l.o.n_clients = number(optarg);
            break;
        case 'r':
            l.o.n_requests = number(optarg);
            break;
        case 'n':
            l.o.n_tokens = number(optarg);
            break;
        case 'p':
            l.o.n_words = number(optarg);
            break;
        case 'm':
            l.o.model = optarg;
            break;
        case 'u':
            l.o.socket = optarg;
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 != argc) {
        fputs("usage: load-generator [-c CLIENTS] [-r REQUESTS] [-n TOKENS] [-p WORDS] [-m MODEL] "
              "[-u SOCKET] URL\n",
              stderr);
        return 2;
    }
    l.o.url = argv[optind];
    curl_global_init(CURL_GLOBAL_DEFAULT);
    l.multi = curl_multi_init();
    curl_multi_setopt(l.multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 0L);
    l.headers = curl_slist_append(NULL, "Content-Type: application/json");
    l.clients = calloc(l.o.n_clients, sizeof(*l.clients));
    if (!l.clients || !l.headers)
        return 1;
    begin = now();
    for (unsigned i = 0; i < l.o.n_clients; i++) {
        make_client(&l, &l.clients[i]);
        start(&l.clients[i]);
    }
    drive(&l);
    print(&l, now() - begin);
    for (unsigned i = 0; i < l.o.n_clients; i++) {
        curl_easy_cleanup(l.clients[i].curl);
        free(l.clients[i].body);
    }
    curl_multi_cleanup(l.multi);
    curl_slist_free_all(l.headers);
    free(l.clients);
    free(l.first.list);
    free(l.between.list);
    free(l.whole.list);
    curl_global_cleanup();
    return l.n_failed ? 1 : 0;
}
