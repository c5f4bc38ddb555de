/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

int utf8_decode(const char *str, size_t len, uint32_t *ret_cp)
{
    const unsigned char *s = (const unsigned char *)str;
    uint32_t cp;
    int need;
    unsigned char lo = 0x80, hi = 0xbf;

    if (s[0] < 0x80) {
        *ret_cp = s[0];
        return 1;
    }
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        need = 2;
        cp = s[0] & 0x1f;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        need = 3;
        cp = s[0] & 0x0f;
        if (s[0] == 0xe0)
            lo = 0xa0;
        else if (s[0] == 0xed)
            hi = 0x9f;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        need = 4;
        cp = s[0] & 0x07;
        if (s[0] == 0xf0)
            lo = 0x90;
        else if (s[0] == 0xf4)
            hi = 0x8f;
    } else {
        return -1;
    }
    for (int i = 1; i < need; i++) {
        if ((size_t)i == len)
            return 0;
        if (s[i] < lo || s[i] > hi)
            return -1;
        cp = cp << 6 | (s[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    *ret_cp = cp;
    return need;
}

int utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp >= 0xd800 && cp <= 0xdfff)
        return 0;
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff)
        return 0;
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool utf8_is_valid(const char *s, size_t len)
{
    uint32_t cp;

    while (len) {
        int n = utf8_decode(s, len, &cp);
        if (n <= 0)
            return false;
        s += n;
        len -= (size_t)n;
    }
    return true;
}

size_t utf8_whole_prefix(const char *s, size_t len)
{
    uint32_t cp;

    /* only the last three bytes can begin an unfinished character */
    for (size_t back = 1; back <= 3 && back <= len; back++)
        if (utf8_decode(s + len - back, back, &cp) == 0)
            return len - back;
    return len;
}
