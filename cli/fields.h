/* SPDX-License-Identifier: MIT */
/* Fields of the daemon's answers, for printing: what is absent or of another type is empty or 0. */
#ifndef HEARTH_CLI_FIELDS_H
#define HEARTH_CLI_FIELDS_H

#include <jansson.h>
#include <stdint.h>

static inline const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "";
}

static inline uint64_t number_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

#endif
