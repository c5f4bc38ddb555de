/* SPDX-License-Identifier: MIT */
/*
 * How a family of models writes a call of a tool. Which one a model is of its chat template tells:
 * it shows the model calls of earlier turns in the same way. Pure functions over text.
 */
#ifndef HEARTH_SERVER_TOOLCALL_FORMAT_H
#define HEARTH_SERVER_TOOLCALL_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* arguments: JSON text */
typedef void toolcall_found(void *user, const char *name, const char *arguments);

struct toolcall_format {
    const char *marks[2];     /* a template with both is of this format; NULL: not looked for */
    const char *open, *close; /* around calls; close NULL: the next open, or the end */
    /* Tells the calls in the text between; false when it is none, and then nothing was told. tools:
     * the request's, for the types of arguments; may be NULL. */
    bool (*parse)(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                  void *user);
};

/* Never NULL: without a template, or for one of no known format, that of JSON between tags. */
const struct toolcall_format *toolcall_format_of(const char *chat_template);

/* {"name": ..., "arguments" or "parameters": object or JSON text, or absent}. */
bool toolcall_format_parse_object(const json_t *call, toolcall_found *found, void *user);

#endif
