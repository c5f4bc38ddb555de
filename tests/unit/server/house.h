/* SPDX-License-Identifier: MIT */
/* A running server over the fake engine on a thread of its own, and a plain blocking client. */
#ifndef HEARTH_TESTS_HOUSE_H
#define HEARTH_TESTS_HOUSE_H

#include "fake_engine.h"
#include "server/server.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

struct house {
    /* set before house_open, or left zero */
    enum loop_backend backend;
    struct server_config config; /* house_defaults */
    uint32_t queue_limit;
    bool is_tcp;
    bool is_gated; /* before it drains its thread waits until the gate is posted */
    /* while it is open */
    char path[64]; /* of the Unix socket */
    int port;
    struct engine *engine;
    /* its own */
    struct loop *loop;
    struct server *server;
    struct loop_op control;
    int control_fd;
    pthread_t thread;
    sem_t is_up, gate;
    bool has_drained;
};

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        for (int tries_ = 0; tries_ < 5000 && !(condition); tries_++)                              \
            usleep(1000);                                                                          \
        assert_true(condition);                                                                    \
    } while (0)

/* What its engine has seen so far. */
struct fake_seen house_look(struct house *h);
void house_defaults(struct house *h);
void house_open(struct house *h);
/* As SIGTERM would: drains, then everything is torn down. Returns whether it drained by itself. */
void house_drain(struct house *h);
bool house_wait(struct house *h); /* for the end of a drain; frees */
void house_close(struct house *h);

int client_connect(const struct house *h);
void client_send(int fd, const char *text, size_t len);
void client_say(int fd, const char *text); /* client_send of a string */
/* "POST path" with a JSON body on a keep-alive connection. */
void client_post(int fd, const char *path, const char *json);

struct response {
    int status;
    char *head; /* with the empty line */
    char *body; /* chunks put together; NUL-terminated */
    size_t body_len;
    bool is_whole; /* false: the connection ended first */
};
/* Reads one answer (and no byte more), skipping 100 Continue. */
void client_read(int fd, struct response *r);
void response_free(struct response *r);
/* Connects, asks, reads the answer, hangs up. */
void client_ask(const struct house *h, const char *path, const char *json, struct response *r);
/* Is the connection closed by the server (waits up to 5 s)? */
bool client_sees_end(int fd);

#endif
