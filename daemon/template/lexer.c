/* SPDX-License-Identifier: MIT */
#include "template/lexer.h"

#include <errno.h>

#include "base/utf8.h"
#include "template/str.h"

struct lexer {
    struct run *r;
    struct template_spacing flags;
    const char *s;
    size_t len, pos;
    int line;
    bool line_starting; /* the last tag swallowed its newline */
    struct token *tokens;
    size_t n, cap;
    char brackets[128]; /* open ones */
    size_t n_brackets;
};

static struct token *push(struct lexer *l, enum token_type type, const char *text, size_t len)
{
    struct token *t;

    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct token *more = run_alloc(l->r, cap, sizeof(*more));

        if (l->n)
            memcpy(more, l->tokens, l->n * sizeof(*more));
        l->tokens = more;
        l->cap = cap;
    }
    t = &l->tokens[l->n++];
    *t = (struct token){.type = type, .line = l->line, .text = text, .len = len};
    return t;
}

static void advance(struct lexer *l, size_t to)
{
    for (; l->pos < to; l->pos++)
        l->line += l->s[l->pos] == '\n';
    l->r->line = l->line;
}

static bool looking_at(const struct lexer *l, size_t pos, const char *what)
{
    size_t n = strlen(what);

    return n <= l->len - pos && !memcmp(l->s + pos, what, n);
}

static size_t skip_space(const struct lexer *l, size_t pos)
{
    const struct str s = {.data = l->s, .len = l->len};

    while (pos < l->len) {
        size_t next = pos;

        if (!str_is_space(str_next(&s, &next)))
            break;
        pos = next;
    }
    return pos;
}

/* If a tag closes at pos: where the text behind it goes on, counting swallowed white space. */
static size_t tag_end(const struct lexer *l, size_t pos, const char *end, bool is_print)
{
    if (looking_at(l, pos, "-") && looking_at(l, pos + 1, end))
        return skip_space(l, pos + 3);
    if (!is_print && looking_at(l, pos, "+") && looking_at(l, pos + 1, end))
        return pos + 3;
    if (!looking_at(l, pos, end))
        return 0;
    pos += 2;
    return !is_print && l->flags.trim_blocks && pos < l->len && l->s[pos] == '\n' ? pos + 1 : pos;
}

/* Emits the data before a tag at `end` with sign '-', '+' or 0. */
static void push_data(struct lexer *l, size_t end, char sign, bool is_print)
{
    size_t from = l->pos, to = end;

    if (sign == '-') {
        struct str text = {.data = l->s + from, .len = to - from, .chars = (size_t)-1};

        to = from + str_strip(l->r, &text, NULL, false, true)->len;
    } else if (sign != '+' && l->flags.lstrip_blocks && !is_print) {
        size_t start = to;

        while (start > from && l->s[start - 1] != '\n')
            start--;
        if ((start > from || l->line_starting) && skip_space(l, start) >= end)
            to = start;
    }
    if (to > from)
        push(l, TOKEN_DATA, l->s + from, to - from);
}

static bool is_word(const struct lexer *l, size_t pos, const char *word)
{
    return looking_at(l, pos, word);
}

/* At "{%": the end of the tag when it is `{% raw %}`, else 0. */
static size_t raw_end(const struct lexer *l, size_t pos, const char *word)
{
    size_t at = pos + 2, end;

    if (at < l->len && (l->s[at] == '-' || l->s[at] == '+'))
        at++;
    at = skip_space(l, at);
    if (!is_word(l, at, word))
        return 0;
    end = skip_space(l, at + strlen(word));
    if (!strcmp(word, "endraw"))
        return tag_end(l, end, "%}", false);
    if (looking_at(l, end, "-%}"))
        return skip_space(l, end + 3);
    return looking_at(l, end, "%}") ? end + 2 : 0;
}

static char sign_at(const struct lexer *l, size_t pos)
{
    char c = pos + 2 < l->len ? l->s[pos + 2] : 0;

    return c == '-' || c == '+' ? c : 0;
}

static void finish_tag(struct lexer *l, size_t to)
{
    l->line_starting = to > 0 && l->s[to - 1] == '\n';
    advance(l, to);
}

