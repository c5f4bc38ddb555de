/* SPDX-License-Identifier: MIT */
/* UTF-8 as Unicode defines it: no surrogates, no overlong forms, at most U+10FFFF. */
#ifndef HEARTH_BASE_UTF8_H
#define HEARTH_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Decodes one code point at s (len > 0 bytes). Returns the bytes used (1-4) and the code point in
 * *ret_cp; -1 when the bytes can never become valid; 0 when they are a valid but unfinished start.
 */
int utf8_decode(const char *s, size_t len, uint32_t *ret_cp);
/* Writes 1-4 bytes to out and returns how many; 0 for a value that is no scalar. */
int utf8_encode(uint32_t cp, char out[4]);
bool utf8_is_valid(const char *s, size_t len);
/* The length of the longest prefix that ends on a whole character (invalid bytes count as whole).
 */
size_t utf8_whole_prefix(const char *s, size_t len);

#endif
