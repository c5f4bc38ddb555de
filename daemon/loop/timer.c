/* SPDX-License-Identifier: MIT */
#include "loop/timer.h"

#include <stddef.h>

static struct timer *merge(struct timer *a, struct timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->deadline_ns < a->deadline_ns) {
        struct timer *earlier = b;
        b = a;
        a = earlier;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    a->child = b;
    return a;
}

/* Two passes: siblings are merged in pairs left to right, the pairs then right to left. */
static struct timer *merge_siblings(struct timer *first)
{
    struct timer *pairs = NULL, *root = NULL;

    while (first) {
        struct timer *a = first, *b = first->next;

        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = merge(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct timer *t = pairs;

        pairs = t->next;
        t->next = NULL;
        root = merge(root, t);
    }
    return root;
}

void timer_add(struct timer_heap *h, struct timer *t, uint64_t deadline_ns)
{
    timer_remove(h, t);
    /* a callback that sets itself again for now must not hold timer_fire_due for ever */
    if (deadline_ns <= h->firing_ns)
        deadline_ns = h->firing_ns + 1;
    t->deadline_ns = deadline_ns;
    t->child = t->next = t->prev = NULL;
    t->is_set = true;
    h->root = merge(h->root, t);
}

void timer_remove(struct timer_heap *h, struct timer *t)
{
    struct timer *children;

    if (!t->is_set)
        return;
    t->is_set = false;
    children = merge_siblings(t->child);
    if (t == h->root) {
        h->root = children;
    } else {
        if (t->prev->child == t)
            t->prev->child = t->next;
        else
            t->prev->next = t->next;
        if (t->next)
            t->next->prev = t->prev;
        h->root = merge(h->root, children);
    }
    t->child = t->next = t->prev = NULL;
}

void timer_fire_due(struct timer_heap *h, uint64_t now_ns)
{
    h->firing_ns = now_ns;
    while (h->root && h->root->deadline_ns <= now_ns) {
        struct timer *t = h->root;

        timer_remove(h, t);
        t->fire(t);
    }
    h->firing_ns = 0;
}
