/* SPDX-License-Identifier: MIT */
/* JSON written straight into a buffer: the answers' hot path makes no tree. */
#ifndef HEARTH_SERVER_JSONOUT_H
#define HEARTH_SERVER_JSONOUT_H

#include "base/strbuf.h"

/* The bytes with JSON's escapes, without quotes. What is not UTF-8 becomes U+FFFD. */
void jsonout_text(struct strbuf *out, const char *s, size_t len);
/* A quoted string; NULL writes null. */
void jsonout_string(struct strbuf *out, const char *s);
/* "name": with a comma before it unless the object was just opened. */
void jsonout_key(struct strbuf *out, const char *name);
/* Before an element of an array: a comma unless the array was just opened. */
void jsonout_element(struct strbuf *out);
void jsonout_key_string(struct strbuf *out, const char *name, const char *value);
void jsonout_key_number(struct strbuf *out, const char *name, double value);
void jsonout_key_bool(struct strbuf *out, const char *name, bool value);
void jsonout_key_uint(struct strbuf *out, const char *name, unsigned long long value);

#endif
