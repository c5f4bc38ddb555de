/* SPDX-License-Identifier: MIT */
/* Who is at the other end of a connection. */
#ifndef HEARTH_SERVER_PEER_H
#define HEARTH_SERVER_PEER_H

#include <stdbool.h>
#include <sys/types.h>

struct peer {
    uid_t uid;     /* (uid_t)-1 over TCP: not known */
    pid_t pid;     /* 0 over TCP */
    bool is_local; /* over a Unix socket: the kernel vouches for uid and pid */
};

/* 0 or a negative errno. */
int peer_of_socket(int fd, struct peer *ret_peer);
/* Is it "Bearer TOKEN" with one of the tokens? Time does not depend on where they differ. */
bool peer_token_fits(const char *authorization, const char *const *tokens);

#endif
