/* SPDX-License-Identifier: MIT */
/*
 * An error a user can act on: a negative errno for programs and one sentence for people that says
 * what was wrong, where, and what to do. Functions that can fail for reasons a user should read
 * take a `struct error *` (NULL is allowed) and return the negative errno.
 */
#ifndef HEARTH_BASE_ERROR_H
#define HEARTH_BASE_ERROR_H

#include <stdarg.h>

struct error {
    int code; /* negative errno, 0 when nothing failed */
    char text[512];
};

/* Sets *err (if not NULL) to the sentence and returns -|code|. */
int error_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, followed by ": " and the text of the errno. */
int error_set_errno(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the sentence already in *err; returns err->code (or 0 when err is NULL).
 */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
