/* SPDX-License-Identifier: MIT */
/* Strings by code point. Results are new strings in the run's arena; markup is not propagated. */
#ifndef HEARTH_TEMPLATE_STR_H
#define HEARTH_TEMPLATE_STR_H

#include "template/run.h"

/* data must be valid UTF-8 and outlive the run. */
struct str *str_borrow(struct run *r, const char *data, size_t len);
struct str *str_copy(struct run *r, const char *data, size_t len);
struct str *str_literal(struct run *r, const char *literal);
struct str *str_concat(struct run *r, struct str *a, struct str *b);
struct str *str_sub(struct run *r, const struct str *s, size_t from, size_t to); /* bytes */
struct str *str_as_markup(struct run *r, struct str *s);
struct str *str_as_plain(struct run *r, struct str *s);
/* As markup: escapes <, >, &, ' and " unless it is markup already. */
struct str *str_escape(struct run *r, struct str *s);

/* Byte offset of a code point, index <= chars. */
size_t str_offset(struct run *r, const struct str *s, size_t index);
size_t str_count_chars(const char *data, size_t len);
/* Decodes at *pos (< len) and moves it on. */
uint32_t str_next(const struct str *s, size_t *pos);
/* Byte offset of needle at or after from, or -1. */
int64_t str_find(struct run *r, const struct str *s, const struct str *needle, size_t from);
int64_t str_rfind(struct run *r, const struct str *s, const struct str *needle, size_t end);
int str_compare(const struct str *a, const struct str *b);
bool str_equal(const struct str *a, const struct str *b);

bool str_is_space(uint32_t cp);
bool str_is_line_end(uint32_t cp);
/* chars NULL: white space. */
struct str *str_strip(struct run *r, struct str *s, const struct str *chars, bool left, bool right);
struct str *str_upper(struct run *r, const struct str *s);
struct str *str_lower(struct run *r, const struct str *s);
struct str *str_casefold(struct run *r, const struct str *s);
struct str *str_title(struct run *r, const struct str *s);
struct str *str_capitalize(struct run *r, const struct str *s);
struct str *str_swapcase(struct run *r, const struct str *s);
struct str *str_replace(struct run *r, struct str *s, const struct str *from, const struct str *to,
                        int64_t count);
struct str *str_repeat(struct run *r, struct str *s, int64_t times);
/* str.splitlines(). */
struct seq *str_lines(struct run *r, const struct str *s, bool keep_ends);
/* str.split(): sep NULL splits on white space; max < 0: no limit. */
struct seq *str_split(struct run *r, struct str *s, const struct str *sep, int64_t max);
struct seq *str_rsplit(struct run *r, struct str *s, const struct str *sep, int64_t max);

#endif
