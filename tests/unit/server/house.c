/* SPDX-License-Identifier: MIT */
#include "house.h"

#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { STOP = 1, DRAIN = 1000 };

void house_defaults(struct house *h)
{
    memset(h, 0, sizeof(*h));
    server_config_defaults(&h->config);
    h->config.logs_access = false;
    h->config.version = "test";
}

static void on_drained(void *user)
{
    struct house *h = user;

    h->has_drained = true;
    loop_stop(h->loop);
}

static void on_control(struct loop_op *op, const struct loop_event *event)
{
    struct house *h = container_of(op, struct house, control);
    eventfd_t value;

    if (event->result <= 0 || eventfd_read(h->control_fd, &value) < 0)
        return;
    if (h->is_gated)
        sem_wait(&h->gate);
    if (value >= DRAIN)
        server_drain(h->server, on_drained, h);
    else
        loop_stop(h->loop);
}

static int listen_unix(struct house *h)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    static int n;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(h->path, sizeof(h->path), "/tmp/hearth-test-%d-%d.sock", (int)getpid(), n++);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", h->path);
    unlink(h->path);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4096) < 0)
        abort();
    return fd;
}

static int listen_tcp(struct house *h)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        abort();
    h->port = ntohs(addr.sin_port);
    return fd;
}

static void *run(void *arg)
{
    struct house *h = arg;
    struct engine_config config = {.queue_limit = h->queue_limit};
    struct error err;

    if (loop_create(h->backend, &h->loop, &err) < 0 ||
        engine_create(&config, &h->engine, &err) < 0 ||
        server_create(h->loop, h->engine, &h->config, &h->server, &err) < 0 ||
        server_listen(h->server, h->is_tcp ? listen_tcp(h) : listen_unix(h), &err) < 0) {
        fprintf(stderr, "# %s\n", err.text);
        abort();
    }
    h->control.on_event = on_control;
    loop_poll(h->loop, &h->control, h->control_fd, POLLIN);
    sem_post(&h->is_up);
    loop_run(h->loop);
    server_destroy(h->server);
    loop_cancel_wait(h->loop, &h->control);
    engine_destroy(h->engine);
    loop_destroy(h->loop);
    return NULL;
}

void house_open(struct house *h)
{
    sem_init(&h->is_up, 0, 0);
    sem_init(&h->gate, 0, 0);
    h->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_create(&h->thread, NULL, run, h);
    sem_wait(&h->is_up);
}

void house_drain(struct house *h)
{
    eventfd_write(h->control_fd, DRAIN);
}

bool house_wait(struct house *h)
{
    pthread_join(h->thread, NULL);
    close(h->control_fd);
    sem_destroy(&h->is_up);
    sem_destroy(&h->gate);
    if (!h->is_tcp)
        unlink(h->path);
    return h->has_drained;
}

void house_close(struct house *h)
{
    eventfd_write(h->control_fd, STOP);
    house_wait(h);
}

int client_connect(const struct house *h)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)h->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(h->is_tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", h->path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, h->is_tcp ? (struct sockaddr *)&in : (struct sockaddr *)&un,
                h->is_tcp ? sizeof(in) : sizeof(un)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void client_send(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server may have answered and closed already */
        text += n;
        len -= (size_t)n;
    }
}

void client_say(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

void client_post(int fd, const char *path, const char *json)
{
    char head[256];

    snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", path,
             strlen(json));
    client_say(fd, head);
    client_say(fd, json);
}

/* One byte at a time up to `end`; NULL when the connection ends first. */
static char *read_until(int fd, const char *end)
{
    struct strbuf s;
    char c;

    strbuf_init(&s, 0);
    while (recv(fd, &c, 1, 0) == 1) {
        strbuf_add_char(&s, c);
        if (s.len >= strlen(end) && strcmp(s.data + s.len - strlen(end), end) == 0)
            return strbuf_steal(&s);
    }
    strbuf_finish(&s);
    return NULL;
}

static bool read_exactly(int fd, struct strbuf *body, size_t len)
{
    while (len) {
        char block[4096];
        ssize_t n = recv(fd, block, len < sizeof(block) ? len : sizeof(block), 0);
        if (n <= 0)
            return false;
        strbuf_add(body, block, (size_t)n);
        len -= (size_t)n;
    }
    return true;
}

static bool read_chunks(int fd, struct strbuf *body)
{
    for (;;) {
        char *line = read_until(fd, "\r\n"), *end;
        size_t len = line ? strtoul(line, NULL, 16) : 0;
        bool is_last = line && len == 0;

        free(line);
        if (is_last) {
            end = read_until(fd, "\r\n");
            free(end);
            return end;
        }
        if (!len || !read_exactly(fd, body, len))
            return false;
        end = read_until(fd, "\r\n");
        free(end);
        if (!end)
            return false;
    }
}

void client_read(int fd, struct response *r)
{
    struct strbuf body;
    const char *length;

    memset(r, 0, sizeof(*r));
    strbuf_init(&body, 0);
    do {
        free(r->head);
        r->head = read_until(fd, "\r\n\r\n");
        r->status = r->head ? atoi(r->head + 9) : 0;
    } while (r->status == 100);
    if (r->head) {
        length = strstr(r->head, "Content-Length: ");
        if (strstr(r->head, "Transfer-Encoding: chunked"))
            r->is_whole = read_chunks(fd, &body);
        else
            r->is_whole = read_exactly(fd, &body, length ? strtoul(length + 16, NULL, 10) : 0);
    }
    strbuf_add(&body, "", 0);
    r->body_len = body.len;
    r->body = strbuf_steal(&body);
}

void response_free(struct response *r)
{
    free(r->head);
    free(r->body);
}

void client_ask(const struct house *h, const char *path, const char *json, struct response *r)
{
    int fd = client_connect(h);

    assert_true(fd >= 0);
    client_post(fd, path, json);
    client_read(fd, r);
    close(fd);
}

bool client_sees_end(int fd)
{
    char block[4096];
    ssize_t n;

    while ((n = recv(fd, block, sizeof(block), 0)) > 0)
        ;
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

struct fake_seen house_look(struct house *h)
{
    struct fake_seen seen;

    fake_engine_look(h->engine, &seen);
    return seen;
}
