/* SPDX-License-Identifier: MIT */
/* Request line and header lines of one complete head (RFC 9112 sections 3 and 5). */
#ifndef HEARTH_SERVER_HTTP_HEAD_H
#define HEARTH_SERVER_HTTP_HEAD_H

#include "server/http.h"

/*
 * head: len bytes from the first byte of the request to the empty line, lines ended by CRLF, no NUL
 * inside; it is written into, and *r's strings point into it. Returns 0, or the HTTP status that
 * refuses the request with the reason in *ret_reason (static).
 */
int http_head_parse(char *head, size_t len, uint32_t max_headers, struct http_request *r,
                    const char **ret_reason);

#endif
