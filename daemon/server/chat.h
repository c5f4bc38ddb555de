/* SPDX-License-Identifier: MIT */
/*
 * A chat request's messages and tools, checked and put into the shape chat templates expect:
 * contents as plain strings, tool-call arguments as objects, reasoning under every name for it.
 */
#ifndef HEARTH_SERVER_CHAT_H
#define HEARTH_SERVER_CHAT_H

#include "server/fields.h"

/* The object the template sees: messages, add_generation_prompt, tools (unless tool_choice is
 * "none"), reasoning_effort and the members of chat_template_kwargs, which come before all but
 * messages and tools. The caller owns *ret_chat. */
int chat_build(const json_t *request, json_t **ret_chat, struct api_error *err);

#endif