static void lex_raw(struct lexer *l)
{
    for (size_t at = l->pos; at + 1 < l->len; at++) {
        size_t end;

        if (l->s[at] != '{' || l->s[at + 1] != '%')
            continue;
        end = raw_end(l, at, "endraw");
        if (!end)
            continue;
        push_data(l, at, sign_at(l, at), false);
        finish_tag(l, end);
        return;
    }
    run_fail(l->r, EINVAL, "raw is not closed; add {%% endraw %%}");
}

static void lex_comment(struct lexer *l, size_t from)
{
    for (size_t at = from + 2; at + 1 < l->len; at++) {
        size_t end = tag_end(l, at, "#}", false);

        if (!end)
            continue;
        finish_tag(l, end);
        return;
    }
    run_fail(l->r, EINVAL, "a comment is not closed; add #}");
}

static void lex_string(struct lexer *l)
{
    const char quote = l->s[l->pos];
    const size_t from = l->pos + 1;
    size_t at = from;
    struct token *t;

    while (at < l->len && l->s[at] != quote)
        at += l->s[at] == '\\' ? 2 : 1;
    if (at >= l->len)
        run_fail(l->r, EINVAL, "a string is not closed");
    t = push(l, TOKEN_STRING, l->s + from, at - from);
    t->text = lexer_unescape(l->r, t->text, &t->len);
    advance(l, at + 1);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t skip_digits(const struct lexer *l, size_t pos)
{
    while (pos < l->len && (is_digit(l->s[pos]) ||
                            (l->s[pos] == '_' && pos + 1 < l->len && is_digit(l->s[pos + 1]))))
        pos++;
    return pos;
}

static size_t skip_radix(const struct lexer *l, size_t pos)
{
    static const char digits[] = "0123456789abcdef";
    const char kind = (char)(l->s[pos + 1] | 0x20);
    const size_t radix = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
    size_t at = pos + 2;

    while (at < l->len) {
        size_t digit = at + (l->s[at] == '_');
        const char *d = digit < l->len && l->s[digit]
                            ? strchr(digits, l->s[digit] | (l->s[digit] >= 'A' ? 0x20 : 0))
                            : NULL;

        if (!d || (size_t)(d - digits) >= radix)
            break;
        at = digit + 1;
    }
    return at;
}

static void lex_number(struct lexer *l)
{
    size_t from = l->pos, end = skip_digits(l, from), exp;
    bool is_float = false;
    const char next = end < l->len ? (char)(l->s[end] | 0x20) : 0;

    if (end == from + 1 && l->s[from] == '0' && (next == 'x' || next == 'o' || next == 'b') &&
        skip_radix(l, from) > from + 2) {
        end = skip_radix(l, from);
    } else if (!(from && l->s[from - 1] == '.')) {
        if (end + 1 < l->len && l->s[end] == '.' && is_digit(l->s[end + 1])) {
            end = skip_digits(l, end + 1);
            is_float = true;
        }
        if (end < l->len && (l->s[end] | 0x20) == 'e') {
            exp = end + 1;
            if (exp < l->len && (l->s[exp] == '+' || l->s[exp] == '-'))
                exp++;
            if (exp < l->len && is_digit(l->s[exp])) {
                end = skip_digits(l, exp);
                is_float = true;
            }
        }
    }
    push(l, is_float ? TOKEN_FLOAT : TOKEN_INT, l->s + from, end - from);
    advance(l, end);
}

static bool is_name_byte(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) ||
           (!first && is_digit(c));
}

static void lex_op(struct lexer *l)
{
    static const char two[][3] = {"//", "**", "==", "!=", ">=", "<="};
    const char c = l->s[l->pos];
    int op = (unsigned char)c;

    for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++) {
        if (looking_at(l, l->pos, two[i]))
            op = TOKEN_OP2(two[i][0], two[i][1]);
    }
    if (op < 256 && !memchr("+-/*%~[](){}<>=.:|,;", c, 20))
        run_fail(l->r, EINVAL,
                 c > ' ' && c < 127 ? "unexpected character '%c'" : "unexpected byte 0x%02x",
                 c & 0xff);
    if (c == '(' || c == '[' || c == '{') {
        if (l->n_brackets == sizeof(l->brackets))
            run_fail(l->r, E2BIG, "brackets nested too deeply");
        l->brackets[l->n_brackets++] = c;
    } else if (c == ')' || c == ']' || c == '}') {
        const char open = c == ')' ? '(' : c == ']' ? '[' : '{';

        if (!l->n_brackets || l->brackets[--l->n_brackets] != open)
            run_fail(l->r, EINVAL, "unexpected '%c'", c);
    }
    push(l, TOKEN_OP, l->s + l->pos, op < 256 ? 1 : 2)->op = op;
    advance(l, l->pos + (op < 256 ? 1 : 2));
}

