/* SPDX-License-Identifier: MIT */
/* BERT's WordPiece: words at white space, punctuation and Han characters; each word is cut greedily
 * into the longest tokens, or is unknown as a whole. */
#include "base/utf8.h"
#include "tokenizer/charclass.h"
#include "tokenizer/tokenizer_part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { WORD_CHARS = 100 }; /* a longer word is unknown */

/* The word being gathered: run->text from start on, a space and then its characters. */
struct word {
    struct run *run;
    size_t n_chars;
};

static int add_pieces(struct run *run, const char *word, size_t len)
{
    const struct vocab *v = &run->tokenizer->vocab;
    size_t start = 0;

    while (start < len) {
        size_t n = len - start;
        int32_t id = -1;

        if (n > v->max_len)
            n = v->max_len;
        for (; n && (id = vocab_find(v, word + start, n)) < 0; n--)
            ;
        /* the space alone is no beginning */
        if (id < 0 || (start == 0 && n == 1))
            return -ENOENT;
        if (run_add(run, id) < 0)
            return -ENOMEM;
        start += n;
    }
    return 0;
}

static int end_word(struct word *w)
{
    struct run *run = w->run;
    size_t first = run->out->n;
    int ret = w->n_chars > WORD_CHARS ? -ENOENT : 0;

    if (run->text.failed)
        return run_no_memory(run);
    if (w->n_chars && ret == 0)
        ret = add_pieces(run, run->text.data, run->text.len);
    if (ret == -ENOENT) {
        run->out->n = first;
        ret = run_add_unknown(run, run->text.data + 1, run->text.len - 1);
    }
    w->n_chars = 0;
    strbuf_reset(&run->text);
    return ret;
}

static int add_char(struct word *w, uint32_t cp)
{
    uint32_t traits = charclass_traits(charclass_get(), cp);
    bool stands_alone = traits & (CHAR_ASCII_MARK | CHAR_P | CHAR_HAN);
    char utf8[4];
    int len = utf8_encode(cp, utf8);
    int ret = stands_alone || traits & CHAR_WHITE ? end_word(w) : 0;

    if (ret < 0)
        return ret;
    if (traits & CHAR_WHITE)
        return 0;
    if (!w->n_chars)
        strbuf_add_char(&w->run->text, ' ');
    /* the rest of an overlong word does not matter */
    if (w->n_chars <= WORD_CHARS) {
        strbuf_add(&w->run->text, utf8, (size_t)len);
        w->n_chars++;
    }
    return stands_alone ? end_word(w) : 0;
}

static bool is_dropped(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
        return !strchr("\t\n\r", (int)cp) || !cp;
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
        return true;
    default:
        return cp == 0xfffd;
    }
}

static int add_normal(struct word *w, uint32_t cp)
{
    const struct tokenizer *t = w->run->tokenizer;
    utf8proc_int32_t parts[32] = {(utf8proc_int32_t)cp};
    utf8proc_ssize_t n = 1;
    int boundary = 0;

    if (cp < 0x80) {
        if (is_dropped(cp))
            return 0;
        return add_char(w, t->lowercases && cp >= 'A' && cp <= 'Z' ? cp | 0x20 : cp);
    }
    if (is_dropped(cp))
        return 0;
    if (t->strips_accents)
        n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 32; i++) {
        int ret;

        if (t->strips_accents && utf8proc_category(parts[i]) == UTF8PROC_CATEGORY_MN)
            continue;
        ret = add_char(w, (uint32_t)(t->lowercases ? utf8proc_tolower(parts[i]) : parts[i]));
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int wpm_encode(struct run *run, const char *text, size_t len, bool after_special)
{
    struct word w = {run, 0};

    strbuf_reset(&run->text);
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        int used = utf8_decode(text + i, len - i, &cp);
        int ret = add_normal(&w, used > 0 ? cp : 0xfffd);

        if (ret < 0)
            return ret;
        i += used > 0 ? (size_t)used : 1;
    }
    return end_word(&w);
}

const struct model wpm_model = {
    .name = "bert",
    .alphabet = VOCAB_SPACE_MARK,
    .adds_bos = true,
    .adds_sep = true,
    .encode = wpm_encode,
};
