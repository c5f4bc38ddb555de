/* SPDX-License-Identifier: MIT */
/* One generation on its way from the engine to a client, in the words of OpenAI's two APIs. */
#ifndef HEARTH_SERVER_COMPLETION_H
#define HEARTH_SERVER_COMPLETION_H

#include "server/exchange.h"
#include "server/params.h"

/* Asks the engine and takes the exchange over. tools: the request's, when calls in the answer are
 * to be parsed; NULL otherwise. On failure the exchange is still the caller's. */
int completion_start(struct exchange *x, const char *model, const struct engine_prompt *prompt,
                     const struct params *params, bool is_chat, json_t *tools,
                     struct api_error *err);

#endif
