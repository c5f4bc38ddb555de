/* SPDX-License-Identifier: MIT */
/* Which handler answers which path and method. The table is in router.c. */
#ifndef HEARTH_SERVER_ROUTER_H
#define HEARTH_SERVER_ROUTER_H

#include "server/exchange.h"

/* Answers unknown paths (404) and methods (405 with Allow) itself. */
void router_handle(struct exchange *x);
/* May this request's body be received at all? false: *err says why not. */
bool router_admits(struct exchange *x, struct api_error *err);

#endif
