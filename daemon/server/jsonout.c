/* SPDX-License-Identifier: MIT */
#include "server/jsonout.h"

#include "base/utf8.h"

#include <math.h>
#include <string.h>

static void escape(struct strbuf *out, unsigned char c)
{
    switch (c) {
    case '"':
        strbuf_add(out, "\\\"", 2);
        break;
    case '\\':
        strbuf_add(out, "\\\\", 2);
        break;
    case '\n':
        strbuf_add(out, "\\n", 2);
        break;
    case '\r':
        strbuf_add(out, "\\r", 2);
        break;
    case '\t':
        strbuf_add(out, "\\t", 2);
        break;
    default:
        strbuf_printf(out, "\\u%04x", c);
    }
}

void jsonout_text(struct strbuf *out, const char *s, size_t len)
{
    size_t plain = 0, i = 0;

    while (i < len) {
        unsigned char c = (unsigned char)s[i];
        uint32_t cp;
        int n;

        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            i++;
            continue;
        }
        n = c < 0x80 ? 0 : utf8_decode(s + i, len - i, &cp);
        if (n > 0) {
            i += (size_t)n;
            continue;
        }
        strbuf_add(out, s + plain, i - plain);
        if (c < 0x80)
            escape(out, c);
        else
            strbuf_add(out, "\xef\xbf\xbd", 3);
        plain = ++i;
    }
    strbuf_add(out, s + plain, len - plain);
}

void jsonout_string(struct strbuf *out, const char *s)
{
    if (!s) {
        strbuf_add_str(out, "null");
        return;
    }
    strbuf_add_char(out, '"');
    jsonout_text(out, s, strlen(s));
    strbuf_add_char(out, '"');
}

/* A comma unless what holds the next thing was just opened by this character. */
static void separate(struct strbuf *out, char opener)
{
    if (out->len && out->data[out->len - 1] != opener)
        strbuf_add_char(out, ',');
}

void jsonout_element(struct strbuf *out)
{
    separate(out, '[');
}

void jsonout_key(struct strbuf *out, const char *name)
{
    separate(out, '{');
    jsonout_string(out, name);
    strbuf_add_char(out, ':');
}

void jsonout_key_string(struct strbuf *out, const char *name, const char *value)
{
    jsonout_key(out, name);
    jsonout_string(out, value);
}

void jsonout_key_number(struct strbuf *out, const char *name, double value)
{
    jsonout_key(out, name);
    if (isfinite(value))
        strbuf_printf(out, "%.9g", value);
    else
        strbuf_add_str(out, "null");
}

void jsonout_key_bool(struct strbuf *out, const char *name, bool value)
{
    jsonout_key(out, name);
    strbuf_add_str(out, value ? "true" : "false");
}

void jsonout_key_uint(struct strbuf *out, const char *name, unsigned long long value)
{
    jsonout_key(out, name);
    strbuf_printf(out, "%llu", value);
}
