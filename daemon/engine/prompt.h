/* SPDX-License-Identifier: MIT */
/* What was asked, turned into tokens: the chat template rendered, the text tokenized. */
#ifndef HEARTH_ENGINE_PROMPT_H
#define HEARTH_ENGINE_PROMPT_H

#include "engine/request.h"

/* Fills r->tokens from its chat or text, which are freed (tokens given as such are left alone). Any
 * thread that has the request in its hand. -EINVAL: the template refused, or the text is not UTF-8.
 */
int prompt_tokenize(struct engine_request *r, struct error *err);

/* The template used for models whose file brings none. */
const char *prompt_default_template(void);

#endif
