/* SPDX-License-Identifier: MIT */
#include "tokenizer/detokenizer.h"

#include "base/utf8.h"
#include "tokenizer/tokenizer_part.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd";

void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, int32_t previous,
                      bool shows_control)
{
    *d = (struct detokenizer){
        .tokenizer = t,
        .shows_control = shows_control,
        .at_start = previous < 0 || tokenizer_is_control(t, previous),
    };
}

/* Bytes at s that one U+FFFD stands for: the longest start of a character, or one byte. */
static size_t bad_length(const char *s, size_t len)
{
    uint32_t cp;
    size_t n = 1;

    while (n < 3 && n < len && utf8_decode(s, n, &cp) == 0 && utf8_decode(s, n + 1, &cp) == 0)
        n++;
    return n;
}

/* Whole characters of s go to out; the unfinished end stays. Returns the bytes used. */
static size_t add_whole(const char *s, size_t len, struct strbuf *out)
{
    size_t i = 0;

    while (i < len) {
        uint32_t cp;
        size_t run = i;
        int n = 1;

        while (run < len && (n = utf8_decode(s + run, len - run, &cp)) > 0)
            run += (size_t)n;
        strbuf_add(out, s + i, run - i);
        i = run;
        if (n == 0 && i < len)
            break;
        if (i < len) {
            strbuf_add_str(out, replacement);
            i += bad_length(s + i, len - i);
        }
    }
    return i;
}

static void add_bytes(struct detokenizer *d, const char *s, size_t len, struct strbuf *out)
{
    size_t used;

    while (d->n_pending && len) {
        char joined[4];
        size_t n = d->n_pending;

        memcpy(joined, d->pending, n);
        joined[n] = *s;
        used = add_whole(joined, n + 1, out);
        /* at most the new byte is left when anything was given out */
        d->n_pending = (uint8_t)(n + 1 - used);
        memcpy(d->pending, joined + used, d->n_pending);
        s++;
        len--;
    }
    used = add_whole(s, len, out);
    if (used < len) {
        d->n_pending = (uint8_t)(len - used);
        memcpy(d->pending, s + used, d->n_pending);
    }
}

void detokenizer_add(struct detokenizer *d, int32_t id, struct strbuf *out)
{
    size_t len;
    const char *s = tokenizer_piece(d->tokenizer, id, &len);

    if (!s)
        return;
    if (tokenizer_is_control(d->tokenizer, id)) {
        if (d->shows_control || tokenizer_is_markup(d->tokenizer, id))
            add_bytes(d, s, len, out);
        d->at_start = true;
        return;
    }
    if (d->at_start && len && s[0] == ' ' && tokenizer_adds_space(d->tokenizer)) {
        s++;
        len--;
    }
    d->at_start = false;
    add_bytes(d, s, len, out);
}

void detokenizer_flush(struct detokenizer *d, struct strbuf *out)
{
    if (d->n_pending)
        strbuf_add_str(out, replacement);
    d->n_pending = 0;
}
