/* SPDX-License-Identifier: MIT */
/*
 * A request's JSON body and its fields, read with errors that name what is wrong: line and column
 * for bad JSON, the field's name for a wrong type or range. null counts as absent everywhere.
 */
#ifndef HEARTH_SERVER_FIELDS_H
#define HEARTH_SERVER_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An error as the API tells it. */
struct api_error {
    int status;       /* HTTP */
    const char *type; /* static: "invalid_request_error", ... */
    const char *code; /* static or NULL */
    char param[64];   /* the field; "" for none */
    char message[768];
};

/* Sets *err and returns -1. param and code may be NULL. */
int fields_fail(struct api_error *err, int status, const char *param, const char *code,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Any JSON value (RFC 8259), bounded in depth (128) and number of values (400,000) before anything
 * is allocated, since a tree takes many times the text's memory. The caller owns *ret_json. */
int fields_parse(const char *data, size_t len, json_t **ret_json, struct api_error *err);
/* As fields_parse; anything but an object is an error, and so is a body that is empty. */
int fields_parse_object(const char *data, size_t len, json_t **ret_json, struct api_error *err);

/* The member, or NULL when absent or null. Borrowed. */
json_t *fields_get(const json_t *object, const char *name);
/* Each leaves *value alone when the field is absent; 0, or -1 with *err set. */
int fields_bool(const json_t *object, const char *name, bool *value, struct api_error *err);
int fields_uint(const json_t *object, const char *name, uint64_t max, uint64_t *value,
                struct api_error *err);
int fields_number(const json_t *object, const char *name, double min, double max, float *value,
                  struct api_error *err);
/* NUL bytes inside are refused: names and paths only. Borrowed. */
int fields_string(const json_t *object, const char *name, const char **value,
                  struct api_error *err);
/* "a string", "an array", ... */
const char *fields_type_name(const json_t *value);

#endif
