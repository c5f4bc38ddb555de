/* SPDX-License-Identifier: MIT */
#include "server/fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 128, MAX_VALUES = 400000 };

static const char *type_of_status(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

int fields_fail(struct api_error *err, int status, const char *param, const char *code,
                const char *fmt, ...)
{
    va_list args;

    err->status = status;
    err->type = type_of_status(status);
    err->code = code;
    snprintf(err->param, sizeof(err->param), "%s", param ? param : "");
    va_start(args, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    return -1;
}

/* Counts brackets and separators outside strings: cheap, and never fewer than the parser will make.
 */
static int check_bounds(const char *data, size_t len, struct api_error *err)
{
    size_t depth = 0, values = 1;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = data[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"')
            in_string = true;
        else if (c == '[' || c == '{')
            depth++, values++;
        else if ((c == ']' || c == '}') && depth)
            depth--;
        else if (c == ',')
            values++;
        if (depth > MAX_DEPTH)
            return fields_fail(err, 400, NULL, "invalid_json",
                               "the body nests deeper than %d levels", MAX_DEPTH);
        if (values > MAX_VALUES)
            return fields_fail(err, 413, NULL, NULL, "the body holds more than %d JSON values",
                               MAX_VALUES);
    }
    return 0;
}

/* jansson has no key with a NUL inside, though JSON has. No field here is called so: in a copy of
 * the text such keys get U+FFFD instead. NULL when out of memory. */
static char *replace_nul_in_keys(const char *data, size_t len)
{
    char *copy = malloc(len);
    size_t i = 0;

    if (!copy)
        return NULL;
    memcpy(copy, data, len);
    while (i < len) {
        size_t start = i, end, next;

        if (copy[i++] != '"')
            continue;
        for (end = i; end < len && copy[end] != '"'; end++)
            end += copy[end] == '\\';
        for (next = end + 1; next < len && strchr(" \t\r\n", copy[next]); next++)
            ;
        i = end + 1;
        if (next >= len || copy[next] != ':')
            continue;
        for (size_t at = start + 1; at + 6 <= end; at += copy[at] == '\\' ? 2 : 1)
            if (memcmp(copy + at, "\\u0000", 6) == 0)
                memcpy(copy + at, "\\ufffd", 6);
    }
    return copy;
}

static json_t *load(const char *data, size_t len, json_error_t *why)
{
    json_t *json = json_loadb(data ? data : "", len, JSON_DECODE_ANY | JSON_ALLOW_NUL, why);

    if (!json && json_error_code(why) == json_error_null_byte_in_key) {
        char *copy = replace_nul_in_keys(data, len);

        if (copy)
            json = json_loadb(copy, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, why);
        free(copy);
    }
    return json;
}

int fields_parse(const char *data, size_t len, json_t **ret_json, struct api_error *err)
{
    json_error_t why;
    json_t *json;

    if (len && memchr(data, 0, len))
        return fields_fail(err, 400, NULL, "invalid_json",
                           "the body is not valid JSON: byte %zu is NUL",
                           (size_t)((const char *)memchr(data, 0, len) - data) + 1);
    if (check_bounds(data, len, err) < 0)
        return -1;
    json = load(data, len, &why);
    if (!json && json_error_code(&why) == json_error_out_of_memory)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    if (!json)
        return fields_fail(err, 400, NULL, "invalid_json",
                           "the body is not valid JSON: line %d, column %d: %s", why.line,
                           why.column, why.text);
    *ret_json = json;
    return 0;
}

int fields_parse_object(const char *data, size_t len, json_t **ret_json, struct api_error *err)
{
    json_t *json;

    if (!len)
        return fields_fail(err, 400, NULL, "invalid_json",
                           "the body is empty: a JSON object is expected");
    if (fields_parse(data, len, &json, err) < 0)
        return -1;
    if (!json_is_object(json)) {
        fields_fail(err, 400, NULL, "invalid_type", "the body is %s: a JSON object is expected",
                    fields_type_name(json));
        json_decref(json);
        return -1;
    }
    *ret_json = json;
    return 0;
}

const char *fields_type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

json_t *fields_get(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

static int wrong_type(struct api_error *err, const char *name, const char *want, const json_t *got)
{
    return fields_fail(err, 400, name, "invalid_type", "'%s' must be %s, not %s", name, want,
                       fields_type_name(got));
}

int fields_bool(const json_t *object, const char *name, bool *value, struct api_error *err)
{
    json_t *field = fields_get(object, name);

    if (!field)
        return 0;
    if (!json_is_boolean(field))
        return wrong_type(err, name, "a boolean", field);
    *value = json_is_true(field);
    return 0;
}

int fields_uint(const json_t *object, const char *name, uint64_t max, uint64_t *value,
                struct api_error *err)
{
    json_t *field = fields_get(object, name);
    json_int_t n;

    if (!field)
        return 0;
    if (!json_is_integer(field))
        return wrong_type(err, name, "an integer", field);
    n = json_integer_value(field);
    if (n < 0 || (uint64_t)n > max)
        return fields_fail(err, 400, name, "invalid_value", "'%s' must be from 0 to %llu, not %lld",
                           name, (unsigned long long)max, (long long)n);
    *value = (uint64_t)n;
    return 0;
}

int fields_number(const json_t *object, const char *name, double min, double max, float *value,
                  struct api_error *err)
{
    json_t *field = fields_get(object, name);
    double n;

    if (!field)
        return 0;
    if (!json_is_number(field))
        return wrong_type(err, name, "a number", field);
    n = json_number_value(field);
    if (!(n >= min && n <= max))
        return fields_fail(err, 400, name, "invalid_value", "'%s' must be from %g to %g, not %g",
                           name, min, max, n);
    *value = (float)n;
    return 0;
}

int fields_string(const json_t *object, const char *name, const char **value, struct api_error *err)
{
    json_t *field = fields_get(object, name);

    if (!field)
        return 0;
    if (!json_is_string(field))
        return wrong_type(err, name, "a string", field);
    if (strlen(json_string_value(field)) != json_string_length(field))
        return fields_fail(err, 400, name, "invalid_value", "'%s' holds a NUL character", name);
    *value = json_string_value(field);
    return 0;
}
