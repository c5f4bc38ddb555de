/* SPDX-License-Identifier: MIT */
#include "tokenizer/pretokenizer.h"

#include "tokenizer/charclass.h"

#include <stdlib.h>
#include <string.h>

static const size_t no_match = SIZE_MAX;

struct item {
    uint32_t min, max;
    bool accepts[256]; /* by class */
};

struct rule {
    struct item items[PRETOKENIZER_ITEMS];
    int n_items;
    enum pretokenizer_edge edge;
    enum pretokenizer_contraction contraction;
};

struct pass {
    struct rule *rules;
    size_t n_rules;
};

struct pretokenizer {
    struct pass passes[6];
    int n_passes;
    bool is_white[256];
};

/* One text under way. */
struct split {
    const struct pretokenizer *p;
    const char *text;
    const uint8_t *classes;
    pretokenizer_emit *emit;
    void *context;
};

static void compile_rule(const struct charclass *c, const struct pretokenizer_rule *from,
                         struct rule *to)
{
    to->edge = from->edge;
    to->contraction = from->contraction;
    for (int i = 0; i < (int)PRETOKENIZER_ITEMS && from->items[i].max; i++) {
        struct item *item = &to->items[to->n_items++];

        item->min = from->items[i].min;
        item->max = from->items[i].max;
        for (int class = 0; class < 256; class ++)
            item->accepts[class] =
                ((c->traits[class] & from->items[i].traits) != 0) != from->items[i].is_inverted;
        item->accepts[CHARCLASS_INSIDE] = false;
    }
}

struct pretokenizer *pretokenizer_create(const struct pretokenizer_spec *spec)
{
    const struct charclass *c = charclass_get();
    struct pretokenizer *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    for (int class = 0; class < 256; class ++)
        p->is_white[class] = c->traits[class] & CHAR_WHITE;
    for (; p->n_passes < 6 && spec->passes[p->n_passes].n_rules; p->n_passes++) {
        const struct pretokenizer_pass *from = &spec->passes[p->n_passes];
        struct pass *to = &p->passes[p->n_passes];

        to->rules = calloc(from->n_rules, sizeof(*to->rules));
        if (!to->rules) {
            pretokenizer_destroy(p);
            return NULL;
        }
        to->n_rules = from->n_rules;
        for (size_t i = 0; i < from->n_rules; i++)
            compile_rule(c, &from->rules[i], &to->rules[i]);
    }
    return p;
}

void pretokenizer_destroy(struct pretokenizer *p)
{
    if (!p)
        return;
    for (int i = 0; i < 6; i++)
        free(p->passes[i].rules);
    free(p);
}

static size_t next_char(const uint8_t *classes, size_t i, size_t end)
{
    i++;
    while (i < end && classes[i] == CHARCLASS_INSIDE)
        i++;
    return i;
}

static size_t previous_char(const uint8_t *classes, size_t i)
{
    i--;
    while (classes[i] == CHARCLASS_INSIDE)
        i--;
    return i;
}

/* Bytes of a contraction at i ("'ll" is 3), 0 when there is none. */
static size_t match_contraction(const struct split *s, size_t i, size_t end,
                                enum pretokenizer_contraction kind)
{
    char first, second;

    if (kind == CONTRACTION_NONE || i + 1 >= end || s->text[i] != '\'')
        return 0;
    first = s->text[i + 1];
    second = i + 2 < end ? s->text[i + 2] : 0;
    if (kind == CONTRACTION_ANY_CASE) {
        first = (char)(first | 0x20);
        second = (char)(second | 0x20);
    }
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 2;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
        (first == 'l' && second == 'l'))
        return 3;
    return 0;
}

static bool edge_holds(const struct split *s, const struct rule *rule, size_t i, size_t end)
{
    switch (rule->edge) {
    case EDGE_WHITE:
        return i == end || s->p->is_white[s->classes[i]];
    case EDGE_END:
        return i == end;
    case EDGE_ANY:
        break;
    }
    return true;
}

/* The end of what items k.. of the rule take from i, or no_match. */
static size_t match_items(const struct split *s, const struct rule *rule, int k, size_t i,
                          size_t end)
{
    const struct item *item;
    size_t n = 0, at = i;

    if (k >= (int)PRETOKENIZER_ITEMS || k == rule->n_items)
        return edge_holds(s, rule, i, end) ? i : no_match;
    item = &rule->items[k];
    while (at < end && n < item->max && item->accepts[s->classes[at]]) {
        at = next_char(s->classes, at, end);
        n++;
    }
    for (;; n--) {
        size_t ret;

        if (n < item->min)
            return no_match;
        ret = match_items(s, rule, k + 1, at, end);
        if (ret != no_match)
            return ret;
        if (!n || rule->edge == EDGE_END)
            return no_match;
        at = previous_char(s->classes, at);
    }
}

static size_t match_rule(const struct split *s, const struct rule *rule, size_t i, size_t end)
{
    size_t at;

    if (!rule->n_items) {
        at = match_contraction(s, i, end, rule->contraction);
        return at ? i + at : no_match;
    }
    at = match_items(s, rule, 0, i, end);
    if (at != no_match)
        at += match_contraction(s, at, end, rule->contraction);
    return at == i ? no_match : at;
}

static size_t match_pass(const struct split *s, const struct pass *pass, size_t i, size_t end)
{
    for (size_t r = 0; r < pass->n_rules; r++) {
        size_t at = match_rule(s, &pass->rules[r], i, end);

        if (at != no_match)
            return at;
    }
    return no_match;
}

static int split_pass(const struct split *s, int k, size_t start, size_t end);

static int hand_on(const struct split *s, int k, size_t start, size_t end)
{
    if (start == end)
        return 0;
    return k + 1 < s->p->n_passes ? split_pass(s, k + 1, start, end)
                                  : s->emit(s->context, start, end);
}

/* Where the white space begins that ends the text: EDGE_END can hold from there on only. */
static size_t find_tail(const struct split *s, size_t start, size_t end)
{
    while (end > start) {
        size_t before = previous_char(s->classes, end);

        if (!s->p->is_white[s->classes[before]])
            break;
        end = before;
    }
    return end;
}

static int split_pass(const struct split *s, int k, size_t start, size_t end)
{
    const struct pass *pass = &s->p->passes[k];
    size_t gap = start, i = start;
    int ret;

    if (pass->n_rules == 1 && pass->rules[0].edge == EDGE_END)
        i = find_tail(s, start, end);
    while (i < end) {
        size_t at = match_pass(s, pass, i, end);

        if (at == no_match) {
            i = next_char(s->classes, i, end);
            continue;
        }
        ret = hand_on(s, k, gap, i);
        if (ret == 0)
            ret = hand_on(s, k, i, at);
        if (ret < 0)
            return ret;
        gap = i = at;
    }
    return hand_on(s, k, gap, end);
}

int pretokenizer_split(const struct pretokenizer *p, const char *text, const uint8_t *classes,
                       size_t len, pretokenizer_emit *emit, void *context)
{
    struct split s = {p, text, classes, emit, context};

    return split_pass(&s, 0, 0, len);
}
