/* SPDX-License-Identifier: MIT */
#include "server/http_head.h"

#include <string.h>
#include <strings.h>

struct head {
    struct http_request *r;
    const char **reason;
    uint32_t n_headers;
    bool has_host, has_length, has_coding, has_connection, wants_close, wants_keep;
};

static int refuse(struct head *h, int status, const char *reason)
{
    *h->reason = reason;
    return status;
}

static bool is_token_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Cuts the line at its CRLF and returns the start of the next one. */
static char *cut_line(char *line)
{
    char *end = strchr(line, '\r');

    *end = 0;
    return end + 2;
}

static enum http_method method_of(const char *name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {
        {"GET", HTTP_GET},     {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
        {"PUT", HTTP_PUT},     {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
        {"PATCH", HTTP_PATCH},
    };

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(methods[i].name, name) == 0)
            return methods[i].method;
    return HTTP_OTHER;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; false when a '%' is not followed by two digits or stands for NUL. */
static bool percent_decode(char *s)
{
    char *to = s;

    for (; *s; s++) {
        if (*s == '%') {
            int high = hex_value(s[1]), low = high < 0 ? -1 : hex_value(s[2]);

            if (low < 0 || (high == 0 && low == 0))
                return false;
            *to++ = (char)(high * 16 + low);
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
    return true;
}

/* "/path?query", "http://host/path" (for proxies, which must be understood) or "*" for OPTIONS. */
static int parse_target(struct head *h, char *target)
{
    char *query;

    for (const char *s = target; *s; s++)
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
            return refuse(h, 400, "the request target holds a character that must be encoded");
    if (strncasecmp(target, "http://", 7) == 0) {
        target = strchr(target + 7, '/');
        if (!target)
            return refuse(h, 400, "the request target lacks a path");
    }
    if (*target != '/' && !(strcmp(target, "*") == 0 && h->r->method == HTTP_OPTIONS))
        return refuse(h, 400, "the request target must start with '/'");
    query = strchr(target, '?');
    h->r->query = "";
    if (query) {
        *query = 0;
        h->r->query = query + 1;
    }
    if (!percent_decode(target))
        return refuse(h, 400, "the request target holds a malformed %-escape");
    h->r->path = target;
    return 0;
}

static int parse_request_line(struct head *h, char *line)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;

    if (!version || target == line)
        return refuse(h, 400, "the request line is not METHOD TARGET HTTP/1.1");
    *target++ = 0;
    *version++ = 0;
    for (const char *s = line; *s; s++)
        if (!is_token_char((unsigned char)*s))
            return refuse(h, 400, "the request line is not METHOD TARGET HTTP/1.1");
    if (strncmp(version, "HTTP/", 5) != 0 || strlen(version) != 8 || version[6] != '.' ||
        version[5] < '0' || version[5] > '9' || version[7] < '0' || version[7] > '9')
        return refuse(h, 400, "the request line is not METHOD TARGET HTTP/1.1");
    if (version[5] != '1')
        return refuse(h, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    h->r->minor = version[7] == '0' ? 0 : 1;
    h->r->method_name = line;
    h->r->method = method_of(line);
    return parse_target(h, target);
}

static int parse_length(struct head *h, const char *value)
{
    uint64_t n = 0;

    if (h->has_length)
        return refuse(h, 400, "Content-Length is given twice");
    h->has_length = true;
    if (!*value)
        return refuse(h, 400, "Content-Length is not a number");
    for (; *value; value++) {
        if (*value < '0' || *value > '9')
            return refuse(h, 400, "Content-Length is not a number");
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*value - '0'), &n))
            return refuse(h, 413, "the body is larger than this server takes");
    }
    h->r->content_length = n;
    h->r->has_length = true;
    return 0;
}

static int parse_coding(struct head *h, const char *value)
{
    if (h->has_coding)
        return refuse(h, 400, "Transfer-Encoding is given twice");
    h->has_coding = true;
    if (h->r->minor == 0)
        return refuse(h, 400, "Transfer-Encoding does not exist in HTTP/1.0");
    if (strcasecmp(value, "chunked") != 0)
        return refuse(h, 501, "the only transfer coding understood is chunked");
    h->r->is_chunked = true;
    return 0;
}

/* Is `word` one of the comma-separated words of value? */
static bool has_word(const char *value, const char *word)
{
    size_t len = strlen(word);

    while (*value) {
        size_t n;

        value += strspn(value, ", \t");
        n = strcspn(value, ", \t");
        if (n == len && strncasecmp(value, word, len) == 0)
            return true;
        value += n;
    }
    return false;
}

static int take_header(struct head *h, const char *name, const char *value)
{
    struct http_request *r = h->r;

    if (strcasecmp(name, "content-length") == 0)
        return parse_length(h, value);
    if (strcasecmp(name, "transfer-encoding") == 0)
        return parse_coding(h, value);
    if (strcasecmp(name, "host") == 0) {
        if (h->has_host)
            return refuse(h, 400, "Host is given twice");
        h->has_host = true;
        r->host = value;
    } else if (strcasecmp(name, "connection") == 0) {
        h->wants_close |= has_word(value, "close");
        h->wants_keep |= has_word(value, "keep-alive");
    } else if (strcasecmp(name, "expect") == 0) {
        if (strcasecmp(value, "100-continue") != 0)
            return refuse(h, 417, "the only expectation understood is 100-continue");
        r->expects_continue = r->minor > 0;
    } else if (strcasecmp(name, "authorization") == 0) {
        if (r->authorization)
            return refuse(h, 400, "Authorization is given twice");
        r->authorization = value;
    } else if (strcasecmp(name, "content-type") == 0) {
        r->content_type = value;
    }
    return 0;
}

static int parse_header(struct head *h, char *line, uint32_t max_headers)
{
    char *value = line, *end;

    if (++h->n_headers > max_headers)
        return refuse(h, 431, "the request has too many headers");
    if (*line == ' ' || *line == '\t')
        return refuse(h, 400, "a header line is folded");
    while (is_token_char((unsigned char)*value))
        value++;
    if (value == line || *value != ':')
        return refuse(h, 400, "a header line is not NAME: VALUE");
    *value++ = 0;
    value += strspn(value, " \t");
    end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = 0;
    for (const char *s = value; *s; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return refuse(h, 400, "a header holds a control character");
    return take_header(h, line, value);
}

int http_head_parse(char *head, size_t len, uint32_t max_headers, struct http_request *r,
                    const char **ret_reason)
{
    struct head h = {.r = r, .reason = ret_reason};
    char *line = head, *next;
    int status;

    if (len >= 2 &&
        line[0] == '\r') /* RFC 9112 2.2: one empty line before the request is forgiven */
        line += 2;
    next = cut_line(line);
    status = parse_request_line(&h, line);
    while (!status && *next != '\r') {
        line = next;
        next = cut_line(line);
        status = parse_header(&h, line, max_headers);
    }
    if (status)
        return status;
    if (h.has_length && h.has_coding)
        return refuse(&h, 400, "Content-Length and Transfer-Encoding cannot both be given");
    if (!h.has_host && r->minor > 0)
        return refuse(&h, 400, "the Host header is missing");
    r->keep_alive = !h.wants_close && (r->minor > 0 || h.wants_keep);
    return 0;
}
