/* SPDX-License-Identifier: MIT */
/*
 * System prompts that the administrator lets all users share: how much of a chat's prompt is
 * theirs, so that its keys and values serve anybody (PREFIX_COMMON) and not only the user who
 * asked. What comes after the system prompt is never part of it.
 */
#ifndef HEARTH_ENGINE_SHARED_PROMPT_H
#define HEARTH_ENGINE_SHARED_PROMPT_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

struct shared_prompts {
    char **texts; /* [n] */
    size_t n;
};

/* Copies the texts, without what ends their last lines. texts: NULL-terminated; may be NULL. */
int shared_prompts_init(struct shared_prompts *p, const char *const *texts, struct error *err);
void shared_prompts_finish(struct shared_prompts *p); /* also of one that is all zeros */

/* A chat with nothing but the system prompt of this one and a word of a user that nobody writes,
 * where its system prompt is one of these; a new reference. NULL: it is none, or memory is short.
 */
json_t *shared_prompts_chat(const struct shared_prompts *p, const json_t *chat);

#endif
