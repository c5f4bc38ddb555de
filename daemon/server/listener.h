/* SPDX-License-Identifier: MIT */
/* Listening sockets: made safely, or refused with a sentence. */
#ifndef HEARTH_SERVER_LISTENER_H
#define HEARTH_SERVER_LISTENER_H

#include "base/error.h"

#include <stddef.h>
#include <sys/types.h>

/*
 * Where the socket lies when nobody says: /run/hearth/hearth.sock for root, else
 * $XDG_RUNTIME_DIR/hearth/hearth.sock, else /tmp/hearth-UID/hearth.sock. Makes the directory (0755
 * for root, else 0700) and refuses one that belongs to someone else or that others may write.
 */
int listener_default_path(char *ret_path, size_t size, struct error *err);
/* Binds and listens; a socket file left over by a server that is gone is replaced, one that answers
 * is not, and nothing but sockets is ever removed. Of servers that try at once, one succeeds (there
 * is a file PATH.lock for that moment). */
int listener_open_unix(const char *path, mode_t mode, int *ret_fd, struct error *err);
/* "127.0.0.1:8080" or "[::1]:8080"; addresses that other machines reach are refused. */
int listener_open_tcp(const char *address, int *ret_fd, struct error *err);

#endif