static void lex_tag(struct lexer *l, bool is_print)
{
    const char *close = is_print ? "}}" : "%}";

    l->n_brackets = 0;
    for (;;) {
        size_t end;

        advance(l, skip_space(l, l->pos));
        if (l->pos >= l->len)
            run_fail(l->r, EINVAL, "a tag is not closed; add %s", close);
        end = l->n_brackets ? 0 : tag_end(l, l->pos, close, is_print);
        if (end) {
            push(l, is_print ? TOKEN_PRINT_END : TOKEN_BLOCK_END, l->s + l->pos, 2);
            finish_tag(l, end);
            return;
        }
        if (l->s[l->pos] == '\'' || l->s[l->pos] == '"') {
            lex_string(l);
        } else if (is_digit(l->s[l->pos])) {
            lex_number(l);
        } else if (is_name_byte(l->s[l->pos], true)) {
            for (end = l->pos; end < l->len && is_name_byte(l->s[end], false); end++)
                ;
            push(l, TOKEN_NAME, l->s + l->pos, end - l->pos);
            advance(l, end);
        } else {
            lex_op(l);
        }
    }
}

/* The next "{{", "{%" or "{#" at or after pos, or the end. */
static size_t next_tag(const struct lexer *l, size_t pos)
{
    while (pos + 1 < l->len) {
        const char *open = memchr(l->s + pos, '{', l->len - pos - 1);

        if (!open)
            break;
        pos = (size_t)(open - l->s);
        if (open[1] == '{' || open[1] == '%' || open[1] == '#')
            return pos;
        pos++;
    }
    return l->len;
}

/* Newlines become \n; one at the very end is dropped. */
static char *normalize(struct run *r, const char *source, size_t len, bool keep, size_t *ret_len)
{
    char *to = run_alloc(r, len + 1, 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (source[i] == '\r') {
            to[n++] = '\n';
            i += i + 1 < len && source[i + 1] == '\n';
        } else {
            to[n++] = source[i];
        }
    }
    if (!keep && n && to[n - 1] == '\n')
        n--;
    *ret_len = n;
    return to;
}

struct token *lexer_run(struct run *r, const char *source, size_t len,
                        struct template_spacing flags, size_t *ret_n)
{
    struct lexer l = {.r = r, .flags = flags, .line = 1, .line_starting = true};

    r->line = 1;
    if (!utf8_is_valid(source, len))
        run_fail(r, EINVAL, "the template is not valid UTF-8");
    l.s = normalize(r, source, len, flags.keep_trailing_newline, &l.len);
    while (l.pos < l.len) {
        size_t tag = next_tag(&l, l.pos), raw;
        bool is_print = tag < l.len && l.s[tag + 1] == '{';

        push_data(&l, tag, tag < l.len ? sign_at(&l, tag) : '+', is_print);
        advance(&l, tag);
        if (tag == l.len)
            break;
        raw = l.s[tag + 1] == '%' ? raw_end(&l, tag, "raw") : 0;
        if (raw) {
            finish_tag(&l, raw);
            lex_raw(&l);
        } else if (l.s[tag + 1] == '#') {
            lex_comment(&l, tag);
        } else {
            push(&l, is_print ? TOKEN_PRINT_BEGIN : TOKEN_BLOCK_BEGIN, l.s + tag, 2);
            advance(&l, tag + 2 + (sign_at(&l, tag) != 0));
            lex_tag(&l, is_print);
        }
    }
    push(&l, TOKEN_END, "", 0);
    *ret_n = l.n;
    return l.tokens;
}
