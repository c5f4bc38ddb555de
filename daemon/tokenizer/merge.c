/* SPDX-License-Identifier: MIT */
#include "tokenizer/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 48, NONE = UINT32_MAX };

struct merge_link {
    uint32_t prev, next;
};

struct merge_entry {
    uint64_t key; /* priority, then index of the left symbol */
    uint32_t end; /* of the pair: tells whether its symbols are still what they were */
    int32_t id;
};

void merge_finish(struct merge *m)
{
    free(m->symbols);
    free(m->links);
    free(m->heap);
    *m = (struct merge){0};
}

static int grow(void *array, size_t *cap, size_t need, size_t size)
{
    void **data = array, *more;
    size_t n = *cap + *cap / 2 + 64;

    if (need <= *cap)
        return 0;
    if (n < need)
        n = need;
    more = reallocarray(*data, n, size);
    if (!more)
        return -ENOMEM;
    *data = more;
    *cap = n;
    return 0;
}

int merge_reserve(struct merge *m, size_t n)
{
    return grow(&m->symbols, &m->cap_symbols, n, sizeof(*m->symbols));
}

/* Few symbols: looking through all pairs each time beats a heap. */
static int64_t run_short(struct merge *m, size_t n, const char *text, uint32_t end,
                         merge_join *join, const void *context)
{
    struct merge_symbol *s = m->symbols;
    uint64_t best[SHORT_WORD]; /* of the pair i, i + 1: priority, with a bit above for "none" */
    int32_t joined[SHORT_WORD];
    const uint64_t no_pair = (uint64_t)1 << 32;

#define END(i) ((i) < n ? s[i].start : end)
#define ASK(i)                                                                                     \
    do {                                                                                           \
        struct merge_pair pair_ = {s[i].id, s[(i) + 1].id, s[i].start, END((i) + 2)};              \
        uint32_t priority_;                                                                        \
        best[i] = join(context, text, &pair_, &priority_, &joined[i]) ? priority_ : no_pair;       \
    } while (0)

    for (size_t i = 0; i + 1 < n; i++)
        ASK(i);
    while (n > 1) {
        size_t at = 0;

        for (size_t i = 1; i + 1 < n; i++)
            if (best[i] < best[at])
                at = i;
        if (best[at] == no_pair)
            break;
        s[at].id = joined[at];
        n--;
        memmove(&s[at + 1], &s[at + 2], (n - at - 1) * sizeof(*s));
        memmove(&best[at], &best[at + 1], (n - at - 1) * sizeof(*best));
        memmove(&joined[at], &joined[at + 1], (n - at - 1) * sizeof(*joined));
        if (at + 1 < n)
            ASK(at);
        if (at > 0)
            ASK(at - 1);
    }
#undef ASK
#undef END
    return (int64_t)n;
}

static int heap_push(struct merge *m, struct merge_entry entry)
{
    size_t at = m->n_heap;

    if (grow(&m->heap, &m->cap_heap, at + 1, sizeof(*m->heap)) < 0)
        return -ENOMEM;
    m->n_heap++;
    while (at && m->heap[(at - 1) / 2].key > entry.key) {
        m->heap[at] = m->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    m->heap[at] = entry;
    return 0;
}

static struct merge_entry heap_pop(struct merge *m)
{
    struct merge_entry top = m->heap[0], last = m->heap[--m->n_heap];
    size_t at = 0, child;

    while ((child = at * 2 + 1) < m->n_heap) {
        if (child + 1 < m->n_heap && m->heap[child + 1].key < m->heap[child].key)
            child++;
        if (m->heap[child].key >= last.key)
            break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = last;
    return top;
}

struct long_word {
    struct merge *m;
    const char *text;
    uint32_t end;
    merge_join *join;
    const void *context;
};

static uint32_t symbol_end(const struct long_word *w, uint32_t i)
{
    uint32_t next = w->m->links[i].next;

    return next == NONE ? w->end : w->m->symbols[next].start;
}

/* Puts the pair of symbol i and its right neighbour on the heap if it may be joined. */
static int ask_pair(const struct long_word *w, uint32_t i)
{
    const struct merge_symbol *s = w->m->symbols;
    struct merge_entry entry;
    struct merge_pair pair;
    uint32_t right, priority;

    right = w->m->links[i].next;
    if (right == NONE)
        return 0;
    pair = (struct merge_pair){s[i].id, s[right].id, s[i].start, symbol_end(w, right)};
    if (!w->join(w->context, w->text, &pair, &priority, &entry.id))
        return 0;
    entry.key = (uint64_t)priority << 32 | i;
    entry.end = pair.end;
    return heap_push(w->m, entry);
}

static int join_best(const struct long_word *w)
{
    struct merge_entry entry = heap_pop(w->m);
    struct merge_link *links = w->m->links;
    uint32_t left = (uint32_t)entry.key, right = links[left].next;

    /* a symbol that was joined into another points at itself */
    if (right == left || right == NONE || symbol_end(w, right) != entry.end)
        return 0;
    w->m->symbols[left].id = entry.id;
    links[left].next = links[right].next;
    if (links[right].next != NONE)
        links[links[right].next].prev = left;
    links[right].next = right;
    if (links[left].prev != NONE && ask_pair(w, links[left].prev) < 0)
        return -ENOMEM;
    return ask_pair(w, left);
}

static int64_t run_long(const struct long_word *w, size_t n)
{
    struct merge *m = w->m;
    size_t n_left = 0;

    if (n >= NONE || grow(&m->links, &m->cap_links, n, sizeof(*m->links)) < 0)
        return -ENOMEM;
    m->n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        m->links[i] = (struct merge_link){i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE};
    for (uint32_t i = 0; i < n; i++)
        if (ask_pair(w, i) < 0)
            return -ENOMEM;
    while (m->n_heap)
        if (join_best(w) < 0)
            return -ENOMEM;
    for (uint32_t i = 0; i != NONE; i = m->links[i].next)
        m->symbols[n_left++] = m->symbols[i];
    return (int64_t)n_left;
}

int64_t merge_run(struct merge *m, size_t n, const char *text, uint32_t end, merge_join *join,
                  const void *context)
{
    struct long_word word = {m, text, end, join, context};

    if (n < 2)
        return (int64_t)n;
    if (n <= SHORT_WORD)
        return run_short(m, n, text, end, join, context);
    return run_long(&word, n);
}
